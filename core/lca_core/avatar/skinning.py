"""Skinning weights as every client uses them: four influences, heaviest first, snapped to k/255.

Snapping happens once, at creation, so that live animation, Blender, USD and engines skin with identical
numbers.
"""

from __future__ import annotations

import numpy as np


def snap_weights(weights: np.ndarray, influences: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Reduce dense skinning weights to a few snapped ones.

    Args:
        weights: (N, J) non-negative, rows need not sum to 1.
        influences: how many to keep.

    Returns:
        indices (N, influences) uint8 and weights (N, influences) float32: heaviest first, multiples of 1/255,
        rows sum to exactly 255/255. Where a weight is 0 its index is 0.
    """
    order = np.argsort(-weights, axis=1, kind="stable")[:, :influences]
    kept = np.take_along_axis(weights, order, axis=1).astype(np.float64)
    kept /= kept.sum(axis=1, keepdims=True)
    scaled = kept * 255.0
    counts = np.floor(scaled).astype(np.int64)
    # Largest remainder: hand the units lost by flooring to the entries that lost most.
    remainder = scaled - counts
    rank = np.argsort(np.argsort(-remainder, axis=1, kind="stable"), axis=1)
    counts += rank < (255 - counts.sum(axis=1, keepdims=True))
    again = np.argsort(-counts, axis=1, kind="stable")
    counts = np.take_along_axis(counts, again, axis=1)
    indices = np.where(counts > 0, np.take_along_axis(order, again, axis=1), 0)
    return indices.astype(np.uint8), (counts / 255.0).astype(np.float32)
