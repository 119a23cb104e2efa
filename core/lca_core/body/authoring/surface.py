"""Nearest points on a triangle soup, brute force; for tables made once."""

from __future__ import annotations

import numpy as np


def closest_points(points: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest surface point of each query.

    Args:
        points: ``(P,3)``; triangles: ``(F,3,3)``.

    Returns:
        triangle number ``(P,)`` and barycentric weights ``(P,3)``. After Ericson, Real-Time Collision
        Detection 5.1.5: the answer is the plane projection if it falls inside, else the nearest point of one
            of the three edges.
    """
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    chosen = np.zeros(len(points), np.int64)
    weights = np.zeros((len(points), 3))
    for i, p in enumerate(points):
        candidates = [_inside(p, a, b, c)]
        for k, (start, end) in enumerate(((a, b), (b, c), (c, a))):
            edge = end - start
            t = ((p - start) * edge).sum(-1) / np.maximum((edge * edge).sum(-1), 1e-30)
            w = np.zeros((len(a), 3))
            w[:, k], w[:, (k + 1) % 3] = 1 - t.clip(0, 1), t.clip(0, 1)
            candidates.append(w)
        best = np.inf
        for w in candidates:
            distance = np.linalg.norm((triangles * w[..., None]).sum(axis=1) - p, axis=1)
            distance[(w < 0).any(axis=1)] = np.inf
            f = int(distance.argmin())
            if distance[f] < best:
                best, chosen[i], weights[i] = float(distance[f]), f, w[f]
    return chosen, weights


def _inside(p: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    e1, e2, d = b - a, c - a, p - a
    d11, d12, d22 = (e1 * e1).sum(-1), (e1 * e2).sum(-1), (e2 * e2).sum(-1)
    p1, p2 = (d * e1).sum(-1), (d * e2).sum(-1)
    determinant = np.maximum(d11 * d22 - d12 * d12, 1e-30)
    v, w = (d22 * p1 - d12 * p2) / determinant, (d11 * p2 - d12 * p1) / determinant
    return np.stack([1 - v - w, v, w], axis=1)
