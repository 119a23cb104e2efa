"""Finds out what an uploaded file really is, by its bytes: a clip, a photo or an avatar package.

Media is opened only in a limited child process (``probe_worker.py``); a decoder that crashes or hangs takes
nothing with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lca.errors import MediaUnreadableError
from lca_bridge.wire.container import MAX_PACKAGE_BYTES, invalid_package
from lca_bridge.wire.package import AvatarPackage, read_package

PROBE_SECONDS = 9.0
_PHOTO_HEADS = {b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg", b"BM": ".bmp"}


@dataclass(frozen=True)
class Probe:
    """``content`` is "CLIP" or "PACKAGE"; ``suffix`` is what a decoder wants the file to be called."""

    content: str
    suffix: str
    media: dict[str, Any]


def probe_file(path: Path, package_bytes: int = MAX_PACKAGE_BYTES) -> Probe:
    """Sniff and check one file; a package has at most ``package_bytes``.

    Raises:
        MediaUnreadableError: it is no clip, photo or package, or it is damaged.
        LcaError: a package that breaks its schema.
    """
    with path.open("rb") as stream:
        head = stream.read(16)
    if not head:
        raise MediaUnreadableError("The file is empty; copy or export it again.")
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        if (size := path.stat().st_size) > package_bytes:
            raise invalid_package(f"it has {size >> 20} MiB; this service takes {package_bytes >> 20} MiB")
        check_package(path)
        return Probe("PACKAGE", ".lca", {})
    suffix = next((s for magic, s in _PHOTO_HEADS.items() if head.startswith(magic)), "")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        suffix = ".webp"
    media = _probe("photo" if suffix else "video", path)
    return Probe("CLIP", suffix or ".mp4", media)


def check_package(path: Path) -> AvatarPackage:
    """Verify a whole package: checksums, and every group against the schema."""
    package = read_package(path)
    _ = package.canonical, package.skinning, package.correctives, package.relight, package.proxy
    return package


def _probe(kind: str, path: Path) -> dict[str, Any]:
    keep = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "HOME")
    env = {k: os.environ[k] for k in keep if k in os.environ} | {"OPENBLAS_NUM_THREADS": "1"}
    worker = Path(__file__).with_name("probe_worker.py")
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(worker), kind, str(path)],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MediaUnreadableError(
            "The clip takes too long to open; export it again as MP4 (H.264), at most 1080p."
        ) from None
    try:
        result = json.loads(done.stdout)
    except ValueError:
        if b"No module named" in done.stderr:
            raise MediaUnreadableError(
                "Reading clips needs PyAV and Pillow: install lca-bridge[server]."
            ) from None
        raise MediaUnreadableError(
            "The file cannot be opened as a video or photo; it is damaged. Export it again as MP4 (H.264)."
        ) from None
    if "error" in result:
        raise MediaUnreadableError(result["error"])
    return result
