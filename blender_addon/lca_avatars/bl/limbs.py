# SPDX-License-Identifier: GPL-3.0-or-later
"""IK arms and legs: two-bone IK in closed form, blended over the FK controls by one slider per limb.

A hidden bone at the shoulder points at the hand control and rolls towards the pole; its child bends by the
angle that the law of cosines gives (a simple driver expression, so no solver, no iterations, no popping);
a third bone at the elbow points at the hand control. On them ride two tweak controls with the joints' own
rest frames, which hold whatever twist an FK pose had: FK to IK and back loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.control_names import HIPS, ROOT, SUFFIX, control_of, limb_property
from ..core.frames import SIDES, BoneFrames, Skeleton
from ..core.rig_info import Control
from . import bone_groups, constraints
from .armature import BoneSpec
from .drivers import DistanceVariable, PropertyVariable, add_driver

_POLE_DISTANCE = 0.45
_BEND = "acos(min(max((a * a + d * d - b * b) / (2.0 * a * max(d, 0.0001)), -1.0), 1.0))"


@dataclass(frozen=True)
class Limb:
    """One limb: joint names from the trunk outwards and the side of the bone frame its middle bends to.

    ``pole_sign`` is +1 where the middle joint points along bone Z (knees), -1 where against it (elbows).
    """

    kind: str
    side: str
    joints: tuple[str, str, str]
    names: tuple[str, str]
    handle_stem: str
    pole_stem: str
    pole_sign: float

    @property
    def suffix(self) -> str:
        """``.L`` or ``.R``."""
        return SUFFIX[self.side]

    @property
    def switch(self) -> str:
        """Slider: 0 = FK, 1 = IK."""
        return limb_property(self.kind, self.side)

    @property
    def handle(self) -> str:
        """The IK control of the hand or foot."""
        return self.handle_stem + self.suffix

    @property
    def pole(self) -> str:
        """The control that elbow or knee points to."""
        return self.pole_stem + self.suffix

    @property
    def fk(self) -> tuple[str, str, str]:
        """FK controls from the trunk outwards."""
        upper, lower, end = (control_of(joint) for joint in self.joints)
        return upper, lower, end

    @property
    def tweaks(self) -> tuple[str, str]:
        """Tweak controls of the two IK bones."""
        return f"{self.names[0]}_tweak{self.suffix}", f"{self.names[1]}_tweak{self.suffix}"

    def helper(self, part: str) -> str:
        """A hidden bone: ``swing``, ``upper`` or ``lower``."""
        return f"MCH-ik_{self.kind}_{part}{self.suffix}"

    @property
    def ik_controls(self) -> tuple[str, ...]:
        """Everything an animator keys in IK."""
        return (self.handle, self.pole, *self.tweaks)


def limbs() -> list[Limb]:
    """Both arms, both legs."""
    made = []
    for side in SIDES:
        arm = tuple(f"{side}_{part}" for part in ("shoulder", "elbow", "wrist"))
        leg = tuple(f"{side}_{part}" for part in ("hip", "knee", "ankle"))
        made.append(Limb("arm", side, arm, ("upper_arm", "forearm"), "hand_ik", "elbow_pole", -1.0))  # type: ignore[arg-type]
        made.append(Limb("leg", side, leg, ("thigh", "shin"), "foot_ik", "knee_pole", 1.0))  # type: ignore[arg-type]
    return made


def slider(limb: Limb) -> Control:
    """The FK/IK slider as a control."""
    label = f"{'Left' if limb.side == 'left' else 'Right'} {limb.kind.title()} IK"
    return Control(
        limb.switch,
        "Body",
        label,
        limb.side,
        "weight",
        (0.0, 1.0),
        (0.0, 1.0),
        0.0,
        f"constraints:IK {limb.kind}",
    )


def control_bones(skeleton: Skeleton, frames: BoneFrames) -> list[BoneSpec]:
    """Handles, poles, tweaks and helpers of the four limbs."""
    bones: list[BoneSpec] = []
    for limb in limbs():
        upper, lower, end = (skeleton.names.index(joint) for joint in limb.joints)
        trunk = control_of(f"{limb.side}_collar") if limb.kind == "arm" else HIPS
        group = bone_groups.limb_collection(limb.kind, "IK", limb.side)
        hinge = frames.rest[upper][:, 0]
        first, second = _hinged(frames.rest[upper], hinge), _hinged(frames.rest[lower], hinge)
        at = skeleton.joints
        hidden = bone_groups.MECHANISM
        lengths = frames.lengths
        pole = at[lower] + limb.pole_sign * _POLE_DISTANCE * first[:, 2]
        bones += [
            BoneSpec(limb.helper("swing"), trunk, at[upper], first, float(lengths[upper]), hidden),
            BoneSpec(
                limb.helper("upper"), limb.helper("swing"), at[upper], first, float(lengths[upper]), hidden
            ),
            BoneSpec(
                limb.helper("lower"), limb.helper("upper"), at[lower], second, float(lengths[lower]), hidden
            ),
            BoneSpec(limb.handle, ROOT, at[end], frames.rest[end], float(lengths[end]), group),
            BoneSpec(limb.pole, ROOT, pole, frames.rest[upper], 0.05, group),
        ]
        for name, joint, part in zip(limb.tweaks, (upper, lower), ("upper", "lower"), strict=True):
            parent, rest = limb.helper(part), frames.rest[joint]
            bones.append(BoneSpec(name, parent, at[joint], rest, float(lengths[joint]), group))
    return bones


def connect(rig: bpy.types.Object) -> None:
    """Constraints and drivers of the four limbs; runs after the deform bones copy their FK controls."""
    for limb in limbs():
        axis = "TRACK_Z" if limb.pole_sign > 0 else "TRACK_NEGATIVE_Z"
        swing, lower = limb.helper("swing"), limb.helper("lower")
        constraints.point_at(rig, swing, limb.handle, "To handle")
        constraints.roll_towards(rig, swing, limb.pole, "To pole", axis)
        constraints.point_at(rig, lower, limb.handle, "To handle")
        _bend(rig, limb)
        blended = zip(limb.joints, (*limb.tweaks, limb.handle), strict=True)
        for joint, source in blended:
            copy = constraints.copy_rotation(rig, joint, source, "IK")
            add_driver(copy, "influence", [PropertyVariable("ik", rig, limb.switch)])
        for name in limb.ik_controls:
            bone = rig.pose.bones[name]
            bone.rotation_mode = "QUATERNION"
            bone.lock_scale = (True, True, True)
        for name in limb.tweaks:
            rig.pose.bones[name].lock_location = (True, True, True)
        rig.pose.bones[limb.pole].lock_rotation = (True, True, True)
        rig.pose.bones[limb.pole].lock_rotation_w = True


def _bend(rig: bpy.types.Object, limb: Limb) -> None:
    """The upper bone leaves the straight line by the angle of the triangle (upper, lower, reach).

    The lengths are read from the FK chain, so that a scaled rig keeps working.
    """
    upper = rig.pose.bones[limb.helper("upper")]
    upper.rotation_mode = "XYZ"
    first, second, end = limb.fk
    variables = [
        DistanceVariable("a", rig, first, second),
        DistanceVariable("b", rig, second, end),
        DistanceVariable("d", rig, first, limb.handle),
    ]
    # Turning about bone +X moves bone Y towards bone Z, the knee's side; elbows go the other way.
    sign = "" if limb.pole_sign > 0 else "-"
    add_driver(upper, "rotation_euler", variables, index=0, expression=sign + _BEND)


def _hinged(rest: NDArray[np.float64], hinge: NDArray[np.float64]) -> NDArray[np.float64]:
    """The frame with bone Y kept and bone X as near to ``hinge`` as it can be."""
    y = rest[:, 1]
    x = hinge - y * float(hinge @ y)
    x = x / np.linalg.norm(x)
    return np.stack([x, y, np.cross(x, y)], -1)
