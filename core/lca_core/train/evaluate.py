"""UV-space scores on held-out people, beside two baselines without the network.

``mean``: the inverse texture map, unseen texels take the mean of the seen ones. ``fill``: unseen texels
take the guess of :mod:`lca_core.model.fill`. PSNR in dB over valid texels, in sRGB; offsets and
corrections in mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lca_core.model.inverse_texture import sample_views
from lca_core.model.network import LCAModel
from lca_core.train.examples import Augmentation, make_batch, make_example


def spread_views(count: int, wanted: int) -> list[int]:
    """``wanted`` of ``count`` views, evenly spaced: the same choice for every method."""
    return [int(i * count / wanted) for i in range(min(wanted, count))]


@torch.no_grad()
def evaluate(
    model: LCAModel, people: Any, view_counts: Sequence[int] = (1, 2, 4), limit: int = 24
) -> dict[str, float]:
    """Mean scores over up to ``limit`` people for each number of reference views.

    Keys ``n{views}/{metric}``. ``psnr`` scores the blended colour with texels located on the body;
    ``psnr_dressed``
    after the second pass, which locates them on the predicted dressed surface. ``psnr_unseen`` only texels
    that no
    view shows.
    """
    model.eval()
    template = model.template
    rows: dict[str, list[float]] = {}
    for person in range(min(limit, len(people))):
        sample = people[person]
        total = len(sample["images"])
        for n in view_counts:
            if n > total:
                continue
            views = spread_views(total, n)
            others = [i for i in range(total) if i not in views] or [total - 1]
            drive = others[person % len(others)]
            example = make_example(
                sample, views, drive, model.config, template, Augmentation.none(), np.random.default_rng(0)
            )
            batch = make_batch([example])
            t = batch.targets
            identity = model.encode(batch.refs, batch.views)
            maps = model.canonical(identity)
            assert identity.hit is not None and identity.copied is not None and identity.fill is not None
            hit = (identity.hit > 0.5).float()
            seen_mean = (identity.copied * hit).sum((2, 3)) / hit.sum((2, 3)).clamp(min=1)
            mean = identity.copied * hit + seen_mean[..., None, None] * (1 - hit)
            filled = identity.copied * identity.hit + identity.fill * (1 - identity.hit)
            correction = model.correct(identity, t.drive_pose, t.drive_expression, t.drive_gaze)
            second = sample_views(template, batch.refs, maps.offset * (maps.opacity > 0.5))
            dressed = maps.blend * maps.predicted + (1 - maps.blend) * second.color
            dressed = torch.where(second.hit > 0.2, dressed, maps.color)
            unseen = t.surface * (1 - hit)
            solid = maps.opacity > 0.5
            values = {
                "psnr": psnr(maps.color, t.color, t.surface),
                "psnr_dressed": psnr(dressed, t.color, t.surface),
                "psnr_mean": psnr(mean, t.color, t.surface),
                "psnr_fill": psnr(filled, t.color, t.surface),
                "psnr_unseen": psnr(maps.color, t.color, unseen),
                "psnr_unseen_mean": psnr(mean, t.color, unseen),
                "psnr_unseen_fill": psnr(filled, t.color, unseen),
                "albedo": psnr(maps.albedo.clamp(0, 1), t.albedo, t.surface),
                "offset_mm": millimetres(maps.offset - t.offset, t.surface),
                "offset_mm_zero": millimetres(t.offset, t.surface),
                "correction_mm": millimetres(correction.offset - t.correction, t.surface),
                "correction_mm_template": millimetres(t.drive_template - t.correction, t.surface),
                "opacity_iou": iou(solid, t.surface > 0.5, template.carries_map > 0.5),
                "hit": float((hit * t.surface).sum() / t.surface.sum().clamp(min=1)),
            }
            for key, value in values.items():
                if np.isfinite(value):
                    rows.setdefault(f"n{n}/{key}", []).append(value)
    return {k: float(np.mean(v)) for k, v in rows.items()}


def psnr(ours: Tensor, truth: Tensor, mask: Tensor) -> float:
    """PSNR in dB over mask [B,1,U,U]; NaN when the mask is empty."""
    if mask.sum() == 0:
        return float("nan")
    error = ((ours.clamp(0, 1) - truth).square() * mask).sum() / (mask.sum() * 3)
    return float(-10 * torch.log10(error.clamp(min=1e-10)))


def millimetres(vector: Tensor, mask: Tensor) -> float:
    """Mean length of [B,3,U,U] over mask, in mm."""
    return float((vector.norm(dim=1, keepdim=True) * mask).sum() / mask.sum().clamp(min=1) * 1000)


def iou(ours: Tensor, truth: Tensor, inside: Tensor) -> float:
    """Intersection over union of two boolean maps inside a third."""
    union = ((ours | truth) & inside).sum()
    return float((ours & truth & inside).sum() / union.clamp(min=1))
