# SPDX-License-Identifier: GPL-3.0-or-later
"""What splats need in order to follow the rig natively: joint weights, and a small face carrier.

Splats are skinned exactly as the avatar file defines them (four joints each). Face shapes reach them through
the carrier: the proxy triangles that any ARKit shape moves, as a mesh of its own. A splat moves with its
triangle's affine map and turns with its triangle's frame, at rest, before the joints move it. Arrays of the
package go in, the attributes that Geometry Nodes read come out (``bl/follow_nodes.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .deps import skin

_CONJUGATE = np.array([1.0, -1.0, -1.0, -1.0])
_LEAST_MOTION = 5e-6  # metres per unit of a pose coefficient (they reach about 10)
_LEAST_AREA = 1e-12  # square metres, twice the triangle
_STILL = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True)
class FaceCarrier:
    """The part of the proxy that face shapes move. Triangle 0 never moves; all other splats sit on it.

    Attributes:
        vertices: f32 (K, 3) at rest, metres; the first three are triangle 0.
        source: int64 (K,) proxy vertex, -1 for the first three.
        triangles: int32 (F, 3) into ``vertices``.
        inverse: f32 (F, 4, 4) avatar space at rest -> the triangle's (edge, edge, normal) coordinates.
        unturn: f32 (F, 4) wxyz inverse of the triangle's frame at rest.
        splat_triangle: int32 (N,) triangle of each splat.
    """

    vertices: NDArray[np.float32]
    source: NDArray[np.int64]
    triangles: NDArray[np.int32]
    inverse: NDArray[np.float32]
    unturn: NDArray[np.float32]
    splat_triangle: NDArray[np.int32]


def face_carrier(proxy: Any) -> FaceCarrier:
    """Cut the carrier out of the package's ``ProxyMesh``."""
    moved = np.zeros(len(proxy.vertices), bool)
    moved[proxy.arkit_index] = True
    bound = np.asarray(proxy.bind_tri, np.int64)
    corners = np.asarray(proxy.vertices, np.float64)[bound]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1)
    riders = np.flatnonzero(moved[bound].any(1) & (area > _LEAST_AREA))
    # One key per triangle; sorting rows of three as one number is far faster than by columns.
    size = len(proxy.vertices)
    keys = (bound[riders, 0] * size + bound[riders, 1]) * size + bound[riders, 2]
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    triangles = bound[riders[first]]
    source, local = np.unique(triangles, return_inverse=True)
    vertices = np.concatenate([_STILL, np.asarray(proxy.vertices, np.float64)[source]])
    indices = np.concatenate([[[0, 1, 2]], local.reshape(-1, 3) + 3])
    splat_triangle = np.zeros(len(bound), np.int32)
    splat_triangle[riders] = place.reshape(-1) + 1
    affine, frames = _frames(vertices[indices])
    return FaceCarrier(
        vertices.astype(np.float32),
        np.concatenate([[-1, -1, -1], source]),
        indices.astype(np.int32),
        np.linalg.inv(affine).astype(np.float32),
        (skin.quaternions(frames) * _CONJUGATE).astype(np.float32),
        splat_triangle,
    )


def _frames(corners: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(F, 3 corners, 3) -> affine (F, 4, 4) with columns edge, edge, unit normal, corner; and rotations."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = np.cross(first, second)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    x = first / np.linalg.norm(first, axis=-1, keepdims=True)
    affine = np.zeros((len(corners), 4, 4))
    affine[:, :3] = np.stack([first, second, normal, corners[:, 0]], -1)
    affine[:, 3, 3] = 1.0
    return affine, np.stack([x, np.cross(normal, x), normal], -1)


@dataclass(frozen=True)
class PoseCorrectives:
    """How the pose moves splats at rest: coefficients c = sum over joints of <weights, R - I> + offset.

    Attributes:
        parents: int32 (J,) parent joint; the root is its own.
        weights: f32 (C, J, 3, 3), zero for the root; entry [c, j, :, b] multiplies column b of joint j's R.
        offsets: f32 (C,), what each coefficient starts from.
        means: f32 (C, N, 3) metres of motion per unit of coefficient.
    """

    parents: NDArray[np.int32]
    weights: NDArray[np.float32]
    offsets: NDArray[np.float32]
    means: NDArray[np.float32]


def pose_correctives(avatar: Any) -> PoseCorrectives | None:
    """The position part of an ``AvatarPackage``'s pose correctives; None when it has none that matter."""
    c = avatar.correctives
    if c is None or not len(c.pose_basis):
        return None
    used = [k for k in range(len(c.pose_basis)) if np.abs(c.pose_means[k]).max() > _LEAST_MOTION]
    if not used:
        return None
    basis = np.asarray(c.pose_basis, np.float64)[used]
    joints = basis.reshape(len(used), -1, 3, 3)  # R - I, row by row, joints 1 and up
    weights = np.concatenate([np.zeros((len(used), 1, 3, 3)), joints], 1)
    identity = np.trace(weights, axis1=2, axis2=3).sum(1)
    parents = np.maximum(np.asarray(avatar.skinning.parents, np.int64), 0)
    return PoseCorrectives(
        parents.astype(np.int32),
        weights.astype(np.float32),
        (-identity - basis @ np.asarray(c.pose_mean, np.float64)).astype(np.float32),
        np.asarray(c.pose_means, np.float32)[used],
    )


def turn_shares(weights: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Slerp shares that build the mean turn of a splat's three heaviest joints, one after the other.

    ``weights`` (N, 4), heaviest first; returns the share of the second among the first two and of the third
    among the first three, (N,) each.
    """
    running = np.cumsum(np.asarray(weights, np.float64), 1)
    second, third = (weights[:, i] / np.maximum(running[:, i], 1e-12) for i in (1, 2))
    return second.astype(np.float32), third.astype(np.float32)


def importance_rank(scales: NDArray[np.floating], opacities: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rank of each splat in 0..1, the most visible (opacity x cross-section) first: its level of detail."""
    ordered = np.sort(np.asarray(scales, np.float64), axis=1)
    order = np.argsort(-np.asarray(opacities, np.float64) * ordered[:, 1] * ordered[:, 2], kind="stable")
    rank = np.empty(len(order), np.float32)
    rank[order] = np.arange(len(order)) / max(len(order), 1)
    return rank
