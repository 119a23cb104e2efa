"""Stage A: predicted UV maps against baked ground truth, without a rasteriser. L1, but guessed colours
squared: of what no picture shows the mean is the best guess.

Colour targets carry the reference light because copied pixels do; albedo is a separate output. Each term
is a mean
over valid texels, so weights compare directly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lca_core.model.network import CanonicalMaps, Identity, LCAModel
from lca_core.model.skinning import residual_weights
from lca_core.train.examples import Batch


@dataclass(frozen=True)
class StageAWeights:
    """Weights of the terms. Lengths are in metres: 1 cm of offset error costs 0.3, 1 cm of correction 0.5."""

    color: float = 1.0
    predicted: float = 0.5
    guessed: float = 8.0
    albedo: float = 0.5
    offset: float = 30.0
    opacity: float = 0.3
    log_scale: float = 0.1
    quat: float = 0.2
    correction: float = 50.0
    skinned: float = 10.0
    skin: float = 0.002
    code: float = 5.0


def masked_mean(error: Tensor, mask: Tensor) -> Tensor:
    """Mean of [B,C,U,U] where mask [B,1,U,U]."""
    return (error * mask).sum() / (mask.sum() * error.shape[1]).clamp(min=1)


def stage_a(
    model: LCAModel,
    batch: Batch,
    weights: StageAWeights | None = None,
    texels: int = 1024,
    made: tuple[Identity, CanonicalMaps] | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Forward pass and loss: (scalar, every unweighted term by name).

    Args:
        texels: how many texels per person enter the skinned-position term.
        made: what the network made of the batch, when another loss of the step needs it too.
    """
    w = weights or StageAWeights()
    t = batch.targets
    identity, maps = made or create(model, batch)
    carries = model.template.carries_map.to(t.surface).expand_as(t.surface)
    code = model.expression_map(t.drive_expression)
    correction = model.correct_code(identity, t.drive_pose, code, t.drive_gaze, t.drive_template)
    seen = t.surface * (identity.hit.clamp(0, 1) if identity.hit is not None else 0)
    terms = {
        "color": masked_mean((maps.color - t.color).abs(), seen),
        "predicted": masked_mean((maps.predicted - t.color).abs(), seen),
        "guessed": masked_mean((maps.predicted - t.color).square(), t.surface - seen),
        "albedo": masked_mean((maps.albedo - t.albedo).abs(), t.surface),
        "offset": masked_mean((maps.offset - t.offset).abs(), t.surface),
        "opacity": masked_mean(F.binary_cross_entropy(maps.opacity, t.surface, reduction="none"), carries),
        "log_scale": masked_mean((maps.log_scale - t.log_scale).abs(), t.surface),
        "quat": masked_mean((maps.quat - t.quat).abs(), t.surface),
        "correction": masked_mean((correction.offset - t.correction).abs(), t.surface),
        "skinned": skinned_error(model, batch, identity, maps, correction.offset, texels),
        "skin": maps.skin.abs().mean(),
        "code": code_error(model, batch),
    }
    total = torch.stack([getattr(w, k) * v for k, v in terms.items()]).sum()
    return total, {k: float(v.detach()) for k, v in terms.items()}


def create(model: LCAModel, batch: Batch) -> tuple[Identity, CanonicalMaps]:
    """What runs once per person: identity and canonical maps of a batch."""
    identity = model.encode(batch.refs, batch.views)
    return identity, model.canonical(identity)


def code_error(model: LCAModel, batch: Batch) -> Tensor:
    """The expression encoder should read from a face crop the code that the ARKit weights map to (fixed
    target). Squared: weights are mostly zero, and their median, which L1 seeks, is zero."""
    refs = batch.refs
    read = model.expressions(refs.faces[:, 0], refs.face_masks[:, 0])
    return (read - model.expression_map(refs.expression[:, 0]).detach()).square().mean()


def skinned_error(
    model: LCAModel, batch: Batch, identity: Identity, maps: CanonicalMaps, correction: Tensor, texels: int
) -> Tensor:
    """Distance (m) between skinned prediction (with learned weights) and skinned ground truth (template
    weights).

    Half of the texels come from loose cloth where there is any: only there may the weights leave the
    template.
    """
    template, t = model.template, batch.targets
    rest = template.rest(identity.betas)
    b = t.surface.shape[0]
    solid, loose = template.gather(t.surface)[..., 0], template.gather(t.loose)[..., 0]
    chance = solid + loose * solid.sum(1, keepdim=True) / loose.sum(1, keepdim=True).clamp(min=1) + 1e-6
    # Evenly spaced quantiles of the chance instead of random draws: no generator to carry across a resume.
    cumulative = chance.cumsum(1) / chance.sum(1, keepdim=True)
    levels = (torch.arange(texels, device=chance.device) + 0.5) / texels
    pick = torch.searchsorted(cumulative, levels.expand(b, -1).contiguous()).clamp(max=chance.shape[1] - 1)
    rows = torch.arange(b, device=pick.device)[:, None]

    def at(values: Tensor) -> Tensor:
        return template.gather(values)[rows, pick]

    frame = rest.frame.flatten(1, 2)[:, template._flat][rows, pick]
    base = at(rest.position)
    w = torch.from_numpy(template.weights).to(base)[pick]
    learned = residual_weights(w, at(maps.skin))
    # The weight network is judged on the true shape, so that it does not chase errors of the offset head.
    offset, moved = at(t.offset), at(correction)
    truth = base + torch.einsum("btij,btj->bti", frame, offset + at(t.correction))
    ours = base + torch.einsum("btij,btj->bti", frame, offset + moved)

    def skin(points: Tensor, with_weights: Tensor) -> Tensor:
        a = torch.einsum("btj,bjkl->btkl", with_weights, t.drive_transforms)
        return torch.einsum("btij,btj->bti", a[..., :3, :3], points) + a[..., :3, 3]

    error = (skin(ours, learned) - skin(truth, w)).abs()
    keep = solid[rows, pick][..., None]
    return (error * keep).sum() / (keep.sum() * 3).clamp(min=1)
