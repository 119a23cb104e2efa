# SPDX-License-Identifier: GPL-3.0-or-later
"""What an avatar can be made from: one video, or one to 64 photos of the same person; files or a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .deps import errors

VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MOST_PHOTOS = 64
VIDEO_FILTER = ";".join(f"*{suffix}" for suffix in VIDEOS)
FILTER = ";".join(f"*{suffix}" for suffix in (*VIDEOS, *PHOTOS))


def source_files(paths: Sequence[Path]) -> list[Path]:
    """The files to send for what the user chose: files, or one folder of photos; photos sorted by name.

    Raises:
        InvalidInputError: nothing usable, a video among photos, several videos, or too many photos; the
        message says which.
    """
    if not paths:
        raise _refused("Choose a clip or photos first")
    for path in paths:
        if not path.exists():
            raise _refused(f"There is no clip at {path}")
    if len(paths) == 1 and paths[0].is_dir():
        photos = sorted(
            path for path in paths[0].iterdir() if path.suffix.lower() in PHOTOS and path.is_file()
        )
        if not photos:
            raise _refused(f"The folder {paths[0].name} holds no photos (JPEG, PNG, WebP or BMP)")
        return _counted(photos)
    kinds = {path: path.suffix.lower() for path in paths}
    strange = next((path for path, kind in kinds.items() if kind not in (*VIDEOS, *PHOTOS)), None)
    if strange is not None:
        raise _refused(f"{strange.name} is neither a video nor a photo this can send (JPEG, PNG, WebP, BMP)")
    videos = [path for path, kind in kinds.items() if kind in VIDEOS]
    if len(videos) > 1:
        raise _refused("Choose one video, not several")
    if videos and len(paths) > 1:
        raise _refused("Choose one video or only photos, not both")
    return _counted(videos or sorted(paths))


def title_of(paths: Sequence[Path]) -> str:
    """A name for the avatar: the folder's, the clip's, or for several photos that of the folder they lie
    in."""
    first = paths[0]
    return (
        first.name if first.is_dir() else first.stem if len(paths) == 1 else first.parent.name or first.stem
    )


def _counted(files: list[Path]) -> list[Path]:
    if len(files) > MOST_PHOTOS:
        raise _refused(f"{len(files)} photos are too many: choose at most {MOST_PHOTOS}, from all sides")
    return files


def _refused(why: str) -> Exception:
    refused: Exception = errors.InvalidInputError(f"{why}.", reason="BAD_SOURCE")
    return refused
