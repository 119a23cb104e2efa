# SPDX-License-Identifier: GPL-3.0-or-later
"""The node group that makes splats follow the rig: Geometry Nodes only, no Python per frame, no server.

Per splat: the face triangle's map and the pose correctives (docs/avatar-file.md steps 1 and 2), then linear
blend skinning with four joints for the position and the mean of the three heaviest joints' turns for the
orientation (step 3). All matrices are made once per frame on the carriers' few points; splats only look them
up. ``Keep`` below 1 drops the least visible splats first and widens the rest.
"""

from __future__ import annotations

from typing import Any

import bpy

from . import compat
from .carriers import CORNERS, INVERSE, PARENT, UNTURN, pose_offset, pose_weight
from .nodes import Graph

GROUP_NAME = "LCA Splat Follow"
VERSION = 3
MODIFIER_NAME = "Follow rig"
KEEP = "Keep"
JOINTS = ("joint0", "joint1", "joint2", "joint3")
WEIGHTS = ("weight0", "weight1", "weight2", "weight3")
SHARES = ("share1", "share2")
TRIANGLE, RANK = "face_triangle", "lod_rank"


def pose_motion(component: int) -> str:
    """Attribute of the splats: motion at rest per unit of a pose coefficient."""
    return f"pose_motion{component}"


def add_modifier(
    splats: bpy.types.Object,
    joints: bpy.types.Object,
    face: bpy.types.Object,
    joint_count: int,
    components: int = 0,
) -> bpy.types.Modifier:
    """Make ``splats`` (a point cloud with the attributes named here) follow the two carriers.

    ``components``: how many pose correctives the carriers and the splats hold.
    """
    modifier = splats.modifiers.new(MODIFIER_NAME, "NODES")
    modifier.node_group = follow_group(joint_count, components)
    for title, value in (("Joints", joints), ("Face", face), (KEEP, 1.0)):
        compat.set_modifier_input(modifier, socket(modifier, title), value)
    return modifier


def socket(modifier: bpy.types.Modifier, title: str) -> str:
    """Identifier of a modifier input by its name."""
    items = modifier.node_group.interface.items_tree
    return next(
        i.identifier for i in items if i.item_type == "SOCKET" and i.name == title and i.in_out == "INPUT"
    )


def follow_group(joint_count: int, components: int) -> bpy.types.NodeTree:
    """The shared node group; built once per file, version, number of joints and of pose correctives."""
    tag = f"{VERSION}/{joint_count}/{components}"
    for group in bpy.data.node_groups:
        if group.get("lca_follow") == tag and group.library is None:
            return group
    tree = bpy.data.node_groups.new(GROUP_NAME, "GeometryNodeTree")
    tree["lca_follow"] = tag
    tree.is_modifier = True
    face = tree.interface
    face.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    face.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    for title in ("Joints", "Face"):
        face.new_socket(title, in_out="INPUT", socket_type="NodeSocketObject")
    keep = face.new_socket(KEEP, in_out="INPUT", socket_type="NodeSocketFloat")
    keep.default_value, keep.min_value, keep.max_value = 1.0, 0.0, 1.0
    _build(Graph(tree), joint_count, components)
    return tree


def _build(g: Graph, joint_count: int, components: int) -> None:
    inputs = g.add("NodeGroupInput")
    position = g.add("GeometryNodeInputPosition").outputs["Position"]
    geometry = _thinned(g, inputs.outputs["Geometry"], inputs.outputs[KEEP])

    triangles = _object(g, inputs.outputs["Face"])
    face_map, face_turn = _face_fields(g, position)
    place = g.attribute(TRIANGLE, "INT")
    point = _transformed(g, position, _sampled(g, triangles, "FACE", "FLOAT4X4", face_map, place))
    turn_of_face = _sampled(g, triangles, "FACE", "QUATERNION", face_turn, place)

    joints = _object(g, inputs.outputs["Joints"])
    matrix, turn = _joint_fields(g, position, joint_count)
    for component, coefficient in enumerate(_pose_coefficients(g, joints, matrix, components)):
        motion = g.attribute(pose_motion(component), "FLOAT_VECTOR")
        point = g.vector("ADD", point, g.vector("SCALE", motion, scale=coefficient))
    moved, turned = None, None
    for i, name in enumerate(JOINTS):
        joint = g.attribute(name, "INT")
        transform = _sampled(g, joints, "POINT", "FLOAT4X4", matrix, joint)
        part = g.vector("SCALE", _transformed(g, point, transform), scale=g.attribute(WEIGHTS[i], "FLOAT"))
        moved = part if moved is None else g.vector("ADD", moved, part)
        if i > len(SHARES):
            continue
        own = _sampled(g, joints, "POINT", "QUATERNION", turn, joint)
        turned = own if i == 0 else _mixed(g, turned, own, g.attribute(SHARES[i - 1], "FLOAT"))

    move = g.add("GeometryNodeSetPosition")
    g.link(geometry, move.inputs["Geometry"])
    g.link(moved, move.inputs["Position"])
    at_rest = _composed(g, turn_of_face, g.attribute("rotation", "QUATERNION"))
    geometry = _store(g, move.outputs["Geometry"], "rotation", "QUATERNION", _composed(g, turned, at_rest))
    g.link(geometry, g.add("NodeGroupOutput").inputs["Geometry"])


def _thinned(g: Graph, geometry: Any, keep: Any) -> Any:
    """Below 1: delete ranks from ``keep`` on and widen what stays, so that the surface stays closed."""
    late = g.add("FunctionNodeCompare", data_type="FLOAT", operation="GREATER_EQUAL")
    g.link(g.attribute(RANK, "FLOAT"), late.inputs[0])
    g.link(keep, late.inputs[1])
    delete = g.add("GeometryNodeDeleteGeometry", domain="POINT")
    g.link(geometry, delete.inputs["Geometry"])
    g.link(late.outputs[0], delete.inputs["Selection"])
    widen = g.math("INVERSE_SQRT", g.math("MAXIMUM", keep, 0.01))
    kept = delete.outputs["Geometry"]
    for name, kind in (("scale", "FLOAT_VECTOR"), ("radius", "FLOAT")):
        value = g.attribute(name, kind)
        wide = (
            g.vector("SCALE", value, scale=widen)
            if kind == "FLOAT_VECTOR"
            else g.math("MULTIPLY", value, widen)
        )
        kept = _store(g, kept, name, kind, wide)
    less = g.add("FunctionNodeCompare", data_type="FLOAT", operation="LESS_THAN")
    g.link(keep, less.inputs[0])
    less.inputs[1].default_value = 1.0
    switch = g.add("GeometryNodeSwitch", input_type="GEOMETRY")
    g.link(less.outputs[0], switch.inputs["Switch"])
    g.link(geometry, switch.inputs["False"])
    g.link(kept, switch.inputs["True"])
    return switch.outputs[0]


def _face_fields(g: Graph, position: Any) -> tuple[Any, Any]:
    """On the face carrier's triangles: the map from rest to now, and the turn."""
    p0, p1, p2 = (_at_index(g, position, g.attribute(name, "INT")) for name in CORNERS)
    first, second = g.vector("SUBTRACT", p1, p0), g.vector("SUBTRACT", p2, p0)
    normal = g.vector("NORMALIZE", g.vector("CROSS_PRODUCT", first, second))
    product = g.add("FunctionNodeMatrixMultiply")
    g.link(_matrix(g, (first, second, normal, p0)), product.inputs[0])
    g.link(g.attribute(INVERSE, "FLOAT4X4"), product.inputs[1])
    turn = _composed(g, _frame(g, normal, first), g.attribute(UNTURN, "QUATERNION"))
    return product.outputs[0], turn


def _joint_fields(g: Graph, position: Any, joint_count: int) -> tuple[Any, Any]:
    """On the joint carrier's first points: each joint's skinning matrix and turn."""
    index = g.add("GeometryNodeInputIndex").outputs[0]
    origin, *ends = (_at_index(g, position, _shifted(g, index, block * joint_count)) for block in range(4))
    axes = [g.vector("SUBTRACT", end, origin) for end in ends]
    return _matrix(g, (*axes, origin)), _frame(g, axes[2], axes[0])


def _pose_coefficients(g: Graph, joints: Any, matrix: Any, components: int) -> list[Any]:
    """Step 1 of the file format on the joint carrier: each joint's own rotation, weighed and summed."""
    if not components:
        return []
    parent = g.add("GeometryNodeFieldAtIndex", data_type="FLOAT4X4", domain="POINT")
    g.link(matrix, parent.inputs["Value"])
    g.link(g.attribute(PARENT, "INT"), parent.inputs["Index"])
    inverse = g.add("FunctionNodeInvertMatrix")
    g.link(parent.outputs["Value"], inverse.inputs[0])
    local = g.add("FunctionNodeMatrixMultiply")
    g.link(inverse.outputs[0], local.inputs[0])
    g.link(matrix, local.inputs[1])
    columns = []
    for axis in range(3):
        node = g.add("FunctionNodeTransformDirection")
        node.inputs["Direction"].default_value = tuple(1.0 if k == axis else 0.0 for k in range(3))
        g.link(local.outputs[0], node.inputs["Transform"])
        columns.append(node.outputs[0])
    found = []
    for component in range(components):
        total = g.attribute(pose_offset(component), "FLOAT")
        for axis, column in enumerate(columns):
            weight = g.attribute(pose_weight(component, axis), "FLOAT_VECTOR")
            total = g.math("ADD", total, g.vector("DOT_PRODUCT", column, weight))
        statistic = g.add("GeometryNodeAttributeStatistic", data_type="FLOAT", domain="POINT")
        g.link(joints, statistic.inputs["Geometry"])
        g.link(total, statistic.inputs["Attribute"])
        found.append(statistic.outputs["Sum"])
    return found


def _object(g: Graph, source: Any) -> Any:
    info = g.add("GeometryNodeObjectInfo", transform_space="RELATIVE")
    g.link(source, info.inputs["Object"])
    return info.outputs["Geometry"]


def _shifted(g: Graph, index: Any, by: int) -> Any:
    node = g.add("FunctionNodeIntegerMath", operation="ADD")
    g.link(index, node.inputs[0])
    node.inputs[1].default_value = by
    return node.outputs[0]


def _at_index(g: Graph, value: Any, index: Any) -> Any:
    node = g.add("GeometryNodeFieldAtIndex", data_type="FLOAT_VECTOR", domain="POINT")
    g.link(value, node.inputs["Value"])
    g.link(index, node.inputs["Index"])
    return node.outputs["Value"]


def _sampled(g: Graph, geometry: Any, domain: str, kind: str, value: Any, index: Any) -> Any:
    node = g.add("GeometryNodeSampleIndex", data_type=kind, domain=domain)
    g.link(geometry, node.inputs["Geometry"])
    g.link(value, node.inputs["Value"])
    g.link(index, node.inputs["Index"])
    return node.outputs["Value"]


def _matrix(g: Graph, columns: tuple[Any, ...]) -> Any:
    """A 4x4 matrix from three axes and an origin."""
    node = g.add("FunctionNodeCombineMatrix")
    for column, value in enumerate(columns):
        parts = g.add("ShaderNodeSeparateXYZ")
        g.link(value, parts.inputs[0])
        for row in range(3):
            g.link(parts.outputs[row], node.inputs[4 * column + row])
    return node.outputs[0]


def _frame(g: Graph, z: Any, x: Any) -> Any:
    node = g.add("FunctionNodeAxesToRotation", primary_axis="Z", secondary_axis="X")
    g.link(z, node.inputs["Primary Axis"])
    g.link(x, node.inputs["Secondary Axis"])
    return node.outputs["Rotation"]


def _transformed(g: Graph, point: Any, transform: Any) -> Any:
    node = g.add("FunctionNodeTransformPoint")
    g.link(point, node.inputs["Vector"])
    g.link(transform, node.inputs["Transform"])
    return node.outputs[0]


def _composed(g: Graph, outer: Any, inner: Any) -> Any:
    """The rotation that turns by ``inner`` first, then by ``outer``."""
    node = g.add("FunctionNodeRotateRotation", rotation_space="LOCAL")
    g.link(outer, node.inputs["Rotation"])
    g.link(inner, node.inputs["Rotate By"])
    return node.outputs["Rotation"]


def _mixed(g: Graph, first: Any, second: Any, share: Any) -> Any:
    node = g.add("ShaderNodeMix", data_type="ROTATION")
    g.link(share, next(s for s in node.inputs if s.enabled and s.type == "VALUE"))
    ends = [s for s in node.inputs if s.type == "ROTATION"]
    g.link(first, ends[0])
    g.link(second, ends[1])
    return next(s for s in node.outputs if s.type == "ROTATION")


def _store(g: Graph, geometry: Any, name: str, kind: str, value: Any) -> Any:
    node = g.add("GeometryNodeStoreNamedAttribute", data_type=kind, domain="POINT")
    node.inputs["Name"].default_value = name
    g.link(geometry, node.inputs["Geometry"])
    g.link(value, node.inputs["Value"])
    return node.outputs["Geometry"]
