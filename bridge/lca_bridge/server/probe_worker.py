"""Child process that looks into one untrusted media file: is it a clip a person could be in?

Runs as a plain script under memory, CPU and file-size limits, reads no other file and no network, and
prints one
JSON object: the facts of the clip, or ``{"error": ...}`` with cause and cure. The parent is ``media.py``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

MAX_PIXELS = 8192 * 4320
MAX_SECONDS = 600.0
MAX_PACKETS = 200_000
MIN_COMPLETE = 0.9


class Unreadable(Exception):
    """Cause and cure, one line."""


def limit_resources() -> None:
    """3 GiB of memory, 8 CPU seconds, no files written (POSIX; elsewhere the parent's clock remains)."""
    try:
        import resource
    except ImportError:
        return
    for kind, value in (
        (resource.RLIMIT_AS, 3 << 30),
        (resource.RLIMIT_CPU, 8),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(kind, (value, value))
        except (ValueError, OSError):
            continue


def probe_video(path: str) -> dict[str, Any]:
    """Container and stream facts; counts the packets and decodes one frame."""
    import av

    try:
        options = {"protocol_whitelist": "file", "enable_drefs": "0"}
        container = av.open(path, options=options, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError, OSError):
        raise Unreadable(
            "The file cannot be opened as a video or photo; it is damaged, cut off or another kind of file. "
            "Export it again as MP4 (H.264)."
        ) from None
    with container:
        if not container.streams.video:
            raise Unreadable(
                "The file has no video track (sound only?); choose a clip that shows the person."
            )
        stream = container.streams.video[0]
        seconds = float(container.duration or 0) / 1e6
        if seconds > MAX_SECONDS:
            raise Unreadable(f"The clip is {seconds:.0f} s long; trim it to at most {MAX_SECONDS:.0f} s.")
        width, height = stream.codec_context.width, stream.codec_context.height
        if not min(width, height) >= 16 or width * height > MAX_PIXELS:
            raise Unreadable(f"The video is {width}x{height} pixels; use at least 16x16 and at most 8K.")
        packets, declared = 0, int(stream.frames or 0)
        stream.codec_context.thread_count = 1
        first = None
        try:
            for packet in container.demux(stream):
                packets += packet.size > 0
                if first is None:
                    first = next(iter(packet.decode()), None)
                if packets > MAX_PACKETS:
                    raise Unreadable("The clip has too many frames; trim it.")
        except av.error.FFmpegError:
            pass  # judged below by what was there
        if not packets:
            raise Unreadable("The video track holds no frames; record or export the clip again.")
        if declared and packets < MIN_COMPLETE * declared:
            raise Unreadable(
                f"The clip is cut off: {packets} of {declared} frames are present. Copy or export it again."
            )
        if first is None:
            raise Unreadable("No frame of the clip can be decoded; export it again as MP4 (H.264).")
        return {
            "kind": "video",
            "width": width,
            "height": height,
            "frame_rate": float(stream.average_rate or 0),
            "frame_count": declared or packets,
            "codec": stream.codec_context.name,
        }


def probe_photo(path: str) -> dict[str, Any]:
    """Decode a still picture."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        with Image.open(path, formats=["PNG", "JPEG", "WEBP", "BMP"]) as image:
            image.load()
            width, height, kind = image.width, image.height, str(image.format).lower()
    except Image.DecompressionBombError:
        raise Unreadable("The photo is too large; scale it down.") from None
    except Exception:
        raise Unreadable("The photo cannot be read; save it again as PNG or JPEG.") from None
    return {
        "kind": "photo",
        "width": width,
        "height": height,
        "frame_rate": 0.0,
        "frame_count": 1,
        "codec": kind,
    }


def main() -> int:
    """Entry point: ``probe_worker.py video|photo PATH``."""
    kind, path = sys.argv[1:3]
    limit_resources()
    try:
        result = probe_photo(path) if kind == "photo" else probe_video(path)
    except Unreadable as error:
        result = {"error": str(error)}
    except MemoryError:
        result = {"error": "The file needs too much memory to decode; scale it down to 1080p."}
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
