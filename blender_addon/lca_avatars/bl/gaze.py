# SPDX-License-Identifier: GPL-3.0-or-later
"""Gaze: two sliders that turn both eyes, and ``look`` targets (both eyes, each eye) to follow when asked.

``gaze_yaw`` (positive = the person's left) and ``gaze_pitch`` (positive = down) are radians, as in the avatar
file's gaze. Keys on the eye joints themselves come first, the sliders turn on top of them.
"""

from __future__ import annotations

import bpy
import numpy as np

from ..core.board import EYES_KNOB, STROKE
from ..core.control_names import LOOK, ROOT, SUFFIX, control_of
from ..core.frames import BoneFrames, Skeleton, eye_side
from ..core.rig_info import Control
from . import bone_groups, constraints
from .armature import BoneSpec
from .drivers import LocationVariable, PropertyVariable, Variable, add_driver

YAW, PITCH, FOLLOW = "gaze_yaw", "gaze_pitch", "look_follow"
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
# Turn of the eyes at the end of the board knob's stroke, where the lids that follow are at full strength too.
YAW_RANGE, PITCH_RANGE = 0.6, 0.45


def eyes(skeleton: Skeleton) -> dict[str, str]:
    """Joint name of the left and the right eye."""
    return {side: name for name in skeleton.names if (side := eye_side(name))}


def eye_target(side: str) -> str:
    """Name of one eye's own look target, a child of ``look``."""
    return LOOK + SUFFIX[side]


def control_bones(skeleton: Skeleton, frames: BoneFrames) -> list[BoneSpec]:
    """One hidden slider bone per eye, and the look targets in front of the face."""
    bones: list[BoneSpec] = []
    found = eyes(skeleton)
    rest = frames.rest[skeleton.names.index(found["left"])]
    ahead = np.mean([skeleton.at(name) for name in found.values()], 0) + _LOOK_DISTANCE * rest[:, 1]
    for side, name in found.items():
        joint = skeleton.names.index(name)
        parent = control_of(skeleton.names[skeleton.parents[joint]])
        head, own = skeleton.joints[joint], frames.rest[joint]
        bones.append(BoneSpec(_slider_bone(side), parent, head, own, 0.02, bone_groups.MECHANISM))
        # Both start in one point, so that the eyes meet where ``look`` is.
        bones.append(BoneSpec(eye_target(side), LOOK, ahead, own, 0.025, bone_groups.GAZE))
    bones.append(BoneSpec(LOOK, ROOT, ahead, rest, 0.05, bone_groups.GAZE))
    return bones


def connect(rig: bpy.types.Object, skeleton: Skeleton) -> None:
    """Sliders and the board's ``FB-eyes`` -> hidden bones -> eye controls, then the look targets on top."""
    for side, name in eyes(skeleton).items():
        slider = rig.pose.bones[_slider_bone(side)]
        slider.rotation_mode = "XYZ"
        # The eye's bone frame: Y looks ahead, Z is up, X points to the person's right (pitch down = -X turn).
        _drive(slider, rig, 2, YAW, "X", YAW_RANGE, 1.0)
        _drive(slider, rig, 0, PITCH, "Y", PITCH_RANGE, -1.0)
        eye = control_of(name)
        constraints.add_rotation(rig, eye, slider.name, "Gaze sliders")
        track = constraints.point_at(rig, eye, eye_target(side), "Look target")
        add_driver(track, "influence", [PropertyVariable("follow", rig, FOLLOW)])
    for target in (LOOK, *map(eye_target, eyes(skeleton))):
        bone = rig.pose.bones[target]
        bone.lock_rotation, bone.lock_scale = (True, True, True), (True, True, True)


def _drive(
    slider: bpy.types.PoseBone,
    rig: bpy.types.Object,
    index: int,
    prop: str,
    axis: str,
    full: float,
    sign: float,
) -> None:
    """Slider (radians) plus the board's eye knob, whose full stroke turns the eye by ``full`` radians."""
    variables: list[Variable] = [
        PropertyVariable("angle", rig, prop),
        LocationVariable("knob", rig, EYES_KNOB, axis),
    ]
    expression = f"{sign:.1f} * angle + knob * {full / STROKE:.6f}"
    add_driver(slider, "rotation_euler", variables, index=index, expression=expression)


def _slider_bone(side: str) -> str:
    return "MCH-gaze" + SUFFIX[side]
