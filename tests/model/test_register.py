"""Laws of the registration of views and of the consensus on limbs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial import cKDTree

from lca_core.body.names import JOINT_INDEX, JOINT_NAMES
from lca_core.model.config import PRESETS
from lca_core.model.consensus import believed, rings
from lca_core.model.inverse_texture import _beside, look, registration, sample_points, to_pixels
from lca_core.model.raster import depth_buffer
from lca_core.model.references import Source
from lca_core.model.register import LIMIT, register
from lca_core.model.template import Template

SIZE = 256
OFF = 0.02
"""Metres by which the fit of the second view is wrong."""


def checked(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    wave = np.sin(2 * np.pi * 9 * u) * np.sin(2 * np.pi * 9 * v)
    return np.stack([0.5 + 0.4 * wave, 0.5 + 0.3 * np.cos(2 * np.pi * 7 * v) + 0 * u, 0.4 + 0.3 * wave], -1)


def two_views(scenes, wrong: tuple[float, float]):
    """The painted ellipsoid from directions 30 degrees apart, the second camera taken to stand elsewhere."""
    ks, viewmats = scenes.cameras(12, SIZE)
    ks, viewmats = ks[:2], viewmats[:2].copy()
    pictures = [scenes.render(checked, ks[i], viewmats[i], SIZE) for i in range(2)]
    viewmats[1, :2, 3] += wrong
    body = scenes.template(64)
    return body, scenes.references(pictures, ks, viewmats, PRESETS["tiny"], body)


def disagreement(body, refs, agreed) -> float:
    """Mean difference of the colours that both views give to points that both see well."""
    one = sample_points(body, refs.select([0]), agreed=agreed and part(agreed, 0))
    two = sample_points(body, refs.select([1]), agreed=agreed and part(agreed, 1))
    both = (one.hit > 0.8) & (two.hit > 0.8)
    assert both.sum() > 100
    return float(np.abs(one.color - two.color)[both].mean())


def part(agreed, view: int):
    return type(agreed)(agreed.places, agreed.shifts[view : view + 1])


@pytest.mark.parametrize("wrong", [(OFF, 0.0), (0.0, -OFF)])
def test_views_that_are_off_meet_in_the_middle(scenes, wrong: tuple[float, float]) -> None:
    body, refs = two_views(scenes, wrong)
    agreed = registration(body, refs, np.zeros((body.count, 3), np.float32))
    assert disagreement(body, refs, agreed) < 0.45 * disagreement(body, refs, None)
    seen = [sample_points(body, refs.select([i])).hit > 0.8 for i in (0, 1)]
    moves = agreed.at(body._rest(torch.zeros(50))[0].numpy())[:, seen[0] & seen[1]].mean(1)
    # The camera was taken to stand OFF to one side, so its pixels lie the other way.
    np.testing.assert_allclose(moves[1] - moves[0], -np.array(wrong), atol=0.3 * OFF)
    assert np.abs(moves[0] + moves[1]).max() < 0.5 * OFF


def test_views_that_agree_stay(scenes) -> None:
    body, refs = two_views(scenes, (0.0, 0.0))
    agreed = registration(body, refs, np.zeros((body.count, 3), np.float32))
    assert np.abs(agreed.shifts).mean() < 0.1 * OFF
    assert np.abs(agreed.shifts).max() <= LIMIT


def test_what_landmarks_hold_does_not_move(scenes) -> None:
    body, refs = two_views(scenes, (OFF, 0.0))
    agreed = registration(body, refs, np.zeros((body.count, 3), np.float32))
    nearest = cKDTree(body._rest(torch.zeros(50))[0].numpy()).query(agreed.places)[1]
    head = body.weights[nearest, JOINT_INDEX["head"]] > 0.99
    moves = np.linalg.norm(agreed.shifts, axis=-1)
    assert head.any() and moves[:, head].max() < 0.2 * moves[:, ~head].max()


def test_one_view_is_left_alone(scenes) -> None:
    body, refs = two_views(scenes, (OFF, 0.0))
    agreed = registration(body, refs.select([0]), np.zeros((body.count, 3), np.float32))
    assert not agreed.shifts.any()


def test_views_without_use_get_no_shift() -> None:
    points = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    found = register(points, [None, None], np.zeros(300))
    assert found.shifts.shape[0] == 2 and not found.shifts.any()
    assert found.at(points[:7]).shape == (2, 7, 2)


SKIN, SHIRT, STRIPE = (0.8, 0.6, 0.5), (0.1, 0.7, 0.2), (0.9, 0.9, 0.9)


def limb(n: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two views of a bare forearm: rings, trust, colours and how near other surfaces are."""
    ring = np.repeat(np.arange(n // 20), 20)
    rng = np.random.default_rng(1)
    color = np.clip(np.array(SKIN) * rng.uniform(0.8, 1.0, (2, n, 1)), 0, 1)
    return ring, np.ones((2, n), np.float32), color, np.zeros((2, n), np.float32)


def test_a_stray_colour_beside_another_surface_is_not_believed() -> None:
    ring, trust, color, beside = limb()
    stray = np.arange(len(ring)) % 20 == 3
    color[0, stray], beside[0, stray] = SHIRT, 1.0
    factor = believed(ring, trust, color, beside)
    assert factor[0, stray].max() < 0.1
    assert factor[0, ~stray].min() > 0.9 and factor[1].min() > 0.9


def test_a_stripe_that_every_view_sees_is_believed() -> None:
    ring, trust, color, beside = limb()
    stripe = np.arange(len(ring)) % 20 == 3
    color[:, stripe] = STRIPE
    assert believed(ring, trust, color, beside)[:, stripe].min() > 0.9


def test_a_view_that_sees_well_contradicts_one_that_strays() -> None:
    ring, trust, color, beside = limb()
    stray = np.arange(len(ring)) % 20 == 3
    color[0, stray] = SHIRT
    assert believed(ring, trust, color, beside)[0, stray].max() < 0.5


def test_views_with_the_arm_before_the_body_do_not_say_what_is_common() -> None:
    """Two views place the arm on the shirt, one sees it apart: the shirt is no sleeve."""
    ring, trust, color, beside = (np.repeat(x, 2, 0)[:3] if x.ndim > 1 else x for x in limb())
    color[:2], beside[:2] = SHIRT, 1.0
    factor = believed(ring, trust, color, beside)
    assert factor[:2].max() < 0.1 and factor[2].min() > 0.9


def test_a_forearm_on_the_belly_is_beside_another_part_and_an_outstretched_one_is_not() -> None:
    body = Template.load(64)
    K = np.array([[400.0, 0, 128], [0, 400, 128], [0, 0, 1]])
    forearm = (body.weights.argmax(1) == JOINT_NAMES.index("left_elbow")) & (body.arm_texels > 0)
    nearness = []
    for bent in (0.0, 1.0):
        pose = torch.zeros(1, 55, 3)
        pose[0, JOINT_NAMES.index("left_shoulder")] = torch.tensor([0.0, 0.0, -1.2]) * bent
        pose[0, JOINT_NAMES.index("left_elbow")] = torch.tensor([0.0, -1.6, 0.0]) * bent
        posed = body.posed(torch.zeros(50), pose, torch.zeros(1, 3), torch.zeros(1, 52))[0]
        turn, away = np.diag([1.0, -1, -1]), np.array([0, 0.3, 3.0])
        camera, mesh = posed.position @ turn + away, to_pixels(posed.vertices @ turn + away, K)
        depth, trunk = (depth_buffer(mesh, faces, 256, 256) for faces in (body.faces, body.trunk_faces))
        beside = _beside(camera, depth, trunk, body.arm_texels > 0, K)
        nearness.append(beside[forearm])
    assert np.median(nearness[0]) == 0 and np.median(nearness[1]) == 1


def test_a_hip_before_an_arm_fitted_into_the_body_is_not_trusted() -> None:
    """Seen from the left, the left arm is swung through the hip: the picture shows it before the hip."""
    body, size = Template.load(64), 256
    K = np.array([[300.0, 0, 128], [0, 300, 128], [0, 0, 1]])
    pose = torch.zeros(1, 55, 3)
    pose[0, JOINT_NAMES.index("left_shoulder")] = torch.tensor([0.0, 0.0, -1.95])
    texels = body.posed(torch.zeros(50), pose, torch.zeros(1, 3), torch.zeros(1, 52))[0]
    viewmat = np.eye(4)
    viewmat[:3] = [[0, 0, -1, 0], [0, -1, 0, 0.3], [-1, 0, 0, 3.0]]
    source = Source(np.full((size, size, 3), 128, np.uint8), np.full((size, size), 255, np.uint8), K)
    free, seen = (look(body, texels, source, viewmat, K, size, size, m) for m in (0.0, 0.03))
    camera = texels.position @ viewmat[:3, :3].T + viewmat[:3, 3]
    mesh = to_pixels(texels.vertices @ viewmat[:3, :3].T + viewmat[:3, 3], K)
    arm = depth_buffer(mesh, body.arm_faces, size, size)
    col, row = to_pixels(camera, K)[:, :2].astype(int).clip(0, size - 1).T
    nearer = arm[row, col] - camera[:, 2]
    trunk = (body.arm_texels == 0) & (body.upper_arm_texels == 0) & (free.trust > 0.5)
    hip = trunk & (nearer > 0.02) & (nearer < 0.15)
    assert hip.sum() > 5
    assert seen.trust[hip].max() == 0
    away = trunk & np.isinf(ndimage.minimum_filter(arm, 21))[row, col]
    np.testing.assert_array_equal(seen.trust[away], free.trust[away])


def test_a_sleeve_ends_where_it_ends() -> None:
    ring, trust, color, beside = limb(800)
    color[:, ring < 20] = SHIRT
    beside[:] = 1.0
    assert believed(ring, trust, color, beside).min() > 0.9


def test_rings_are_those_of_arms_and_legs_alike_on_both_sides() -> None:
    body = Template.load(64)
    ring, rest = rings(body), body._rest(torch.zeros(50))[0].numpy()
    names = np.array(JOINT_NAMES)[body.weights.argmax(1)]
    assert (ring[np.isin(names, ("head", "jaw", "spine2", "pelvis", "left_wrist"))] == -1).all()
    assert (ring[np.isin(names, ("left_elbow", "right_knee", "left_shoulder", "right_hip"))] >= 0).all()
    assert not set(ring[names == "left_elbow"]) & set(ring[names == "left_knee"])
    left = np.nonzero((ring >= 0) & (rest[:, 0] > 0))[0]
    distance, right = cKDTree(rest).query(rest[left] * [-1, 1, 1])
    near = (distance < 0.015) & (ring[right] >= 0)
    assert near.sum() > 300 and np.abs(ring[left] - ring[right])[near].max() <= 2


def test_points_that_keep_their_place_do_not_move_and_the_others_do(scenes) -> None:
    body, refs = two_views(scenes, (OFF, 0.0))
    rest = body._rest(torch.zeros(50))[0].numpy()
    still = np.nonzero(rest[:, 1] < np.median(rest[:, 1]))[0]
    agreed = registration(body, refs, np.zeros((body.count, 3), np.float32), still=still)
    low = cKDTree(rest[still]).query(agreed.places)[0] < 1e-6
    assert not agreed.shifts[:, low].any()
    assert np.abs(agreed.shifts[:, ~low]).max() > 0.3 * OFF
