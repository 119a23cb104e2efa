"""From geometry tokens to Gaussians on the UV grid, and from a driving code to their corrections.

Canonical heads run once per identity. Corrections run per frame and never touch opacity. Every output head
starts
at zero, so an untrained network is the template with copied colours.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lca_core.model.config import SKIN_JOINTS, ModelConfig
from lca_core.model.encoders import Block

CANONICAL_HEADS: dict[str, int] = {
    "offset": 3,
    "quat": 4,
    "log_scale": 3,
    "opacity": 1,
    "color": 3,
    "blend": 1,
    "albedo": 3,
}
"""Raw channels of the canonical head, in order."""

CORRECTION_HEADS: dict[str, int] = {"offset": 3, "quat": 4, "log_scale": 3, "color": 3}
"""Raw channels of the correction head, in order. There is no opacity: it stays fixed during animation."""


def zero(layer: nn.Conv2d | nn.Linear) -> nn.Conv2d | nn.Linear:
    """The same layer with all parameters zero."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class UVDecoder(nn.Module):
    """Token grid [B,D,g,g] + inverse texture map [B,C,U,U] -> raw heads [B,18,U,U], identity map
    [B,I,U,U]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.scales = len(config.decoder_channels)
        uv = config.uv_channels
        stages: list[nn.Module] = []
        before = config.dim
        for width in config.decoder_channels:
            stages.append(nn.Sequential(nn.Conv2d(before + uv, width, 3, padding=1), Block(width)))
            before = width
        self.stages = nn.ModuleList(stages)
        self.heads = zero(nn.Conv2d(before, sum(CANONICAL_HEADS.values()), 3, padding=1))
        self.identity = nn.Conv2d(before, config.identity_channels, 1)

    def forward(self, grid: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
        x = grid
        for i, stage in enumerate(self.stages):
            factor = 2 ** (self.scales - 1 - i)
            if i:
                x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            skip = F.avg_pool2d(uv, factor) if factor > 1 else uv
            x = stage(torch.cat([x, skip], 1))
        x = F.silu(x)
        return self.heads(x), torch.tanh(self.identity(x))


class SkinResidual(nn.Module):
    """Geometry tokens [B,G,D] -> logits [B,24,g,g] added to the log of the coarse template weights."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.grid = config.grid
        self.net = nn.Sequential(
            nn.Linear(config.dim, config.dim // 2), nn.GELU(), zero(nn.Linear(config.dim // 2, SKIN_JOINTS))
        )

    def forward(self, tokens: Tensor) -> Tensor:
        logits = self.net(tokens).transpose(1, 2)
        return logits.reshape(tokens.shape[0], SKIN_JOINTS, self.grid, self.grid)


class Modulated(nn.Module):
    """3x3 convolution whose input is scaled and shifted per channel by the driving code (FiLM), residual."""

    def __init__(self, channels: int, code: int) -> None:
        super().__init__()
        self.film = nn.Linear(code, 2 * channels)
        nn.init.normal_(self.film.weight, std=0.05)
        nn.init.zeros_(self.film.bias)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        scale, shift = self.film(code)[:, :, None, None].chunk(2, 1)
        return x + self.conv(F.silu(x * (1 + scale) + shift))


class CorrectionNet(nn.Module):
    """Identity map + geometry [B,I+6,C,C] and driving code [B,P+E] -> raw correction heads [B,13,C,C]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        w = config.correction_width
        widths = (w, 2 * w, 3 * w, 4 * w)
        hidden = 2 * config.dim
        self.code = nn.Sequential(
            nn.Linear(config.pose_dim + config.expression_dim, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
        )
        self.enter = nn.Conv2d(config.identity_channels + 6, w, 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in itertools.pairwise(widths)
        )
        self.down_mod = nn.ModuleList(Modulated(b, hidden) for b in widths[1:])
        self.up = nn.ModuleList(
            nn.Conv2d(a + b, b, 3, padding=1)
            for a, b in zip(reversed(widths[1:]), reversed(widths[:-1]), strict=True)
        )
        self.up_mod = nn.ModuleList(Modulated(b, hidden) for b in reversed(widths[:-1]))
        self.heads = zero(nn.Conv2d(w, sum(CORRECTION_HEADS.values()), 3, padding=1))

    def forward(self, identity: Tensor, geometry: Tensor, code: Tensor) -> Tensor:
        c = self.code(code)
        x = self.enter(torch.cat([identity, geometry], 1))
        skips = [x]
        for down, mod in zip(self.down, self.down_mod, strict=True):
            x = mod(down(x), c)
            skips.append(x)
        skips.pop()
        for up, mod in zip(self.up, self.up_mod, strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = mod(up(torch.cat([x, skips.pop()], 1)), c)
        return self.heads(F.silu(x))


def split(raw: Tensor, heads: dict[str, int]) -> dict[str, Tensor]:
    """[B,sum,..] -> named channel groups."""
    return dict(zip(heads, raw.split(list(heads.values()), 1), strict=True))
