"""Even subsets of a point cloud: points in, indices out."""

from __future__ import annotations

import numpy as np


def spread_sample(points: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Farthest-point sample: indices [count] that cover ``points`` [N,3] evenly."""
    rng = np.random.default_rng(seed)
    chosen = np.empty(count, np.int64)
    chosen[0] = rng.integers(len(points))
    distance = np.full(len(points), np.inf)
    for i in range(1, count):
        step = ((points - points[chosen[i - 1]]) ** 2).sum(1)
        np.minimum(distance, step, out=distance)
        chosen[i] = int(distance.argmax())
    return chosen
