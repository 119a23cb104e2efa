# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaze: two sliders that turn both eyes, and a ``look`` target bone that they follow when asked to.

``gaze_yaw`` (positive = the person's left) and ``gaze_pitch`` (positive = down) are radians, as in the avatar
file's gaze. Keys on the eye joints themselves come first, the sliders turn on top of them.
"""

from __future__ import annotations

import bpy
import numpy as np

from ..core.frames import BoneFrames, Skeleton, eye_side
from ..core.rig_info import Control
from .armature import CONTROLS, MECHANISM, BoneSpec
from .drivers import PropertyVariable, add_driver

YAW, PITCH, FOLLOW = "gaze_yaw", "gaze_pitch", "look_follow"
LOOK = "look"
FOLLOW_CONTROL = Control(
    FOLLOW,
    "Gaze",
    "Follow Look Target",
    "middle",
    "weight",
    (0.0, 1.0),
    (0.0, 1.0),
    0.0,
    "constraints:Look target",
)
_LOOK_DISTANCE = 0.8


def eyes(skeleton: Skeleton) -> dict[str, str]:
    """Joint name of the left and the right eye."""
    return {side: name for name in skeleton.names if (side := eye_side(name))}


def control_bones(skeleton: Skeleton, frames: BoneFrames) -> list[BoneSpec]:
    """One hidden slider bone per eye, and the look target in front of the face."""
    bones, heads = [], []
    for side, name in eyes(skeleton).items():
        joint = skeleton.names.index(name)
        parent = skeleton.names[skeleton.parents[joint]]
        heads.append(skeleton.joints[joint])
        bones.append(
            BoneSpec(_slider_bone(side), parent, heads[-1], frames.rest[joint], 0.02, False, MECHANISM)
        )
    joint = skeleton.names.index(eyes(skeleton)["left"])
    rest = frames.rest[joint]
    bones.append(
        BoneSpec(LOOK, None, np.mean(heads, 0) + _LOOK_DISTANCE * rest[:, 1], rest, 0.05, False, CONTROLS)
    )
    return bones


def connect(rig: bpy.types.Object, skeleton: Skeleton) -> None:
    """Sliders -> hidden bones -> eye joints, then the look target on top."""
    for side, name in eyes(skeleton).items():
        slider = rig.pose.bones[_slider_bone(side)]
        slider.rotation_mode = "XYZ"
        # The eye's bone frame: Y looks ahead, Z is up, X points to the person's right (pitch down = -X turn).
        add_driver(slider, "rotation_euler", [PropertyVariable("yaw", rig, YAW)], index=2)
        add_driver(
            slider, "rotation_euler", [PropertyVariable("pitch", rig, PITCH)], index=0, expression="-pitch"
        )
        eye = rig.pose.bones[name]
        copy = eye.constraints.new("COPY_ROTATION")
        copy.name = "Gaze sliders"
        copy.target, copy.subtarget = rig, slider.name
        copy.owner_space = copy.target_space = "LOCAL"
        copy.mix_mode = "AFTER"
        track = eye.constraints.new("DAMPED_TRACK")
        track.name = "Look target"
        track.target, track.subtarget = rig, LOOK
        track.track_axis = "TRACK_Y"
        add_driver(track, "influence", [PropertyVariable("follow", rig, FOLLOW)])
    look = rig.pose.bones[LOOK]
    look.lock_rotation, look.lock_scale = (True, True, True), (True, True, True)


def _slider_bone(side: str) -> str:
    return "MCH-gaze" + {"left": ".L", "right": ".R"}[side]
