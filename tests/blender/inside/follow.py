"""Inside Blender: an imported avatar deforms as the baked rig says, splats included, no Python per frame."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "blender_addon"))

from lca_avatars.bl import importer, pose
from lca_avatars.core.control_names import control_of
from lca_avatars.core.deps import package, skin
from lca_bridge.wire.skin import rotation_matrices
from lca_core.body.names import ARKIT_NAMES, JOINT_INDEX, JOINT_NAMES, JOINT_PARENTS

AVATAR = os.environ["LCA_TEST_AVATAR"]


@pytest.fixture(scope="module")
def avatar() -> importer.AvatarHandles:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    handles = importer.import_avatar(AVATAR)
    importer.set_display(handles.proxy, handles.splats, "BOTH")
    return handles


@pytest.fixture(scope="module")
def truth():
    return package.read_package(AVATAR)


def arrays(obj: bpy.types.Object, *names: str) -> list[np.ndarray]:
    """Evaluated attributes of an object in its own space."""
    graph = bpy.context.evaluated_depsgraph_get()
    data = obj.evaluated_get(graph).data
    found = []
    for name in names:
        attribute = data.attributes[name]
        width, field = {"FLOAT_VECTOR": (3, "vector"), "QUATERNION": (4, "value")}[attribute.data_type]
        flat = np.empty(len(attribute.data) * width, np.float32)
        attribute.data.foreach_get(field, flat)
        found.append(flat.reshape(-1, width))
    return found


def wave() -> dict:
    """Left arm up and bent, head turned, a smile with an open mouth, one step to the side."""
    rotations = np.zeros((55, 3))
    rotations[JOINT_INDEX["left_shoulder"]] = (0.0, -0.2, 0.9)
    rotations[JOINT_INDEX["left_elbow"]] = (0.1, -1.2, 0.3)
    rotations[JOINT_INDEX["head"]] = (0.1, 0.5, -0.1)
    rotations[JOINT_INDEX["pelvis"]] = (0.0, 0.7, 0.0)
    arkit = np.zeros(52)
    arkit[ARKIT_NAMES.index("jawOpen")] = 0.5
    arkit[ARKIT_NAMES.index("mouthSmileLeft")] = 0.8
    return {"joint_rotations": rotations, "translation": np.array([0.3, 0.05, -0.2]), "arkit": arkit}


def crouch() -> dict:
    """Deep knee bend with closed hands, turned spine, frown."""
    rotations = np.zeros((55, 3))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        rotations[JOINT_INDEX[f"{side}_hip"]] = (-1.1, 0.1 * sign, 0.2 * sign)
        rotations[JOINT_INDEX[f"{side}_knee"]] = (1.6, 0.0, 0.0)
        rotations[JOINT_INDEX[f"{side}_ankle"]] = (-0.5, 0.0, 0.0)
        for finger in ("index", "middle", "ring", "pinky"):
            for joint in (1, 2, 3):
                rotations[JOINT_INDEX[f"{side}_{finger}{joint}"]] = (0.0, 0.0, -0.8 * sign)
    rotations[JOINT_INDEX["spine2"]] = (0.3, 0.3, 0.0)
    arkit = np.zeros(52)
    arkit[ARKIT_NAMES.index("browDownLeft")] = 1.0
    return {"joint_rotations": rotations, "translation": np.array([0.0, -0.4, 0.1]), "arkit": arkit}


POSES = {"wave": wave, "crouch": crouch}


def apply(avatar: importer.AvatarHandles, frame: dict) -> None:
    weights = dict(zip(ARKIT_NAMES, frame["arkit"], strict=True))
    pose.apply_pose(avatar.rig, JOINT_NAMES, frame["joint_rotations"], frame["translation"], weights)


def test_the_deform_bones_are_the_smplx_joints(avatar, truth) -> None:
    deform = {bone.name: bone for bone in avatar.rig.data.bones if bone.use_deform}
    assert set(deform) == set(JOINT_NAMES) and len(deform) == 55
    for name, parent in zip(JOINT_NAMES, JOINT_PARENTS, strict=True):
        bone = deform[name]
        assert (bone.parent.name if bone.parent else None) == (JOINT_NAMES[parent] if parent >= 0 else None)
        assert np.allclose(bone.head_local, truth.skinning.joints[JOINT_INDEX[name]], atol=1e-6)


def test_right_bones_mirror_left_bones(avatar) -> None:
    mirror = np.diag([-1.0, 1.0, 1.0])
    for name in JOINT_NAMES:
        if name.startswith("left_"):
            left = np.array(avatar.rig.data.bones[name].matrix_local.to_3x3())
            right = np.array(avatar.rig.data.bones[name.replace("left_", "right_")].matrix_local.to_3x3())
            # A mirrored frame is left-handed; Blender's convention flips X to make it a rotation again.
            assert np.allclose(mirror @ left @ mirror, right, atol=0.02), name


def test_the_avatar_stands_upright_in_blender(avatar) -> None:
    top = avatar.rig.matrix_world @ avatar.rig.data.bones["head"].head_local
    foot = avatar.rig.matrix_world @ avatar.rig.data.bones["left_foot"].head_local
    assert top.z - foot.z > 1.2
    assert (avatar.rig.matrix_world.to_3x3() @ avatar.rig.data.bones["left_eye_smplhf"].y_axis).y < -0.99


def test_rest_pose_changes_nothing(avatar, truth) -> None:
    apply(avatar, {"joint_rotations": np.zeros((55, 3)), "translation": np.zeros(3), "arkit": np.zeros(52)})
    (vertices,) = arrays(avatar.proxy, "position")
    means, quats = arrays(avatar.splats, "position", "rotation")
    assert np.abs(vertices - truth.proxy.vertices).max() < 1e-6
    assert np.abs(means - truth.canonical.means).max() < 3e-6
    assert (1 - np.abs((quats * truth.canonical.quats).sum(1))).max() < 1e-5


@pytest.mark.parametrize("name", POSES)
def test_the_proxy_is_linear_blend_skinning(avatar, truth, name: str) -> None:
    frame = POSES[name]()
    apply(avatar, frame)
    (vertices,) = arrays(avatar.proxy, "position")
    expected = skin.pose_proxy(truth, **frame)
    assert np.linalg.norm(expected - truth.proxy.vertices, axis=1).max() > 0.2  # the pose is a real one
    assert np.linalg.norm(vertices - expected, axis=1).max() < 1e-4


@pytest.mark.parametrize("name", POSES)
def test_the_splats_follow_like_the_baked_rig(avatar, truth, name: str) -> None:
    frame = POSES[name]()
    apply(avatar, frame)
    means, quats = arrays(avatar.splats, "position", "rotation")
    baked = skin.pose_package(truth, **frame)
    errors = np.linalg.norm(means - baked.means, axis=1)
    assert errors.mean() < 2e-5 and np.percentile(errors, 99) < 2e-4
    turn = 2 * np.degrees(np.arccos(np.clip(np.abs((quats * baked.quats).sum(1)), 0, 1)))
    assert turn.mean() < 2.0


def test_hidden_proxy_still_carries_the_splats(avatar, truth) -> None:
    importer.set_display(avatar.proxy, avatar.splats, "SPLATS")
    frame = wave()
    apply(avatar, frame)
    (means,) = arrays(avatar.splats, "position")
    importer.set_display(avatar.proxy, avatar.splats, "BOTH")
    assert np.linalg.norm(means - skin.pose_package(truth, **frame).means, axis=1).mean() < 0.0005


def test_applied_rotations_come_back_from_the_bones(avatar) -> None:
    frame = wave()
    apply(avatar, frame)
    bpy.context.view_layer.update()
    for name, vector in zip(JOINT_NAMES, frame["joint_rotations"], strict=True):
        bone = avatar.rig.pose.bones[control_of(name)]
        rest = np.array(bone.bone.matrix_local.to_3x3())
        back = rest @ np.array(bone.rotation_quaternion.to_matrix()) @ rest.T
        assert np.allclose(back, rotation_matrices(vector), atol=1e-5), name


def test_native_splat_attributes_are_stored(avatar, truth) -> None:
    data = avatar.splats.data
    assert avatar.splats.type == "POINTCLOUD"
    assert data.attributes["rotation"].data_type == "QUATERNION"
    base = np.empty(len(truth.canonical.means) * 4, np.float32)
    attribute = data.attributes["radiance:base"]
    attribute.data.foreach_get("color" if attribute.data_type == "FLOAT_COLOR" else "vector", base)
    assert np.allclose(base.reshape(-1, 4)[:, :3], truth.canonical.sh[:, 0], atol=1e-6)
    assert np.allclose(base.reshape(-1, 4)[:, 3], truth.canonical.opacities, atol=1e-6)
    scale = np.empty(len(truth.canonical.means) * 3, np.float32)
    data.attributes["scale"].data.foreach_get("vector", scale)
    assert np.allclose(scale.reshape(-1, 3), truth.canonical.scales)


def test_two_avatars_do_not_share_controls(avatar) -> None:
    second = importer.import_avatar(AVATAR)
    second.rig["jawOpen"] = 1.0
    second.rig.update_tag()
    avatar.rig["jawOpen"] = 0.0
    avatar.rig.update_tag()
    bpy.context.view_layer.update()
    assert second.proxy.data.shape_keys.key_blocks["jawOpen"].value == pytest.approx(1.0)
    assert avatar.proxy.data.shape_keys.key_blocks["jawOpen"].value == pytest.approx(0.0)
    assert second.splats.modifiers[0].node_group == avatar.splats.modifiers[0].node_group
