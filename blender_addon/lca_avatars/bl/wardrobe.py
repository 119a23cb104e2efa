# SPDX-License-Identifier: GPL-3.0-or-later
"""Which shape each control of the body wears, sized by the bones themselves."""

from __future__ import annotations

import bpy

from ..core.control_names import CHEST, HIPS, LOOK, ROOT, TORSO, control_of
from ..core.frames import Skeleton
from . import gaze, limbs, widgets

# Radius of the ring around a joint's bone, metres, and where along the bone it sits (0 head, 1 tail).
_RINGS = {
    "spine1": (0.15, 0.5),
    "spine2": (0.15, 0.5),
    "spine3": (0.16, 0.5),
    "neck": (0.075, 0.5),
    "head": (0.13, 0.45),
    "jaw": (0.03, 1.0),
    "collar": (0.07, 0.7),
    "shoulder": (0.085, 0.5),
    "elbow": (0.065, 0.5),
    "wrist": (0.055, 0.5),
    "hip": (0.12, 0.5),
    "knee": (0.085, 0.5),
    "ankle": (0.07, 0.5),
    "foot": (0.05, 0.5),
}


def dress(rig: bpy.types.Object, skeleton: Skeleton) -> None:
    """Give every control of the body, hands and gaze its shape; the board dresses itself."""
    bones = rig.pose.bones
    around = widgets.circle("WGT-lca_ring", 1)
    flat = widgets.circle("WGT-lca_palm", 2)
    side = widgets.circle("WGT-lca_finger", 0)
    ball, box = widgets.ball("WGT-lca_ball"), widgets.box("WGT-lca_box")
    for joint in skeleton.names:
        bone = bones[control_of(joint)]
        ring = _RINGS.get(joint) or _RINGS.get(joint.partition("_")[2])
        if ring is not None:
            widgets.dress(bone, around, ring[0], ring[1] * bone.length)
        elif "eye" in joint:
            widgets.dress(bone, around, 0.018, bone.length)
        elif joint != "pelvis":
            widgets.dress(bone, around, 0.012, 0.5 * bone.length)
    widgets.dress(bones[ROOT], widgets.ground("WGT-lca_ground"), 0.42)
    widgets.dress(bones[TORSO], box, (0.23, 0.05, 0.2))
    widgets.dress(bones[HIPS], around, 0.24, -0.06)
    widgets.dress(bones[CHEST], box, (0.22, 0.04, 0.19), bones[CHEST].length)
    for limb in limbs.limbs():
        size = (0.05, 0.07, 0.05) if limb.kind == "arm" else (0.06, 0.05, 0.12)
        widgets.dress(bones[limb.handle], box, size, 0.05 if limb.kind == "arm" else 0.04)
        widgets.dress(bones[limb.pole], ball, 0.03)
        for name in limb.tweaks:
            widgets.dress(bones[name], around, 0.05, 0.5 * bones[name].length)
    for bone in bones:
        if bone.name.startswith("finger_"):
            widgets.dress(bone, side, 0.011)
        elif bone.name.startswith("hand_fingers"):
            widgets.dress(bone, flat, 0.04)
    widgets.dress(bones[LOOK], box, (0.08, 0.008, 0.03))
    for name in gaze.eyes(skeleton):
        target = bones[gaze.eye_target(name)]
        widgets.dress(target, around, 0.016)
        # Bone X of an eye points to the person's right: draw each ring on its own side.
        target.custom_shape_translation.x = -0.035 if name == "left" else 0.035
