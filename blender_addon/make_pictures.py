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
_TUBE, _FINE_TUBE = 0.002, 0.0007
_SPLATS_SIZE = (420, 600)
_HAND = 520
_STUDIO, _EVEN = (0.30, 0.31, 0.33), (0.55, 0.57, 0.6)


def start(avatar: Path, size: tuple[int, int], samples: int, studio: bool = True) -> importer.AvatarHandles:
    """An empty file with the avatar and a camera; with ``studio`` lamps and a seamless backdrop for meshes,
    without it an even background for splats, which need no light."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    handles = importer.import_avatar(avatar)
    scene = bpy.context.scene
    importer.prepare_scene(scene)
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = samples, studio
    scene.render.resolution_x, scene.render.resolution_y = size
    scene.world = bpy.data.worlds.new("World")
    background = compat.shader_tree(scene.world).nodes["Background"]
    background.inputs[0].default_value = (*(_STUDIO if studio else _EVEN), 1.0)
    scene.camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(scene.camera)
    if studio:
        light_studio(scene, handles)
    return handles


def light_studio(scene: bpy.types.Scene, handles: importer.AvatarHandles) -> None:
    """Key, fill and rim lamps, and a floor that bends up into a wall."""
    bpy.context.view_layer.update()
    floor = min((handles.proxy.matrix_world @ Vector(c)).z for c in handles.proxy.bound_box)
    # Watts, size and place (metres above the floor) of three soft lamps; the person faces -Y.
    lamps = (("Key", 130.0, 1.6, (-1.6, -2.6, 2.6)), ("Fill", 45.0, 2.4, (2.4, -2.0, 1.4)))
    for name, watts, size, place in (*lamps, ("Rim", 120.0, 1.0, (1.2, 1.4, 2.6))):
        data = bpy.data.lights.new(name, "AREA")
        data.energy, data.size = watts, size
        lamp = bpy.data.objects.new(name, data)
        lamp.location = Vector((*place[:2], place[2] + floor))
        target = Vector((0.0, 0.0, floor + 1.1))
        lamp.rotation_euler = (target - lamp.location).to_track_quat("-Z", "Y").to_euler()
        scene.collection.objects.link(lamp)
    bend = np.linspace(0.0, np.pi / 2, 24)
    profile = [(-8.0, 0.0), *((2.0 + 2 * np.sin(t), 2 - 2 * np.cos(t)) for t in bend), (4.0, 12.0)]
    corners = [(x, y, z + floor) for y, z in profile for x in (-12.0, 12.0)]
    faces = [(2 * i, 2 * i + 1, 2 * i + 3, 2 * i + 2) for i in range(len(profile) - 1)]
    mesh = bpy.data.meshes.new("Backdrop")
    mesh.from_pydata(corners, [], faces)
    mesh.shade_smooth()
    paper = bpy.data.materials.new("Backdrop")
    shader = next(n for n in compat.shader_tree(paper).nodes if n.type == "BSDF_PRINCIPLED")
    shader.inputs["Base Color"].default_value = (0.42, 0.44, 0.48, 1.0)
    shader.inputs["Roughness"].default_value = 1.0
    mesh.materials.append(paper)
    scene.collection.objects.link(bpy.data.objects.new("Backdrop", mesh))


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
    """The posed proxy with every body control, the arms on IK; beside it the splats in the same pose."""
    handles = start(avatar, (560, 840), samples)
    gesture(handles.rig)
    for limb in limbs():
        snap.to_ik(handles.rig, limb)
    shown = [g for g in bone_groups.PARENTS if g not in (*bone_groups.HIDDEN, bone_groups.BOARD)]
    draw_controls(handles.rig, tuple(shown))
    middle = Vector((0.08, 0.0, -0.16))
    aim(middle + Vector((0.9, -4.2, 0.55)), middle, 60.0)
    for name, splats in (("proxy", False), ("splats", True)):
        show(handles, splats)
        render(folder / f"rig-{name}.png")
    join(folder, "blender-rig.jpg", (("rig-proxy.png", "rig-splats.png"),))


def picture_board(avatar: Path, folder: Path, samples: int) -> None:
    """Head and face board with an expression on the knobs."""
    handles = start(avatar, (1020, 680), samples)
    presets.apply_bones(handles.rig, presets.expression_bones(expressions()["Laugh"]))
    names = importer.controls.rig_info(handles.rig).joint_names
    rotations = np.zeros((len(names), 3))
    # Arms down, out of the board's way.
    for side, sign in (("left", 1.0), ("right", -1.0)):
        rotations[names.index(f"{side}_shoulder")] = (0.0, 0.0, -1.15 * sign)
    pose.apply_pose(handles.rig, names, rotations)
    handles.rig.update_tag()
    show(handles, splats=False)
    draw_controls(handles.rig, (bone_groups.BOARD,), _FINE_TUBE)
    head = handles.rig.matrix_world @ handles.rig.data.bones["head"].head_local
    middle = head + Vector((0.17, 0.0, 0.125))
    aim(middle + Vector((0.0, -2.4, 0.0)), middle, 104.0)
    render(folder / "blender-face-board.jpg")


def picture_fingers(avatar: Path, folder: Path, samples: int) -> None:
    """A hand in four presets, with its masters; the forearm is turned so that the thumb is up."""
    presets_shown = ("Open", "Fist", "Peace", "Thumbs Up")
    for name in presets_shown:
        handles = start(avatar, (_HAND, _HAND), samples)
        names = importer.controls.rig_info(handles.rig).joint_names
        rotations = np.zeros((len(names), 3))
        for joint, turn in (("left_shoulder", -0.5), ("left_elbow", -0.55), ("left_wrist", -0.5)):
            rotations[names.index(joint)] = (turn, 0.0, 0.0)
        pose.apply_pose(handles.rig, names, rotations)
        presets.apply_hand_pose(handles.rig, hand_poses()[name], "left")
        handles.rig.update_tag()
        show(handles, splats=False)
        draw_controls(handles.rig, (bone_groups.FINGERS,), _FINE_TUBE)
        bones = handles.rig.pose.bones
        middle = handles.rig.matrix_world @ (
            0.3 * bones["left_wrist"].head + 0.7 * bones["left_middle1"].head
        )
        middle += Vector((0.02, 0.0, 0.015))
        aim(middle + Vector((0.16, -0.62, 0.16)), middle, 80.0)
        render(folder / f"{_slug(name)}.png")
    top, bottom = presets_shown[:2], presets_shown[2:]
    rows = tuple(tuple(f"{_slug(name)}.png" for name in row) for row in (top, bottom))
    join(folder, "blender-hands.jpg", rows)


def _slug(name: str) -> str:
    return f"hand-{name.lower().replace(' ', '-')}"


def join(folder: Path, target: str, rows: tuple[tuple[str, ...], ...]) -> None:
    """One JPEG of equally large pictures of the folder, row by row."""
    tiles = []
    for row in rows:
        line = []
        for name in row:
            image = bpy.data.images.load(str(folder / name))
            pixels = np.empty(image.size[0] * image.size[1] * 4, np.float32)
            image.pixels.foreach_get(pixels)
            line.append(pixels.reshape(image.size[1], image.size[0], 4))
        tiles.append(np.concatenate(line, 1))
    whole = np.concatenate(tiles[::-1], 0)  # rows of pixels run upwards
    image = bpy.data.images.new(target, whole.shape[1], whole.shape[0])
    image.pixels.foreach_set(whole.reshape(-1))
    image.filepath_raw, image.file_format = str(folder / target), "JPEG"
    image.save(quality=88)


def picture_splats(avatar: Path, folder: Path, samples: int) -> None:
    """The posed splats in Cycles, and what another renderer needs to show the same."""
    splats_view(avatar, folder, samples)
    render(folder / "blender-splats.png")


def splats_view(avatar: Path, folder: Path, samples: int) -> importer.AvatarHandles:
    """The scene of the splat pictures; pose and camera go into ``blender-splats.json``."""
    handles = start(avatar, _SPLATS_SIZE, samples, studio=False)
    frame = gesture(handles.rig)
    show(handles, splats=True)
    middle = Vector((0.03, 0.0, -0.09))
    aim(middle + Vector((0.5, -4.0, 0.25)), middle, 72.0)
    bpy.context.view_layer.update()
    camera = bpy.context.scene.camera
    frame |= {
        "camera": [list(row) for row in camera.matrix_world],
        "rig": [list(row) for row in handles.rig.matrix_world],
        "focal_pixels": camera.data.lens / camera.data.sensor_width * max(_SPLATS_SIZE),
        "size": list(_SPLATS_SIZE),
        "world_linear": list(_EVEN),
    }
    (folder / "blender-splats.json").write_text(json.dumps(frame))
    return handles


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
