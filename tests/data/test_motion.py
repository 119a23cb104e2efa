"""Skinning agrees with the body model; poses mirror, stay finite and within limits; clips are smooth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lca_core.body.model import BodyModel
from lca_core.body.names import JOINT_INDEX, JOINT_NAMES
from lca_core.data import library, motion
from lca_core.data.people import Person
from lca_core.data.performance import perform
from lca_core.data.skinning import gaze_rotation, rotation_matrices


@pytest.mark.parametrize("seed", range(4))
def test_a_dressed_body_moves_like_the_body_model(person: Person, seed: int) -> None:
    q = motion.random_pose(np.random.default_rng(seed))
    ids = library.extended_body().body_ids
    ours = person.posed(q.joints, q.transl, q.expression, np.zeros((2, 2)))[ids]
    out = BodyModel.load().forward(
        torch.from_numpy(person.betas)[None],
        torch.from_numpy(q.joints)[None],
        torch.from_numpy(q.transl)[None],
        torch.from_numpy(q.expression)[None],
    )
    # The extended body is stored in coarser steps than the body file.
    assert np.abs(ours - out.vertices[0].numpy()).max() < 1e-3
    assert np.abs(ours - out.vertices[0].numpy()).mean() < 1e-4


def test_log_is_the_inverse_of_rodrigues() -> None:
    rng = np.random.default_rng(0)
    for v in [*rng.normal(0, 1, (50, 3)), np.zeros(3), np.array([np.pi - 1e-5, 0, 0])]:
        r = rotation_matrices(v)
        np.testing.assert_allclose(rotation_matrices(motion.log_rotation(r)), r, atol=1e-6)


def test_sides_mirror() -> None:
    j = np.zeros((len(JOINT_NAMES), 3))
    for side in ("left", "right"):
        motion.set_arm(j, side, motion.Arm(0.9, 0.3, 0.2, 1.1, 0.3, 0.2, 0.4))
        motion.set_leg(j, side, 0.4, 0.1, 0.6, 0.1)
        motion.named_hand(j, side, "point")
    for name in JOINT_NAMES:
        if name.startswith("left_"):
            right = j[JOINT_INDEX["right" + name[4:]]]
            np.testing.assert_allclose(j[JOINT_INDEX[name]] * [1, -1, -1], right, atol=1e-12)


def test_directions_of_the_named_angles(person: Person) -> None:
    """Arms down hang low, a bent elbow brings the hand forward, a fist brings the tip to the palm."""
    from lca_core.data.skinning import joint_transforms, local_rotations

    def joints(change) -> np.ndarray:
        j = np.zeros((55, 3))
        change(j)
        a = joint_transforms(local_rotations(j, np.zeros((2, 2))), person.joints)
        return np.einsum("jab,jb->ja", a[..., :3], person.joints) + a[..., 3]

    for side in ("left", "right"):
        rest = joints(lambda j: None)
        down = joints(lambda j, s=side: motion.set_arm(j, s, motion.Arm(down=1.3)))
        wrist, shoulder = JOINT_INDEX[f"{side}_wrist"], JOINT_INDEX[f"{side}_shoulder"]
        assert down[wrist, 1] < down[shoulder, 1] - 0.3
        bent = joints(lambda j, s=side: motion.set_arm(j, s, motion.Arm(down=1.3, bend=1.4)))
        assert bent[wrist, 2] > down[wrist, 2] + 0.15
        fist = joints(lambda j, s=side: motion.named_hand(j, s, "fist"))
        tip, palm = JOINT_INDEX[f"{side}_middle3"], JOINT_INDEX[f"{side}_middle1"]
        assert np.linalg.norm(fist[tip] - fist[wrist]) < np.linalg.norm(rest[tip] - rest[wrist]) - 0.03
        assert fist[tip, 1] < rest[palm, 1] - 0.01
        knee = joints(lambda j, s=side: motion.set_leg(j, s, knee=1.0))
        assert knee[JOINT_INDEX[f"{side}_ankle"], 2] < rest[JOINT_INDEX[f"{side}_ankle"], 2] - 0.1


def test_gaze_signs() -> None:
    ahead = np.array([0, 0, 1.0])
    assert (gaze_rotation(np.array([0.3, 0.0])) @ ahead)[0] > 0.2
    assert (gaze_rotation(np.array([0.0, 0.3])) @ ahead)[1] < -0.2


def test_random_poses_are_within_limits() -> None:
    for seed in range(60):
        q = motion.random_pose(np.random.default_rng(seed))
        angles = np.linalg.norm(q.joints, axis=1)
        assert np.isfinite(q.joints).all() and angles.max() < 2.6
        assert angles[[JOINT_INDEX["jaw"], JOINT_INDEX["left_eye_smplhf"]]].max() == 0
        assert q.expression.min() >= 0 and q.expression.max() <= 1


def test_the_performance_is_smooth_and_turns_once() -> None:
    poses = perform(166, 25.0)
    joints = np.stack([p.joints for p in poses])
    assert np.abs(np.diff(joints, axis=0)).max() < 0.6
    yaw = joints[:, 0, 1]
    assert yaw[0] == 0 and yaw[-1] == pytest.approx(2 * np.pi) and (np.diff(yaw) >= -1e-6).all()
    expression = np.stack([p.expression for p in poses])
    assert expression.min() >= 0 and expression.max() <= 1
    assert expression[:, 0].max() > 0.9, "somebody who never blinks"
