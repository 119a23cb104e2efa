"""Procedural garments: tops, leggings, shorts, trousers, skirts and the upper half of dresses.

In: a T-pose base body (19158 vertices, helpers included), its joints and a :class:`Cut` (a kind and its
numbers). Out: a :class:`Fitted` item cut with clean edges from the CC0 helper meshes "tights" and "skirt",
eased away from the body and hung straight where the cloth is loose. Texture coordinates are cylinder charts
(torso, two arms, two legs); :func:`cloth_coordinates` tells a painter which place of the garment each texel
shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from lca_core.body.names import JOINT_INDEX
from lca_core.data.garments import Fitted
from lca_core.data.library import BASE_VERTICES, Proxy, array, extended_body
from lca_core.data.render import vertex_normals

TOPS = ("tank", "tee", "longsleeve", "turtleneck", "sweater", "vneck", "tunic")
BOTTOMS = ("leggings", "shorts", "trousers", "wide", "bell")
SKIRTS = ("skirt", "dress")
_FINGERS = ("thumb", "index", "middle", "ring", "pinky")
_TIGHT = 0.08
TURN = 0.86
"""Fraction of a chart's width that one turn around the limb takes; the rest repeats across the seam."""
# Atlas rectangles (u0, v0, u1, v1) of the charts: torso, left arm or leg, right arm or leg.
CHARTS = {
    "upper": ((0.0, 0.42, 1.0, 1.0), (0.0, 0.0, 0.5, 0.4), (0.5, 0.0, 1.0, 0.4)),
    "lower": ((0.0, 0.72, 1.0, 1.0), (0.0, 0.0, 0.5, 0.7), (0.5, 0.0, 1.0, 0.7)),
    "skirt": ((0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)),
}


@dataclass(frozen=True)
class Cut:
    """Shape of one procedural garment; lengths in metres on a body of mean size.

    Attributes:
        kind: one of ``TOPS``, ``BOTTOMS``, ``SKIRTS`` ("dress" is the skirt of a dress).
        ease: distance from the body. looseness: 0 follows the body, 1 hangs straight down.
        sleeve: 0 none, 1 to the wrist. hem: height of the lower edge over the pelvis joint for tops and
            skirts; for trousers the fraction of the leg that is covered. rise: height of the upper edge of
            bottoms and skirts over the pelvis joint.
        neck: depth of the neckline below the neck. flare: extra radius of a skirt at 0.8 m, as a fraction.
        folds: waves around a skirt's hem, 0 for none.
    """

    kind: str
    ease: float = 0.006
    looseness: float = 0.2
    sleeve: float = 0.35
    hem: float = -0.03
    rise: float = 0.1
    neck: float = 0.03
    flare: float = 0.0
    folds: int = 0


@cache
def _tights() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    faces = array("base/tights_faces").astype(np.int64)
    return np.unique(faces), faces


@cache
def _skirt() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    faces = array("base/skirt_faces").astype(np.int64)
    return np.unique(faces), faces


@cache
def _limb_weights() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(19158,) share of arm and hand joints and of leg joints in the skin weights."""
    w = extended_body().weights
    limb = {"arm": ("shoulder", "elbow", "wrist", *_FINGERS), "leg": ("hip", "knee", "ankle", "foot")}
    arm, leg = (
        [i for n, i in JOINT_INDEX.items() if n.partition("_")[2].rstrip("123") in limb[k]]
        for k in ("arm", "leg")
    )
    return w[:, arm].sum(1), w[:, leg].sum(1)


@dataclass(frozen=True)
class Landmarks:
    """Heights and axes of one T-pose body, metres."""

    joints: NDArray[np.float64]
    size: float
    crotch: float

    @staticmethod
    def of(body: NDArray, joints: NDArray) -> Landmarks:
        """Measure ``body`` (19158,3) with its rest joints (55,3)."""
        j = joints.astype(np.float64)
        size = (j[JOINT_INDEX["neck"], 1] - j[JOINT_INDEX["left_ankle"], 1]) / 1.375
        ids, _ = _tights()
        p = body[ids]
        middle = p[(np.abs(p[:, 0]) < 0.012) & (p[:, 1] < j[0, 1] + 0.1)]
        return Landmarks(j, float(size), float(middle[:, 1].min()))

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        return self.joints[JOINT_INDEX[name]]


def _clip(
    faces: NDArray, field: NDArray, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Cut a triangle mesh along field = 0 and keep field > 0.

    Returns new faces (F,3), and for each new vertex the two source vertices (N,2) and the weight of the
    first.
    """
    inside = field > 0
    keep = faces[inside[faces].all(1)]
    new: list[list[int]] = []
    made: dict[tuple[int, int], int] = {}
    pairs: list[tuple[int, int]] = []
    share: list[float] = []

    def cut(a: int, b: int) -> int:
        key = (min(a, b), max(a, b))
        if key not in made:
            made[key] = count + len(pairs)
            pairs.append((a, b))
            share.append(float(field[b] / (field[b] - field[a])))
        return made[key]

    for face in faces[inside[faces].any(1) & ~inside[faces].all(1)]:
        f = face.tolist()
        while not (inside[f[0]] and not inside[f[2]]):
            f = [f[1], f[2], f[0]]
        a, b, c = f
        if inside[b]:
            bc, ac = cut(b, c), cut(a, c)
            new += [[a, b, bc], [a, bc, ac]]
        else:
            new.append([a, cut(a, b), cut(a, c)])
    allf = np.concatenate([keep, np.array(new, np.int64).reshape(-1, 3)])
    used, compact = np.unique(allf, return_inverse=True)
    first = np.stack([np.arange(count)] * 2, 1)
    source = np.concatenate([first, np.array(pairs, np.int64).reshape(-1, 2)])[used]
    weight = np.concatenate([np.ones(count), np.array(share)])[used]
    return compact.reshape(-1, 3), source, weight


def field(cut: Cut, p: NDArray, ids: NDArray, marks: Landmarks) -> NDArray[np.float64]:
    """Signed depth inside the garment (N,), metres, of T-pose points ``p`` that are base vertices ``ids``."""
    arm, _ = _limb_weights()
    arm_w = arm[ids]
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    s = marks.size
    if cut.kind in BOTTOMS:
        ankle, hip = marks["left_ankle"][1], marks["left_hip"][1]
        end = hip + cut.hem * (ankle - hip)
        # Shorts end above the crotch never.
        end = min(end, marks.crotch - 0.05 * s) if cut.kind != "leggings" or cut.hem < 0.5 else end
        low = y - end
        return np.minimum(low, marks["pelvis"][1] + cut.rise * s - y) + np.where(arm_w > 0.3, -1.0, 0.0)
    shoulder, wrist = marks["left_shoulder"], marks["left_wrist"]
    if cut.sleeve <= 0:
        side = (0.62 - arm_w) * 0.12 * s
    else:
        reach = shoulder[0] + cut.sleeve * (wrist[0] - shoulder[0])
        side = np.where(arm_w > 0.3, reach - x, 0.08)
    neck = marks["neck"]
    if cut.kind == "turtleneck":
        collar = neck[1] + 0.055 * s - (y + 0.35 * (z - neck[2]))
    else:
        collar = neck[1] - (y + 0.75 * (z - neck[2])) + 0.012 * s
        front = z > neck[2] - 0.01
        deep = neck[1] - 0.06 * s - cut.neck * s
        if cut.kind == "vneck":
            notch = np.where(front, x - 0.62 * (y - deep), 1.0)
        else:
            notch = np.where(front, (np.hypot(x / 1.15, y - neck[1] - 0.02 * s) - (neck[1] - deep)), 1.0)
        collar = np.minimum(collar, notch) if cut.neck > 0.03 else collar
    if cut.kind == "tank":
        # Straps: the neckline is wider at the shoulders too.
        wide = np.hypot(x / 0.09, (y - neck[1]) / 0.10) - 1.0
        collar = np.minimum(collar, wide * 0.05 * s)
    # Only around the neck: the tilted plane would cut the upper arms as well.
    collar = collar + 2.0 * np.clip(x - 0.105 * s, 0, None)
    low = y - (marks["pelvis"][1] + cut.hem * s)
    return np.minimum(np.minimum(collar, low), side)


class _Profile:
    """Outline of a limb as radius over (length along the limb, angle around it).

    ``hang`` lets cloth fall: the radius may shrink at most ``slope`` metres per metre of length.
    """

    def __init__(self, along: NDArray, angle: NDArray, radius: NDArray, rows: int = 24, turns: int = 28):
        self.low, self.high = float(along.min()), float(along.max())
        self.rows, self.turns = rows, turns
        grid = np.zeros((rows, turns))
        i = np.clip(((along - self.low) / (self.high - self.low + 1e-9) * rows).astype(int), 0, rows - 1)
        k = ((angle / (2 * np.pi)) % 1.0 * turns).astype(int) % turns
        np.maximum.at(grid, (i, k), radius)
        empty = grid == 0
        tiled = np.concatenate([empty] * 3, 1)
        index = ndimage.distance_transform_edt(tiled, return_distances=False, return_indices=True)
        full = np.concatenate([grid] * 3, 1)[index[0], index[1]]
        self.grid = full[:, turns : 2 * turns]

    def hang(self, slope: float, start: float, smooth: float) -> None:
        """Hang from length ``start`` on and smooth the outline around the limb by ``smooth`` bins."""
        step = (self.high - self.low) / self.rows
        first = int(np.clip((start - self.low) / step, 0, self.rows - 1))
        for r in range(first + 1, self.rows):
            self.grid[r] = np.maximum(self.grid[r], self.grid[r - 1] - slope * step)
        if smooth > 0:
            soft = ndimage.gaussian_filter(self.grid, (0.8, smooth), mode=("nearest", "wrap"))
            self.grid[first:] = np.maximum(soft, self.grid - 0.004)[first:]

    def __call__(self, along: NDArray, angle: NDArray) -> NDArray[np.float64]:
        r = (along - self.low) / (self.high - self.low + 1e-9) * self.rows - 0.5
        k = (angle / (2 * np.pi)) % 1.0 * self.turns - 0.5
        wide = np.concatenate([self.grid[:, -2:], self.grid, self.grid[:, :2]], 1)
        return ndimage.map_coordinates(wide, [np.clip(r, 0, self.rows - 1), k + 2], order=1, mode="nearest")


def _axis(marks: Landmarks, names: tuple[str, ...], along: NDArray, dim: int) -> NDArray[np.float64]:
    """Centre (N,3) of a limb axis through joints ``names`` at coordinates ``along`` of dimension ``dim``."""
    points = np.stack([marks[n] for n in names])
    order = np.argsort(points[:, dim])
    return np.stack([np.interp(along, points[order, dim], points[order, k]) for k in range(3)], 1)


def _ease(
    cut: Cut, v: NDArray, chart: NDArray, body: NDArray, marks: Landmarks, *, torso_centre: float
) -> NDArray[np.float64]:
    """Move garment vertices (N,3) from the tights to where the cloth hangs. ``chart`` (N,): 0 torso, 1 left,
    2 right."""
    out = v.astype(np.float64).copy()
    ids, _ = _tights()
    tights = body[ids].astype(np.float64)
    arm, _ = _limb_weights()
    upper = cut.kind in TOPS
    torso = chart == 0
    slope = float(np.interp(cut.looseness, [0, 0.3, 1], [8.0, 0.6, 0.0]))
    if torso.any():
        own = (arm[ids] < 0.4) & (tights[:, 1] > marks.crotch - 0.02)
        q = tights[own]
        profile = _Profile(-q[:, 1], np.arctan2(q[:, 0], q[:, 2] - torso_centre),
                           np.hypot(q[:, 0], q[:, 2] - torso_centre))  # fmt: skip
        start = -(marks["left_shoulder"][1] - 0.13 * marks.size) if upper else -(marks["pelvis"][1])
        profile.hang(slope, start, 1.0 + 1.5 * cut.looseness)
        if cut.looseness <= _TIGHT:
            profile.grid[:] = 0.0
        p = out[torso]
        angle = np.arctan2(p[:, 0], p[:, 2] - torso_centre)
        radius = np.hypot(p[:, 0], p[:, 2] - torso_centre)
        hull = np.where(-p[:, 1] > start, profile(-p[:, 1], angle), 0)
        # The crotch lies far inside the outline of the hips and stays where it is.
        follow = np.clip((radius / np.maximum(hull, 1e-6) - 0.55) / 0.25, 0, 1)
        target = radius + follow * np.maximum(hull - radius, 0) + cut.ease
        out[torso, 0] = target * np.sin(angle)
        out[torso, 2] = torso_centre + target * np.cos(angle)
    for side, name, sign in ((1, "left", 1.0), (2, "right", -1.0)):
        mine = chart == side
        if not mine.any():
            continue
        p = out[mine]
        if upper:
            along = sign * p[:, 0]
            centre = _axis(marks, (f"{name}_shoulder", f"{name}_elbow", f"{name}_wrist"), p[:, 0], 0)
            d = p[:, 1:] - centre[:, 1:]
            r = np.hypot(d[:, 0], d[:, 1])
            length = np.clip((along - marks["left_shoulder"][0]) / 0.45, 0, 1)
            loose = cut.ease + 0.022 * cut.looseness * (0.3 + length)
            out[mine, 1:] = centre[:, 1:] + d * ((r + loose) / np.maximum(r, 1e-6))[:, None]
            # Cloth hangs below the arm, a little.
            out[mine, 1] -= 0.012 * cut.looseness * length * (d[:, 0] < 0)
        else:
            joints = (f"{name}_hip", f"{name}_knee", f"{name}_ankle")
            own = (tights[:, 1] < marks.crotch + 0.02) & (sign * tights[:, 0] > 0)
            q = tights[own]
            c = _axis(marks, joints, q[:, 1], 1)
            profile = _Profile(-q[:, 1], np.arctan2(q[:, 0] - c[:, 0], q[:, 2] - c[:, 2]),
                               np.hypot(q[:, 0] - c[:, 0], q[:, 2] - c[:, 2]))  # fmt: skip
            profile.hang(slope, -marks.crotch, 0.6 + cut.looseness)
            if cut.looseness <= _TIGHT:
                profile.grid[:] = 0.0
            c = _axis(marks, joints, p[:, 1], 1)
            d = np.stack([p[:, 0] - c[:, 0], p[:, 2] - c[:, 2]], 1)
            angle, r = np.arctan2(d[:, 0], d[:, 1]), np.hypot(d[:, 0], d[:, 1])
            target = np.maximum(r, profile(-p[:, 1], angle)) + cut.ease
            knee, ankle = marks["left_knee"][1], marks["left_ankle"][1]
            below = np.clip((knee - p[:, 1]) / (knee - ankle), 0, 1.1)
            target *= 1 + cut.flare * below
            fade = np.clip((marks.crotch - p[:, 1]) / 0.06, 0, 1)
            target = r + cut.ease + fade * (target - r - cut.ease)
            new_x = c[:, 0] + target * np.sin(angle)
            # The two legs do not pass through each other at rest.
            gap = 0.003
            out[mine, 0] = np.where(sign * p[:, 0] > gap, sign * np.maximum(sign * new_x, gap), p[:, 0])
            out[mine, 2] = c[:, 2] + target * np.cos(angle)
    return out


def _skirt_shape(cut: Cut, v: NDArray, marks: Landmarks, centre: float) -> NDArray[np.float64]:
    """Skirt vertices (N,3) with ease, flare and folds."""
    out = v.astype(np.float64).copy()
    top = marks["pelvis"][1] + cut.rise * marks.size
    depth = np.clip(top - v[:, 1], 0, None)
    angle, r = np.arctan2(v[:, 0], v[:, 2] - centre), np.hypot(v[:, 0], v[:, 2] - centre)
    wave = 1 + (0.045 * np.cos(cut.folds * angle) * np.clip(depth / 0.5, 0, 1) if cut.folds else 0.0)
    r = r * (1 + cut.flare * depth / 0.8) * wave + cut.ease
    out[:, 0], out[:, 2] = r * np.sin(angle), centre + r * np.cos(angle)
    return out


def _cling(v: NDArray, body: NDArray, ease: float) -> NDArray[np.float64]:
    """Garment vertices (N,3) drawn in towards the skin until ``ease`` metres remain, at most 8 mm."""
    faces = array("base/skin_faces").astype(np.int64)
    skin = np.unique(faces)
    near = skin[cKDTree(body[skin]).query(v)[1]]
    n = vertex_normals(body, faces)[near]
    gap = ((v - body[near]) * n).sum(1) - ease
    return np.asarray(v - np.clip(gap, 0.0, 0.008)[:, None] * n)


def tailor(cut: Cut, body: NDArray[np.float32], joints: NDArray) -> Fitted:
    """The garment of ``cut`` on ``body`` (19158,3) with rest joints (55,3), in T-pose.

    ``hidden`` of its item marks skin at least 2.5 cm inside the edges of cloth that follows the body.
    """
    marks = Landmarks.of(body, joints)
    skirt = cut.kind in SKIRTS
    ids, faces = _skirt() if skirt else _tights()
    local = np.searchsorted(ids, faces)
    p = body[ids].astype(np.float64)
    low, high = marks["pelvis"][1] + cut.hem * marks.size, marks["pelvis"][1] + cut.rise * marks.size
    phi = np.minimum(p[:, 1] - low, high - p[:, 1]) if skirt else field(cut, p, ids, marks)
    new_faces, source, share = _clip(local, phi, len(ids))
    weight = np.stack([share, 1 - share], 1)
    v = (p[source] * weight[..., None]).sum(1)
    refs = ids[np.concatenate([source, source[:, :1]], 1)]
    ext = extended_body()
    arm, leg = _limb_weights()
    arm_v, leg_v = ((w[ids][source] * weight).sum(1) for w in (arm, leg))
    chart = np.zeros(len(v), np.int64)
    if not skirt:
        limb = (arm_v > 0.55) if cut.kind in TOPS else ((v[:, 1] < marks.crotch) & (leg_v > 0.3))
        chart = np.where(limb, np.where(v[:, 0] > 0, 1, 2), 0)
    centre = float((marks["spine1"][2] + marks["spine3"][2]) / 2 + 0.03)
    eased = (
        _skirt_shape(cut, v, marks, centre)
        if skirt
        else _ease(cut, v, chart, body, marks, torso_centre=centre)
    )
    if not skirt and cut.looseness <= _TIGHT:
        eased = _cling(eased, body, cut.ease)
    uv = _face_uvs(cut, eased, new_faces, chart, marks, centre)
    skin_ids = np.unique(array("base/skin_faces").astype(np.int64))
    hidden = np.zeros(BASE_VERTICES, bool)
    if not skirt:
        hidden[skin_ids] = field(cut, body[skin_ids], skin_ids, marks) > 0.025
    region = np.full(len(new_faces), 1 if cut.kind in TOPS else 2, np.uint8)
    three = np.concatenate([weight, np.zeros((len(v), 1))], 1).astype(np.float32)
    item = Proxy(
        cut.kind, "simulated" if skirt else "procedural", refs, three,
        np.zeros((len(v), 3), np.float32), new_faces, uv, hidden, region,
    )  # fmt: skip
    weights = (ext.weights[ids][source] * weight[..., None].astype(np.float32)).sum(1)
    weights /= weights.sum(1, keepdims=True)
    nearest = np.full(len(v), -1, np.int64)
    return Fitted(item, eased.astype(np.float32), weights, None, nearest)


def atlas_of(cut: Cut) -> str:
    """Which of ``CHARTS`` the garment uses."""
    return "skirt" if cut.kind in SKIRTS else "upper" if cut.kind in TOPS else "lower"


def _face_uvs(
    cut: Cut, v: NDArray, faces: NDArray, chart: NDArray, marks: Landmarks, centre: float
) -> NDArray[np.float32]:
    """Corner uvs (F,3,2), v up: angle around the limb and length along it, in the chart's rectangle."""
    rects = np.array(CHARTS[atlas_of(cut)])
    side = chart[faces]
    face_chart = np.where((side > 0).sum(1) >= 2, side.max(1), 0)
    corners = v[faces]
    uv = np.zeros((len(faces), 3, 2))
    for c in range(3):
        mine = face_chart == c
        if not mine.any():
            continue
        p = corners[mine]
        along, angle = _cylinder(cut, p.reshape(-1, 3), c, marks, centre)
        angle = angle.reshape(-1, 3)
        # Unwrap each face about its first corner, then centre it in the chart.
        angle = angle[:, :1] + (angle - angle[:, :1] + np.pi) % (2 * np.pi) - np.pi
        u0, v0, u1, v1 = rects[c]
        low, high = _reach(cut, c, marks)
        uv[mine, :, 0] = u0 + (u1 - u0) * np.clip(0.5 + TURN * angle / (2 * np.pi), 0.005, 0.995)
        level = np.clip((along.reshape(-1, 3) - low) / (high - low), 0.005, 0.995)
        uv[mine, :, 1] = v0 + (v1 - v0) * (1 - level)
    return uv.astype(np.float32)


def _reach(cut: Cut, chart: int, marks: Landmarks) -> tuple[float, float]:
    """Range of the length coordinate of a chart, metres."""
    s = marks.size
    if chart == 0:
        if cut.kind in TOPS:
            return -(marks["neck"][1] + 0.1 * s), -(marks["pelvis"][1] - 0.2 * s)
        low = -1.0 * s if cut.kind in SKIRTS else -0.35 * s
        return -(marks["pelvis"][1] + 0.25 * s), -(marks["pelvis"][1] + low)
    if cut.kind in TOPS:
        return float(marks["left_shoulder"][0] - 0.08 * s), float(marks["left_wrist"][0] + 0.05 * s)
    return -(marks.crotch + 0.08 * s), -(marks["left_ankle"][1] - 0.08 * s)


def _cylinder(
    cut: Cut, p: NDArray, chart: int, marks: Landmarks, centre: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Length along and angle around the limb (0 = front; top for arms) of points (N,3)."""
    if chart == 0:
        return -p[:, 1], np.arctan2(p[:, 0], p[:, 2] - centre)
    name, sign = ("left", 1.0) if chart == 1 else ("right", -1.0)
    if cut.kind in TOPS:
        c = _axis(marks, (f"{name}_shoulder", f"{name}_elbow", f"{name}_wrist"), p[:, 0], 0)
        return sign * p[:, 0], np.arctan2(p[:, 2] - c[:, 2], p[:, 1] - c[:, 1])
    c = _axis(marks, (f"{name}_hip", f"{name}_knee", f"{name}_ankle"), p[:, 1], 1)
    return -p[:, 1], np.arctan2(p[:, 0] - c[:, 0], p[:, 2] - c[:, 2])


@dataclass(frozen=True)
class ClothCoordinates:
    """Where on the garment each texel of an atlas lies.

    Attributes:
        chart: (H,W) 0 torso, 1 left, 2 right limb, -1 unused. around: (H,W) signed decimetres from the middle
            of the front. up: (H,W) decimetres from the lower end of the chart. angle: (H,W) radians.
    """

    chart: NDArray[np.int64]
    around: NDArray[np.float64]
    up: NDArray[np.float64]
    angle: NDArray[np.float64]


@cache
def cloth_coordinates(atlas: str, size: int = 512) -> ClothCoordinates:
    """Coordinates of the atlas "upper", "lower" or "skirt" for a body of mean size."""
    # Circumference and length of each chart in decimetres on the mean body.
    extent = {
        "upper": ((10.0, 8.4), (3.4, 6.2), (3.4, 6.2)),
        "lower": ((10.0, 6.0), (5.0, 9.0), (5.0, 9.0)),
        "skirt": ((14.0, 12.5), (1.0, 1.0), (1.0, 1.0)),
    }[atlas]
    chart = np.full((size, size), -1)
    around, up, angle = (np.zeros((size, size)) for _ in range(3))
    u = (np.arange(size) + 0.5) / size
    v = 1 - u
    for c, ((u0, v0, u1, v1), (girth, length)) in enumerate(zip(CHARTS[atlas], extent)):
        if u1 <= u0:
            continue
        cols = np.flatnonzero((u >= u0) & (u < u1))
        rows = np.flatnonzero((v >= v0) & (v < v1))
        grid = np.ix_(rows, cols)
        turn = ((u[cols] - u0) / (u1 - u0) - 0.5) / TURN
        chart[grid] = c
        angle[grid] = (2 * np.pi * turn)[None]
        around[grid] = (girth * turn)[None]
        up[grid] = (length * (v[rows] - v0) / (v1 - v0))[:, None]
    return ClothCoordinates(chart, around, up, angle)
