# SPDX-License-Identifier: GPL-3.0-or-later
"""A shot's splats on disk: one file per frame, written beside its final place and moved there when complete.

``cache.json`` names the schema, the number of splats and the range. ``000123.npy`` is one flat float32 array:
means 3N, quats 4N (wxyz), scales 3N, then raw colour and opacity 4N, each a contiguous block that Blender
takes as it is.
"""

from __future__ import annotations

import errno
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .deps import errors

SCHEMA = "lca.splat_cache/1"
_INFO = "cache.json"
_FLOATS = 14
_SPARE_BYTES = 64 << 20

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Gaussians:
    """One frame: means (N, 3) m, quats (N, 4) wxyz, scales (N, 3) linear, base (N, 4) = sh band 0 and
    opacity."""

    means: F32
    quats: F32
    scales: F32
    base: F32

    @staticmethod
    def of(posed: Any) -> Gaussians:
        """From a frame of the service (means, quats, scales, opacities, sh)."""
        base = np.empty((len(posed.means), 4), np.float32)
        base[:, :3], base[:, 3] = posed.sh[:, 0], posed.opacities
        means, quats, scales = (np.asarray(v, np.float32) for v in (posed.means, posed.quats, posed.scales))
        return Gaussians(means, quats, scales, base)


@dataclass(frozen=True)
class CacheInfo:
    """Number of splats, first and last frame, frames per second."""

    gaussians: int
    start: int
    end: int
    fps: float


class CacheWriter:
    """Context manager; leaves nothing behind unless ``finish`` was reached.

    Args:
        folder: the cache to write; one that is there already is replaced when the new one is complete.

    Raises:
        ExhaustedError: ``DISK_FULL``; the frames do not fit, checked before the first and at every write.
        PreconditionError: ``folder`` exists and is no cache, or cannot be written.
    """

    def __init__(self, folder: Path, info: CacheInfo) -> None:
        self._folder, self._info = folder, info
        self._part = folder.with_name(folder.name + ".part")

    def __enter__(self) -> CacheWriter:
        if self._folder.exists() and not (self._folder / _INFO).is_file():
            raise errors.PreconditionError(
                f"{self._folder} exists and is no splat cache. Choose another folder."
            )
        needed = (self._info.end - self._info.start + 1) * self._info.gaussians * _FLOATS * 4
        try:
            shutil.rmtree(self._part, ignore_errors=True)
            self._part.mkdir(parents=True)
            free = shutil.disk_usage(self._part).free
        except OSError as error:
            raise self._failed(error) from None
        if free < needed + _SPARE_BYTES:
            shutil.rmtree(self._part, ignore_errors=True)
            raise errors.ExhaustedError(
                f"The disk is full: this cache needs {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free. "
                "Free some space or choose another folder.",
                reason="DISK_FULL",
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        shutil.rmtree(self._part, ignore_errors=True)

    def write(self, frame: int, gaussians: Gaussians) -> None:
        """Write one frame."""
        if len(gaussians.means) != self._info.gaussians:
            raise errors.InvalidInputError(
                f"The service sent {len(gaussians.means)} splats, this avatar has {self._info.gaussians}. "
                "Import the avatar again."
            )
        parts = [np.ravel(value) for value in vars(gaussians).values()]
        try:
            np.save(frame_file(self._part, frame), np.concatenate(parts).astype(np.float32, copy=False))
        except OSError as error:
            raise self._failed(error) from None

    def finish(self) -> Path:
        """Put the complete cache in its place; returns the folder."""
        try:
            text = json.dumps({"schema": SCHEMA, **vars(self._info)}, indent=1)
            (self._part / _INFO).write_text(text, encoding="utf-8")
            if self._folder.exists():
                shutil.rmtree(self._folder)
            self._part.rename(self._folder)
        except OSError as error:
            raise self._failed(error) from None
        return self._folder

    def _failed(self, error: OSError) -> Exception:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return errors.ExhaustedError("The disk is full. Free some space.", reason="DISK_FULL")  # type: ignore[no-any-return]
        return errors.PreconditionError(f"{self._folder} cannot be written: {error.strerror}.")  # type: ignore[no-any-return]


def frame_file(folder: Path, frame: int) -> Path:
    """The file of a frame; negative frames have a minus."""
    return folder / f"{frame:06d}.npy"


def read_info(folder: Path) -> CacheInfo:
    """What a cache holds.

    Raises:
        NotFoundError: no cache there. InvalidInputError: not one we know.
    """
    try:
        data = json.loads((folder / _INFO).read_text(encoding="utf-8"))
    except OSError:
        raise errors.NotFoundError(f"There is no splat cache in {folder}.", reason="FILE_NOT_FOUND") from None
    except ValueError:
        data = {}
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise errors.InvalidInputError(f"{folder} holds no splat cache of schema {SCHEMA}.")
    return CacheInfo(int(data["gaussians"]), int(data["start"]), int(data["end"]), float(data["fps"]))


def read_frame(folder: Path, frame: int, count: int) -> Gaussians | None:
    """A frame of ``count`` splats; None when its file is missing, damaged or of another size."""
    try:
        flat = np.load(frame_file(folder, frame), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if flat.dtype != np.float32 or flat.shape != (_FLOATS * count,):
        return None
    means, quats, scales, base = np.split(flat, np.array([3, 7, 10]) * count)
    return Gaussians(means.reshape(-1, 3), quats.reshape(-1, 4), scales.reshape(-1, 3), base.reshape(-1, 4))
