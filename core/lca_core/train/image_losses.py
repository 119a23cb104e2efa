"""What a rendered picture is compared with: L1, SSIM, gradients at several scales, alpha, crops.

LPIPS is not among them: its backbone weights are not part of this repository. Gradients over an image
pyramid stand in for it and go by their own name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

SCALES = 3
"""Levels of the gradient pyramid."""
WINDOW = 7
"""Side of the SSIM window, pixels."""
SPILL = 0.5
"""Weight of what is drawn outside the person: a hole in a person looks worse than a rim around it."""
RIM = 0.3
"""Weight of half-covered pixels: their target colour holds some background."""


@dataclass(frozen=True)
class ImageWeights:
    """Weights of the terms of one picture."""

    l1: float = 1.0
    ssim: float = 0.2
    gradient: float = 0.5
    alpha: float = 0.3
    face: float = 0.25
    hands: float = 0.1


def image_terms(
    image: Tensor,
    alpha: Tensor,
    target: Tensor,
    mask: Tensor,
    face: tuple[int, int, int, int] | None = None,
    hands: Sequence[tuple[int, int, int, int]] = (),
) -> dict[str, Tensor]:
    """Unweighted terms of one picture; keys are the fields of :class:`ImageWeights`.

    Args:
        image, target: [3,H,W] premultiplied sRGB on black; alpha, mask: [1,H,W] 0-1.
        face, hands: boxes (first row, end row, first column, end column).
    """
    weight = torch.maximum(mask, SPILL * alpha.detach()).clamp(0, 1)
    weight = weight * torch.where((mask > 0.02) & (mask < 0.98), RIM, 1.0)
    error = (image - target).abs() * weight
    area = weight.sum().clamp(min=1)
    structure = (1 - ssim_map(image, target)) * weight
    terms = {
        "l1": error.sum() / (3 * area),
        "ssim": structure.sum() / (3 * area),
        "gradient": gradient_error(image, target, weight),
        "alpha": ((mask - alpha).clamp(min=0) + SPILL * (alpha - mask).clamp(min=0)).sum()
        / mask.sum().clamp(min=1),
    }
    both = error + 0.2 * structure

    def crop(box: tuple[int, int, int, int]) -> Tensor:
        r0, r1, c0, c1 = box
        return both[:, r0:r1, c0:c1].sum() / (3 * weight[:, r0:r1, c0:c1].sum()).clamp(min=10)

    nothing = image.sum() * 0
    terms["face"] = crop(face) if face is not None else nothing
    terms["hands"] = torch.stack([crop(b) for b in hands]).mean() if hands else nothing
    return terms


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """SSIM [C,H,W] of pictures [C,H,W] in 0-1 with a box window."""

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, WINDOW, 1, WINDOW // 2, count_include_pad=False)

    stack = mean(torch.cat([a, b, a * a, b * b, a * b])[None])[0]
    ma, mb, aa, bb, ab = stack.chunk(5)
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * ma * mb + c1) * (2 * (ab - ma * mb) + c2)
    return top / ((ma * ma + mb * mb + c1) * (aa - ma * ma + bb - mb * mb + c2))


def gradient_error(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """L1 of finite differences over ``SCALES`` levels of a pyramid; weight [1,H,W]."""
    difference, total = (a - b)[None], a.sum() * 0
    w = weight[None]
    for level in range(SCALES):
        if level:
            difference, w = F.avg_pool2d(difference, 2), F.avg_pool2d(w, 2)
        if min(difference.shape[-2:]) < 4:
            break
        area = 3 * w.sum().clamp(min=1)
        along = (difference[..., 1:] - difference[..., :-1]).abs() * w[..., 1:]
        down = (difference[..., 1:, :] - difference[..., :-1, :]).abs() * w[..., 1:, :]
        total = total + (along.sum() + down.sum()) / area
    return total / SCALES


def weighted(terms: dict[str, Tensor], weights: ImageWeights) -> Tensor:
    """Sum of the weighted terms."""
    return torch.stack([getattr(weights, k) * v for k, v in terms.items()]).sum()
