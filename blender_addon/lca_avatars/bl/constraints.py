# SPDX-License-Identifier: GPL-3.0-or-later
"""The few constraints the rig is made of, each one line to use: copy, track, and joint limits."""

from __future__ import annotations

import math

import bpy

from ..core.rig_info import JointRange


def _add(rig: bpy.types.Object, bone: str, kind: str, name: str, target: str) -> bpy.types.Constraint:
    constraint = rig.pose.bones[bone].constraints.new(kind)
    constraint.name = name
    constraint.target = rig
    constraint.subtarget = target
    return constraint


def copy_transforms(rig: bpy.types.Object, bone: str, target: str, name: str) -> bpy.types.Constraint:
    """``bone`` stands where ``target`` stands."""
    constraint = _add(rig, bone, "COPY_TRANSFORMS", name, target)
    constraint.owner_space = constraint.target_space = "POSE"
    return constraint


def copy_rotation(rig: bpy.types.Object, bone: str, target: str, name: str) -> bpy.types.Constraint:
    """``bone`` takes the orientation of ``target``; both must share a rest frame."""
    constraint = _add(rig, bone, "COPY_ROTATION", name, target)
    constraint.owner_space = constraint.target_space = "POSE"
    return constraint


def add_rotation(
    rig: bpy.types.Object, bone: str, target: str, name: str, influence: float = 1.0
) -> bpy.types.Constraint:
    """``bone`` turns further by what ``target`` is turned from its rest, after its own rotation."""
    constraint = _add(rig, bone, "COPY_ROTATION", name, target)
    constraint.owner_space = constraint.target_space = "LOCAL"
    constraint.mix_mode = "AFTER"
    constraint.influence = influence
    return constraint


def point_at(rig: bpy.types.Object, bone: str, target: str, name: str) -> bpy.types.Constraint:
    """Bone Y points at the head of ``target``, by the smallest turn."""
    constraint = _add(rig, bone, "DAMPED_TRACK", name, target)
    constraint.track_axis = "TRACK_Y"
    return constraint


def roll_towards(rig: bpy.types.Object, bone: str, target: str, name: str, axis: str) -> bpy.types.Constraint:
    """Turn about bone Y until ``axis`` (``TRACK_Z`` or ``TRACK_NEGATIVE_Z``) faces ``target``."""
    constraint = _add(rig, bone, "LOCKED_TRACK", name, target)
    constraint.track_axis, constraint.lock_axis = axis, "LOCK_Y"
    return constraint


def limit_rotation(rig: bpy.types.Object, bone: str, frame: str, limits: JointRange) -> bpy.types.Constraint:
    """Keep a joint's control inside its anatomical range.

    ``frame`` is a helper bone that rides on the control's parent and is world-aligned at rest: measured in
    it, the control's rotation is exactly the joint rotation that the limits are stated for.
    """
    constraint = rig.pose.bones[bone].constraints.new("LIMIT_ROTATION")
    constraint.name = "Joint limits"
    constraint.owner_space = "CUSTOM"
    constraint.space_object, constraint.space_subtarget = rig, frame
    constraint.euler_order = "XYZ"
    for axis, low, high in zip("xyz", limits.low, limits.high, strict=True):
        setattr(constraint, f"use_limit_{axis}", True)
        setattr(constraint, f"min_{axis}", math.radians(low))
        setattr(constraint, f"max_{axis}", math.radians(high))
    return constraint
