"""Child process that decodes untrusted media: one request on the command line, one folder of results out.

It runs as a plain script (never imported by the package), needs only numpy, PyAV and Pillow, limits its own
memory, CPU time and file size first, opens no network protocol, and writes ``frames.npy`` plus
``result.json`` into the folder it is given. The parent (``decode.py``) turns the result into values or
errors.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


class Unreadable(Exception):
    """A cause and cure to show the user."""


def limit_resources(request: dict[str, Any]) -> None:
    """Cap address space, CPU seconds and written file size (POSIX only; elsewhere the wall clock remains)."""
    try:
        import resource
    except ImportError:
        return
    caps = [
        (resource.RLIMIT_AS, int(request["max_memory_bytes"])),
        (resource.RLIMIT_CPU, int(request["max_cpu_seconds"])),
        (resource.RLIMIT_FSIZE, int(request["max_output_bytes"])),
        (resource.RLIMIT_CORE, 0),
    ]
    for kind, value in caps:
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):  # e.g. macOS refuses RLIMIT_AS; the other limits still hold
            continue


def choose(count: int, wanted: int) -> list[int]:
    """Evenly spaced frame numbers, the middle of each of ``wanted`` equal parts."""
    if count <= wanted:
        return list(range(count))
    return [int((i + 0.5) * count / wanted) for i in range(wanted)]


def decode_video(request: dict[str, Any], out: Path) -> dict[str, Any]:
    """Decode evenly spaced frames of the first video stream into ``frames.npy`` [T,H,W,3] uint8."""
    import av
    import numpy as np

    try:
        # "file" alone: a playlist or concat script cannot make ffmpeg open sockets or other files.
        options = {"protocol_whitelist": "file", "enable_drefs": "0"}
        container = av.open(request["path"], options=options, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise Unreadable(
            "The clip cannot be opened as a video; it is damaged, cut off or another kind of file. "
            "Export it again as MP4 (H.264)."
        ) from error
    with container:
        if not container.streams.video:
            raise Unreadable(
                "The file has no video track (sound only?); choose a clip that shows the person."
            )
        stream = container.streams.video[0]
        duration = float(container.duration or 0) / 1e6
        if duration > request["max_duration_seconds"]:
            raise Unreadable(
                f"The clip is {duration:.0f} s long, the limit is {request['max_duration_seconds']:.0f} s; "
                "trim it to the part that shows the person."
            )
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > request["max_pixels"]:
            raise Unreadable(f"The video is {width}x{height}; scale it down to 4K or less.")
        declared, rate = int(stream.frames or 0), float(stream.average_rate or 0)
        try:
            packets = sum(1 for p in container.demux(stream) if p.size)
        except av.error.FFmpegError:
            packets = 0
        if packets == 0:
            raise Unreadable("The video track holds no frames; record or export the clip again.")
        if declared and packets < request["min_complete"] * declared:
            raise Unreadable(
                f"The clip is cut off: {packets} of {declared} frames are present. Copy or export it again."
            )
        wanted = set(choose(packets, request["max_frames"]))
        container.seek(0)
        stream.codec_context.thread_count = 1
        frames, times, index = [], [], []
        seen, start = 0, None
        try:
            for frame in container.decode(stream):
                moment = float(frame.time) if frame.time is not None else seen / (rate or 30.0)
                start = moment if start is None else start
                if seen in wanted:
                    frames.append(to_rgb(frame, stream, request["max_side"]))
                    times.append(moment - start)
                    index.append(seen)
                seen += 1
        except (av.error.FFmpegError, MemoryError) as error:
            if isinstance(error, MemoryError):
                raise Unreadable(
                    "The clip needs too much memory to decode; scale it down to 1080p."
                ) from error
        if not frames or seen < request["min_complete"] * min(packets, declared or packets):
            raise Unreadable(
                f"Only {seen} of {max(packets, declared)} frames of the clip can be decoded; "
                "the file is damaged or cut off. Export it again."
            )
    first = frames[0].shape
    same = [f.shape == first for f in frames]  # a stream may change size; keep its first format
    frames, times, index = ([v for v, ok in zip(seq, same) if ok] for seq in (frames, times, index))
    stack = np.lib.format.open_memmap(
        str(out / "frames.npy"), mode="w+", dtype=np.uint8, shape=(len(frames), *first)
    )
    for i, frame in enumerate(frames):
        stack[i] = frame
    stack.flush()
    return {
        "timestamps": times,
        "frame_index": index,
        "fps": rate or (seen / duration if duration else 30.0),
        "frame_count": seen,
        "sizes": [[first[1], first[0]]] * len(frames),
        "source_size": [width, height] if first[1] >= first[0] else [height, width],
        "focal_px": [None] * len(frames),
        "kind": "video",
    }


def to_rgb(frame: Any, stream: Any, max_side: int) -> Any:
    """Decoded frame -> RGB uint8 [H,W,3], upright, square pixels, longer side at most ``max_side``."""
    import numpy as np

    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    width, height = frame.width, frame.height
    if aspect and aspect > 0 and aspect != 1:
        width = round(width * float(aspect))
    scale = min(1.0, max_side / max(width, height))
    width, height = max(round(width * scale), 2), max(round(height * scale), 2)
    curve = HDR_CURVES.get(int(getattr(stream.codec_context, "color_trc", 0) or 0))
    if curve is None:
        image = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
    else:
        deep = frame.to_ndarray(format="rgb48le", width=width, height=height, interpolation="AREA")
        image = hdr_to_srgb(deep, curve)
    turns = round((frame.rotation or 0) / 90) % 4  # display matrix: counter-clockwise degrees
    return np.ascontiguousarray(np.rot90(image, turns))


HDR_CURVES = {16: "pq", 18: "hlg"}
"""Transfer characteristics of ITU-T H.273 that mark high dynamic range."""

WHITE_NITS = 203.0
"""Diffuse white of HDR pictures (ITU-R BT.2408)."""


def hdr_to_srgb(deep: Any, curve: str) -> Any:
    """BT.2020 PQ or HLG code values, uint16 RGB [H,W,3], to sRGB uint8; highlights above white roll off.

    Curves: SMPTE ST 2084 and ITU-R BT.2100 (HLG for a 1000-nit display, system gamma 1.2).
    """
    import numpy as np

    code = np.linspace(0.0, 1.0, 4096)
    if curve == "pq":
        root = code ** (1 / 78.84375)
        table = 10000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (
            1 / 0.1593017578125
        )
    else:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        table = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    light = table[deep >> 4].astype(np.float32)
    if curve == "hlg":
        luma = light @ np.array([0.2627, 0.678, 0.0593], np.float32)
        light = 1000.0 * light * np.maximum(luma, 1e-6)[..., None] ** 0.2
    to_709 = np.array(
        [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
    )
    linear = np.maximum(light @ to_709.T / WHITE_NITS, 0.0)
    knee = 0.8
    linear = np.where(linear > knee, 1 - (1 - knee) * np.exp(-(linear - knee) / (1 - knee)), linear)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (srgb.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def decode_images(request: dict[str, Any], out: Path) -> dict[str, Any]:
    """Load photos into one padded stack; the true size of each stays in ``sizes``."""
    import numpy as np
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = int(request["max_pixels"])
    paths = [request["images"][i] for i in choose(len(request["images"]), request["max_frames"])]
    frames, focal, largest, alphas, clear = [], [], (1, 1), [], False
    for path in paths:
        try:
            with Image.open(path, formats=request["image_formats"]) as source:
                original = source.size
                source.draft("RGB", (request["max_side"],) * 2)
                tags = source.getexif().get_ifd(0x8769)
                f35 = float(tags.get(0xA405) or 0)  # FocalLengthIn35mmFilm
                image = ImageOps.exif_transpose(source)
                if image.mode.startswith("I;16"):  # 16-bit grey clips at 255 otherwise
                    image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
                alpha = None
                if image.mode in ("RGBA", "LA", "PA", "P"):
                    rgba = image.convert("RGBA")
                    alpha = rgba.getchannel("A")
                    image = Image.new("RGB", rgba.size, (128, 128, 128))
                    image.paste(rgba, mask=alpha)
                image = image.convert("RGB")
        except Image.DecompressionBombError as error:
            raise Unreadable(f"The photo {os.path.basename(path)} is too large; scale it down.") from error
        except Exception as error:
            raise Unreadable(
                f"The photo {os.path.basename(path)} cannot be read; save it again as PNG or JPEG."
            ) from error
        largest = max(largest, original, key=max)
        scale = min(1.0, request["max_side"] / max(image.size))
        if scale < 1.0:
            size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
            image = image.resize(size, Image.Resampling.LANCZOS)
            alpha = alpha.resize(size, Image.Resampling.BOX) if alpha is not None else None
        frames.append(np.asarray(image))
        alphas.append(np.full(frames[-1].shape[:2], 255, np.uint8) if alpha is None else np.asarray(alpha))
        clear = clear or int(alphas[-1].min()) < 128
        focal.append(f35 / 43.27 * float(np.hypot(image.width, image.height)) if f35 > 0 else None)
    height, width = max(f.shape[0] for f in frames), max(f.shape[1] for f in frames)
    stack = np.zeros((len(frames), height, width, 3), np.uint8)
    for slot, frame in zip(stack, frames):
        slot[: frame.shape[0], : frame.shape[1]] = frame
    np.save(out / "frames.npy", stack)
    if clear:
        cut = np.zeros((len(frames), height, width), np.uint8)
        for slot, matte in zip(cut, alphas):
            slot[: matte.shape[0], : matte.shape[1]] = matte
        np.save(out / "alpha.npy", cut)
    return {
        "timestamps": [float(i) for i in range(len(frames))],
        "frame_index": [request["images"].index(p) for p in paths],
        "fps": 1.0,
        "frame_count": len(request["images"]),
        "sizes": [[f.shape[1], f.shape[0]] for f in frames],
        "source_size": list(largest),
        "focal_px": focal,
        "kind": "images",
    }


def main() -> int:
    """Entry point: ``decode_worker.py request.json output_folder``."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    out = Path(sys.argv[2])
    limit_resources(request)
    try:
        result = decode_images(request, out) if request.get("images") else decode_video(request, out)
    except Unreadable as error:
        result = {"error": str(error)}
    except MemoryError:
        result = {"error": "The media needs too much memory to decode; scale it down to 1080p."}
    (out / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
