# SPDX-License-Identifier: GPL-3.0-or-later
"""Triangle binding of splats: rest splats + proxy triangles -> local offsets, and the way back.

``bind`` runs once at import and its result is stored on the point cloud; Blender's Geometry Nodes evaluate
``attach`` natively (``bl/attach_nodes.py``). The numpy ``attach`` here is the readable twin that tests hold
it to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .deps import errors, skin

_CONJUGATE = np.array([1.0, -1.0, -1.0, -1.0])


@dataclass(frozen=True)
class SplatBinding:
    """Where each splat sits relative to its proxy triangle.

    Attributes:
        triangles: int32 (N, 3) proxy vertex indices.
        bary: f32 (N, 3) barycentric coordinates of the foot point, rows sum to 1.
        offsets: f32 (N, 3) metres, from the foot point, in the triangle's frame.
        rotations: f32 (N, 4) wxyz, splat orientation in the triangle's frame.
    """

    triangles: NDArray[np.int32]
    bary: NDArray[np.float32]
    offsets: NDArray[np.float32]
    rotations: NDArray[np.float32]


def triangle_frames(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3 corners, 3) -> (N, 3, 3) whose columns are X = first edge, Y = Z x X, Z = normal."""
    e1 = corners[:, 1] - corners[:, 0]
    normal = _unit(np.cross(e1, corners[:, 2] - corners[:, 0]))
    x = _unit(e1)
    return np.stack([x, np.cross(normal, x), normal], -1)


def bind(
    means: NDArray[np.floating],
    quats: NDArray[np.floating],
    vertices: NDArray[np.floating],
    triangles: NDArray[np.integer],
    bary: NDArray[np.floating],
) -> SplatBinding:
    """Express N splats (means (N,3) metres, quats (N,4) wxyz) in the frames of their triangles.

    Raises:
        InvalidInputError: a triangle without area carries a splat (its frame is undefined).
    """
    corners = np.asarray(vertices, np.float64)[triangles]
    doubled = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1)
    flat = int((doubled < 1e-14).sum())
    if flat:
        raise errors.InvalidInputError(
            f"{flat} splats of this avatar sit on proxy triangles without area. Create the avatar again.",
            reason="PACKAGE_INVALID",
        )
    frames = triangle_frames(corners)
    foot = np.einsum("nk,nkd->nd", np.asarray(bary, np.float64), corners)
    offsets = np.einsum("nij,ni->nj", frames, np.asarray(means, np.float64) - foot)
    rotations = skin.multiply_quaternions(
        skin.quaternions(frames) * _CONJUGATE, _unit(np.asarray(quats, np.float64))
    )
    return SplatBinding(
        np.asarray(triangles, np.int32),
        np.asarray(bary, np.float32),
        offsets.astype(np.float32),
        rotations.astype(np.float32),
    )


def attach(
    binding: SplatBinding, vertices: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Splat means (N,3) and quats (N,4) wxyz for deformed proxy vertices (V,3)."""
    corners = np.asarray(vertices, np.float64)[binding.triangles]
    frames = triangle_frames(corners)
    foot = np.einsum("nk,nkd->nd", binding.bary.astype(np.float64), corners)
    means = foot + np.einsum("nij,nj->ni", frames, binding.offsets)
    return means, skin.multiply_quaternions(skin.quaternions(frames), binding.rotations.astype(np.float64))


def _unit(v: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(v, axis=-1, keepdims=True)
    return v / np.where(length > 0, length, 1.0)
