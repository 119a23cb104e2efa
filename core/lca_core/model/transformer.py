"""Three attentions per layer: inside images, inside the geometry, and between the two.

Image tokens [B, N, T, D] (N views, T tokens each) and geometry tokens [B, G, D] flow in and out. Views
carry no
index, so the result does not depend on their order; absent views are masked out of every sum.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lca_core.model.config import ModelConfig


class Attention(nn.Module):
    """Pre-norm multi-head attention ``x + out(softmax(q k) v)``; keys and values from ``context`` if
    given."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, context: Tensor | None = None, keep: Tensor | None = None) -> Tensor:
        """x [B,L,D], context [B,M,D], keep [B,M] bool (False = this key does not exist) -> [B,L,D]."""
        normed = self.norm(x)
        source = normed if context is None else self.norm(context)
        b, length, dim = x.shape
        q = self.q(normed).view(b, length, self.heads, -1).transpose(1, 2)
        k, v = self.kv(source).view(b, source.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = None if keep is None else keep[:, None, None, :]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return x + self.out(mixed.transpose(1, 2).reshape(b, length, dim))


class FeedForward(nn.Module):
    """Pre-norm ``x + W2 gelu(W1 x)``."""

    def __init__(self, dim: int, ratio: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, dim * ratio), nn.GELU(), nn.Linear(dim * ratio, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.net(x)


class Layer(nn.Module):
    """One encoder layer: image attention, geometry self-attention, multimodal attention."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.per_image = config.image_attn == "per_image"
        self.joint = config.mix == "joint"
        d, h, r = config.dim, config.heads, config.mlp_ratio
        self.image = Attention(d, h)
        self.image_ff = FeedForward(d, r)
        self.geometry = Attention(d, h)
        self.geometry_ff = FeedForward(d, r) if config.geometry_mlp else nn.Identity()
        self.mixing = Attention(d, h)
        self.mixing_ff = FeedForward(d, r)

    def forward(self, image: Tensor, geometry: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """image [B,N,T,D], geometry [B,G,D], valid [B,N] bool -> the same shapes."""
        b, n, t, d = image.shape
        keep = valid[:, :, None].expand(b, n, t).reshape(b, n * t)
        if self.per_image:
            flat = self.image(image.reshape(b * n, t, d))
        else:
            # With no valid view at all every key would be masked; such rows are undefined by contract.
            flat = self.image(image.reshape(b, n * t, d), keep=keep)
        image = self.image_ff(flat).reshape(b, n * t, d)
        geometry = self.geometry_ff(self.geometry(geometry))
        g = geometry.shape[1]
        if self.joint:
            both = torch.cat([geometry, image], 1)
            present = torch.cat([keep.new_ones(b, g), keep], 1)
            both = self.mixing_ff(self.mixing(both, keep=present))
            geometry, image = both[:, :g], both[:, g:]
        else:
            geometry = self.mixing_ff(self.mixing(geometry, image, keep))
        return image.reshape(b, n, t, d), geometry


class Encoder(nn.Module):
    """``layers`` layers, then a final norm on the geometry tokens."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, image: Tensor, geometry: Tensor, valid: Tensor) -> Tensor:
        """image [B,N,T,D], geometry [B,G,D], valid [B,N] bool -> geometry tokens [B,G,D]."""
        for layer in self.layers:
            image, geometry = layer(image, geometry, valid)
        return self.norm(geometry)


def layer_rates(layers: int, gamma: float, rate: float = 1.0) -> list[float]:
    """Learning rates per layer, input to output: ``rate * gamma ** (layers - 1 - l)`` (last layer: ``rate``).

    The post-training of the paper reports gamma = 0.65; 1 is no decay, 0 freezes all but the last layer.
    """
    return [rate * (1.0 if i == layers - 1 else gamma ** (layers - 1 - i)) for i in range(layers)]
