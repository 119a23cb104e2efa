"""The body model against two independent implementations, and the laws it must obey."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lca.errors import InvalidInputError, NotFoundError
from lca_core.body.lbs import joint_transforms, skin_points
from lca_core.body.model import BODY_FILE, BodyModel
from lca_core.body.names import JOINT_INDEX, JOINT_PARENTS
from lca_core.body.rotation import axis_angle_to_matrix

sys.path.insert(0, str(Path(__file__).parent))
from body_oracle import pose_body


def test_agrees_with_the_loop_oracle(body, raw, people):
    out = body(**people)
    chosen = np.random.default_rng(0).choice(len(raw["v_template"]), 400, replace=False)
    for i in range(4):
        one = {k: v[i].double().numpy() for k, v in people.items()}
        vertices, joints = pose_body(raw, chosen=chosen, **one)
        np.testing.assert_allclose(out.vertices[i, chosen].numpy(), vertices, atol=5e-6)
        np.testing.assert_allclose(out.joints[i].numpy(), joints, atol=5e-6)


def test_agrees_with_smplx_on_the_same_file(people, body, tmp_path):
    smplx = pytest.importorskip("smplx")
    folder = tmp_path / "smplx"
    folder.mkdir()
    (folder / "SMPLX_NEUTRAL.npz").write_bytes(BODY_FILE.read_bytes())
    model = smplx.create(
        str(tmp_path), model_type="smplx", gender="neutral", use_pca=False, flat_hand_mean=True,
        num_betas=50, num_expression_coeffs=52, batch_size=4, use_face_contour=True,
    )  # fmt: skip
    pose = people["pose"]
    result = model(
        betas=people["betas"], expression=people["expression"], transl=people["transl"],
        global_orient=pose[:, 0], body_pose=pose[:, 1:22].flatten(1), jaw_pose=pose[:, 22],
        leye_pose=pose[:, 23], reye_pose=pose[:, 24], left_hand_pose=pose[:, 25:40].flatten(1),
        right_hand_pose=pose[:, 40:55].flatten(1),
    )  # fmt: skip
    out = body(**people)
    assert (result.vertices - out.vertices).abs().max() < 1e-5
    assert (result.joints[:, :55] - out.joints).abs().max() < 1e-5


def test_zero_pose_is_rest_and_translation_shifts(body, people):
    zero = torch.zeros(4, 55, 3)
    out = body(people["betas"], zero, None, people["expression"])
    rest, joints = body.rest(people["betas"], people["expression"])
    torch.testing.assert_close(out.vertices, rest, atol=2e-6, rtol=0)
    torch.testing.assert_close(out.joints, joints, atol=1e-6, rtol=0)
    moved = body(people["betas"], zero, people["transl"], people["expression"])
    torch.testing.assert_close(moved.vertices, out.vertices + people["transl"][:, None], atol=1e-6, rtol=0)


def test_joints_ignore_expressions(body, people):
    _, neutral = body.rest(people["betas"])
    _, speaking = body.rest(people["betas"], people["expression"])
    assert torch.equal(neutral, speaking)
    assert (body.J_regressor @ body.expr_dirs.flatten(1)).abs().max() == 0


def test_root_rotation_is_a_rigid_motion_about_the_pelvis(body, people):
    pose = people["pose"].clone()
    pose[:, 0] = 0
    still = body(people["betas"], pose)
    turn = torch.tensor([0.3, -1.1, 0.4]).expand(4, 3)
    pose[:, 0] = turn
    turned = body(people["betas"], pose)
    pelvis = still.joints[:, :1]
    expected = torch.einsum("bij,bvj->bvi", axis_angle_to_matrix(turn), still.vertices - pelvis) + pelvis
    torch.testing.assert_close(turned.vertices, expected, atol=2e-5, rtol=0)


def test_mirrored_pose_gives_the_mirrored_skeleton(body):
    names = list(JOINT_INDEX)
    swap = [JOINT_INDEX[n.replace("left", "@").replace("right", "left").replace("@", "right")] for n in names]
    pose = 0.3 * torch.randn(1, 55, 3, generator=torch.Generator().manual_seed(5))
    mirrored = (pose * torch.tensor([1.0, -1, -1]))[:, swap]
    betas = torch.zeros(1, 50)
    a, b = body(betas, pose).joints, body(betas, mirrored).joints
    torch.testing.assert_close(a * torch.tensor([-1.0, 1, 1]), b[:, swap], atol=3e-3, rtol=0)


def test_transforms_reproduce_the_vertices(body, people):
    out = body(people["betas"], people["pose"], None, people["expression"])
    rotmats = axis_angle_to_matrix(people["pose"])
    shaped = out.rest_vertices.clone()
    shaped[:, body.pose_rows] += body.pose_correctives(rotmats)
    torch.testing.assert_close(
        skin_points(shaped, body.weights, out.transforms), out.vertices, atol=1e-6, rtol=0
    )
    posed, transforms = joint_transforms(rotmats, out.rest_joints, body.parents)
    torch.testing.assert_close(transforms, out.transforms)
    own = torch.einsum("bjmn,bjn->bjm", transforms[..., :3, :3], out.rest_joints) + transforms[..., :3, 3]
    torch.testing.assert_close(own, posed, atol=1e-6, rtol=0)


def test_one_person_in_many_poses(body, people):
    many = body(people["betas"][:1], people["pose"])
    each = body(people["betas"][:1].expand(4, -1), people["pose"])
    torch.testing.assert_close(many.vertices, each.vertices)


def test_gradients_flow_to_every_parameter_at_rest(body):
    inputs = {
        "betas": torch.zeros(1, 50),
        "pose": torch.zeros(1, 55, 3),
        "transl": torch.zeros(1, 3),
        "expression": torch.zeros(1, 52),
    }
    for tensor in inputs.values():
        tensor.requires_grad_()
    weight = torch.randn(body.v_template.shape, generator=torch.Generator().manual_seed(0))
    (body(**inputs).vertices * weight).sum().backward()
    for name, tensor in inputs.items():
        assert torch.isfinite(tensor.grad).all(), name
        moved = tensor.grad.reshape(-1, 3).norm(dim=1) > 0 if name == "pose" else tensor.grad != 0
        assert moved.all(), name


def test_wrist_twist_is_spread_over_the_forearm(body):
    """A 90 degree twist of the wrist turns the middle of the forearm part of the way, not at all with plain
    LBS.
    """
    pose = torch.zeros(1, 55, 3)
    pose[0, JOINT_INDEX["left_wrist"], 0] = torch.pi / 2
    out = body(torch.zeros(1, 50), pose)
    elbow, wrist = (out.rest_joints[0, JOINT_INDEX[f"left_{n}"]] for n in ("elbow", "wrist"))
    along = (out.rest_vertices[0, :, 0] - elbow[0]) / (wrist[0] - elbow[0])
    ring = (along > 0.45) & (along < 0.55) & (body.weights[:, JOINT_INDEX["left_elbow"]] > 0.9)
    axis = (elbow + wrist)[1:] / 2
    before, after = (v[0, ring][:, 1:] - axis for v in (out.rest_vertices, out.vertices))
    cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    degrees = torch.rad2deg(torch.atan2(cross, (before * after).sum(1))).mean()
    assert 25 < degrees < 60
    assert after.norm(dim=1).mean() > 0.65 * before.norm(dim=1).mean()


def test_bad_input_is_refused(body, tmp_path):
    with pytest.raises(InvalidInputError, match="betas"):
        body.rest(torch.zeros(1, 10))
    with pytest.raises(InvalidInputError, match="pose"):
        body(torch.zeros(1, 50), torch.zeros(1, 165))
    with pytest.raises(InvalidInputError, match="Batch sizes"):
        body(torch.zeros(3, 50), torch.zeros(2, 55, 3))
    with pytest.raises(NotFoundError):
        BodyModel.load(tmp_path / "none.npz")
    broken = tmp_path / "broken.npz"
    broken.write_bytes(BODY_FILE.read_bytes()[:5000])
    with pytest.raises(InvalidInputError):
        BodyModel.load(broken)
    with pytest.raises(InvalidInputError, match="num_betas"):
        BodyModel.load(num_betas=301)


def test_a_pickled_or_foreign_file_is_refused(raw, tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, **{**raw, "v_template": np.array([object()])})
    with pytest.raises(InvalidInputError):
        BodyModel.load(path)
    short = dict(raw)
    short["kintree_table"] = short["kintree_table"].copy()
    short["kintree_table"][0, 5] = 0
    np.savez(path, **short)
    with pytest.raises(InvalidInputError, match="skeleton"):
        BodyModel.load(path)


def test_skeleton_is_in_a_t_pose(body):
    joints = body.joint_template
    assert joints[0].abs().max() < 2e-3
    for side, s in (("left", 1.0), ("right", -1.0)):
        shoulder, elbow, wrist, tip = (
            joints[JOINT_INDEX[f"{side}_{n}"]] for n in ("shoulder", "elbow", "wrist", "middle3")
        )
        for a, b in ((shoulder, elbow), (elbow, wrist), (wrist, tip)):
            direction = (b - a) / (b - a).norm()
            assert direction[0] * s > 0.99
        hip, ankle, foot = (joints[JOINT_INDEX[f"{side}_{n}"]] for n in ("hip", "ankle", "foot"))
        assert abs(np.degrees(np.arctan2(s * (ankle - hip)[0], (hip - ankle)[1])) - 3) < 0.5
        assert abs((foot - ankle)[0]) < 2e-3 and (foot - ankle)[2] > 0.05
    assert len(JOINT_PARENTS) == 55
