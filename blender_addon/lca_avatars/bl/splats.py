# SPDX-License-Identifier: GPL-3.0-or-later
"""The splat object: a point cloud with the attribute names of Blender's native splats, bound to the proxy.

On every Blender version the same attributes are written (``position``, ``rotation`` wxyz, ``scale``,
``radiance:base``, ``radiance:sh_i``), so a file saved earlier can become native splats in 5.3.
"""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from ..core.bind import SplatBinding
from . import attach_nodes, compat

RADIUS_SIGMAS = 3.0


def build_splats(
    name: str,
    canonical: Any,
    binding: SplatBinding,
    rig: bpy.types.Object,
    proxy: bpy.types.Object,
    collection: bpy.types.Collection,
) -> bpy.types.Object:
    """Create the POINTCLOUD object from the package's ``CanonicalSplats`` and make it follow the proxy."""
    obj = compat.new_pointcloud(name, canonical.means)
    collection.objects.link(obj)
    obj.parent = rig
    _write_splats(obj.data, canonical)
    _write_binding(obj.data, binding)
    attach_nodes.add_modifier(obj, proxy)
    return obj


def _write_splats(data: Any, canonical: Any) -> None:
    quats = canonical.quats / np.linalg.norm(canonical.quats, axis=1, keepdims=True)
    compat.write_attribute(data, "rotation", "QUATERNION", quats)
    compat.write_attribute(data, "scale", "FLOAT_VECTOR", canonical.scales)
    base = np.concatenate([canonical.sh[:, 0], canonical.opacities[:, None]], 1)
    compat.write_attribute(data, "radiance:base", "FLOAT4", base)
    for band in range(1, canonical.sh.shape[1]):
        compat.write_attribute(data, f"radiance:sh_{band - 1}", "FLOAT_VECTOR", canonical.sh[:, band])
    compat.write_attribute(data, "radius", "FLOAT", RADIUS_SIGMAS * canonical.scales.max(1))


def _write_binding(data: Any, binding: SplatBinding) -> None:
    for corner in range(3):
        compat.write_attribute(data, attach_nodes.TRIANGLE[corner], "INT", binding.triangles[:, corner])
    compat.write_attribute(data, attach_nodes.BARY, "FLOAT_VECTOR", binding.bary)
    compat.write_attribute(data, attach_nodes.OFFSET, "FLOAT_VECTOR", binding.offsets)
    compat.write_attribute(data, attach_nodes.ROTATION, "QUATERNION", binding.rotations)
