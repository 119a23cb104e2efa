# SPDX-License-Identifier: GPL-3.0-or-later
"""A second point cloud that shows splats frame by frame: from a live service or from a cache of files.

The avatar's own splats are hidden meanwhile and keep their rest values, so falling back to the rig is showing
them again, and saving or undoing in between breaks nothing.
"""

from __future__ import annotations

import bpy
import numpy as np

from ..core.splat_cache import Gaussians
from . import compat, follow_nodes, importer, splats

ROLE = "frames"
_NEED = "lca_face_needed"
CACHE = "lca_cache"
"""Property of a frames object that plays files: their folder."""
CACHE_RANGE = "lca_cache_range"
_BEFORE = "lca_before"  # proxy hidden, splats hidden, splats not rendered


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
    frames.display_type = cloud.display_type  # bounds while the preview draws them
    compat.write_attribute(frames.data, "rotation", "QUATERNION", quats)
    for name, kind in (("scale", "FLOAT_VECTOR"), ("radius", "FLOAT"), ("radiance:base", "FLOAT4")):
        compat.write_attribute(frames.data, name, kind, compat.read_attribute(cloud.data, name))
    compat.make_native_splats(frames.data)
    for material in cloud.data.materials:
        frames.data.materials.append(material)
    _keep_evaluated(frames, importer.part(rig, "face"))
    proxy_hidden = proxy is not None and proxy.hide_viewport
    frames[_BEFORE] = [float(v) for v in (proxy_hidden, cloud.hide_viewport, cloud.hide_render)]
    cloud.hide_viewport = cloud.hide_render = True
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
    proxy_hidden, cloud_hidden, not_rendered = (bool(value) for value in frames[_BEFORE])
    data = frames.data
    bpy.data.objects.remove(frames)
    if data.users == 0:
        bpy.data.pointclouds.remove(data)
    cloud, proxy = importer.part(rig, "splats"), importer.part(rig, "proxy")
    if cloud is not None:
        cloud.hide_viewport, cloud.hide_render = cloud_hidden, not_rendered
    if proxy is not None:
        proxy.hide_viewport = proxy_hidden
    rig.update_tag()


def _keep_evaluated(frames: bpy.types.Object, face: bpy.types.Object | None) -> None:
    """Face shapes are driven only where something shown needs them: let the frames need them."""
    tree = next((group for group in bpy.data.node_groups if group.get(_NEED) and group.library is None), None)
    if tree is None:
        tree = bpy.data.node_groups.new("LCA Face Needed", "GeometryNodeTree")
        tree[_NEED] = True
        tree.is_modifier = True
        tree.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
        tree.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
        tree.interface.new_socket("Face", in_out="INPUT", socket_type="NodeSocketObject")
        inputs, outputs = tree.nodes.new("NodeGroupInput"), tree.nodes.new("NodeGroupOutput")
        tree.links.new(inputs.outputs[0], outputs.inputs[0])
    modifier = frames.modifiers.new("Face", "NODES")
    modifier.node_group = tree
    compat.set_modifier_input(modifier, follow_nodes.socket(modifier, "Face"), face)
