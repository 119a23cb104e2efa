# SPDX-License-Identifier: GPL-3.0-or-later
"""Deform bones under the names of other rigs (Unreal, Unity, Mixamo, Rigify), and back.

The names come from the avatar's rig description. Blender follows a renamed bone through vertex groups,
constraints, drivers and actions by itself; the control bones keep their names, so posing goes on as before.
"""

from __future__ import annotations

import bpy

from .controls import rig_info

OWN = "smplx"
_SCHEME = "lca_bone_names"


def schemes(rig: bpy.types.Object) -> tuple[str, ...]:
    """``smplx`` and every rig that the description has names for."""
    return (OWN, *sorted(rig_info(rig).name_maps))


def scheme_of(rig: bpy.types.Object) -> str:
    """What the deform bones are called after now."""
    return str(rig.data.get(_SCHEME, OWN))


def deform_bone(rig: bpy.types.Object, joint: str) -> str:
    """Name of a joint's deform bone under the current scheme."""
    return _names(rig, scheme_of(rig))[joint]


def rename(rig: bpy.types.Object, scheme: str) -> int:
    """Rename the deform bones; joints that the other rig lacks keep our names. Returns how many changed.

    Raises:
        KeyError: no such scheme.
    """
    now, then = _names(rig, scheme_of(rig)), _names(rig, scheme)
    bones = rig.data.bones
    pairs = [(now[joint], then[joint]) for joint in now if now[joint] != then[joint]]
    moving = [(bones[old], new) for old, new in pairs]
    for bone, _new in moving:  # two steps, because a new name may be another bone's old one
        bone.name = f"LCA-TMP-{bone.name}"
    for bone, new in moving:
        bone.name = new
    rig.data[_SCHEME] = scheme
    return len(moving)


def _names(rig: bpy.types.Object, scheme: str) -> dict[str, str]:
    """Deform name by joint. A scheme that shares names with our controls (Rigify's metarig does) gets
    Rigify's own prefix for deform bones, ``DEF-``.
    """
    info = rig_info(rig)
    table = {} if scheme == OWN else info.name_maps[scheme]
    controls = {bone.name for bone in rig.data.bones if not bone.use_deform}
    prefix = "DEF-" if controls & set(table.values()) else ""
    return {joint: prefix + table[joint] if joint in table else joint for joint in info.joint_names}
