# SPDX-License-Identifier: GPL-3.0-or-later
"""Finger controls: a master per finger and one per hand that curl and spread, as bones and as sliders.

A hidden bone per finger sums its sources (own master, hand master, two sliders); the controls of the three
finger joints copy it through Transformation constraints that scale and clamp, on top of their own rotation.
Ranges and axes come from the avatar's rig description; where an axis leans out of the joint's hinge (the root
of the thumb), the turn is exact with the slider at 0 and 1 and within three degrees elsewhere.
"""

from __future__ import annotations

import math

import bpy
import numpy as np
from mathutils import Euler, Quaternion, Vector
from numpy.typing import NDArray

from ..core.control_names import SUFFIX, control_of
from ..core.frames import SIDES, BoneFrames, Skeleton
from ..core.rig_info import FingerRange, RigInfo, Triple
from . import bone_groups
from .armature import BoneSpec
from .drivers import PropertyVariable, RotationVariable, add_driver


def master(finger: str, side: str) -> str:
    """Name of a finger's master bone, for example ``finger_index.L``."""
    return f"finger_{finger}{SUFFIX[side]}"


def hand_master(side: str) -> str:
    """Name of a hand's master bone."""
    return f"hand_fingers{SUFFIX[side]}"


def curl_property(finger: str, side: str) -> str:
    """Name of a curl slider; ``finger`` may be ``hand``."""
    return f"curl_{finger}{SUFFIX[side]}"


def spread_property(side: str) -> str:
    """Name of a hand's spread slider."""
    return f"spread_hand{SUFFIX[side]}"


def curl_axes(info: RigInfo) -> dict[str, tuple[float, float, float]]:
    """Axis about which each finger joint closes, avatar space."""
    return {
        joint: axis
        for finger in info.fingers
        for joint, axis in zip(finger.joints, finger.curl_axes, strict=True)
    }


def control_bones(info: RigInfo, skeleton: Skeleton, frames: BoneFrames) -> list[BoneSpec]:
    """Masters (on the back of the hand, aligned with the first joint) and their hidden sums."""
    bones = []
    for side in SIDES:
        wrist = f"{side}_wrist"
        middle = skeleton.names.index(f"{side}_middle1")
        lift = -0.025 * frames.rest[middle][:, 2]  # bone Z of a finger points out of the palm
        for finger in (f for f in info.fingers if f.side == side):
            joint = skeleton.names.index(finger.joints[0])
            head, rest, length = skeleton.joints[joint], frames.rest[joint], float(frames.lengths[joint])
            top = BoneSpec(master(finger.finger, side), wrist, head + lift, rest, length, bone_groups.FINGERS)
            hidden = BoneSpec(_sum(finger.finger, side), wrist, head, rest, length / 2, bone_groups.MECHANISM)
            bones += [top, hidden]
        knuckles = 0.5 * (skeleton.at(wrist) + skeleton.joints[middle]) + 1.6 * lift
        bones.append(
            BoneSpec(hand_master(side), wrist, knuckles, frames.rest[middle], 0.06, bone_groups.FINGERS)
        )
    return bones


def connect(rig: bpy.types.Object, info: RigInfo, skeleton: Skeleton, frames: BoneFrames) -> None:
    """Drivers on the sums, constraints on the finger controls, locks on the masters."""
    for side in SIDES:
        _prepare_master(rig.pose.bones[hand_master(side)])
    for finger in info.fingers:
        _prepare_master(rig.pose.bones[master(finger.finger, finger.side)])
        _drive_sum(rig, finger.finger, finger.side)
        for number, joint in enumerate(finger.joints):
            rest = frames.rest[skeleton.names.index(joint)]
            # A finger curls first and is spread then; of two such constraints the later one turns first.
            if number == 0:
                spread = info.control(spread_property(finger.side)).range
                full = _local_turn(rest, finger.spread_axis, finger.spread_degrees)
                _follow_sum(rig, finger, joint, "Finger spread", "z", spread, full)
            curl = info.control(curl_property(finger.finger, finger.side)).range
            full = _local_turn(rest, finger.curl_axes[number], finger.curl_degrees[number])
            _follow_sum(rig, finger, joint, "Finger curl", "x", curl, full)


def _sum(finger: str, side: str) -> str:
    return f"MCH-finger_{finger}{SUFFIX[side]}"


def _prepare_master(bone: bpy.types.PoseBone) -> None:
    bone.rotation_mode = "XYZ"
    bone.lock_location = (True, True, True)
    bone.lock_scale = (True, True, True)
    bone.lock_rotation = (False, True, False)


def _drive_sum(rig: bpy.types.Object, finger: str, side: str) -> None:
    """X = curl, Z = spread; one radian of a master bone counts as a slider at 1."""
    bone = rig.pose.bones[_sum(finger, side)]
    bone.rotation_mode = "XYZ"
    sliders = {
        "X": [curl_property(finger, side), curl_property("hand", side)],
        "Z": [spread_property(side)],
    }
    for axis, names in sliders.items():
        add_driver(
            bone,
            "rotation_euler",
            [
                RotationVariable("master", rig, master(finger, side), axis),
                RotationVariable("hand", rig, hand_master(side), axis),
                *(PropertyVariable(f"slider{i}", rig, name) for i, name in enumerate(names)),
            ],
            index="XYZ".index(axis),
        )


def _local_turn(rest: NDArray[np.float64], axis: Triple, degrees: float) -> Euler:
    """A turn about an axis of avatar space, as Euler angles of the bone with axes ``rest`` (columns)."""
    turn = Quaternion(Vector(np.asarray(axis, np.float64) @ rest), math.radians(degrees))
    return turn.to_euler("XYZ")


def _follow_sum(
    rig: bpy.types.Object,
    finger: FingerRange,
    joint: str,
    name: str,
    axis: str,
    span: tuple[float, float],
    full: Euler,
) -> None:
    """Turn a joint's control by ``full`` where ``axis`` of the hidden sum says 1, clamped to ``span``."""
    constraint = rig.pose.bones[control_of(joint)].constraints.new("TRANSFORM")
    constraint.name = name
    constraint.target = rig
    constraint.subtarget = _sum(finger.finger, finger.side)
    constraint.owner_space = constraint.target_space = "LOCAL"
    constraint.map_from = constraint.map_to = "ROTATION"
    constraint.from_rotation_mode = constraint.to_euler_order = "XYZ"
    constraint.mix_mode_rot = "AFTER"
    for end, value in zip(("min", "max"), span, strict=True):
        setattr(constraint, f"from_{end}_{axis}_rot", value)
        for to, angle in zip("xyz", full, strict=True):
            setattr(constraint, f"to_{end}_{to}_rot", value * angle)
            setattr(constraint, f"map_to_{to}_from", axis.upper())
