"""Finds a skirt or dress in the reference masks.

The network grows clothing from the body, so a skirt comes out as two trouser legs. Masks know better: where
they fill the gap between the legs there is cloth. In: references and the samples of an avatar. Out: a
:class:`Skirt` (a tube from hips to hem in the T-pose) or None; ``tube`` lays the legs on it. People in
trousers are left as they are, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from lca_core.body.names import JOINT_INDEX, JOINT_NAMES
from lca_core.model.density import Samples
from lca_core.model.raster import depth_buffer
from lca_core.model.references import References

LEVELS = 33
"""Levels run from the hip joints (0) to the ankles (1)."""
REACH_M, STEP_M = 0.6, 0.01
MIN_GAP_M = 0.05
"""A gap between the legs narrower than this says nothing: a mask's rim closes it."""
MIN_VIEWS, FILLED, SURE = 2, 0.75, 0.9
"""Views that must show a gap, and the share of it that must be cloth."""
SHORTEST, SHORT = 0.22, 0.40
"""A garment that ends above the first level hangs on the hips. One that ends above the second may be wide
shorts, whose legs touch: there views must have seen its hem."""
WIDER_M = 0.02, 0.03
"""How much wider than the legs the mask must be above the hem: of long and of short garments."""
ALONE_LEVELS, ALONE_WIDER_M = 6, 0.06
"""Where there is one view only: how many levels must show a gap full of cloth, and how much wider than the
legs the mask must be."""
NOTCH_GAP_M, NOTCH, NOTCH_LEVELS, AGAINST = 0.08, (0.2, 0.85), 1, 0.2
"""Below the hem of a skirt the gap between the legs is empty at once; between the legs of shorts a notch
widens downwards. Width of a gap that tells them apart, shares of cloth that are neither, how many levels of
those a hem may have, and the share of views that may disagree."""
EASE_M = 0.012
PRIOR = 0.3
"""Weight of the usual shape against one view."""
DEPTH, HIP_DEPTH, FLARE_DEPTH = 0.58, 0.72, 0.29
"""Half depth of a skirt over its half width; more exactly over that of the hips, and over what it is wider
than those (40 skirts of training people, 1.4 cm deviation)."""
BLEND = (-0.02, 0.20)
"""Levels between which the body's own surface gives way to the tube."""
LEGS = tuple(JOINT_INDEX[f"{s}_{n}"] for s in ("left", "right") for n in ("hip", "knee", "ankle", "foot"))
ANKLES = (JOINT_INDEX["left_ankle"], JOINT_INDEX["right_ankle"])
_SIDES = (
    tuple(JOINT_INDEX[f"left_{n}"] for n in ("hip", "knee", "ankle")),
    tuple(JOINT_INDEX[f"right_{n}"] for n in ("hip", "knee", "ankle")),
)
_ARMS = tuple(
    i
    for i, n in enumerate(JOINT_NAMES)
    if n.partition("_")[2].rstrip("123") in ("elbow", "wrist", "index", "middle", "pinky", "ring", "thumb")
)


@dataclass(frozen=True)
class Skirt:
    """A tube around both legs in the T-pose: its cross-section is the hull of two circles (an ellipse where
    it is deeper than wide).

    Attributes:
        half (LEVELS,2): half width along x and half depth along z, metres. centre (LEVELS,2): x, z of
            the axis.
        hem: lowest level, 0 at the hips and 1 at the ankles. joints (55,3): rest joints.
        filled: share of the gap between the legs that was cloth; views: how many showed a gap.
    """

    half: NDArray[np.float64]
    centre: NDArray[np.float64]
    hem: float
    joints: NDArray[np.float64]
    filled: float
    views: int

    @property
    def top_y(self) -> float:
        """Height at which the tube starts, metres."""
        return height(self.joints, BLEND[0])

    @property
    def hem_y(self) -> float:
        """Height of the hem, metres."""
        return height(self.joints, self.hem)


def height(joints: NDArray, level: float) -> float:
    """Height of a level, metres: 0 at the hip joints, 1 at the ankles."""
    hip, ankle = (joints[[_SIDES[0][k], _SIDES[1][k]], 1].mean() for k in (0, 2))
    return float(hip - level * (hip - ankle))


def leg_axes(joints: NDArray, rest: NDArray) -> NDArray[np.float64]:
    """Points of both leg axes at every level: (2,LEVELS,3), for posed joints (55,3)."""
    out = []
    for hip, knee, ankle in _SIDES:
        s = np.linspace(0, 1, LEVELS)
        bend = (rest[hip, 1] - rest[knee, 1]) / (rest[hip, 1] - rest[ankle, 1])
        upper = joints[hip] + (joints[knee] - joints[hip]) * np.clip(s / bend, 0, 1)[:, None]
        lower = (joints[ankle] - joints[knee]) * np.clip((s - bend) / (1 - bend), 0, 1)[:, None]
        out.append(upper + lower)
    return np.stack(out)


def find_skirt(samples: Samples, refs: References) -> Skirt | None:
    """The skirt or dress of the person of ``refs`` (B = 1, with sources), or None for everything tight."""
    measured = measure(samples, refs)
    return None if measured is None else decide(*measured)


@dataclass(frozen=True)
class Evidence:
    """What the masks say, per view and level. ``gap`` and ``cloth``: metres of gap between the legs, and of
    it covered by the mask; ``width`` (n,LEVELS) half width of the mask, NaN where arms or nothing is seen;
    ``shift`` its middle; ``body`` half width of the legs alone; ``across`` (n,2) x, z of the measured
    direction in the pelvis frame."""

    gap: NDArray[np.float64]
    cloth: NDArray[np.float64]
    width: NDArray[np.float64]
    shift: NDArray[np.float64]
    body: NDArray[np.float64]
    across: NDArray[np.float64]


def measure(samples: Samples, refs: References) -> tuple[Evidence, NDArray[np.float64]] | None:
    """Evidence of all views and the rest joints; None without any view."""
    keep = np.nonzero(refs.view_valid[0].cpu().numpy())[0]
    if not len(keep) or not refs.sources:
        return None
    betas = refs.betas[0].detach().cpu().float()
    rest = samples._rest(betas)[2].numpy().astype(np.float64)
    if height(rest, 0) - height(rest, 1) < 0.2:
        return None
    arguments = (betas, refs.pose[0, keep], refs.transl[0, keep], refs.expression[0, keep])
    vertices, transforms, posed = samples._forward(betas.expand(len(keep), -1), *arguments[1:])
    weights = samples.vertex_weights
    legs = weights[:, [0, *LEGS]].sum(1) > 0.5
    arms = weights[:, list(_ARMS)].sum(1) > 0.5
    u = np.arange(-REACH_M, REACH_M + STEP_M / 2, STEP_M)
    rows: list[list[NDArray]] = []
    for i, view in enumerate(keep):
        source = refs.sources[0][view]
        if source is None:
            continue
        viewmat = refs.viewmats[0, view].cpu().numpy().astype(np.float64)
        rotation, shift = viewmat[:3, :3], viewmat[:3, 3]
        axes = leg_axes(posed[i].astype(np.float64), rest)
        middle = axes.mean(0)
        eye = -rotation.T @ shift
        across = np.cross(middle[-1] - middle[0], middle[LEVELS // 2] - eye)
        across /= max(float(np.linalg.norm(across)), 1e-9)
        points = middle[:, None] + u[None, :, None] * across
        size = 320
        pixels_v = _project(vertices[i] @ rotation.T + shift, source.K)
        h, w = source.mask.shape
        zoom = size / max(h, w)
        small = pixels_v * np.array([zoom, zoom, 1.0], np.float32)
        sheets = [
            np.isfinite(
                depth_buffer(small, np.ascontiguousarray(samples.faces[m[samples.faces].all(1)]), size, size)
            )
            for m in (legs, arms)
        ]
        at = _project(points.reshape(-1, 3) @ rotation.T + shift, source.K)
        mask = _read(source.mask > 127, at[:, :2], 1.0).reshape(LEVELS, -1)
        body, arm = (_read(s, at[:, :2], zoom).reshape(LEVELS, -1) for s in sheets)
        turn = transforms[i, 0, :3, :3].astype(np.float64).T @ across
        rows.append(_row(mask, body, arm, u, turn[[0, 2]]))
    if not rows:
        return None
    columns = [np.stack(c) for c in zip(*rows, strict=True)]
    return Evidence(*columns), rest


def _project(camera: NDArray, K: NDArray) -> NDArray[np.float32]:
    z = np.maximum(camera[:, 2:], 0.05)
    xy = camera[:, :2] / z * (K[0, 0], K[1, 1]) + (K[0, 2], K[1, 2])
    return np.concatenate([np.clip(xy, -1e6, 1e6), camera[:, 2:]], 1).astype(np.float32)


def _read(image: NDArray[np.bool_], xy: NDArray, zoom: float) -> NDArray[np.bool_]:
    h, w = image.shape
    x, y = np.floor(xy[:, 0] * zoom).astype(int), np.floor(xy[:, 1] * zoom).astype(int)
    inside = (x >= 0) & (y >= 0) & (x < w) & (y < h)
    return np.where(inside, image[np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)], False)


def _row(mask: NDArray, body: NDArray, arm: NDArray, u: NDArray, turn: NDArray) -> list[NDArray]:
    gap, cloth, shift = (np.zeros(LEVELS) for _ in range(3))
    width, legs = np.full(LEVELS, np.nan), np.zeros(LEVELS)
    for k in range(LEVELS):
        on = np.flatnonzero(body[k])
        if not len(on):
            continue
        legs[k] = (u[on[-1]] - u[on[0]]) / 2
        hole = ~body[k, on[0] : on[-1] + 1]
        gap[k] = hole.sum() * STEP_M
        cloth[k] = (hole & mask[k, on[0] : on[-1] + 1]).sum() * STEP_M
        middle = (on[0] + on[-1]) // 2
        if not mask[k, middle]:
            continue
        off = np.flatnonzero(~mask[k])
        left, right = off[off < middle], off[off > middle]
        if len(left) and len(right):
            a, b = left[-1] + 1, right[0] - 1
            near = arm[k, max(a - 4, 0) : b + 5]
            if not near.any():
                width[k], shift[k] = (u[b] - u[a]) / 2, (u[b] + u[a]) / 2
    return [gap, cloth, width, shift, legs, turn]


def decide(e: Evidence, joints: NDArray[np.float64]) -> Skirt | None:
    """A skirt where most of the gap between the legs is cloth, from the crotch down to a common hem that
    runs straight across."""
    open_, cloth = (
        np.where(e.gap >= MIN_GAP_M, e.gap, 0).sum(0),
        np.where(e.gap >= MIN_GAP_M, e.cloth, 0).sum(0),
    )
    views = (e.gap >= MIN_GAP_M).sum(0)
    alone = len(e.gap) == 1
    known = views >= (1 if alone else MIN_VIEWS)
    if not known.any():
        return None
    fill = np.interp(np.arange(LEVELS), np.flatnonzero(known), (cloth / np.maximum(open_, 1e-9))[known])
    first = int(np.flatnonzero(known)[0])
    below = np.flatnonzero((fill < FILLED) & (np.arange(LEVELS) >= first))
    last = int(below[0]) - 1 if len(below) else LEVELS - 1
    if last / (LEVELS - 1) < SHORTEST or last <= first:
        return None
    # The last rim of a mask mixes hem and floor.
    sure = max(int(np.flatnonzero((fill >= SURE) & (np.arange(LEVELS) <= last)).max(initial=first)), first)
    hem = sure / (LEVELS - 1)
    short = hem < SHORT
    below_crotch = slice(max(first, last - LEVELS // 4), last + 1)
    wider = np.nanmedian((e.width - e.body)[:, below_crotch])
    if not wider >= (ALONE_WIDER_M if alone else WIDER_M[short]):
        return None
    if alone and known[first : sure + 1].sum() < ALONE_LEVELS:
        return None
    notched = _notches(e, last) > NOTCH_LEVELS
    if hem < SHORTEST or (short and len(notched) < min(MIN_VIEWS, len(e.gap))):
        return None
    # One view of a long garment may take the wave of its hem for a notch.
    if len(notched) and notched.mean() > AGAINST and (short or notched.sum() > 1 or len(notched) == 1):
        return None
    half, centre = _axes(e, sure)
    used = slice(first, sure + 1)
    return Skirt(
        half, centre + joints[[_SIDES[0][0], _SIDES[1][0]]][:, [0, 2]].mean(0), hem, joints,
        float(cloth[used].sum() / max(open_[used].sum(), 1e-9)), int(views[used].max()),
    )  # fmt: skip


def _notches(e: Evidence, last: int) -> NDArray[np.int64]:
    """Over how many levels the gap between the legs opens, for each view that shows it opening near the level
    ``last`` or above; ``LEVELS`` where it is open from the crotch."""
    out = []
    for gap, cloth in zip(e.gap, e.cloth, strict=True):
        share = cloth / np.maximum(gap, 1e-9)
        wide = gap >= NOTCH_GAP_M
        opened = np.flatnonzero(wide & (share < SURE))
        closed = np.flatnonzero((gap > 0) & (share >= SURE))
        if not len(opened):
            continue
        top = int(opened[0])
        if not len(closed) or closed[0] > top:
            if top <= last:
                out.append(LEVELS)
            continue
        # Legs thicker than the fit's leave a rest of "cloth" all the way down.
        under = share[top + 3 : top + 10][wide[top + 3 : top + 10]]
        rest = float(np.median(under)) if len(under) else 0.0
        part = (share[top : top + 10] - rest)[wide[top : top + 10]] / max(1 - rest, 1e-6)
        out.append(int(((part > NOTCH[0]) & (part < NOTCH[1])).sum()))
    return np.array(out, np.int64)


def _axes(e: Evidence, last: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Half width, half depth and centre per level from the widths of all views: the support function of the
    hull of two circles, which is linear in both."""
    c = e.across / np.maximum(np.linalg.norm(e.across, axis=1, keepdims=True), 1e-9)
    facing = np.abs(c[:, 0])
    half, centre = np.full((LEVELS, 2), np.nan), np.zeros((LEVELS, 2))
    top = np.nan
    for k in range(last + 1):
        good = np.isfinite(e.width[:, k])
        if good.sum() < min(MIN_VIEWS, len(good)):
            continue
        seen = np.stack([facing[good], 1 - facing[good]], 1)
        # Few views see one direction only: the other is as wide as skirts are.
        likely = float(np.median(e.width[good, k] / (seen @ (1.0, DEPTH))))
        top = likely if np.isnan(top) else top
        depth = HIP_DEPTH * top + FLARE_DEPTH * max(likely - top, 0.0)
        a = np.concatenate([seen, PRIOR * np.eye(2)])
        y = np.concatenate([e.width[good, k], PRIOR * np.array([likely, depth])])
        half[k] = np.clip(np.linalg.lstsq(a, y, rcond=None)[0], 0.05, 0.7)
        b = np.concatenate([c[good], np.eye(2)])
        centre[k] = np.clip(
            np.linalg.lstsq(b, np.append(e.shift[good, k], [0, 0]), rcond=None)[0], -0.08, 0.08
        )
    known = np.flatnonzero(np.isfinite(half[:, 0]))
    if not len(known):
        known, half[last] = np.array([last]), np.nanmax(e.body[:, last]) + EASE_M
    for j in range(2):
        values = np.interp(np.arange(LEVELS), known, half[known, j])
        half[:, j] = gaussian_filter1d(np.maximum.accumulate(values), 1.5, mode="nearest")
        centre[:, j] = gaussian_filter1d(
            np.interp(np.arange(LEVELS), known, centre[known, j]), 3, mode="nearest"
        )
    return half, centre
