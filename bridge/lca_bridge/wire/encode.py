"""Posed Gaussians to frames: the sending half of ``frames.py``, in plain numpy.

:class:`FrameEncoder` remembers what a stream needs from frame to frame (the base of differences, their box);
:func:`pack` is one frame without memory. A service may hand in a faster ``pack``; this one is its clear twin.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from lca.errors import InvalidInputError
from lca_bridge.wire.delta import to_delta
from lca_bridge.wire.frames import (
    DTYPES,
    SH_C0,
    Attribute,
    Codec,
    Component,
    EncodedFrame,
    Encoding,
    Kind,
    Layout,
    zstandard_module,
)
from lca_bridge.wire.skin import PosedSplats

Box = tuple[float, ...]
Packer = Callable[[Layout, PosedSplats, bool, Box | None, np.ndarray | None], tuple[np.ndarray, Box]]

BOX_MARGIN = 0.25
"""Share of its extent by which the box of a difference stream is larger than its key frame on every side."""


def pack(
    layout: Layout,
    splats: PosedSplats,
    keyframe: bool,
    box: Box | None = None,
    out: np.ndarray | None = None,
) -> tuple[np.ndarray, Box]:
    """The uncompressed bytes of one frame.

    Args:
        box: for quantised positions, min xyz and max xyz; ``None`` takes the tightest one.
        out: (decoded_size,) uint8 to write to, new by default.

    Returns:
        (decoded_size,) uint8 and the box used (empty for float positions). Values outside clamp.
    """
    n = layout.gaussian_count
    if len(splats.means) != n:
        raise InvalidInputError(f"The frame has {len(splats.means)} Gaussians, its layout {n}.")
    raw = np.empty(layout.decoded_size(keyframe), np.uint8) if out is None else out
    used: Box = ()
    for attribute, at in layout.parts(keyframe):
        target = layout.typed(attribute, raw[at])
        values = _values(attribute, splats)
        if layout.gaussian_major:
            target[:] = values
            continue
        planes = np.ascontiguousarray(values.T, np.float32)
        if attribute.component is Component.FLOAT32:
            target[:] = planes
        elif attribute.kind is Kind.POSITION:
            used = box or box_of(splats.means)
            low, high = (np.array(side, np.float32) for side in (used[:3], used[3:]))
            _quantise(target, planes, np.maximum(high - low, np.float32(1e-9))[:, None] / 65535, low[:, None])
        else:
            _quantise(target, planes, attribute.scale, attribute.offset)
    return raw, used


def box_of(means: np.ndarray, margin: float = 0.0) -> Box:
    """Smallest box of (N, 3) positions, larger by ``margin`` of its extent on every side."""
    # column by column: numpy reduces (N, 3) along its long axis ten times slower
    low = np.array([means[:, c].min() for c in range(3)])
    high = np.array([means[:, c].max() for c in range(3)])
    more = margin * (high - low)
    return (*map(float, low - more), *map(float, high + more))


def _quantise(
    plane: np.ndarray, values: np.ndarray, scale: float | np.ndarray, offset: float | np.ndarray
) -> None:
    """plane = round((values - offset) / scale), clamped to its type."""
    limits = np.iinfo(plane.dtype)
    shifted = values - offset
    shifted *= 1 / scale
    np.rint(shifted, out=shifted)
    np.clip(shifted, limits.min, limits.max, out=shifted)
    plane[:] = shifted


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


class FrameEncoder:
    """Encodes the frames of one stream, in order.

    Args:
        level: zstd's; 1 is right here, higher ones cost time and save nothing.
        packer: something as :func:`pack`, only faster.
    """

    def __init__(
        self, layout: Layout, codec: Codec = Codec.RAW, *, level: int = 1, packer: Packer = pack
    ) -> None:
        if codec is Codec.DELTA_ZSTD and layout.encoding is Encoding.FLOAT32:
            raise InvalidInputError("Differences need a quantised encoding: Q20 or Q10.", reason="BAD_START")
        self._layout, self._codec, self._packer = layout, codec, packer
        self._compressor = None if codec is Codec.RAW else zstandard_module().ZstdCompressor(level=level)
        self._has_static = any(a.is_static for a in layout.attributes)
        self._base: tuple[int, np.ndarray, bool] | None = None
        self._box: Box | None = None

    def encode(self, splats: PosedSplats, frame_id: int = 0, keyframe: bool = False) -> EncodedFrame:
        """One frame. It is a key frame if asked for, if it is the first, if nothing would be left out, or if
        the person has left the box of the differences."""
        delta = self._codec is Codec.DELTA_ZSTD
        box = self._box
        outside = delta and box is not None and not _inside(splats.means, box)
        keyframe = keyframe or self._base is None or outside or not (delta or self._has_static)
        if delta and keyframe:
            box = self._box = box_of(splats.means, BOX_MARGIN)
        raw, used = self._packer(self._layout, splats, keyframe, box, None)
        base_id, body = 0, raw
        if delta and not keyframe:
            assert self._base is not None
            base_id, base, base_is_key = self._base
            where = {a.kind: at for a, at in self._layout.parts(base_is_key)}
            body = np.empty_like(raw)
            for attribute, at in self._layout.parts(False):
                width = DTYPES[attribute.component].itemsize
                body[at] = to_delta(raw[at], base[where[attribute.kind]], width)
        payload = body.tobytes() if self._compressor is None else self._compressor.compress(body)
        # Only differences need the old bytes; otherwise remember just that the first frame is out.
        self._base = (frame_id, raw if delta else raw[:0], keyframe)
        return EncodedFrame(
            keyframe, self._codec, len(raw), zlib.crc32(payload), used, payload, frame_id, base_id
        )


def _inside(means: np.ndarray, box: Box) -> bool:
    now = box_of(means)
    return all(a >= b for a, b in zip(now[:3], box[:3])) and all(a <= b for a, b in zip(now[3:], box[3:]))


def encode_frame(
    layout: Layout, splats: PosedSplats, *, keyframe: bool = True, codec: Codec = Codec.RAW, level: int = 1
) -> EncodedFrame:
    """One frame by itself; ``keyframe`` includes the static attributes. A lone DELTA_ZSTD frame is a key
    frame."""
    encoder = FrameEncoder(layout, codec, level=level)
    if not keyframe and codec is not Codec.DELTA_ZSTD:
        encoder._base = (0, np.empty(0, np.uint8), True)
    return encoder.encode(splats, keyframe=keyframe)
