"""Measures a finished fit with the full body: silhouette overlap with the mattes.

In: body parameters and cameras; out: numbers only. The silhouette is a coverage test, not a picture of the
body.
"""

from __future__ import annotations

import numpy as np
import torch

from lca_core.body.model import BodyModel
from lca_core.body.raster import rasterize

from .networks import Array
from .types import CAMERA_FROM_WORLD

RASTER_SIDE = 384


def silhouette_iou(
    body: BodyModel, betas: Array, pose: Array, transl: Array, ks: Array, masks: list[Array]
) -> Array:
    """Intersection over union [T] of the projected body and {mask > 0.5}.

    Args:
        betas [50]; pose [T,55,3]; transl [T,3]; ks [T,3,3]; masks: T arrays [H,W].
    """
    with torch.no_grad():
        out = body(*(torch.as_tensor(a, dtype=torch.float32) for a in (betas[None], pose, transl)))
        vertices = out.vertices.numpy()
    faces = body.faces.numpy()
    scores = []
    for points, k, mask in zip(vertices, ks, masks, strict=True):
        camera = points @ CAMERA_FROM_WORLD[:3, :3].T
        pixels = camera @ k.T
        pixels = pixels[:, :2] / np.maximum(pixels[:, 2:], 1e-6)
        height, width = mask.shape
        scale = min(1.0, RASTER_SIDE / max(height, width))
        rows, cols = max(round(height * scale), 1), max(round(width * scale), 1)
        near = (camera[faces][..., 2] > 0.05).all(1)
        covered = rasterize((pixels * scale)[faces][near], cols, rows)[0] >= 0
        ys = np.minimum(((np.arange(rows) + 0.5) / scale).astype(int), height - 1)
        xs = np.minimum(((np.arange(cols) + 0.5) / scale).astype(int), width - 1)
        solid = mask[np.ix_(ys, xs)] > 0.5
        scores.append((covered & solid).sum() / max((covered | solid).sum(), 1))
    return np.asarray(scores, np.float32)
