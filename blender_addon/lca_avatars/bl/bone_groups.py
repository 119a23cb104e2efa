# SPDX-License-Identifier: GPL-3.0-or-later
"""Bone collections of the rig: what an animator shows, hides and selects as a set."""

from __future__ import annotations

import bpy

ROOT, TORSO, HEAD = "Root", "Torso", "Head"
FINGERS, DETAIL = "Fingers", "Finger Detail"
FACE, BOARD, GAZE = "Face", "Face Board", "Gaze"
DEFORM, MECHANISM = "DEF", "MCH"
_SIDES = (".L", ".R")
PARENTS: dict[str, str | None] = {ROOT: None, TORSO: None, HEAD: TORSO}
for _side in _SIDES:
    for _limb in ("Arm", "Leg"):
        PARENTS[_limb + _side] = None
        for _kind in ("FK", "IK"):
            PARENTS[f"{_limb} {_kind}{_side}"] = _limb + _side
PARENTS |= {
    FINGERS: None,
    DETAIL: FINGERS,
    FACE: None,
    BOARD: FACE,
    GAZE: FACE,
    DEFORM: None,
    MECHANISM: None,
}
HIDDEN = (DETAIL, DEFORM, MECHANISM)
PALETTES = {
    ROOT: "THEME01",
    TORSO: "THEME03",
    HEAD: "THEME03",
    FINGERS: "THEME06",
    DETAIL: "THEME04",
    BOARD: "THEME09",
    GAZE: "THEME09",
} | {
    f"{limb} {kind}{side}": theme
    for limb in ("Arm", "Leg")
    for side in _SIDES
    for kind, theme in (("FK", "THEME05"), ("IK", "THEME02"))
}


def limb_collection(limb: str, kind: str, side: str) -> str:
    """``limb`` arm or leg, ``kind`` FK or IK, ``side`` left or right."""
    return f"{limb.title()} {kind}{'.L' if side == 'left' else '.R'}"


def create(data: bpy.types.Armature) -> dict[str, bpy.types.BoneCollection]:
    """Make the tree of collections; deform bones, helpers and finger detail start hidden."""
    made: dict[str, bpy.types.BoneCollection] = {}
    for name, parent in PARENTS.items():
        made[name] = data.collections.new(name, parent=made[parent] if parent else None)
        made[name].is_visible = name not in HIDDEN
    return made
