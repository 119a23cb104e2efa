"""Inside Blender: an animator's whole session, from import to a USD file that comes back as it was."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import bpy

# Blender's own USD library comes first, as it does in Blender itself: hooks need it.
BUNDLED = Path(bpy.utils.resource_path("LOCAL"), "python", "lib", f"python3.{sys.version_info[1]}")
sys.path.insert(0, str(BUNDLED / "site-packages"))
sys.path.insert(0, str(Path(__file__).parents[3] / "blender_addon"))

import numpy as np  # noqa: E402
import pytest  # noqa: E402

import lca_avatars  # noqa: E402
from lca.motion import read_motion  # noqa: E402
from lca.motion.skeleton import ARKIT, JOINTS  # noqa: E402
from lca_avatars.bl import compat, importer, pose_reader  # noqa: E402
from lca_avatars.core.board import STROKE, knob_of  # noqa: E402

AVATAR = os.environ["LCA_TEST_AVATAR"]
FPS, LAST = 24.0, 16


def load_motion_tests():
    """``motion.py`` beside this file writes the BVH and measures turns."""
    spec = importlib.util.spec_from_file_location("motion_tests", Path(__file__).with_name("motion.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


others = load_motion_tests()


def splats_now(rig: bpy.types.Object) -> dict[str, np.ndarray]:
    """What is shown: centres (m), orientations, colour and opacity."""
    cloud = importer.part(rig, "splats")
    data = cloud.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    names = ("position", "rotation", "scale", "radiance:base")
    return {name: compat.read_attribute(data, name) for name in names}


def smile(rig: bpy.types.Object, amount: float) -> None:
    for side in ("Left", "Right"):
        knob = knob_of(f"mouthSmile{side}")
        setattr(rig.pose.bones[knob.bone].location, knob.axis.lower(), knob.sign * amount * STROKE)


def test_an_animators_session(tmp_path: Path) -> None:
    from pxr import Usd, UsdSkel

    bpy.ops.wm.read_factory_settings(use_empty=True)
    lca_avatars.register()
    scene = bpy.context.scene
    scene.render.fps, scene.frame_start, scene.frame_end = int(FPS), 1, LAST

    # Import.
    assert bpy.ops.lca.import_avatar(filepath=AVATAR) == {"FINISHED"}
    rig = importer.find_avatar(bpy.context.object)
    assert bpy.ops.lca.display(mode="BOTH") == {"FINISHED"}
    reach = {}

    # Three keyed poses: hands by IK, fingers by curl, a smile on the board.
    for side in ("L", "R"):
        rig[f"ik_arm.{side}"] = 1.0
    wrist = rig.pose.bones["left_wrist"]
    for frame, lift, curl, glad in ((1, 0.0, 0.0, 0.0), (8, 0.12, 0.7, 1.0), (LAST, 0.2, 1.0, 0.4)):
        scene.frame_set(frame)
        rig.pose.bones["hand_ik.L"].matrix = rig.pose.bones["hand_ik.L"].bone.matrix_local.copy()
        matrix = rig.pose.bones["hand_ik.L"].bone.matrix_local.copy()
        matrix.translation.x -= 0.1 + 0.5 * lift
        matrix.translation.y += lift
        matrix.translation.z += 0.1
        rig.pose.bones["hand_ik.L"].matrix = matrix
        assert bpy.ops.lca.hand_pose(pose="Fist", side="right", strength=curl) == {"FINISHED"}
        smile(rig, glad)
        rig.update_tag()
        bpy.context.view_layer.update()
        reach[frame] = matrix.translation.copy()
        assert (wrist.head - reach[frame]).length < 1e-3, "the hand is where its IK control is"
        assert bpy.ops.lca.key_pose(part="ALL") == {"FINISHED"}
    for frame, glad in ((1, 0.0), (8, 1.0), (LAST, 0.4)):
        scene.frame_set(frame)
        pose = pose_reader.PoseReader(rig).read(rig)
        assert (wrist.head - reach[frame]).length < 1e-3
        assert pose.arkit[ARKIT.index("mouthSmileLeft")] == pytest.approx(glad, abs=1e-3)
    bent = pose.joint_rotations[JOINTS.index("right_index2")]
    assert np.linalg.norm(bent) > 0.8, "the fist is closed"

    # A BVH on top, for the second half; what it does not move stays.
    turns = np.stack([np.linspace(20, 50, 9), np.linspace(0, 40, 9), np.linspace(0, 20, 9)], -1)
    file = others.write_bvh(tmp_path / "walk.bvh", turns)
    assert bpy.ops.lca.import_motion(filepath=str(file), start=8, layer=True, fit_range=False) == {"FINISHED"}
    wanted = read_motion(file, fps=FPS, face_forward=True)
    assert len(wanted) == 9
    body = list(range(22))
    seen = {}
    for frame in (1, 4, 8, 12, LAST):
        scene.frame_set(frame)
        pose = pose_reader.PoseReader(rig).read(rig)
        if frame >= 8:
            assert others.apart(pose.joint_rotations[body], wanted.poses[frame - 8][body]) < 0.05
        seen[frame] = (pose, splats_now(rig), np.array([bone.matrix for bone in rig.pose.bones]))
    assert np.linalg.norm(seen[LAST][0].joint_rotations[JOINTS.index("right_index2")]) > 0.8
    assert seen[8][0].arkit[ARKIT.index("mouthSmileLeft")] == pytest.approx(1.0, abs=1e-3)

    # Bake: plain keys show the same.
    assert bpy.ops.lca.bake_keys(start=1, end=LAST) == {"FINISHED"}
    for frame, (was, splats, _bones) in seen.items():
        scene.frame_set(frame)
        now = pose_reader.PoseReader(rig).read(rig)
        assert others.apart(now.joint_rotations, was.joint_rotations) < 0.05
        assert np.abs(now.arkit - was.arkit).max() < 1e-3
        apart = 1e3 * np.linalg.norm(splats_now(rig)["position"] - splats["position"], axis=1)
        assert apart.max() < 0.5, (frame, apart.max())

    # Export with the shot.
    target = tmp_path / "shot.usdc"
    assert bpy.ops.lca.export_usd(filepath=str(target)) == {"FINISHED"}

    # The file itself: splats with colour and opacity in every frame.
    stage = Usd.Stage.Open(str(target))
    assert stage.GetTimeCodesPerSecond() == FPS
    (field,) = [p for p in stage.Traverse() if p.GetTypeName() == "ParticleField3DGaussianSplat"]
    for frame, (_pose, splats, _bones) in seen.items():
        positions = np.asarray(field.GetAttribute("positions").Get(frame))
        assert 1e3 * np.linalg.norm(positions - splats["position"], axis=1).max() < 0.5
        quats = field.GetAttribute("orientations").Get(frame)
        quats = np.array([[q.real, *q.imaginary] for q in quats])
        turn = 2 * np.degrees(np.arccos(np.clip(np.abs((quats * splats["rotation"]).sum(1)), 0, 1)))
        assert turn.mean() < 0.5
    assert (
        np.abs(np.asarray(field.GetAttribute("opacities").Get(1)) - splats["radiance:base"][:, 3]).max()
        < 1e-6
    )
    assert [p for p in stage.Traverse() if p.IsA(UsdSkel.Skeleton)]

    # Back into an empty Blender: skeleton and skinned mesh stand where they stood.
    mesh = importer.part(rig, "proxy")
    scene.frame_set(LAST)
    shape = world_points(mesh)
    lca_avatars.unregister()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.scene.render.fps = int(FPS)
    assert bpy.ops.wm.usd_import(filepath=str(target)) == {"FINISHED"}
    (armature,) = [obj for obj in bpy.data.objects if obj.type == "ARMATURE"]
    assert set(JOINTS) <= {bone.name for bone in armature.data.bones}
    meshes = [obj for obj in bpy.data.objects if obj.type == "MESH" and len(obj.data.vertices) == len(shape)]
    bpy.context.scene.frame_set(LAST)
    back = world_points(meshes[0])
    assert 1e3 * np.linalg.norm(back - shape, axis=1).max() < 2.0


def world_points(obj: bpy.types.Object) -> np.ndarray:
    """Evaluated vertices in the scene's space, metres."""
    found = obj.evaluated_get(bpy.context.evaluated_depsgraph_get())
    points = compat.read_attribute(found.data, "position")
    matrix = np.array(found.matrix_world)
    return points @ matrix[:3, :3].T + matrix[:3, 3]
