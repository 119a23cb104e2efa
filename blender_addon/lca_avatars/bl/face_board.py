# SPDX-License-Identifier: GPL-3.0-or-later
"""The face board in Blender: one knob bone per control beside the head, kept inside its travel.

The drawing of the whole board (frames, zero marks, labels) is one wire mesh on the board's own bone, which
moves and scales all of it; what the knobs do is decided by ``core.board`` and wired in ``face``.
"""

from __future__ import annotations

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.board import BOARD, CELL, knobs
from ..core.control_names import ROOT
from ..core.frames import Skeleton
from . import board_drawing, bone_groups
from .armature import BoneSpec

_KNOB = 0.006
_AWAY = np.array([0.31, 0.02, 0.0])  # beside the head, on the person's left, above an arm in T-pose
_AXES = np.eye(3)


def control_bones(skeleton: Skeleton) -> list[BoneSpec]:
    """The board's bone and its knobs, facing the way the person faces."""
    origin = _origin(skeleton)
    bones = [BoneSpec(BOARD, ROOT, origin, _AXES, 0.05, bone_groups.BOARD)]
    for knob in knobs():
        place = origin + CELL * np.array([knob.place[0], knob.place[1], 0.0])
        bones.append(BoneSpec(knob.bone, BOARD, place, _AXES, _KNOB, bone_groups.BOARD))
    return bones


def connect(rig: bpy.types.Object) -> None:
    """Limits and locks of the knobs; shapes to draw them with."""
    for knob in knobs():
        bone = rig.pose.bones[knob.bone]
        bone.rotation_mode = "XYZ"
        bone.lock_rotation = bone.lock_scale = (True, True, True)
        span = knob.span
        bone.lock_location = (span["X"] == (0.0, 0.0), span["Y"] == (0.0, 0.0), True)
        limit = bone.constraints.new("LIMIT_LOCATION")
        limit.name = "Travel"
        limit.owner_space = "LOCAL"
        limit.use_transform_limit = True
        for axis, (low, high) in (*span.items(), ("Z", (0.0, 0.0))):
            for end, value in (("min", low), ("max", high)):
                setattr(limit, f"use_{end}_{axis.lower()}", True)
                setattr(limit, f"{end}_{axis.lower()}", value)
        bone.custom_shape = board_drawing.knob_widget()
        bone.use_custom_shape_bone_size = False
        bone.custom_shape_scale_xyz = (_KNOB, _KNOB, _KNOB)
    board = rig.pose.bones[BOARD]
    board.rotation_mode = "XYZ"
    board.custom_shape = board_drawing.board_widget()
    board.use_custom_shape_bone_size = False


def _origin(skeleton: Skeleton) -> NDArray[np.float64]:
    return skeleton.at("head") + _AWAY
