# SPDX-License-Identifier: GPL-3.0-or-later
"""What a motion clip means for the control rig: which parts it moves, and its turns in bone frames.

A ``MotionClip`` and the rest frames of the controls go in; quaternions per control, gaze sliders and face
values come out, ready for F-curves. Whatever a file does not move keeps the keys it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .deps import skin

F64 = NDArray[np.float64]
PARTS = ("BODY", "LEFT_HAND", "RIGHT_HAND", "JAW", "EYES", "FACE")
JOINTS_OF = {
    "BODY": range(22),
    "JAW": range(22, 23),
    "EYES": range(23, 25),
    "LEFT_HAND": range(25, 40),
    "RIGHT_HAND": range(40, 55),
}
_STILL = 1e-6


@dataclass(frozen=True)
class KeyTable:
    """Values of T frames.

    Attributes:
        turns: (T, 4) wxyz in the bone's own frame, by joint index; signs continuous over time.
        shift: (T, 3) metres in avatar space, or None when the body does not move.
        gaze: (T, 2) yaw and pitch of both eyes, radians, or None.
        face: (T, 52) weights 0-1, or None.
    """

    turns: dict[int, F64]
    shift: F64 | None
    gaze: F64 | None
    face: F64 | None


def moved_parts(clip: Any) -> set[str]:
    """Parts (of ``PARTS``) that differ from rest somewhere in the clip."""
    found = {part for part, joints in JOINTS_OF.items() if np.abs(clip.poses[:, list(joints)]).max() > _STILL}
    if np.abs(clip.translation).max() > _STILL:
        found.add("BODY")
    if np.abs(clip.gaze).max() > _STILL:
        found.add("EYES")
    if np.abs(clip.arkit).max() > _STILL:
        found.add("FACE")
    return found


def key_table(clip: Any, rest: F64, parts: set[str]) -> KeyTable:
    """Keys of ``parts`` for controls whose rest axes are the columns of ``rest`` (55, 3, 3).

    Both eyes' mean gaze goes to the sliders, what is left of each eye to its own control, so the sliders stay
    useful and nothing is lost.
    """
    turns: dict[int, F64] = {}
    gaze = clip.gaze.astype(np.float64).mean(1) if "EYES" in parts else None
    for part, joints in JOINTS_OF.items():
        if part not in parts:
            continue
        for joint in joints:
            local = skin.rotation_matrices(clip.poses[:, joint])
            if gaze is not None and joint in JOINTS_OF["EYES"]:
                own = clip.gaze[:, joint - JOINTS_OF["EYES"].start].astype(np.float64)
                local = local @ _gaze(own) @ np.swapaxes(_gaze(gaze), -1, -2)
            turns[joint] = continuous(skin.quaternions(rest[joint].T @ local @ rest[joint]))
    return KeyTable(
        turns,
        clip.translation.astype(np.float64) if "BODY" in parts else None,
        gaze,
        clip.arkit.astype(np.float64) if "FACE" in parts else None,
    )


def continuous(quats: F64) -> F64:
    """(T, 4) with signs chosen so that neighbours lie on the same side: F-curves must not jump."""
    steps = np.sign((quats[1:] * quats[:-1]).sum(-1))
    signs = np.concatenate([[1.0], np.cumprod(np.where(steps == 0, 1.0, steps))])
    return quats * signs[:, None]


def local_rotations(world: F64, rest: F64, parents: tuple[int, ...]) -> F64:
    """(J, 3, 3) SMPL-X local rotations from bone axes in avatar space (columns, any scale) and at rest."""
    axes = world / np.maximum(np.linalg.norm(world, axis=-2, keepdims=True), 1e-12)
    turned = axes @ np.swapaxes(rest, -1, -2)
    local = turned.copy()
    below = [joint for joint, parent in enumerate(parents) if parent >= 0]
    above = [parents[joint] for joint in below]
    local[below] = np.swapaxes(turned[above], -1, -2) @ turned[below]
    return local


def axis_angles(matrices: F64) -> F64:
    """(..., 3, 3) rotations -> (..., 3) axis-angle in radians, angle at most pi."""
    q = skin.quaternions(matrices)
    length = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(length, q[..., :1])
    # 2 is the limit of angle / length at no turn
    return np.where(length > 1e-9, angle / np.maximum(length, 1e-12), 2.0) * q[..., 1:]


def _gaze(angles: F64) -> F64:
    """(T, 3, 3) of (T, 2) yaw and pitch, as the avatar file states it."""
    zero = np.zeros(len(angles))
    yaw = skin.rotation_matrices(np.stack([zero, angles[:, 0], zero], -1))
    return yaw @ skin.rotation_matrices(np.stack([angles[:, 1], zero, zero], -1))
