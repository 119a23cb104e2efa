# SPDX-License-Identifier: GPL-3.0-or-later
"""Pose assets: the shipped hand poses and expressions as actions that Blender's pose library shows.

Each is a slotted action with one key per channel, marked as an asset and filed in a catalog; names of hand
poses end in ``.L``, so that the library's *Flip Pose* gives the other hand.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path

import bpy

from ..core.presets import expressions, hand_poses
from . import compat
from .presets import BonePose, expression_bones, hand_bones

TAG, AUTHOR = "lca_avatars", "LCA Avatars"
_NAMESPACE = uuid.UUID("6f2c1c44-5f0e-4e0b-9a0c-2b8f1d1c7a10")
CATALOGS = ("LCA/Hands", "LCA/Expressions", "LCA/Visemes")


def catalog_id(path: str) -> str:
    """A catalog's id, the same in every file."""
    return str(uuid.uuid5(_NAMESPACE, path))


def build_library(rig: bpy.types.Object) -> list[bpy.types.Action]:
    """Make every shipped pose an asset of the current file; poses that are there already are kept."""
    made = []
    for name, hand in hand_poses().items():
        made.append(_asset(rig, f"{name}.L", hand_bones(hand, "left"), CATALOGS[0]))
    for name, expression in expressions().items():
        catalog = CATALOGS[2] if name.startswith("Viseme") else CATALOGS[1]
        made.append(_asset(rig, name, expression_bones(expression), catalog))
    return made


def write_catalogs(folder: str | os.PathLike[str], paths: Sequence[str] = CATALOGS) -> Path:
    """The catalog definition file that an asset library folder needs; an existing one is extended."""
    target = Path(folder) / "blender_assets.cats.txt"
    lines = target.read_text(encoding="utf-8").splitlines() if target.is_file() else ["VERSION 1", ""]
    known = {line.partition(":")[0] for line in lines}
    for path in paths:
        if catalog_id(path) not in known:
            lines.append(f"{catalog_id(path)}:{path}:{path.replace('/', '-')}")
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return target


def _asset(rig: bpy.types.Object, name: str, pose: BonePose, catalog: str) -> bpy.types.Action:
    existing = bpy.data.actions.get(name)
    if existing is not None and existing.asset_data is not None and TAG in existing.asset_data.tags:
        return existing
    action = bpy.data.actions.new(name)
    curves = compat.new_channels(action, rig)
    for bone, (path, values) in pose.items():
        for index, value in enumerate(values):
            curve = curves(f'pose.bones["{bone}"].{path}', index, bone)
            curve.keyframe_points.add(1)
            curve.keyframe_points[0].co = (1.0, value)
            curve.update()
    action.asset_mark()
    action.asset_data.catalog_id = catalog_id(catalog)
    action.asset_data.tags.new(TAG)
    action.asset_data.author = AUTHOR
    action.use_fake_user = True
    return action
