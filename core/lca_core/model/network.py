"""The LCA network: references in, identity once, corrections per frame.

    encode(references) -> Identity            once per person
    canonical(identity) -> CanonicalMaps      once per person
    correct(identity, pose, expression, gaze) -> CorrectionMaps   per frame

All maps lie on the UV grid of the body atlas, row 0 = v near 1. Offsets are metres in the texel's tangent
frame
(columns tangent, bitangent, normal) on the person's rest body.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lca.errors import InvalidInputError
from lca_core.model.codes import expression_basis, pose_code, view_code
from lca_core.model.config import ModelConfig
from lca_core.model.decoders import (
    CANONICAL_HEADS,
    CORRECTION_HEADS,
    CorrectionNet,
    SkinResidual,
    UVDecoder,
    split,
)
from lca_core.model.encoders import ExpressionEncoder, ImageTokens
from lca_core.model.inverse_texture import TexelViews, fuse, sample_views
from lca_core.model.references import References
from lca_core.model.template import Template
from lca_core.model.transformer import Encoder

LOG_SCALE_LIMIT = 1.0
"""Gaussians stay within a factor e of the local texel spacing."""

COPY_PRIOR = 3.0
"""Start of the blend: a well seen texel takes sigmoid(3) = 95 % of its colour from the photographs."""


@dataclass
class Identity:
    """What the network knows about a person.

    Attributes:
        identity_map: [B,I,U,U], -1..1; with betas enough for :meth:`LCAModel.correct` (see ``restore``).
        geometry: [B,6,U,U] rest position (m) and normal.
        betas: [B,50].
        heads: [B,18,U,U] raw canonical heads, or None when restored from a file.
        skin: [B,24,g,g] raw skin residual, or None when restored.
        copied: [B,3,U,U] fused photograph colours 0-1, hit: [B,1,U,U] 0-1; None when restored.
        fill: [B,3,U,U] the guess for unseen texels that predicted colour starts from; None when restored.
    """

    identity_map: Tensor
    geometry: Tensor
    betas: Tensor
    heads: Tensor | None = None
    skin: Tensor | None = None
    copied: Tensor | None = None
    hit: Tensor | None = None
    fill: Tensor | None = None


@dataclass
class CanonicalMaps:
    """Canonical Gaussians on the UV grid; every tensor [B,C,U,U].

    ``offset`` metres (tangent frame); ``quat`` wxyz rotation inside the tangent frame, unit; ``log_scale``
    relative
    to local texel spacing; ``opacity`` 0-1; ``color`` sRGB 0-1 blended from ``predicted`` and ``copied`` with
    ``blend`` (1 = predicted); ``albedo`` sRGB 0-1; ``skin`` [B,24,U,U] coarse skin logits.
    """

    offset: Tensor
    quat: Tensor
    log_scale: Tensor
    opacity: Tensor
    color: Tensor
    predicted: Tensor
    copied: Tensor
    blend: Tensor
    albedo: Tensor
    skin: Tensor


@dataclass
class CorrectionMaps:
    """What a frame adds to the canonical maps before skinning; every tensor [B,C,U,U].

    ``offset`` metres in the tangent frame, including the template's own expression and pose-corrective
    displacement
    (``template_offset``); ``quat`` added to the canonical wxyz before normalising; ``log_scale`` and
    ``color`` added.
    """

    offset: Tensor
    quat: Tensor
    log_scale: Tensor
    color: Tensor
    template_offset: Tensor


class LCAModel(nn.Module):
    """The UV-decoder form of LCA (``lca-xs``, ``lca-s``, ``tiny``).

    Args:
        config: shapes; must have ``decoder == "uv"`` (for ``lca-paper`` see ``paper.TokenModel``).
        template: body and atlas constants at ``config.uv_size``; loaded on first use when None.
    """

    def __init__(self, config: ModelConfig, template: Template | None = None) -> None:
        super().__init__()
        if config.decoder != "uv":
            raise InvalidInputError(f"{config.name} has a token decoder: build it with paper.TokenModel.")
        self.config = config
        self.info: Any = None
        self._template = template
        self.images = ImageTokens(config)
        self.patches = nn.Conv2d(config.uv_channels, config.dim, config.patch, stride=config.patch)
        self.places = nn.Parameter(torch.randn(config.grid**2, config.dim) * 0.02)
        self.encoder = Encoder(config)
        self.decoder = UVDecoder(config)
        self.skin = SkinResidual(config)
        self.correction = CorrectionNet(config)
        self.expressions = ExpressionEncoder(config)
        self.expression_map = nn.Linear(52, config.expression_dim, bias=False)
        with torch.no_grad():
            self.expression_map.weight.copy_(expression_basis(config.expression_dim))

    @property
    def template(self) -> Template:
        """Body and atlas constants; not part of the weights."""
        if self._template is None:
            self._template = Template.load(self.config.uv_size)
        return self._template

    def encode(self, refs: References, views: TexelViews | None = None) -> Identity:
        """Everything about the person that does not depend on the driving frame.

        Args:
            refs: N = 1..8 references; invalid views (``view_valid`` False) have no influence.
            views: where each texel falls in each view, when already known (training prepares it in the
            loader);
                else computed here with the z-buffer of the posed template.
        """
        n = refs.images.shape[1]
        if not 1 <= n <= self.config.max_views:
            raise InvalidInputError(f"{n} references given; this model takes 1 to {self.config.max_views}.")
        if not bool(refs.view_valid.any(1).all()):
            raise InvalidInputError("A person has no valid reference view; give at least one.")
        rest = self.template.rest(refs.betas)
        if views is None:
            views = sample_views(self.template, refs)
        tokens, features = self.images(
            refs.images, refs.masks, refs.faces, refs.face_masks, view_code(refs, self.config.pose_dim)
        )
        fused = fuse(features, views)
        geometry = torch.cat([rest.position, rest.normal], 1)
        carries = self.template.carries_map.to(geometry)
        fill = self.template.fill(views.color, views.hit)
        uv = torch.cat(
            [
                fused,
                (views.color * 2 - 1) * views.hit.clamp(max=1),
                views.hit,
                geometry,
                views.cosine,
                views.variance,
                fill * 2 - 1,
            ],
            1,
        )
        uv = uv * carries
        geometry = geometry * carries
        patches = self.patches(uv)
        state = patches.flatten(2).transpose(1, 2) + self.places
        state = self.encoder(tokens, state, refs.view_valid)
        grid = state.transpose(1, 2).reshape(patches.shape) + patches
        heads, identity_map = self.decoder(grid, uv)
        return Identity(
            identity_map, geometry, refs.betas, heads, self.skin(state), views.color, views.hit, fill
        )

    def canonical(self, identity: Identity) -> CanonicalMaps:
        """Canonical Gaussians of an identity that came from :meth:`encode`."""
        if (
            identity.heads is None
            or identity.skin is None
            or identity.copied is None
            or identity.hit is None
            or identity.fill is None
        ):
            raise InvalidInputError(
                "This identity was restored from a file and has no canonical maps; "
                "the avatar file itself holds its canonical Gaussians."
            )
        raw = split(identity.heads, CANONICAL_HEADS)
        unit = torch.zeros_like(raw["quat"])
        unit[:, 0] = 1
        quat = F.normalize(unit + raw["quat"], dim=1)
        predicted = (identity.fill + raw["color"]).clamp(0, 1)
        predicted = identity.fill + raw["color"] + (predicted - identity.fill - raw["color"]).detach()
        blend = 1 - identity.hit.clamp(0, 1) * torch.sigmoid(COPY_PRIOR + raw["blend"])
        color = blend * predicted + (1 - blend) * identity.copied
        limit = self.config.offset_limit
        size = identity.heads.shape[-2:]
        return CanonicalMaps(
            offset=limit * torch.tanh(raw["offset"] / limit),
            quat=quat,
            log_scale=LOG_SCALE_LIMIT * torch.tanh(raw["log_scale"] / LOG_SCALE_LIMIT),
            opacity=torch.sigmoid(raw["opacity"] + 3.0),
            color=color,
            predicted=predicted,
            copied=identity.copied,
            blend=blend,
            albedo=color * torch.exp(torch.tanh(raw["albedo"])),
            skin=F.interpolate(identity.skin, size=size, mode="bilinear", align_corners=False),
        )

    def correct(self, identity: Identity, pose: Tensor, expression: Tensor, gaze: Tensor) -> CorrectionMaps:
        """Corrections of one frame per person.

        Args:
            pose: [B,55,3] local axis-angle; expression: [B,52] ARKit 0-1; gaze: [B,2,2] left/right (yaw,
            pitch) rad.
        """
        template = self.template.corrective(identity.betas, pose, expression)
        return self.correct_code(identity, pose, self.expression_map(expression), gaze, template)

    def correct_code(
        self, identity: Identity, pose: Tensor, code: Tensor, gaze: Tensor, template: Tensor | None = None
    ) -> CorrectionMaps:
        """:meth:`correct` with a raw expression code [B,48] (from ``expressions`` or the linear map) and,
        when the
        expression is known, the template displacement [B,3,U,U] it causes."""
        driving = torch.cat([pose_code(pose, gaze, self.config.pose_dim), code], 1)
        side = identity.identity_map.shape[-1]
        inner = self.config.correction_size
        features, geometry = identity.identity_map, identity.geometry
        if side != inner:
            features = F.interpolate(features, size=(inner, inner), mode="area")
            geometry = F.interpolate(geometry, size=(inner, inner), mode="area")
        raw_map = self.correction(features, geometry, driving)
        if side != inner:
            raw_map = F.interpolate(raw_map, size=(side, side), mode="bilinear", align_corners=False)
        raw = split(raw_map, CORRECTION_HEADS)
        limit = self.config.correction_limit
        learned = limit * torch.tanh(raw["offset"] / limit)
        if template is None:
            template = torch.zeros_like(learned)
        return CorrectionMaps(
            offset=template + learned,
            quat=0.3 * torch.tanh(raw["quat"]),
            log_scale=0.5 * torch.tanh(raw["log_scale"]),
            color=0.3 * torch.tanh(raw["color"]),
            template_offset=template,
        )

    def restore(self, identity_map: Tensor, betas: Tensor) -> Identity:
        """The identity of a stored avatar, for live correction: identity_map [B,I,U,U], betas [B,50]."""
        rest = self.template.rest(betas)
        geometry = torch.cat([rest.position, rest.normal], 1) * self.template.carries_map
        return Identity(identity_map, geometry.to(identity_map), betas)


def parameter_count(module: nn.Module) -> int:
    """Number of weights."""
    return sum(p.numel() for p in module.parameters())
