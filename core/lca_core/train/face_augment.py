"""Face close-ups as cameras, mattes and trackers give them: the inputs of expression training.

In: stored close-ups (``faces``). Out: crops as the network reads them, moved, exposed, blurred and cut out
differently at every draw. Never changes what the face does; a mirrored picture mirrors its ARKit weights.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lca_core.body.names import ARKIT_INDEX, ARKIT_NAMES, NUM_ARKIT
from lca_core.data.degrade import stored
from lca_core.model.references import HEAD_MARGIN, NEUTRAL
from lca_core.train.faces import MARGIN

TURN, GROW, SHIFT = 0.12, 0.08, 0.06
"""Standard deviations of a crop's rotation (rad), log size, and place (of half its side)."""


@cache
def mirrored_order() -> tuple[int, ...]:
    """Index of the ARKit action that each action becomes in a mirror."""

    def other(name: str) -> str:
        for side, opposite in (("Left", "Right"), ("Right", "Left")):
            if name.endswith(side):
                return name.removesuffix(side) + opposite
        return name

    return tuple(ARKIT_INDEX[other(name)] for name in ARKIT_NAMES)


def mirrored_points() -> list[int]:
    """Index of the point that each of the 54 points (``faces.marked_vertices``) becomes in a mirror."""
    return [*mirrored_order(), NUM_ARKIT + 1, NUM_ARKIT]


def similar(pictures: Tensor, turn: Tensor, grow: Tensor, shift: Tensor, side: int) -> Tensor:
    """[B,C,S,S] turned by ``turn`` [B] rad, shrunk by ``grow`` [B] and moved by ``shift`` [B,2] half sides,
    sampled at ``side`` x ``side``."""
    c, s = grow * turn.cos(), grow * turn.sin()
    theta = torch.stack([c, -s, shift[:, 0], s, c, shift[:, 1]], 1).view(-1, 2, 3)
    grid = F.affine_grid(theta, [len(pictures), 1, side, side], align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def moved_points(points: Tensor, turn: Tensor, grow: Tensor, shift: Tensor) -> Tensor:
    """Where :func:`similar` puts points [B,P,2] of the picture; both pictures span -1..1."""
    c, s = turn.cos() / grow, turn.sin() / grow
    inverse = torch.stack([c, s, -s, c], 1).view(-1, 2, 2)
    return (points - shift[:, None]) @ inverse.mT


def cut_out(rgb: Tensor, mask: Tensor) -> Tensor:
    """Pictures [B,3,S,S] and masks [B,1,S,S] -> [B,4,S,S] on neutral grey, as ``references`` crops them."""
    return torch.cat([rgb * mask + NEUTRAL * (1 - mask), mask], 1)


def plain(images: NDArray[np.uint8], masks: NDArray[np.uint8], side: int) -> tuple[Tensor, Tensor]:
    """The exact crops: images uint8 [B,S,S,3], masks [B,S,S] -> faces [B,3,side,side], masks
    [B,1,side,side]."""
    rgb, mask = _tensors(images, masks)
    count = len(rgb)
    grow = torch.full((count,), HEAD_MARGIN / MARGIN)
    out = similar(cut_out(rgb, mask), torch.zeros(count), grow, torch.zeros(count, 2), side)
    return out[:, :3], out[:, 3:]


def augmented(
    images: NDArray[np.uint8],
    masks: NDArray[np.uint8],
    points: NDArray[np.float32],
    side: int,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Crops as :func:`plain`, each with its own accident of camera, matte and tracker, and where the points
    [B,P,2] went."""
    count = len(images)
    through = [
        stored(image, int(rng.integers(35, 96)), float(np.exp(rng.uniform(np.log(0.3), 0.0))))
        if rng.random() < 0.5
        else image
        for image in images
    ]
    rgb, mask = _tensors(np.stack(through), masks)

    def normal(scale: float, *shape: int) -> Tensor:
        return torch.from_numpy(rng.normal(0, scale, shape).astype(np.float32))

    place = normal(TURN, count), HEAD_MARGIN / MARGIN * normal(GROW, count).exp(), normal(SHIFT, count, 2)
    out = similar(torch.cat([rgb, _matte(mask, rng)], 1), *place, side)
    out = cut_out(_exposed(out[:, :3], rng), out[:, 3:])
    return out[:, :3], out[:, 3:], moved_points(torch.from_numpy(np.ascontiguousarray(points)), *place)


def _tensors(images: NDArray[np.uint8], masks: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    rgb = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
    return rgb, torch.from_numpy(np.ascontiguousarray(masks))[:, None].float() / 255


def _exposed(rgb: Tensor, rng: np.random.Generator) -> Tensor:
    """Exposure, balance, tone, saturation, a ramp of light across the picture, and noise."""
    count, size = len(rgb), rgb.shape[-1]

    def draw(values: NDArray) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float32)).view(count, -1, 1, 1)

    grey = rgb.mean(1, keepdim=True)
    rgb = grey + (rgb - grey) * draw(rng.uniform(0.3, 1.25, count))
    rgb = rgb.clamp(0, 1) ** draw(np.exp(rng.normal(0, 0.15, count)))
    rgb = rgb * draw(np.exp(rng.normal(0, 0.2, (count, 1)) + rng.normal(0, 0.08, (count, 3))))
    middle = draw(rng.uniform(0.2, 0.6, count))
    rgb = middle + (rgb - middle) * draw(np.exp(rng.normal(0, 0.15, count)))
    across = torch.linspace(-1, 1, size)
    slope = rng.normal(0, 0.2, (count, 2))
    rgb = rgb * (draw(slope[:, 0]) * across + draw(slope[:, 1]) * across[:, None]).exp()
    noise = torch.from_numpy(rng.standard_normal(tuple(rgb.shape), dtype=np.float32))
    return (rgb + noise * draw(rng.uniform(0, 0.03, count))).clamp(0, 1)


def _matte(mask: Tensor, rng: np.random.Generator) -> Tensor:
    """Masks grown or shrunk by a few pixels with soft edges, some of them exact."""
    near = F.avg_pool2d(mask, 7, stride=1, padding=3, count_include_pad=False)
    level = torch.from_numpy(rng.uniform(0.15, 0.85, (len(mask), 1, 1, 1)).astype(np.float32))
    wrong = ((near - level) * 4 + 0.5).clamp(0, 1)
    chosen = torch.from_numpy(rng.random((len(mask), 1, 1, 1)) < 0.6)
    return torch.where(chosen, wrong, mask)
