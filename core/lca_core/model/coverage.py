"""No holes: Gaussians grow where the person's surface lies further apart than the body's.

In: the same points on the body and on the person (clothes, hair and noses stand off, so the surface widens).
Out: tangential scales that still cover it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

NEIGHBOURS = 6
MOST = 1.6
"""Largest growth: beyond it neighbours went apart because they do not belong together."""


def widening(
    body: NDArray[np.floating], person: NDArray[np.floating], most: float = MOST
) -> NDArray[np.float32]:
    """How many times further from its neighbours each point [T] is on the person than on the body.

    body, person: [T,3] m. The median over the nearest few, 1 to ``most``.
    """
    if len(body) < 2:
        return np.ones(len(body), np.float32)
    before, near = cKDTree(body).query(body, min(NEIGHBOURS + 1, len(body)))
    after = np.linalg.norm(person[:, None] - person[near[:, 1:]], axis=2)
    ratio = np.median(after / np.maximum(before[:, 1:], 1e-5), axis=1)
    return np.clip(ratio, 1.0, most).astype(np.float32)


def covering(
    scales: NDArray[np.floating], least: NDArray[np.floating], wider: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Scales [T,3] m whose tangential two are at least ``least`` [T,2] m, what covers the body, times
    ``wider`` [T]."""
    out = np.asarray(scales, np.float32).copy()
    out[:, :2] = np.maximum(out[:, :2], least * wider[:, None])
    return out
