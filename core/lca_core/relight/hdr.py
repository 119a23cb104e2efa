"""High dynamic range pictures: Radiance ``.hdr`` by a reader of our own, OpenEXR through PyAV (FFmpeg), plain
PNG and JPEG as a fallback. Out: (H,W,3) float32 linear radiance, row 0 at the top."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lca.errors import InvalidInputError

MAX_PIXELS = 1 << 26


def read_picture(path: Path) -> NDArray[np.float32]:
    """Linear radiance (H,W,3) of a picture; 8-bit pictures are taken as sRGB and hold no more than 1.

    Raises:
        InvalidInputError: ``LIGHT_UNREADABLE``; missing, damaged, or of a kind that this machine cannot read.
    """
    path = Path(path)
    if not path.is_file():
        raise _unreadable(path, "there is no such file")
    kind = path.suffix.lower()
    if kind in (".hdr", ".rgbe", ".pic"):
        picture = read_rgbe(path)
    elif kind == ".exr":
        picture = _read_exr(path)
    elif kind in (".png", ".jpg", ".jpeg"):
        picture = _read_plain(path)
    else:
        raise _unreadable(path, "light is read from .hdr, .exr, .png and .jpg")
    if not np.isfinite(picture).all():
        raise _unreadable(path, "it holds NaN or infinity")
    return np.maximum(picture, 0.0)


def _unreadable(path: Path, why: str) -> InvalidInputError:
    return InvalidInputError(f"The light {path.name} cannot be read: {why}.", reason="LIGHT_UNREADABLE")


def read_rgbe(path: Path) -> NDArray[np.float32]:
    """A Radiance picture (Ward 1991): new-style run lengths or flat pixels, ``-Y H +X W`` order.

    Raises:
        InvalidInputError: ``LIGHT_UNREADABLE``; not a Radiance RGBE picture, damaged or too large.
    """
    data = Path(path).read_bytes()
    end = data.find(b"\n\n")
    if not data.startswith(b"#?") or end < 0 or b"32-bit_rle_xyze" in data[:end]:
        raise _unreadable(path, "it is no Radiance RGBE picture")
    line, _, _ = data[end + 2 : end + 100].partition(b"\n")
    words = line.split()
    if len(words) != 4 or words[0] != b"-Y" or words[2] != b"+X" or not (words[1] + words[3]).isdigit():
        raise _unreadable(path, f"its pixel order {line[:40]!r} is not -Y H +X W")
    height, width = int(words[1]), int(words[3])
    if not 0 < height * width <= MAX_PIXELS:
        raise _unreadable(path, f"{width} x {height} pixels are too many")
    at = end + 2 + len(line) + 1
    try:
        rgbe = _scanlines(data, at, height, width)
    except (IndexError, ValueError) as error:
        raise _unreadable(path, "it ends too early or is damaged") from error
    scale = np.ldexp(1.0, rgbe[..., 3].astype(np.int32) - 136)
    out: NDArray[np.float32] = (rgbe[..., :3] * np.where(rgbe[..., 3:] > 0, scale[..., None], 0)).astype(
        np.float32
    )
    return out


def _scanlines(data: bytes, at: int, height: int, width: int) -> NDArray[np.uint8]:
    out = np.zeros((height, width, 4), np.uint8)
    for row in range(height):
        head = data[at : at + 4]
        if not (8 <= width < 32768 and head[:2] == b"\x02\x02" and head[2] < 128):
            flat = np.frombuffer(data, np.uint8, (height - row) * width * 4, at)
            out[row:] = flat.reshape(height - row, width, 4)
            return out
        if (head[2] << 8) + head[3] != width:
            raise ValueError("scan line of another width")
        at += 4
        for channel in range(4):
            x = 0
            while x < width:
                count = data[at]
                run = count > 128
                count = count - 128 if run else count
                if count == 0 or x + count > width:
                    raise ValueError("run beyond the line")
                if run:
                    out[row, x : x + count, channel] = data[at + 1]
                    at += 2
                else:
                    out[row, x : x + count, channel] = np.frombuffer(data, np.uint8, count, at + 1)
                    at += 1 + count
                x += count
    return out


def write_rgbe(path: Path, picture: NDArray) -> None:
    """Write (H,W,3) linear radiance as a flat Radiance picture; relative error below 1 % of the brightest
    channel."""
    rgb = np.maximum(np.asarray(picture, np.float64), 0)
    top = rgb.max(-1)
    _, exponent = np.frexp(np.where(top > 1e-32, top, 1.0))
    scaled = rgb * np.ldexp(256.0, -exponent)[..., None]
    rgbe = np.concatenate([np.minimum(scaled, 255), (exponent + 128)[..., None]], -1).astype(np.uint8)
    rgbe[top <= 1e-32] = 0
    height, width = top.shape
    head = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n".encode()
    # A flat first pixel that looks like a run-length mark would be misread: such lines do not occur for 2,2.
    mark = (rgbe[:, 0, 0] == 2) & (rgbe[:, 0, 1] == 2) & (rgbe[:, 0, 2] < 128)
    rgbe[mark, 0, 0] = 3
    Path(path).write_bytes(head + rgbe.tobytes())


def _read_exr(path: Path) -> NDArray[np.float32]:
    try:
        import av
    except ModuleNotFoundError as error:
        raise _unreadable(
            path, 'OpenEXR needs PyAV (pip install "lca-bridge[capture]"), or save it as .hdr'
        ) from error
    try:
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
    except (av.FFmpegError, StopIteration, ValueError) as error:
        raise _unreadable(
            path, f"it is no OpenEXR picture FFmpeg knows ({error}); save it as .hdr"
        ) from error
    name = frame.format.name
    if frame.width * frame.height > MAX_PIXELS or not name.startswith(("gbrpf32", "gbrapf32")):
        raise _unreadable(path, f"its pixels are {name}, not RGB floats; save it as .hdr")
    order = ">f4" if name.endswith("be") else "<f4"
    planes = [
        np.frombuffer(bytes(plane), order).reshape(plane.height, -1)[:, : frame.width]
        for plane in frame.planes[:3]
    ]
    green, blue, red = planes
    return np.stack([red, green, blue], -1).astype(np.float32)


def _read_plain(path: Path) -> NDArray[np.float32]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            srgb = np.asarray(image.convert("RGB"), np.float32) / 255
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from error
    linear: NDArray[np.float32] = np.where(
        srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4
    ).astype(np.float32)
    return linear
