# SPDX-License-Identifier: GPL-3.0-or-later
"""Every difference between Blender 4.5, 5.0, 5.1, 5.2 and later, decided by feature, never by version number.

The rest of the add-on calls these functions and is written once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

_ATTRIBUTE_FIELD = {
    "FLOAT": "value",
    "INT": "value",
    "FLOAT_VECTOR": "vector",
    "QUATERNION": "value",
    "FLOAT_COLOR": "color",
    "FLOAT4": "vector",
    "FLOAT4X4": "value",
}
_ATTRIBUTE_WIDTH = {"FLOAT_VECTOR": 3, "QUATERNION": 4, "FLOAT_COLOR": 4, "FLOAT4": 4, "FLOAT4X4": 16}


def new_pointcloud(name: str, positions: NDArray[np.floating]) -> bpy.types.Object:
    """A POINTCLOUD object, not linked to any collection, with points at ``positions`` (N, 3)."""
    flat = np.ascontiguousarray(positions, np.float32).reshape(-1)
    count = len(flat) // 3
    if hasattr(bpy.types.PointCloud, "resize"):  # 5.1 and later
        cloud = bpy.data.pointclouds.new(name)
        cloud.resize(count)
        cloud.attributes["position"].data.foreach_set("vector", flat)
        return bpy.data.objects.new(name, cloud)
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(count)
    mesh.attributes["position"].data.foreach_set("vector", flat)
    obj = bpy.data.objects.new(name, mesh)
    # Converting is an operator, and operators want the object in the scene, selected and active.
    scene = bpy.context.scene
    scene.collection.objects.link(obj)
    with bpy.context.temp_override(
        object=obj, active_object=obj, selected_objects=[obj], selected_editable_objects=[obj]
    ):
        select_only(obj)
        bpy.ops.object.convert(target="POINTCLOUD")
    scene.collection.objects.unlink(obj)
    if mesh.name in bpy.data.meshes and mesh.users == 0:
        bpy.data.meshes.remove(mesh)
    obj.data.name = name
    return obj


def select_only(obj: bpy.types.Object) -> None:
    """Make ``obj`` active and the only selected object of the view layer."""
    view_layer = bpy.context.view_layer
    for other in view_layer.objects:
        other.select_set(False)
    obj.select_set(True)
    view_layer.objects.active = obj


def write_attribute(data: Any, name: str, kind: str, values: NDArray[Any], domain: str = "POINT") -> None:
    """Create or overwrite one attribute by a bulk copy.

    ``kind`` is Blender's data type; FLOAT4 falls back to FLOAT_COLOR where it does not exist (before 5.2).
    """
    if kind == "FLOAT4" and not _has_float4():
        kind = "FLOAT_COLOR"
    attribute = data.attributes.get(name)
    if attribute is not None and attribute.data_type != kind:
        data.attributes.remove(attribute)
        attribute = None
    if attribute is None:
        attribute = data.attributes.new(name, kind, domain)
    dtype = np.int32 if kind == "INT" else np.float32
    attribute.data.foreach_set(_ATTRIBUTE_FIELD[kind], np.ascontiguousarray(values, dtype).reshape(-1))


def read_attribute(data: Any, name: str) -> NDArray[Any]:
    """One attribute by a bulk copy: (N,) for numbers, (N, width) for vectors, float32 or int32.

    Raises:
        KeyError: there is none of this name.
    """
    attribute = data.attributes[name]
    width = _ATTRIBUTE_WIDTH.get(attribute.data_type, 1)
    values = np.empty(len(attribute.data) * width, np.int32 if attribute.data_type == "INT" else np.float32)
    attribute.data.foreach_get(_ATTRIBUTE_FIELD[attribute.data_type], values)
    return values.reshape(-1, width) if width > 1 else values


def _has_float4() -> bool:
    prop = bpy.types.Attribute.bl_rna.properties.get("data_type")
    return prop is not None and "FLOAT4" in prop.enum_items


def set_modifier_input(modifier: bpy.types.Modifier, identifier: str, value: Any) -> None:
    """Set a Geometry Nodes modifier input by socket identifier (``Socket_2``)."""
    properties = getattr(modifier, "properties", None)
    inputs = getattr(properties, "inputs", None)
    if inputs is not None:  # 5.2 and later
        getattr(inputs, identifier).value = value
    else:
        modifier[identifier] = value


def modifier_input(modifier: bpy.types.Modifier, identifier: str) -> Any:
    """The value of a Geometry Nodes modifier input."""
    inputs = getattr(getattr(modifier, "properties", None), "inputs", None)
    return modifier[identifier] if inputs is None else getattr(inputs, identifier).value


def new_channels(
    action: bpy.types.Action, owner: bpy.types.Object
) -> Callable[[str, int, str], bpy.types.FCurve]:
    """A maker of F-curves ``(data_path, index, group)`` in a new slot of ``action`` for ``owner``.

    Slots, layers and strips are the same from 4.5 on; ``Action.fcurves`` of old is never used.
    """
    slot = action.slots.new("OBJECT", owner.name)
    layer = action.layers[0] if action.layers else action.layers.new("Layer")
    strip = layer.strips[0] if layer.strips else layer.strips.new(type="KEYFRAME")
    bag = strip.channelbag(slot, ensure=True)

    def make(path: str, index: int, group: str) -> bpy.types.FCurve:
        curve = bag.fcurves.new(path, index=index)
        found = bag.groups.get(group) or bag.groups.new(group)
        curve.group = found
        return curve

    return make


NATIVE_SPLATS = "GAUSSIAN_SPLAT"


def has_native_splats() -> bool:
    """Whether point clouds can be Gaussian splats that Blender itself draws (5.3); the type is asked."""
    prop = bpy.types.PointCloud.bl_rna.properties.get("type")
    return prop is not None and prop.type == "ENUM" and NATIVE_SPLATS in prop.enum_items


def make_native_splats(cloud: Any) -> bool:
    """Turn a point cloud with splat attributes into native splats where Blender has them; says whether."""
    if not has_native_splats():
        return False
    cloud.type = NATIVE_SPLATS
    return cloud.type == NATIVE_SPLATS


def shader_tree(owner: Any) -> bpy.types.NodeTree:
    """The node tree of a new material or world; before 6.0 it must be switched on."""
    if owner.node_tree is None:
        owner.use_nodes = True
    return owner.node_tree
