"""Paints procedural garments: patterns, prints, seams, folds and weave on the atlas of a garment.

In: a :class:`~lca_core.data.painting.Cloth`, a :class:`~lca_core.data.procedural.Cut`, a random generator.
Out: an opaque uint8 texture (512,512,3). Patterns run in decimetres along the cloth, so they have the same
scale on sleeves, chest and skirts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from lca_core.data.painting import Cloth, pattern_blend
from lca_core.data.procedural import BOTTOMS, SKIRTS, TOPS, ClothCoordinates, Cut, atlas_of, cloth_coordinates


def print_mask(rng: np.random.Generator, size: int = 96) -> NDArray[np.float64]:
    """A made-up print (size,size) 0-1: shapes and letter-like bars; no real mark is copied."""
    image = Image.new("L", (size, size), 0)
    draw = ImageDraw.Draw(image)
    kind = int(rng.integers(5))
    c, r = size / 2, size * rng.uniform(0.3, 0.46)
    if kind == 0:
        n = int(rng.integers(3, 8))
        a = np.linspace(0, 2 * np.pi, 2 * n, endpoint=False) - np.pi / 2
        rr = np.where(np.arange(2 * n) % 2, r * rng.uniform(0.4, 0.9), r)
        draw.polygon([(c + q * np.cos(t), c + q * np.sin(t)) for q, t in zip(rr, a)], fill=255)
    elif kind == 1:
        for k in range(int(rng.integers(2, 5))):
            q = r * (1 - 0.28 * k)
            draw.ellipse([c - q, c - q, c + q, c + q], fill=255 * (1 - k % 2))
    elif kind == 2:
        for row in range(int(rng.integers(1, 4))):
            x, y, h = size * 0.08, size * (0.2 + 0.22 * row), size * 0.15
            while x < size * 0.86:
                w = size * rng.uniform(0.05, 0.12)
                draw.rectangle([x, y, x + w, y + h], fill=255)
                if rng.random() < 0.6:
                    draw.rectangle([x + w * 0.35, y + h * 0.3, x + w * 0.9, y + h * 0.6], fill=0)
                x += w + size * 0.03
    elif kind == 3:
        draw.rectangle([c - r, c - r * 0.6, c + r, c + r * 0.6], fill=255)
        draw.ellipse([c - r * 0.4, c - r * 0.4, c + r * 0.4, c + r * 0.4], fill=0)
    else:
        points = [(c + rng.uniform(-r, r), c + rng.uniform(-r, r)) for _ in range(int(rng.integers(3, 7)))]
        draw.polygon(points, fill=255)
        draw.line([(c - r, c + r), (c + r, c + r)], fill=255, width=5)
    return np.asarray(image, np.float64) / 255


def _stamp(at: ClothCoordinates, x: float, y: float, half: float, mask: NDArray) -> NDArray[np.float64]:
    """A print of half width ``half`` decimetres around (x, y) of the torso chart."""
    n = len(mask)
    col = ((at.around - x) / half * 0.5 + 0.5) * n
    row = (0.5 - (at.up - y) / half * 0.5) * n
    good = (col >= 0) & (col < n - 1) & (row >= 0) & (row < n - 1) & (at.chart == 0)
    out = np.zeros(at.chart.shape)
    out[good] = ndimage.map_coordinates(mask, [row[good], col[good]], order=1)
    return out


def _waves(rng: np.random.Generator, shape: tuple[int, ...], sigma: tuple[float, float]) -> NDArray:
    coarse = ndimage.gaussian_filter(rng.standard_normal((shape[0] // 2, shape[1] // 2)), sigma, mode="wrap")
    big = np.repeat(np.repeat(coarse, 2, 0), 2, 1)
    return big / (big.std() + 1e-9)


def _folds(cut: Cut, at: ClothCoordinates, rng: np.random.Generator) -> NDArray[np.float64]:
    """Painted light and dark (H,W) around 1: folds along the fall of the cloth, creases at bent places."""
    shape = at.chart.shape
    loose = cut.looseness if cut.kind not in SKIRTS else 0.6
    out = 1 + 0.022 * (0.5 + loose) * _waves(rng, shape, (3.5, 3.5))
    if cut.kind in SKIRTS:
        count = cut.folds or int(rng.integers(7, 16))
        wave = np.cos(count * at.angle + 0.6 * _waves(rng, shape, (30, 8)))
        out += 0.07 * wave * np.clip(1.2 - at.up / 14, 0.15, 1)
    elif cut.kind in TOPS:
        # Creases fan from the armpits and gather at the waist.
        out += 0.05 * (0.3 + loose) * _waves(rng, shape, (2.2, 9)) * np.clip(1.4 - at.up / 4, 0, 1)
        out += 0.05 * (0.3 + loose) * _waves(rng, shape, (8, 2.5)) * (at.chart > 0)
    else:
        knee = np.exp(-(((at.up - 4.2) / 0.8) ** 2)) + np.exp(-(((at.up - 0.8) / 0.7) ** 2))
        out += 0.06 * (0.4 + loose) * _waves(rng, shape, (2.0, 9)) * knee * (at.chart > 0)
    return out


def _line(distance: NDArray, width: float) -> NDArray[np.float64]:
    return np.clip(1.5 - np.abs(distance) / width, 0, 1)


def _details(
    cut: Cut, cloth: Cloth, at: ClothCoordinates, rgb: NDArray, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Seams, pockets, plackets and denim wear drawn into (H,W,3)."""
    dark = 1 - 0.35 * (_line(np.abs(at.angle) - np.pi / 2, 0.012) * (at.chart == 0))[..., None]
    rgb = rgb * dark
    if cut.kind in BOTTOMS and cut.kind != "leggings":
        torso, leg = at.chart == 0, at.chart > 0
        out_seam = np.where(at.chart == 1, at.angle - np.pi / 2, at.angle + np.pi / 2)
        rgb = rgb * (1 - 0.3 * (_line(out_seam, 0.03) * leg)[..., None])
        if cloth.pattern == "denim":
            wear = np.exp(-((at.angle / 0.8) ** 2)) * (np.exp(-(((at.up - 6) / 2.2) ** 2)) * leg)
            rgb = rgb + 42 * (wear * rng.uniform(0.2, 1.0))[..., None]
            stitch = (_line(np.abs(out_seam) - 0.08, 0.012) * leg)[..., None]
            rgb = rgb * (1 - 0.5 * stitch) + 0.5 * stitch * np.array([176, 130, 70])
        pocket = _line(np.hypot(np.abs(at.around) - 2.6, at.up - 5.0) - 1.0, 0.05) * (at.up < 5) * torso
        fly = _line(at.around, 0.03) * torso * (at.up > 2.6)
        back = np.pi - np.abs(at.angle)
        patch = np.maximum(np.abs(np.abs(back) - 0.55) * 1.6 - 0.6, np.abs(at.up - 2.4) - 0.7)
        line = np.maximum(np.maximum(pocket, fly), _line(patch, 0.05) * torso)
        rgb = rgb * (1 - 0.3 * line[..., None])
    if cut.kind in ("longsleeve", "vneck") and rng.random() < 0.4:
        placket = _line(np.abs(at.around) - 0.18, 0.03) * (at.chart == 0)
        rgb = rgb * (1 - 0.3 * placket[..., None])
        button = (np.hypot(at.around, (at.up + 0.5) % 0.9 - 0.45) < 0.07) & (at.chart == 0)
        rgb = np.where(button[..., None], np.array([225.0, 222, 214]) * rng.uniform(0.2, 1), rgb)
    if cut.kind in ("sweater", "turtleneck"):
        rib = 1 + 0.06 * np.sign(np.sin(at.around * 2 * np.pi / 0.12)) * (rng.random() < 0.6)
        knit = 1 + 0.05 * np.sin(at.up * 2 * np.pi / 0.1) * (rng.random() < 0.6)
        rgb = rgb * (rib * knit)[..., None]
    return rgb


def paint_garment(cut: Cut, cloth: Cloth, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Texture (512,512,3) of a procedural garment."""
    at = cloth_coordinates(atlas_of(cut))
    rgb: NDArray = np.broadcast_to(np.array(cloth.tint, np.float64), (*at.chart.shape, 3))
    second = np.array(cloth.second, np.float64)
    if cloth.pattern == "print":
        centre = (0.0, 5.4, rng.uniform(0.7, 1.5)) if rng.random() < 0.7 else (0.9, 6.1, 0.35)
        blend = _stamp(at, *centre, print_mask(rng)) if cut.kind in TOPS else np.zeros(at.chart.shape)
    elif cloth.pattern == "sleeves":
        blend = (at.chart > 0).astype(float) if cut.kind in TOPS else (at.up < 1.2).astype(float)
    else:
        front = np.where(at.chart == 0, np.cos(at.angle), -1.0)
        place = np.stack([at.around, at.up, front], -1)
        blend = pattern_blend(cloth, place, rng)
    rgb = rgb * (1 - blend[..., None]) + second * blend[..., None]
    weave = 1 + 0.02 * rng.standard_normal(at.chart.shape)
    if cloth.pattern == "denim":
        weave += 0.05 * _waves(rng, at.chart.shape, (0.6, 2.0))
    shade = _folds(cut, at, rng) * weave
    rgb = _details(cut, cloth, at, rgb, rng) * shade[..., None]
    return np.clip(rgb, 4, 250).astype(np.uint8)
