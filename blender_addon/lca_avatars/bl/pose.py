# SPDX-License-Identifier: GPL-3.0-or-later
"""Applies one driving frame to an imported rig: joint rotations, root translation, ARKit weights, gaze.

It is written to the FK controls, with the limbs switched to FK. SMPL-X joints are world-aligned at rest,
bones are not: with B the bone's rest orientation, R_bone = B^T R B. What an animator set on masters (chest,
hips, finger curls, the board) stays on top.
"""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Matrix, Vector
from numpy.typing import NDArray

from ..core.control_names import IK_PROPERTIES, control_of
from ..core.deps import skin
from . import gaze as gaze_controls


def apply_pose(
    rig: bpy.types.Object,
    joint_names: tuple[str, ...],
    joint_rotations: NDArray[np.floating],
    translation: NDArray[np.floating] | None = None,
    arkit: dict[str, float] | None = None,
    gaze: tuple[float, float] | None = None,
) -> None:
    """Set the current pose.

    Args:
        rig: the imported armature.
        joint_names: J names in the order of ``joint_rotations``.
        joint_rotations: (J, 3) local axis-angle, radians.
        translation: (3,) metres in avatar space, added last.
        arkit: weights 0..1 by ARKit name; others keep their value.
        gaze: (yaw, pitch) of both eyes, radians.
    """
    for name, matrix in zip(joint_names, skin.rotation_matrices(joint_rotations), strict=True):
        bone = rig.pose.bones[control_of(name)]
        rest = bone.bone.matrix_local.to_3x3()
        turned = rest.transposed() @ Matrix(matrix.tolist()) @ rest
        bone.rotation_mode = "QUATERNION"
        bone.rotation_quaternion = turned.to_quaternion()
    root = rig.pose.bones[control_of(joint_names[0])]
    shift = (
        Vector((0.0, 0.0, 0.0)) if translation is None else Vector(np.asarray(translation, float).tolist())
    )
    root.location = root.bone.matrix_local.to_3x3().transposed() @ shift
    for name in IK_PROPERTIES:
        rig[name] = 0.0
    for name, value in (arkit or {}).items():
        rig[name] = float(value)
    if gaze is not None:
        rig[gaze_controls.YAW], rig[gaze_controls.PITCH] = float(gaze[0]), float(gaze[1])
    rig.update_tag()  # properties set from Python do not tag the object themselves
