# SPDX-License-Identifier: GPL-3.0-or-later
"""Face controls: each shape key is its ARKit property plus its knob on the face board, clamped to 0..1.

The ``eyeLook*`` shapes move the lids; their keys also follow the eyes (property ``lids_follow``), whichever
is stronger, so that a gaze slider and a captured coefficient agree instead of adding up.
"""

from __future__ import annotations

import bpy

from ..core.board import STROKE, knob_of
from ..core.frames import Skeleton
from ..core.rig_info import Control
from . import gaze
from .drivers import LocationVariable, PropertyVariable, RotationVariable, Variable, add_driver

LIDS_FOLLOW = "lids_follow"
LIDS_CONTROL = Control(
    LIDS_FOLLOW,
    "Gaze",
    "Lids Follow Eyes",
    "middle",
    "weight",
    (0.0, 1.0),
    (0.0, 1.0),
    1.0,
    "blendShapes:eyeLook",
)
# Eye turn (radians) at which a lid shape that follows is at full strength.
_FULL_TURN = {"X": gaze.PITCH_RANGE, "Z": gaze.YAW_RANGE}


def connect(
    rig: bpy.types.Object, meshes: list[bpy.types.Object], skeleton: Skeleton, arkit_names: tuple[str, ...]
) -> None:
    """One driver per shape key of every mesh that carries the face shapes."""
    for mesh in meshes:
        keys = mesh.data.shape_keys.key_blocks
        for name in arkit_names:
            _drive(rig, keys[name], skeleton, name)


def _drive(rig: bpy.types.Object, key: bpy.types.ShapeKey, skeleton: Skeleton, name: str) -> None:
    variables: list[Variable] = [PropertyVariable("p", rig, name)]
    follow = _lid_follow(rig, skeleton, name)
    if follow is not None:  # eyeLook*: the board turns the eyes, and the lids follow
        eye, sign = follow
        variables += [eye, PropertyVariable("f", rig, LIDS_FOLLOW)]
        expression = f"min(max(p, f * turn * {sign / _FULL_TURN[eye.axis]:.6f}), 1.0)"
    else:
        knob = knob_of(name)
        variables.append(LocationVariable("v", rig, knob.bone, knob.axis))
        expression = f"min(max(p + v * {knob.sign / STROKE:.6f}, 0.0), 1.0)"
    add_driver(key, "value", variables, expression=expression)


def _lid_follow(
    rig: bpy.types.Object, skeleton: Skeleton, name: str
) -> tuple[RotationVariable, float] | None:
    """The eye rotation behind an ``eyeLook<Direction><Side>`` shape and the sign that makes it positive."""
    if not name.startswith("eyeLook"):
        return None
    side = "left" if name.endswith("Left") else "right"
    direction = name.removeprefix("eyeLook").removesuffix("Left").removesuffix("Right")
    # Bone Z turns towards the person's left, bone X turns upwards.
    left = 1.0 if side == "left" else -1.0
    axis, sign = {"Up": ("X", 1.0), "Down": ("X", -1.0), "Out": ("Z", left), "In": ("Z", -left)}[direction]
    return RotationVariable("turn", rig, gaze.eyes(skeleton)[side], axis), sign
