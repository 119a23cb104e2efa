"""Integers for splat attributes: the roundings that every compressed side-car shares.

Everything maps between float arrays and small integers and back; nothing here knows a file format.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SMALLEST_BITS = 9
"""Magnitude bits of the three smaller quaternion components, beside one sign bit each."""
_HALF_ROOT = np.sqrt(0.5)


def linear(values: npt.ArrayLike, low: Array, high: Array, bits: int) -> Array:
    """Values in [low, high] per column -> unsigned integers of ``bits`` bits (uint8, uint16 or uint32)."""
    top = 2**bits - 1
    span = np.where(high > low, high - low, 1.0)
    scaled = (np.asarray(values, np.float64) - low) / span * top
    kind = np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32
    return np.clip(np.rint(scaled), 0, top).astype(kind)


def unlinear(codes: Array, low: Array, high: Array, bits: int) -> npt.NDArray[np.float32]:
    """The inverse of :func:`linear`."""
    span = np.where(high > low, high - low, 1.0)
    return (low + codes.astype(np.float64) / (2**bits - 1) * span).astype(np.float32)


def smallest_three(quats: npt.ArrayLike) -> npt.NDArray[np.uint32]:
    """(N,4) unit wxyz -> (N,) words: 2 bits for the largest component in x,y,z,w order, then sign and
    9-bit magnitude of the other three in that order (the rotation words of SPZ 3 and 4)."""
    xyzw = np.asarray(quats, np.float64)[:, [1, 2, 3, 0]]
    largest = np.abs(xyzw).argmax(axis=1)
    rows = np.arange(len(xyzw))
    flip = xyzw[rows, largest] < 0
    words = largest.astype(np.uint32)
    for axis in range(4):
        value = xyzw[:, axis]
        sign = ((value < 0) ^ flip).astype(np.uint32)
        magnitude = (np.abs(value) / _HALF_ROOT * (2**SMALLEST_BITS - 1) + 0.5).astype(np.uint32)
        magnitude = np.minimum(magnitude, 2**SMALLEST_BITS - 1)
        appended = (words << np.uint32(10)) | (sign << np.uint32(9)) | magnitude
        words = np.where(largest == axis, words, appended).astype(np.uint32)
    return words


def unsmallest_three(words: Array) -> npt.NDArray[np.float32]:
    """The inverse of :func:`smallest_three`; unit quaternions wxyz."""
    rest = np.asarray(words, np.uint32).copy()
    largest = (rest >> np.uint32(30)).astype(np.int64)
    xyzw = np.zeros((len(rest), 4))
    for axis in (3, 2, 1, 0):
        here = largest != axis
        magnitude = (rest & np.uint32(511)).astype(np.float64) / 511 * _HALF_ROOT
        value = np.where((rest >> np.uint32(9)) & np.uint32(1), -magnitude, magnitude)
        xyzw[here, axis] = value[here]
        rest = np.where(here, rest >> np.uint32(10), rest)
    square = (xyzw**2).sum(axis=1)
    xyzw[np.arange(len(rest)), largest] = np.sqrt(np.maximum(1.0 - square, 0.0))
    return xyzw[:, [3, 0, 1, 2]].astype(np.float32)
