"""Inside Blender: every slider and control bone does what it says, and a saved file keeps doing it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "blender_addon"))

from lca_avatars.bl import controls, fingers, gaze, importer, presets
from lca_avatars.core.control_names import control_of
from lca_avatars.core.presets import hand_poses
from lca_bridge.wire.skin import rotation_matrices
from lca_core.body.hand_pose import hand_rotations
from lca_core.body.names import ARKIT_NAMES
from lca_core.body.rig import default_rig

AVATAR = os.environ["LCA_TEST_AVATAR"]
EYES = {"left": "left_eye_smplhf", "right": "right_eye_smplhf"}


@pytest.fixture
def avatar() -> importer.AvatarHandles:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return importer.import_avatar(AVATAR)


def put(rig: bpy.types.Object, **values: float) -> None:
    for name, value in values.items():
        rig[name] = value
    rig.update_tag()
    bpy.context.view_layer.update()


def turned(rig: bpy.types.Object, bone: str) -> np.ndarray:
    """Rotation of a bone away from its rest, in avatar space."""
    posed = rig.pose.bones[bone]
    return np.array((posed.matrix @ posed.bone.matrix_local.inverted()).to_3x3())


def full(finger: str) -> float:
    """Degrees by which a finger's first joint turns at slider 1."""
    return next(f.curl_degrees[0] for f in default_rig().fingers if f.finger == finger)


def angle(rotation: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))


def test_every_face_slider_drives_its_key_alone(avatar) -> None:
    keys = avatar.proxy.data.shape_keys.key_blocks
    assert [key.name for key in keys] == ["Basis", *ARKIT_NAMES]
    for name in ARKIT_NAMES:
        put(avatar.rig, **{name: 0.6})
        values = {key.name: key.value for key in keys if key.name != "Basis"}
        assert values.pop(name) == pytest.approx(0.6), name
        assert max(values.values()) < 1e-5, name
        put(avatar.rig, **{name: 0.0})


def test_no_driver_needs_auto_run(avatar) -> None:
    owners = [avatar.rig, avatar.proxy.data.shape_keys]
    curves = [curve for owner in owners for curve in owner.animation_data.drivers]
    assert len([c for c in curves if c.data_path.startswith("key_blocks")]) == 52
    for curve in curves:
        assert curve.is_valid, curve.data_path
        assert curve.driver.type == "SUM" or curve.driver.is_simple_expression, curve.data_path


def test_jaw_open_moves_the_mouth_of_the_mesh(avatar) -> None:
    def vertices() -> np.ndarray:
        graph = bpy.context.evaluated_depsgraph_get()
        mesh = avatar.proxy.evaluated_get(graph).data
        flat = np.empty(len(mesh.vertices) * 3, np.float32)
        mesh.attributes["position"].data.foreach_get("vector", flat)
        return flat.reshape(-1, 3)

    before = vertices()
    put(avatar.rig, jawOpen=1.0)
    moved = np.linalg.norm(vertices() - before, axis=1)
    assert 0.005 < moved.max() < 0.1
    assert (moved > 1e-4).sum() < 0.5 * len(moved)  # the face, not the body


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_curl_slider_closes_one_finger_towards_the_palm(avatar, side: str) -> None:
    rig = avatar.rig
    tip, palm_joint = rig.pose.bones[f"{side}_index3"], rig.pose.bones[f"{side}_wrist"]
    open_distance = (tip.tail - palm_joint.tail).length
    put(rig, **{fingers.curl_property("index", side): 1.0})
    assert angle(turned(rig, f"{side}_index1")) == pytest.approx(full("index"), abs=0.1)
    assert angle(turned(rig, f"{side}_index3")) > 100.0  # curls add up along the finger
    assert (tip.tail - palm_joint.tail).length < 0.75 * open_distance
    assert angle(turned(rig, f"{side}_middle1")) < 0.1
    other = "right" if side == "left" else "left"
    assert angle(turned(rig, f"{other}_index1")) < 0.1
    put(rig, **{fingers.curl_property("index", side): 0.4})
    down = np.array(tip.tail) - np.array(rig.data.bones[tip.name].tail_local)
    assert down[1] < -0.03  # palms face down in the T-pose


@pytest.mark.parametrize("side", ["left", "right"])
def test_hand_slider_and_bone_masters_add_up_and_clamp(avatar, side: str) -> None:
    rig = avatar.rig
    put(rig, **{fingers.curl_property("hand", side): 0.5})
    for finger in ("index", "middle", "ring", "pinky"):
        assert angle(turned(rig, f"{side}_{finger}1")) == pytest.approx(0.5 * full(finger), abs=0.5)
    rig.pose.bones[fingers.master("ring", side)].rotation_euler.x = 0.25
    rig.pose.bones[fingers.hand_master(side)].rotation_euler.x = 0.125
    bpy.context.view_layer.update()
    assert angle(turned(rig, f"{side}_ring1")) == pytest.approx(0.875 * full("ring"), abs=0.5)
    assert angle(turned(rig, f"{side}_index1")) == pytest.approx(0.625 * full("index"), abs=0.5)
    rig.pose.bones[fingers.master("ring", side)].rotation_euler.x = 2.0
    bpy.context.view_layer.update()
    assert angle(turned(rig, f"{side}_ring1")) == pytest.approx(full("ring"), abs=0.1)


@pytest.mark.parametrize("side", ["left", "right"])
def test_spread_opens_the_fan(avatar, side: str) -> None:
    rig = avatar.rig

    def fan() -> float:
        return (rig.pose.bones[f"{side}_index3"].tail - rig.pose.bones[f"{side}_pinky3"].tail).length

    rest = fan()
    put(rig, **{fingers.spread_property(side): 1.0})
    wide = fan()
    put(rig, **{fingers.spread_property(side): -0.5})
    assert fan() < rest - 0.005 and wide > rest + 0.02


def test_finger_keys_and_controls_combine(avatar) -> None:
    """An animator's own rotation of a joint stays underneath the slider."""
    rig = avatar.rig
    bone = rig.pose.bones[control_of("left_middle2")]
    bone.rotation_mode = "XYZ"
    bone.rotation_euler.x = np.radians(20.0)
    put(rig, **{fingers.curl_property("middle", "left"): 0.3})
    first, second = turned(rig, "left_middle1"), turned(rig, "left_middle2")
    assert angle(first.T @ second) == pytest.approx(20.0 + 0.3 * 90.0, abs=0.5)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", list(hand_poses()))
def test_hand_presets_turn_the_joints_as_the_rig_description_says(avatar, side: str, name: str) -> None:
    """Exactly where sliders are at 0 or 1; between, only the root of the thumb may be some degrees off."""
    pose = hand_poses()[name]
    presets.apply_hand_pose(avatar.rig, pose, side)
    bpy.context.view_layer.update()
    wanted = hand_rotations(side, pose.curl, pose.spread)
    for finger, curl in pose.curl.items():
        total = np.eye(3)
        for joint in (f"{side}_{finger}{k}" for k in (1, 2, 3)):
            total = total @ rotation_matrices(np.array(wanted[joint]))
            exact = curl in (0.0, 1.0) and pose.spread == 0.0
            off = angle(turned(avatar.rig, joint).T @ total)
            assert off < (0.1 if exact else 3.0 if finger == "thumb" else 0.6), (joint, off)


@pytest.mark.parametrize(("yaw", "pitch"), [(0.4, 0.0), (-0.3, 0.0), (0.0, 0.35), (0.25, -0.2)])
def test_gaze_sliders_turn_both_eyes_as_the_file_defines(avatar, yaw: float, pitch: float) -> None:
    from lca_bridge.wire.skin import gaze_rotation

    put(avatar.rig, **{gaze.YAW: yaw, gaze.PITCH: pitch})
    for bone in EYES.values():
        assert np.allclose(turned(avatar.rig, bone), gaze_rotation(yaw, pitch), atol=1e-4)


def test_eyes_follow_the_target_when_asked(avatar) -> None:
    rig = avatar.rig
    look = rig.pose.bones[gaze.LOOK]
    look.location = (0.3, 0.0, 0.2)
    bpy.context.view_layer.update()
    assert angle(turned(rig, EYES["left"])) < 0.1
    put(rig, **{gaze.FOLLOW: 1.0})
    for bone in EYES.values():
        eye = rig.pose.bones[bone]
        towards = (look.head - eye.head).normalized()
        assert eye.y_axis.dot(towards) > 0.99999


@pytest.mark.parametrize(
    ("sliders", "keys"),
    [
        ({gaze.YAW: 0.6}, ("eyeLookOutLeft", "eyeLookInRight")),
        ({gaze.YAW: -0.6}, ("eyeLookInLeft", "eyeLookOutRight")),
        ({gaze.PITCH: 0.45}, ("eyeLookDownLeft", "eyeLookDownRight")),
        ({gaze.PITCH: -0.45}, ("eyeLookUpLeft", "eyeLookUpRight")),
    ],
)
def test_lids_follow_the_eyes_and_do_not_add_to_the_slider(avatar, sliders: dict, keys: tuple) -> None:
    blocks = avatar.proxy.data.shape_keys.key_blocks
    put(avatar.rig, **sliders)
    look = {name: blocks[name].value for name in ARKIT_NAMES if name.startswith("eyeLook")}
    assert {name for name, value in look.items() if value > 0.01} == set(keys)
    assert all(look[name] == pytest.approx(1.0, abs=0.01) for name in keys)
    put(avatar.rig, **{keys[0]: 0.7})
    assert blocks[keys[0]].value == pytest.approx(1.0, abs=0.01)
    put(avatar.rig, lids_follow=0.0)
    assert blocks[keys[0]].value == pytest.approx(0.7) and blocks[keys[1]].value == 0.0


def test_sliders_are_grouped_completely_and_reset(avatar) -> None:
    shown = [control.name for control in controls.sliders(avatar.rig, "FACE")]
    assert sorted(shown) == sorted(ARKIT_NAMES)
    touched = {"jawOpen": 0.5, fingers.curl_property("hand", "left"): 0.5, gaze.YAW: 0.2, "lids_follow": 0.1}
    put(avatar.rig, **touched)
    for group in ("FACE", "FINGERS", "GAZE"):
        controls.reset(avatar.rig, group)
    assert [avatar.rig[name] for name in touched] == [0.0, 0.0, 0.0, 1.0]


def test_sliders_can_be_keyed_and_played(avatar) -> None:
    rig, scene = avatar.rig, bpy.context.scene
    for frame, value in ((1, 0.0), (11, 1.0)):
        rig["mouthPucker"] = value
        rig.keyframe_insert('["mouthPucker"]', frame=frame)
    scene.frame_set(6)
    key = avatar.proxy.data.shape_keys.key_blocks["mouthPucker"]
    assert 0.3 < key.value < 0.7
    scene.frame_set(11)
    assert key.value == pytest.approx(1.0)


def test_a_saved_file_keeps_working(avatar, tmp_path: Path) -> None:
    path = tmp_path / "saved.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(path))
    rig = next(obj for obj in bpy.data.objects if importer.AVATAR_ID in obj)
    mesh, cloud = importer.part(rig, "proxy"), importer.part(rig, "splats")
    importer.set_display(mesh, cloud, "BOTH")
    put(rig, jawOpen=0.4, **{fingers.curl_property("hand", "right"): 1.0, gaze.YAW: 0.3})
    assert mesh.data.shape_keys.key_blocks["jawOpen"].value == pytest.approx(0.4)
    assert angle(turned(rig, "right_index1")) == pytest.approx(full("index"), abs=0.1)
    assert angle(turned(rig, EYES["left"])) == pytest.approx(np.degrees(0.3), abs=0.1)
    images = [image for image in bpy.data.images if image.packed_file is not None]
    assert len(images) == 1 and tuple(images[0].size) == (512, 512)
    graph = bpy.context.evaluated_depsgraph_get()
    evaluated = cloud.evaluated_get(graph).data
    rest, moved = (np.empty(len(cloud.data.points) * 3, np.float32) for _ in range(2))
    cloud.data.attributes["position"].data.foreach_get("vector", rest)
    evaluated.attributes["position"].data.foreach_get("vector", moved)
    assert np.abs(moved - rest).max() > 0.02  # the right hand's splats went along


def test_mirrored_pasting_reaches_the_other_hand(avatar) -> None:
    assert bpy.utils.flip_name(fingers.master("index", "left")) == fingers.master("index", "right")
    assert bpy.utils.flip_name("left_elbow") == "right_elbow"


def test_a_linked_avatar_can_be_overridden_and_posed(avatar, tmp_path: Path) -> None:
    path = tmp_path / "library.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(str(path), link=True) as (source, target):
        target.collections = [name for name in source.collections if name == "Template"]
    scene, layer = bpy.context.scene, bpy.context.view_layer
    local = target.collections[0].override_hierarchy_create(scene, layer, do_fully_editable=True)
    rig = next(obj for obj in local.objects if importer.AVATAR_ID in obj)
    assert rig.override_library is not None
    put(rig, mouthPucker=0.5, **{fingers.curl_property("hand", "left"): 1.0})
    proxy = importer.part(rig, "proxy")
    assert proxy.data.shape_keys.key_blocks["mouthPucker"].value == pytest.approx(0.5)
    assert angle(turned(rig, "left_ring1")) == pytest.approx(full("ring"), abs=0.1)
