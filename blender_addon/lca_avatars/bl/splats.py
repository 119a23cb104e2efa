# SPDX-License-Identifier: GPL-3.0-or-later
"""The splat object: a point cloud with the attribute names of Blender's native splats, following the rig.

On every Blender version the same attributes are written (``position``, ``rotation`` wxyz, ``scale``,
``radiance:base``, ``radiance:sh_i``), so a file saved earlier can become native splats in 5.3; where the
native type exists it is switched on.
"""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core import follow
from . import compat, follow_nodes, materials

RADIUS_SIGMAS = 3.0


def build_splats(
    name: str,
    avatar: Any,
    face: follow.FaceCarrier,
    correctives: follow.PoseCorrectives | None,
    rig: bpy.types.Object,
    carriers: tuple[bpy.types.Object, bpy.types.Object],
    collection: bpy.types.Collection,
) -> bpy.types.Object:
    """Create the POINTCLOUD object of an ``AvatarPackage`` and make it follow the (joint, face) carriers."""
    obj = compat.new_pointcloud(name, avatar.canonical.means)
    collection.objects.link(obj)
    obj.parent = rig
    write_splats(obj.data, avatar.canonical)
    _write_binding(obj.data, avatar, face)
    motions = () if correctives is None else correctives.means
    for component, means in enumerate(motions):
        compat.write_attribute(obj.data, follow_nodes.pose_motion(component), "FLOAT_VECTOR", means)
    joints, face_mesh = carriers
    follow_nodes.add_modifier(obj, joints, face_mesh, len(avatar.skinning.joints), len(motions))
    compat.make_native_splats(obj.data)
    obj.data.materials.append(materials.splat_material())
    return obj


def write_splats(data: Any, canonical: Any) -> None:
    """Store Gaussians (``rotation``, ``scale``, ``radiance:*``, ``radius``) on as many points."""
    quats = canonical.quats / np.linalg.norm(canonical.quats, axis=1, keepdims=True)
    compat.write_attribute(data, "rotation", "QUATERNION", quats)
    compat.write_attribute(data, "scale", "FLOAT_VECTOR", canonical.scales)
    base = np.concatenate([canonical.sh[:, 0], canonical.opacities[:, None]], 1)
    compat.write_attribute(data, "radiance:base", "FLOAT4", base)
    for band in range(1, canonical.sh.shape[1]):
        compat.write_attribute(data, f"radiance:sh_{band - 1}", "FLOAT_VECTOR", canonical.sh[:, band])
    compat.write_attribute(data, "radius", "FLOAT", RADIUS_SIGMAS * canonical.scales.max(1))


def build_static(name: str, gaussians: Any, collection: bpy.types.Collection) -> bpy.types.Object:
    """A point cloud of Gaussians that follows nothing, for example from a PLY file."""
    obj = compat.new_pointcloud(name, gaussians.means)
    collection.objects.link(obj)
    write_splats(obj.data, gaussians)
    compat.make_native_splats(obj.data)
    obj.data.materials.append(materials.splat_material())
    return obj


def follow_rig(splats: bpy.types.Object, on: bool) -> None:
    """Let the splats follow the rig, or show what :func:`write_frame` writes."""
    modifier = splats.modifiers[follow_nodes.MODIFIER_NAME]
    modifier.show_viewport = modifier.show_render = on


def write_frame(splats: bpy.types.Object, means: NDArray[np.floating], quats: NDArray[np.floating]) -> None:
    """Overwrite the posed splats of one frame: means (N, 3) metres, quats (N, 4) wxyz unit, any float type.

    For frames from a service; the rig does not move them while ``follow_rig(splats, False)`` holds. Keep the
    rest values (:func:`read_frame`) to go back.
    """
    attributes = splats.data.attributes
    attributes["position"].data.foreach_set("vector", np.ascontiguousarray(means, np.float32).reshape(-1))
    attributes["rotation"].data.foreach_set("value", np.ascontiguousarray(quats, np.float32).reshape(-1))
    splats.data.update_tag()


def read_frame(splats: bpy.types.Object) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Stored (not evaluated) means (N, 3) and quats (N, 4)."""
    count = len(splats.data.points)
    means, quats = np.empty(count * 3, np.float32), np.empty(count * 4, np.float32)
    splats.data.attributes["position"].data.foreach_get("vector", means)
    splats.data.attributes["rotation"].data.foreach_get("value", quats)
    return means.reshape(-1, 3), quats.reshape(-1, 4)


def set_keep(splats: bpy.types.Object, fraction: float) -> None:
    """Level of detail: show only this fraction of the splats, the most visible ones."""
    modifier = splats.modifiers[follow_nodes.MODIFIER_NAME]
    identifier = follow_nodes.socket(modifier, follow_nodes.KEEP)
    compat.set_modifier_input(modifier, identifier, min(max(float(fraction), 0.0), 1.0))
    splats.update_tag()


def get_keep(splats: bpy.types.Object) -> float:
    """The fraction shown."""
    modifier = splats.modifiers[follow_nodes.MODIFIER_NAME]
    return float(compat.modifier_input(modifier, follow_nodes.socket(modifier, follow_nodes.KEEP)))


def _write_binding(data: Any, avatar: Any, face: follow.FaceCarrier) -> None:
    indices, weights = avatar.skinning.joint_indices, avatar.skinning.joint_weights
    for i, (joint, weight) in enumerate(zip(follow_nodes.JOINTS, follow_nodes.WEIGHTS, strict=True)):
        compat.write_attribute(data, joint, "INT", indices[:, i])
        compat.write_attribute(data, weight, "FLOAT", weights[:, i])
    for name, share in zip(follow_nodes.SHARES, follow.turn_shares(weights), strict=True):
        compat.write_attribute(data, name, "FLOAT", share)
    compat.write_attribute(data, follow_nodes.TRIANGLE, "INT", face.splat_triangle)
    rank = follow.importance_rank(avatar.canonical.scales, avatar.canonical.opacities)
    compat.write_attribute(data, follow_nodes.RANK, "FLOAT", rank)
