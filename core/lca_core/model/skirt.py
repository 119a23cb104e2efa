"""Finds a skirt or dress in the reference masks and wraps the legs' samples onto it.

The network grows clothing from the body, so a skirt comes out as two trouser legs. Masks know better: where
they fill the gap between the legs there is cloth. In: references and the samples of an avatar. Out: a
:class:`Skirt` (an elliptic tube from hips to hem in the T-pose) or None, and the places on it: each leg's
surface is cut along its inner line and unrolled onto its half of the tube (GHG's outer shell, without new
texels). People in trousers are left as they are, bit for bit.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from lca_core.body.names import JOINT_INDEX, JOINT_NAMES
from lca_core.model.density import Samples
from lca_core.model.loose import node_weights
from lca_core.model.raster import depth_buffer
from lca_core.model.references import References
from lca_core.model.surface import PosedTexels, array

LEVELS = 33
LOWEST = 1.0
"""Levels run from the hip joints (0) to the ankles (1)."""
REACH_M, STEP_M = 0.6, 0.01
MIN_GAP_M = 0.05
"""A gap between the legs narrower than this says nothing: a mask's rim closes it."""
MIN_VIEWS, FILLED, SURE = 2, 0.75, 0.9
"""Views that must show a gap, and the share of it that must be cloth."""
SHORTEST = 0.36
"""A garment that ends above this level hangs on the thighs and follows them well enough; wide shorts, whose
legs touch, end there too."""
WIDER_M = 0.02
"""How much wider than the legs the mask must be above the hem."""
EASE_M = 0.012
BLEND = (-0.02, 0.20)
"""Levels between which the body's own surface gives way to the tube."""
_LEG = tuple(JOINT_INDEX[f"{s}_{n}"] for s in ("left", "right") for n in ("hip", "knee", "ankle", "foot"))
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
    """An elliptic tube in the T-pose.

    Attributes:
        half (LEVELS,2): half axes along x and z, metres. centre (LEVELS,2): x, z of the axis.
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
        return _height(self.joints, BLEND[0])

    @property
    def hem_y(self) -> float:
        """Height of the hem, metres."""
        return _height(self.joints, self.hem)


@dataclass(frozen=True)
class Wrapped:
    """Points on a skirt: ``where`` (P,) rows that moved, and for those ``means`` (P,3) m, ``frames``
    (P,3,3) columns along the hem, down, outwards, ``wider`` (P,) growth of the spacing along the hem."""

    where: NDArray[np.int64]
    means: NDArray[np.float32]
    frames: NDArray[np.float32]
    wider: NDArray[np.float32]


def _height(joints: NDArray, level: float) -> float:
    hip, ankle = (joints[[_SIDES[0][k], _SIDES[1][k]], 1].mean() for k in (0, 2))
    return float(hip - level * (hip - ankle))


def _legs(joints: NDArray, rest: NDArray) -> NDArray[np.float64]:
    """Points of both leg axes at every level: (2,LEVELS,3), for posed joints (55,3)."""
    out = []
    for hip, knee, ankle in _SIDES:
        s = np.linspace(0, LOWEST, LEVELS)
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
    if _height(rest, 0) - _height(rest, 1) < 0.2:
        return None
    arguments = (betas, refs.pose[0, keep], refs.transl[0, keep], refs.expression[0, keep])
    vertices, transforms, posed = samples._forward(betas.expand(len(keep), -1), *arguments[1:])
    weights = samples.vertex_weights
    legs = weights[:, [0, *_LEG]].sum(1) > 0.5
    arms = weights[:, list(_ARMS)].sum(1) > 0.5
    u = np.arange(-REACH_M, REACH_M + STEP_M / 2, STEP_M)
    rows: list[list[NDArray]] = []
    for i, view in enumerate(keep):
        source = refs.sources[0][view]
        if source is None:
            continue
        viewmat = refs.viewmats[0, view].cpu().numpy().astype(np.float64)
        rotation, shift = viewmat[:3, :3], viewmat[:3, 3]
        axes = _legs(posed[i].astype(np.float64), rest)
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
    """A skirt where most of the gap between the legs is cloth, from the crotch down to a common hem."""
    open_, cloth = (
        np.where(e.gap >= MIN_GAP_M, e.gap, 0).sum(0),
        np.where(e.gap >= MIN_GAP_M, e.cloth, 0).sum(0),
    )
    views = (e.gap >= MIN_GAP_M).sum(0)
    known = views >= MIN_VIEWS
    if not known.any():
        return None
    fill = np.interp(np.arange(LEVELS), np.flatnonzero(known), (cloth / np.maximum(open_, 1e-9))[known])
    first = int(np.flatnonzero(known)[0])
    below = np.flatnonzero((fill < FILLED) & (np.arange(LEVELS) >= first))
    last = int(below[0]) - 1 if len(below) else LEVELS - 1
    hem = last / (LEVELS - 1) * LOWEST
    if hem < SHORTEST or last <= first:
        return None
    below_crotch = slice(max(first, last - LEVELS // 4), last + 1)
    if not np.nanmedian((e.width - e.body)[:, below_crotch]) >= WIDER_M:
        return None
    # The last rim of a mask mixes hem and floor.
    last = max(int(np.flatnonzero((fill >= SURE) & (np.arange(LEVELS) <= last)).max(initial=first)), first)
    hem = last / (LEVELS - 1) * LOWEST
    if hem < SHORTEST:
        return None
    half, centre = _axes(e, last)
    used = slice(first, last + 1)
    return Skirt(
        half, centre + joints[[_SIDES[0][0], _SIDES[1][0]]][:, [0, 2]].mean(0), hem, joints,
        float(cloth[used].sum() / max(open_[used].sum(), 1e-9)), int(views[used].max()),
    )  # fmt: skip


def _axes(e: Evidence, last: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Half axes and centre per level from the widths of all views: the support function of an ellipse."""
    c = e.across / np.maximum(np.linalg.norm(e.across, axis=1, keepdims=True), 1e-9)
    half, centre = np.full((LEVELS, 2), np.nan), np.zeros((LEVELS, 2))
    prior = 0.3
    for k in range(last + 1):
        good = np.isfinite(e.width[:, k])
        if good.sum() < 2:
            continue
        square = e.width[good, k] ** 2
        mean = float(np.median(square))
        # Few views see one direction only: the other then takes about the same width.
        a = np.concatenate([c[good] ** 2, prior * np.array([[1.0, 0], [0, 1.0]])])
        y = np.concatenate([square, prior * np.array([mean, mean])])
        half[k] = np.sqrt(np.clip(np.linalg.lstsq(a, y, rcond=None)[0], 0.05**2, 0.7**2))
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


def wrap(skirt: Skirt, points: NDArray[np.floating], weights: NDArray[np.floating]) -> Wrapped:
    """Body points (N,3) in T-pose with skin weights (N,55) -> those on the skirt.

    The angle around the leg, zero at its outer side and +-pi at the inner line, is halved: it becomes the
    angle around the tube. Above the crotch the body's own surface blends in.
    """
    joints = skirt.joints
    hip, ankle = _height(joints, 0), _height(joints, 1)
    level = (hip - points[:, 1]) / (hip - ankle)
    lower = weights[:, [0, JOINT_INDEX["spine1"], *_LEG]].sum(1)
    where = np.flatnonzero((level > BLEND[0]) & (level <= skirt.hem) & (lower > 0.5))
    x, s = points[where].astype(np.float64), level[where]
    side = np.where(
        weights[where][:, list(_LEG[:4])].sum(1) >= weights[where][:, list(_LEG[4:])].sum(1), 1.0, -1.0
    )
    near_middle = weights[where][:, list(_LEG)].sum(1) < 0.3
    side = np.where(near_middle, np.where(x[:, 0] >= 0, 1.0, -1.0), side)
    axes = _legs(joints, joints)
    grid = np.linspace(0, LOWEST, LEVELS)
    leg = np.stack(
        [
            np.interp(s, grid, axes[0, :, k]) * (side > 0) + np.interp(s, grid, axes[1, :, k]) * (side < 0)
            for k in (0, 2)
        ],
        1,
    )
    phi = np.arctan2(x[:, 2] - leg[:, 1], (x[:, 0] - leg[:, 0]) * side)
    half_turn = phi / 2
    # Above the crotch there is one surface around both legs: there the angle is that around the tube itself.
    middle = (np.abs(x[:, 0]) < 0.004) & (s < 0.25)
    crotch = float(s[middle].max()) if middle.any() else 0.1
    low = np.clip((s - crotch + 0.02) / 0.03, 0, 1)
    whole = np.arctan2(x[:, 2], np.maximum(x[:, 0] * side, 0))
    theta = low * half_turn + (1 - low) * whole
    half = np.stack([np.interp(s, grid, skirt.half[:, k]) for k in (0, 1)], 1)
    centre = np.stack([np.interp(s, grid, skirt.centre[:, k]) for k in (0, 1)], 1)
    # The cloth lies outside both legs.
    outer = np.abs(leg[:, 0] - centre[:, 0])
    radius = np.hypot(x[:, 0] - leg[:, 0], x[:, 2] - leg[:, 1])
    typical = np.quantile(radius, 0.9) if len(radius) else 0.0
    half[:, 0] = np.maximum(half[:, 0], outer + np.minimum(radius, typical) + EASE_M)
    a, b = half.T
    tube = np.stack([centre[:, 0] + side * a * np.cos(theta), x[:, 1], centre[:, 1] + b * np.sin(theta)], 1)
    share = np.clip((s - BLEND[0]) / (BLEND[1] - BLEND[0]), 0, 1)
    share = (share**2 * (3 - 2 * share))[:, None]
    means = (1 - share) * x + share * tube
    along = np.stack([-side * a * np.sin(theta), 0 * s, b * np.cos(theta)], 1)
    flare = np.stack([np.interp(s, grid, np.gradient(skirt.half[:, k], grid)) for k in (0, 1)], 1) / (
        hip - ankle
    )
    down = np.stack([side * flare[:, 0] * np.cos(theta), -np.ones_like(s), flare[:, 1] * np.sin(theta)], 1)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    out = np.cross(along, down)
    out *= np.where((out * np.stack([side * np.cos(theta), 0 * s, np.sin(theta)], 1)).sum(1) < 0, -1.0, 1.0)[
        :, None
    ]
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    frames = np.stack([along, np.cross(out, along), out], -1)
    wider = 1 + share[:, 0] * (
        0.5 * np.hypot(a * np.sin(theta), b * np.cos(theta)) / np.maximum(radius, 0.03) - 1
    )
    return Wrapped(
        where,
        means.astype(np.float32),
        frames.astype(np.float32),
        np.clip(wider, 1.0, 4.0).astype(np.float32),
    )


class DressedSamples(Samples):
    """Samples whose leg points lie on a skirt and move with its weights, for looking colours up in photos.

    Args:
        skin: (P,55) weights of the wrapped samples. mesh, mesh_skin: the same for the body's vertices.
    """

    def __init__(
        self, samples: Samples, wrapped: Wrapped, skin: NDArray, mesh: Wrapped, mesh_skin: NDArray
    ) -> None:
        self.__dict__.update(copy.copy(samples.__dict__))
        self._under = samples
        self._wrapped, self._skin, self._mesh, self._mesh_skin = wrapped, skin, mesh, mesh_skin

    def posed(
        self, betas: Any, pose: Any, transl: Any, expression: Any, offset: NDArray[np.floating] | None = None
    ) -> list[PosedTexels]:
        """As :meth:`BodyPoints.posed`, with the skirt in place of the legs."""
        out = self._under.posed(betas, pose, transl, expression, offset)
        transforms = self.transforms(betas, pose, transl, expression)
        shifts = array(transl).astype(np.float32)
        for texels, moved, shift in zip(out, transforms, shifts, strict=True):
            blend = np.einsum("pj,jab->pab", self._skin, moved)
            place = np.concatenate([self._wrapped.means, np.ones((len(blend), 1), np.float32)], 1)
            texels.position[self._wrapped.where] = np.einsum("pab,pb->pa", blend, place)[:, :3] + shift
            normal = np.einsum("pab,pb->pa", blend[:, :3, :3], self._wrapped.frames[:, :, 2])
            texels.normal[self._wrapped.where] = normal / np.linalg.norm(normal, axis=1, keepdims=True)
            blend = np.einsum("pj,jab->pab", self._mesh_skin, moved)
            place = np.concatenate([self._mesh.means, np.ones((len(blend), 1), np.float32)], 1)
            texels.vertices[self._mesh.where] = np.einsum("pab,pb->pa", blend, place)[:, :3] + shift
        return out


@dataclass(frozen=True)
class Dressing:
    """A skirt on one person: its points among the samples and among the body's vertices, with skin weights.

    Attributes:
        points, weights (P,55): of the samples. mesh, mesh_weights (Q,55): of the body's vertices.
        samples: the samples, posed with the skirt.
    """

    skirt: Skirt
    points: Wrapped
    weights: NDArray[np.float32]
    mesh: Wrapped
    mesh_weights: NDArray[np.float32]
    samples: Samples

    def kept(self, keep: NDArray[np.bool_]) -> Dressing:
        """The same when only the samples ``keep`` (N,) remain."""
        of = np.cumsum(keep) - 1
        stay = keep[self.points.where]
        points = Wrapped(
            of[self.points.where[stay]],
            self.points.means[stay],
            self.points.frames[stay],
            self.points.wider[stay],
        )
        return replace(self, points=points, weights=self.weights[stay])


def dress(samples: Samples, refs: References, skirt: Skirt) -> Dressing:
    """Samples and body vertices of the person of ``refs`` (B = 1) laid on the ``skirt`` that was found."""
    betas = refs.betas[0].detach().cpu().float()
    surface = samples._rest(betas)[0].numpy()
    vertices = array(samples.body.rest(betas[None], None)[0]).reshape(-1, 3)
    points, mesh = wrap(skirt, surface, samples.weights), wrap(skirt, vertices, samples.vertex_weights)
    skin = [
        node_weights(p.means, w[p.where], skirt.joints, skirt.top_y, skirt.hem_y)
        for p, w in ((points, samples.weights), (mesh, samples.vertex_weights))
    ]
    return Dressing(
        skirt, points, skin[0], mesh, skin[1], DressedSamples(samples, points, skin[0], mesh, skin[1])
    )
