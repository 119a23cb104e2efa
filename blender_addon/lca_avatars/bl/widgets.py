# SPDX-License-Identifier: GPL-3.0-or-later
"""Shapes that control bones are drawn with; they live in one hidden collection that no render sees."""

from __future__ import annotations

import math
from collections.abc import Sequence

import bpy

COLLECTION = "WGT-lca"
Point = tuple[float, float, float]


def circle(name: str, normal: int) -> bpy.types.Object:
    """A wire circle of radius 1 around one bone axis (0 X, 1 Y, 2 Z); made once per file."""
    return _wire(name, _ring(24, normal))


def _ring(sides: int, normal: int) -> list[list[Point]]:
    points = []
    for i in range(sides + 1):
        point = [math.cos(2 * math.pi * i / sides), math.sin(2 * math.pi * i / sides)]
        point.insert(normal, 0.0)
        points.append((point[0], point[1], point[2]))
    return [points]


def ball(name: str) -> bpy.types.Object:
    """Three circles: a handle that may go anywhere."""
    return _wire(name, [stroke for normal in range(3) for stroke in _ring(16, normal)])


def box(name: str) -> bpy.types.Object:
    """A wire cube of side 2 around the bone's head."""
    lines: list[list[Point]] = []
    for a in (-1.0, 1.0):
        for b in (-1.0, 1.0):
            lines += [[(-1.0, a, b), (1.0, a, b)], [(a, -1.0, b), (a, 1.0, b)], [(a, b, -1.0), (a, b, 1.0)]]
    return _wire(name, lines)


def ground(name: str) -> bpy.types.Object:
    """A ring on the floor with an arrow ahead (bone Y)."""
    arrow = [(-0.25, 1.0, 0.0), (-0.25, 1.25, 0.0), (-0.45, 1.25, 0.0), (0.0, 1.6, 0.0)]
    arrow += [(0.45, 1.25, 0.0), (0.25, 1.25, 0.0), (0.25, 1.0, 0.0)]
    return _wire(name, [*_ring(32, 2), arrow])


def from_strokes(name: str, strokes: Sequence[Sequence[tuple[float, float]]]) -> bpy.types.Object:
    """Polylines in the bone's XY plane."""
    return _wire(name, [[(x, y, 0.0) for x, y in stroke] for stroke in strokes])


def _wire(name: str, strokes: Sequence[Sequence[Point]]) -> bpy.types.Object:
    existing = bpy.data.objects.get(name)
    if existing is not None and existing.library is None:
        return existing
    points: list[Point] = []
    edges = []
    for stroke in strokes:
        edges += [(len(points) + i, len(points) + i + 1) for i in range(len(stroke) - 1)]
        points += stroke
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(points, edges, [])
    widget = bpy.data.objects.new(name, mesh)
    home = bpy.data.collections.get(COLLECTION) or bpy.data.collections.new(COLLECTION)
    home.hide_viewport = home.hide_render = True
    home.objects.link(widget)
    return widget


def dress(
    bone: bpy.types.PoseBone, shape: bpy.types.Object, size: float | Point, offset: float = 0.0
) -> None:
    """Draw ``bone`` as ``shape``: ``size`` metres (or per axis), ``offset`` metres along the bone."""
    bone.custom_shape = shape
    bone.use_custom_shape_bone_size = False
    bone.custom_shape_scale_xyz = (size, size, size) if isinstance(size, float) else size
    bone.custom_shape_translation = (0.0, offset, 0.0)
