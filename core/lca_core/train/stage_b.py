"""Stages B and C: rendered losses. Posed avatars against held frames of the person, with and without
correction.

Both pictures are supervised, as in Large-scale Codec Avatars: the canonical Gaussians under plain skinning
and the corrected ones. Half of the frames are driven by the code that the expression encoder reads from the
frame itself (self-supervised), the other half by the linear map from ARKit weights, so that both speak one
language. Losses on UV maps (stage A) go on beside them: a picture does not show depth. Stage C looks at crops
of larger frames instead of whole people.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from lca_core.model.network import CanonicalMaps, Identity, LCAModel
from lca_core.train.examples import Batch
from lca_core.train.face_augment import GROW, SHIFT, TURN, similar
from lca_core.train.frames import Frame, choose_frames, target_frames, window
from lca_core.train.image_losses import ImageWeights, image_terms, weighted
from lca_core.train.losses import StageAWeights, create, stage_a
from lca_core.train.splatting import RestAvatar, Splatter, draw

ACAP_METRES = 0.05
"""Offsets from the body up to this far are free (as close as possible, LHM: 5.25 cm)."""
ASAP_RATIO = 3.0
"""Elongation of a Gaussian inside its surface up to which it is free (as spherical as possible)."""


@dataclass(frozen=True)
class StageBWeights:
    """Weights: of the two pictures, their terms, the regularisers, and the losses on UV maps beside them."""

    canonical: float = 2.0
    corrected: float = 2.0
    picture: ImageWeights = field(default_factory=ImageWeights)
    acap: float = 10.0
    asap: float = 0.1
    code: float = 5.0
    maps: StageAWeights = field(default_factory=lambda: StageAWeights(log_scale=0.5))


@dataclass(frozen=True)
class StageBOptions:
    """frames: targets per person; people: how many of the batch are rendered (the rest has UV losses only);
    dual: False drops the correction branch from pictures and maps (the single-branch ablation); crop: side of
    the window of stage C in pixels of the frame, 0 = whole person."""

    frames: int = 2
    people: int = 2
    dual: bool = True
    crop: int = 0


def stage_b(
    model: LCAModel,
    batch: Batch,
    splatter: Splatter,
    rng: np.random.Generator,
    weights: StageBWeights | None = None,
    options: StageBOptions | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Forward pass and loss: (scalar, every unweighted term by name; pictures as ``cano_*`` and ``pose_*``).

    Args:
        rng: chooses frames, drives and jitter; a function of the step.
    """
    w, o = weights or StageBWeights(), options or StageBOptions()
    made = create(model, batch)
    uv = w.maps if o.dual else replace(w.maps, correction=0.0, skinned=0.0, code=0.0)
    total, terms = stage_a(model, batch, uv, made=made)
    identity, maps = made
    sums: dict[str, list[Tensor]] = {}
    for person in range(min(o.people, len(batch.samples))):
        views = choose_frames(batch, person, o.frames, rng)
        frames = target_frames(
            batch.samples[person], views, model.template, model.config.input_size, batch.lights[person]
        )
        if o.crop:
            frames = [window(frame, o.crop, rng) for frame in frames]
        for key, value in person_terms(
            model, identity, maps, batch, person, frames, splatter, rng, o
        ).items():
            sums.setdefault(key, []).append(value)
    means = {k: torch.stack(v).mean() for k, v in sums.items()}
    pictures = {"cano": w.canonical, "pose": w.corrected}
    for name, factor in pictures.items():
        own = {k[5:]: v for k, v in means.items() if k.startswith(name + "_")}
        if own:
            total = total + factor * weighted(own, w.picture)
    total = total + w.acap * means["acap"] + w.asap * means["asap"]
    if "read" in means:
        total = total + w.code * means["read"]
    return total, terms | {k: float(v.detach()) for k, v in means.items()}


def person_terms(
    model: LCAModel,
    identity: Identity,
    maps: CanonicalMaps,
    batch: Batch,
    person: int,
    frames: list[Frame],
    splatter: Splatter,
    rng: np.random.Generator,
    options: StageBOptions,
) -> dict[str, Tensor]:
    """Mean terms of one person over its target frames."""
    avatar = splatter.rest(maps, batch.refs, person)
    device = avatar.splats.means.device
    out: dict[str, list[Tensor]] = {"acap": [too_far(maps.offset[person])], "asap": [too_long(avatar)]}
    one = Identity(
        identity.identity_map[person : person + 1],
        identity.geometry[person : person + 1],
        identity.betas[person : person + 1],
    )
    for frame in frames:
        shaped = splatter.shaped(avatar, frame.pose, frame.expression)
        pictures = {"cano": shaped}
        if options.dual:
            mapped = model.expression_map(frame.expression[None].to(device))
            read = model.expressions(*jittered(frame.face, frame.face_mask, rng, device))
            out.setdefault("read", []).append((read - mapped.detach()).square().mean())
            correction = model.correct_code(
                one,
                frame.pose[None].to(device),
                read if rng.uniform() < 0.5 else mapped,
                frame.gaze[None].to(device),
            )
            pictures["pose"] = splatter.corrected(shaped, correction)
            out["acap"].append(too_far(correction.offset[0]))
        height, width = frame.mask.shape[-2:]
        for name, posed in pictures.items():
            splats = splatter.posed(posed, frame.transforms.to(device))
            image, alpha = draw(splats, frame.viewmat.to(device), frame.K.to(device), width, height)
            terms = image_terms(
                image, alpha, frame.image.to(device), frame.mask.to(device), frame.face_box, frame.hand_boxes
            )
            for key, value in terms.items():
                out.setdefault(f"{name}_{key}", []).append(value)
    return {k: torch.stack(v).mean() for k, v in out.items()}


def too_far(offset: Tensor) -> Tensor:
    """Hinge on the length of offsets [3,U,U], metres."""
    return (offset.square().sum(0) + 1e-12).sqrt().sub(ACAP_METRES).clamp(min=0).mean()


def too_long(avatar: RestAvatar) -> Tensor:
    """Hinge on the elongation of Gaussians inside their surface."""
    scales = avatar.splats.scales.log()
    return ((scales[:, 0] - scales[:, 1]).abs() - math.log(ASAP_RATIO)).clamp(min=0).mean()


def jittered(
    face: Tensor, mask: Tensor, rng: np.random.Generator, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """A face crop [3,S,S] and mask [1,S,S], turned, moved and scaled a little, as a batch of one: the code
    must not carry where the head is."""
    turn, grow = rng.normal(0, TURN), math.exp(rng.normal(0, GROW))
    shift = torch.tensor(rng.normal(0, SHIFT, 2), dtype=torch.float32)[None]
    both = torch.cat([face, mask])[None]
    moved = similar(both, torch.tensor([turn]).float(), torch.tensor([grow]).float(), shift, face.shape[-1])
    moved = moved.to(device)
    return moved[:, :3], moved[:, 3:]
