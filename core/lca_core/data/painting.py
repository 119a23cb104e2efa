"""Recolours textures: cloth tints and patterns, hair colours, painted eyes.

In: pack textures, a random generator or explicit colours. Out: uint8 textures. A recoloured cloth keeps the
folds and seams of the original as a luminance layer normalised to mean 1, so dark cloth takes a bright tint
as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from lca_core.body.names import JOINT_INDEX
from lca_core.body.raster import rasterize
from lca_core.data.library import array, base_mesh, extended_body, texture

UNDERWEAR_RGB = (58, 60, 68)
"""Colour of the vest and shorts painted on every skin of the pack."""

TRAIN_PATTERNS = (
    "plain", "plain", "plain", "stripes", "bars", "checks", "plaid", "noise", "block", "emblem", "print",
    "sleeves", "floral", "camo", "chevron", "gradient", "pinstripe",
)  # fmt: skip
HELD_OUT_PATTERNS = ("cells", "dots")
HAIR_COLOURS = {
    "black": (26, 22, 21),
    "dark brown": (52, 36, 27),
    "brown": (88, 60, 40),
    "auburn": (110, 58, 34),
    "dark blond": (140, 108, 70),
    "blond": (188, 154, 104),
    "grey": (138, 134, 130),
    "white": (200, 196, 190),
}
IRIS_COLOURS = {
    "brown": (84, 52, 28),
    "dark brown": (48, 30, 18),
    "hazel": (112, 84, 42),
    "green": (84, 104, 62),
    "blue": (74, 110, 148),
    "light blue": (124, 158, 186),
    "grey": (112, 120, 124),
    "blue green": (70, 118, 122),
}


@dataclass(frozen=True)
class Cloth:
    """How one region of a suit is dyed: sRGB 0-255 colours and a pattern name of the lists above.

    ``original`` keeps the colours of the source texture.
    """

    tint: tuple[int, int, int]
    second: tuple[int, int, int]
    pattern: str = "plain"
    scale: float = 1.0
    original: bool = False


def luminance(rgb: NDArray) -> NDArray:
    """Rec. 709 luma (...,) of (...,3)."""
    return rgb @ np.array([0.2126, 0.7152, 0.0722])


def detail_layer(rgb: NDArray, mask: NDArray, strength: float = 1.0) -> NDArray:
    """Luminance of (H,W,3) divided by its median inside ``mask``, clipped to 0.35-1.5."""
    light = luminance(rgb) + 12.0
    middle = np.median(light[mask]) if mask.any() else 1.0
    return np.clip((light / middle) ** strength, 0.35, 1.5)


def _stripes(p: NDArray, s: float, rng: np.random.Generator) -> NDArray:
    return (np.sin(2 * np.pi * p[..., 1] / (0.8 * s)) > 0.2).astype(float)


def _bars(p: NDArray, s: float, rng: np.random.Generator) -> NDArray:
    return (np.sin(2 * np.pi * p[..., 0] / (0.8 * s)) > 0.6).astype(float)


def _checks(p: NDArray, s: float, rng: np.random.Generator) -> NDArray:
    x, y = (np.sin(2 * np.pi * p[..., k] / (0.9 * s)) for k in (0, 1))
    return (x > 0) * 0.5 + (y > 0) * 0.5


def _noise(p: NDArray, s: float, rng: np.random.Generator) -> NDArray:
    field = ndimage.gaussian_filter(rng.standard_normal(p.shape[:2]), 6 * s, mode="wrap")
    return np.clip(0.5 + 0.5 * field / (field.std() + 1e-9), 0, 1)


def _block(p: NDArray, s: float, rng: np.random.Generator) -> NDArray:
    return (p[..., 1] > rng.uniform(0.45, 0.75) * p[..., 1].max()).astype(float)


def _emblem(p: NDArray, s: float, rng: np.random.Generator) -> NDArray:
    """A disc, ring or bar on the front only (the garment's own forward half)."""
    x, y, z = p[..., 0], p[..., 1] - 0.6 * p[..., 1].max(), p[..., 2]
    shape = int(rng.integers(3))
    r = np.hypot(x, y)
    if shape == 0:
        inside = r < 0.55 * s
    elif shape == 1:
        inside = (r < 0.7 * s) & (r > 0.42 * s)
    else:
        inside = (np.abs(y) < 0.4 * s) & (np.abs(x) < 1.4)
    return (inside & (z > 0)).astype(float)


def _cells(p: NDArray, s: float, rng: np.random.Generator) -> NDArray:
    points = rng.uniform(-4, 8, (int(400 / s), 3))
    flat = p[::2, ::2].reshape(-1, 3)
    value = rng.random(len(points)).round()[cKDTree(points).query(flat)[1]].reshape(p.shape[0] // 2, -1)
    return np.kron(value, np.ones((2, 2)))


def _dots(p: NDArray, s: float, rng: np.random.Generator) -> NDArray:
    q = p[..., :2] / (0.7 * s)
    return (np.linalg.norm(q - np.round(q), axis=-1) < 0.3).astype(float)


def _plaid(p: NDArray, s: float, rng: np.random.Generator) -> NDArray:
    x, y = (np.abs(np.sin(np.pi * p[..., k] / (1.1 * s))) for k in (0, 1))
    thin = ((x < 0.12) | (y < 0.12)) * 0.35
    return np.clip(0.45 * (x > 0.72) + 0.45 * (y > 0.72) + thin, 0, 1)


def _floral(p: NDArray, s: float, rng: np.random.Generator) -> NDArray:
    cell = 0.75 * s
    grid = np.floor(p[..., :2] / cell)
    jitter = np.modf(np.abs(np.sin(grid @ np.array([[12.99, 39.35], [78.23, 11.13]])) * 4375.5))[0]
    d = p[..., :2] - (grid + 0.3 + 0.4 * jitter) * cell
    petals = 0.16 * s * (1 + 0.45 * np.cos(5 * np.arctan2(d[..., 1], d[..., 0]) + 6 * jitter[..., 0]))
    r = np.hypot(d[..., 0], d[..., 1])
    return np.where(r < 0.06 * s, 0.4, (r < petals).astype(float))


def _camo(p: NDArray, s: float, rng: np.random.Generator) -> NDArray:
    field = ndimage.gaussian_filter(rng.standard_normal((p.shape[0] // 2, p.shape[1] // 2)), 4 * s)
    field = np.repeat(np.repeat(field / (field.std() + 1e-9), 2, 0), 2, 1)
    return np.digitize(field, [-0.5, 0.5]) / 2.0


def _chevron(p: NDArray, s: float, rng: np.random.Generator) -> NDArray:
    zigzag = np.abs(p[..., 0] / (0.8 * s) % 2 - 1) * 0.7 * s
    return (np.sin(2 * np.pi * (p[..., 1] + zigzag) / (0.9 * s)) > 0.25).astype(float)


def _gradient(p: NDArray, s: float, rng: np.random.Generator) -> NDArray:
    return np.clip(1.2 - p[..., 1] / (0.75 * p[..., 1].max() + 1e-6), 0, 1)


def _pinstripe(p: NDArray, s: float, rng: np.random.Generator) -> NDArray:
    return 0.6 * (np.sin(2 * np.pi * p[..., 0] / (0.35 * s)) > 0.9)


_PATTERNS: dict[str, Callable[[NDArray, float, np.random.Generator], NDArray]] = {
    "stripes": _stripes, "bars": _bars, "checks": _checks, "noise": _noise, "block": _block,
    "emblem": _emblem, "cells": _cells, "dots": _dots, "plaid": _plaid, "floral": _floral, "camo": _camo,
    "chevron": _chevron, "gradient": _gradient, "pinstripe": _pinstripe,
}  # fmt: skip
PATTERN_NAMES = ("plain", "denim", "print", "sleeves", *_PATTERNS)
"""Every pattern a :class:`Cloth` may name; those without a function are drawn by the garment painter."""


def pattern_blend(cloth: Cloth, place: NDArray, rng: np.random.Generator) -> NDArray[np.float64]:
    """Share of the second colour (H,W) at cloth places (H,W,3): decimetres across and up, then > 0 on the
    front."""
    if cloth.pattern not in _PATTERNS:
        return np.zeros(place.shape[:2])
    return _PATTERNS[cloth.pattern](place, cloth.scale, rng)


def paint_suit(name: str, upper: Cloth, lower: Cloth, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Texture (512,512,3) of suit ``name`` with its upper and lower regions dyed."""
    rgb = texture(name)[..., :3].astype(np.float32)
    region = array(f"suit/{name}/region")
    small = array(f"suit/{name}/place").astype(np.float32) / 255
    place = np.stack(
        [ndimage.zoom(small[..., k], 4, order=1, grid_mode=True, mode="nearest") for k in range(3)], -1
    )
    out = rgb.copy()
    for label, cloth in ((1, upper), (2, lower)):
        mask = region == label
        if cloth.original or not mask.any():
            continue
        colour: NDArray = np.broadcast_to(np.array(cloth.tint, np.float32), rgb.shape)
        if cloth.pattern in _PATTERNS:
            # Decimetres on the A-pose garment: x and z from its middle, y from the region's lower edge.
            local = (place - [0.5, place[mask][:, 1].min(), 0.5]) * array(f"suit/{name}/extent")
            blend = pattern_blend(cloth, local, rng)[..., None]
            colour = colour * (1 - blend) + np.array(cloth.second, np.float32) * blend
        detail = detail_layer(rgb, mask, 0.75)[..., None]
        out = np.where(mask[..., None], colour * detail, out)
    return np.clip(out, 0, 255).astype(np.uint8)


@cache
def _face_texels() -> NDArray[np.bool_]:
    """(512,512) texels of the cheeks and the forehead: head faces that look forward, on the outside."""
    faces, uvs = base_mesh("skin")
    body = extended_body().template
    corner = body[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    forward = normal[:, 2] > 0.5 * np.linalg.norm(normal, axis=1)
    head = extended_body().weights[:, JOINT_INDEX["head"]][faces].min(1) > 0.5
    # Sockets and the mouth's inside lie behind the face.
    centre = corner.mean(1)
    head &= forward & (centre[:, 2] > np.quantile(centre[head & forward, 2], 0.5))
    corners = np.stack([uvs[head][..., 0], 1 - uvs[head][..., 1]], -1) * 512
    mouth = np.unpackbits(array("base/mouth"), count=512 * 512).reshape(512, 512).astype(bool)
    return (rasterize(corners, 512, 512)[0] >= 0) & ~mouth


@cache
def _vest() -> NDArray[np.bool_]:
    """(512,512) texels of the vest painted on every skin, found on fair skins, unlike dark ones."""
    found = np.ones((512, 512), bool)
    for name in ("skin_young_lightskinned_female", "skin_young_lightskinned_male"):
        rgb = texture(name)[..., :3].astype(int)
        found &= np.abs(rgb - np.array(UNDERWEAR_RGB)).max(-1) < 30
    return found


@cache
def skin_tone(name: str) -> float:
    """Median linear luminance of the face in a skin texture."""
    rgb = texture(name)[..., :3].astype(np.float64)
    return float(np.median(luminance(_linear(rgb[~_vest() & _face_texels()] / 255))))


def _linear(x: NDArray) -> NDArray:
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


@cache
def _skin_regions() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Soft masks (512,512) of the scalp and of the beard area on the skin texture."""
    faces, uvs = base_mesh("skin")
    body = extended_body().template
    skin = np.unique(faces)
    p = body[skin]
    scalp_v, beard_v = np.zeros(len(body)), np.zeros(len(body))
    head = p[p[:, 1].argmax()]
    # The hairline: high on the forehead, in front of the ears, low at the nape; ears stay bare.
    line = np.interp(p[:, 2], [-0.05, 0.0, 0.04, 0.1], [0.175, 0.14, 0.095, 0.05])
    scalp_v[skin] = np.clip((p[:, 1] - head[1] + line) / 0.02 + 0.5, 0, 1) * (np.abs(p[:, 0]) < 0.076)
    # Around the mouth and along the jaw: in front of the ears, below the nose, above the throat.
    nose = p[(np.abs(p[:, 0]) < 0.01) & (p[:, 1] > head[1] - 0.2)][:, 2].max()
    tip = p[np.abs(p[:, 2] - nose).argmin()]
    level = tip[1] - 0.008 - p[:, 1]
    cheek = np.clip((np.abs(p[:, 0]) - 0.03) / 0.035, 0, 1) * 0.03
    beard_v[skin] = (
        (level > -cheek) & (level < 0.115 - 0.25 * np.abs(p[:, 0])) & (p[:, 2] > tip[2] - 0.125)
        & (p[:, 1] > tip[1] - 0.125) & (np.abs(p[:, 0]) < 0.09)
    )  # fmt: skip
    corners = np.stack([uvs[..., 0], 1 - uvs[..., 1]], -1) * 512
    face, bary = rasterize(corners, 512, 512)
    out = []
    for value, soft in ((scalp_v, 4.0), (beard_v, 6.0)):
        grid = (value[faces[np.maximum(face, 0)]] * bary).sum(2) * (face >= 0)
        out.append(np.clip(ndimage.gaussian_filter(grid, soft), 0, 1))
    mouth = np.unpackbits(array("base/mouth"), count=512 * 512).reshape(512, 512).astype(float)
    return out[0], out[1] * (1 - np.clip(ndimage.gaussian_filter(mouth, 3) * 3, 0, 1))


def paint_skin(
    name: str,
    gain: tuple[float, float, float],
    hair: tuple[int, int, int],
    *,
    scalp: float,
    stubble: float,
    seed: int,
) -> NDArray[np.uint8]:
    """Skin texture times a linear ``gain``, with hair roots painted on the scalp and stubble (0-1 each).

    The painted vest keeps its colour.
    """
    rgb = texture(name)[..., :3].astype(np.float32)
    vest = _vest()[..., None]
    # 1/2.2 brings the gain, which acts on light, to the sRGB texture.
    skin = np.where(vest, rgb, rgb * np.array(gain, np.float32) ** (1 / 2.2))
    roots, beard = _skin_regions()
    grain = 0.75 + 0.5 * ndimage.gaussian_filter(np.random.default_rng(seed).random(roots.shape), 0.7)
    dark = np.minimum(np.array(hair, np.float32), skin.mean((0, 1)))
    for mask, strength in ((roots, scalp), (beard, stubble)):
        if strength > 0:
            share = np.clip(mask * strength * grain, 0, 1)[..., None].astype(np.float32)
            skin = skin * (1 - share) + dark * share
    return np.clip(skin, 0, 255).astype(np.uint8)


def tint_texture(
    rgba: NDArray[np.uint8], colour: tuple[int, int, int], strength: float = 0.8
) -> NDArray[np.uint8]:
    """A texture (hair, brows, shoes) moved to ``colour`` while its luminance detail and alpha stay."""
    opaque = rgba[..., 3] > 100 if rgba.shape[2] == 4 else np.ones(rgba.shape[:2], bool)
    detail = detail_layer(rgba[..., :3].astype(np.float32), opaque, strength)[..., None]
    out = rgba.copy()
    out[..., :3] = np.clip(np.array(colour, np.float32) * detail, 0, 255).astype(np.uint8)
    return out


def paint_eye(iris: tuple[int, int, int], seed: int, size: int = 128) -> NDArray[np.uint8]:
    """Front view of an eyeball (size,size,3): radius 0.5 of the texture is the ball, iris radius 0.24, pupil
    0.09."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size - 0.5
    r, angle = np.hypot(x, y), np.arctan2(y, x)
    white = np.array([226, 220, 214]) - np.clip((r - 0.3) / 0.2, 0, 1)[..., None] * np.array([18, 42, 44])
    fibres = np.interp(angle, np.linspace(-np.pi, np.pi, 97), rng.uniform(0.75, 1.25, 97), period=2 * np.pi)
    shade = fibres * np.interp(r, [0.09, 0.13, 0.2, 0.235, 0.25], [0.8, 1.25, 1.0, 0.55, 0.4])
    out = white * 1.0
    in_iris = np.clip((0.248 - r) / 0.012, 0, 1)[..., None]
    out = out * (1 - in_iris) + in_iris * np.array(iris, float) * shade[..., None]
    in_pupil = np.clip((0.092 - r) / 0.01, 0, 1)[..., None]
    out = out * (1 - in_pupil) + in_pupil * np.array([10, 9, 9])
    glint = np.exp(-((x + 0.05) ** 2 + (y + 0.07) ** 2) / (2 * 0.016**2))[..., None]
    return np.clip(out + glint * 150, 0, 255).astype(np.uint8)
