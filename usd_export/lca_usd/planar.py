"""The planar side-car (``.splats.zst`` / ``.splats.deflate``): our smallest splat file that keeps the order.

One line of JSON (codec, count, degree, ranges, byte counts), then one compressed block per plane of bytes. A
plane holds one byte of one column for all splats, so neighbours along the Morton curve compress together;
positions are 16-bit in the bounding box and stored as differences. Skin and shapes of the USD asset beside it
refer to the same splat numbers. Deflate serves engines whose standard library knows no zstd.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from lca.errors import MediaUnreadableError
from lca_bridge.wire.skin import PosedSplats
from lca_usd.quantise import linear, smallest_three, unlinear, unsmallest_three

FORMAT = "lca.splats/1"
MAX_SPLATS = 10_000_000
MAX_HEADER = 65_536
U8 = npt.NDArray[np.uint8]

CODECS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": lambda data: zstandard.ZstdCompressor(level=12).compress(data),
    "deflate": lambda data: zlib.compress(data, 9),
}


def encode_planar(splats: PosedSplats, codec: str = "zstd") -> bytes:
    """Splats -> bytes, same order.

    Stored: positions 16 bits in the box, log scales and colours 8 bits between their extremes, smallest-three
    rotations, opacity k/255, harmonics above band 0 8 bits per band range.
    """
    n, k = splats.sh.shape[:2]
    ranges: dict[str, list[list[float]]] = {}
    planes: list[tuple[str, U8]] = []

    def column(name: str, values: npt.NDArray[Any], bits: int, difference: bool = False) -> None:
        flat = values.reshape(n, -1).astype(np.float64)
        low, high = flat.min(axis=0), flat.max(axis=0)
        ranges[name] = [low.tolist(), high.tolist()]
        codes = linear(flat, low, high, bits)
        if difference:
            # Unsigned arithmetic wraps, and so does its inverse.
            codes = np.diff(codes, axis=0, prepend=codes.dtype.type(0))
        for axis in range(codes.shape[1]):
            planes.extend((f"{name}{axis}.{byte}", part) for byte, part in enumerate(_split(codes[:, axis])))

    column("position", splats.means, 16, difference=True)
    column("log_scale", np.log(splats.scales), 8)
    column("dc", splats.sh[:, 0], 8)
    for band in range(1, round(k**0.5)):
        column(f"sh{band}_", splats.sh[:, band * band : (band + 1) ** 2], 8)
    planes += [(f"rotation.{i}", part) for i, part in enumerate(_split(smallest_three(splats.quats)))]
    planes.append(("opacity", np.rint(np.clip(splats.opacities, 0, 1) * 255).astype(np.uint8)))
    blocks = [CODECS[codec](plane.tobytes()) for _, plane in planes]
    header = {
        "format": FORMAT,
        "codec": codec,
        "count": n,
        "degree": round(k**0.5) - 1,
        "order": "morton21",
        "ranges": ranges,
        "planes": [[name, len(block)] for (name, _), block in zip(planes, blocks)],
    }
    return json.dumps(header, separators=(",", ":")).encode() + b"\n" + b"".join(blocks)


def decode_planar(data: bytes) -> PosedSplats:
    """Bytes -> splats.

    Raises:
        MediaUnreadableError: not this format, cut off, or planes that do not fit the count.
    """
    end = data.find(b"\n", 0, MAX_HEADER)
    try:
        header = json.loads(data[: max(end, 0)])
        n, degree, codec = int(header["count"]), int(header["degree"]), str(header["codec"])
        ranges, listed = header["ranges"], list(header["planes"])
        fits = header["format"] == FORMAT and 0 < n <= MAX_SPLATS and 0 <= degree <= 3 and codec in CODECS
    except (ValueError, KeyError, TypeError) as error:
        raise _bad("it has no valid header") from error
    if not fits:
        raise _bad("its header names another format, codec or an impossible size")
    planes = dict(_planes(data, end + 1, listed, n, codec))

    def column(name: str, width: int, bits: int, difference: bool = False) -> npt.NDArray[np.float32]:
        try:
            low, high = (np.asarray(side, np.float64).reshape(width) for side in ranges[name])
            parts = [
                _join([planes[f"{name}{axis}.{byte}"] for byte in range(bits // 8)]) for axis in range(width)
            ]
        except (KeyError, ValueError, TypeError) as error:
            raise _bad(f"its {name} columns are missing") from error
        codes = np.stack(parts, axis=1)
        if difference:
            codes = np.cumsum(codes, axis=0, dtype=codes.dtype)
        return unlinear(codes, low, high, bits)

    sh = np.empty((n, (degree + 1) ** 2, 3), np.float32)
    sh[:, 0] = column("dc", 3, 8)
    for band in range(1, degree + 1):
        sh[:, band * band : (band + 1) ** 2] = column(f"sh{band}_", (2 * band + 1) * 3, 8).reshape(n, -1, 3)
    try:
        rotation = _join([planes[f"rotation.{byte}"] for byte in range(4)])
        opacity = planes["opacity"]
    except KeyError as error:
        raise _bad("its rotations or opacities are missing") from error
    return PosedSplats(
        means=column("position", 3, 16, difference=True),
        quats=unsmallest_three(rotation),
        scales=np.exp(column("log_scale", 3, 8)),
        opacities=opacity.astype(np.float32) / 255.0,
        sh=sh,
    )


def _planes(data: bytes, start: int, listed: list[Any], n: int, codec: str) -> Iterator[tuple[str, U8]]:
    for entry in listed:
        try:
            name, size = str(entry[0]), int(entry[1])
            block = data[start : start + size]
            if codec == "zstd":
                raw = zstandard.ZstdDecompressor().decompress(block, max_output_size=n)
            else:
                inflater = zlib.decompressobj()
                raw = inflater.decompress(block, n + 1)
                if not inflater.eof:
                    raise ValueError("cut off")
        except (ValueError, TypeError, IndexError, zstandard.ZstdError, zlib.error) as error:
            raise _bad("a plane is damaged") from error
        if len(raw) != n or size < 0:
            raise _bad("a plane has the wrong size")
        start += size
        yield name, np.frombuffer(raw, np.uint8)


def _split(codes: npt.NDArray[Any]) -> list[U8]:
    """(N,) unsigned integers -> their bytes, lowest first."""
    width = codes.dtype.itemsize
    octets = np.ascontiguousarray(codes).astype(f"<u{width}").view(np.uint8).reshape(-1, width)
    return [np.ascontiguousarray(octets[:, i]) for i in range(width)]


def _join(parts: list[U8]) -> npt.NDArray[Any]:
    width = len(parts)
    return np.ascontiguousarray(np.stack(parts, axis=1)).view(f"<u{width}").ravel()


def _bad(why: str) -> MediaUnreadableError:
    return MediaUnreadableError(f"The splat side-car cannot be read: {why}. Export it again.")
