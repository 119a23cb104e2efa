# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders the pictures of docs/blender.md from an avatar: rig, face board, fingers, splats in Cycles.

    python blender_addon/make_pictures.py AVATAR.lca FOLDER [--samples 48] [--only rig board fingers splats]

Viewport overlays do not render, so the controls are drawn as thin glowing tubes along their shapes. For the
splats, pose and camera are written beside the picture (``blender-splats.json``), so that another renderer
can show the same view.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import bpy
import numpy as np
from mathutils import Matrix, Vector

from lca_avatars.bl import bone_groups, compat, importer, pose, presets, snap
from lca_avatars.bl.limbs import limbs
from lca_avatars.core.presets import expressions, hand_poses

_COLOURS = {
    "THEME01": (0.9, 0.12, 0.1),
    "THEME02": (0.95, 0.35, 0.05),
    "THEME03": (0.25, 0.75, 0.15),
    "THEME04": (0.1, 0.45, 0.95),
    "THEME05": (0.85, 0.1, 0.5),
    "THEME06": (0.1, 0.7, 0.75),
    "THEME09": (0.95, 0.75, 0.1),
}
_TUBE = 0.0016
_SPLATS_SIZE = (360, 540)
_FINE_TUBE = 0.0006


def start(avatar: Path, size: tuple[int, int], samples: int) -> importer.AvatarHandles:
    """An empty file with the avatar, a grey world, a soft light, a camera."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    handles = importer.import_avatar(avatar)
    scene = bpy.context.scene
    importer.prepare_scene(scene)
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = samples, False
    scene.render.resolution_x, scene.render.resolution_y = size
    scene.world = bpy.data.worlds.new("World")
    background = compat.shader_tree(scene.world).nodes["Background"]
    background.inputs[0].default_value = (0.18, 0.18, 0.19, 1.0)
    sun = bpy.data.objects.new("Key", bpy.data.lights.new("Key", "SUN"))
    sun.data.energy, sun.data.angle, sun.rotation_euler = 3.0, 0.6, (0.9, 0.2, 0.4)
    scene.camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    for obj in (sun, scene.camera):
        scene.collection.objects.link(obj)
    return handles


def aim(eye: Vector, target: Vector, lens: float = 60.0) -> None:
    """Place the camera."""
    camera = bpy.context.scene.camera
    camera.data.lens, camera.location = lens, eye
    camera.rotation_euler = (target - eye).to_track_quat("-Z", "Y").to_euler()


def show(handles: importer.AvatarHandles, splats: bool) -> None:
    """Render the splats, or the proxy."""
    handles.splats.hide_render, handles.proxy.hide_render = not splats, splats
    importer.set_display(handles.proxy, handles.splats, "BOTH")


def draw_controls(rig: bpy.types.Object, groups: tuple[str, ...], tube: float = _TUBE) -> None:
    """Tubes along the custom shapes of the control bones in these collections."""
    bpy.context.view_layer.update()
    curves: dict[str, bpy.types.Curve] = {}
    for bone in rig.pose.bones:
        group = bone.bone.collections[0].name
        if bone.custom_shape is None or group not in groups:
            continue
        palette = bone.color.palette
        if palette not in curves:
            curves[palette] = _tubes(palette, tube)
        mesh = bone.custom_shape.data
        scale = Matrix.Diagonal((*bone.custom_shape_scale_xyz, 1.0))
        place = rig.matrix_world @ bone.matrix @ Matrix.Translation(bone.custom_shape_translation) @ scale
        for edge in mesh.edges:
            spline = curves[palette].splines.new("POLY")
            spline.points.add(1)
            for point, vertex in zip(spline.points, edge.vertices, strict=True):
                point.co = (*(place @ mesh.vertices[vertex].co), 1.0)


def _tubes(palette: str, tube: float) -> bpy.types.Curve:
    curve = bpy.data.curves.new(palette, "CURVE")
    curve.dimensions, curve.bevel_depth, curve.bevel_resolution = "3D", tube, 1
    material = bpy.data.materials.new(palette)
    tree = compat.shader_tree(material)
    tree.nodes.clear()
    glow = tree.nodes.new("ShaderNodeEmission")
    glow.inputs["Color"].default_value = (*_COLOURS[palette], 1.0)
    tree.links.new(glow.outputs[0], tree.nodes.new("ShaderNodeOutputMaterial").inputs["Surface"])
    curve.materials.append(material)
    bpy.context.scene.collection.objects.link(bpy.data.objects.new(palette, curve))
    return curve


def render(target: Path) -> None:
    """Write the picture."""
    scene = bpy.context.scene
    scene.render.image_settings.file_format = "JPEG" if target.suffix == ".jpg" else "PNG"
    scene.render.image_settings.quality = 88
    scene.render.filepath = str(target)
    bpy.ops.render.render(write_still=True)


def gesture(rig: bpy.types.Object) -> dict[str, Any]:
    """A lively standing pose; returns it as (joint rotations, ARKit weights)."""
    names = importer.controls.rig_info(rig).joint_names
    rotations = np.zeros((len(names), 3))

    def turn(joint: str, *vector: float) -> None:
        rotations[names.index(joint)] = vector

    turn("left_shoulder", 0.1, -0.35, 0.25)
    turn("left_elbow", 0.0, -1.5, 0.75)
    turn("right_shoulder", 0.1, 0.1, 1.15)
    turn("right_elbow", 0.0, 0.35, 0.0)
    turn("spine2", 0.0, 0.1, 0.03)
    turn("head", 0.05, 0.15, 0.05)
    turn("left_hip", -0.08, 0.05, 0.05)
    turn("right_hip", 0.05, -0.08, -0.05)
    weights = {"mouthSmileLeft": 0.6, "mouthSmileRight": 0.6, "jawOpen": 0.12}
    pose.apply_pose(rig, names, rotations, arkit=weights)
    return {"joint_rotations": rotations.tolist(), "arkit": weights}


def picture_rig(avatar: Path, folder: Path, samples: int) -> None:
    """The posed proxy with every body control, the arms on IK."""
    handles = start(avatar, (900, 1000), samples)
    gesture(handles.rig)
    for limb in limbs():
        snap.to_ik(handles.rig, limb)
    show(handles, splats=False)
    shown = [g for g in bone_groups.PARENTS if g not in (*bone_groups.HIDDEN, bone_groups.BOARD)]
    draw_controls(handles.rig, tuple(shown))
    middle = Vector((0.1, 0.0, -0.25))
    aim(middle + Vector((0.9, -4.2, 0.7)), middle, 70.0)
    render(folder / "blender-rig.jpg")


def picture_board(avatar: Path, folder: Path, samples: int) -> None:
    """Head and face board with an expression on the knobs."""
    handles = start(avatar, (1200, 820), samples)
    presets.apply_bones(handles.rig, presets.expression_bones(expressions()["Laugh"]))
    handles.rig.update_tag()
    show(handles, splats=False)
    draw_controls(handles.rig, (bone_groups.BOARD,), _FINE_TUBE)
    head = handles.rig.matrix_world @ handles.rig.data.bones["head"].head_local
    middle = head + Vector((0.17, 0.0, 0.13))
    aim(middle + Vector((0.0, -2.4, 0.0)), middle, 104.0)
    render(folder / "blender-face-board.jpg")


def picture_fingers(avatar: Path, folder: Path, samples: int) -> None:
    """A hand in four presets, with its masters."""
    for name in ("Open", "Fist", "Peace", "Thumbs Up"):
        handles = start(avatar, (420, 420), samples)
        presets.apply_hand_pose(handles.rig, hand_poses()[name], "left")
        show(handles, splats=False)
        draw_controls(handles.rig, (bone_groups.FINGERS,), _FINE_TUBE)
        bones = handles.rig.data.bones
        middle = handles.rig.matrix_world @ (
            0.35 * bones["left_wrist"].head_local + 0.65 * bones["left_middle1"].head_local
        )
        middle.x += 0.03
        aim(middle + Vector((0.12, -0.32, 0.48)), middle, 70.0)
        render(folder / f"blender-hand-{name.lower().replace(' ', '-')}.png")


def picture_splats(avatar: Path, folder: Path, samples: int) -> None:
    """The posed splats in Cycles, and what another renderer needs to show the same."""
    handles = start(avatar, _SPLATS_SIZE, samples)
    frame = gesture(handles.rig)
    show(handles, splats=True)
    middle = Vector((0.0, 0.0, -0.3))
    aim(middle + Vector((0.5, -4.0, 0.25)), middle, 58.0)
    bpy.context.view_layer.update()
    scene = bpy.context.scene
    camera = scene.camera
    frame |= {
        "camera": [list(row) for row in camera.matrix_world],
        "rig": [list(row) for row in handles.rig.matrix_world],
        "focal_pixels": camera.data.lens / camera.data.sensor_width * max(_SPLATS_SIZE),
        "size": list(_SPLATS_SIZE),
        "world_linear": [0.18, 0.18, 0.19],
    }
    (folder / "blender-splats.json").write_text(json.dumps(frame))
    render(folder / "blender-splats.png")


_PICTURES = {
    "rig": picture_rig,
    "board": picture_board,
    "fingers": picture_fingers,
    "splats": picture_splats,
}


def main() -> int:
    """Command line entry; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("avatar", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--only", nargs="*", choices=list(_PICTURES), default=list(_PICTURES))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        _PICTURES[name](options.avatar, options.folder.resolve(), options.samples)
    return 0


if __name__ == "__main__":
    sys.exit(main())
