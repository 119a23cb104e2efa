"""Difference of a frame's raw integers to those of the frame before, arranged so that zstd saves much.

Bytes of one attribute in, bytes of the same length out. Modulo arithmetic makes it exact for every value;
zigzag turns small differences of either sign into small numbers; low and high bytes are kept apart, because
the high ones are nearly all zero.
"""

from __future__ import annotations

import numpy as np


def to_delta(raw: np.ndarray, base: np.ndarray, width: int) -> np.ndarray:
    """Encode (B,) uint8 of integers ``width`` (1 or 2) bytes wide against ``base`` of the same shape."""
    if width == 1:
        step = (raw - base).view(np.int8)
        return ((step << 1) ^ (step >> 7)).view(np.uint8)
    wide = (raw.view("<u2") - base.view("<u2")).view("<i2")
    zigzag = ((wide << 1) ^ (wide >> 15)).view(np.uint8).reshape(-1, 2)
    return np.concatenate([zigzag[:, 0], zigzag[:, 1]])


def undo_delta(delta: np.ndarray, base: np.ndarray, width: int) -> np.ndarray:
    """The inverse of :func:`to_delta`."""
    if width == 1:
        return base + ((delta >> 1) ^ -(delta & 1))
    half = len(delta) // 2
    zigzag = np.empty((half, 2), np.uint8)
    zigzag[:, 0], zigzag[:, 1] = delta[:half], delta[half:]
    wide = zigzag.view("<u2")[:, 0]
    return (base.view("<u2") + ((wide >> 1) ^ -(wide & 1))).view(np.uint8)
