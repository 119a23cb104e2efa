"""Depth of a triangle mesh, and which texels a camera really sees: two small numba kernels.

Points come in camera space as (pixel x, pixel y, depth); pixel centres lie at +0.5.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(cache=True)
def depth_buffer(
    points: NDArray[np.float32], faces: NDArray[np.int32], height: int, width: int
) -> NDArray[np.float32]:
    """points [V,3] (px, py, z), faces [F,3] -> nearest depth [height,width], inf where nothing is hit."""
    out = np.full((height, width), np.float32(np.inf), np.float32)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = points[a, 0], points[a, 1], points[a, 2]
        bx, by, bz = points[b, 0], points[b, 1], points[b, 2]
        cx, cy, cz = points[c, 0], points[c, 1], points[c, 2]
        if az <= 0.01 or bz <= 0.01 or cz <= 0.01:
            continue
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        x0 = max(0, int(np.floor(min(ax, bx, cx) - 0.5)))
        x1 = min(width - 1, int(np.ceil(max(ax, bx, cx) - 0.5)))
        y0 = max(0, int(np.floor(min(ay, by, cy) - 0.5)))
        y1 = min(height - 1, int(np.ceil(max(ay, by, cy) - 0.5)))
        inverse = 1.0 / area
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                px, py = x + 0.5, y + 0.5
                w0 = ((bx - px) * (cy - py) - (by - py) * (cx - px)) * inverse
                w1 = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) * inverse
                w2 = 1.0 - w0 - w1
                if w0 < 0.0 or w1 < 0.0 or w2 < 0.0:
                    continue
                z = 1.0 / (w0 / az + w1 / bz + w2 / cz)
                if z < out[y, x]:
                    out[y, x] = z
    return out


@numba.njit(cache=True)
def visible(
    points: NDArray[np.float32], depth: NDArray[np.float32], tolerance: float, gap: float
) -> NDArray[np.float32]:
    """1 for texels [T,3] (px, py, z) that the camera of ``depth`` sees, else 0.

    A texel is seen when it is no deeper than ``tolerance`` behind the nearest surface at its pixel, and
    when no
    surface nearer by ``gap`` passes within one pixel: there the pixel shows a mixture, and a small error
    of the fit
    would copy an arm's colour onto the chest.
    """
    height, width = depth.shape
    out = np.zeros(points.shape[0], np.float32)
    for t in range(points.shape[0]):
        x, y, z = points[t, 0], points[t, 1], points[t, 2]
        ix, iy = int(np.floor(x)), int(np.floor(y))
        if z <= 0.01 or ix < 1 or iy < 1 or ix >= width - 1 or iy >= height - 1:
            continue
        nearest = np.inf
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                d = depth[iy + dy, ix + dx]
                if d < nearest:
                    nearest = d
        if z <= depth[iy, ix] + tolerance and z <= nearest + gap:
            out[t] = 1.0
    return out


@numba.njit(cache=True)
def sample_bilinear(image: NDArray[np.float32], points: NDArray[np.float32]) -> NDArray[np.float32]:
    """image [H,W,C], points [T,2+] pixels (centres at +0.5) -> [T,C], clamped at the border."""
    height, width, channels = image.shape
    out = np.zeros((points.shape[0], channels), np.float32)
    for t in range(points.shape[0]):
        x = min(max(points[t, 0] - 0.5, 0.0), width - 1.001)
        y = min(max(points[t, 1] - 0.5, 0.0), height - 1.001)
        ix, iy = int(x), int(y)
        fx, fy = x - ix, y - iy
        jx, jy = min(ix + 1, width - 1), min(iy + 1, height - 1)
        for c in range(channels):
            top = image[iy, ix, c] * (1 - fx) + image[iy, jx, c] * fx
            low = image[jy, ix, c] * (1 - fx) + image[jy, jx, c] * fx
            out[t, c] = top * (1 - fy) + low * fy
    return out
