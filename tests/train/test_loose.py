"""Training of the node deformer: repeatable, learns, better than body weights on an unseen garment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lca.errors import InvalidInputError
from lca_core.data import skinning
from lca_core.data.people import Person, sample_identity
from lca_core.data.preview import nearest_weights, stride_pose
from lca_core.data.procedural import SKIRTS
from lca_core.model.loose import LooseNet, load_deformer, node_weights
from lca_core.train.loose import Example, LooseOptions, _Batch, example, fit, stride, train_loose, wearers


@pytest.fixture(scope="module")
def unseen() -> tuple[Person, Example]:
    person = Person(sample_identity("test", next(wearers("test", 1))))
    return person, example(person, stride(np.random.default_rng(5), 10))


def test_wearers_of_the_test_split_wear_held_out_cuts() -> None:
    for number in wearers("test", 3):
        bottom = sample_identity("test", number).outfit.bottom
        assert bottom is not None and bottom.kind in SKIRTS
        assert bottom.flare > 1.15


def test_a_few_steps_learn_and_repeat(unseen: tuple[Person, Example]) -> None:
    options = LooseOptions(garments=1, steps=60)
    a, b = (fit([unseen[1]], options, lambda line: None) for _ in range(2))
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q)
    batch = _Batch(unseen[1])
    with torch.no_grad():
        before, after = (float(batch.losses(net)[0]) for net in (LooseNet(), a))
    assert after < before


def test_shipped_weights_hold_an_unseen_skirt_together(unseen: tuple[Person, Example]) -> None:
    person, e = unseen
    skirt = person.skirt
    assert skirt is not None
    weights = node_weights(skirt.rest, skirt.weights, person.joints, e.waist, e.hem, load_deformer())
    moved = skinning.joint_transforms(skinning.rotation_matrices(stride_pose()), person.joints)
    p99 = [
        np.quantile(skirt.stretch(skinning.skin(skirt.rest.astype(np.float32), w, moved)), 0.99)
        for w in (nearest_weights(person), weights)
    ]
    assert p99[0] > 1.6 and p99[1] < 1.35
    with torch.no_grad():
        trained, plain = (float(_Batch(e).losses(net)[0]) for net in (load_deformer(), LooseNet()))
    assert trained < plain, "H brings the garment nearer to its simulation than smooth leg weights alone"


def test_training_writes_weights_and_card(tmp_path: Path) -> None:
    out = tmp_path / "new.safetensors"
    facts = train_loose(out, LooseOptions(garments=1, frames=4, steps=5), lambda line: None)
    assert facts["rms_cm"] > 0 and "lca train loose" in out.with_suffix(".md").read_text()
    assert load_deformer(out) is not None


def test_people_without_a_skirt_are_refused() -> None:
    number = next(
        n
        for n in range(100)
        if (b := sample_identity("train", n).outfit.bottom) is None or b.kind not in SKIRTS
    )
    with pytest.raises(InvalidInputError, match="no skirt"):
        example(Person(sample_identity("train", number)), stride(np.random.default_rng(0), 3))
    with pytest.raises(InvalidInputError):
        LooseOptions(steps=0)
