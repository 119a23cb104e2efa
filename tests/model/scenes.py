"""Analytic scenes for the tests of model and training: a painted ellipsoid seen by cameras around it.

Ray-cast in closed form, so nothing of the product takes part in making the pictures.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np

from lca_core.model.references import References, prepare_references
from lca_core.model.template import Template

# The test tree has no packages (import mode "importlib"): load the sibling by path, once.
_NAME = "lca_test_ellipsoid"
if _NAME not in sys.modules:
    _spec = importlib.util.spec_from_file_location(_NAME, Path(__file__).with_name("ellipsoid.py"))
    assert _spec is not None and _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    sys.modules[_NAME] = _module
    _spec.loader.exec_module(_module)
ellipsoid = sys.modules[_NAME]

BODY = ellipsoid.EllipsoidBody()


def template(size: int) -> Template:
    """The ellipsoid on a grid of ``size``."""
    return Template(
        BODY,
        ellipsoid.EllipsoidAtlas(BODY, size),
        lambda n: ellipsoid.EllipsoidAtlas(BODY, n),
        lambda rows, cols, n: ellipsoid.EllipsoidPoints(BODY, rows, cols, n),
    )


def cameras(count: int, size: int, distance: float = 3.0, first: float = 0.0):
    """``count`` cameras on a ring at pelvis height, looking at the origin; the first from the front (+Z)."""
    focal = size * 1.2
    ks = np.tile(np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]]), (count, 1, 1))
    views = np.tile(np.eye(4), (count, 1, 1))
    for i in range(count):
        angle = first + 2 * np.pi * i / count
        back = np.array([np.sin(angle), 0, np.cos(angle)])
        forward, down = -back, np.array([0, -1.0, 0])
        rotation = np.stack([np.cross(down, forward), down, forward])
        views[i, :3, :3], views[i, :3, 3] = rotation, -rotation @ (back * distance)
    return ks, views


def render(paint, K: np.ndarray, viewmat: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Ray-cast the rest ellipsoid; ``paint(u, v)`` gives sRGB 0-1. Returns image uint8, mask uint8."""
    ys, xs = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5, indexing="ij")
    ray = np.stack([(xs - K[0, 2]) / K[0, 0], (ys - K[1, 2]) / K[1, 1], np.ones_like(xs)], -1)
    rotation, origin = viewmat[:3, :3].T, -viewmat[:3, :3].T @ viewmat[:3, 3]
    d, o = (ray @ rotation.T) / ellipsoid.RADII, origin / ellipsoid.RADII
    a, b, c = (d * d).sum(-1), (d * o).sum(-1), (o * o).sum() - 1
    disc = b * b - a * c
    hit = disc > 0
    depth = (-b - np.sqrt(np.where(hit, disc, 0))) / a
    unit = o + depth[..., None] * d
    u = np.arctan2(unit[..., 0], unit[..., 2]) / (2 * np.pi) + 0.5
    v = np.arcsin(np.clip(unit[..., 1], -1, 1)) / np.pi + 0.5
    image = np.where(hit[..., None], paint(u, v), 0.2)
    return (image * 255 + 0.5).astype(np.uint8), (hit * 255).astype(np.uint8)


def references(pictures, ks: np.ndarray, viewmats: np.ndarray, config, body: Template) -> References:
    """References of the rest ellipsoid: ``pictures`` are (image, mask) of each camera."""
    n = len(pictures)
    still = [np.zeros(shape) for shape in ((n, 55, 3), (n, 3), (n, 52), (n, 2, 2), (50,))]
    images, masks = (list(part) for part in zip(*pictures, strict=True))
    return prepare_references(images, masks, ks, viewmats, *still, config, body)


def smooth_paint(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Smooth, different on every side, periodic in u."""
    return np.stack(
        [
            0.5 + 0.4 * np.sin(2 * np.pi * u),
            0.5 + 0.4 * np.cos(2 * np.pi * u + 1),
            0.3 + 0.4 * v + 0 * u,
        ],
        -1,
    )


def person(seed: int, views: int = 4, image: int = 64, size: int = 32) -> dict[str, np.ndarray]:
    """One training sample in the format of ``lca_core.data``: the painted ellipsoid in its rest pose.

    The shirt (middle of the body) is 2 cm thick in the labels; the correction label follows expression 0.
    """
    rng = np.random.default_rng(seed)
    shirt, trousers = rng.uniform(0.2, 0.9, 3), rng.uniform(0.2, 0.9, 3)

    def paint(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        base = np.where((v > 0.5)[..., None], shirt, trousers)
        return np.clip(base + 0.08 * np.sin(2 * np.pi * u)[..., None], 0, 1)

    ks, viewmats = cameras(views, image, first=rng.uniform(0, 6))
    pictures = [render(paint, ks[i], viewmats[i], image) for i in range(views)]
    atlas = ellipsoid.EllipsoidAtlas(BODY, size)
    color = paint(atlas.u, atlas.v)
    offset = np.zeros((size, size, 3))
    offset[..., 2] = np.where(atlas.v > 0.5, 0.02, 0.005)
    expression = np.zeros((views, 52))
    validity = np.where(atlas.mask, 1, 0) | np.where(atlas.cavity, 4, 0)
    return {
        "images": np.stack([p[0] for p in pictures]),
        "masks": np.stack([p[1] for p in pictures]),
        "Ks": ks.astype(np.float32),
        "viewmats": viewmats.astype(np.float32),
        "pose": np.zeros((views, 55, 3), np.float32),
        "transl": np.zeros((views, 3), np.float32),
        "expression": expression.astype(np.float32),
        "gaze": np.zeros((views, 2, 2), np.float32),
        "betas": np.zeros(50, np.float32),
        "uv_albedo": (color * 230).astype(np.uint8),
        "uv_color": (color * 255).astype(np.uint8),
        "uv_offset": (offset * atlas.mask[..., None]).astype(np.float16),
        "uv_validity": validity.astype(np.uint8),
        "uv_correction": np.zeros((views, size, size, 3), np.float16),
    }
