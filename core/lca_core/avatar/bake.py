"""From Gaussians of mixed densities to one map of the UV square.

Every Gaussian knows its texel on a very fine grid. The map is built coarse to fine: all Gaussians give the
coarse levels, and only where a cell holds more than one does the next level take over. Holes continue the
nearest colour.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

COARSEST = 64


def bake(texel: np.ndarray, uv_size: int, values: np.ndarray, size: int) -> np.ndarray:
    """Map of per-Gaussian values.

    Args:
        texel: (N, 2) rows and columns on a grid of ``uv_size``.
        values: (N, C).
        size: side of the map, a power of two from 64.

    Returns:
        (size, size, C) float32, filled outside the islands.
    """
    side = COARSEST
    image, count = _average(texel, uv_size, values, side)
    image = fill_holes(image, count > 0)
    while side < size:
        side *= 2
        finer, here = _average(texel, uv_size, values, side)
        # A lone Gaussian stands for its whole cell; only several of them know more than the level above.
        several = np.repeat(np.repeat(count > 1, 2, 0), 2, 1)
        smooth = ndimage.zoom(image, (2, 2, 1), order=1, mode="nearest", grid_mode=True)
        image = np.where(((here > 0) & several)[..., None], finer, smooth).astype(np.float32)
        count = here
    return image


def fill_holes(image: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Give every uncovered texel the value of its nearest covered one; (S, S, C) and (S, S) bool."""
    nearest = ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True)
    return image[nearest[0], nearest[1]]


def _average(texel: np.ndarray, uv_size: int, values: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the values in each cell (side, side, C), and how many there are (side, side)."""
    cell = (
        texel[:, 0].astype(np.int64) * side // uv_size * side + texel[:, 1].astype(np.int64) * side // uv_size
    )
    count = np.bincount(cell, minlength=side * side)
    total = np.stack([np.bincount(cell, values[:, c], side * side) for c in range(values.shape[1])], 1)
    mean = total / np.maximum(count, 1)[:, None]
    return mean.reshape(side, side, -1).astype(np.float32), count.reshape(side, side)
