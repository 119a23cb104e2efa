"""Contact sheets of samples: what the studio and wild sets hand to training, pictures and labels side by
side.

In: set, split, seed. Out: one picture (H,W,3). Everybody is dressed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lca_core.body.names import JOINT_PARENTS
from lca_core.data.datasets import default_config, sample_of
from lca_core.data.fields import Sample
from lca_core.data.people import SPLITS
from lca_core.data.tracking_noise import joints_of, project

TILE = 192
COLUMNS = 12
PEOPLE = 3


def sample_sheet(kind: str, split: str, seed: int, people: int = PEOPLE) -> NDArray[np.uint8]:
    """For each person a row of pictures and below it the same with matte edge, true (green) and given (red)
    joints."""
    low, high = SPLITS[split]
    rows = []
    for k in range(people):
        sample = sample_of(
            kind, split, low + (seed * 1009 + k) % (high - low), config=default_config(kind, 256, 64)
        )
        images = list(sample["image"])[:COLUMNS]
        shown = [_labelled(sample, v) for v in range(len(images))]
        rows += [_row(images), _row(shown)]
    return np.concatenate(rows)


def _row(images: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    tiles = []
    for image in images:
        height, width = image.shape[:2]
        tiles.append(np.asarray(Image.fromarray(image).resize((width * TILE // height, TILE))))
    width = COLUMNS * TILE
    out = np.full((TILE, width, 3), 149, np.uint8)
    row = np.concatenate(tiles, 1)[:, :width]
    out[:, : row.shape[1]] = row
    return out


def _labelled(sample: Sample, v: int) -> NDArray[np.uint8]:
    masks = sample["mask_degraded" if "mask_degraded" in sample else "mask"]
    mask = masks[v].astype(np.float32)[..., None] / 255
    image = Image.fromarray((sample["image"][v] * (0.25 + 0.75 * mask)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    clip = int(sample["clip_of_view"][v]) if "clip_of_view" in sample else 0
    for name, betas, colour in (
        ("noisy", np.atleast_2d(sample["betas_noisy"])[clip], (255, 60, 40)),
        ("true", sample["betas_true"], (60, 255, 80)),
    ):
        joints, _ = joints_of(betas, sample[f"pose_{name}"][v : v + 1], sample[f"transl_{name}"][v : v + 1])
        K = sample["Ks_noisy" if name == "noisy" else "Ks"][v : v + 1]
        points = project(joints, K, sample["viewmats"][v : v + 1])[0]
        for j in range(1, 22):
            draw.line([tuple(points[JOINT_PARENTS[j]]), tuple(points[j])], fill=colour)
    return np.asarray(image)
