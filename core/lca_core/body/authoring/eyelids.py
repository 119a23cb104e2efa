"""Eyelids that meet: the blink shapes of the source overshoot, and unevenly, so they are scaled to close.

In: the mean body and the expression offsets of one eye. Out: those offsets with every column of the upper lid
ending on the lower one. Build-time only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

OVERLAP = 0.0004
"""Metres by which the closed upper lid covers the lower one's rim: people differ by half a millimetre."""
FALLS, RESTS = 0.004, 0.0015
"""Metres: rim that a blink lowers by more is upper lid, rim that moves by less is lower lid."""
RIM_REACH = 0.022
"""Metres around an eye within which the rim of the socket is its lids."""
FULL, NONE = 0.02, 0.035
"""Metres from the eye between which the correction fades; brow and cheek go on moving as before."""


def socket_rim(faces: NDArray[np.integer], cavity: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Vertices where inner surfaces (``cavity`` [V]) meet the skin of a mesh (``faces`` [F,3])."""
    inner = cavity[faces].all(1)
    return np.intersect1d(np.unique(faces[inner]), np.unique(faces[~inner])).astype(np.int64)


def meet(
    blink: NDArray[np.floating],
    vertices: NDArray[np.floating],
    rim: NDArray[np.integer],
    centre: NDArray[np.floating],
) -> NDArray[np.float32]:
    """Offsets [V,3] m of one eye's blink with which its lids just meet on the mean body.

    Args:
        blink: [V,3] m as in the source. vertices: [V,3] m, Y up, facing +Z. rim: vertices of all socket rims
            (:func:`socket_rim`). centre: (3,) m of the eyeball.
    """
    near = rim[np.linalg.norm(vertices[rim] - centre, axis=1) < RIM_REACH]
    down = -blink[near, 1]
    upper, lower = near[down > FALLS], near[np.abs(down) < RESTS]
    if len(upper) < 3 or len(lower) < 3:
        raise ValueError("This blink has no upper lid that falls onto a lower one.")
    lower = lower[np.argsort(vertices[lower, 0])]
    upper = upper[np.argsort(vertices[upper, 0])]
    share = np.ones(len(upper))
    for _ in range(4):  # a lid also moves sideways, so where it ends depends on how far it goes
        ends = vertices[upper, 0] + share * blink[upper, 0]
        floor = np.interp(ends, vertices[lower, 0], (vertices + blink)[lower, 1])
        share = (vertices[upper, 1] - floor + OVERLAP) / -blink[upper, 1]
    column = np.interp(vertices[:, 0], vertices[upper, 0], share)[:, None]
    away = np.linalg.norm(vertices - centre, axis=1)[:, None]
    within = np.clip((NONE - away) / (NONE - FULL), 0, 1)
    return (blink * (1 + within * (column - 1))).astype(np.float32)
