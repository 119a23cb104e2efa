"""Reads clips and photos: a path in, evenly sampled RGB frames with timestamps out.

Decoding runs in a child process with memory, CPU and wall-clock limits, because media files are untrusted
and codecs crash. Frames come back through a file in a private temporary folder that is always removed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lca.errors import MediaUnreadableError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
HEIC_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
IMAGE_FORMATS = ["PNG", "JPEG", "WEBP", "BMP"]
MIN_COMPLETE = 0.9
"""A clip with fewer than this share of its declared frames counts as cut off."""


@dataclass(frozen=True)
class DecodeLimits:
    """What a file may cost. Exceeding any of them is a :class:`MediaUnreadableError`."""

    file_bytes: int = 4 << 30
    duration_seconds: float = 600.0
    pixels: int = 4096 * 4096
    memory_bytes: int = 6 << 30
    cpu_seconds: int = 300
    wall_seconds: float = 300.0


@dataclass(frozen=True)
class Clip:
    """Sampled frames of one clip or photo set.

    Attributes:
        frames: uint8 [T,H,W,3] RGB, upright; photos smaller than H x W are padded right and below with black.
        timestamps: float64 [T] seconds from the first frame (photos: 0, 1, 2, ...).
        fps: frame rate of the source (photos: 1).
        size: (width, height) of ``frames``.
        sizes: int [T,2] width and height of the part of each frame that holds the picture.
        frame_index: int [T] frame number in the source.
        frame_count: frames in the source.
        source_size: (width, height) before scaling down (photos: the largest).
        focal_px: focal length in pixels from EXIF when every photo has one, else ``None``.
        kind: ``"video"`` or ``"images"``.
        alpha: uint8 [T,H,W] when pictures came with transparency (255 in those without), else ``None``; the
            transparent part of ``frames`` is grey.
    """

    frames: NDArray[np.uint8]
    timestamps: NDArray[np.float64]
    fps: float
    size: tuple[int, int]
    sizes: NDArray[np.int64]
    frame_index: NDArray[np.int64]
    frame_count: int
    source_size: tuple[int, int]
    focal_px: float | None
    kind: str
    alpha: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.frames)


def read_clip(
    path: str | os.PathLike[str] | list[str | os.PathLike[str]],
    max_frames: int = 24,
    *,
    max_side: int = 1920,
    limits: DecodeLimits | None = None,
) -> Clip:
    """Decode up to ``max_frames`` evenly spaced frames of a video, photo, photo folder or list of photos.

    Args:
        max_side: frames are scaled down so that the longer side is at most this many pixels.
        limits: what the file may cost.

    Raises:
        MediaUnreadableError: missing, empty, not decodable, cut off, without video, or over a limit; the
            message names cause and cure in one line.
    """
    limits = limits or DecodeLimits()
    images, video = _inputs(path)
    for file in images or [video]:
        size = file.stat().st_size
        if size == 0:
            raise MediaUnreadableError(f"The file {file.name} is empty; copy or export it again.")
        if size > limits.file_bytes:
            raise MediaUnreadableError(
                f"The file {file.name} has {size >> 20} MiB; "
                f"the limit is {limits.file_bytes >> 20} MiB. Trim it."
            )
    request = {
        "path": str(video.resolve()),
        "images": [str(p.resolve()) for p in images],
        "image_formats": IMAGE_FORMATS,
        "max_frames": int(max_frames),
        "max_side": int(max_side),
        "min_complete": MIN_COMPLETE,
        "max_duration_seconds": limits.duration_seconds,
        "max_pixels": limits.pixels,
        "max_memory_bytes": limits.memory_bytes,
        "max_cpu_seconds": limits.cpu_seconds,
        "max_output_bytes": limits.memory_bytes,
    }
    with tempfile.TemporaryDirectory(prefix="lca_decode_") as scratch:
        result = _run_worker(request, Path(scratch), limits.wall_seconds, video.name)
        frames = np.load(Path(scratch) / "frames.npy", allow_pickle=False)
        cut = Path(scratch) / "alpha.npy"
        alpha = np.load(cut, allow_pickle=False) if cut.is_file() else None
    focal = [f for f in result["focal_px"] if f]
    return Clip(
        frames=frames,
        timestamps=np.asarray(result["timestamps"], np.float64),
        fps=float(result["fps"]),
        size=(frames.shape[2], frames.shape[1]),
        sizes=np.asarray(result["sizes"], np.int64),
        frame_index=np.asarray(result["frame_index"], np.int64),
        frame_count=int(result["frame_count"]),
        source_size=(int(result["source_size"][0]), int(result["source_size"][1])),
        focal_px=float(np.median(focal)) if focal and len(focal) == len(frames) else None,
        kind=str(result["kind"]),
        alpha=alpha,
    )


def _inputs(path: str | os.PathLike[str] | list[str | os.PathLike[str]]) -> tuple[list[Path], Path]:
    """Split the request into (photos, first file); photos is empty for a video."""
    if isinstance(path, list):
        images = [Path(p) for p in path]
        _refuse_heic(images)
        missing = [p.name for p in images if not p.is_file()]
        if missing or not images:
            raise MediaUnreadableError(f"Photos are missing: {', '.join(missing) or 'the list is empty'}.")
        return images, images[0]
    source = Path(path)
    if source.is_dir():
        images = sorted(p for p in source.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        if not images:
            _refuse_heic(sorted(source.iterdir()))
            raise MediaUnreadableError(
                f"The folder {source.name} holds no photos; put PNG or JPEG files into it or give a video."
            )
        return images, images[0]
    _refuse_heic([source])
    if not source.is_file():
        raise MediaUnreadableError(f"There is no file {source.name}; check the path.")
    return ([source] if source.suffix.lower() in IMAGE_SUFFIXES else []), source


def _refuse_heic(files: list[Path]) -> None:
    """HEIC needs a patent-encumbered decoder that is not shipped; half-read grids would be worse."""
    for file in files:
        if file.suffix.lower() in HEIC_SUFFIXES:
            raise MediaUnreadableError(
                f"{file.name} is a HEIC photo, which is not read here; export it as JPEG (on an iPhone: "
                "Settings, Camera, Formats, Most Compatible)."
            )


def _run_worker(request: dict, scratch: Path, wall_seconds: float, name: str) -> dict:
    """Run ``decode_worker.py`` on ``request``; returns its result or raises MediaUnreadableError."""
    (scratch / "request.json").write_text(json.dumps(request), encoding="utf-8")
    # -P keeps this folder off sys.path (a module here is called types.py); threads stay single.
    worker = Path(__file__).with_name("decode_worker.py")
    command = [sys.executable, "-P", str(worker), str(scratch / "request.json"), str(scratch)]
    keep = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "HOME")
    env = {k: os.environ[k] for k in keep if k in os.environ} | {
        "OPENBLAS_NUM_THREADS": "1",
        "TMPDIR": str(scratch),
    }
    try:
        done = subprocess.run(
            command, env=env, cwd=scratch, capture_output=True, timeout=wall_seconds, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise MediaUnreadableError(
            f"Decoding {name} took longer than {wall_seconds:.0f} s and was stopped; "
            "trim the clip or scale it down."
        ) from error
    answer = scratch / "result.json"
    if not answer.is_file():
        if b"No module named" in done.stderr:
            raise MediaUnreadableError("Reading clips needs PyAV and Pillow; install lca-bridge[capture].")
        raise MediaUnreadableError(
            f"Decoding {name} stopped unexpectedly (a damaged file or a resource limit); "
            "export the clip again as MP4 (H.264), at most 1080p."
        )
    result = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in result:
        raise MediaUnreadableError(f"{name}: {result['error']}")
    return result
