"""Motion files of other tools turned into one clip that drives any avatar.

In: a path (BVH, SMPL-X or our own npz, ARKit JSON, Live Link Face CSV). Out: a :class:`MotionClip` on the 55
SMPL-X joints and 52 ARKit weights. Needs numpy only, so the command line, the USD exporter, the Blender
extension and the training data read motion through this one door.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from lca.errors import InvalidInputError, NotFoundError
from lca.motion.arkit import read_arkit_json, read_live_link_csv
from lca.motion.bvh import read_bvh
from lca.motion.clip import OURS, MotionClip
from lca.motion.npz import read_npz
from lca.motion.retarget import retarget_bvh

__all__ = ["SUFFIXES", "MotionClip", "read_motion"]

MAX_BYTES = 512 * 2**20


def _read_skeleton(path: Path) -> MotionClip:
    return retarget_bvh(read_bvh(path), path.name)


READERS: dict[str, Callable[[Path], MotionClip]] = {
    ".bvh": _read_skeleton,
    ".npz": read_npz,
    ".json": read_arkit_json,
    ".csv": read_live_link_csv,
}
SUFFIXES = tuple(READERS)
"""File name endings that :func:`read_motion` understands."""


def read_motion(
    path: str | os.PathLike[str], *, fps: float | None = None, face_forward: bool = False
) -> MotionClip:
    """Read a motion file of any supported kind; the ending of the name decides.

    Args:
        path: ``.bvh``; ``.npz`` (ours or SMPL-X ``poses``); ``.json`` (ARKit weights); ``.csv`` (Live Link
            Face).
        fps: resample to this rate.
        face_forward: turn the whole clip about the vertical so that its first frame faces +Z. Our own files
            keep their place before the camera.

    Raises:
        NotFoundError: no such file.
        InvalidInputError: not one of these kinds, broken, too large, or a skeleton whose joints cannot be
            recognised (the message lists them).
    """
    file = Path(path)
    if not file.is_file():
        raise NotFoundError(f"There is no motion file {file.name!r}.", reason="FILE_NOT_FOUND")
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        raise InvalidInputError(
            f"{file.name} is no motion file we know; use one of {', '.join(SUFFIXES)}.", reason="BAD_MOTION"
        )
    if file.stat().st_size > MAX_BYTES:
        raise InvalidInputError(
            f"{file.name} is larger than {MAX_BYTES // 2**20} MB; cut it into shorter clips.",
            reason="BAD_MOTION",
        )
    clip = reader(file)
    if face_forward and not clip.source.endswith(OURS):
        clip = clip.facing_forward()
    return clip if fps is None else clip.resampled(fps)
