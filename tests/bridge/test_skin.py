"""The baked rig against a slow, literal reading of docs/avatar-file.md, and the laws posing must keep."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lca.errors import InvalidInputError
from lca_bridge.wire.package import read_package
from lca_bridge.wire.skin import (
    BakedRig,
    gaze_rotation,
    multiply_quaternions,
    pose_package,
    pose_proxy,
    quaternions,
    rotation_matrices,
)


@pytest.fixture(scope="module")
def package(package_bytes):
    return read_package(package_bytes)


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(3)
    return {
        "joint_rotations": rng.normal(0, 0.5, (55, 3)),
        "translation": rng.normal(0, 1, 3),
        "arkit": np.clip(rng.normal(0.2, 0.4, 52), 0, 1),
        "gaze": rng.normal(0, 0.3, (2, 2)),
    }


def literal_pose(package, joint_rotations, translation, arkit, gaze):
    """The specification sentence by sentence, one Gaussian at a time, float64."""
    base, skin = package.canonical, package.skinning
    # numpy 1 multiplies a float64 scalar and a float16 array in float16: widen first
    c = SimpleNamespace(
        **{
            k: v.astype(np.float64) if v.dtype.kind == "f" else v
            for k, v in vars(package.correctives).items()
        }
    )
    local = [Rotation.from_rotvec(r) for r in joint_rotations]
    for joint, (yaw, pitch) in zip((23, 24), gaze):
        local[joint] = local[joint] * Rotation.from_rotvec([0, yaw, 0]) * Rotation.from_rotvec([pitch, 0, 0])
    matrices = np.stack([r.as_matrix() for r in local])
    p = np.concatenate([(matrices[j] - np.eye(3)).ravel() for j in range(1, 55)])
    coefficients = c.pose_basis.astype(np.float64) @ (p - c.pose_mean)
    means, quats = base.means.astype(np.float64), base.quats.astype(np.float64)
    logs, sh = np.log(base.scales.astype(np.float64)), base.sh.astype(np.float64)
    for k in range(52):
        for row in range(c.arkit_ptr[k], c.arkit_ptr[k + 1]):
            i = c.arkit_index[row]
            means[i] += arkit[k] * c.arkit_means[row]
            quats[i] += arkit[k] * c.arkit_quats[row]
            logs[i] += arkit[k] * c.arkit_log_scales[row]
            sh[i, 0] += arkit[k] * c.arkit_sh0[row]
    for k, w in enumerate(coefficients):
        means += w * c.pose_means[k]
        quats += w * c.pose_quats[k]
        logs += w * c.pose_log_scales[k]
        sh[:, 0] += w * c.pose_sh0[k]
    world = [None] * 55
    for j in range(55):
        m = np.eye(4)
        m[:3, :3] = matrices[j]
        parent = skin.parents[j]
        m[:3, 3] = skin.joints[j] - (skin.joints[parent] if parent >= 0 else 0)
        world[j] = m if parent < 0 else world[parent] @ m
    out_means, out_quats = np.empty_like(means), np.empty_like(quats)
    joint_quats = []
    for j in range(55):
        back = np.eye(4)
        back[:3, 3] = -skin.joints[j]
        joint_quats.append(np.roll(Rotation.from_matrix(world[j][:3, :3]).as_quat(), 1))
        world[j] = world[j] @ back
    for i in range(len(means)):
        x, q = np.zeros(3), np.zeros(4)
        heaviest = joint_quats[skin.joint_indices[i, 0]]
        for j, w in zip(skin.joint_indices[i], skin.joint_weights[i]):
            x += w * (world[j] @ np.append(means[i], 1))[:3]
            q += w * (1 if joint_quats[j] @ heaviest >= 0 else -1) * joint_quats[j]
        out_means[i] = x + translation
        turn = Rotation.from_quat(np.roll(q, -1))  # scipy normalises
        out_quats[i] = np.roll((turn * Rotation.from_quat(np.roll(quats[i], -1))).as_quat(), 1)
    return out_means, out_quats, np.exp(logs), sh


def test_matches_the_literal_specification(package, frame):
    fast = pose_package(package, **frame)
    means, quats, scales, sh = literal_pose(package, **frame)
    assert np.abs(fast.means - means).max() < 2e-5
    assert np.abs(np.abs(np.einsum("ij,ij->i", fast.quats, quats)) - 1).max() < 1e-5
    assert np.abs(fast.scales / scales - 1).max() < 1e-5
    assert np.abs(fast.sh - sh).max() < 1e-5
    assert np.array_equal(fast.opacities, package.canonical.opacities)


def test_rest_pose_is_the_canonical_set_where_correctives_vanish(groups, repack):
    c = groups["correctives"]
    neutral = {**groups, "correctives": {**c, "pose_mean": np.zeros_like(c["pose_mean"])}}
    package = read_package(repack(neutral))
    posed = pose_package(package, np.zeros((55, 3)))
    assert np.abs(posed.means - package.canonical.means).max() < 1e-6
    assert np.abs(np.abs(np.einsum("ij,ij->i", posed.quats, package.canonical.quats)) - 1).max() < 1e-5
    assert np.allclose(posed.scales, package.canonical.scales, rtol=1e-6)
    assert np.array_equal(posed.sh, package.canonical.sh)


def test_root_rotation_and_translation_move_everything_rigidly(package, frame):
    still = dict(frame, translation=np.zeros(3))
    still["joint_rotations"] = frame["joint_rotations"].copy()
    still["joint_rotations"][0] = 0
    a = pose_package(package, **still)
    turned = dict(still, translation=np.array([0.3, -1.0, 2.0]))
    turned["joint_rotations"] = still["joint_rotations"].copy()
    turned["joint_rotations"][0] = (0.4, -1.1, 0.2)
    b = pose_package(package, **turned)
    root = rotation_matrices(np.array([0.4, -1.1, 0.2]))
    pelvis = package.skinning.joints[0].astype(np.float64)
    expected = (a.means - pelvis) @ root.T + pelvis + turned["translation"]
    assert np.abs(b.means - expected).max() < 1e-5
    turned_quats = multiply_quaternions(quaternions(root)[None], a.quats.astype(np.float64))
    assert np.abs(np.abs(np.einsum("ij,ij->i", b.quats, turned_quats)) - 1).max() < 1e-5
    assert np.allclose(a.scales, b.scales) and np.array_equal(a.sh, b.sh)


def test_agrees_with_the_core_animator(package_file, frame):
    avatar = pytest.importorskip("lca_core.avatar.avatar")
    animate = pytest.importorskip("lca_core.avatar.animate")
    from lca_core.avatar.frame import PoseFrame

    package = read_package(package_file)

    def take(kind, group, **extra):
        return kind(**{f: getattr(group, f) for f in kind.__dataclass_fields__ if f not in extra}, **extra)

    class Parts:  # Animator reads only these groups; the file fixture has no valid RigDescription
        canonical = take(avatar.Canonical, package.canonical)
        skinning = take(avatar.Skinning, package.skinning)
        correctives = take(avatar.Correctives, package.correctives)
        gaussian_count = package.gaussian_count

    theirs = animate.Animator(Parts()).evaluate(PoseFrame(**frame))
    ours = BakedRig(package).pose(**frame)
    assert np.abs(ours.means - theirs.means.numpy()).max() < 2e-5
    assert np.abs(np.abs(np.einsum("ij,ij->i", ours.quats, theirs.quats.numpy())) - 1).max() < 1e-5
    assert np.allclose(ours.scales, theirs.scales.numpy(), rtol=1e-4)
    assert np.abs(ours.sh - theirs.sh.numpy()).max() < 1e-4


def test_gaze_signs():
    forward = np.array([0.0, 0.0, 1.0])
    assert (gaze_rotation(0.3, 0) @ forward)[0] > 0  # towards the person's left, +X
    assert (gaze_rotation(0, 0.3) @ forward)[1] < 0  # down


def test_gaze_moves_only_what_the_eyes_hold(groups, repack):
    package = read_package(repack({k: v for k, v in groups.items() if k != "correctives"}))
    a = pose_package(package, np.zeros((55, 3)))
    b = pose_package(package, np.zeros((55, 3)), gaze=np.array([[0.4, 0.1], [0.4, 0.1]]))
    moved = np.abs(a.means - b.means).max(1) > 1e-7
    skin = package.skinning
    held = ((skin.joint_indices == 23) | (skin.joint_indices == 24)) & (skin.joint_weights > 0)
    assert moved.any() and not np.any(moved & ~held.any(1))


def test_quaternions_agree_with_scipy_everywhere():
    rng = np.random.default_rng(0)
    rotvecs = np.concatenate([
        rng.normal(0, 2, (500, 3)), np.pi * np.eye(3), -np.pi * np.eye(3), np.zeros((1, 3)),
        rng.normal(0, 1e-9, (5, 3)),
    ])  # fmt: skip
    ours = quaternions(rotation_matrices(rotvecs))
    theirs = np.roll(Rotation.from_rotvec(rotvecs).as_quat(), 1, axis=1)
    assert np.abs(np.abs(np.einsum("ij,ij->i", ours, theirs)) - 1).max() < 1e-12
    assert np.abs(rotation_matrices(rotvecs) - Rotation.from_rotvec(rotvecs).as_matrix()).max() < 1e-12


def test_proxy_follows_the_same_skeleton(package, frame):
    vertices = pose_proxy(package, **frame)
    proxy, skin = package.proxy, package.skinning
    rest = proxy.vertices.astype(np.float64)
    for k in range(52):
        rows = proxy.arkit_rows(k)
        rest[proxy.arkit_index[rows]] += frame["arkit"][k] * proxy.arkit_vertices[rows]
    from lca_bridge.wire.skin import joint_transforms, local_rotations

    transforms = joint_transforms(
        skin.joints,
        skin.parents,
        local_rotations(frame["joint_rotations"], frame["gaze"]),
        frame["translation"],
    )
    homogeneous = np.concatenate([rest, np.ones((len(rest), 1))], 1)
    expected = np.einsum("vi,viab,vb->va", proxy.joint_weights, transforms[proxy.joint_indices], homogeneous)
    assert np.abs(vertices - expected[:, :3]).max() < 1e-5


@pytest.mark.parametrize("name,value", [
    ("joint_rotations", np.zeros((54, 3))),
    ("joint_rotations", np.full((55, 3), np.nan)),
    ("arkit", np.zeros(51)),
    ("translation", np.array([0, np.inf, 0])),
    ("gaze", np.zeros(4)),
])  # fmt: skip
def test_bad_poses_are_named(package, frame, name, value):
    with pytest.raises(InvalidInputError, match=name) as caught:
        pose_package(package, **dict(frame, **{name: value}))
    assert caught.value.reason == "BAD_POSE"
