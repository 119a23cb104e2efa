# SPDX-License-Identifier: GPL-3.0-or-later
"""Two small hidden meshes that bring the rig's state to Geometry Nodes, the same way on every Blender.

The joint carrier has four vertices per joint (origin and unit axes), each moved by that joint alone: where
they end up is the joint's skinning matrix. The face carrier is the part of the proxy that face shapes move,
with the shapes as driven keys and no armature.
"""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from ..core.follow import FaceCarrier, PoseCorrectives
from . import compat
from .proxy import add_shape_keys

CORNERS = ("corner0", "corner1", "corner2")
PARENT = "parent_joint"
INVERSE, UNTURN = "rest_inverse", "rest_unturn"


def pose_weight(component: int, column: int) -> str:
    """Attribute of the joint carrier: what multiplies a column of each joint's rotation."""
    return f"pose{component}_{column}"


def pose_offset(component: int) -> str:
    """Attribute of the joint carrier: where a pose coefficient starts, kept on the first point."""
    return f"pose{component}_offset"


def build_joint_carrier(
    name: str,
    joint_names: tuple[str, ...],
    correctives: PoseCorrectives | None,
    rig: bpy.types.Object,
    collection: bpy.types.Collection,
) -> bpy.types.Object:
    """A mesh whose vertices are origin, X, Y, Z of every joint, in blocks of as many as there are joints."""
    count = len(joint_names)
    points = np.zeros((4, count, 3), np.float32)
    for axis in range(3):
        points[axis + 1, :, axis] = 1.0
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(4 * count)
    mesh.attributes["position"].data.foreach_set("vector", points.reshape(-1))
    if correctives is not None:
        _write_pose_weights(mesh, correctives, count)
    obj = _child(name, mesh, rig, collection)
    for joint, title in enumerate(joint_names):
        group = obj.vertex_groups.new(name=title)
        group.add([joint + block * count for block in range(4)], 1.0, "REPLACE")
    modifier = obj.modifiers.new("Armature", "ARMATURE")
    modifier.object = rig
    return obj


def build_face_carrier(
    name: str,
    face: FaceCarrier,
    proxy: Any,
    arkit_names: tuple[str, ...],
    rig: bpy.types.Object,
    collection: bpy.types.Collection,
) -> bpy.types.Object:
    """The carrier mesh with the face shapes of the package's ``ProxyMesh`` as shape keys."""
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(face.vertices))
    mesh.attributes["position"].data.foreach_set("vector", face.vertices.reshape(-1))
    mesh.loops.add(face.triangles.size)
    mesh.loops.foreach_set("vertex_index", face.triangles.reshape(-1))
    mesh.polygons.add(len(face.triangles))
    mesh.polygons.foreach_set("loop_start", np.arange(0, face.triangles.size, 3, dtype=np.int32))
    mesh.update(calc_edges=True)
    for corner, title in enumerate(CORNERS):
        compat.write_attribute(mesh, title, "INT", face.triangles[:, corner], domain="FACE")
    # Blender keeps matrices column by column.
    compat.write_attribute(mesh, INVERSE, "FLOAT4X4", np.swapaxes(face.inverse, 1, 2), domain="FACE")
    compat.write_attribute(mesh, UNTURN, "QUATERNION", face.unturn, domain="FACE")
    obj = _child(name, mesh, rig, collection)
    where = np.full(len(proxy.vertices), -1, np.int64)
    where[face.source[3:]] = np.arange(3, len(face.source))
    add_shape_keys(obj, face.vertices, proxy, arkit_names, where)
    return obj


def _write_pose_weights(mesh: bpy.types.Mesh, correctives: PoseCorrectives, count: int) -> None:
    """On the first block of points; the other blocks weigh nothing."""
    parents = np.zeros(4 * count, np.int32)
    parents[:count] = correctives.parents
    compat.write_attribute(mesh, PARENT, "INT", parents)
    for component, weights in enumerate(correctives.weights):
        for column in range(3):
            values = np.zeros((4 * count, 3), np.float32)
            values[:count] = weights[:, :, column]
            compat.write_attribute(mesh, pose_weight(component, column), "FLOAT_VECTOR", values)
        offset = np.zeros(4 * count, np.float32)
        offset[0] = correctives.offsets[component]
        compat.write_attribute(mesh, pose_offset(component), "FLOAT", offset)


def _child(
    name: str, mesh: bpy.types.Mesh, rig: bpy.types.Object, collection: bpy.types.Collection
) -> bpy.types.Object:
    obj = bpy.data.objects.new(name, mesh)
    collection.objects.link(obj)
    obj.parent = rig
    obj.hide_viewport = obj.hide_render = obj.hide_select = True
    return obj
