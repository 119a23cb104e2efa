"""The reported shape of Large-scale Codec Avatars (arXiv 2604.02320): tokens only, no UV map, no convolution.

Known from third-party notes: width 1024, 8 layers, 8192 geometry tokens x 8 Gaussians, pose 138,
expression 128,
dual branch without opacity correction. Our fill-ins: 16 heads, MLP ratio 4, pre-norm, 1536 image features,
the
widths of both heads, gaze 2 x 2. No weights ship; image features come from a pluggable frozen extractor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lca.errors import InvalidInputError
from lca_core.model.config import SKIN_JOINTS, ModelConfig
from lca_core.model.transformer import Encoder

FREQUENCIES = 10
CANONICAL = 14
"""Per Gaussian: position 3, quaternion 4, log scale 3, opacity 1, colour 3."""
CORRECTION = 13
"""The same without opacity."""


class FeatureExtractor(Protocol):
    """A frozen image backbone: crops [M,3,S,S] 0-1 -> tokens [M,T,feature_dim]."""

    def __call__(self, images: Tensor) -> Tensor: ...


@dataclass
class TokenGaussians:
    """G tokens x K Gaussians; ``opacity`` is None in corrections.

    position [B,G,K,3] m relative to the anchor, quat [B,G,K,4] wxyz (additive in corrections), log_scale
    [B,G,K,3],
    color [B,G,K,3], opacity [B,G,K,1] 0-1.
    """

    position: Tensor
    quat: Tensor
    log_scale: Tensor
    color: Tensor
    opacity: Tensor | None = None


class TokenModel(nn.Module):
    """``lca-paper`` and its small versions.

    Args:
        config: with ``decoder == "token"``.
        anchors: [G,3] points of the template in canonical pose, metres; zeros when omitted (meta device,
        counting).
        checkpointing: recompute layers in the backward pass; the full shape needs it.
    """

    anchors: Tensor

    def __init__(
        self, config: ModelConfig, anchors: Tensor | None = None, checkpointing: bool = False
    ) -> None:
        super().__init__()
        if config.decoder != "token":
            raise InvalidInputError(f"{config.name} has a UV decoder: build it with network.LCAModel.")
        if anchors is None:
            anchors = torch.zeros(config.tokens, 3)
        if anchors.shape != (config.tokens, 3):
            raise InvalidInputError(f"{config.tokens} anchors [G,3] expected, got {tuple(anchors.shape)}.")
        self.config = config
        self.checkpointing = checkpointing
        d, k = config.dim, config.gaussians_per_token
        self.register_buffer("anchors", anchors, persistent=False)
        self.project = nn.Linear(config.feature_dim, d)
        self.embed = nn.Sequential(nn.Linear(3 + 6 * FREQUENCIES, d), nn.GELU(), nn.Linear(d, d))
        self.encoder = Encoder(config)
        self.canonical_head = nn.Sequential(
            nn.Linear(d, d), nn.GELU(), nn.Linear(d, d), nn.GELU(), nn.Linear(d, k * CANONICAL)
        )
        half = d // 2
        self.drive = nn.Sequential(
            nn.Linear(config.pose_dim + config.expression_dim + 4, half), nn.GELU(), nn.Linear(half, half)
        )
        self.pose_head = nn.Sequential(
            nn.Linear(d + half, half),
            nn.GELU(),
            nn.Linear(half, half),
            nn.GELU(),
            nn.Linear(half, k * CORRECTION),
        )
        self.skin_head = nn.Linear(d, SKIN_JOINTS)
        last = self.pose_head[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def encode(self, features: Tensor, view_valid: Tensor) -> Tensor:
        """Features of all crops [B,N,T,feature_dim] (body and face tokens concatenated), view_valid [B,N]
        bool ->
        geometry tokens [B,G,D]. Runs once per identity."""
        image = self.project(features)
        scales = 2.0 ** torch.arange(FREQUENCIES, device=self.anchors.device)
        angles = (self.anchors[:, None] * scales[:, None]).flatten(1)
        code = torch.cat([self.anchors, angles.sin(), angles.cos()], 1)
        geometry = self.embed(code)[None].expand(features.shape[0], -1, -1)
        if not self.checkpointing:
            return self.encoder(image, geometry, view_valid)
        for layer in self.encoder.layers:
            image, geometry = checkpoint(layer, image, geometry, view_valid, use_reentrant=False)
        return self.encoder.norm(geometry)

    def extract(self, images: Tensor, faces: Tensor, extractor: FeatureExtractor) -> Tensor:
        """Body and face crops [B,N,3,S,S] through a frozen extractor -> [B,N,T,feature_dim]."""
        b, n = images.shape[:2]
        with torch.no_grad():
            parts = [extractor(x.flatten(0, 1)) for x in (images, faces)]
        return torch.cat(parts, 1).view(b, n, -1, self.config.feature_dim)

    def canonical(self, tokens: Tensor) -> TokenGaussians:
        """H_cano: once per identity."""
        b, g, _ = tokens.shape
        raw = self.canonical_head(tokens).view(b, g, self.config.gaussians_per_token, CANONICAL)
        p, q, s, o, c = raw.split((3, 4, 3, 1, 3), -1)
        unit = torch.zeros_like(q)
        unit[..., 0] = 1
        limit = self.config.offset_limit
        return TokenGaussians(
            limit * torch.tanh(p / limit),
            F.normalize(unit + q, dim=-1),
            s,
            torch.sigmoid(c),
            torch.sigmoid(o),
        )

    def correct(self, tokens: Tensor, pose: Tensor, expression: Tensor, gaze: Tensor) -> TokenGaussians:
        """H_pose: per frame. pose [B,138], expression [B,128], gaze [B,2,2]. Opacity gets no correction."""
        b, g, _ = tokens.shape
        code = self.drive(torch.cat([pose, expression, gaze.flatten(1)], 1))
        both = torch.cat([tokens, code[:, None].expand(-1, g, -1)], -1)
        raw = self.pose_head(both).view(b, g, self.config.gaussians_per_token, CORRECTION)
        p, q, s, c = raw.split((3, 4, 3, 3), -1)
        limit = self.config.correction_limit
        return TokenGaussians(limit * torch.tanh(p / limit), q, s, c)

    def skin(self, tokens: Tensor) -> Tensor:
        """Coarse skin residual [B,G,24] (see ``skinning.residual_weights``)."""
        return self.skin_head(tokens)
