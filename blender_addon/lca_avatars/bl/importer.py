# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds a whole avatar in Blender from an ``.lca`` file: armature, proxy, splats, materials, controls.

The order matters in one place: custom properties exist before anything evaluates the drivers that read them.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from ..core import follow
from ..core.deps import errors, package
from ..core.frames import Skeleton, bone_frames
from ..core.rig_info import RigInfo, read_rig
from . import (
    armature,
    body,
    carriers,
    compat,
    controls,
    face,
    face_board,
    fingers,
    gaze,
    limbs,
    materials,
    proxy,
    scene_light,
    splats,
    wardrobe,
)
from .drivers import add_control

AVATAR_ID = "lca_avatar"
ROLE = "lca_role"
PACKAGE = "lca_package"
"""Property of the rig: the avatar file it came from, absolute."""
DISPLAY = ("PROXY", "SPLATS", "BOTH")


@dataclass(frozen=True)
class AvatarHandles:
    """What an import made. ``rig`` is the root object; the other two are its children."""

    rig: bpy.types.Object
    proxy: bpy.types.Object
    splats: bpy.types.Object
    info: RigInfo


def import_avatar(path: str | os.PathLike[str], context: bpy.types.Context | None = None) -> AvatarHandles:
    """Import an avatar file into the current scene.

    Args:
        path: an ``.lca`` file.
        context: whose scene receives the avatar; default ``bpy.context``.

    Raises:
        lca.errors.LcaError: the file cannot be read or lacks a proxy mesh; nothing is left behind in the
        scene.
    """
    avatar = package.read_package(path)
    if avatar.proxy is None:
        raise errors.InvalidInputError(
            "This avatar file has no proxy mesh, so Blender cannot pose it. Export it again with its proxy.",
            reason="NO_PROXY",
        )
    info = read_rig(avatar.rig)
    skeleton = _skeleton(info, avatar.skinning)
    context = context or bpy.context
    collection = bpy.data.collections.new(avatar.name or "Avatar")
    # The scene's own collection is always part of the view layer; the active one may be excluded.
    context.scene.collection.children.link(collection)
    try:
        handles = _build(avatar, info, skeleton, context, collection)
        handles.rig[PACKAGE] = os.path.abspath(path)
        return handles
    except Exception:
        for obj in list(collection.objects):
            bpy.data.objects.remove(obj)
        bpy.data.collections.remove(collection)
        raise


def _skeleton(info: RigInfo, skinning: Any) -> Skeleton:
    """Names from the rig description, positions and parents from the arrays."""
    parents = tuple(int(parent) for parent in skinning.parents)
    if len(info.joint_names) != len(parents):
        raise errors.InvalidInputError(
            f"rig.json names {len(info.joint_names)} joints, the skinning has {len(parents)}. "
            "Create the avatar again.",
            reason="RIG_INVALID",
        )
    return Skeleton(info.joint_names, parents, np.asarray(skinning.joints, np.float64))


def _build(
    avatar: Any,
    info: RigInfo,
    skeleton: Skeleton,
    context: bpy.types.Context,
    collection: bpy.types.Collection,
) -> AvatarHandles:
    name = avatar.name or "Avatar"
    frames = bone_frames(skeleton, fingers.curl_axes(info))
    bones = [
        *armature.joint_bones(skeleton, frames),
        *body.control_bones(info, skeleton, frames),
        *limbs.control_bones(skeleton, frames),
        *fingers.control_bones(info, skeleton, frames),
        *gaze.control_bones(skeleton, frames),
        *face_board.control_bones(skeleton),
    ]
    rig = armature.build_armature(name, bones, collection)
    mesh = proxy.build_proxy(
        f"{name}.proxy", avatar.proxy, info.joint_names, info.arkit_names, rig, collection
    )
    mesh.data.materials.append(materials.proxy_material(f"{name}.proxy", avatar.proxy_texture))
    face_part = follow.face_carrier(avatar.proxy)
    correctives = follow.pose_correctives(avatar)
    # Names after the proxy's in the alphabet: the first mesh child of an avatar is its proxy.
    joint_carrier = carriers.build_joint_carrier(
        f"{name}.rig_joints", info.joint_names, correctives, rig, collection
    )
    face_mesh = carriers.build_face_carrier(
        f"{name}.rig_face", face_part, avatar.proxy, info.arkit_names, rig, collection
    )
    cloud = splats.build_splats(
        f"{name}.splats", avatar, face_part, correctives, rig, (joint_carrier, face_mesh), collection
    )

    # Drivers evaluated before their property exists stay dead, so properties and the tag come first.
    for control in (*info.controls, *controls.OWN):
        add_control(rig, control)
    rig.update_tag()
    body.connect(rig, info, skeleton, frames)
    limbs.connect(rig)
    fingers.connect(rig, info, skeleton, frames)
    gaze.connect(rig, skeleton)
    face_board.connect(rig)
    face.connect(rig, [mesh, face_mesh], skeleton, info.arkit_names)
    wardrobe.dress(rig, skeleton)

    rig.data[controls.RIG_TEXT] = json.dumps(avatar.rig)
    rig[AVATAR_ID] = uuid.uuid4().hex
    rig["lca_height_m"] = avatar.height_m
    rig["lca_gaussians"] = avatar.gaussian_count
    rig[scene_light.FOLLOW] = False
    parts = {"rig": rig, "proxy": mesh, "splats": cloud, "joints": joint_carrier, "face": face_mesh}
    for role, obj in parts.items():
        obj[ROLE] = role
    mesh.hide_render = True
    set_display(mesh, cloud, "PROXY")
    compat.select_only(rig)
    context.view_layer.update()
    return AvatarHandles(rig, mesh, cloud, info)


def set_display(mesh: bpy.types.Object, cloud: bpy.types.Object, mode: str) -> None:
    """What the viewport shows: PROXY (fast posing), SPLATS or BOTH. Renders always show the splats."""
    mesh.hide_viewport = mode == "SPLATS"
    cloud.hide_viewport = mode == "PROXY"


def find_avatar(obj: bpy.types.Object | None) -> bpy.types.Object | None:
    """The rig of the avatar that ``obj`` belongs to, or None."""
    while obj is not None and AVATAR_ID not in obj:
        obj = obj.parent
    return obj


def part(rig: bpy.types.Object, role: str) -> bpy.types.Object | None:
    """A child of the rig by role (``proxy``, ``splats``), or None when the user removed it."""
    return next((child for child in rig.children if child.get(ROLE) == role), None)


def prepare_scene(scene: bpy.types.Scene) -> None:
    """Settings without which splats look wrong: enough transparent bounces, and colours shown as they are."""
    if hasattr(scene, "cycles"):
        # A ray along a silhouette crosses hundreds of splats; where the bounces run out Cycles paints black.
        scene.cycles.transparent_max_bounces = 1024
    scene.view_settings.view_transform = "Standard"
