# SPDX-License-Identifier: GPL-3.0-or-later
"""A second point cloud that shows splats frame by frame: from a live service or from a cache of files.

The avatar's own splats keep their rest values and stay evaluated with nothing shown, so falling back to the
rig costs nothing, and saving or undoing in between breaks nothing.
"""

from __future__ import annotations

import bpy
import numpy as np

from ..core.splat_cache import Gaussians
from . import compat, importer, splats

ROLE = "frames"
CACHE = "lca_cache"
"""Property of a frames object that plays files: their folder."""
CACHE_RANGE = "lca_cache_range"
_BEFORE = "lca_before"  # proxy hidden, splats hidden, fraction of splats kept


def shown(rig: bpy.types.Object) -> bpy.types.Object | None:
    """The frames object of an avatar, or None while its splats follow the rig."""
    return importer.part(rig, ROLE)


def show(rig: bpy.types.Object) -> bpy.types.Object:
    """Show frames instead of the splats that follow the rig; starts as the avatar at rest.

    Raises:
        ValueError: the avatar has lost its splats.
    """
    found = shown(rig)
    if found is not None:
        return found
    cloud, proxy = importer.part(rig, "splats"), importer.part(rig, "proxy")
    if cloud is None:
        raise ValueError("This avatar has lost its splats. Import it again.")
    means, quats = splats.read_frame(cloud)
    frames = compat.new_pointcloud(f"{rig.name}.frames", means)
    for collection in cloud.users_collection:
        collection.objects.link(frames)
    frames.parent = rig
    frames[importer.ROLE] = ROLE
    compat.write_attribute(frames.data, "rotation", "QUATERNION", quats)
    for name, kind in (("scale", "FLOAT_VECTOR"), ("radius", "FLOAT"), ("radiance:base", "FLOAT4")):
        compat.write_attribute(frames.data, name, kind, compat.read_attribute(cloud.data, name))
    compat.make_native_splats(frames.data)
    for material in cloud.data.materials:
        frames.data.materials.append(material)
    hidden = bool(proxy is not None and proxy.hide_viewport)
    frames[_BEFORE] = [float(hidden), float(cloud.hide_viewport), splats.get_keep(cloud)]
    splats.set_keep(cloud, 0.0)
    # Evaluated although empty: face shapes are driven only where something shown needs them.
    cloud.hide_viewport = False
    if proxy is not None:
        proxy.hide_viewport = True
    compat.select_only(rig)
    return frames


def write(frames: bpy.types.Object, gaussians: Gaussians) -> None:
    """Write one frame of as many Gaussians as there are points."""
    splats.write_frame(frames, gaussians.means, gaussians.quats)
    scales = np.ascontiguousarray(gaussians.scales, np.float32)
    attributes = frames.data.attributes
    attributes["scale"].data.foreach_set("vector", scales.reshape(-1))
    radius = splats.RADIUS_SIGMAS * np.maximum(np.maximum(scales[:, 0], scales[:, 1]), scales[:, 2])
    attributes["radius"].data.foreach_set("value", radius)
    compat.write_attribute(frames.data, "radiance:base", "FLOAT4", gaussians.base)
    frames.data.update_tag()


def hide(rig: bpy.types.Object) -> None:
    """Remove the frames; the avatar's own splats follow the rig again, shown as before."""
    frames = shown(rig)
    if frames is None:
        return
    proxy_hidden, cloud_hidden, keep = (float(value) for value in frames[_BEFORE])
    data = frames.data
    bpy.data.objects.remove(frames)
    if data.users == 0:
        bpy.data.pointclouds.remove(data)
    cloud, proxy = importer.part(rig, "splats"), importer.part(rig, "proxy")
    if cloud is not None:
        splats.set_keep(cloud, keep)
        cloud.hide_viewport = bool(cloud_hidden)
    if proxy is not None:
        proxy.hide_viewport = bool(proxy_hidden)
    rig.update_tag()
