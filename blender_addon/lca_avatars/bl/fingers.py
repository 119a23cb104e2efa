# SPDX-License-Identifier: GPL-3.0-or-later
"""Finger controls: a master per finger and one per hand that curl and spread, as bones and as sliders.

A hidden bone per finger sums its sources (own master, hand master, two sliders); the three finger joints copy
it through Transformation constraints that scale and clamp, on top of whatever the animator keys on the
joints.
"""

from __future__ import annotations

import math

import bpy
import numpy as np

from ..core.frames import FINGERS, SIDES, BoneFrames, Skeleton, palm_direction, spread_sign
from .armature import CONTROLS, MECHANISM, BoneSpec
from .drivers import PropertyVariable, RotationVariable, add_driver, float_property

SUFFIX = {"left": ".L", "right": ".R"}
CURL_RANGE = (-0.25, 1.0)
SPREAD_RANGE = (-1.0, 1.0)
# A slider at 1 is a fist; degrees per joint, from the hand towards the tip.
_FULL_CURL = {"thumb": (30.0, 45.0, 65.0)}
_FULL_CURL_FINGER = (80.0, 100.0, 65.0)
_FULL_SPREAD = {"index": 18.0, "middle": 3.0, "ring": -9.0, "pinky": -22.0, "thumb": 30.0}


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


def control_bones(skeleton: Skeleton, frames: BoneFrames) -> list[BoneSpec]:
    """Masters (on the back of the hand, aligned with the first joint) and their hidden sums."""
    bones = []
    for side in SIDES:
        wrist = skeleton.names.index(f"{side}_wrist")
        lift = -0.025 * palm_direction(skeleton, side)
        for finger in FINGERS:
            joint = skeleton.names.index(f"{side}_{finger}1")
            head, rest = skeleton.joints[joint], frames.rest[joint]
            length = float(frames.lengths[joint])
            bones.append(
                BoneSpec(
                    master(finger, side), skeleton.names[wrist], head + lift, rest, length, False, CONTROLS
                )
            )
            bones.append(
                BoneSpec(_sum(finger, side), skeleton.names[wrist], head, rest, length / 2, False, MECHANISM)
            )
        middle = skeleton.names.index(f"{side}_middle1")
        knuckles = skeleton.joints[wrist] + 0.5 * (skeleton.joints[middle] - skeleton.joints[wrist])
        bones.append(
            BoneSpec(
                hand_master(side),
                skeleton.names[wrist],
                knuckles + 1.6 * lift,
                frames.rest[middle],
                0.06,
                False,
                CONTROLS,
            )
        )
    return bones


def add_properties(rig: bpy.types.Object) -> None:
    """The curl and spread sliders. Call before any driver is evaluated."""
    for side in SIDES:
        for finger in ("hand", *FINGERS):
            what = f"all {side} fingers" if finger == "hand" else f"the {side} {finger}"
            float_property(rig, curl_property(finger, side), *CURL_RANGE, f"Curl {what}; 1 is a fist")
        float_property(rig, spread_property(side), *SPREAD_RANGE, f"Spread the {side} fingers")


def connect(rig: bpy.types.Object, skeleton: Skeleton, frames: BoneFrames) -> None:
    """Drivers on the sums, constraints on the finger joints, locks on the masters."""
    for side in SIDES:
        _prepare_master(rig.pose.bones[hand_master(side)])
        for finger in FINGERS:
            _prepare_master(rig.pose.bones[master(finger, side)])
            _drive_sum(rig, finger, side)
            for number in (1, 2, 3):
                joint = skeleton.names.index(f"{side}_{finger}{number}")
                sign = spread_sign(skeleton, frames, joint) if number == 1 else 0.0
                _follow_sum(rig, finger, side, number, sign)


def _sum(finger: str, side: str) -> str:
    return f"MCH-finger_{finger}{SUFFIX[side]}"


def _prepare_master(bone: bpy.types.PoseBone) -> None:
    bone.rotation_mode = "XYZ"
    bone.lock_location = (True, True, True)
    bone.lock_scale = (True, True, True)
    bone.lock_rotation = (False, True, False)


def _drive_sum(rig: bpy.types.Object, finger: str, side: str) -> None:
    bone = rig.pose.bones[_sum(finger, side)]
    bone.rotation_mode = "XYZ"
    add_driver(
        bone,
        "rotation_euler",
        [
            RotationVariable("master", rig, master(finger, side), "X"),
            RotationVariable("hand", rig, hand_master(side), "X"),
            PropertyVariable("curl", rig, curl_property(finger, side)),
            PropertyVariable("all", rig, curl_property("hand", side)),
        ],
        index=0,
    )
    add_driver(
        bone,
        "rotation_euler",
        [
            RotationVariable("master", rig, master(finger, side), "Z"),
            RotationVariable("hand", rig, hand_master(side), "Z"),
            PropertyVariable("spread", rig, spread_property(side)),
        ],
        index=2,
    )


def _follow_sum(rig: bpy.types.Object, finger: str, side: str, number: int, spread: float) -> None:
    """Copy the sum's curl (X, 1 rad = slider at 1) and, on the first joint, its spread (Z)."""
    constraint = rig.pose.bones[f"{side}_{finger}{number}"].constraints.new("TRANSFORM")
    constraint.name = "Finger controls"
    constraint.target = rig
    constraint.subtarget = _sum(finger, side)
    constraint.owner_space = constraint.target_space = "LOCAL"
    constraint.map_from = constraint.map_to = "ROTATION"
    constraint.from_rotation_mode = constraint.to_euler_order = "XYZ"
    constraint.mix_mode_rot = "AFTER"
    full = math.radians(_FULL_CURL.get(finger, _FULL_CURL_FINGER)[number - 1])
    constraint.map_to_x_from = "X"
    constraint.from_min_x_rot, constraint.from_max_x_rot = CURL_RANGE
    constraint.to_min_x_rot, constraint.to_max_x_rot = (float(v) for v in np.multiply(CURL_RANGE, full))
    if spread:
        reach = spread * math.radians(_FULL_SPREAD[finger])
        constraint.map_to_z_from = "Z"
        constraint.from_min_z_rot, constraint.from_max_z_rot = SPREAD_RANGE
        constraint.to_min_z_rot, constraint.to_max_z_rot = (v * reach for v in SPREAD_RANGE)
