"""Pixels to tokens: a small convolutional encoder for the body crop, one for the face crop, one for
expressions.

No pretrained backbone is used. Inputs are crops on a neutral background, 0-1, with their mask as fourth
channel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lca_core.model.config import ModelConfig


def norm(channels: int) -> nn.Module:
    """Group norm with groups of 8 channels: independent of the batch, hence of view dropout."""
    return nn.GroupNorm(max(1, channels // 8), channels)


class Block(nn.Module):
    """Residual 3x3-3x3 block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2, self.conv2 = norm(channels), nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(y)))


class Pyramid(nn.Module):
    """[B,C,S,S] -> (features of the first level [B,C1,S/2,S/2], last level [B,CL,S/2^L,S/2^L])."""

    def __init__(self, inputs: int, channels: tuple[int, ...], blocks: int = 1) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        before = inputs
        for width in channels:
            stages.append(
                nn.Sequential(
                    nn.Conv2d(before, width, 4, stride=2, padding=1), *[Block(width) for _ in range(blocks)]
                )
            )
            before = width
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stages[0](x)
        first = x
        for stage in self.stages[1:]:
            x = stage(x)
        return first, x


def centred(images: Tensor, masks: Tensor) -> Tensor:
    """Images 0-1 and masks -> [.., 4, S, S] in -1..1 with the background at 0."""
    return torch.cat([(images * 2 - 1) * masks, masks], -3)


class ImageTokens(nn.Module):
    """Body and face crops of every view -> image tokens and body feature maps."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.face_grid = config.face_grid
        self.body = Pyramid(4, config.body_channels)
        self.face = Pyramid(4, config.face_channels)
        self.body_out = nn.Conv2d(config.body_channels[-1], config.dim, 1)
        self.face_out = nn.Conv2d(config.face_channels[-1], config.dim, 1)
        side = config.input_size // 2 ** len(config.body_channels)
        self.body_place = nn.Parameter(torch.randn(side * side, config.dim) * 0.02)
        self.face_place = nn.Parameter(torch.randn(config.face_grid**2, config.dim) * 0.02)
        # What the view knows about itself: camera relative to the pelvis (9 + 3), pose code.
        self.view = nn.Sequential(
            nn.Linear(12 + config.pose_dim, config.dim), nn.GELU(), nn.Linear(config.dim, config.dim)
        )

    def forward(
        self, images: Tensor, masks: Tensor, faces: Tensor, face_masks: Tensor, view: Tensor
    ) -> tuple[Tensor, Tensor]:
        """images, faces [B,N,3,S,S], masks [B,N,1,S,S], view [B,N,12+P] -> tokens [B,N,T,D], features
        [B,N,C,S/2,S/2]."""
        b, n = images.shape[:2]
        first, last = self.body(centred(images, masks).flatten(0, 1))
        _, face = self.face(centred(faces, face_masks).flatten(0, 1))
        body_tokens = self.body_out(last).flatten(2).transpose(1, 2) + self.body_place
        face_tokens = self.face_out(F.adaptive_avg_pool2d(face, self.face_grid))
        face_tokens = face_tokens.flatten(2).transpose(1, 2) + self.face_place
        tokens = torch.cat([body_tokens, face_tokens], 1)
        tokens = tokens.view(b, n, tokens.shape[1], -1) + self.view(view)[:, :, None]
        return tokens, first.view(b, n, *first.shape[1:])


class ExpressionEncoder(nn.Module):
    """Face crop [B,3,S,S] 0-1 with mask -> expression code [B,E], the code that ARKit weights map to
    linearly."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.pyramid = Pyramid(4, config.face_channels)
        self.head = nn.Sequential(
            nn.Linear(config.face_channels[-1] * 4, config.dim),
            nn.GELU(),
            nn.Linear(config.dim, config.expression_dim),
        )

    def forward(self, faces: Tensor, masks: Tensor) -> Tensor:
        _, last = self.pyramid(centred(faces, masks))
        pooled = F.adaptive_avg_pool2d(last, 2).flatten(1)
        # Unnormalised, the hidden layer died in training: every face got the same code.
        return self.head(F.layer_norm(pooled, pooled.shape[1:]))
