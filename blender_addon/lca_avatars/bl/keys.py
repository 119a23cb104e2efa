# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys the whole character, or a part of it, into its slotted action: controls, board and sliders."""

from __future__ import annotations

import bpy

from ..core.control_names import IK_PROPERTIES
from . import bone_groups
from .controls import rig_info
from .snap import key_bone

PARTS = ("ALL", "BODY", "HANDS", "FACE")
_OF_PART = {
    "HANDS": (bone_groups.FINGERS, bone_groups.DETAIL),
    "FACE": (bone_groups.BOARD, bone_groups.GAZE),
}
_HIDDEN = (bone_groups.DEFORM, bone_groups.MECHANISM)


def controls_in(rig: bpy.types.Object, part: str) -> list[str]:
    """Control bones of a part, in the rig's order."""
    found = []
    for bone in rig.data.bones:
        groups = {group.name for group in bone.collections}
        if groups & set(_HIDDEN):
            continue
        where = next((title for title, own in _OF_PART.items() if groups & set(own)), "BODY")
        if part in ("ALL", where):
            found.append(bone.name)
    return found


def sliders_in(rig: bpy.types.Object, part: str) -> list[str]:
    """Custom properties of a part that exist on the rig."""
    info = rig_info(rig)
    names: list[str] = []
    if part in ("ALL", "FACE"):
        names += [*info.arkit_names, "gaze_yaw", "gaze_pitch", "look_follow", "lids_follow"]
    if part in ("ALL", "HANDS"):
        names += [control.name for control in info.controls if control.group == "Fingers"]
    if part in ("ALL", "BODY"):
        names += list(IK_PROPERTIES)
    return [name for name in names if name in rig]


def key_part(rig: bpy.types.Object, part: str, frame: float) -> int:
    """Key a part (one of ``PARTS``) at ``frame``; returns how many controls and sliders were keyed."""
    bones, sliders = controls_in(rig, part), sliders_in(rig, part)
    for name in bones:
        key_bone(rig, name, frame)
    key_sliders(rig, sliders, frame)
    return len(bones) + len(sliders)


def key_sliders(rig: bpy.types.Object, names: list[str], frame: float) -> None:
    """Key custom properties of the rig."""
    for name in names:
        rig.keyframe_insert(f'["{name}"]', frame=frame, group="Sliders")
