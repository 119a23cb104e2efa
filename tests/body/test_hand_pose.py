"""The finger sliders on the body: a fist is closed and nothing in it runs through anything else."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from lca.hand_poses import HAND_POSES
from lca_core.body.hand_pose import hand_rotations
from lca_core.body.names import JOINT_INDEX, JOINT_NAMES
from lca_core.body.rig import default_rig
from lca_core.body.rotation import axis_angle_to_matrix

FINGERS = ("index", "middle", "ring", "pinky")
CLOSED = dict.fromkeys((*FINGERS, "thumb"), 1.0)
SIDES = ("left", "right")


def posed(body, rotations, betas=None):
    pose = torch.zeros(1, 55, 3)
    for joint, turn in rotations.items():
        pose[0, JOINT_INDEX[joint]] = torch.tensor(turn)
    out = body(torch.zeros(1, 50) if betas is None else betas, pose)
    return out.vertices[0].double().numpy(), out.joints[0].double().numpy()


def parts(body, side):
    """Vertices of the palm with the ball of the thumb, and of every finger beyond its first bone."""
    owner = np.array(JOINT_NAMES)[body.weights.numpy().argmax(1)]
    out = {"palm": np.flatnonzero(np.isin(owner, (f"{side}_wrist", f"{side}_thumb1")))}
    for finger in (*FINGERS, "thumb"):
        out[finger] = np.flatnonzero(np.isin(owner, (f"{side}_{finger}2", f"{side}_{finger}3")))
    return out


def winding(points, corners):
    """How often triangles [F,3,3] wind around points [P,3]: above a half is inside."""
    a, b, c = (corners[None, :, k] - points[:, None] for k in range(3))
    x, y, z = (np.linalg.norm(side, axis=2) for side in (a, b, c))
    up = (a * np.cross(b, c)).sum(2)
    down = x * y * z + (a * b).sum(2) * z + (b * c).sum(2) * x + (c * a).sum(2) * y
    return 2 * np.arctan2(up, down).sum(1) / (4 * np.pi)


def deepest(body, vertices, rest_joints, side):
    """Metres by which parts of a hand run into each other, by pair."""
    of, faces, out = parts(body, side), body.faces.numpy(), {}
    rest = body.v_template.double().numpy()
    for a, mine in of.items():
        for b, other in of.items():
            if a == b:
                continue
            if {a, b} == {"palm", "thumb"}:  # they are one surface around the thumb's second joint
                root = rest_joints[JOINT_INDEX[f"{side}_thumb2"]]
                mine = mine[np.linalg.norm(rest[mine] - root, axis=1) > 0.022]
            corners = vertices[faces[np.isin(faces, other).sum(1) >= 2]]
            inside = mine[winding(vertices[mine], corners) > 0.5]
            if len(inside):
                out[a, b] = cKDTree(vertices[other]).query(vertices[inside])[0].max()
    return out


def gap(vertices, mine, other):
    return cKDTree(vertices[other]).query(vertices[mine])[0].min()


@pytest.mark.parametrize("side", SIDES)
def test_full_curl_is_a_closed_fist(body, side):
    """Tips rest on the palm, the thumb on index and middle finger from outside, and nothing goes through."""
    rest, joints = posed(body, {})
    vertices, _ = posed(body, hand_rotations(side, CLOSED))
    of = parts(body, side)
    for finger in FINGERS:
        assert gap(rest, of[finger], of["palm"]) > 0.015
        assert gap(vertices, of[finger], of["palm"]) < 0.005, finger
    for finger in ("index", "middle"):
        assert gap(vertices, of["thumb"], of[finger]) < 0.006, finger
        # Palms face down in the T-pose: outside is below.
        assert vertices[of["thumb"], 1].mean() < vertices[of[finger], 1].mean()
    assert max(deepest(body, vertices, joints, side).values(), default=0.0) < 0.003


@pytest.mark.parametrize("name", ["Fist", "Point", "Peace", "Thumbs Up", "OK", "Relaxed"])
def test_named_poses_do_not_run_through_themselves(body, name):
    pose = HAND_POSES[name]
    _, joints = posed(body, {})
    for seed in (None, 0, 2):
        betas = None
        if seed is not None:
            betas = 0.9 * torch.from_numpy(np.random.default_rng(seed).normal(size=(1, 50))).float()
        vertices, _ = posed(body, hand_rotations("left", pose.curl, pose.spread), betas)
        assert max(deepest(body, vertices, joints, "left").values(), default=0.0) < 0.003


def test_the_tips_of_ok_meet_and_the_thumb_of_point_holds_the_middle_finger(body):
    of = parts(body, "left")
    for name, finger in (("OK", "index"), ("Point", "middle")):
        pose = HAND_POSES[name]
        vertices, _ = posed(body, hand_rotations("left", pose.curl, pose.spread))
        assert gap(vertices, of["thumb"], of[finger]) < 0.004, name


def test_right_mirrors_left_exactly(body):
    flip = np.array([1.0, -1.0, -1.0])
    for pose in HAND_POSES.values():
        left, right = (hand_rotations(side, pose.curl, pose.spread) for side in SIDES)
        assert len(left) == len(right) == 15
        for joint, turn in left.items():
            np.testing.assert_array_equal(flip * turn, right[joint.replace("left", "right")])


@pytest.mark.parametrize("curl", [1.0, 0.4, -0.25])
def test_the_sliders_stay_within_the_limits_of_the_joints(curl):
    limits = {joint.name: joint for joint in default_rig().joints}
    for side in SIDES:
        for joint, turn in hand_rotations(side, dict.fromkeys(CLOSED, curl)).items():
            r = axis_angle_to_matrix(torch.tensor(turn, dtype=torch.float64)).numpy()
            angles = (np.arctan2(r[2, 1], r[2, 2]), -np.arcsin(r[2, 0]), np.arctan2(r[1, 0], r[0, 0]))
            for angle, low, high in zip(
                np.degrees(angles), limits[joint].min_degrees, limits[joint].max_degrees, strict=True
            ):
                assert low - 1e-6 <= angle <= high + 1e-6, (joint, angle)


def test_sliders_are_the_degrees_of_the_description_and_spread_comes_after_the_curl():
    for finger in default_rig().fingers:
        half = hand_rotations(finger.side, {finger.finger: 0.5})
        for number, joint in enumerate(finger.joints):
            axis = np.array(finger.curl_axes[number])
            assert np.linalg.norm(axis) == pytest.approx(1.0, abs=2e-3)
            wanted = axis / np.linalg.norm(axis) * np.radians(0.5 * finger.curl_degrees[number])
            np.testing.assert_allclose(half[joint], wanted, atol=1e-12)
        assert not any(any(turn) for joint, turn in half.items() if joint not in finger.joints)
        both = hand_rotations(finger.side, {finger.finger: 0.5}, 0.7)[finger.joints[0]]
        wide = hand_rotations(finger.side, {}, 0.7)[finger.joints[0]]
        spread, curl, total = (
            axis_angle_to_matrix(torch.tensor(turn, dtype=torch.float64))
            for turn in (wide, half[finger.joints[0]], both)
        )
        torch.testing.assert_close(total, spread @ curl)


def test_hand_poses_name_every_finger_and_need_no_arrays():
    for name, pose in HAND_POSES.items():
        assert pose.name == name and set(pose.curl) == set(CLOSED)
        assert all(-0.25 <= value <= 1.0 for value in pose.curl.values()) and -1.0 <= pose.spread <= 1.0
    code = "import sys, lca_core.body.hand_pose, lca.hand_poses; sys.exit(int('numpy' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
