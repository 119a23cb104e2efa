# SPDX-License-Identifier: GPL-3.0-or-later
"""A small vocabulary for writing node trees in code: add, link, vector and scalar maths."""

from __future__ import annotations

from typing import Any

import bpy

_PER_COLUMN = 8


class Graph:
    """Wraps a node tree; sockets and plain numbers can be mixed as operands."""

    def __init__(self, tree: bpy.types.NodeTree) -> None:
        self.tree = tree
        self._count = 0

    def add(self, kind: str, **settings: Any) -> Any:
        """A new node with its RNA settings applied."""
        node = self.tree.nodes.new(kind)
        for name, value in settings.items():
            setattr(node, name, value)
        column, row = divmod(self._count, _PER_COLUMN)
        node.location = (220.0 * column, -180.0 * row)
        self._count += 1
        return node

    def link(self, source: Any, target: Any) -> None:
        """Connect an output socket to an input socket."""
        self.tree.links.new(source, target)

    def feed(self, value: Any, target: Any) -> None:
        """Connect a socket, or set a constant."""
        if isinstance(value, bpy.types.NodeSocket):
            self.link(value, target)
        else:
            target.default_value = value

    def attribute(self, name: str, kind: str) -> Any:
        """A named attribute of the geometry at hand, as a field (Geometry Nodes)."""
        node = self.add("GeometryNodeInputNamedAttribute", data_type=kind)
        node.inputs["Name"].default_value = name
        return node.outputs["Attribute"]

    def vector(self, operation: str, *operands: Any, scale: Any = None) -> Any:
        """A Vector Math node; returns its vector (or, for DOT_PRODUCT and LENGTH, its value) output."""
        node = self.add("ShaderNodeVectorMath", operation=operation)
        for operand, socket in zip(operands, node.inputs):
            self.feed(operand, socket)
        if scale is not None:
            self.feed(scale, node.inputs["Scale"])
        scalar = operation in ("DOT_PRODUCT", "LENGTH", "DISTANCE")
        return node.outputs["Value" if scalar else "Vector"]

    def math(self, operation: str, *operands: Any) -> Any:
        """A Math node; returns its output."""
        node = self.add("ShaderNodeMath", operation=operation)
        for operand, socket in zip(operands, node.inputs):
            self.feed(operand, socket)
        return node.outputs[0]
