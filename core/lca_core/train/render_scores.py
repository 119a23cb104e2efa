"""Rendered scores on held-out people: the real creation and correction, drawn into frames it has not seen.

Quick enough to run at a checkpoint; the whole protocol is ``lca eval``. PSNR in dB over the true foreground,
in sRGB, pictures drawn at twice the size and averaged. Every held-out frame has a pose and an expression of
its own, so these are scores of novel views *and* novel poses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lca_core.model.assemble import CanonicalGaussians, Corrector, canonical_gaussians
from lca_core.model.network import LCAModel
from lca_core.model.references import prepare_references
from lca_core.train.evaluate import spread_views
from lca_core.train.frames import Frame, target_frames
from lca_core.train.splatting import Splats, draw, skin

WHITE = np.ones(3, np.float32)


def render_scores(
    model: LCAModel,
    people: Any,
    view_counts: Sequence[int] = (2,),
    limit: int = 12,
    texture_size: int = 256,
) -> dict[str, float]:
    """Mean scores over up to ``limit`` people for each number of reference views.

    Keys ``n{views}/{name}``: ``psnr``, ``face``, ``hands``, ``iou`` with correction; ``cano_psnr``,
    ``cano_face``, ``cano_hands`` without the learned one.
    """
    rows: dict[str, list[float]] = {}
    for one in person_scores(model, people, view_counts, limit, texture_size):
        for key, value in one.items():
            rows.setdefault(key, []).append(value)
    return {k: float(np.mean(v)) for k, v in rows.items()}


@torch.no_grad()
def person_scores(
    model: LCAModel, people: Any, view_counts: Sequence[int], limit: int, texture_size: int = 256
) -> list[dict[str, float]]:
    """The scores of :func:`render_scores` for each person, means over its held-out frames."""
    model.eval()
    out = []
    for person in range(min(limit, len(people))):
        sample = people[person]
        total = len(sample["images"])
        row: dict[str, float] = {}
        for n in view_counts:
            views = spread_views(total, n)
            held = [v for v in range(total) if v not in views]
            if len(views) < n or not held:
                continue
            made = create(model, sample, views, texture_size)
            frames = target_frames(sample, held, model.template, model.config.input_size, WHITE)
            for key, value in score(model, made, frames).items():
                if value:
                    row[f"n{n}/{key}"] = float(np.mean(value))
        out.append(row)
    return out


def create(
    model: LCAModel, sample: dict[str, Any], views: Sequence[int], texture_size: int = 256
) -> CanonicalGaussians:
    """The avatar of a sample from its frames ``views``, as a customer would get it with exact tracking."""
    index = list(views)
    part = {
        k: np.asarray(sample[k], np.float32)[index]
        for k in ("Ks", "viewmats", "pose", "transl", "expression", "gaze")
    }
    refs = prepare_references(
        [sample["images"][i] for i in index], [sample["masks"][i] for i in index], part["Ks"],
        part["viewmats"], part["pose"], part["transl"], part["expression"], part["gaze"],
        np.asarray(sample["betas"], np.float32), model.config, model.template,
    )  # fmt: skip
    return canonical_gaussians(model, refs, texture_size)


def score(model: LCAModel, made: CanonicalGaussians, frames: Sequence[Frame]) -> dict[str, list[float]]:
    """Scores of one avatar, one value per frame (crops only where they are large enough)."""
    corrector = Corrector(model, made.identity_map, made.betas, made.texel, made.uv_size)
    rest, weights = _tensors(made), torch.from_numpy(made.weights)
    out: dict[str, list[float]] = {}
    for frame in frames:
        exact = corrector.exact(frame.pose, frame.expression)
        change = corrector(frame.pose.numpy(), frame.expression.numpy(), frame.gaze.numpy())
        shaped = Splats(rest.means + exact, rest.quats, rest.scales, rest.opacities, rest.colors)
        full = Splats(
            rest.means + torch.from_numpy(change.means),
            rest.quats + torch.from_numpy(change.quats),
            rest.scales * torch.from_numpy(change.log_scales).exp(),
            rest.opacities,
            rest.colors + torch.from_numpy(change.colors),
        )
        height, width = frame.mask.shape[-2:]
        for prefix, splats in (("", full), ("cano_", shaped)):
            image, alpha = draw(
                skin(splats, weights, frame.transforms), frame.viewmat, frame.K, width, height
            )
            error = (image.clamp(0, 1) - frame.image).square() * frame.mask
            out.setdefault(prefix + "psnr", []).append(decibel(error, frame.mask))
            if frame.face_box is not None:
                out.setdefault(prefix + "face", []).append(_crop(error, frame.mask, frame.face_box))
            for box in frame.hand_boxes:
                out.setdefault(prefix + "hands", []).append(_crop(error, frame.mask, box))
            if not prefix:
                solid, true = alpha > 0.5, frame.mask > 0.5
                union = float((solid | true).sum())
                out.setdefault("iou", []).append(float((solid & true).sum()) / max(union, 1.0))
    return {k: [x for x in v if np.isfinite(x)] for k, v in out.items()}


def decibel(square_error: Tensor, mask: Tensor) -> float:
    """PSNR of squared errors [3,H,W] already masked, over mask [1,H,W]; NaN where nothing is."""
    area = float(mask.sum()) * 3
    return float("nan") if area < 30 else float(-10 * np.log10(max(float(square_error.sum()) / area, 1e-10)))


def _crop(error: Tensor, mask: Tensor, box: tuple[int, int, int, int]) -> float:
    r0, r1, c0, c1 = box
    return decibel(error[:, r0:r1, c0:c1], mask[:, r0:r1, c0:c1])


def _tensors(made: CanonicalGaussians) -> Splats:
    return Splats(
        *(torch.from_numpy(x) for x in (made.means, made.quats, made.scales, made.opacities, made.colors))
    )
