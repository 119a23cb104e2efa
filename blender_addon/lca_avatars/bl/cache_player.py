# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays a splat cache: before every frame, also of a render, the frame's file goes into the frames object."""

from __future__ import annotations

from pathlib import Path

import bpy

from ..core.splat_cache import read_frame, read_info
from . import frames_cloud

_CLOCK = "lca_frame"


def attach(rig: bpy.types.Object, folder: Path, scene: bpy.types.Scene) -> bpy.types.Object:
    """Show the cache in ``folder`` instead of the splats that follow the rig.

    Raises:
        LcaError: there is no cache. ValueError: it is of another avatar.
    """
    info = read_info(folder)
    cloud = frames_cloud.show(rig)
    if len(cloud.data.points) != info.gaussians:
        frames_cloud.hide(rig)
        raise ValueError(f"The cache holds {info.gaussians} splats, this avatar has another number.")
    cloud[frames_cloud.CACHE] = str(folder)
    cloud[frames_cloud.CACHE_RANGE] = (info.start, info.end)
    # Exporters write one frame of what has no animation of its own.
    if cloud.data.animation_data is None:
        cloud.data[_CLOCK] = 0.0
        cloud.data.driver_add(f'["{_CLOCK}"]').driver.expression = "frame"
    play(scene)
    return cloud


@bpy.app.handlers.persistent
def play(scene: bpy.types.Scene, *_arguments: object) -> None:
    """``frame_change_pre`` handler: outside the cached range the nearest frame stays."""
    for cloud in scene.objects:
        folder = cloud.get(frames_cloud.CACHE)
        if folder is None or cloud.type != "POINTCLOUD":
            continue
        start, end = cloud[frames_cloud.CACHE_RANGE]
        frame = min(max(scene.frame_current, start), end)
        gaussians = read_frame(Path(bpy.path.abspath(str(folder))), frame, len(cloud.data.points))
        if gaussians is not None:
            frames_cloud.write(cloud, gaussians)
