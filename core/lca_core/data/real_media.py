"""Real people for evaluation: folders of photographs and clips, and which of them may be looked at.

In: a folder outside the product, ``DIR/<subject>/<views>`` or single clips. Out: :class:`Subject` lists,
views given and held out, pictures as arrays. Nothing here is ever trained on or shipped; where the folder is
absent there are simply no subjects.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lca.errors import InvalidInputError, MediaUnreadableError, NotFoundError

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
CLIPS = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi")
SETS = ("turnaround", "stylised", "real")
"""Sub-folders of the media folder: photographs of people, drawings and dressed-up figures, clips."""
MAX_SIDE = 4096


@dataclass(frozen=True)
class Subject:
    """One person: ``name`` and the paths of the pictures, in order. ``clip``: one film."""

    name: str
    views: tuple[Path, ...]
    clip: bool = False


@dataclass(frozen=True)
class HoldOut:
    """What a method may see and what it is judged on."""

    subject: str
    given: tuple[Path, ...]
    held_out: tuple[Path, ...]


def media_folder() -> Path | None:
    """``$LCA_MEDIA``, else ``shared/media`` beside the source tree; None where neither exists."""
    named = os.environ.get("LCA_MEDIA")
    folder = Path(named) if named else Path(__file__).resolve().parents[4] / "shared" / "media"
    return folder if folder.is_dir() else None


def media_set(name: str) -> list[Subject]:
    """Subjects of one of ``SETS`` in the media folder; none where it is absent."""
    if name not in SETS:
        raise InvalidInputError(f"There is no real set {name!r}; use one of {', '.join(SETS)}.")
    root = media_folder()
    return list_subjects(root / name) if root is not None and (root / name).is_dir() else []


def list_subjects(folder: str | os.PathLike[str]) -> list[Subject]:
    """Subjects below ``folder``, sorted by name: every sub-folder with at least two pictures, every clip.

    A folder that itself holds pictures and no sub-folders is one subject.

    Raises:
        NotFoundError: no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise NotFoundError(f"There is no folder {root.name!r} with subjects.", reason="FOLDER_NOT_FOUND")
    found = []
    for entry in sorted(root.iterdir()):
        if entry.is_dir() and not entry.name.startswith("."):
            views = _pictures(entry)
            if len(views) >= 2:
                found.append(Subject(entry.name, views))
        elif entry.is_file() and entry.suffix.lower() in CLIPS:
            found.append(Subject(entry.stem, (entry,), clip=True))
    views = _pictures(root)
    if not found and len(views) >= 2:
        found.append(Subject(root.name, views))
    return found


def _pictures(folder: Path) -> tuple[Path, ...]:
    files = [p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in PICTURES]
    # Numbers sort as numbers, so 10.png follows 9.png.
    return tuple(
        sorted(files, key=lambda p: (not p.stem.isdigit(), int(p.stem) if p.stem.isdigit() else 0, p.name))
    )


def hold_out(subject: Subject, given: int = 6) -> HoldOut:
    """``given`` views to see, the others evenly spread over the turn to be judged on; at least one of each.

    Eight views with six given hold out the third and the sixth (002 and 005).

    Raises:
        InvalidInputError: a clip, or fewer than two views.
    """
    count = _count(subject)
    rest = max(1, count - max(1, given))
    held = {(k + 1) * count // (rest + 1) for k in range(rest)}
    return _split(subject, held)


def leave_one_out(subject: Subject) -> Iterator[HoldOut]:
    """Every view held out in turn, all others given.

    Raises:
        InvalidInputError: a clip, or fewer than two views.
    """
    for k in range(_count(subject)):
        yield _split(subject, {k})


def _count(subject: Subject) -> int:
    if subject.clip or len(subject.views) < 2:
        raise InvalidInputError(f"{subject.name} has no two views; nothing can be held out.")
    return len(subject.views)


def _split(subject: Subject, held: set[int]) -> HoldOut:
    return HoldOut(
        subject.name,
        tuple(v for i, v in enumerate(subject.views) if i not in held),
        tuple(v for i, v in enumerate(subject.views) if i in held),
    )


def load_picture(
    path: Path, max_side: int = MAX_SIDE
) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
    """Upright RGB picture (H,W,3) and its alpha (H,W) 0-1 where the file has one that is not all opaque.

    Raises:
        MediaUnreadableError: not a picture.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()
            upright = ImageOps.exif_transpose(image) or image
            scale = max_side / max(upright.size)
            if scale < 1:
                size = round(upright.width * scale), round(upright.height * scale)
                upright = upright.resize(size, Image.Resampling.LANCZOS)
            rgba = np.asarray(upright.convert("RGBA"))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MediaUnreadableError(f"{path.name} cannot be read as a picture ({error}).") from error
    alpha = rgba[..., 3].astype(np.float32) / 255
    return np.ascontiguousarray(rgba[..., :3]), None if alpha.min() > 0.99 else alpha
