"""Gaussian frame codecs: posed Gaussians to bytes and back, float32 or quantised, raw or zstd.

The server encodes with :func:`encode_frame`, a client decodes with :class:`FrameDecoder`; both follow one
:class:`Layout`, the plain-data twin of ``lca.v1.GaussianLayout``. Planes are little endian, component by
component.
Nothing received is trusted: sizes come from the layout, and a compressed payload is opened only if it
promises, and keeps to, exactly that size.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import IntEnum
from types import ModuleType
from typing import Any

import numpy as np

from lca.errors import DataLossError, InvalidInputError, PreconditionError, UnimplementedError
from lca_bridge.wire.skin import PosedSplats

SH_C0 = 0.28209479177387814
MAX_GAUSSIANS = 4_000_000
LOG_SCALE_RANGE = (-13.0, 3.0)
"""Natural log of metres: 2 micrometres to 20 metres."""


class Encoding(IntEnum):
    """Numbers of lca.v1.GaussianEncoding."""

    FLOAT32 = 1
    Q20 = 2
    Q10 = 3


class Codec(IntEnum):
    """Numbers of lca.v1.PayloadCodec."""

    RAW = 1
    ZSTD = 2


class Kind(IntEnum):
    """Numbers of lca.v1.AttributeKind."""

    POSITION = 1
    ROTATION = 2
    SCALE = 3
    LOG_SCALE = 4
    OPACITY = 5
    COLOR = 6
    SH = 7


class Component(IntEnum):
    """Numbers of lca.v1.ComponentType."""

    FLOAT32 = 1
    UINT16 = 2
    UINT8 = 3
    INT8 = 4


_DTYPES: dict[Component, np.dtype[Any]] = {
    Component.FLOAT32: np.dtype("<f4"),
    Component.UINT16: np.dtype("<u2"),
    Component.UINT8: np.dtype("u1"),
    Component.INT8: np.dtype("i1"),
}


@dataclass(frozen=True)
class Attribute:
    """One planar attribute: value = raw * scale + offset; positions in UINT16 use the frame's box."""

    kind: Kind
    component: Component
    count: int
    scale: float = 1.0
    offset: float = 0.0
    is_static: bool = False

    @property
    def bytes_per_gaussian(self) -> int:
        """Size of one Gaussian's share."""
        return self.count * _DTYPES[self.component].itemsize


@dataclass(frozen=True)
class Layout:
    """What the bytes of a stream's frames mean."""

    encoding: Encoding
    gaussian_count: int
    attributes: tuple[Attribute, ...]

    def sent(self, keyframe: bool) -> tuple[Attribute, ...]:
        """Attributes present in a frame, in order."""
        return tuple(a for a in self.attributes if keyframe or not a.is_static)

    def decoded_size(self, keyframe: bool) -> int:
        """Bytes of an uncompressed frame."""
        return self.gaussian_count * sum(a.bytes_per_gaussian for a in self.sent(keyframe))


@dataclass(frozen=True)
class EncodedFrame:
    """A payload and what opens it; ``box`` is min xyz, max xyz (6 values) of quantised positions."""

    keyframe: bool
    codec: Codec
    decoded_size: int
    crc32: int
    box: tuple[float, ...]
    payload: bytes | memoryview


def make_layout(encoding: Encoding, gaussian_count: int, sh_bands: int = 1) -> Layout:
    """The layout of an encoding for ``gaussian_count`` Gaussians with (N, sh_bands, 3) colour coefficients.

    FLOAT32 is lossless. Q20 keeps positions to half a step of (extent / 65535), rotations to 0.8 degrees,
    scales to 0.02 %, opacity and display colour to 1/510; colour is clamped to 0..1 and higher SH bands are
    left out. Q10 sends position and rotation as Q20 does, and the rest in key frames only.
    """
    if encoding is Encoding.FLOAT32:
        f4 = Component.FLOAT32
        attributes = (
            Attribute(Kind.POSITION, f4, 3),
            Attribute(Kind.ROTATION, f4, 4),
            Attribute(Kind.SCALE, f4, 3),
            Attribute(Kind.OPACITY, f4, 1),
            Attribute(Kind.SH, f4, 3 * sh_bands),
        )
    else:
        low, high = LOG_SCALE_RANGE
        static = encoding is Encoding.Q10
        attributes = (
            Attribute(Kind.POSITION, Component.UINT16, 3),
            Attribute(Kind.ROTATION, Component.INT8, 4, 1 / 127),
            Attribute(Kind.LOG_SCALE, Component.UINT16, 3, (high - low) / 65535, low, static),
            Attribute(Kind.OPACITY, Component.UINT8, 1, 1 / 255, 0.0, static),
            Attribute(Kind.COLOR, Component.UINT8, 3, 1 / 255, 0.0, static),
        )
    return Layout(encoding, gaussian_count, attributes)


def encode_frame(
    layout: Layout, splats: PosedSplats, *, keyframe: bool = True, codec: Codec = Codec.RAW, level: int = 1
) -> EncodedFrame:
    """Encode one frame.

    Args:
        layout: from :func:`make_layout`; its count must match ``splats``.
        keyframe: include the static attributes.
        codec: compression; ``level`` is zstd's (1 is right: higher levels cost time and save nothing here).
    """
    n = layout.gaussian_count
    if len(splats.means) != n:
        raise InvalidInputError(f"The frame has {len(splats.means)} Gaussians, its layout {n}.")
    box: tuple[float, ...] = ()
    raw = np.empty(layout.decoded_size(keyframe), np.uint8)
    start = 0
    for attribute in layout.sent(keyframe):
        dtype = _DTYPES[attribute.component]
        stop = start + n * attribute.bytes_per_gaussian
        plane = raw[start:stop].view(dtype).reshape(attribute.count, n)
        values = np.ascontiguousarray(_values(attribute, splats).T, np.float32)
        if attribute.component is Component.FLOAT32:
            plane[:] = values
        elif attribute.kind is Kind.POSITION and attribute.component is Component.UINT16:
            low, high = values.min(1), values.max(1)
            box = (*map(float, low), *map(float, high))
            _quantise(plane, values, np.maximum(high - low, 1e-9)[:, None] / 65535, low[:, None])
        else:
            _quantise(plane, values, attribute.scale, attribute.offset)
        start = stop
    payload = raw.tobytes()
    if codec is Codec.ZSTD:
        payload = _zstandard().ZstdCompressor(level=level).compress(payload)
    return EncodedFrame(keyframe, codec, len(raw), zlib.crc32(payload), box, payload)


def _quantise(
    plane: np.ndarray, values: np.ndarray, scale: float | np.ndarray, offset: float | np.ndarray
) -> None:
    """plane = round((values - offset) / scale), clamped to its type; ``values`` is overwritten."""
    limits = np.iinfo(plane.dtype)
    if values.base is not None or not values.flags.writeable:
        values = values.copy()
    values -= offset
    values *= 1 / scale
    np.rint(values, out=values)
    np.clip(values, limits.min, limits.max, out=values)
    plane[:] = values


def _values(attribute: Attribute, splats: PosedSplats) -> np.ndarray:
    """(N, count) numbers an attribute stands for."""
    match attribute.kind:
        case Kind.POSITION:
            return splats.means
        case Kind.ROTATION:
            if attribute.component is Component.FLOAT32:
                return splats.quats
            # Any length is allowed, so the largest component gets the full range: up to twice the precision.
            return splats.quats / np.abs(splats.quats).max(1, keepdims=True)
        case Kind.SCALE:
            return splats.scales
        case Kind.LOG_SCALE:
            return np.log(splats.scales)
        case Kind.OPACITY:
            return splats.opacities[:, None]
        case Kind.COLOR:
            return 0.5 + SH_C0 * splats.sh[:, 0]
        case _:
            return splats.sh.reshape(len(splats.sh), -1)


class FrameDecoder:
    """Decodes the frames of one stream; keeps the static attributes of the last key frame."""

    def __init__(self, layout: Layout) -> None:
        if not 0 < layout.gaussian_count <= MAX_GAUSSIANS:
            raise InvalidInputError("The frame layout has no valid Gaussian count.", reason="MALFORMED_FRAME")
        self._layout = layout
        self._static: dict[Kind, np.ndarray] = {}

    def decode(self, frame: EncodedFrame) -> PosedSplats:
        """Decode one frame.

        Raises:
            DataLossError: the payload does not match its checksum.
            InvalidInputError: ``MALFORMED_FRAME`` or ``DECODED_SIZE_EXCEEDED``.
            PreconditionError: ``KEYFRAME_NEEDED``; a static attribute was never received: request a key
                frame.
        """
        raw = np.frombuffer(open_payload(frame, self._layout.decoded_size(frame.keyframe)), np.uint8)
        values: dict[Kind, np.ndarray] = dict(self._static)
        n, start = self._layout.gaussian_count, 0
        for attribute in self._layout.sent(frame.keyframe):
            stop = start + n * attribute.bytes_per_gaussian
            plane = raw[start:stop].view(_DTYPES[attribute.component]).reshape(attribute.count, n)
            values[attribute.kind] = self._decode_plane(attribute, plane, frame.box)
            if attribute.is_static:
                self._static[attribute.kind] = values[attribute.kind]
            start = stop
        missing = [a.kind.name for a in self._layout.attributes if a.kind not in values]
        if missing:
            raise PreconditionError(
                f"A key frame with {', '.join(missing).lower()} is needed first; request one.",
                reason="KEYFRAME_NEEDED",
            )
        return _assemble(values)

    @staticmethod
    def _decode_plane(attribute: Attribute, plane: np.ndarray, box: tuple[float, ...]) -> np.ndarray:
        if attribute.kind is Kind.POSITION and attribute.component is Component.UINT16:
            if len(box) != 6 or not np.isfinite(box).all():
                raise InvalidInputError("A quantised frame has no box.", reason="MALFORMED_FRAME")
            low, high = np.array(box[:3], np.float32), np.array(box[3:], np.float32)
            step = np.maximum(high - low, np.float32(1e-9)) / 65535
            return plane.T * step + low
        if attribute.component is Component.FLOAT32:
            return np.ascontiguousarray(plane.T)
        return plane.T * np.float32(attribute.scale) + np.float32(attribute.offset)


def _assemble(values: dict[Kind, np.ndarray]) -> PosedSplats:
    quats = values[Kind.ROTATION].astype(np.float32, copy=False)
    norm = np.linalg.norm(quats, axis=1, keepdims=True)
    if Kind.SH in values:
        sh = values[Kind.SH].reshape(len(quats), -1, 3)
    else:
        sh = ((values[Kind.COLOR] - np.float32(0.5)) / np.float32(SH_C0))[:, None]
    scales = values[Kind.SCALE] if Kind.SCALE in values else np.exp(values[Kind.LOG_SCALE])
    return PosedSplats(
        means=np.ascontiguousarray(values[Kind.POSITION], np.float32),
        quats=quats / np.maximum(norm, np.float32(1e-12)),
        scales=np.ascontiguousarray(scales, np.float32),
        opacities=np.ascontiguousarray(values[Kind.OPACITY][:, 0], np.float32),
        sh=np.ascontiguousarray(sh, np.float32),
    )


def open_payload(frame: EncodedFrame, expected: int) -> bytes | memoryview:
    """Check and decompress a payload of exactly ``expected`` bytes; raises as :meth:`FrameDecoder.decode`."""
    if frame.decoded_size != expected:
        raise InvalidInputError(
            f"A frame announces {frame.decoded_size} bytes where its layout needs {expected}.",
            reason="MALFORMED_FRAME",
        )
    if zlib.crc32(frame.payload) != frame.crc32:
        raise DataLossError("A frame does not match its checksum; request a key frame.")
    if frame.codec is Codec.ZSTD:
        return decompress_exactly(frame.payload, expected)
    if frame.codec is not Codec.RAW or len(frame.payload) != expected:
        raise InvalidInputError("A frame is cut short or oddly packed.", reason="MALFORMED_FRAME")
    return frame.payload


def decompress_exactly(data: bytes | memoryview, expected: int) -> bytes:
    """Open a zstd frame that must hold exactly ``expected`` bytes.

    The header's content size is checked before anything is allocated, because ``max_output_size`` is
    ignored by the library when the header has one; then output is read with a cap and a bounded window.

    Raises:
        InvalidInputError: ``DECODED_SIZE_EXCEEDED`` or ``MALFORMED_FRAME``.
        UnimplementedError: the zstandard package is missing.
    """
    zstandard = _zstandard()
    window = max(1 << 20, 1 << (max(expected, 1) - 1).bit_length())
    try:
        header = zstandard.get_frame_parameters(bytes(data[:32]))
        if header.content_size != expected or header.window_size > window:
            raise InvalidInputError(
                "A compressed frame does not announce its exact size.", reason="DECODED_SIZE_EXCEEDED"
            )
        with zstandard.ZstdDecompressor(max_window_size=window).stream_reader(data) as reader:
            parts, left = [], expected + 1
            while left > 0 and (part := reader.read(left)):
                parts.append(part)
                left -= len(part)
    except zstandard.ZstdError:
        raise InvalidInputError("A compressed frame is damaged.", reason="MALFORMED_FRAME") from None
    out = parts[0] if len(parts) == 1 else b"".join(parts)
    if len(out) != expected:
        raise InvalidInputError("A compressed frame has the wrong size.", reason="DECODED_SIZE_EXCEEDED")
    return out


def _zstandard() -> ModuleType:
    try:
        import zstandard
    except ImportError:
        raise UnimplementedError(
            "Compressed frames need the zstandard package; ask for uncompressed frames.", reason="NO_ZSTD"
        ) from None
    return zstandard
