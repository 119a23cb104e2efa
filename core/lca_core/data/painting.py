"""Recolours textures: cloth tints and patterns, hair colours, painted eyes.

In: pack textures, a random generator or explicit colours. Out: uint8 textures. A recoloured cloth keeps the
folds and seams of the original as a luminance layer normalised to mean 1, so dark cloth takes a bright tint
as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from lca_core.data.library import array, texture

TRAIN_PATTERNS = ("plain", "plain", "stripes", "bars", "checks", "noise", "block", "emblem")
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
        inside = r < 0.75 * s
    elif shape == 1:
        inside = (r < 0.95 * s) & (r > 0.55 * s)
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


_PATTERNS: dict[str, Callable[[NDArray, float, np.random.Generator], NDArray]] = {
    "stripes": _stripes, "bars": _bars, "checks": _checks, "noise": _noise, "block": _block,
    "emblem": _emblem,    "cells": _cells, "dots": _dots,
}  # fmt: skip


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
        colour = np.broadcast_to(np.array(cloth.tint, np.float32), rgb.shape)
        if cloth.pattern in _PATTERNS:
            # Decimetres on the A-pose garment: x and z from its middle, y from the region's lower edge.
            local = (place - [0.5, place[mask][:, 1].min(), 0.5]) * array(f"suit/{name}/extent")
            blend = _PATTERNS[cloth.pattern](local, cloth.scale, rng)[..., None]
            colour = colour * (1 - blend) + np.array(cloth.second, np.float32) * blend
        detail = detail_layer(rgb, mask, 0.75)[..., None]
        out = np.where(mask[..., None], colour * detail, out)
    return np.clip(out, 0, 255).astype(np.uint8)


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
