"""Rotations in numpy: axis-angle, matrices, and the shortest turn between directions.

In and out: arrays with any leading shape; axis-angle (...,3) radians, matrices (...,3,3), column vectors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


def matrices(axis_angle: NDArray) -> F64:
    """Rodrigues: axis-angle (...,3) to matrices (...,3,3)."""
    v = np.asarray(axis_angle, np.float64)
    angle = np.linalg.norm(v, axis=-1)[..., None, None]
    k = np.zeros((*v.shape, 3))
    k[..., 0, 1], k[..., 0, 2], k[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    k -= np.swapaxes(k, -1, -2)
    small = np.maximum(angle, 1e-8)
    sine = np.where(angle < 1e-8, 1.0, np.sin(small) / small)
    versine = np.where(angle < 1e-8, 0.5, (1 - np.cos(small)) / small**2)
    return np.eye(3) + sine * k + versine * (k @ k)


def quaternions(r: NDArray) -> F64:
    """Unit quaternions (...,4) wxyz with w >= 0, of matrices (...,3,3), through the largest component."""
    m = np.asarray(r, np.float64)
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    four = np.stack([1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz], -1)
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    d, e, f = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    # Row k is the quaternion times four times its component k.
    rows = np.stack(
        [
            np.stack([four[..., 0], a, b, c], -1),
            np.stack([a, four[..., 1], d, e], -1),
            np.stack([b, d, four[..., 2], f], -1),
            np.stack([c, e, f, four[..., 3]], -1),
        ],
        -2,
    )
    best = np.argmax(four, -1)[..., None, None]
    q = np.take_along_axis(rows, best, -2)[..., 0, :]
    q /= np.linalg.norm(q, axis=-1, keepdims=True)
    return q * np.where(q[..., :1] < 0, -1.0, 1.0)


def axis_angles(r: NDArray) -> F64:
    """Axis-angle (...,3), at most pi long, of matrices (...,3,3)."""
    return from_quaternions(quaternions(r))


def from_quaternions(q: NDArray) -> F64:
    """Axis-angle (...,3), at most pi long, of quaternions (...,4) wxyz of any length."""
    q = np.asarray(q, np.float64)
    q = q * np.where(q[..., :1] < 0, -1.0, 1.0)
    sine = np.linalg.norm(q[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, q[..., :1])
    return q[..., 1:] * np.where(sine < 1e-12, 2.0, angle / np.maximum(sine, 1e-12))


def unit(v: NDArray) -> F64:
    """Vectors (...,3) scaled to length 1; zero vectors stay zero."""
    v = np.asarray(v, np.float64)
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)


def turn(axis: NDArray, angle: float) -> F64:
    """Matrix (3,3) of a turn by ``angle`` radians about a unit ``axis`` (3,)."""
    return matrices(np.asarray(axis, np.float64) * angle)


def shortest(a: NDArray, b: NDArray) -> F64:
    """The smallest rotation (3,3) that takes the direction ``a`` (3,) to ``b`` (3,)."""
    a, b = unit(a), unit(b)
    axis = np.cross(a, b)
    sine, cosine = float(np.linalg.norm(axis)), float(a @ b)
    if sine < 1e-9:
        if cosine > 0:
            return np.eye(3)
        # Opposite: half a turn about anything across.
        across = np.cross(a, np.eye(3)[np.argmin(np.abs(a))])
        return turn(unit(across), np.pi)
    return turn(axis / sine, float(np.arctan2(sine, cosine)))


def frame(first: NDArray, second: NDArray) -> F64:
    """Orthonormal columns (3,3): ``first``, the part of ``second`` across it, and their cross product."""
    x = unit(first)
    y = unit(second - (second @ x) * x)
    return np.stack([x, y, np.cross(x, y)], -1)


def interpolate(axis_angle: NDArray, at: NDArray) -> F64:
    """Spherical interpolation of axis-angle frames (T,...,3) at fractional frame numbers (N,): (N,...,3)."""
    last = len(axis_angle) - 1
    low = np.clip(np.floor(at).astype(int), 0, max(last - 1, 0))
    high = np.minimum(low + 1, last)
    share = np.clip(at - low, 0.0, 1.0).reshape(-1, *[1] * (np.ndim(axis_angle) - 1))
    a, b = matrices(axis_angle[low]), matrices(axis_angle[high])
    step = axis_angles(np.swapaxes(a, -1, -2) @ b) * share
    return axis_angles(a @ matrices(step))
