"""The picture every splat benchmark draws: a figure of six capsules, 1.75 m tall, in flat clothes colours,
covered with randomly turned Gaussians of opacity 0.9. Out: a ``GaussianSet`` and a camera that sees it whole.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lca_core.splat import GaussianSet, intrinsics, look_at

CAPSULES = [  # start, end, radius (metres), colour
    ((0.0, 0.95, 0.0), (0.0, 1.40, 0.0), 0.17, (0.20, 0.35, 0.60)),
    ((0.0, 1.60, 0.0), (0.0, 1.66, 0.0), 0.09, (0.75, 0.58, 0.48)),
    ((0.10, 0.88, 0.0), (0.12, 0.08, 0.0), 0.08, (0.18, 0.18, 0.22)),
    ((-0.10, 0.88, 0.0), (-0.12, 0.08, 0.0), 0.08, (0.18, 0.18, 0.22)),
    ((0.21, 1.38, 0.0), (0.52, 0.95, 0.0), 0.05, (0.20, 0.35, 0.60)),
    ((-0.21, 1.38, 0.0), (-0.52, 0.95, 0.0), 0.05, (0.20, 0.35, 0.60)),
]


def figure(count: int, mode: str, seed: int = 0) -> GaussianSet:
    """About ``count`` Gaussians on the capsules, evenly per area.

    Args:
        mode: "1cm" = standard deviation 1 cm at any count; "spacing" = 0.8 x the distance between neighbours.
    """
    g = torch.Generator().manual_seed(seed)
    areas = [2 * math.pi * r * (math.dist(a, b) + 2 * r) for a, b, r, _ in CAPSULES]
    points, colours = [], []
    for (start, end, radius, colour), area in zip(CAPSULES, areas, strict=True):
        n = round(count * area / sum(areas))
        length = math.dist(start, end)
        axis = (torch.tensor(end) - torch.tensor(start)) / length
        ball = torch.nn.functional.normalize(torch.randn(n, 3, generator=g), dim=1)
        on_side = torch.rand(n, 1, generator=g) < length / (length + 2 * radius)
        side = torch.nn.functional.normalize(ball - (ball @ axis)[:, None] * axis, dim=1)
        along = torch.rand(n, 1, generator=g) * length
        at_end = (ball @ axis > 0).float()[:, None] * length
        offset = torch.where(on_side, along * axis + radius * side, at_end * axis + radius * ball)
        points.append(torch.tensor(start) + offset)
        colours.append((torch.tensor(colour) + 0.05 * torch.randn(n, 3, generator=g)).clamp(0, 1))
    means = torch.cat(points)
    n = means.shape[0]
    size = 0.01 if mode == "1cm" else 0.8 * math.sqrt(sum(areas) / n)
    scales = size * torch.exp(0.25 * torch.randn(n, 3, generator=g)) * torch.tensor([1.0, 1.0, 0.5])
    quats = torch.randn(n, 4, generator=g)
    return GaussianSet.from_colors(means, quats, scales, torch.full((n,), 0.9), torch.cat(colours))


def camera(size: int) -> tuple[Tensor, Tensor]:
    """The whole figure in a square image: viewmats (1, 4, 4), Ks (1, 3, 3)."""
    return look_at((0.0, 0.88, 3.0), (0.0, 0.88, 0.0))[None], intrinsics(34.0, size, size)[None]


def tensors(g: GaussianSet, grad: bool) -> list[Tensor]:
    parts = [g.means, g.quats, g.scales, g.opacities, g.colors()]
    return [t.detach().clone().requires_grad_(grad) for t in parts]
