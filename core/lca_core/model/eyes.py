"""Eyes: eyeballs painted in the person's measured colours, and lids that do not copy them.

An eye is a dozen pixels wide in most clips and the body fit is a millimetre or two off, so copying eye
pixels gives smears that do not survive a turn of the gaze. Instead the colours of sclera and iris are
measured in the frame that shows the head best, and every eyeball is painted with them: a white with a disc
of iris and a pupil around the forward axis. Where no frame shows open eyes, plain white and dark brown are
used. Skin whose pixel may hold a piece of an eye is not copied but continued from the lid around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from lca_core.body.names import ARKIT_INDEX
from lca_core.model.density import EYE_JOINTS, Samples, lid_rims
from lca_core.model.raster import depth_buffer, sample_bilinear
from lca_core.model.references import Source
from lca_core.model.surface import BodyPoints, array

WINDOW_PIXEL = 0.0004
"""Metres per pixel of the close look at the eyes."""
WINDOW_MARGIN = 0.012
LID_MARGIN = 0.0018
"""Error of a good fit: skin this near to an open eye may show the eye."""
LID_TRAVEL = 0.001
"""Metres that skin moves when the eyes close to count as lid."""
LID_NEIGHBOURS, LID_CONTRAST = 128, 0.07
"""How many Gaussians around a place on the closed lid agree on its brightness, and the share by which it may
differ from them; at twice that it takes theirs."""
LID_FOLDED, LID_REACH, LID_SKIN = (0.001, 0.003), 0.01, 0.88
"""Metres of travel between which lid skin goes from seen to folded away behind the open eye; metres around
the lid that say what its skin is like; least brightness of that skin over its median."""
LID_NEAR, LID_BELOW = 0.005, 0.85
"""Metres over which the lid takes the skin beside the open eye; how far its rim takes that under it once
closed."""
LASHES, LASH_M = 0.5, 0.0014
"""How much darker than skin the rim of the upper lid is, and the metres from it over which that fades."""
FOLD_DEPTH = 0.0025
"""Metres behind the nearest surface from which skin around the eyes counts as hidden."""
IRIS_RADIUS, PUPIL_RADIUS = 0.0061, 0.0021
IRIS_SHARE, WHITE_SHARE = (0.15, 0.45), 0.75
"""Ranks of brightness, 0-1, between which the pixels of an open eye are iris, and from which on white."""
WHITE, BROWN = (0.80, 0.77, 0.75), (0.23, 0.15, 0.10)
LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class EyeColors:
    """sRGB 0-1 of white and iris; ``measured`` is the number of pixels behind them, 0 = assumed."""

    white: NDArray[np.floating]
    iris: NDArray[np.floating]
    measured: int


@dataclass
class _Window:
    """Where open eyes are in one view: inside and outside distance and depth in metres (h,w), its camera."""

    inside: NDArray[np.float32]
    outside: NDArray[np.float32]
    depth: NDArray[np.float32]
    K: NDArray[np.float64]


class EyeGuard:
    """Watches the eyes while views are sampled (``sample_points(guard=...)``), then paints them.

    Args:
        points: the samples about to be looked up; without eyeballs (another body) nothing happens.
    """

    def __init__(self, points: Samples) -> None:
        self._points = points
        part = getattr(points.body, "part", None)
        self._ball_faces = self._other_faces = np.zeros((0, 3), np.int32)
        self._factors: dict[int, NDArray[np.float32]] = {}
        self._pixels: dict[int, tuple[NDArray[np.floating], float]] = {}
        self._near = np.zeros(0, np.int64)
        if part is None or not points.eyes.any():
            return
        ball = array(part)[points.faces].min(1) >= 2
        head = np.isin(points.faces, points.head_vertices).all(1)
        self._ball_faces = np.ascontiguousarray(points.faces[ball])
        self._other_faces = np.ascontiguousarray(points.faces[~ball & head])
        self._vertices = np.unique(self._ball_faces)
        self._near = np.nonzero(skin_around_eyes(points, 0.04))[0]

    def mistaken(self, ranks: NDArray[np.integer]) -> NDArray[np.float32]:
        """How likely the best view of the face (lowest of ``ranks`` [N]) shows a point as eye, 0-1 [T]."""
        factor = self._factors.get(int(np.argmin(ranks)))
        return np.zeros(self._points.count, np.float32) if factor is None else 1 - factor

    def __call__(
        self, view: int, mesh: NDArray[np.floating], points: NDArray[np.floating], source: Source
    ) -> NDArray[np.float32]:
        """Trust factor [T] of the points of one view; remembers the pixels of open eyes."""
        factor = np.ones(len(points), np.float32)
        window = self._look(mesh, source.K) if len(self._ball_faces) else None
        if window is None:
            return factor
        depth = float(np.median(mesh[self._vertices, 2]))
        pixel = depth / float(source.K[0, 0])
        near = points[self._near]
        away = _read(window.outside, near, window.K)
        margin = max(LID_MARGIN, pixel)
        factor[self._near] = np.clip((away - margin) / (0.5 * margin), 0, 1) * _in_sight(window, near)
        self._factors[view] = factor
        self._pixels[view] = _eye_pixels(window, source, pixel)
        return factor

    def _look(self, mesh: NDArray[np.floating], K: NDArray[np.floating]) -> _Window | None:
        eyes = mesh[self._vertices]
        if eyes[:, 2].min() < 0.1:
            return None
        low, high = eyes[:, :2].min(0) - WINDOW_MARGIN, eyes[:, :2].max(0) + WINDOW_MARGIN
        z = float(np.median(eyes[:, 2]))
        width, height = np.ceil((high - low) / WINDOW_PIXEL).astype(int) + 1
        f = z / WINDOW_PIXEL
        # A camera with the axes of the picture, whose window lies around the eyes.
        middle = (low + high) / 2 / z * f
        k = np.array([[f, 0, width / 2 - middle[0]], [0, f, height / 2 - middle[1]], [0, 0, 1.0]])
        pixels = _project(mesh, k)
        balls = depth_buffer(pixels, self._ball_faces, int(height), int(width))
        others = depth_buffer(pixels, self._other_faces, int(height), int(width))
        open_eye = balls < others
        if open_eye.sum() * WINDOW_PIXEL**2 < 4e-6:
            return None
        return _Window(
            (ndimage.distance_transform_edt(open_eye) * WINDOW_PIXEL).astype(np.float32),
            (ndimage.distance_transform_edt(~open_eye) * WINDOW_PIXEL).astype(np.float32),
            np.minimum(balls, others),
            k,
        )

    def colors(self, ranks: NDArray[np.integer], skin: NDArray[np.floating]) -> EyeColors:
        """Colours of white and iris from the best view with open eyes.

        Args:
            ranks: [N] of the views for the face, 0 = best. skin: [3] sRGB of the skin around the eyes, which
                says how bright the light is.
        """
        light = float(np.clip(skin @ LUMA / 0.62, 0.55, 1.2))
        white, iris = np.array(WHITE) * min(light, 1.1), np.array(BROWN) * light
        best, found = 0.0, np.zeros((0, 3))
        for view, (pixels, openness) in self._pixels.items():
            value = np.sqrt(len(pixels)) * openness * 0.7 ** float(ranks[view])
            if value > best:
                best, found = value, pixels
        if len(found) < 8:
            return EyeColors(white, iris, 0)
        bright = found @ LUMA
        order = np.argsort(bright)
        # The darkest are pupil and lashes.
        share = (np.array((*IRIS_SHARE, WHITE_SHARE)) * len(order)).astype(int)
        seen_iris, seen_white = found[order[share[0] : share[1]]].mean(0), found[order[share[2] :]].mean(0)
        # Blur mixes the white with lashes and lids: it is never darker than the skin, and nearly grey.
        level = float(np.clip(max(seen_white @ LUMA, 1.08 * (skin @ LUMA)), 0.42, 0.88))
        grey = seen_white / max(float(seen_white @ LUMA), 1e-3)
        warm = np.array(WHITE) / (np.array(WHITE) @ LUMA)
        white = np.clip(level * (0.6 * warm + 0.4 * np.clip(grey, 0.9, 1.15)), 0, 1)
        dark = float(np.clip(seen_iris @ LUMA, 0.08, 0.5 * level))
        tint = np.clip(seen_iris / max(float(seen_iris @ LUMA), 1e-3), 0.5, 1.6)
        return EyeColors(white, np.clip(dark * tint, 0, 1), len(found))


def skin_around_eyes(points: BodyPoints, reach: float) -> NDArray[np.bool_]:
    """Points [T] within ``reach`` metres of an eye's centre on the mean body, the eyeballs left out."""
    position, _, joints = points._rest(torch.zeros(50))
    away = np.linalg.norm(position.numpy()[:, None] - joints.numpy()[list(EYE_JOINTS)][None], axis=2).min(1)
    skin = points.part == 0 if isinstance(points, Samples) else np.ones(points.count, bool)
    return (away < reach) & skin


def lids(points: BodyPoints) -> NDArray[np.bool_]:
    """Skin [T] that slides over the eyes when they close."""
    moved = points.rest_corrective(torch.zeros(1, 55, 3), _blink())[0]
    return (moved.norm(dim=1) > LID_TRAVEL).numpy() & skin_around_eyes(points, 0.04)


def even_lids(
    points: BodyPoints,
    color: NDArray[np.floating],
    around: NDArray[np.bool_],
    known: NDArray[np.integer],
) -> NDArray[np.float32]:
    """Colours [T,3] without the lashes and specks of white that a fit off by some millimetres leaves on lids.

    A median over the skin beside each place of the *closed* lid, where such specks would stretch to streaks.
    color [T,3] sRGB; around [T]: the skin of the eyes' neighbourhood; known: indices of skin seen beside the
    lids. What is folded away behind an open eye goes from the colour of the skin over it to that of
    what it closes upon, because all that a view saw there was shade and lashes; its rim is then darkened.
    """
    opened = points._rest(torch.zeros(50))[0].numpy()
    shut = opened + points.rest_corrective(torch.zeros(1, 55, 3), _blink())[0].numpy()
    lid, skin = np.nonzero(lids(points))[0], np.nonzero(around)[0]
    out = color.astype(np.float32).copy()
    if not len(lid):
        return out
    near = skin[cKDTree(shut[skin]).query(shut[lid], min(LID_NEIGHBOURS, len(skin)))[1]]
    bright = color @ LUMA
    middle = np.median(bright[near], axis=1, keepdims=True)
    usual = np.abs(bright[near] / np.maximum(middle, 0.02) - 1) < LID_CONTRAST
    even = (color[near] * usual[..., None]).sum(1) / np.maximum(usual.sum(1), 1)[:, None]
    off = np.abs(bright[lid] / np.maximum(middle[:, 0], 0.02) - 1)
    part = np.clip((off - LID_CONTRAST) / LID_CONTRAST, 0, 1)[:, None]
    out[lid] = part * even + (1 - part) * out[lid]
    beside = np.setdiff1d(known, lid)
    if len(beside):
        # Brows and lashes beside the lid are no skin.
        close = cKDTree(opened[lid]).query(opened[beside])[0] < LID_REACH
        usual_skin = float(np.median(bright[beside[close] if close.any() else beside]))
        beside = beside[bright[beside] > LID_SKIN * usual_skin]
        sure = np.ones(len(out))
        above = continue_skin(opened, out, sure, lid, beside, LID_NEAR)
        below = continue_skin(shut, out, sure, lid, beside, LID_REACH)
        travel = np.linalg.norm(shut[lid] - opened[lid], axis=1)[:, None]
        share = LID_BELOW * travel / travel.max()
        even = (1 - share) * above + share * below
        even *= 1 - LASHES * _on_rim(points, shut[lid])[:, None]
        low, high = LID_FOLDED
        part = np.clip((travel - low) / (high - low), 0, 1)
        out[lid] = part * even + (1 - part) * out[lid]
    return out


def _blink() -> torch.Tensor:
    """The expression [1,52] that closes both eyes."""
    closed = torch.zeros(1, 52)
    closed[0, [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]] = 1
    return closed


def _on_rim(points: BodyPoints, place: NDArray[np.floating]) -> NDArray[np.float64]:
    """How near places [P,3] of closed lids are to the rim of the upper lid, where lashes grow, 0-1."""
    ends = lid_rims(points)
    if not len(ends):
        return np.zeros(len(place))
    opened, shut = (array(points.body.rest(torch.zeros(1, 50), e)[0])[0] for e in (None, _blink()))
    part = np.linspace(0, 1, 9)[:, None, None]
    along, drop = (
        ((1 - part) * v[ends[:, 0]] + part * v[ends[:, 1]]).reshape(-1, 3) for v in (shut, opened - shut)
    )
    low, high = LID_FOLDED
    upper = np.clip((drop[:, 1] - low) / (high - low), 0, 1)
    away, nearest = cKDTree(along).query(place)
    return np.asarray(upper[nearest] * np.exp(-np.square(away / LASH_M)), np.float64)


def paint_eyes(points: Samples, colors: EyeColors) -> NDArray[np.float32]:
    """sRGB [E,3] of the eyeball points (``points.eyes``), looking straight ahead."""
    position, _, joints = points._rest(torch.zeros(50))
    eyes = points.eyes
    centre = joints.numpy()[np.where(points.part[eyes] == 2, *EYE_JOINTS)]
    away = position.numpy()[eyes] - centre
    radius = np.linalg.norm(away, axis=1)
    across = np.hypot(away[:, 0], away[:, 1])
    across = np.where(away[:, 2] > 0, across, 2 * radius - across)
    soft = 0.35 * points.typical_spacing()[eyes] + 2e-4

    def within(limit: float) -> NDArray[np.floating]:
        return (1 / (1 + np.exp((across - limit) / soft)))[:, None]

    iris = colors.iris * (1.15 - 0.45 * np.clip(across / IRIS_RADIUS, 0, 1)[:, None] ** 3)
    # The white darkens towards the corners, where lids shade it.
    shade = 1 - 0.18 * np.clip((across - IRIS_RADIUS) / (0.8 * radius - IRIS_RADIUS), 0, 1)[:, None] ** 2
    shade = shade * (1 - 0.10 * np.clip(away[:, 1] / IRIS_RADIUS, 0, 1)[:, None])
    pupil = np.minimum(colors.iris, 0.07)
    in_iris, in_pupil = within(IRIS_RADIUS), within(PUPIL_RADIUS)
    out = in_pupil * pupil + (1 - in_pupil) * (in_iris * iris + (1 - in_iris) * colors.white * shade)
    return np.clip(out, 0, 1).astype(np.float32)


def continue_skin(
    position: NDArray[np.floating],
    color: NDArray[np.floating],
    trust: NDArray[np.floating],
    holes: NDArray[np.integer],
    known: NDArray[np.integer],
    reach: float = 0.005,
) -> NDArray[np.float32]:
    """Colours [H,3] of the points ``holes`` continued from the ``known`` points around them.

    position [T,3] m, color [T,3], trust [T].
    """
    if not len(holes) or not len(known):
        return color[holes].astype(np.float32)
    distance, nearest = cKDTree(position[known]).query(position[holes], min(48, len(known)))
    distance, nearest = distance.reshape(len(holes), -1), nearest.reshape(len(holes), -1)
    # The nearest counts most, wherever it lies: the bump is centred on its distance.
    weight = np.exp(-0.5 * np.square((distance - distance[:, :1]) / reach)) * (1e-3 + trust[known][nearest])
    return ((color[known][nearest] * weight[..., None]).sum(1) / weight.sum(1)[:, None]).astype(np.float32)


def _eye_pixels(window: _Window, source: Source, pixel: float) -> tuple[NDArray[np.float64], float]:
    """sRGB [P,3] of the frame's pixels well inside the open eyes, and how open they are, 0-1."""
    h, w = window.inside.shape
    zoom = float(source.K[0, 0] / window.K[0, 0])
    x0 = (0 - window.K[0, 2]) * zoom + source.K[0, 2]
    y0 = (0 - window.K[1, 2]) * zoom + source.K[1, 2]
    xs = np.arange(max(0, int(x0)), min(source.image.shape[1], int(x0 + w * zoom) + 1))
    ys = np.arange(max(0, int(y0)), min(source.image.shape[0], int(y0 + h * zoom) + 1))
    if not len(xs) or not len(ys):
        return np.zeros((0, 3)), 0.0
    gx, gy = np.meshgrid(xs, ys)
    at = np.stack([(gx.ravel() + 0.5 - x0) / zoom, (gy.ravel() + 0.5 - y0) / zoom], 1).astype(np.float32)
    depth = sample_bilinear(np.ascontiguousarray(window.inside[..., None]), at)[:, 0]
    chosen = depth > max(0.6 * pixel, 8e-4)
    if chosen.sum() < 8:
        chosen = depth > 4e-4
    colors = source.image[gy.ravel()[chosen], gx.ravel()[chosen]].astype(np.float64) / 255
    # An open eye of an adult is 9 mm high: its widest inscribed circle has a radius of about 4.5 mm.
    return colors, float(np.clip(window.inside.max() / 0.0045, 0, 1))


def _in_sight(window: _Window, points: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Camera points [T,3] that no lid or brow hides: the inner side of a fold shows the fold's outside."""
    at = _project(points, window.K)
    h, w = window.depth.shape
    x, y = np.floor(at[:, 0]).astype(int), np.floor(at[:, 1]).astype(int)
    within = (x >= 0) & (y >= 0) & (x < w) & (y < h)
    nearest = window.depth[np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)]
    return ~within | (points[:, 2] <= nearest + FOLD_DEPTH)


def _project(points: NDArray[np.floating], K: NDArray[np.floating]) -> NDArray[np.float32]:
    z = np.maximum(points[:, 2], 1e-3)
    return np.stack(
        [points[:, 0] / z * K[0, 0] + K[0, 2], points[:, 1] / z * K[1, 1] + K[1, 2], points[:, 2]], 1
    ).astype(np.float32)


def _read(
    image: NDArray[np.float32], points: NDArray[np.floating], K: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Image (h,w) at camera points [T,3]; what projects outside the window is far away (1 m)."""
    at = _project(points, K)
    h, w = image.shape
    within = (at[:, 0] > 0) & (at[:, 1] > 0) & (at[:, 0] < w) & (at[:, 1] < h) & (at[:, 2] > 0.1)
    value = sample_bilinear(np.ascontiguousarray(image[..., None]), np.ascontiguousarray(at))[:, 0]
    return np.where(within, value, 1.0).astype(np.float32)
