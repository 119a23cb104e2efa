# SPDX-License-Identifier: GPL-3.0-or-later
"""Shapes that control bones are drawn with; they live in one hidden collection that no render sees."""

from __future__ import annotations

import math

import bpy

COLLECTION = "WGT-lca"


def _circle(sides: int, normal: int) -> tuple[list[tuple[float, float, float]], list[tuple[int, int]]]:
    """Unit circle around one axis (0 X, 1 Y, 2 Z)."""
    points = []
    for i in range(sides):
        a, b = math.cos(2 * math.pi * i / sides), math.sin(2 * math.pi * i / sides)
        point = [a, b]
        point.insert(normal, 0.0)
        points.append((point[0], point[1], point[2]))
    return points, [(i, (i + 1) % sides) for i in range(sides)]


def circle(name: str, normal: int) -> bpy.types.Object:
    """A wire circle to use as a custom bone shape; made once per file."""
    existing = bpy.data.objects.get(name)
    if existing is not None:
        return existing
    points, edges = _circle(20, normal)
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(points, edges, [])
    widget = bpy.data.objects.new(name, mesh)
    home = bpy.data.collections.get(COLLECTION) or bpy.data.collections.new(COLLECTION)
    home.hide_viewport = home.hide_render = True
    home.objects.link(widget)
    return widget


def dress(bone: bpy.types.PoseBone, normal: int, size: float, palette: str, offset: float = 0.0) -> None:
    """Draw ``bone`` as a circle of radius ``size`` metres, ``offset`` metres along it, in a theme colour."""
    bone.custom_shape = circle(f"WGT-lca_circle_{'xyz'[normal]}", normal)
    bone.use_custom_shape_bone_size = False
    bone.custom_shape_scale_xyz = (size, size, size)
    bone.custom_shape_translation = (0.0, offset, 0.0)
    bone.color.palette = palette
