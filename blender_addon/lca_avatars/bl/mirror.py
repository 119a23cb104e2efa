# SPDX-License-Identifier: GPL-3.0-or-later
"""Mirrors a pose across the body: one side onto the other, or both swapped. Bones, board and sliders alike.

Left and right controls have mirrored rest frames in Blender's sense (X flipped), so a mirrored basis has x of
the location and y, z of the rotation negated.
"""

from __future__ import annotations

from collections.abc import Iterable

import bpy
from mathutils import Quaternion, Vector

from ..core.control_names import mirrored
from . import gaze, keys

LEFT_TO_RIGHT, RIGHT_TO_LEFT, SWAP = "LEFT_TO_RIGHT", "RIGHT_TO_LEFT", "SWAP"
_SIDEWAYS = ("jawLeft", "jawRight", "mouthLeft", "mouthRight")


def mirror_pose(rig: bpy.types.Object, direction: str, part: str = "ALL") -> list[str]:
    """Mirror the current pose.

    Args:
        direction: ``LEFT_TO_RIGHT`` copies the left side onto the right one, ``RIGHT_TO_LEFT`` the other way
            round (the middle stays), ``SWAP`` mirrors everything.
        part: one of ``keys.PARTS``.

    Returns:
        Names of the bones and sliders that were written.
    """
    bones = {name: _read(rig.pose.bones[name]) for name in keys.controls_in(rig, part)}
    # jawLeft and mouthLeft move the middle sideways: they swap, but are never copied to their opposite.
    values = {name: rig[name] for name in keys.sliders_in(rig, part) if name not in _SIDEWAYS}
    written = []
    for name in _targets(bones, direction):
        _write(rig.pose.bones[name], bones[mirrored(name)])
        written.append(name)
    for name in _targets(values, direction):
        value = values[mirrored(name)]
        rig[name] = -value if name == gaze.YAW else value
        written.append(name)
    if direction == SWAP and part in ("ALL", "FACE"):
        written += _swap_sideways(rig)
    rig.update_tag()
    return written


def _targets(names: Iterable[str], direction: str) -> list[str]:
    known = set(names)
    right = direction == LEFT_TO_RIGHT
    out = []
    for name in known:
        other = mirrored(name)
        if other not in known:
            continue
        if direction == SWAP or (other != name and _is_right(name) == right):
            out.append(name)
    return out


def _is_right(name: str) -> bool:
    return name.endswith((".R", "Right")) or name.startswith("right_")


def _swap_sideways(rig: bpy.types.Object) -> list[str]:
    old = {name: rig[name] for name in _SIDEWAYS}
    for name in _SIDEWAYS:
        rig[name] = old[mirrored(name)]
    return list(_SIDEWAYS)


def _read(bone: bpy.types.PoseBone) -> tuple[Vector, Quaternion]:
    location, rotation, _scale = bone.matrix_basis.decompose()
    return location, rotation


def _write(bone: bpy.types.PoseBone, source: tuple[Vector, Quaternion]) -> None:
    location, rotation = source
    bone.location = (-location.x, location.y, location.z)
    turned = Quaternion((rotation.w, rotation.x, -rotation.y, -rotation.z))
    if bone.rotation_mode == "QUATERNION":
        bone.rotation_quaternion = turned
    else:
        bone.rotation_euler = turned.to_euler(bone.rotation_mode, bone.rotation_euler)
