# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what a rig shows now, whatever FK, IK, masters, board and layers made of it, as one driving frame.

Evaluated deform bones and shape keys go in, joint rotations, root translation and ARKit weights come out: the
frame that the service, the exporters and a bake need. Eye turns are inside the joint rotations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.deps import motion
from ..core.motion_keys import axis_angles, local_rotations
from . import importer, scene_light
from .controls import rig_info
from .name_maps import deform_bone


@dataclass(frozen=True)
class RigPose:
    """One frame: ``joint_rotations`` (55, 3) axis-angle, ``translation`` (3,) metres, ``arkit`` (52,), and
    ``light`` (9, 3) where the scene lights the avatar (``scene_light``)."""

    joint_rotations: NDArray[np.float32]
    translation: NDArray[np.float32]
    arkit: NDArray[np.float32]
    light: NDArray[np.float32] | None = None

    def differs(self, other: RigPose | None, tolerance: float = 1e-6) -> bool:
        """Whether something visible changed."""
        if other is None or (self.light is None) != (other.light is None):
            return True
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return any(float(np.abs(a - b).max()) > tolerance for a, b in pairs if a is not None)


class PoseReader:
    """Prepared for reading one rig many times. Holds numbers and names only, so it survives an undo; a rig
    whose bones were renamed or added to needs a new one."""

    def __init__(self, rig: bpy.types.Object) -> None:
        self.bones = len(rig.pose.bones)
        self._info = rig_info(rig)
        names = [deform_bone(rig, joint) for joint in self._info.joint_names]
        place = {bone.name: i for i, bone in enumerate(rig.pose.bones)}
        self._rows = np.array([place[name] for name in names])
        bones = [rig.data.bones[name] for name in names]
        parents = [bone.parent.name if bone.parent is not None else "" for bone in bones]
        self._parents = tuple(names.index(parent) if parent in names else -1 for parent in parents)
        rest = np.array([bone.matrix_local for bone in bones], np.float64)
        self._rest, self._origin = rest[:, :3, :3], rest[0, :3, 3]
        self._buffer = np.empty(16 * len(rig.pose.bones), np.float32)

    def read(self, rig: bpy.types.Object, scene: bpy.types.Scene | None = None) -> RigPose:
        """The pose of the last depsgraph update; with ``scene``, its light for an avatar that follows it."""
        rig.pose.bones.foreach_get("matrix", self._buffer)
        # Blender hands matrices over column by column.
        world = np.swapaxes(self._buffer.reshape(-1, 4, 4)[self._rows], 1, 2).astype(np.float64)
        turns = axis_angles(local_rotations(world[:, :3, :3], self._rest, self._parents))
        shift = world[0, :3, 3] - self._origin
        light = None if scene is None else scene_light.frame_light(rig, scene)
        return RigPose(turns.astype(np.float32), shift.astype(np.float32), self._weights(rig), light)

    def _weights(self, rig: bpy.types.Object) -> NDArray[np.float32]:
        """Values of the face shapes as the drivers left them; a hidden mesh may lag, so a shown one is
        asked."""
        proxy = importer.part(rig, "proxy")
        mesh = proxy if proxy is not None and not proxy.hide_viewport else importer.part(rig, "face")
        mesh = proxy if mesh is None else mesh
        if mesh is None:
            return np.zeros(len(self._info.arkit_names), np.float32)
        keys = mesh.data.shape_keys.key_blocks
        return np.array([keys[name].value for name in self._info.arkit_names], np.float32)


def record(rig: bpy.types.Object, scene: bpy.types.Scene, start: int, end: int) -> Any:
    """Play frames ``start`` to ``end`` and return what the rig showed as a ``MotionClip`` at the scene's
    rate; the current frame is restored."""
    poses: list[RigPose] = []
    for _ in recording(rig, scene, start, end, poses):
        pass
    return clip_of(rig, scene, poses)


def recording(
    rig: bpy.types.Object, scene: bpy.types.Scene, start: int, end: int, poses: list[RigPose]
) -> Iterator[float]:
    """The same in steps of one frame, for a timer: appends to ``poses`` and yields the share done."""
    reader, before = PoseReader(rig), scene.frame_current
    try:
        for frame in range(start, end + 1):
            scene.frame_set(frame)
            poses.append(reader.read(rig, scene))
            yield len(poses) / (end - start + 1)
    finally:
        scene.frame_set(before)


def clip_of(rig: bpy.types.Object, scene: bpy.types.Scene, poses: list[RigPose]) -> Any:
    """Recorded poses as a ``MotionClip``."""
    return motion.MotionClip.of(
        frame_rate(scene),
        poses=np.stack([pose.joint_rotations for pose in poses]),
        translation=np.stack([pose.translation for pose in poses]),
        arkit=np.clip(np.stack([pose.arkit for pose in poses]), 0.0, 1.0),
        source=f"{rig.name} in Blender (LCA motion)",
    )


def frame_rate(scene: bpy.types.Scene) -> float:
    """Frames per second of a scene."""
    return float(scene.render.fps / scene.render.fps_base)
