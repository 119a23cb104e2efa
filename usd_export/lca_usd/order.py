"""Splat order and the snapping of skin weights: what makes the arrays of an export small and local.

Morton order keeps neighbours in space neighbours in the file, which pays for quantised side-cars, streaming
and caches.
Weights on the k/255 grid let the crate format store them through a look-up table (a fifth of the size).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

MORTON_BITS = 21


def _spread(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Put two zero bits between the 21 low bits of each value (the usual magic-number bit spreading)."""
    x = values & np.uint64(0x1FFFFF)
    for shift, mask in (
        (32, 0x1F00000000FFFF),
        (16, 0x1F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        x = (x | (x << np.uint64(shift))) & np.uint64(mask)
    return x


def morton_codes(points: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """(N,3) points -> (N,) 63-bit Morton codes on a cube around them (equal cell size on every axis)."""
    p = np.asarray(points, np.float64).reshape(-1, 3)
    if len(p) == 0:
        return np.zeros(0, np.uint64)
    low = p.min(axis=0)
    span = float((p.max(axis=0) - low).max()) or 1.0
    cells = np.clip((p - low) / span * (2**MORTON_BITS - 1), 0, 2**MORTON_BITS - 1).astype(np.uint64)
    x, y, z = (_spread(cells[:, axis]) for axis in range(3))
    return x | (y << np.uint64(1)) | (z << np.uint64(2))


def morton_order(points: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """(N,3) points -> (N,) permutation; ``points[order]`` is sorted. Stable, so equal points keep their
    order."""
    return np.argsort(morton_codes(points), kind="stable")


def snap_influences(
    indices: npt.NDArray[Any], weights: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Snap skin weights to k/255 with each row summing to exactly 255/255, heaviest first.

    The remainder after rounding down goes to the entries that lost most (largest remainder), so a row that is
    on the grid already comes back unchanged. Joint indices of zero weights become 0.

    Args:
        indices: (N,K) joint numbers.
        weights: (N,K) non-negative, any positive row sum; a row of zeros becomes full weight on its first
            joint.
    """
    w = np.maximum(np.asarray(weights, np.float64), 0.0)
    total = w.sum(axis=1, keepdims=True)
    w[total[:, 0] <= 0, 0] = 1.0
    scaled = w / np.where(total > 0, total, 1.0) * 255.0
    # The epsilon keeps float32 k/255 input from falling to k-1.
    grid = np.floor(scaled + 1e-4)
    missing = (255 - grid.sum(axis=1)).astype(np.int64)
    rank = np.argsort(np.argsort(-(scaled - grid), axis=1, kind="stable"), axis=1, kind="stable")
    grid += rank < missing[:, None]
    best = np.argsort(-grid, axis=1, kind="stable")
    grid = np.take_along_axis(grid, best, axis=1)
    joints = np.take_along_axis(np.asarray(indices, np.int32), best, axis=1)
    return np.where(grid > 0, joints, 0).astype(np.int32), (grid / 255.0).astype(np.float32)


def snap_opacities(opacities: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """(N,) linear opacities -> the nearest k/255."""
    o = np.clip(np.asarray(opacities, np.float64), 0.0, 1.0)
    return (np.rint(o * 255.0) / 255.0).astype(np.float32)
