# SPDX-License-Identifier: GPL-3.0-or-later
"""What the viewport preview draws from: splats packed as texels, and their order from far to near.

Posed Gaussians go in; arrays that a shader fetches from textures come out (``bl/preview.py``). Numpy only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROW = 1024
"""Splats per row of the texture: four texels each."""
TEXELS = 4
SH_C0 = 0.28209479177387814
_STEPS = 65535


def pack(
    means: NDArray[np.floating],
    quats: NDArray[np.floating],
    scales: NDArray[np.floating],
    base: NDArray[np.floating],
) -> NDArray[np.float32]:
    """Texels (rows, 4 x :data:`ROW`, 4): mean and opacity, quaternion wxyz, scale, displayed colour.

    ``base`` (N, 4) is ``radiance:base``: band 0 and opacity. Texels past the last splat are zero.
    """
    count = len(means)
    texels = np.zeros((-(-count // ROW) * ROW, TEXELS, 4), np.float32)
    texels[:count, 0, :3], texels[:count, 0, 3] = means, base[:, 3]
    texels[:count, 1] = quats
    texels[:count, 2, :3] = scales
    texels[:count, 3, :3] = 0.5 + SH_C0 * base[:, :3]
    return texels.reshape(-1, TEXELS * ROW, 4)


def far_to_near(means: NDArray[np.floating], view: NDArray[np.floating]) -> NDArray[np.int64]:
    """Indices (N,) of splats from the farthest to the nearest along the view axis.

    ``view`` (4, 4) takes ``means`` (N, 3) to camera space, which looks along -Z. Depths are compared in 65536
    steps between the nearest and the farthest, 0.03 mm for a person: small integers sort much faster.
    """
    depth = np.asarray(means, np.float32) @ np.asarray(view, np.float32)[2, :3]
    if not len(depth):
        return np.zeros(0, np.int64)
    low, high = float(depth.min()), float(depth.max())
    steps = ((depth - low) * (_STEPS / max(high - low, 1e-12))).astype(np.uint16)
    return np.argsort(steps, kind="stable")


def order_texels(order: NDArray[np.integer]) -> NDArray[np.float32]:
    """The order as texels (rows, :data:`ROW`): floats hold whole numbers up to 16.7 million."""
    texels = np.zeros(-(-len(order) // ROW) * ROW, np.float32)
    texels[: len(order)] = order
    return texels.reshape(-1, ROW)
