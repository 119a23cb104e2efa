"""Lays the legs on a skirt: each leg's surface is cut along its inner line and unrolled onto its half of
the tube (GHG's outer shell, without new texels).

In: a :class:`~lca_core.model.skirt.Skirt` and points of the body in the T-pose. Out: where those under it
lie on the tube, and how it runs there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from lca_core.body.names import JOINT_INDEX
from lca_core.model.skirt import BLEND, EASE_M, LEGS, LEVELS, Skirt, height, leg_axes

OVERLAP = 0.012
"""Radians by which the halves of a mesh pass the middle: no crack opens between them."""
MIDDLE_M = 0.006
"""Distance from the body's middle within which a point says where front and back are."""


@dataclass(frozen=True)
class Wrapped:
    """Points on a skirt: ``where`` (P,) rows that moved, and for those ``means`` (P,3) m, ``frames``
    (P,3,3) columns along the hem, down, outwards, ``wider`` (P,) growth of the spacing along the hem."""

    where: NDArray[np.int64]
    means: NDArray[np.float32]
    frames: NDArray[np.float32]
    wider: NDArray[np.float32]


def wrap(
    skirt: Skirt,
    points: NDArray[np.floating],
    weights: NDArray[np.floating],
    faces: NDArray[np.integer] | None = None,
    dressed: NDArray[np.floating] | None = None,
) -> Wrapped:
    """Body points (N,3) in T-pose with skin weights (N,55) -> those on the skirt.

    The angle around the leg, zero at its outer side and +-pi at the inner line, is halved: it becomes the
    angle around the tube. At its top the tube begins on the ``dressed`` points (N,3), those of the body
    without them. Of a mesh with ``faces`` (F,3) what lies along the inner line of a leg goes to the middle,
    where both halves then meet.
    """
    joints = skirt.joints
    hip, ankle = height(joints, 0), height(joints, 1)
    level = (hip - points[:, 1]) / (hip - ankle)
    lower = weights[:, [0, JOINT_INDEX["spine1"], *LEGS]].sum(1)
    where = np.flatnonzero((level > BLEND[0]) & (level <= skirt.hem) & (lower > 0.5))
    x, s = points[where].astype(np.float64), level[where]
    side = np.where(
        weights[where][:, list(LEGS[:4])].sum(1) >= weights[where][:, list(LEGS[4:])].sum(1),
        1.0,
        -1.0,
    )
    near_middle = weights[where][:, list(LEGS)].sum(1) < 0.3
    side = np.where(near_middle, np.where(x[:, 0] >= 0, 1.0, -1.0), side)
    axes = leg_axes(joints, joints)
    grid = np.linspace(0, 1, LEVELS)
    leg = np.stack(
        [
            np.interp(s, grid, axes[0, :, k]) * (side > 0) + np.interp(s, grid, axes[1, :, k]) * (side < 0)
            for k in (0, 2)
        ],
        1,
    )
    phi = np.arctan2(x[:, 2] - leg[:, 1], (x[:, 0] - leg[:, 0]) * side)
    # Above the crotch there is one surface around both legs, whose middle is the end of both halves.
    middle = (np.abs(x[:, 0]) < MIDDLE_M) & (s < 0.25)
    crotch = float(s[middle].max()) if middle.any() else 0.1
    theta = np.pi / 2 * np.clip(phi / _middle_angle(s, phi, middle, crotch), -1, 1)
    low, seam = np.clip((s - crotch + 0.02) / 0.03, 0, 1), np.zeros(len(where), bool)
    if faces is not None:
        seam = _along_inner_line(faces, len(points), where, phi, side)
        theta = np.where(seam, np.sign(phi) * (np.pi / 2 + OVERLAP), theta)
    half = np.stack([np.interp(s, grid, skirt.half[:, k]) for k in (0, 1)], 1)
    centre = np.stack([np.interp(s, grid, skirt.centre[:, k]) for k in (0, 1)], 1)
    # The cloth lies outside both legs.
    outer = np.abs(leg[:, 0] - centre[:, 0])
    radius = np.hypot(x[:, 0] - leg[:, 0], x[:, 2] - leg[:, 1])
    typical = np.quantile(radius, 0.9) if len(radius) else 0.0
    half[:, 0] = np.maximum(half[:, 0], outer + np.minimum(radius, typical) + EASE_M)
    tube = _around(half, theta) * np.stack([side, np.ones_like(s)], 1) + centre
    tube = np.stack([tube[:, 0], x[:, 1], tube[:, 1]], 1)
    share = np.clip((s - BLEND[0]) / (BLEND[1] - BLEND[0]), 0, 1)
    share = np.where(seam, low, share**2 * (3 - 2 * share))[:, None]
    above = x if dressed is None else dressed[where]
    means = (1 - share) * above + share * tube
    turn = 0.01
    step = (_around(half, theta + turn) - _around(half, theta - turn)) / (2 * turn)
    along = np.stack([side * step[:, 0], 0 * s, step[:, 1]], 1)
    flare = np.stack([np.interp(s, grid, np.gradient(skirt.half[:, k], grid)) for k in (0, 1)], 1)
    sink = _around(half + 0.1 * flare, theta) - _around(half - 0.1 * flare, theta)
    down = np.stack([side * sink[:, 0], np.full(len(s), -0.2 * (hip - ankle)), sink[:, 1]], 1)
    wider = np.linalg.norm(along, axis=1)
    along /= wider[:, None]
    out = np.cross(along, down)
    outwards = np.stack([side * np.cos(theta), 0 * s, np.sin(theta)], 1)
    out *= np.where((out * outwards).sum(1) < 0, -1.0, 1.0)[:, None]
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    frames = np.stack([along, np.cross(out, along), out], -1)
    wider = 1 + share[:, 0] * (0.5 * wider / np.maximum(radius, 0.03) - 1)
    return Wrapped(
        where,
        means.astype(np.float32),
        frames.astype(np.float32),
        np.clip(wider, 1.0, 4.0).astype(np.float32),
    )


def _middle_angle(
    s: NDArray[np.float64], phi: NDArray[np.float64], middle: NDArray[np.bool_], crotch: float
) -> NDArray[np.float64]:
    """How far around its leg the middle of the body is at each point (P,) with level ``s`` and angle ``phi``:
    pi below the crotch. ``middle`` (P,): the points that lie there."""
    out = np.full(len(s), np.pi)
    for half in (phi >= 0, phi < 0):
        here = np.flatnonzero(middle & half)
        here = here[np.argsort(s[here])]
        angle = gaussian_filter1d(np.abs(phi[here]), 2, mode="nearest") if len(here) else np.zeros(0)
        at = np.append(s[here], max(crotch, s[here].max(initial=0)) + 0.03)
        out[half] = np.interp(s[half], at, np.append(angle, np.pi))
    return np.maximum(out, np.pi / 4)


def _around(half: NDArray[np.float64], theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (P,2) of cross-sections with half axes (P,2), in equal steps of the way from the outer side
    (``theta`` 0) to the middle of front and back (+-pi/2)."""
    width, depth = np.maximum(half, 1e-3).T
    straight = np.maximum(width - depth, 0)
    radius = np.minimum(width, depth)
    bow = np.pi / 4 * (radius + depth)
    way = np.abs(theta) / (np.pi / 2) * (straight + bow)
    angle = np.minimum(way / bow, 1) * np.pi / 2
    on = straight - np.maximum(way - bow, 0)
    return np.stack([on + radius * np.cos(angle), np.sign(theta) * depth * np.sin(angle)], 1)


def _along_inner_line(
    faces: NDArray[np.integer],
    count: int,
    where: NDArray[np.int64],
    phi: NDArray[np.floating],
    side: NDArray[np.floating],
) -> NDArray[np.bool_]:
    """Which of the vertices ``where`` (P,) have an edge across the inner line of their leg, where the angle
    ``phi`` (P,) jumps; ``count`` vertices in all, ``side`` (P,) the leg."""
    angle, leg = np.full(count, np.nan), np.zeros(count)
    angle[where], leg[where] = phi, side
    a, b = faces.ravel(), np.roll(faces, 1, 1).ravel()
    across = (leg[a] == leg[b]) & (np.abs(angle[a] - angle[b]) > np.pi)
    return np.isin(where, np.concatenate([a[across], b[across]]))
