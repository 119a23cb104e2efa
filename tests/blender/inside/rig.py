"""Inside Blender: the control rig. IK keeps its promises, the board moves the face, presets, mirror, keys."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "blender_addon"))

from lca_avatars.bl import (
    bone_groups,
    compat,
    importer,
    keys,
    limbs,
    name_maps,
    pose,
    pose_assets,
    snap,
    splats,
)
from lca_avatars.core.board import EYES_KNOB, STROKE, knob_of, knobs
from lca_avatars.core.control_names import IK_PROPERTIES, LIMITS_PROPERTY, control_of, mirrored
from lca_avatars.core.presets import expressions, hand_poses
from lca_bridge.wire.skin import rotation_matrices
from lca_core.body.names import ARKIT_NAMES, JOINT_INDEX, JOINT_NAMES

AVATAR = os.environ["LCA_TEST_AVATAR"]
LIMBS = limbs.limbs()


def settle(rig: bpy.types.Object) -> None:
    rig.update_tag()
    bpy.context.view_layer.update()


def joints(rig: bpy.types.Object) -> dict[str, np.ndarray]:
    return {name: np.array(rig.pose.bones[name].matrix) for name in JOINT_NAMES}


def worst(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> tuple[float, float]:
    """Largest difference of turn (degrees) and place (millimetres)."""
    turn = place = 0.0
    for name, a in first.items():
        b = second[name]
        delta = a[:3, :3].T @ b[:3, :3]
        turn = max(turn, float(np.degrees(np.linalg.norm(delta - delta.T) / np.sqrt(8))))
        place = max(place, 1e3 * float(np.linalg.norm(a[:3, 3] - b[:3, 3])))
    return turn, place


def body_pose(seed: int, spread: float = 0.45) -> np.ndarray:
    rotations = np.random.default_rng(seed).normal(0, spread, (55, 3))
    rotations[22:] = 0.0
    return rotations


def keys_of(rig: bpy.types.Object) -> dict[str, float]:
    blocks = importer.part(rig, "proxy").data.shape_keys.key_blocks
    return {name: blocks[name].value for name in ARKIT_NAMES}


def test_every_control_has_a_shape_a_colour_and_a_home(rig) -> None:
    visible = [b for b in rig.pose.bones if b.bone.collections[0].name not in bone_groups.HIDDEN[1:]]
    assert len(visible) > 100
    for bone in visible:
        assert bone.custom_shape is not None, bone.name
        assert bone.color.palette != "DEFAULT" and not bone.bone.use_deform, bone.name
        assert all(bone.lock_scale) or bone.name in ("root", "FB-board"), bone.name
    for bone in rig.pose.bones:
        assert len(bone.bone.collections) == 1, bone.name
    assert {c.name for c in rig.data.collections_all} == set(bone_groups.PARENTS)
    assert rig.data.collections_all["Arm IK.L"].parent.name == "Arm.L"


@pytest.mark.parametrize("limb", LIMBS, ids=lambda limb: limb.switch)
def test_the_end_of_an_ik_limb_is_where_its_handle_is(rig, limb) -> None:
    rig[limb.switch] = 1.0
    handle = rig.pose.bones[limb.handle]
    upper, middle, end = (rig.pose.bones[joint] for joint in limb.joints)
    lengths = (middle.head - upper.head).length, (end.head - middle.head).length
    for step in range(4):
        target = (
            upper.head
            + (0.35 + 0.15 * step) * sum(lengths) * (end.bone.head_local - upper.bone.head_local).normalized()
        )
        target.z += 0.1
        matrix = handle.matrix.copy()
        matrix.translation = target
        handle.matrix = matrix
        settle(rig)
        assert (end.head - target).length < 1e-4
        assert (middle.head - upper.head).length == pytest.approx(lengths[0], abs=1e-5)
        assert (end.head - middle.head).length == pytest.approx(lengths[1], abs=1e-5)
        # The middle joint lies in the plane of trunk joint, handle and pole, on the pole's side.
        line = (end.head - upper.head).normalized()
        pole = rig.pose.bones[limb.pole].head - upper.head
        out, towards = middle.head - upper.head, pole - line * pole.dot(line)
        out = out - line * out.dot(line)
        assert out.normalized().dot(towards.normalized()) > 0.9999
    matrix.translation = upper.head + 3.0 * (target - upper.head)  # out of reach: straight, not broken
    handle.matrix = matrix
    settle(rig)
    assert (end.head - upper.head).length == pytest.approx(sum(lengths), abs=2e-3)


def test_snapping_moves_nothing_in_either_direction(rig) -> None:
    for seed in range(3):
        pose.apply_pose(rig, JOINT_NAMES, body_pose(seed), np.array([0.1, 0.2, -0.3]))
        settle(rig)
        before = joints(rig)
        assert bpy.ops.lca.switch_limb(limb="ALL", to="IK") == {"FINISHED"}
        assert [rig[name] for name in IK_PROPERTIES] == [1.0] * 4
        settle(rig)
        turn, place = worst(before, joints(rig))
        assert turn < 0.01 and place < 0.05
        for limb in LIMBS:  # a new IK pose, then back
            rig.pose.bones[limb.handle].location.y += 0.07
        settle(rig)
        moved = joints(rig)
        assert worst(before, moved)[1] > 20.0
        assert bpy.ops.lca.switch_limb(limb="ALL", to="FK") == {"FINISHED"}
        settle(rig)
        turn, place = worst(moved, joints(rig))
        assert turn < 0.01 and place < 0.05


def test_a_keyed_switch_changes_system_between_two_frames(rig) -> None:
    scene, limb = bpy.context.scene, LIMBS[0]
    pose.apply_pose(rig, JOINT_NAMES, body_pose(7))
    for control in limb.fk:
        snap.key_bone(rig, control, 10)
    scene.frame_set(10)
    before = joints(rig)
    bpy.ops.lca.switch_limb(limb=limb.switch, to="IK", key=True)
    assert rig.animation_data.action_slot is not None
    scene.frame_set(9)
    assert rig[limb.switch] == 0.0
    scene.frame_set(10)
    assert rig[limb.switch] == 1.0
    turn, place = worst(before, joints(rig))
    assert turn < 0.01 and place < 0.05


def test_ik_survives_a_scaled_and_moved_avatar(rig) -> None:
    limb = LIMBS[0]
    rig[limb.switch] = 1.0
    rig.pose.bones[limb.handle].location.z += 0.15
    settle(rig)
    before = joints(rig)
    rig.scale = (2.0, 2.0, 2.0)
    rig.location = (1.0, 2.0, 3.0)
    settle(rig)
    turn, place = worst(before, joints(rig))
    assert turn < 0.05 and place < 0.2


def test_torso_hips_and_chest(rig) -> None:
    bones = rig.pose.bones
    bones["torso"].location.y = 0.1
    settle(rig)
    moved = rig.data.bones["pelvis"].matrix_local.to_3x3().col[1] * 0.1
    assert (bones["head"].head - rig.data.bones["head"].head_local - moved).length < 1e-5
    bones["torso"].location.y = 0.0
    bones["chest"].rotation_mode = "XYZ"
    bones["chest"].rotation_euler.x = np.radians(30.0)
    settle(rig)
    turned = (
        bones["neck"].matrix.to_3x3() @ rig.data.bones["neck"].matrix_local.to_3x3().inverted()
    ).to_quaternion()
    assert np.degrees(turned.angle) == pytest.approx(30.0, abs=1.0)
    foot = bones["left_ankle"].head.copy()
    assert (foot - rig.data.bones["left_ankle"].head_local).length < 1e-5
    bones["chest"].rotation_euler.x = 0.0
    bones["hips"].rotation_mode = "XYZ"
    bones["hips"].rotation_euler.y = np.radians(20.0)
    settle(rig)
    assert (bones["left_ankle"].head - foot).length > 0.03
    assert (bones["head"].head - rig.data.bones["head"].head_local).length < 0.002


def test_joint_limits_hold_when_asked_and_only_then(rig) -> None:
    rotations = np.zeros((55, 3))
    rotations[JOINT_INDEX["left_knee"]] = (-0.8, 0.0, 0.0)  # a knee does not bend forwards
    pose.apply_pose(rig, JOINT_NAMES, rotations)

    def knee() -> np.ndarray:
        settle(rig)
        thigh, shin = rig.pose.bones["left_hip"].matrix, rig.pose.bones["left_knee"].matrix
        return np.array((thigh.inverted() @ shin).to_3x3())

    free = knee()
    rest = np.array(
        (
            rig.data.bones["left_hip"].matrix_local.inverted() @ rig.data.bones["left_knee"].matrix_local
        ).to_3x3()
    )
    frame = np.array(rig.data.bones["left_knee"].matrix_local.to_3x3())
    assert np.allclose(rest.T @ free, frame.T @ rotation_matrices([-0.8, 0, 0]) @ frame, atol=1e-4)
    rig[LIMITS_PROPERTY] = 1.0
    lowest = importer.controls.rig_info(rig).limits["left_knee"].low[0]
    bend = np.degrees(np.arccos(np.clip((np.trace(rest.T @ knee()) - 1) / 2, -1, 1)))
    assert bend == pytest.approx(abs(lowest), abs=1.5)


def test_every_knob_raises_its_shape_alone_and_stays_in_its_travel(rig) -> None:
    for name in ARKIT_NAMES:
        if name.startswith("eyeLook"):
            continue
        axis = knob_of(name)
        bone = rig.pose.bones[axis.bone]
        setattr(bone.location, axis.axis.lower(), axis.sign * 0.5 * STROKE)
        settle(rig)
        values = keys_of(rig)
        assert values.pop(name) == pytest.approx(0.5, abs=1e-4), name
        assert max(values.values()) == pytest.approx(0.0, abs=1e-4), name
        bone.location = [5.0 * v for v in bone.location]
        settle(rig)
        assert keys_of(rig)[name] == pytest.approx(1.0, abs=1e-4)
        assert (bone.matrix.translation - bone.bone.matrix_local.translation).length == pytest.approx(
            STROKE, abs=1e-5
        )
        bone.location = (0.0, 0.0, 0.0)


def test_the_eye_knob_turns_the_eyes_and_the_lids_follow(rig) -> None:
    knob = rig.pose.bones[EYES_KNOB]
    knob.location = (0.0, STROKE, 0.0)
    settle(rig)
    values = keys_of(rig)
    assert values["eyeLookUpLeft"] == pytest.approx(1.0, abs=0.02)
    assert values["eyeLookDownLeft"] == 0.0
    assert rig.pose.bones["left_eye_smplhf"].y_axis.y > 0.3


def test_board_and_slider_add_up_and_the_board_can_hand_over(rig) -> None:
    rig["jawOpen"] = 0.4
    rig.pose.bones["FB-jaw"].location.y = -0.35 * STROKE
    rig.pose.bones["FB-mouth_corner.L"].location.y = 0.6 * STROKE
    settle(rig)
    before = keys_of(rig)
    assert before["jawOpen"] == pytest.approx(0.75, abs=1e-4)
    assert bpy.ops.lca.board_to_sliders() == {"FINISHED"}
    settle(rig)
    assert keys_of(rig) == pytest.approx(before, abs=1e-4)
    assert rig["jawOpen"] == pytest.approx(0.75, abs=1e-4)
    assert max(rig.pose.bones[knob.bone].location.length for knob in knobs()) == 0.0


def test_presets_reach_the_shapes_and_the_fingers(rig) -> None:
    assert len([name for name in expressions() if name.startswith("Viseme")]) == 15
    for name, expression in expressions().items():
        assert set(expression.weights) <= set(ARKIT_NAMES), name
        bpy.ops.lca.expression(expression=name)
    bpy.ops.lca.expression(expression="Smile", strength=0.5)
    settle(rig)
    assert keys_of(rig)["mouthSmileLeft"] == pytest.approx(0.375, abs=1e-4)
    assert {"Fist", "Open", "Point", "Peace", "Thumbs Up", "Relaxed"} <= set(hand_poses())
    reach = {}
    for name in hand_poses():
        bpy.ops.lca.hand_pose(pose=name, side="left")
        settle(rig)
        wrist = rig.pose.bones["left_wrist"]
        reach[name] = [
            (rig.pose.bones[f"left_{f}3"].tail - wrist.head).length
            for f in ("index", "middle", "ring", "pinky")
        ]
        assert rig["curl_index.R"] == 0.0
    assert max(reach["Fist"]) < 0.7 * min(reach["Flat"][:3])
    assert reach["Point"][0] > 0.95 * reach["Flat"][0] and reach["Point"][1] < 0.7 * reach["Flat"][1]


def test_mirroring_is_its_own_inverse_and_copies_one_side(rig) -> None:
    pose.apply_pose(rig, JOINT_NAMES, body_pose(3, 0.3), arkit={"mouthSmileLeft": 0.8, "jawLeft": 0.4})
    rig["curl_index.L"], rig["gaze_yaw"] = 0.7, 0.3
    rig.pose.bones["FB-mouth_corner.R"].location.x = -0.01
    settle(rig)
    before = joints(rig)
    bpy.ops.lca.mirror_pose(direction="SWAP")
    settle(rig)
    after = joints(rig)
    mirror = np.diag([-1.0, 1.0, 1.0])
    for name in JOINT_NAMES:
        expected = mirror @ before[name][:3, 3]
        assert np.allclose(after[mirrored(name)][:3, 3], expected, atol=4e-3), name
    assert rig["curl_index.R"] == pytest.approx(0.7) and rig["mouthSmileRight"] == pytest.approx(0.8)
    assert rig["jawRight"] == pytest.approx(0.4) and rig["gaze_yaw"] == pytest.approx(-0.3)
    assert rig.pose.bones["FB-mouth_corner.L"].location.x == pytest.approx(0.01)
    bpy.ops.lca.mirror_pose(direction="SWAP")
    settle(rig)
    turn, place = worst(before, joints(rig))
    assert turn < 0.01 and place < 0.01
    bpy.ops.lca.mirror_pose(direction="LEFT_TO_RIGHT", part="HANDS")
    assert rig["curl_index.R"] == rig["curl_index.L"] == pytest.approx(0.7)
    assert rig["mouthSmileRight"] == 0.0
    assert rig["jawLeft"] == pytest.approx(0.4)


def test_the_whole_pose_is_keyed_into_one_slotted_action(rig) -> None:
    scene = bpy.context.scene
    scene.frame_set(1)
    bpy.ops.lca.key_pose(part="ALL")
    pose.apply_pose(rig, JOINT_NAMES, body_pose(5), arkit={"jawOpen": 0.9})
    rig.pose.bones["FB-cheek_puff"].location.y = STROKE
    settle(rig)
    wanted, face = joints(rig), keys_of(rig)
    keys.key_part(rig, "ALL", 20)  # moving to frame 20 first would play the keys of frame 1
    scene.frame_set(1)
    assert worst(wanted, joints(rig))[1] > 20.0
    scene.frame_set(20)
    turn, place = worst(wanted, joints(rig))
    assert turn < 0.01 and place < 0.01 and keys_of(rig) == pytest.approx(face, abs=1e-5)
    action = rig.animation_data.action
    assert len(action.slots) == 1 and action.slots[0] == rig.animation_data.action_slot
    curves = action.layers[0].strips[0].channelbag(action.slots[0]).fcurves
    keyed = {curve.data_path for curve in curves}
    assert {f'["{name}"]' for name in ARKIT_NAMES} <= keyed
    assert all(any(f'"{name}"' in path for path in keyed) for name in keys.controls_in(rig, "ALL"))


def test_pose_assets_apply_and_flip(rig, tmp_path: Path) -> None:
    assert bpy.ops.lca.pose_assets() == {"FINISHED"}
    made = pose_assets.build_library(rig)
    assert len(made) == len(hand_poses()) + len(expressions()) == len(set(made))
    assert all(a.asset_data is not None and len(a.slots) == 1 for a in made)
    catalogs = pose_assets.write_catalogs(tmp_path).read_text()
    assert all(a.asset_data.catalog_id in catalogs for a in made)
    assert pose_assets.write_catalogs(tmp_path).read_text() == catalogs
    bpy.ops.object.mode_set(mode="POSE")
    rig.pose.apply_pose_from_action(bpy.data.actions["Fist.L"])
    rig.pose.apply_pose_from_action(bpy.data.actions["Smile"])
    settle(rig)
    smile = keys_of(rig)["mouthSmileLeft"]
    curl = rig.pose.bones["finger_index.L"].rotation_euler.x
    bpy.ops.object.mode_set(mode="OBJECT")
    assert curl == pytest.approx(1.0) and smile == pytest.approx(0.75, abs=1e-4)


@pytest.mark.parametrize("scheme", ["unreal", "unreal5", "unity", "mixamo", "rigify"])
def test_foreign_bone_names_and_back(rig, scheme: str) -> None:
    table = importer.controls.rig_info(rig).name_maps[scheme]
    proxy = importer.part(rig, "proxy")
    pose.apply_pose(rig, JOINT_NAMES, body_pose(2))
    settle(rig)
    before = joints(rig)
    assert bpy.ops.lca.bone_names(scheme=scheme) == {"FINISHED"}
    settle(rig)
    prefix = "DEF-" if scheme == "rigify" else ""
    for joint, theirs in table.items():
        assert name_maps.deform_bone(rig, joint) == prefix + theirs
        assert rig.data.bones[prefix + theirs].use_deform and prefix + theirs in proxy.vertex_groups
        now = np.array(rig.pose.bones[prefix + theirs].matrix)
        assert np.allclose(now, before[joint], atol=1e-5), joint
    pose.apply_pose(rig, JOINT_NAMES, np.zeros((55, 3)))  # posing goes on
    bpy.ops.lca.bone_names(scheme="smplx")
    assert set(JOINT_NAMES) <= {b.name for b in rig.data.bones if b.use_deform}
    assert rig.pose.bones[control_of("left_elbow")] is not None


def test_level_of_detail_keeps_the_most_visible_splats(rig) -> None:
    cloud = importer.part(rig, "splats")
    importer.set_display(importer.part(rig, "proxy"), cloud, "SPLATS")
    total = len(cloud.data.points)

    def shown() -> np.ndarray:
        settle(rig)
        data = cloud.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
        scale = np.empty(len(data.points) * 3, np.float32)
        data.attributes["scale"].data.foreach_get("vector", scale)
        return scale.reshape(-1, 3)

    full = shown()
    assert len(full) == total and splats.get_keep(cloud) == 1.0
    assert bpy.ops.lca.detail(keep=0.25) == {"FINISHED"}
    some = shown()
    assert abs(len(some) - 0.25 * total) <= 1 and splats.get_keep(cloud) == 0.25
    # Fewer, each wider: what they cover together stays about the same, and small ones went first.
    assert some[:, 1].mean() > 1.5 * full[:, 1].mean()
    assert np.median(some[:, 1]) / 2.0 >= np.median(full[:, 1])


def test_splats_can_show_frames_that_somebody_else_computed(rig) -> None:
    cloud = importer.part(rig, "splats")
    importer.set_display(importer.part(rig, "proxy"), cloud, "SPLATS")
    means, quats = splats.read_frame(cloud)
    splats.follow_rig(cloud, False)
    splats.write_frame(cloud, (means + 1.0).astype(np.float16), quats)
    settle(rig)
    data = cloud.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    seen = np.empty(len(means) * 3, np.float32)
    data.attributes["position"].data.foreach_get("vector", seen)
    assert np.abs(seen.reshape(-1, 3) - means - 1.0).max() < 2e-3
    splats.write_frame(cloud, means, quats)
    splats.follow_rig(cloud, True)
    assert np.array_equal(splats.read_frame(cloud)[0], means)


def test_a_splat_ply_arrives_whole_and_a_bad_one_is_refused(rig, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    count, names = 50, ["x", "y", "z", *(f"f_dc_{i}" for i in range(3)), *(f"f_rest_{i}" for i in range(9))]
    names += ["opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    rows = rng.normal(size=(count, len(names))).astype("<f4")
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {count}\n"
    header += "".join(f"property float {name}\n" for name in names) + "end_header\n"
    path = tmp_path / "few.ply"
    path.write_bytes(header.encode() + rows.tobytes())
    assert bpy.ops.lca.import_splat_ply(filepath=str(path)) == {"FINISHED"}
    cloud = bpy.context.object.data
    assert len(cloud.points) == count
    scale = np.empty(count * 3, np.float32)
    cloud.attributes["scale"].data.foreach_get("vector", scale)
    column = dict(zip(names, rows.T, strict=True))
    assert np.allclose(scale.reshape(-1, 3)[:, 1], np.exp(column["scale_1"]), rtol=1e-5)
    band = np.empty(count * 3, np.float32)
    cloud.attributes["radiance:sh_1"].data.foreach_get("vector", band)
    assert np.allclose(band.reshape(-1, 3)[:, 2], column["f_rest_7"])  # channel by channel in the file
    before = len(bpy.data.objects)
    for damage in (b"", b"ply\n", path.read_bytes()[:-40], path.read_bytes().replace(b"rot_3", b"rot_9")):
        path.write_bytes(damage)
        with pytest.raises(RuntimeError, match="PLY"):
            bpy.ops.lca.import_splat_ply(filepath=str(path))
    assert len(bpy.data.objects) == before


def test_native_splats_are_detected_by_asking() -> None:
    prop = bpy.types.PointCloud.bl_rna.properties.get("type")
    assert compat.has_native_splats() == (
        prop is not None and "GAUSSIAN_SPLAT" in set(prop.enum_items.keys())
    )
