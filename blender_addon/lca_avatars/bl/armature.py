# SPDX-License-Identifier: GPL-3.0-or-later
"""The armature: 55 deform bones with their SMPL-X names, plus the control bones the other modules ask for.

Bone specifications in avatar space (Y up, metres) go in, one armature object comes out. Its object matrix
turns the avatar upright in Blender's Z-up world; the data themselves stay as they are in the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Matrix, Vector
from numpy.typing import NDArray

from ..core.frames import BoneFrames, Skeleton
from . import bone_groups, compat

Y_UP_TO_Z_UP = Matrix.Rotation(math.radians(90.0), 4, "X")


@dataclass(frozen=True)
class BoneSpec:
    """One bone at rest: head (3,) metres, rest (3,3) axes as columns (Y along the bone), length in metres."""

    name: str
    parent: str | None
    head: NDArray[np.float64]
    rest: NDArray[np.float64]
    length: float
    collection: str

    @property
    def deform(self) -> bool:
        """Whether the bone moves the mesh."""
        return self.collection == bone_groups.DEFORM


def joint_bones(skeleton: Skeleton, frames: BoneFrames) -> list[BoneSpec]:
    """The deform bones, one per joint, in joint order."""
    return [
        BoneSpec(
            name,
            skeleton.names[parent] if parent >= 0 else None,
            skeleton.joints[i],
            frames.rest[i],
            float(frames.lengths[i]),
            bone_groups.DEFORM,
        )
        for i, (name, parent) in enumerate(zip(skeleton.names, skeleton.parents, strict=True))
    ]


def build_armature(name: str, bones: list[BoneSpec], collection: bpy.types.Collection) -> bpy.types.Object:
    """Create the armature object in ``collection``; leaves Blender in object mode with the rig active.

    ``bones`` may come in any order; parents are found by name.

    Raises:
        ValueError: two bones share a name (Blender would rename one of them in silence).
    """
    names = [spec.name for spec in bones]
    if len(set(names)) != len(names):
        raise ValueError(f"bones named twice: {sorted({n for n in names if names.count(n) > 1})}")
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
        for spec in bones:
            if spec.parent is not None:
                data.edit_bones[spec.name].parent = data.edit_bones[spec.parent]
    finally:
        bpy.ops.object.mode_set(mode="OBJECT")
    groups = bone_groups.create(data)
    for spec in bones:
        groups[spec.collection].assign(data.bones[spec.name])
        palette = bone_groups.PALETTES.get(spec.collection)
        if palette is not None:
            rig.pose.bones[spec.name].color.palette = palette
    return rig


def _add_bone(data: bpy.types.Armature, spec: BoneSpec) -> None:
    bone = data.edit_bones.new(spec.name)
    bone.head = Vector(spec.head)
    bone.tail = Vector(spec.head + spec.rest[:, 1] * spec.length)
    bone.align_roll(Vector(spec.rest[:, 2]))
    bone.use_deform = spec.deform
