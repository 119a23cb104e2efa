"""The floor between two calves: mask networks close that gap, and its colour ends up on ankles and socks.

In: a frame, its matte and where the shins are. Out: the matte with the gap opened, where the colour of what
stands around the legs says so clearly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .networks import Array

SHORTEST = 12.0
"""Pixels of shin below which a gap cannot be told."""
BAND, AROUND = 0.12, 1.2
"""Height of the rows that are looked at together, and reach of the surroundings, over the shin's length."""
CALF, CORE = 0.04, 0.04
"""Half of what is certainly leg around the line from knee to ankle, and of what says its colour, likewise."""
DIFFERENT = 0.28
"""Distance in sRGB (0-1, of three channels) from which legs and surroundings can be told apart."""
PLAIN = 0.5
"""Median distance of the surroundings' colours from their median, over that, up to which they are plain."""
FLOOR, LEG = 0.3, 0.5
"""Distance from the surroundings' colour, over that of the legs, up to which a pixel is floor, and from which
it is leg."""


MOSTLY = 0.5
"""Share of what the matte holds between the shins beside legs that must be floor: rims stay."""
CLOSED, CLOSED_FOR = 0.97, 0.3
"""Share of the gap that looks like the legs, so far below the knees over the shin's length, where a skirt
covers it or knees touch: nothing is opened then, for a hem ends otherwise than a gap."""


def open_leg_gap(frame: NDArray[np.uint8], matte: Array, knees: Array, ankles: Array) -> Array:
    """The matte [H,W] without floor between the shins.

    Args:
        frame: uint8 [H,W,3] sRGB. matte: float [H,W] 0..1. knees, ankles: [2,2] pixels, left and right.
    """
    length = float(np.linalg.norm(knees.mean(0) - ankles.mean(0)))
    if not (SHORTEST <= length < np.inf):
        return matte
    top = max(int(knees[:, 1].min()), 0)
    bottom = min(int(ankles[:, 1].max() + CALF * length), len(matte))
    out = matte.copy()
    step = max(2, round(BAND * length))
    for row in range(top, bottom, step):
        rows = slice(row, min(row + step, bottom))
        drop = np.clip((row + step / 2 - knees[:, 1]) / np.maximum(ankles[:, 1] - knees[:, 1], 1), 0, 1.2)
        shins = np.sort(knees[:, 0] + drop * (ankles[:, 0] - knees[:, 0]))
        left, right = (shins + np.array([CALF, -CALF]) * length).astype(int).clip(0, matte.shape[1])
        if left >= right:
            continue
        share = _leg_share(frame[rows], matte[rows], shins, length, slice(left, right))
        if share is None:
            continue
        held = matte[rows, left:right] > 0.5
        if row < knees[:, 1].max() + CLOSED_FOR * length and (held & (share == 1)).mean() > CLOSED:
            return matte
        if (held & (share < 0.2)).sum() > MOSTLY * (held & (share < 1)).sum():
            out[rows, left:right] = np.minimum(out[rows, left:right], share)
    return out


def _leg_share(
    pixels: NDArray[np.uint8], matte: Array, shins: Array, length: float, gap: slice
) -> Array | None:
    """How far each pixel of the ``gap`` in some rows is leg, 0..1; None where colours do not tell."""

    def columns(middle: float, reach: float) -> slice:
        low, high = (int(np.clip(middle + side * reach * length, 0, matte.shape[1])) for side in (-1, 1))
        return slice(low, high + 1)

    middle = float(shins.mean())
    around = columns(middle, AROUND + 0.5 * float(np.ptp(shins)) / length)
    floor = pixels[:, around][matte[:, around] < 0.02].astype(np.float32) / 255
    solid = [columns(float(x), CORE) for x in shins]
    legs = np.concatenate([pixels[:, c][matte[:, c] > 0.9] for c in solid]).astype(np.float32) / 255
    if len(floor) < 30 or len(legs) < 6:
        return None
    behind, leg = np.median(floor, 0), np.median(legs, 0)
    apart = float(np.linalg.norm(leg - behind))
    if apart < DIFFERENT or float(np.median(np.linalg.norm(floor - behind, axis=1))) > PLAIN * apart:
        return None
    away = np.linalg.norm(pixels[:, gap].astype(np.float32) / 255 - behind, axis=2) / apart
    share = np.clip((away - FLOOR) / (LEG - FLOOR), 0, 1)
    return np.asarray(share, np.float32)
