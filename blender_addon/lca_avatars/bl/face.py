# SPDX-License-Identifier: GPL-3.0-or-later
"""Face controls: one property per ARKit coefficient on the rig, each driving the shape key of the same name.

The ``eyeLook*`` shapes move the lids; their keys also follow the eyes (property ``lids_follow``), whichever
is stronger, so that a gaze slider and a captured coefficient agree instead of adding up.
"""

from __future__ import annotations

import bpy

from ..core.frames import Skeleton
from ..core.rig_info import Control
from . import gaze
from .drivers import PropertyVariable, RotationVariable, Variable, add_driver

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
_FULL_TURN = {"X": 0.45, "Z": 0.6}


def connect(
    rig: bpy.types.Object, proxy: bpy.types.Object, skeleton: Skeleton, arkit_names: tuple[str, ...]
) -> None:
    """One driver per shape key."""
    keys = proxy.data.shape_keys.key_blocks
    for name in arkit_names:
        slider = PropertyVariable("slider", rig, name)
        follow = _lid_follow(rig, skeleton, name)
        if follow is None:
            add_driver(keys[name], "value", [slider])
            continue
        eye, sign = follow
        full = _FULL_TURN[eye.axis]
        variables: list[Variable] = [slider, eye, PropertyVariable("follow", rig, LIDS_FOLLOW)]
        add_driver(
            keys[name],
            "value",
            variables,
            expression=f"min(max(slider, follow * turn * {sign / full:.6f}), 1.0)",
        )


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
