# SPDX-License-Identifier: GPL-3.0-or-later
"""The scene's lamps and world as the light of a pose frame, for avatars that the service evaluates.

Read: sun, point, spot and area lamps with colour, temperature, strength and exposure; the world's Background
node with its colour or an environment picture (with a Mapping node's turn). Not read: shadows, other world
nodes (their average colour counts), light linking. ``core/light.py`` does the sums.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import bpy
import numpy as np
from mathutils import Euler
from numpy.typing import NDArray

from ..core import light as sums

FOLLOW = "lca_scene_light"
"""Property of the rig: whether frames of the service are lit by the scene."""
_SKY_WIDTH, _SKY_HEIGHT = 64, 32
_CENTRE_BONE = "spine3"


def frame_light(rig: bpy.types.Object, scene: bpy.types.Scene) -> NDArray[np.float32] | None:
    """(9, 3) for ``PoseFrame.light``, or None while the avatar keeps the light of its photographs."""
    if not rig.get(FOLLOW):
        return None
    bone = rig.pose.bones.get(_CENTRE_BONE)
    middle = rig.matrix_world @ (bone.head if bone is not None else rig.location)
    to_avatar = np.array(rig.matrix_world.to_quaternion().to_matrix().transposed())
    return sums.gathered(world_light(scene.world), lamps(scene), np.array(middle), to_avatar)


def lamps(scene: bpy.types.Scene) -> list[sums.Lamp]:
    """Every lamp of the scene that renders."""
    found = []
    for obj in scene.objects:
        if obj.type != "LIGHT" or obj.hide_render:
            continue
        data, matrix = obj.data, np.array(obj.matrix_world)
        aim = -matrix[:3, 2] / max(float(np.linalg.norm(matrix[:3, 2])), 1e-9)
        cone = (data.spot_size, data.spot_blend) if data.type == "SPOT" else (np.pi, 0.0)
        found.append(sums.Lamp(data.type, _strength(data), matrix[:3, 3], aim, *cone))
    return found


def _strength(data: Any) -> NDArray[np.float64]:
    colour = np.array(data.color, np.float64) * data.energy
    # Temperature and exposure came with 4.5 and 5.0.
    if getattr(data, "use_temperature", False):
        colour *= np.array(data.temperature_color)
    return np.array(colour * 2.0 ** getattr(data, "exposure", 0.0))


def world_light(world: bpy.types.World | None) -> NDArray[np.float64]:
    """Coefficients (9, 3) of the world in the scene's axes."""
    if world is None:
        return np.zeros((9, 3))
    tree = world.node_tree
    if tree is None:
        return sums.constant(np.array(world.color, np.float64))
    shader = next((node for node in tree.nodes if node.type == "BACKGROUND" and node.outputs[0].links), None)
    if shader is None:
        return np.zeros((9, 3))
    colour, strength = shader.inputs["Color"], float(shader.inputs["Strength"].default_value)
    source = colour.links[0].from_node if colour.links else None
    if source is None or source.type != "TEX_ENVIRONMENT" or source.image is None:
        return sums.constant(np.array(colour.default_value[:3], np.float64) * strength)
    image = source.image
    picture = _picture(image.name_full, image.filepath, tuple(image.size), image.colorspace_settings.name)
    return sums.turned(picture, _mapping(source)) * strength


def _mapping(source: Any) -> NDArray[np.float64]:
    """Where a Mapping node before the picture turns the scene's directions from: its inverse."""
    links = source.inputs["Vector"].links
    if not links or links[0].from_node.type != "MAPPING":
        return np.eye(3)
    turn = Euler(links[0].from_node.inputs["Rotation"].default_value, "XYZ")
    return np.array(turn.to_matrix().transposed())


@lru_cache(maxsize=8)
def _picture(name: str, _path: str, size: tuple[int, int], _space: str) -> NDArray[np.float64]:
    """An environment picture's coefficients at strength 1; kept until the picture is exchanged."""
    image = bpy.data.images[name]
    width, height = size
    if not width or not height:
        return np.zeros((9, 3))
    flat = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(flat)
    pixels = flat.reshape(height, width, image.channels)[..., :3].astype(np.float64)
    if not image.is_float and image.colorspace_settings.name == "sRGB":
        pixels = np.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4)
    return sums.sky(_shrunk(pixels))


def _shrunk(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Box averages down to about 64 x 32: order-2 light needs no more."""
    down, across = max(pixels.shape[0] // _SKY_HEIGHT, 1), max(pixels.shape[1] // _SKY_WIDTH, 1)
    height, width = pixels.shape[0] // down * down, pixels.shape[1] // across * across
    cut = pixels[:height, :width]
    return np.asarray(cut.reshape(height // down, down, width // across, across, -1).mean((1, 3)))
