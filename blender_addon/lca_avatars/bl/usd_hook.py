# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns splats in Blender's own USD export into ``ParticleField3DGaussianSplat``.

Blender writes a point cloud as ``Points`` and its attributes as primvars; after every export this hook moves
them to the schema's attributes. A USD library older than the schema can write it all the same, because types
are names. Splats from older files and other tools are converted, too, if they have our attribute names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from . import compat

SCHEMA = "ParticleField3DGaussianSplat"
_BASE = "primvars:radiance_base"
_SIGMAS = 3.0
_COLOUR_SPACE = "srgb_rec709_scene"


class LCA_USDHook(bpy.types.USDHook):
    """Splats in USD files"""

    bl_idname = "LCA_USDHook"
    bl_label = "Gaussian Splats"
    bl_description = "Export splats with rotation, size, colour and opacity"

    @staticmethod
    def on_export(context: Any) -> bool:
        """Convert every prim that is a splat cloud; Blender shows a warning when False comes back."""
        try:
            convert_stage(context.get_stage(), _objects(context))
        except Exception as error:  # an export without splats is better than none
            print(f"LCA Avatars: splats stay USD Points ({type(error).__name__}: {error})")
            return False
        return True


def convert_stage(stage: Any, objects: Callable[[Any], list[Any]]) -> int:
    """Convert the splat clouds of a stage; returns how many. ``objects`` names what a prim was made from."""
    count = 0
    for prim in list(stage.Traverse()):
        if not is_splats(prim):
            continue
        base = None if prim.HasAttribute(_BASE) else _colours(prim, objects(prim))
        if base is not None or prim.HasAttribute(_BASE):
            convert(prim, base)
            count += 1
    return count


def is_splats(prim: Any) -> bool:
    """Points with our attributes (colour may have been left behind)."""
    return prim.GetTypeName() == "Points" and all(
        prim.HasAttribute(f"primvars:{name}") for name in ("rotation", "scale")
    )


def _objects(context: Any) -> Callable[[Any], list[Any]]:
    """Blender's data blocks by prim: from the exporter's own map (5.1 on), else by name."""
    if hasattr(context, "get_prim_map"):
        by_path = {str(path): list(ids) for path, ids in context.get_prim_map().items()}

        def mapped(prim: Any) -> list[Any]:
            return [
                *by_path.get(str(prim.GetPath()), ()),
                *by_path.get(str(prim.GetPath().GetParentPath()), ()),
            ]

        return mapped

    def named(prim: Any) -> list[Any]:
        wanted = prim.GetParent().GetName()
        return [obj for obj in bpy.data.objects if re.sub(r"\W", "_", obj.name) == wanted]

    return named


def _colours(prim: Any, candidates: list[Any]) -> NDArray[np.float32] | None:
    """(N, 4) ``radiance:base`` of the cloud behind a prim: 5.2 exports no attribute of four floats."""
    points = prim.GetAttribute("points")
    times = points.GetTimeSamples()
    count = len((points.Get(times[0]) if times else points.Get()) or ())
    graph = bpy.context.evaluated_depsgraph_get()
    for found in candidates:
        if getattr(found, "type", "") != "POINTCLOUD":
            continue
        for data in (found.evaluated_get(graph).data, found.data):
            if "radiance:base" in data.attributes and len(data.points) == count:
                return compat.read_attribute(data, "radiance:base")
    return None


def convert(prim: Any, base_values: NDArray[np.float32] | None = None) -> None:
    """Retype one prim and move its data; time samples stay time samples. ``base_values``: colour and opacity
    where the prim has none."""
    from pxr import Sdf, Usd, Vt

    types = Sdf.ValueTypeNames
    # Bands above 0 belong to the rest pose: on splats that a rig turned they would be wrong.
    bands = [] if prim.HasAttribute("primvars:joint0") else _bands(prim)
    dynamic = [
        ("points", "positions", types.Point3fArray),
        ("primvars:rotation", "orientations", types.QuatfArray),
        ("primvars:scale", "scales", types.Float3Array),
    ]
    moved: list[tuple[str, Any, dict[Any, Any]]] = []
    for old, new, kind in dynamic:
        moved.append((new, kind, _samples(prim.GetAttribute(old), Usd)))
    opacities, coefficients = {}, {}
    always = Usd.TimeCode.Default()
    base = _samples(prim.GetAttribute(_BASE), Usd) if base_values is None else {always: base_values}
    sources = [base, *(_samples(source, Usd) for source in bands)]
    for when in _times(sources):
        values = [np.asarray(source.get(when, next(iter(source.values())))) for source in sources]
        opacities[when] = Vt.FloatArray.FromNumpy(np.ascontiguousarray(values[0][:, 3], np.float32))
        stacked = np.stack([values[0][:, :3], *values[1:]], 1).astype(np.float32)
        coefficients[when] = Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(stacked.reshape(-1, 3)))
    moved.append(("opacities", types.FloatArray, opacities))
    harmonics = "radiance:sphericalHarmonicsCoefficients"
    moved.append((harmonics, types.Float3Array, coefficients))
    extents = _extents(moved[0][2], moved[2][2], Vt)

    kept = {"visibility", "purpose"}
    for attribute in prim.GetAuthoredAttributes():
        name = attribute.GetName()
        if name not in kept and not name.startswith(("xformOp", "userProperties")):
            prim.RemoveProperty(name)
    prim.SetTypeName(SCHEMA)
    for name, kind, samples in [*moved, ("extent", types.Float3Array, extents)]:
        attribute = prim.CreateAttribute(name, kind, False)
        for when, value in samples.items():
            attribute.Set(value, when)
    _uniform(prim, "radiance:sphericalHarmonicsDegree", types.Int, round(np.sqrt(len(bands) + 1)) - 1)
    _uniform(prim, "projectionModeHint", types.Token, "perspective")
    _uniform(prim, "sortingModeHint", types.Token, "zDepth")
    prim.GetAttribute(harmonics).SetMetadata("interpolation", "vertex")
    prim.GetAttribute(harmonics).SetMetadata("elementSize", len(bands) + 1)
    prim.AddAppliedSchema("ColorSpaceAPI")
    _uniform(prim, "colorSpace:name", types.Token, _COLOUR_SPACE)


def _uniform(prim: Any, name: str, kind: Any, value: Any) -> None:
    from pxr import Sdf

    prim.CreateAttribute(name, kind, False, Sdf.VariabilityUniform).Set(value)


def _bands(prim: Any) -> list[Any]:
    """Primvars of complete bands above 0."""
    found: list[Any] = []
    while prim.HasAttribute(name := f"primvars:radiance_sh_{len(found)}"):
        found.append(prim.GetAttribute(name))
    degree = int(np.sqrt(len(found) + 1)) - 1
    return found[: (degree + 1) ** 2 - 1]


def _samples(attribute: Any, usd: Any) -> dict[Any, Any]:
    times = attribute.GetTimeSamples() or [usd.TimeCode.Default()]
    return {when: attribute.Get(when) for when in times}


def _times(sources: list[dict[Any, Any]]) -> list[Any]:
    """Sample times of all; the default time only where nothing is sampled."""
    sampled = sorted({when for source in sources if len(source) > 1 for when in source})
    return sampled or [next(iter(sources[0]))]


def _extents(points: dict[Any, Any], scales: dict[Any, Any], vt: Any) -> dict[Any, Any]:
    first = next(iter(scales.values()))
    found: dict[Any, Any] = {}
    for when, value in points.items():
        p = np.asarray(value, np.float32)
        if not len(p):
            continue
        r = _SIGMAS * np.asarray(scales.get(when, first), np.float32).max(1)
        box = np.array([[(c - r).min() for c in p.T], [(c + r).max() for c in p.T]], np.float32)
        found[when] = vt.Vec3fArray.FromNumpy(box)
    return found
