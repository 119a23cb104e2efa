"""Laws of the expression encoder: its shipped weights read expressions of people nobody trained on, the run
that made them resumes to the same bits and touches nothing else, scores tell truth from a dead code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lca.errors import InvalidInputError
from lca_core.body.names import ARKIT_INDEX, NUM_ARKIT
from lca_core.data.people import SPLITS
from lca_core.model.checkpoint import load_model, read_info, replace_part, weights_path
from lca_core.model.config import PRESETS
from lca_core.model.encoders import MIDDLE, PLACES, ExpressionEncoder
from lca_core.train.expression import PREFIX, ExpressionOptions, misplaced, trainer_of
from lca_core.train.expression_scores import explained, read_codes, read_out, retrieval, score
from lca_core.train.face_augment import mirrored_order, mirrored_points, moved_points, similar
from lca_core.train.faces import Faces, draw_expression, draw_person, load_faces
from lca_core.train.model_card import section_of, with_section

TINY = PRESETS["tiny"]


def random_faces(people: int = 4, frames: int = 3, side: int = 24) -> Faces:
    """Noise with the shapes of faces; neighbours share expressions."""
    rng = np.random.default_rng(0)
    count = people * frames
    pairs = np.stack([draw_expression(rng)[0] for _ in range(people // 2 * frames)])
    return Faces(
        images=rng.integers(0, 255, (count, side, side, 3)).astype(np.uint8),
        masks=np.full((count, side, side), 255, np.uint8),
        weights=np.repeat(pairs.reshape(people // 2, 1, frames, -1), 2, 1).reshape(count, -1),
        points=rng.uniform(-0.5, 0.5, (count, NUM_ARKIT + 2, 2)).astype(np.float32),
        person=np.repeat(np.arange(people), frames),
        frame=np.tile(np.arange(frames), people),
    )


@pytest.fixture(scope="module")
def held_out() -> Faces:
    """Four people of the test split, five expressions each, the same for neighbours."""
    numbers = SPLITS["test"][0] + np.arange(4)
    parts = [draw_person("test", int(number), frames=5) for number in numbers]
    return Faces(
        *(np.concatenate([p[k] for p in parts]) for k in ("images", "masks", "weights", "points")),
        person=np.repeat(numbers, 5),
        frame=np.tile(np.arange(5), 4),
    )


def test_shipped_encoder_reads_expressions_of_people_it_never_saw(held_out) -> None:
    model = load_model()
    codes = read_codes(model.expressions, held_out, model.config.input_size)
    truth = torch.from_numpy(held_out.weights) @ model.expression_map.weight.detach().T
    # A dead encoder has a spread of 0.0003, R squared below 0 and finds one in five.
    assert float(codes.std(0).norm()) > 0.3 * float(truth.std(0).norm())
    assert explained(truth, codes) > 0.15
    found, chance = retrieval(codes, held_out)
    assert found >= 0.5 > 2 * chance


def test_neighbours_make_the_same_faces_and_points_lie_on_them(held_out) -> None:
    np.testing.assert_array_equal(held_out.weights[:5], held_out.weights[5:10])
    assert np.abs(held_out.weights[5:10] - held_out.weights[10:15]).max() > 0.1
    assert np.abs(held_out.images[:5].astype(int) - held_out.images[5:10]).mean() > 10
    at = ((held_out.points + 1) / 2 * held_out.masks.shape[-1]).astype(int)
    on = [m[y, x] for m, (x, y) in zip(held_out.masks, at.transpose(0, 2, 1), strict=True)]
    assert np.mean(np.stack(on) > 128) > 0.98


def test_a_held_out_person_is_never_loaded_for_training(tmp_path: Path) -> None:
    one = {k: getattr(random_faces(2), k)[:3] for k in ("images", "masks", "weights", "points")}
    for number in (3, SPLITS["test"][0]):
        np.savez(tmp_path / f"face_{number:06d}.npz", **one)
    assert set(load_faces(tmp_path, "train").person) == {3}
    with pytest.raises(InvalidInputError, match=r"lca_core\.train\.faces"):
        load_faces(tmp_path, "val")


def test_a_stopped_run_ends_at_the_same_bits_and_the_seed_matters(tmp_path: Path) -> None:
    faces, options = random_faces(), ExpressionOptions(steps=4, batch=4)
    weight = torch.randn(TINY.expression_dim, NUM_ARKIT, generator=torch.Generator().manual_seed(0))
    whole = trainer_of(TINY, weight, faces, options, tmp_path / "whole")
    whole.run()
    part = trainer_of(TINY, weight, faces, options, tmp_path / "part")
    for _ in range(2):
        part.log(part.train_step())
    part.save()
    part.train_step()  # lost with the process
    rest = trainer_of(TINY, weight, faces, options, tmp_path / "part")
    assert rest.step == 2
    rest.run()
    other = trainer_of(TINY, weight, faces, replace(options, seed=2), tmp_path / "other")
    other.run()
    for key, value in whole.ema.items():
        assert torch.equal(value, rest.ema[key]), key
    assert not torch.equal(whole.ema["head.2.weight"], other.ema["head.2.weight"])


def test_exchanging_the_encoder_leaves_every_other_weight_alone(tmp_path: Path) -> None:
    base = weights_path()
    torch.manual_seed(0)
    fresh = ExpressionEncoder(read_info(base).config)
    replace_part(base, tmp_path / "new.safetensors", PREFIX, fresh.state_dict())
    old, new = load_file(str(base)), load_file(str(tmp_path / "new.safetensors"))
    assert old.keys() == new.keys()
    for key, value in old.items():
        assert key.startswith(PREFIX) or torch.equal(value.view(torch.int16), new[key].view(torch.int16)), key
    assert not torch.equal(old[PREFIX + "head.0.weight"], new[PREFIX + "head.0.weight"])
    assert read_info(base).metadata == read_info(tmp_path / "new.safetensors").metadata


def test_code_knows_neither_exposure_nor_place() -> None:
    torch.manual_seed(0)
    encoder = ExpressionEncoder(TINY)
    faces, masks = torch.rand(2, 3, 32, 32), torch.ones(2, 1, 32, 32)
    torch.testing.assert_close(encoder(faces, masks), encoder(faces * 0.5 + 0.2, masks), atol=0.02, rtol=0.1)
    where, what = torch.randn(2, PLACES, 2), torch.randn(2, PLACES, 16)
    moved = where * 1.3 + torch.tensor([0.1, -0.2])
    torch.testing.assert_close(encoder.code(where, what), encoder.code(moved, what), atol=1e-3, rtol=1e-3)


def test_parts_are_told_to_lie_where_the_points_are() -> None:
    rng = torch.Generator().manual_seed(1)
    points = (torch.rand(3, 5, 2, generator=rng) - 0.5) * 1.2
    likely = torch.zeros(3, PLACES, 12, 12, requires_grad=True)
    optimizer = torch.optim.Adam([likely], 0.3)
    for _ in range(150):
        optimizer.zero_grad()
        misplaced(likely, points).backward()
        optimizer.step()
    features = torch.zeros(3, 16, 12, 12)
    where, _ = ExpressionEncoder(TINY).look(likely.detach(), features)
    assert float((where[:, :5] - points).abs().max()) < 0.02 < MIDDLE / 12


def test_points_go_where_their_pixels_go() -> None:
    picture, point = torch.zeros(1, 1, 81, 81), torch.tensor([[[0.2, -0.3]]])
    row, column = (((point[0, 0] + 1) / 2 * 81).long()).flip(0).tolist()
    picture[0, 0, row - 2 : row + 3, column - 2 : column + 3] = 1
    place = torch.tensor([0.3]), torch.tensor([0.8]), torch.tensor([[0.05, -0.02]])
    seen = similar(picture, *place, 81)[0, 0]
    axis = (torch.arange(81) + 0.5) / 81 * 2 - 1
    middle = torch.stack([(seen.sum(0) * axis).sum(), (seen.sum(1) * axis).sum()]) / seen.sum()
    torch.testing.assert_close(moved_points(point, *place)[0, 0], middle, atol=0.03, rtol=0)


def test_mirroring_twice_changes_nothing() -> None:
    order = np.array(mirrored_order())
    assert order[ARKIT_INDEX["eyeBlinkLeft"]] == ARKIT_INDEX["eyeBlinkRight"]
    assert order[ARKIT_INDEX["jawLeft"]] == ARKIT_INDEX["jawRight"]
    np.testing.assert_array_equal(order[order], np.arange(NUM_ARKIT))
    points = np.array(mirrored_points())
    np.testing.assert_array_equal(points[points], np.arange(NUM_ARKIT + 2))


def test_scores_tell_the_truth_from_a_dead_code() -> None:
    faces = random_faces(people=8, frames=10)
    weights = torch.from_numpy(faces.weights)
    basis = torch.linalg.qr(torch.randn(52, 48, generator=torch.Generator().manual_seed(3)))[0].T
    truth = score(weights @ basis.T, basis, faces, weights)
    dead = score((weights @ basis.T).mean(0).expand(len(faces), -1), basis, faces, weights)
    assert truth.code_r2 == pytest.approx(1) and truth.found == 1 and truth.correlation["jawOpen"] > 0.9
    assert dead.code_r2 == pytest.approx(0, abs=1e-5) and dead.found <= 2 * dead.chance and dead.spread < 1e-5
    assert read_out(basis, weights).shape == (52, 48)


def test_a_section_of_the_card_is_exchanged_in_place() -> None:
    card = "# net\n\n## Data\nold\n\n## Training log\nrows\n"
    once = with_section(card, "Encoder", "first")
    twice = with_section(once, "Encoder", "second\n| a |")
    assert section_of(twice, "Encoder") == "second\n| a |" and "first" not in twice
    assert [line for line in twice.splitlines() if line.startswith("##")] == [
        "## Data", "## Encoder", "## Training log",
    ]  # fmt: skip
    assert section_of(card, "Encoder") == ""
