"""Short skirts and wide shorts, drawn from four sides: the first is found, to its hem, the second is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lca_core.data import motion
from lca_core.data.lights import white
from lca_core.data.people import Person, sample_identity
from lca_core.data.procedural import SKIRTS
from lca_core.data.samples import fit_camera
from lca_core.model.config import ModelConfig
from lca_core.model.density import Samples, plan
from lca_core.model.dressing import Dressing, clean_hem
from lca_core.model.references import References, prepare_references
from lca_core.model.skirt import LEVELS, Skirt, find_skirt
from lca_core.model.template import Template
from lca_core.model.tube import wrap

SIZE = 320
YAWS = (0.0, 0.8, np.pi, -1.5)


@pytest.fixture(scope="module")
def samples() -> Samples:
    return plan(Template.load(64), 128)


def wearing(kinds: tuple[str, ...], **cut: Any) -> Person:
    """The first training person with a bottom of these kinds, its cut changed."""
    for number in range(400):
        identity = sample_identity("train", number)
        bottom = identity.outfit.bottom
        if bottom is not None and bottom.kind in kinds:
            outfit = replace(identity.outfit, bottom=replace(bottom, **cut))
            return Person(replace(identity, outfit=outfit))
    raise AssertionError(f"nobody wears {kinds}")


def photographed(person: Person, apart: float, error: float, yaws: tuple[float, ...] = YAWS) -> References:
    """Views from all sides, legs ``apart`` radians to each side, with a fit off by ``error`` radians."""
    rng = np.random.default_rng(0)
    scene, used = person.scene(), np.unique(person.faces)
    standing = motion.random_pose(rng, "a_pose")
    for side in ("left", "right"):
        motion.set_leg(standing.joints, side, out=apart)
    posed = person.posed(standing.joints, standing.transl, standing.expression, standing.gaze)
    scene.pose(posed)
    shots = []
    for yaw in yaws:
        k, viewmat = fit_camera(posed[used], yaw, 0.05, 3.5, SIZE, SIZE, 0.9, np.zeros(2))
        drawn = scene.render(k, viewmat, SIZE, SIZE, white(), samples=1)
        shots.append((drawn.composite(0.5), (np.asarray(drawn.coverage) * 255).astype(np.uint8), k, viewmat))
    images, masks, ks, viewmats = zip(*shots, strict=True)
    pose = np.repeat(standing.joints[None], len(yaws), 0)
    pose[:, 1:6] += rng.normal(0, error, (len(yaws), 5, 3))
    same = [np.repeat(x[None], len(yaws), 0) for x in (standing.transl, standing.expression, standing.gaze)]
    config = ModelConfig("test", input_size=64)
    return prepare_references(
        images, masks, np.stack(ks), np.stack(viewmats), pose, *same, person.betas, config
    )


@pytest.mark.parametrize("error", [0.0, 0.04])
def test_a_short_skirt_is_found_and_wide_shorts_are_not(samples: Samples, error: float) -> None:
    mini = wearing(SKIRTS, hem=-0.3)
    found = find_skirt(samples, photographed(mini, 0.15, error))
    assert found is not None
    assert mini.skirt is not None
    assert found.hem_y == pytest.approx(np.quantile(mini.skirt.rest[:, 1], 0.05), abs=0.05)
    for hem in (0.3, 0.5):
        shorts = wearing(("shorts",), hem=hem, looseness=1.0, ease=0.02)
        assert find_skirt(samples, photographed(shorts, 0.15, error)) is None, hem


@pytest.mark.parametrize("error", [0.0, 0.04])
def test_one_picture_from_the_front_shows_a_skirt(samples: Samples, error: float) -> None:
    long = wearing(SKIRTS, hem=-0.6)
    found = find_skirt(samples, photographed(long, 0.12, error, (0.1,)))
    assert found is not None
    assert long.skirt is not None
    assert found.hem_y == pytest.approx(np.quantile(long.skirt.rest[:, 1], 0.05), abs=0.08)
    for kind in ("shorts", "wide"):
        tight = wearing((kind,))
        assert find_skirt(samples, photographed(tight, 0.12, error, (0.1,))) is None, kind


def test_a_hem_shows_neither_skin_on_the_cloth_nor_cloth_on_the_legs(samples: Samples) -> None:
    rest, _, joints = (x.numpy() for x in samples._rest(torch.zeros(50)))
    half = np.stack([np.linspace(0.2, 0.3, LEVELS), np.linspace(0.15, 0.25, LEVELS)], 1)
    skirt = Skirt(half, np.zeros((LEVELS, 2)), 0.5, joints.astype(np.float64), 1.0, 4)
    points = wrap(skirt, rest, samples.weights)
    on = Dressing(skirt, points, samples.weights[points.where], points, points.means, samples)
    red, skin = np.array([0.8, 0.1, 0.1], np.float32), np.array([0.8, 0.65, 0.55], np.float32)
    clean = np.tile(skin, (samples.count, 1)) + np.random.default_rng(0).normal(0, 0.02, (samples.count, 3))
    clean[points.where] += red - skin
    np.testing.assert_allclose(clean_hem(on, samples, rest, clean), clean, atol=0.01)
    dirty, above = clean.copy(), rest[:, 1] - skirt.hem_y
    cloth = np.isin(np.arange(samples.count), points.where)
    dirty[cloth & (above < 0.03)] = skin
    dirty[~cloth & (above < 0) & (above > -0.03)] = red
    np.testing.assert_allclose(clean_hem(on, samples, rest, dirty), clean, atol=0.15)
