# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of the control bones: one FK control per SMPL-X joint, plus masters, IK handles and helpers.

Every joint's control has the joint's own rest frame and the controls of the parents above it, so a joint
rotation from a clip can be written to the control unchanged. Sides end in ``.L`` / ``.R``, because that is
what Blender's mirrored pasting flips.
"""

from __future__ import annotations

from collections.abc import Iterable

from .frames import eye_side

ROOT, TORSO, HIPS, CHEST, LOOK = "root", "torso", "hips", "chest", "look"
SUFFIX = {"left": ".L", "right": ".R"}
_MIDDLE = {
    "pelvis": TORSO,
    "spine1": "spine.01",
    "spine2": "spine.02",
    "spine3": "spine.03",
    "neck": "neck_fk",  # the deform bone has the plain name
    "head": "head_fk",
    "jaw": "jaw_fk",
}
_LIMBS = {
    "collar": "shoulder",
    "shoulder": "upper_arm_fk",
    "elbow": "forearm_fk",
    "wrist": "hand_fk",
    "hip": "thigh_fk",
    "knee": "shin_fk",
    "ankle": "foot_fk",
    "foot": "toe",
}


def control_of(joint: str) -> str:
    """The control bone that poses a joint, for example ``left_elbow`` -> ``forearm_fk.L``.

    Raises:
        KeyError: not a joint of the SMPL-X skeleton.
    """
    if joint in _MIDDLE:
        return _MIDDLE[joint]
    side, _, part = joint.partition("_")
    if eye_side(joint):
        return "eye" + SUFFIX[side]
    if part in _LIMBS:
        return _LIMBS[part] + SUFFIX[side]
    finger, number = part[:-1], part[-1:]
    if side in SUFFIX and finger and number in "123":
        stem = "thumb" if finger == "thumb" else f"f_{finger}"
        return f"{stem}.0{number}{SUFFIX[side]}"
    raise KeyError(joint)


def controls_of(joints: Iterable[str]) -> dict[str, str]:
    """Control bone by joint name."""
    return {joint: control_of(joint) for joint in joints}


def limb_property(limb: str, side: str) -> str:
    """Name of the FK/IK slider of a limb (``arm`` or ``leg``), for example ``ik_arm.L``."""
    return f"ik_{limb}{SUFFIX[side]}"


IK_PROPERTIES = tuple(limb_property(limb, side) for limb in ("arm", "leg") for side in SUFFIX)
LIMITS_PROPERTY = "joint_limits"


def mirrored(name: str) -> str:
    """The other side's name: ``.L``/``.R``, ``Left``/``Right``, ``left_``/``right_``; others stay."""
    for ours, theirs in ((".L", ".R"), (".R", ".L"), ("Left", "Right"), ("Right", "Left")):
        if name.endswith(ours):
            return name.removesuffix(ours) + theirs
    for ours, theirs in (("left_", "right_"), ("right_", "left_")):
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name
