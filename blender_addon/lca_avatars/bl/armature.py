# SPDX-License-Identifier: GPL-3.0-or-later
"""The armature: 55 deform bones with their SMPL-X names, plus the control bones the other modules ask for.

Bone specifications in avatar space (Y up, metres) go in, one armature object comes out. Its object matrix
turns the avatar upright in Blender's Z-up world; the data themselves stay as they are in the file.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Matrix, Vector
from numpy.typing import NDArray

from ..core.frames import BoneFrames, Skeleton, eye_side
from . import compat

Y_UP_TO_Z_UP = Matrix.Rotation(math.radians(90.0), 4, "X")
BODY, FINGERS, FACE, CONTROLS, MECHANISM = "Body", "Finger joints", "Face joints", "Controls", "MCH"
COLLECTIONS = (BODY, FINGERS, FACE, CONTROLS, MECHANISM)


@dataclass(frozen=True)
class BoneSpec:
    """One bone at rest: head (3,) metres, rest (3,3) axes as columns (Y along the bone), length in metres."""

    name: str
    parent: str | None
    head: NDArray[np.float64]
    rest: NDArray[np.float64]
    length: float
    deform: bool
    collection: str


def joint_bones(skeleton: Skeleton, frames: BoneFrames, finger_joints: Collection[str]) -> list[BoneSpec]:
    """The deform bones, one per joint, in joint order."""
    bones = []
    for i, name in enumerate(skeleton.names):
        parent = skeleton.parents[i]
        face = eye_side(name) is not None or name == "jaw"
        collection = FACE if face else FINGERS if name in finger_joints else BODY
        bones.append(
            BoneSpec(
                name,
                skeleton.names[parent] if parent >= 0 else None,
                skeleton.joints[i],
                frames.rest[i],
                float(frames.lengths[i]),
                True,
                collection,
            )
        )
    return bones


def build_armature(name: str, bones: list[BoneSpec], collection: bpy.types.Collection) -> bpy.types.Object:
    """Create the armature object in ``collection``; leaves Blender in object mode with the rig active."""
    data = bpy.data.armatures.new(name)
    data.display_type = "STICK"
    rig = bpy.data.objects.new(name, data)
    rig.show_in_front = True
    rig.matrix_world = Y_UP_TO_Z_UP
    collection.objects.link(rig)
    if bpy.context.object is not None and bpy.context.object.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    compat.select_only(rig)
    bpy.ops.object.mode_set(mode="EDIT")
    try:
        for spec in bones:
            _add_bone(data, spec)
    finally:
        bpy.ops.object.mode_set(mode="OBJECT")
    groups = {title: data.collections.new(title) for title in COLLECTIONS}
    for spec in bones:
        groups[spec.collection].assign(data.bones[spec.name])
    groups[MECHANISM].is_visible = False
    return rig


def _add_bone(data: bpy.types.Armature, spec: BoneSpec) -> None:
    bone = data.edit_bones.new(spec.name)
    bone.head = Vector(spec.head)
    bone.tail = Vector(spec.head + spec.rest[:, 1] * spec.length)
    bone.align_roll(Vector(spec.rest[:, 2]))
    bone.use_deform = spec.deform
    if spec.parent is not None:
        bone.parent = data.edit_bones[spec.parent]
