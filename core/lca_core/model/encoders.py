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


PLACES = 64
"""Parts of a face that the expression encoder looks for; training names the first ones."""
KINDS = 16
"""Features read at each of them."""
MIDDLE = 0.75
"""Half side of the part of the crop that the expression encoder looks at, crop = -1..1."""


class ExpressionEncoder(nn.Module):
    """Face crop [B,3,S,S] 0-1 with mask -> expression code [B,E], the code that ARKit weights map to
    linearly.

    It finds ``PLACES`` parts of the face by attention over the middle of the crop and reads the code from how
    they lie to each other and what is seen there. Where the head is, how large and how bright drops out
    before.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels = config.face_channels[:3]
        self.pyramid = Pyramid(4, channels)
        self.norm = norm(channels[-1])
        self.where = nn.Conv2d(channels[-1], PLACES, 1)
        # The softmax over places does not see it: its gradient is rounding noise, which Adam would blow up.
        assert self.where.bias is not None
        self.where.bias.requires_grad_(False)
        self.what = nn.Conv2d(channels[-1], KINDS, 1)
        self.head = nn.Sequential(
            nn.Linear(PLACES * (2 + KINDS), config.dim),
            nn.GELU(),
            nn.Linear(config.dim, config.expression_dim),
        )

    def search(self, faces: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Over the middle three quarters of the crop: how likely each part is where (unnormalised logarithms
        [B,PLACES,H,W]), and features [B,KINDS,H,W]."""
        edge = faces.shape[-1] // 8
        inner = slice(edge, faces.shape[-1] - edge)
        _, last = self.pyramid(one_exposure(faces[..., inner, inner], masks[..., inner, inner]))
        last = F.silu(self.norm(last))
        return self.where(last), self.what(last)

    def look(self, likely: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Where the parts are, [B,PLACES,2] (x, y) with the crop spanning -1..1, and their features
        [B,PLACES,KINDS]."""
        height, width = likely.shape[-2:]
        rows, columns = torch.meshgrid(
            (torch.arange(height, device=likely.device) + 0.5) * (2 * MIDDLE / height) - MIDDLE,
            (torch.arange(width, device=likely.device) + 0.5) * (2 * MIDDLE / width) - MIDDLE,
            indexing="ij",
        )
        attention = likely.flatten(2).softmax(-1)
        grid = torch.stack([columns, rows], -1).view(1, -1, 2).to(attention)
        return attention @ grid, attention @ features.flatten(2).mT

    def forward(self, faces: Tensor, masks: Tensor) -> Tensor:
        return self.code(*self.look(*self.search(faces, masks)))

    def code(self, where: Tensor, what: Tensor) -> Tensor:
        """The code [B,E] of what :meth:`look` saw."""
        where = where - where.mean(1, keepdim=True)
        where = where / (where.square().mean((1, 2), keepdim=True) + 1e-4).sqrt()
        return self.head(torch.cat([where, what], -1).flatten(1))


def one_exposure(faces: Tensor, masks: Tensor) -> Tensor:
    """Faces [B,3,S,S] with mean 0 and deviation 1 inside their masks [B,1,S,S], 0 outside: [B,4,S,S]."""
    seen = masks.sum((1, 2, 3), keepdim=True).clamp(min=1) * 3
    centre = (faces * masks).sum((1, 2, 3), keepdim=True) / seen
    faces = (faces - centre) * masks
    spread = (faces.square().sum((1, 2, 3), keepdim=True) / seen).sqrt()
    return torch.cat([faces / (spread + 0.02), masks], 1)
