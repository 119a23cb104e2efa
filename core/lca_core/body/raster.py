"""Which triangle covers which pixel: a small vectorised rasteriser for UV maps and build-time renders.

Triangles in pixel coordinates go in, a face number and barycentric weights per pixel come out. Meant for
meshes of some ten thousand triangles and images of up to a few megapixels, once per atlas; it is not a
renderer.
"""

from __future__ import annotations

import numpy as np


def rasterize(
    corners: np.ndarray, width: int, height: int, depth: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Cover pixel centres ``(column + 0.5, row + 0.5)`` with triangles.

    Args:
        corners: ``(F,3,2)`` x, y in pixels, either winding.
        width, height: image size.
        depth: ``(F,3)`` depth per corner, smaller is nearer; without it the lowest face number wins.

    Returns:
        face ``(height,width)`` int32, -1 where empty, and barycentric weights ``(height,width,3)`` float32
        (affine in the image plane, zero where empty).
    """
    corners = np.asarray(corners, np.float64)
    low = np.ceil(corners.min(axis=1) - 0.5).astype(np.int64)
    high = np.floor(corners.max(axis=1) - 0.5).astype(np.int64)
    low, high = np.maximum(low, 0), np.minimum(high, [width - 1, height - 1])
    span = np.maximum(high - low + 1, 0)
    counts = span[:, 0] * span[:, 1]
    face = np.repeat(np.arange(len(corners)), counts)
    local = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    column = low[face, 0] + local % span[face, 0]
    row = low[face, 1] + local // span[face, 0]

    a, b, c = corners[face, 0], corners[face, 1], corners[face, 2]
    p = np.stack([column, row], axis=1) + 0.5
    area = _cross(b - a, c - a)
    safe = np.where(area == 0, 1.0, area)
    u, v = _cross(p - a, c - a) / safe, _cross(b - a, p - a) / safe
    weights = np.stack([1.0 - u - v, u, v], axis=1)
    inside = (weights.min(axis=1) >= -1e-9) & (area != 0)
    face, weights = face[inside], weights[inside]
    pixel = row[inside] * width + column[inside]
    key = face.astype(np.float64) if depth is None else (weights * depth[face]).sum(axis=1)
    order = np.lexsort((key, pixel))
    first = order[np.unique(pixel[order], return_index=True)[1]]

    faces = np.full(height * width, -1, np.int32)
    bary = np.zeros((height * width, 3), np.float32)
    faces[pixel[first]] = face[first]
    bary[pixel[first]] = np.clip(weights[first], 0.0, 1.0)
    return faces.reshape(height, width), bary.reshape(height, width, 3)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
