# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts hand poses and expressions on a rig, by sliders or by bones.

Sliders are what capture and scripts write; bones (finger masters, board knobs) are what the pose library
blends and flips. Both raise the same shapes and curl the same fingers.
"""

from __future__ import annotations

from typing import Any

import bpy

from ..core.board import STROKE, knob_of, knobs
from ..core.control_names import SUFFIX
from ..core.presets import Expression
from . import fingers, gaze
from .controls import rig_info

BonePose = dict[str, tuple[str, tuple[float, float, float]]]
"""Bone -> (``location`` or ``rotation_euler``, values)."""


def apply_hand_pose(rig: bpy.types.Object, pose: Any, side: str, strength: float = 1.0) -> list[str]:
    """Set one hand's sliders (``side`` left or right) to an ``lca.hand_poses.HandPose``, mixed in by
    ``strength``; returns their names.
    """
    values = {fingers.curl_property(finger, side): value for finger, value in pose.curl.items()}
    values |= {fingers.curl_property("hand", side): 0.0, fingers.spread_property(side): pose.spread}
    return _mix(rig, values, strength)


def apply_expression(rig: bpy.types.Object, expression: Expression, strength: float = 1.0) -> list[str]:
    """Set the 52 sliders, mixed in by ``strength``; returns their names."""
    values = {name: float(expression.weights.get(name, 0.0)) for name in rig_info(rig).arkit_names}
    return _mix(rig, values, strength)


def hand_bones(pose: Any, side: str) -> BonePose:
    """The same hand pose on the finger masters; one radian counts as a slider at 1."""
    out: BonePose = {
        fingers.master(finger, side): ("rotation_euler", (value, 0.0, 0.0))
        for finger, value in pose.curl.items()
    }
    out["hand_fingers" + SUFFIX[side]] = ("rotation_euler", (0.0, 0.0, pose.spread))
    return out


def expression_bones(expression: Expression) -> BonePose:
    """The same expression on the board; every knob is named, so that it replaces the one before."""
    places = {knob.bone: [0.0, 0.0, 0.0] for knob in knobs()}
    for name, weight in expression.weights.items():
        axis = knob_of(name)
        places[axis.bone]["XY".index(axis.axis)] += axis.sign * weight * STROKE
    return {bone: ("location", (x, y, z)) for bone, (x, y, z) in places.items()}


def apply_bones(rig: bpy.types.Object, pose: BonePose) -> None:
    """Put a bone pose on the rig."""
    for name, (path, values) in pose.items():
        setattr(rig.pose.bones[name], path, values)


def board_to_sliders(rig: bpy.types.Object) -> list[str]:
    """Move what the board says into the 52 sliders and zero the knobs; the face does not change.

    Returns the names of the sliders that changed. ``FB-eyes`` goes to the gaze sliders.
    """
    info, changed = rig_info(rig), []
    for name in info.arkit_names:
        if name.startswith("eyeLook"):
            continue
        axis = knob_of(name)
        value = axis.sign * getattr(rig.pose.bones[axis.bone].location, axis.axis.lower()) / STROKE
        if value > 0.0:
            rig[name] = min(max(float(rig[name]) + value, 0.0), 1.0)
            changed.append(name)
    changed += _eyes_to_sliders(rig)
    reset_board(rig)
    return changed


def reset_board(rig: bpy.types.Object) -> None:
    """Every knob back to zero."""
    for knob in knobs():
        rig.pose.bones[knob.bone].location = (0.0, 0.0, 0.0)
    rig.update_tag()


def _eyes_to_sliders(rig: bpy.types.Object) -> list[str]:
    knob = rig.pose.bones[gaze.EYES_KNOB].location
    if knob.length == 0.0:
        return []
    rig[gaze.YAW] = float(rig[gaze.YAW]) + knob.x / STROKE * gaze.YAW_RANGE
    rig[gaze.PITCH] = float(rig[gaze.PITCH]) - knob.y / STROKE * gaze.PITCH_RANGE
    return [gaze.YAW, gaze.PITCH]


def _mix(rig: bpy.types.Object, values: dict[str, float], strength: float) -> list[str]:
    for name, value in values.items():
        rig[name] = float(rig[name]) * (1.0 - strength) + value * strength
    rig.update_tag()
    return list(values)
