"""The shapes of the network, as frozen values.

One code base: ``lca-xs`` (the CPU profile that ships), ``lca-s`` (one GPU), ``lca-paper`` (the shape
reported for Large-scale Codec Avatars, arXiv 2604.02320; token decoder, pluggable image features),
``lca-nano`` (ablations in CPU minutes) and ``tiny`` (tests). A configuration goes in the header of every
checkpoint; nothing about shapes is decided elsewhere.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from lca.errors import InvalidInputError

ImageAttention = Literal["per_image", "all_images"]
Mix = Literal["joint", "cross"]

POSE_CODE = 80
"""Width of the pose code: 21 body joints x 3, 6 values per hand, gaze 2 x 2, 1 reserved zero."""

SKIN_JOINTS = 24
"""Coarse joints of the skin residual: the 22 body joints and the two hands (see
``skinning.COARSE_OF_JOINT``)."""


@dataclass(frozen=True)
class ModelConfig:
    """Every size of one network.

    Attributes:
        name: preset name; also the file name of its weights.
        decoder: ``uv`` (inverse texture map + convolutional UV decoder) or ``token`` (an MLP per geometry
        token).
        input_size: side of the square body and face crops, pixels.
        uv_size: side of the UV grid on which the network works, texels.
        dim, layers, heads, mlp_ratio: transformer width, depth, heads, and hidden width over ``dim``.
        geometry_mlp: whether the geometry self-attention block has its own feed-forward half.
        image_attn: image attention ``per_image``, or over the tokens of ``all_images``.
        mix: ``joint`` attention over image and geometry tokens, or ``cross`` (geometry asks, images answer).
        patch: side of the UV patch behind one geometry token (``uv`` decoder).
        body_channels, face_channels: encoder widths per halving of the resolution.
        face_grid: face tokens are pooled to ``face_grid`` x ``face_grid``.
        decoder_channels: UV decoder widths from token grid to ``uv_size``.
        correction_size, correction_width: grid and base width of the correction network.
        identity_channels: channels of the map that the correction network reads.
        pose_dim, expression_dim: widths of the driving codes.
        offset_limit, correction_limit: metres; bounds of canonical offset and learned correction.
        max_views: largest number of reference views.
        tokens, gaussians_per_token, feature_dim: only for the ``token`` decoder.
    """

    name: str
    decoder: Literal["uv", "token"] = "uv"
    input_size: int = 128
    uv_size: int = 128
    dim: int = 128
    layers: int = 3
    heads: int = 4
    mlp_ratio: int = 4
    geometry_mlp: bool = False
    image_attn: ImageAttention = "per_image"
    mix: Mix = "joint"
    patch: int = 8
    body_channels: tuple[int, ...] = (16, 32, 64, 128)
    face_channels: tuple[int, ...] = (16, 32, 64, 96)
    face_grid: int = 4
    decoder_channels: tuple[int, ...] = (96, 64, 40, 24)
    correction_size: int = 128
    correction_width: int = 24
    identity_channels: int = 32
    pose_dim: int = POSE_CODE
    expression_dim: int = 48
    offset_limit: float = 0.15
    correction_limit: float = 0.08
    max_views: int = 8
    tokens: int = 256
    gaussians_per_token: int = 1
    feature_dim: int = 0

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise InvalidInputError(f"Model width {self.dim} is not divisible by {self.heads} heads.")
        if self.image_attn not in ("per_image", "all_images"):
            raise InvalidInputError(f"image_attn is 'per_image' or 'all_images', not {self.image_attn!r}.")
        if self.mix not in ("joint", "cross"):
            raise InvalidInputError(f"mix is 'joint' or 'cross', not {self.mix!r}.")
        if self.decoder == "uv" and self.patch != 2 ** (len(self.decoder_channels) - 1):
            raise InvalidInputError(
                f"A UV patch of {self.patch} texels needs {self.patch.bit_length()} decoder widths, "
                f"got {len(self.decoder_channels)}."
            )

    @property
    def grid(self) -> int:
        """Side of the geometry token grid."""
        return self.uv_size // self.patch

    @property
    def uv_channels(self) -> int:
        """Channels of the inverse texture map the network reads (see ``inverse_texture.UV_LAYOUT``)."""
        return self.body_channels[0] + 15

    def replace(self, **changes: Any) -> ModelConfig:
        """A copy with ``changes``."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> ModelConfig:
        """Inverse of :meth:`to_dict`; unknown keys are refused because a shape would silently differ."""
        known = {f.name for f in dataclasses.fields(ModelConfig)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InvalidInputError(
                f"The model configuration has keys this version does not know: {', '.join(unknown)}. "
                "Update the software or use weights made for this version."
            )
        fixed: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return ModelConfig(**fixed)


PRESETS: dict[str, ModelConfig] = {
    "lca-xs": ModelConfig("lca-xs"),
    "lca-s": ModelConfig(
        "lca-s",
        input_size=256,
        uv_size=256,
        dim=256,
        layers=6,
        heads=8,
        body_channels=(32, 64, 128, 256),
        face_channels=(24, 48, 96, 192),
        face_grid=8,
        decoder_channels=(192, 128, 64, 32),
        correction_width=32,
        tokens=1024,
    ),
    "lca-nano": ModelConfig(
        "lca-nano",
        input_size=64,
        uv_size=64,
        dim=64,
        layers=3,
        heads=4,
        body_channels=(12, 24, 48),
        face_channels=(12, 24, 48),
        decoder_channels=(48, 32, 24, 16),
        correction_size=64,
        correction_width=16,
        identity_channels=16,
        tokens=64,
    ),
    "lca-paper": ModelConfig(
        "lca-paper",
        decoder="token",
        input_size=1024,
        dim=1024,
        layers=8,
        heads=16,
        geometry_mlp=True,
        pose_dim=138,
        expression_dim=128,
        tokens=8192,
        gaussians_per_token=8,
        feature_dim=1536,
    ),
    "tiny": ModelConfig(
        "tiny",
        input_size=32,
        uv_size=32,
        dim=32,
        layers=2,
        heads=2,
        body_channels=(8, 8, 16),
        face_channels=(8, 8, 16),
        face_grid=2,
        decoder_channels=(16, 16, 8, 8),
        correction_size=32,
        correction_width=8,
        identity_channels=8,
        tokens=16,
    ),
}


def preset(name: str) -> ModelConfig:
    """The preset called ``name``; :class:`lca.errors.InvalidInputError` names the choices."""
    try:
        return PRESETS[name]
    except KeyError:
        raise InvalidInputError(f"No model preset {name!r}. Choose one of {', '.join(PRESETS)}.") from None
