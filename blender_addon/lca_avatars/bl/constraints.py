# SPDX-License-Identifier: GPL-3.0-or-later
"""The few constraints the rig is made of, each one line to use: copy, track, and joint limits."""

from __future__ import annotations

import math
from itertools import permutations

import bpy
import numpy as np
from numpy.typing import NDArray

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


def limit_rotation(
    rig: bpy.types.Object, bone: str, rest: NDArray[np.float64], limits: JointRange
) -> bpy.types.Constraint:
    """Keep a joint's control inside its anatomical range.

    The range is stated about the world axes at rest, the constraint works about the bone's; each world axis
    becomes the bone axis nearest to it (limbs point along world axes in the T-pose, so they nearly coincide).
    ``rest`` (3, 3): bone axes as columns.
    """
    constraint = rig.pose.bones[bone].constraints.new("LIMIT_ROTATION")
    constraint.name = "Joint limits"
    constraint.owner_space = "LOCAL"
    nearest = _nearest_axes(rest)
    constraint.euler_order = "".join("XYZ"[axis] for axis in nearest)
    for world, axis in enumerate(nearest):
        low, high = math.radians(limits.low[world]), math.radians(limits.high[world])
        if rest[world, axis] < 0.0:
            low, high = -high, -low
        letter = "xyz"[axis]
        setattr(constraint, f"use_limit_{letter}", True)
        setattr(constraint, f"min_{letter}", low)
        setattr(constraint, f"max_{letter}", high)
    return constraint


def _nearest_axes(rest: NDArray[np.float64]) -> tuple[int, ...]:
    """For each world axis its bone axis: the permutation that agrees best."""
    return max(permutations(range(3)), key=lambda p: sum(abs(rest[world, p[world]]) for world in range(3)))
