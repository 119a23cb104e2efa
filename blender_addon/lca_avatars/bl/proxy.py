# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxy mesh: textured, skinned to the armature, with one shape key per ARKit coefficient.

It is what an animator sees while posing, and what the splats ride on; its topology must never change
afterwards.
"""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray


def build_proxy(
    name: str,
    proxy: Any,
    joint_names: tuple[str, ...],
    arkit_names: tuple[str, ...],
    rig: bpy.types.Object,
    collection: bpy.types.Collection,
) -> bpy.types.Object:
    """Create the mesh object from the package's ``ProxyMesh``, parented to the rig and deformed by it."""
    mesh = _mesh(name, proxy)
    obj = bpy.data.objects.new(name, mesh)
    collection.objects.link(obj)
    obj.parent = rig
    _skin(obj, proxy.joint_indices, proxy.joint_weights, joint_names)
    add_shape_keys(obj, proxy.vertices, proxy, arkit_names)
    modifier = obj.modifiers.new("Armature", "ARMATURE")
    modifier.object = rig
    modifier.use_deform_preserve_volume = False  # linear blend skinning, as the avatar file defines it
    return obj


def _mesh(name: str, proxy: Any) -> bpy.types.Mesh:
    faces = np.ascontiguousarray(proxy.faces, np.int32)
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(proxy.vertices))
    mesh.attributes["position"].data.foreach_set(
        "vector", np.ascontiguousarray(proxy.vertices, np.float32).reshape(-1)
    )
    mesh.loops.add(faces.size)
    mesh.loops.foreach_set("vertex_index", faces.reshape(-1))
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, 3, dtype=np.int32))
    mesh.update(calc_edges=True)
    layer = mesh.uv_layers.new(name="UVMap")
    corners = np.ascontiguousarray(proxy.uvs[proxy.face_uvs], np.float32)
    layer.uv.foreach_set("vector", corners.reshape(-1))
    mesh.shade_smooth()
    return mesh


def _skin(
    obj: bpy.types.Object,
    indices: NDArray[np.integer],
    weights: NDArray[np.floating],
    joint_names: tuple[str, ...],
) -> None:
    """One vertex group per joint. Weights are snapped to k/255, so equal ones go in together."""
    dense = np.zeros((len(indices), len(joint_names)), np.float32)
    np.add.at(dense, (np.arange(len(indices))[:, None], indices), weights)
    for joint, title in enumerate(joint_names):
        group = obj.vertex_groups.new(name=title)
        column = dense[:, joint]
        rows = np.flatnonzero(column > 0)
        order = rows[np.argsort(column[rows], kind="stable")]
        values, starts = np.unique(column[order], return_index=True)
        for value, members in zip(values, np.split(order, starts[1:]), strict=True):
            group.add(members.tolist(), float(value), "REPLACE")


def add_shape_keys(
    obj: bpy.types.Object,
    rest: NDArray[np.floating],
    proxy: Any,
    arkit_names: tuple[str, ...],
    where: NDArray[np.integer] | None = None,
) -> None:
    """One key per ARKit shape of the package's ``ProxyMesh``, in order, after the basis.

    ``rest`` (K, 3) metres; ``where`` (V,) is the vertex of ``obj`` for each proxy vertex, -1 for none, when
    the mesh holds only a part of the proxy.
    """
    rest = np.ascontiguousarray(rest, np.float32)
    obj.shape_key_add(name="Basis", from_mix=False)
    obj.data.shape_keys.name = obj.name
    for shape, title in enumerate(arkit_names):
        key = obj.shape_key_add(name=title, from_mix=False)
        key.value = 0.0  # some versions start at 1
        rows = proxy.arkit_rows(shape)
        index, offsets = proxy.arkit_index[rows], proxy.arkit_vertices[rows]
        if where is not None:
            index = where[index]
            index, offsets = index[index >= 0], offsets[index >= 0]
        if len(index):
            moved = rest.copy()
            moved[index] += offsets
            key.data.foreach_set("co", moved.reshape(-1))
