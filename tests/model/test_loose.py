"""Loose garments: masks decide, legs become a skirt, smooth weights; tight clothes stay as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lca.errors import InvalidInputError
from lca_core.body.model import BodyModel
from lca_core.body.names import JOINT_INDEX
from lca_core.model import loose, skirt, tube
from lca_core.model.skirt import LEVELS, Evidence, Skirt


@pytest.fixture(scope="module")
def body() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    model = BodyModel.load()
    vertices, joints = model.rest(torch.zeros(1, 50), None)
    return vertices[0].numpy(), joints[0].numpy().astype(np.float64), np.asarray(model.weights)


def evidence(filled_to: int, views: int = 4, wide: float = 0.1) -> Evidence:
    """Views of legs 30 cm apart whose gap is cloth down to a level."""
    level = np.arange(LEVELS)
    gap = np.tile(np.where(level > 8, 0.1, 0.0), (views, 1))
    cloth = gap * (level <= filled_to)
    angle = np.linspace(0, np.pi, views, endpoint=False)
    return Evidence(
        gap, cloth, np.tile(0.16 + wide * level / LEVELS, (views, 1)), np.zeros((views, LEVELS)),
        np.full((views, LEVELS), 0.15), np.stack([np.cos(angle), np.sin(angle)], 1),
    )  # fmt: skip


def garment_of(joints: np.ndarray, hem: float = 0.8) -> Skirt:
    half = np.stack([np.linspace(0.2, 0.3, LEVELS), np.linspace(0.15, 0.25, LEVELS)], 1)
    return Skirt(half, np.zeros((LEVELS, 2)), hem, joints, 1.0, 4)


def test_only_masks_that_fill_the_gap_make_a_skirt(body: tuple[np.ndarray, ...]) -> None:
    _, joints, _ = body
    found = skirt.decide(evidence(24), joints)
    assert found is not None and found.hem == pytest.approx(24 / (LEVELS - 1))
    assert skirt.decide(evidence(0), joints) is None, "trousers"
    short = skirt.decide(evidence(11, wide=0.2), joints)
    assert short is not None and short.hem == pytest.approx(11 / (LEVELS - 1))
    notched = evidence(11, wide=0.2)
    notched.cloth[:, 12:15] = notched.gap[:, 12:15] * (0.7, 0.5, 0.3)
    assert skirt.decide(notched, joints) is None, "wide shorts: a notch that widens, not a hem"
    one = evidence(11, wide=0.2)
    one.cloth[0] = notched.cloth[0]
    assert skirt.decide(one, joints) is None, "a view in four disagrees"
    assert skirt.decide(evidence(6, wide=0.3), joints) is None, "ends on the hips"
    alone = skirt.decide(evidence(24, views=1, wide=0.2), joints)
    assert alone is not None and alone.hem == pytest.approx(found.hem), "the only view shows it clearly"
    assert skirt.decide(evidence(24, views=1, wide=0.05), joints) is None, "one view must be clear"
    unseen = evidence(24, views=4, wide=0.2)
    unseen.gap[1:], unseen.cloth[1:] = 0, 0
    assert skirt.decide(unseen, joints) is None, "one view of four proves nothing"
    assert skirt.decide(evidence(24, wide=0.0), joints) is None, "a closed gap without a wider outline"
    nothing = replace(evidence(24), gap=np.zeros((4, LEVELS)))
    assert skirt.decide(nothing, joints) is None, "legs together show no gap"


def test_the_hull_of_two_circles_is_recovered_from_the_widths_of_views(body: tuple[np.ndarray, ...]) -> None:
    _, joints, _ = body
    e = evidence(24, views=8)
    a, b = 0.30, 0.20
    width = (a - b) * np.abs(e.across[:, 0]) + b
    found = skirt.decide(replace(e, width=np.tile(width[:, None], (1, LEVELS))), joints)
    assert found is not None
    np.testing.assert_allclose(found.half[12], (a, b), atol=0.005)
    front = evidence(24, views=1, wide=0.2)
    alone = skirt.decide(replace(front, width=np.full((1, LEVELS), a)), joints)
    assert alone is not None
    assert alone.half[12, 0] == pytest.approx(a, abs=0.005)
    assert 0.5 * a < alone.half[12, 1] < 0.9 * a, "as deep as skirts are"


def test_the_tube_begins_on_the_clothes_above_it(body: tuple[np.ndarray, ...]) -> None:
    vertices, joints, weights = body
    garment = garment_of(joints)
    dressed = vertices + np.array([0.0, 0.0, 0.07], np.float32)
    bare, on = (tube.wrap(garment, vertices, weights, dressed=d) for d in (None, dressed))
    level = (skirt.height(joints, 0) - vertices[on.where, 1]) / (
        skirt.height(joints, 0) - skirt.height(joints, 1)
    )
    moved = (on.means - bare.means)[:, 2]
    np.testing.assert_allclose(moved[level < skirt.BLEND[0] + 0.01], 0.07, atol=0.001)
    np.testing.assert_allclose(moved[level > skirt.BLEND[1]], 0, atol=1e-6)


def test_legs_cover_the_tube_all_round_without_a_gap(body: tuple[np.ndarray, ...]) -> None:
    vertices, joints, weights = body
    garment = garment_of(joints)
    on = tube.wrap(garment, vertices, weights)
    level = on.means[:, 1] < skirt.height(joints, 0.3)
    angle = np.sort(np.arctan2(on.means[level, 2], on.means[level, 0]))
    assert np.diff(np.append(angle, angle[0] + 2 * np.pi)).max() < np.radians(12)
    x, z = on.means[level, 0], on.means[level, 2]
    assert np.hypot(x / 0.19, z / 0.14).min() > 0.98, "nothing of the legs is left inside"
    gram = on.frames.transpose(0, 2, 1) @ on.frames
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(3), gram.shape), atol=1e-4)
    outwards = on.frames[level][:, [0, 2], 2] * on.means[level][:, [0, 2]]
    assert (outwards.sum(1) > 0).all()
    assert (on.means[:, 1] >= garment.hem_y - 1e-6).all()
    arms = weights[:, JOINT_INDEX["left_elbow"]] > 0.5
    assert not arms[on.where].any()


def test_the_halves_of_a_mesh_meet_in_the_middle(body: tuple[np.ndarray, ...]) -> None:
    vertices, joints, weights = body
    faces = np.asarray(BodyModel.load().faces)
    garment = garment_of(joints)
    apart, closed = tube.wrap(garment, vertices, weights), tube.wrap(garment, vertices, weights, faces)
    np.testing.assert_array_equal(apart.where, closed.where)
    left = weights[closed.where][:, [JOINT_INDEX["left_hip"], JOINT_INDEX["left_knee"]]].sum(1) > 0.5
    y, low = closed.means[:, 1], skirt.height(joints, 0.3)

    def gap(on: tube.Wrapped, front: int) -> float:
        """The widest gap between the halves over heights of 5 cm."""
        x, there = on.means[:, 0], on.means[:, 2] * front > 0.1
        gaps = []
        for height in np.arange(garment.hem_y + 0.025, low, 0.05):
            ring = there & (abs(y - height) < 0.025)
            gaps.append(x[ring & left].min() - x[ring & ~left].max())
        return float(max(gaps))

    for front in (1, -1):
        assert gap(apart, front) > 0.02
        assert -0.02 < gap(closed, front) < 0
    moved = np.linalg.norm(apart.means - closed.means, axis=1)
    assert 0.02 < (moved > 0).mean() < 0.3 and moved.max() < 0.2


def test_left_and_right_are_alike(body: tuple[np.ndarray, ...]) -> None:
    _, joints, _ = body
    even = joints.copy()
    for left, right in (
        ("left_hip", "right_hip"),
        ("left_knee", "right_knee"),
        ("left_ankle", "right_ankle"),
    ):
        even[JOINT_INDEX[right]] = even[JOINT_INDEX[left]] * (-1, 1, 1)
    even[0, 0] = 0
    rng = np.random.default_rng(0)
    x = rng.uniform((-0.3, -0.6, -0.2), (0.3, 0.0, 0.2), (200, 3)).astype(np.float32)
    net, rest = loose.load_deformer(), torch.from_numpy(even.astype(np.float32))
    with torch.no_grad():
        w, h = loose.leg_weights(net, torch.from_numpy(x), rest, 0.05, -0.65)
        m, _ = loose.leg_weights(net, torch.from_numpy(x * (-1, 1, 1)).float(), rest, 0.05, -0.65)
    np.testing.assert_allclose(w[:, list(loose.MIRROR)].numpy(), m.numpy(), atol=1e-5)
    np.testing.assert_allclose(w.sum(1).numpy(), 1, atol=1e-5)
    assert float(h.abs().mean()) > 0.05, "a trained deformer says something"
    untrained, zero = loose.leg_weights(loose.LooseNet(), torch.from_numpy(x), rest, 0.05, -0.65)
    np.testing.assert_allclose(
        untrained.detach().numpy(), loose.base_weights(torch.from_numpy(x), rest).numpy(), atol=1e-6
    )
    assert not zero.detach().any(), "H = 0 gives the base weights"


def test_neighbours_on_the_cloth_follow_alike(body: tuple[np.ndarray, ...]) -> None:
    """Across the middle line the body's weights jump from leg to leg, the garment's do not."""
    vertices, joints, weights = body
    garment = garment_of(joints)
    on = tube.wrap(garment, vertices, weights)
    new = loose.node_weights(on.means, weights[on.where], joints, garment.top_y, garment.hem_y)
    np.testing.assert_allclose(new.sum(1), 1, atol=1e-5)
    assert new.min() >= 0
    low = on.means[:, 1] < skirt.height(joints, 0.35)
    front = np.flatnonzero(low & (np.abs(on.means[:, 0]) < 0.04) & (on.means[:, 2] > 0))
    left, right = ([JOINT_INDEX[f"{s}_hip"], JOINT_INDEX[f"{s}_knee"]] for s in ("left", "right"))

    def lean(w: np.ndarray) -> np.ndarray:
        return w[:, left].sum(1) - w[:, right].sum(1)

    old = lean(weights[on.where])[front]
    assert np.ptp(old) > 1.5
    assert np.ptp(lean(new)[front]) < 0.75
    top = on.means[:, 1] > garment.top_y - 0.01
    np.testing.assert_allclose(new[top], weights[on.where][top], atol=1e-4)


def test_bad_input_is_named(body: tuple[np.ndarray, ...], tmp_path: Path) -> None:
    _, joints, weights = body
    with pytest.raises(InvalidInputError, match="hem"):
        loose.node_weights(np.zeros((3, 3)), weights[:3], joints, -0.5, 0.1)
    assert loose.node_weights(np.zeros((0, 3)), weights[:0], joints, 0.1, -0.5).shape == (0, 55)
    with pytest.raises(InvalidInputError, match="no deformer"):
        loose.load_deformer(tmp_path / "none.safetensors")
