# SPDX-License-Identifier: GPL-3.0-or-later
"""The node group that carries splats along with the proxy: Geometry Nodes only, no Python per frame.

It evaluates ``core.bind.attach``: three Sample Index nodes fetch the deformed triangle, Axes to Rotation
gives its frame F (Z = normal, X = first edge), then position = foot + F offset and rotation = F local. For
the splat material it also stores the rows of diag(1/scale) R^T, which carry an offset into the splat's unit
frame.
"""

from __future__ import annotations

from typing import Any

import bpy

from . import compat
from .nodes import Graph

GROUP_NAME = "LCA Splat Attach"
VERSION = 1
TRIANGLE = ("tri0", "tri1", "tri2")
BARY, OFFSET, ROTATION = "bary", "loc_off", "loc_rot"
SHADER_ROWS = ("splat_row0", "splat_row1", "splat_row2")
MODIFIER_NAME = "Follow proxy"


def add_modifier(splats: bpy.types.Object, proxy: bpy.types.Object) -> bpy.types.Modifier:
    """Make ``splats`` (a bound point cloud) follow ``proxy``."""
    group = attach_group()
    modifier = splats.modifiers.new(MODIFIER_NAME, "NODES")
    modifier.node_group = group
    identifier = next(
        item.identifier for item in group.interface.items_tree if getattr(item, "name", "") == "Proxy"
    )
    compat.set_modifier_input(modifier, identifier, proxy)
    return modifier


def attach_group() -> bpy.types.NodeTree:
    """The shared node group; built once per file and version."""
    for group in bpy.data.node_groups:
        if group.get("lca_attach_version") == VERSION and group.library is None:
            return group
    tree = bpy.data.node_groups.new(GROUP_NAME, "GeometryNodeTree")
    tree["lca_attach_version"] = VERSION
    tree.is_modifier = True
    face = tree.interface
    face.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    face.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    face.new_socket("Proxy", in_out="INPUT", socket_type="NodeSocketObject")
    _build(Graph(tree))
    return tree


def _build(g: Graph) -> None:
    inputs = g.add("NodeGroupInput")
    info = g.add("GeometryNodeObjectInfo", transform_space="RELATIVE")
    g.link(inputs.outputs["Proxy"], info.inputs["Object"])
    rest_or_posed = g.add("GeometryNodeInputPosition").outputs["Position"]
    corners = []
    for name in TRIANGLE:
        sample = g.add("GeometryNodeSampleIndex", data_type="FLOAT_VECTOR", domain="POINT")
        g.link(info.outputs["Geometry"], sample.inputs["Geometry"])
        g.link(rest_or_posed, sample.inputs["Value"])
        g.link(_attribute(g, name, "INT"), sample.inputs["Index"])
        corners.append(sample.outputs["Value"])
    p0, p1, p2 = corners

    bary = g.add("ShaderNodeSeparateXYZ")
    g.link(_attribute(g, BARY, "FLOAT_VECTOR"), bary.inputs[0])
    weighted = [g.vector("SCALE", p, scale=bary.outputs[i]) for i, p in enumerate(corners)]
    foot = g.vector("ADD", g.vector("ADD", weighted[0], weighted[1]), weighted[2])

    edge = g.vector("SUBTRACT", p1, p0)
    normal = g.vector("CROSS_PRODUCT", edge, g.vector("SUBTRACT", p2, p0))
    frame = g.add("FunctionNodeAxesToRotation", primary_axis="Z", secondary_axis="X")
    g.link(normal, frame.inputs["Primary Axis"])
    g.link(edge, frame.inputs["Secondary Axis"])
    turn = frame.outputs["Rotation"]

    position = g.vector("ADD", foot, _turned(g, _attribute(g, OFFSET, "FLOAT_VECTOR"), turn))
    rotate = g.add("FunctionNodeRotateRotation", rotation_space="LOCAL")
    g.link(turn, rotate.inputs["Rotation"])
    g.link(_attribute(g, ROTATION, "QUATERNION"), rotate.inputs["Rotate By"])
    rotation = rotate.outputs["Rotation"]

    move = g.add("GeometryNodeSetPosition")
    g.link(inputs.outputs["Geometry"], move.inputs["Geometry"])
    g.link(position, move.inputs["Position"])
    geometry = _store(g, move.outputs["Geometry"], "rotation", "QUATERNION", rotation)
    geometry = _store_rows(g, geometry)
    outputs = g.add("NodeGroupOutput")
    g.link(geometry, outputs.inputs["Geometry"])


def _store_rows(g: Graph, geometry: Any) -> Any:
    """Row i of diag(1/scale) R^T is axis i, turned by the splat and divided by its sigma."""
    rotation = _attribute(g, "rotation", "QUATERNION")
    sigma = g.add("ShaderNodeSeparateXYZ")
    g.link(_attribute(g, "scale", "FLOAT_VECTOR"), sigma.inputs[0])
    for i, name in enumerate(SHADER_ROWS):
        axis = _turned(g, tuple(1.0 if k == i else 0.0 for k in range(3)), rotation)
        row = g.vector("SCALE", axis, scale=g.math("DIVIDE", 1.0, sigma.outputs[i]))
        geometry = _store(g, geometry, name, "FLOAT_VECTOR", row)
    return geometry


def _attribute(g: Graph, name: str, kind: str) -> Any:
    node = g.add("GeometryNodeInputNamedAttribute", data_type=kind)
    node.inputs["Name"].default_value = name
    return node.outputs["Attribute"]


def _turned(g: Graph, vector: Any, rotation: Any) -> Any:
    node = g.add("FunctionNodeRotateVector")
    g.feed(vector, node.inputs["Vector"])
    g.link(rotation, node.inputs["Rotation"])
    return node.outputs["Vector"]


def _store(g: Graph, geometry: Any, name: str, kind: str, value: Any) -> Any:
    node = g.add("GeometryNodeStoreNamedAttribute", data_type=kind, domain="POINT")
    node.inputs["Name"].default_value = name
    g.link(geometry, node.inputs["Geometry"])
    g.link(value, node.inputs["Value"])
    return node.outputs["Geometry"]
