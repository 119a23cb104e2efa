"""Creation: a clip (or a finished capture) becomes an avatar.

capture -> references -> the network's canonical Gaussians -> correctives, proxy, pictures -> :class:`Avatar`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from lca.errors import InvalidInputError
from lca_core.avatar.avatar import Avatar, Canonical, Skinning, WeightsInfo
from lca_core.avatar.bake import bake
from lca_core.avatar.correctives import distill, face_points
from lca_core.avatar.garment import dressed_proxy, garment_facts, still
from lca_core.avatar.light import photo_pose, with_light_transfer
from lca_core.avatar.live import NetworkCorrection
from lca_core.avatar.proxy import build_proxy
from lca_core.avatar.rebuild import lambert_transfer
from lca_core.avatar.refine import RefineOptions, photos_of, refine
from lca_core.avatar.skinning import snap_weights
from lca_core.body.model import BodyModel
from lca_core.body.rig import default_rig
from lca_core.model.assemble import CanonicalGaussians, Corrector, canonical_gaussians
from lca_core.model.checkpoint import load_model
from lca_core.model.network import LCAModel
from lca_core.model.references import prepare_references
from lca_core.progress import Progress, ProgressCallback
from lca_core.splat.harmonics import C0

if TYPE_CHECKING:
    from lca_core.capture import Capture

CAPTURE_STAGES = [("decode", 6.0), ("detect", 18.0), ("masks", 12.0), ("fit", 30.0), ("expression", 2.0)]
MODEL_STAGES = [("encode", 14.0), ("correctives", 12.0), ("proxy", 4.0), ("thumbnail", 2.0)]
WEIGHTS_LICENCE = "Apache-2.0"
PROXY_TEXTURE = 1024


@dataclass(frozen=True)
class CreateOptions:
    """Choices of one creation.

    Attributes:
        weights: name of the shipped weights.
        max_references: reference frames used, 1-8.
        texture_size: side of the body's Gaussian grid (face, hands and eyes are finer); 256 gives about
            60,000 Gaussians. detail: at most so many more where the photographs show detail.
        focal_px: focal length in pixels when known; height_m: the person's height when known.
        inputs_licence: what the person in the clip allows; stored in the file.
        refine_seconds: time for a fit to the reference frames afterwards, 2 to 900; 0 leaves it out. A fit
            that makes a kept-back frame worse is thrown away (``lca_core.avatar.refine``).
        loose_garments: look for a skirt or dress and give it a surface and skin weights of its own
            (docs/loose-garments.md); tight clothes are untouched either way.
        outline: bring the clothing to the outline of the masks (``lca_core.model.silhouette``); without it
            its thickness is the network's guess alone.
        agree: shift the pictures so that they agree about the person before colours are copied
            (``lca_core.model.register``).
    """

    weights: str = "lca-xs"
    max_references: int = 8
    texture_size: int = 256
    focal_px: float | None = None
    height_m: float | None = None
    inputs_licence: str = "unspecified"
    detail: int = 40_000
    refine_seconds: float = 0.0
    loose_garments: bool = True
    outline: bool = True
    agree: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.max_references <= 8:
            raise InvalidInputError(f"max_references must be 1 to 8, not {self.max_references}.")
        if self.texture_size not in (128, 256, 512):
            raise InvalidInputError(f"texture_size must be 128, 256 or 512, not {self.texture_size}.")
        if not 0 <= self.detail <= 200_000:
            raise InvalidInputError(f"detail must be 0 to 200000 Gaussians, not {self.detail}.")
        if self.height_m is not None and not 1.2 <= self.height_m <= 2.3:
            raise InvalidInputError(f"height_m must be an adult's height, 1.2 to 2.3 m, not {self.height_m}.")
        if self.refine_seconds:
            RefineOptions(seconds=self.refine_seconds)

    def stages(self) -> list[tuple[str, float]]:
        """Names and usual seconds of the steps after the capture."""
        return MODEL_STAGES + ([("refine", self.refine_seconds)] if self.refine_seconds else [])


def create_avatar_from_clip(
    path: Path,
    *,
    name: str = "avatar",
    progress: ProgressCallback | None = None,
    cancelled: threading.Event | None = None,
    seed: int = 0,
    options: CreateOptions | None = None,
) -> Avatar:
    """Make an avatar from a video, an image or a folder of images.

    Raises:
        MediaUnreadableError: the file cannot be decoded.
        NoPersonFoundError: no person is visible.
        CancelledError: ``cancelled`` was set.
    """
    from lca_core.capture import capture_clip

    options = options or CreateOptions()
    model = load_model(options.weights)
    steps = Progress(CAPTURE_STAGES + options.stages(), progress, cancelled)
    capture = capture_clip(
        Path(path),
        max_references=options.max_references,
        report=steps.report,
        seed=seed,
        focal_px=options.focal_px,
        height_m=options.height_m,
    )
    return create_avatar(capture, name=name, model=model, steps=steps, seed=seed, options=options)


def create_avatar(
    capture: Capture,
    *,
    name: str = "avatar",
    model: LCAModel | None = None,
    steps: Progress | None = None,
    seed: int = 0,
    options: CreateOptions | None = None,
) -> Avatar:
    """Make an avatar from a finished capture; deterministic for the same capture, weights and seed."""
    options = options or CreateOptions()
    model = model or load_model(options.weights)
    steps = steps or Progress(options.stages())
    steps.report("encode", 0.0, "reading the reference frames")
    references = prepare_references(
        list(capture.frames),
        [(mask * 255 + 0.5).astype(np.uint8) for mask in capture.masks],
        capture.Ks,
        capture.viewmats,
        capture.pose,
        capture.transl,
        capture.expression,
        capture.gaze,
        capture.betas,
        model.config,
        model.template,
    )
    made = canonical_gaussians(
        model,
        references,
        options.texture_size,
        loose=options.loose_garments,
        outline=options.outline,
        agree=options.agree,
        detail=options.detail,
        report=lambda fraction, message: steps.report("encode", fraction, message),
    )
    correction = NetworkCorrection(
        Corrector(model, made.identity_map.astype(np.float16), made.betas, made.texel, made.uv_size)
    )
    canonical = _canonical(made, correction)
    correctives = distill(
        correction,
        seed=seed,
        face=face_points(made.weights),
        report=lambda fraction: steps.report("correctives", fraction),
    )
    if made.loose is not None:
        still(correctives, made.loose)
    steps.report("proxy", 0.0, "baking the proxy mesh")
    body = model.template.body
    assert isinstance(body, BodyModel)
    rest, _ = body.rest(torch.from_numpy(made.betas)[None], None)
    indices, weights = snap_weights(made.weights)
    info = model.info
    avatar = Avatar(
        name=name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        generator=f"lca-bridge {_version()}",
        weights=WeightsInfo(info.config.name, info.sha256, WEIGHTS_LICENCE),
        inputs_licence=options.inputs_licence,
        height_m=float(capture.height_m),
        betas=made.betas,
        rig=default_rig(),
        canonical=canonical,
        skinning=Skinning(made.joints, np.asarray(body.parents, np.int32), indices, weights),
        correctives=correctives,
        network={"identity_map": made.identity_map.astype(np.float16)},
        relight=lambert_transfer(made.albedo, canonical.quats),
        proxy=dressed_proxy(
            build_proxy(body, rest[0].numpy(), canonical, _texture(made), made.teeth), made.loose
        ),
        thumbnail=np.zeros((1, 1, 3), np.uint8),
        provenance={
            "seed": seed,
            "reference_frames": [int(index) for index in capture.frame_index],
            "capture_metrics": {k: _plain(v) for k, v in capture.metrics.items()},
            "capture_notes": list(capture.notes),
            "copied_colour_share": round(float(1.0 - made.blend.mean()), 4),
            "loose_garment": garment_facts(made.loose),
        },
    )
    avatar = with_light_transfer(avatar, photo_pose(capture.pose), 1 - made.blend)
    steps.report("thumbnail", 0.0, "drawing the thumbnail")
    from lca_core.avatar.pictures import thumbnail

    avatar.thumbnail = thumbnail(avatar)
    steps.report("thumbnail", 1.0, "done")
    if options.refine_seconds:
        steps.report("refine", 0.0, "fitting to the reference frames")
        avatar = refine(
            avatar,
            photos_of(capture),
            RefineOptions(seconds=options.refine_seconds, seed=seed),
            report=lambda fraction, message: steps.report("refine", fraction, message),
            without=lambda frames: made_without(capture, frames, model, seed, options),
        ).avatar
    return avatar


def made_without(
    capture: Capture, frames: Sequence[int], model: LCAModel, seed: int, options: CreateOptions
) -> Avatar:
    """The same creation, coarser, without the reference ``frames``, which so can judge what comes of it."""
    coarse = replace(options, refine_seconds=0.0, texture_size=128, detail=0)
    return create_avatar(capture.without(frames), model=model, seed=seed, options=coarse)


def _canonical(made: CanonicalGaussians, correction: NetworkCorrection) -> Canonical:
    """Canonical Gaussians with the correction of the rest frame folded in."""
    rest = correction.at_rest
    quats = made.quats + rest.quats
    sh = (made.colors - 0.5) / C0 + rest.sh0
    return Canonical(
        means=(made.means + rest.means).astype(np.float32),
        quats=(quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        scales=(made.scales * np.exp(rest.log_scales)).astype(np.float32),
        opacities=made.opacities,
        sh=sh[:, None].astype(np.float32),
        texel=made.texel,
        uv_size=made.uv_size,
    )


def _texture(made: CanonicalGaussians) -> np.ndarray:
    image = bake(made.texel, made.uv_size, made.colors, PROXY_TEXTURE)
    return (image.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _version() -> str:
    try:
        return version("lca-bridge")
    except PackageNotFoundError:
        return "unknown"
