# SPDX-License-Identifier: GPL-3.0-or-later
"""FK/IK snapping: switch a limb's system without the limb moving, at one frame, with keys when asked for.

What the limb looks like now (its deform bones, whatever mix of FK and IK made it) is written to the controls
of the system to come, then the slider is thrown.
"""

from __future__ import annotations

import bpy
from mathutils import Matrix, Vector

from ..core.control_names import control_of
from .limbs import Limb

_STRAIGHT = 0.002  # metres that the middle joint must leave the line for its direction to mean anything


def to_ik(rig: bpy.types.Object, limb: Limb, *, key: bool = False, frame: float | None = None) -> None:
    """Write the limb's pose to its handle, pole and tweaks, and switch to IK.

    Args:
        key: also key those controls and the switch at ``frame`` (default: the scene's), so that the limb
            stays FK before it.
    """
    _settle()
    wanted = [rig.pose.bones[joint].matrix.copy() for joint in limb.joints]
    _place(rig.pose.bones[limb.handle], wanted[2])
    pole = rig.pose.bones[limb.pole]
    _place(pole, Matrix.Translation(_pole_point(rig, limb, wanted)) @ pole.matrix.to_3x3().to_4x4())
    for name in limb.tweaks:
        rig.pose.bones[name].matrix_basis.identity()
        rig.pose.bones[name].rotation_quaternion.identity()
    _settle()
    for name, matrix in zip(limb.tweaks, wanted, strict=False):
        _turn(rig.pose.bones[name], matrix, rig.pose.bones[name].parent.matrix)
    _throw(rig, limb, 1.0, limb.ik_controls, key, frame)


def to_fk(rig: bpy.types.Object, limb: Limb, *, key: bool = False, frame: float | None = None) -> None:
    """Write the limb's pose to its three FK controls, and switch to FK; arguments as :func:`to_ik`."""
    _settle()
    above = rig.pose.bones[limb.fk[0]].parent.matrix.copy()
    for joint, control in zip(limb.joints, limb.fk, strict=True):
        wanted = rig.pose.bones[joint].matrix.copy()
        _turn(rig.pose.bones[control], wanted, above)
        above = wanted
    _throw(rig, limb, 0.0, limb.fk, key, frame)


def key_bone(rig: bpy.types.Object, name: str, frame: float) -> None:
    """Key what can move of a control: location and rotation, unless locked."""
    bone = rig.pose.bones[name]
    group = name
    if not all(bone.lock_location):
        bone.keyframe_insert("location", frame=frame, group=group)
    if not all(bone.lock_rotation):
        path = "rotation_quaternion" if bone.rotation_mode == "QUATERNION" else "rotation_euler"
        bone.keyframe_insert(path, frame=frame, group=group)


def _pole_point(rig: bpy.types.Object, limb: Limb, wanted: list[Matrix]) -> Vector:
    """Where the pole must stand: out from the middle joint, in the limb's own plane."""
    start, middle, end = (matrix.translation for matrix in wanted)
    line = (end - start).normalized()
    out = (middle - start) - line * line.dot(middle - start)
    if out.length < _STRAIGHT:  # straight: the side its hinge bends to
        out = limb.pole_sign * wanted[0].col[2].to_3d()
        out -= line * line.dot(out)
    rest = rig.data.bones
    reach = (rest[limb.pole].head_local - rest[control_of(limb.joints[1])].head_local).length
    return middle + reach * out.normalized()


def _place(bone: bpy.types.PoseBone, matrix: Matrix) -> None:
    basis = _basis(bone, matrix, bone.parent.matrix)
    bone.location = basis.translation
    bone.rotation_quaternion = basis.to_quaternion()


def _turn(bone: bpy.types.PoseBone, matrix: Matrix, parent: Matrix) -> None:
    bone.rotation_quaternion = _basis(bone, matrix, parent).to_quaternion()


def _basis(bone: bpy.types.PoseBone, matrix: Matrix, parent: Matrix) -> Matrix:
    return bone.bone.convert_local_to_pose(
        matrix,
        bone.bone.matrix_local,
        parent_matrix=parent,
        parent_matrix_local=bone.parent.bone.matrix_local,
        invert=True,
    )


def _throw(
    rig: bpy.types.Object,
    limb: Limb,
    value: float,
    controls: tuple[str, ...],
    key: bool,
    frame: float | None,
) -> None:
    path = f'["{limb.switch}"]'
    at = bpy.context.scene.frame_current if frame is None else frame
    if key:
        rig.keyframe_insert(path, frame=at - 1)
    rig[limb.switch] = value
    if key:
        rig.keyframe_insert(path, frame=at)
        for name in controls:
            key_bone(rig, name, at)
    rig.update_tag()


def _settle() -> None:
    bpy.context.view_layer.update()
