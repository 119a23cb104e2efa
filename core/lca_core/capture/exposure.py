"""Light for the networks, which know daylight: a picture in, a brighter copy out where it is too dark.

Only what the networks look at is changed; frames and colours handed on stay as filmed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .networks import Roi
from .pose import PoseResult

DARK, LIT, MAX_GAIN = 80.0, 200.0, 8.0
"""A picture whose brightest twentieth lies below ``DARK`` is looked at as if lit up to ``LIT``."""
LIT_FACE = 120.0
"""Faces against the light, or dark ones in little of it, are brought here; more washes them out."""
HEAD_SIDE = 64


def brightened(view: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture, or a brighter copy when almost all of it is dark."""
    return _raised(view, float(np.percentile(view[::8, ::8], 95)), LIT)


def brightened_head(view: NDArray[np.uint8], pose: PoseResult, region: Roi) -> NDArray[np.uint8]:
    """The picture, or a copy with the gain that the head in ``region`` needs, whatever stands behind it."""
    head = region.crop(view, HEAD_SIDE).mean(2)
    solid = (np.clip(pose.mask, 0, 1) * 255).astype(np.uint8)
    person = region.crop(np.repeat(solid[..., None], 3, 2), HEAD_SIDE)[..., 0] > 127
    if not person.any():
        return view
    return _raised(view, float(np.percentile(head[person], 95)), LIT_FACE)


def _raised(view: NDArray[np.uint8], level: float, wanted: float) -> NDArray[np.uint8]:
    if level >= DARK:
        return view
    gain = min(wanted / max(level, 1.0), MAX_GAIN)
    return (view.astype(np.float32) * gain).clip(0, 255).astype(np.uint8)
