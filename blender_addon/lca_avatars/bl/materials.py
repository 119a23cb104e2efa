# SPDX-License-Identifier: GPL-3.0-or-later
"""Materials: the proxy's texture, and the projected Gaussian that Cycles and EEVEE draw per splat.

A splat's point is a sphere of three sigmas. Whatever point of it the ray hits, the Gaussian's peak along that
ray has squared distance b2 = |u|^2 - (u.e)^2, with u the offset and e the ray direction in the splat's unit
frame; alpha = opacity * exp(-b2 / 2). No sorting, any camera, mixes with meshes and depth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bpy

from . import compat
from .nodes import Graph

SPLAT_MATERIAL = "LCA Splat"
VERSION = 2
SH_C0 = 0.28209479177387814


def proxy_material(name: str, texture_png: bytes | None) -> bpy.types.Material:
    """Image-textured material; the PNG is packed into the .blend."""
    material = bpy.data.materials.new(name)
    tree = compat.shader_tree(material)
    shader = next(node for node in tree.nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Roughness"].default_value = 0.75
    if texture_png is not None:
        image = bpy.data.images.new(name, 1, 1)
        image.pack(data=texture_png, data_len=len(texture_png))
        image.source = "FILE"
        image.colorspace_settings.name = "sRGB"
        node = tree.nodes.new("ShaderNodeTexImage")
        node.image = image
        node.location = (-320.0, 300.0)
        tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
        tree.nodes.active = node
    return material


def splat_material() -> bpy.types.Material:
    """The shared splat material; built once per file and version."""
    for material in bpy.data.materials:
        if material.get("lca_splat_version") == VERSION and material.library is None:
            return material
    material = bpy.data.materials.new(SPLAT_MATERIAL)
    material["lca_splat_version"] = VERSION
    tree = compat.shader_tree(material)
    tree.nodes.clear()
    if hasattr(material, "surface_render_method"):
        material.surface_render_method = "DITHERED"
    _build(Graph(tree))
    return material


def _build(g: Graph) -> None:
    geometry = g.add("ShaderNodeNewGeometry")
    point = g.add("ShaderNodePointInfo")
    offset = _to_object(g, g.vector("SUBTRACT", geometry.outputs["Position"], point.outputs["Position"]))
    ray = _to_object(g, geometry.outputs["Incoming"])
    unit = _unit_frame(g)
    u, e = unit(offset), g.vector("NORMALIZE", unit(ray))
    along = g.vector("DOT_PRODUCT", u, e)
    b2 = g.math("SUBTRACT", g.vector("DOT_PRODUCT", u, u), g.math("MULTIPLY", along, along))
    falloff = g.math("EXPONENT", g.math("MULTIPLY", b2, -0.5))

    base = _attribute(g, "radiance:base")
    alpha = g.math("MULTIPLY", base.outputs["Alpha"], falloff)
    # Display value 0.5 + C0 sh0, then sRGB to scene-linear: ((c + 0.055) / 1.055) ** 2.4.
    shown = g.add("ShaderNodeVectorMath", operation="MULTIPLY_ADD")
    g.link(base.outputs["Vector"], shown.inputs[0])
    shown.inputs[1].default_value = (SH_C0 / 1.055,) * 3
    shown.inputs[2].default_value = (0.555 / 1.055,) * 3
    linear = g.add("ShaderNodeGamma")
    g.link(g.vector("MAXIMUM", shown.outputs["Vector"], (0.0, 0.0, 0.0)), linear.inputs["Color"])
    linear.inputs["Gamma"].default_value = 2.4

    emission = g.add("ShaderNodeEmission")
    g.link(linear.outputs["Color"], emission.inputs["Color"])
    mix = g.add("ShaderNodeMixShader")
    g.link(alpha, mix.inputs[0])
    g.link(g.add("ShaderNodeBsdfTransparent").outputs[0], mix.inputs[1])
    g.link(emission.outputs[0], mix.inputs[2])
    g.link(mix.outputs[0], g.add("ShaderNodeOutputMaterial").inputs["Surface"])


def _attribute(g: Graph, name: str) -> Any:
    return g.add("ShaderNodeAttribute", attribute_type="GEOMETRY", attribute_name=name)


def _to_object(g: Graph, vector: Any) -> Any:
    node = g.add("ShaderNodeVectorTransform", vector_type="VECTOR", convert_from="WORLD", convert_to="OBJECT")
    g.link(vector, node.inputs[0])
    return node.outputs[0]


def _unit_frame(g: Graph) -> Callable[[Any], Any]:
    """Maps object-space vectors into the splat's unit frame: R^T v / scale, R from the quaternion w, v.

    With q = (w, a): R^T v = v + 2 a x (a x v) - 2 w a x v. Renderers hand the quaternion attribute over as
    four numbers in Blender's order, the first three as vector and the last as alpha.
    """
    quat = _attribute(g, "rotation")
    parts = g.add("ShaderNodeSeparateXYZ")
    g.link(quat.outputs["Vector"], parts.inputs[0])
    w = parts.outputs[0]
    axis = g.add("ShaderNodeCombineXYZ")
    for i, part in enumerate((parts.outputs[1], parts.outputs[2], quat.outputs["Alpha"])):
        g.link(part, axis.inputs[i])
    a = axis.outputs[0]
    scale = _attribute(g, "scale").outputs["Vector"]

    def unit(v: Any) -> Any:
        once = g.vector("CROSS_PRODUCT", a, v)
        twice = g.vector("CROSS_PRODUCT", a, once)
        turn = g.vector("SUBTRACT", twice, g.vector("SCALE", once, scale=w))
        return g.vector("DIVIDE", g.vector("ADD", v, g.vector("SCALE", turn, scale=2.0)), scale)

    return unit
