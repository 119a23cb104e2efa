"""SPZ version 4, the compressed splat file of Niantic: a side-car engines and viewers read.

Layout (nianticlabs/spz): a 32-byte header, a table of (compressed, raw) byte counts, then one zstd frame per
attribute: 24-bit fixed-point positions, 8-bit opacities, 8-bit colours (0.15 f_dc + 0.5), 8-bit log scales
((ln s + 10) * 16), smallest-three rotation words and 8-bit spherical harmonics. Its axes (right, up, back)
are ours. Splat order is kept, so skin arrays elsewhere stay valid.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from lca.errors import MediaUnreadableError
from lca_bridge.wire.skin import PosedSplats
from lca_usd.quantise import smallest_three, unsmallest_three

MAGIC, VERSION, HEADER = 0x5053474E, 4, 32
COLOUR_SCALE = 0.15
LEVEL = 12
MAX_SPLATS = 10_000_000
_HEADER = struct.Struct("<IIIBBBBI12x")


def fraction_bits(means: npt.ArrayLike) -> int:
    """How many of the 24 bits may be fraction: as many as the extent allows, at most 14 (0.06 mm steps).

    The reference writer always takes 12 (0.24 mm), which costs a close-up of a face about 6 dB.
    """
    reach = float(np.abs(np.asarray(means, np.float64)).max(initial=0.0))
    return int(np.clip(22 - np.ceil(np.log2(max(reach, 1.0))), 0, 14))


def encode_spz(splats: PosedSplats, level: int = LEVEL) -> bytes:
    """Splats -> the bytes of an ``.spz`` file, in the same order.

    Spherical harmonics above band 0 are clipped to [-1, 1] and keep 8 bits (the reference default of 4 to 5
    bits looks no better than dropping them).
    """
    n, k = splats.sh.shape[:2]
    bits = fraction_bits(splats.means)
    fixed = np.rint(splats.means.astype(np.float64) * 2**bits).astype("<i4")
    positions = np.ascontiguousarray(fixed).view(np.uint8).reshape(n, 3, 4)[..., :3]
    streams = [
        positions,
        _bytes(splats.opacities * 255.0),
        _bytes(splats.sh[:, 0] * (COLOUR_SCALE * 255.0) + 127.5),
        _bytes((np.log(splats.scales) + 10.0) * 16.0),
        smallest_three(splats.quats).astype("<u4"),
    ]
    if k > 1:
        streams.append(_bytes(splats.sh[:, 1:] * 128.0 + 128.0))
    raw = [np.ascontiguousarray(stream).tobytes() for stream in streams]
    packed = [zstandard.ZstdCompressor(level=level).compress(stream) for stream in raw]
    degree = round(k**0.5) - 1
    header = _HEADER.pack(MAGIC, VERSION, n, degree, bits, 0, len(raw), HEADER)
    table = b"".join(struct.pack("<QQ", len(small), len(big)) for small, big in zip(packed, raw))
    return header + table + b"".join(packed)


def decode_spz(data: bytes) -> PosedSplats:
    """The bytes of an ``.spz`` version 4 file -> splats.

    Raises:
        MediaUnreadableError: not SPZ 4, cut off, or its streams do not have the sizes its header promises.
    """
    if len(data) < HEADER:
        raise _bad("it is shorter than its header")
    magic, version, n, degree, bits, _flags, count, table = _HEADER.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        raise _bad("it is not SPZ version 4")
    if n > MAX_SPLATS or degree > 3:
        raise _bad(f"it claims {n} splats of degree {degree}")
    sizes = [9 * n, n, 3 * n, 3 * n, 4 * n] + [3 * n * ((degree + 1) ** 2 - 1)] * (degree > 0)
    if count != len(sizes) or table < HEADER or len(data) < table + 16 * count:
        raise _bad("its table of streams is wrong")
    start, raw = table + 16 * count, []
    for number, wanted in enumerate(sizes):
        small, big = struct.unpack_from("<QQ", data, table + 16 * number)
        if big != wanted or start + small > len(data):
            raise _bad("a stream has another size than its header promises")
        try:
            stream = zstandard.ZstdDecompressor().decompress(data[start : start + small], max_output_size=big)
        except zstandard.ZstdError as error:
            raise _bad(str(error)) from error
        if len(stream) != wanted:
            raise _bad("a stream is too short")
        raw.append(np.frombuffer(stream, np.uint8))
        start += small
    low = raw[0].reshape(n, 3, 3).astype(np.int32)
    fixed = low[..., 0] | (low[..., 1] << 8) | (low[..., 2] << 16)
    fixed = np.where(fixed & 0x800000, fixed - (1 << 24), fixed)
    sh = np.empty((n, (degree + 1) ** 2, 3), np.float32)
    sh[:, 0] = (raw[2].reshape(n, 3).astype(np.float32) - 127.5) / (COLOUR_SCALE * 255.0)
    if degree:
        sh[:, 1:] = (raw[5].reshape(n, -1, 3).astype(np.float32) - 128.0) / 128.0
    return PosedSplats(
        means=(fixed / 2.0**bits).astype(np.float32),
        quats=unsmallest_three(raw[4].view("<u4")),
        scales=np.exp(raw[3].reshape(n, 3).astype(np.float32) / 16.0 - 10.0),
        opacities=raw[1].astype(np.float32) / 255.0,
        sh=sh,
    )


def _bytes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _bad(why: str) -> MediaUnreadableError:
    return MediaUnreadableError(f"The .spz file cannot be read: {why}. Export it again.")
