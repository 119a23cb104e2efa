"""Gaussian frames as bytes: what they mean (:class:`Layout`) and how a client reads them.

Payloads of one stream go in, posed Gaussians come out of :class:`FrameDecoder`; the other direction is
``encode.py``. Both follow one :class:`Layout`, the plain-data twin of ``lca.v1.GaussianLayout``.
Nothing received is trusted: sizes come from the layout, and a compressed payload is opened only if it
promises, and keeps to, exactly that size.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from types import ModuleType
from typing import Any

import numpy as np

from lca.errors import DataLossError, InvalidInputError, PreconditionError, UnimplementedError
from lca_bridge.wire.delta import undo_delta
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
    DELTA_ZSTD = 3


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


DTYPES: dict[Component, np.dtype[Any]] = {
    Component.FLOAT32: np.dtype("<f4"),
    Component.UINT16: np.dtype("<u2"),
    Component.UINT8: np.dtype("u1"),
    Component.INT8: np.dtype("i1"),
}


@dataclass(frozen=True)
class Attribute:
    """One attribute: value = raw * scale + offset; positions in UINT16 use the frame's box."""

    kind: Kind
    component: Component
    count: int
    scale: float = 1.0
    offset: float = 0.0
    is_static: bool = False

    @property
    def bytes_per_gaussian(self) -> int:
        """Size of one Gaussian's share."""
        return self.count * DTYPES[self.component].itemsize


@dataclass(frozen=True)
class Layout:
    """What the bytes of a stream's frames mean.

    ``gaussian_major``: an attribute lies as (count of Gaussians, components) in memory; otherwise as planes,
    (components, count of Gaussians).
    """

    encoding: Encoding
    gaussian_count: int
    attributes: tuple[Attribute, ...]
    gaussian_major: bool = False

    def sent(self, keyframe: bool) -> tuple[Attribute, ...]:
        """Attributes present in a frame, in order."""
        return tuple(a for a in self.attributes if keyframe or not a.is_static)

    def decoded_size(self, keyframe: bool) -> int:
        """Bytes of an uncompressed frame."""
        return self.gaussian_count * sum(a.bytes_per_gaussian for a in self.sent(keyframe))

    def parts(self, keyframe: bool) -> Iterator[tuple[Attribute, slice]]:
        """Every attribute of a frame with its bytes."""
        start = 0
        for attribute in self.sent(keyframe):
            stop = start + self.gaussian_count * attribute.bytes_per_gaussian
            yield attribute, slice(start, stop)
            start = stop

    def typed(self, attribute: Attribute, raw: np.ndarray) -> np.ndarray:
        """The bytes of one attribute as numbers: (N, count), or (count, N) planes."""
        n, values = self.gaussian_count, raw.view(DTYPES[attribute.component])
        return values.reshape((n, attribute.count) if self.gaussian_major else (attribute.count, n))


@dataclass(frozen=True)
class EncodedFrame:
    """A payload and what opens it.

    ``box`` is min xyz, max xyz (6 values) of quantised positions. ``frame_id`` and ``base_frame_id`` matter
    to DELTA_ZSTD only: a frame that is no key frame holds the difference to frame ``base_frame_id``.
    """

    keyframe: bool
    codec: Codec
    decoded_size: int
    crc32: int
    box: tuple[float, ...]
    payload: bytes | memoryview
    frame_id: int = 0
    base_frame_id: int = 0


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
    return Layout(encoding, gaussian_count, attributes, gaussian_major=encoding is Encoding.FLOAT32)


class FrameDecoder:
    """Decodes the frames of one stream; keeps the static attributes of the last key frame."""

    def __init__(self, layout: Layout) -> None:
        if not 0 < layout.gaussian_count <= MAX_GAUSSIANS:
            raise InvalidInputError("The frame layout has no valid Gaussian count.", reason="MALFORMED_FRAME")
        self._layout = layout
        self._static: dict[Kind, np.ndarray] = {}
        self._base: tuple[int, dict[Kind, np.ndarray]] | None = None

    def decode(self, frame: EncodedFrame) -> PosedSplats:
        """Decode one frame. Float32 arrays are views of the payload (read-only); the others are new, except
        that static attributes are the same arrays in every frame.

        Raises:
            DataLossError: the payload does not match its checksum.
            InvalidInputError: ``MALFORMED_FRAME`` or ``DECODED_SIZE_EXCEEDED``.
            PreconditionError: ``KEYFRAME_NEEDED``; a static attribute, or the frame a difference refers to,
                was never received: request a key frame.
        """
        opened = open_payload(frame, self._layout.decoded_size(frame.keyframe))
        raw = np.frombuffer(opened, np.uint8)
        if frame.codec is Codec.DELTA_ZSTD:
            raw = self._undo_delta(frame, raw)
        return self.read(raw, frame.keyframe, frame.box)

    def _undo_delta(self, frame: EncodedFrame, raw: np.ndarray) -> np.ndarray:
        if not frame.keyframe:
            if self._base is None or self._base[0] != frame.base_frame_id:
                raise PreconditionError(
                    "The frame this one builds on is not here; request a key frame.", reason="KEYFRAME_NEEDED"
                )
            base, whole = self._base[1], np.empty_like(raw)
            for attribute, at in self._layout.parts(False):
                width = DTYPES[attribute.component].itemsize
                whole[at] = undo_delta(raw[at], base[attribute.kind], width)
            raw = whole
        parts = {attribute.kind: raw[at] for attribute, at in self._layout.parts(frame.keyframe)}
        self._base = (frame.frame_id, parts)
        return raw

    def read(self, raw: np.ndarray, keyframe: bool, box: tuple[float, ...]) -> PosedSplats:
        """Posed Gaussians of the uncompressed bytes (decoded_size,) uint8 of one frame; raises as
        :meth:`decode`."""
        if raw.size != self._layout.decoded_size(keyframe):
            raise InvalidInputError("A frame has the wrong size.", reason="MALFORMED_FRAME")
        values: dict[Kind, np.ndarray] = dict(self._static)
        for attribute, at in self._layout.parts(keyframe):
            typed = self._layout.typed(attribute, raw[at])
            if self._layout.gaussian_major:
                typed = typed.T
            value = _values(attribute, typed, box)
            if attribute.is_static:
                value = value.copy() if value.base is not None else value
                value.flags.writeable = False
                self._static[attribute.kind] = value
            values[attribute.kind] = value
        missing = [a.kind.name for a in self._layout.attributes if a.kind not in values]
        if missing:
            raise PreconditionError(
                f"A key frame with {', '.join(missing).lower()} is needed first; request one.",
                reason="KEYFRAME_NEEDED",
            )
        n = self._layout.gaussian_count
        return PosedSplats(
            means=values[Kind.POSITION],
            quats=values[Kind.ROTATION],
            scales=values[Kind.SCALE] if Kind.SCALE in values else values[Kind.LOG_SCALE],
            opacities=values[Kind.OPACITY][:, 0],
            sh=values[Kind.SH if Kind.SH in values else Kind.COLOR].reshape(n, -1, 3),
        )


def _values(attribute: Attribute, planes: np.ndarray, box: tuple[float, ...]) -> np.ndarray:
    """(N, count) float32 of (count, N) numbers: positions, unit rotations, linear scales, opacities, SH.

    Planes are turned into rows one component at a time: strided writes of whole planes are several times
    faster than numpy's transposing copies.
    """
    if attribute.component is Component.FLOAT32:
        return planes.T
    count, n = planes.shape
    out = np.empty((n, count), np.float32)
    if attribute.kind is Kind.POSITION:
        if len(box) != 6 or not np.isfinite(box).all():
            raise InvalidInputError("A quantised frame has no box.", reason="MALFORMED_FRAME")
        low, high = np.array(box[:3], np.float32), np.array(box[3:], np.float32)
        step = np.maximum(high - low, np.float32(1e-9)) / np.float32(65535)
        for c in range(count):
            np.add(planes[c] * step[c], low[c], out=out[:, c])
        return out
    if attribute.kind is Kind.ROTATION:
        turns = planes.astype(np.float32)
        inverse = 1 / np.maximum(np.sqrt(np.einsum("cn,cn->n", turns, turns)), np.float32(1e-12))
        for c in range(count):
            np.multiply(turns[c], inverse, out=out[:, c])
        return out
    values = planes * np.float32(attribute.scale)
    values += np.float32(attribute.offset)
    if attribute.kind is Kind.LOG_SCALE:
        np.exp(values, out=values)
    elif attribute.kind is Kind.COLOR:
        values -= np.float32(0.5)
        values /= np.float32(SH_C0)
    out[:] = values.T
    return out


def open_payload(frame: EncodedFrame, expected: int) -> bytes | memoryview:
    """Check and decompress a payload of exactly ``expected`` bytes; raises as :meth:`FrameDecoder.decode`."""
    if frame.decoded_size != expected:
        raise InvalidInputError(
            f"A frame announces {frame.decoded_size} bytes where its layout needs {expected}.",
            reason="MALFORMED_FRAME",
        )
    if zlib.crc32(frame.payload) != frame.crc32:
        raise DataLossError("A frame does not match its checksum; request a key frame.")
    if frame.codec in (Codec.ZSTD, Codec.DELTA_ZSTD):
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
    zstandard = zstandard_module()
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


def zstandard_module() -> ModuleType:
    """The zstandard package; UnimplementedError ``NO_ZSTD`` without it."""
    try:
        import zstandard
    except ImportError:
        raise UnimplementedError(
            "Compressed frames need the zstandard package; ask for uncompressed frames.", reason="NO_ZSTD"
        ) from None
    return zstandard
