# SPDX-License-Identifier: GPL-3.0-or-later
"""Body controls: root, torso, hips, chest and one FK control per joint; the deform bones copy them.

``torso`` carries everything and turns about the pelvis, ``hips`` turns pelvis and legs only, ``chest`` bends
the whole spine by adding a third of its turn to each spine control. Limbs add their IK in ``limbs``.
"""

from __future__ import annotations

import bpy
import numpy as np

from ..core.control_names import CHEST, HIPS, LIMITS_PROPERTY, ROOT, TORSO, control_of, controls_of
from ..core.frames import BoneFrames, Skeleton
from ..core.rig_info import Control, RigInfo
from . import bone_groups, constraints
from .armature import BoneSpec
from .drivers import PropertyVariable, add_driver

LIMITS_CONTROL = Control(
    LIMITS_PROPERTY,
    "Body",
    "Joint Limits",
    "middle",
    "weight",
    (0.0, 1.0),
    (0.0, 1.0),
    0.0,
    "constraints:Joint limits",
)
SPINE = ("spine1", "spine2", "spine3")
# Controls that ride on a deform bone, because that bone is where FK and IK have been blended.
_AFTER_IK = ("wrist", "ankle")


def control_bones(info: RigInfo, skeleton: Skeleton, frames: BoneFrames) -> list[BoneSpec]:
    """Root, torso, hips, chest, and an FK control per joint."""
    finger_joints = {joint for finger in info.fingers for joint in finger.joints}
    bones = [_root(skeleton)]
    for i, joint in enumerate(skeleton.names):
        group = _collection(joint, finger_joints)
        parent = _parent(skeleton, i)
        head, rest, length = skeleton.joints[i], frames.rest[i], float(frames.lengths[i])
        bones.append(BoneSpec(control_of(joint), parent, head, rest, length, group))
    pelvis, chest = skeleton.names.index("pelvis"), skeleton.names.index("spine2")
    for name, where in ((HIPS, pelvis), (CHEST, chest)):
        bones.append(
            BoneSpec(
                name,
                TORSO,
                skeleton.joints[where],
                frames.rest[where],
                float(frames.lengths[where]),
                bone_groups.TORSO,
            )
        )
    return bones


def connect(rig: bpy.types.Object, info: RigInfo, skeleton: Skeleton, frames: BoneFrames) -> None:
    """Deform bones copy their controls; the spine adds the chest; limits wait for their slider."""
    finger_joints = {joint for finger in info.fingers for joint in finger.joints}
    for joint in SPINE:
        constraints.add_rotation(rig, control_of(joint), CHEST, "Chest", 1.0 / len(SPINE))
    for joint, control in controls_of(skeleton.names).items():
        rig.pose.bones[control].rotation_mode = "QUATERNION"
        if joint == "pelvis":
            constraints.copy_transforms(rig, joint, HIPS, "Control")
        else:
            constraints.copy_rotation(rig, joint, control, "Control")
        if control != TORSO:
            rig.pose.bones[control].lock_location = (True, True, True)
        rig.pose.bones[control].lock_scale = (True, True, True)
        if _limited(joint, finger_joints):
            rest = frames.rest[skeleton.names.index(joint)]
            limit = constraints.limit_rotation(rig, control, rest, info.limits[joint])
            add_driver(limit, "influence", [PropertyVariable("limits", rig, LIMITS_PROPERTY)])
    for name in (HIPS, CHEST):
        rig.pose.bones[name].lock_scale = (True, True, True)
    rig.pose.bones[CHEST].lock_location = (True, True, True)


def _root(skeleton: Skeleton) -> BoneSpec:
    floor = np.array([0.0, skeleton.joints[:, 1].min() - 0.02, 0.0])
    forward = np.stack([np.array([-1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])], -1)
    return BoneSpec(ROOT, None, floor, forward, 0.3, bone_groups.ROOT)


def _parent(skeleton: Skeleton, joint: int) -> str:
    """Controls are children of the control above; after a blended joint, of its deform bone."""
    parent = skeleton.parents[joint]
    if parent < 0:
        return ROOT
    name = skeleton.names[parent]
    if name.rpartition("_")[2] in _AFTER_IK:
        return name
    if name == "pelvis":
        return TORSO if skeleton.names[joint] in SPINE else HIPS
    return control_of(name)


def _collection(joint: str, finger_joints: set[str]) -> str:
    side, _, part = joint.partition("_")
    if joint in finger_joints:
        return bone_groups.DETAIL
    if part in ("collar", "shoulder", "elbow", "wrist"):
        return bone_groups.limb_collection("arm", "FK", side)
    if part in ("hip", "knee", "ankle", "foot"):
        return bone_groups.limb_collection("leg", "FK", side)
    if part.startswith("eye"):
        return bone_groups.GAZE
    return bone_groups.HEAD if joint in ("neck", "head", "jaw") else bone_groups.TORSO


def _limited(joint: str, finger_joints: set[str]) -> bool:
    return joint != "pelvis" and joint not in finger_joints and "eye" not in joint
