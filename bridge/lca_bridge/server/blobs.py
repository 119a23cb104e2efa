"""Files the service keeps: content-addressed packages and growing uploads, safe against crashes.

A blob is complete or absent: it is written beside its place, synced, renamed, and the folder synced, before
the database row that names it. Uploads are append-only files whose durable length the database knows.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from pathlib import Path

from lca.errors import ExhaustedError, InvalidInputError, LcaError, UnavailableError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_UPLOAD_ID = re.compile(r"[0-9a-z]{1,40}")
_RESERVE_BYTES = 64 << 20


class BlobStore:
    """Folders ``cas``, ``uploads`` and ``tmp`` below one root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cas, self.uploads, self.tmp = root / "cas", root / "uploads", root / "tmp"
        for folder in (root, self.cas, self.uploads, self.tmp):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def blob_path(self, sha256: str) -> Path:
        """Where a blob lies; refuses anything that is not a hash."""
        if not _SHA256.fullmatch(sha256):
            raise InvalidInputError("That is not a sha256.", reason="INVALID_NAME")
        return self.cas / sha256[:2] / sha256

    def put_file(self, source: Path, sha256: str | None = None) -> tuple[str, int]:
        """Move ``source`` (on the same file system) into the store; returns (sha256, size).

        Raises:
            ExhaustedError: ``STORAGE_FULL``.
            UnavailableError: ``STORAGE_FAILED``.
        """
        try:
            digest = sha256 or hash_file(source)
            target = self.blob_path(digest)
            size = source.stat().st_size
            if target.exists():
                source.unlink()
                return digest, size
            target.parent.mkdir(mode=0o700, exist_ok=True)
            with source.open("rb+") as stream:
                os.fsync(stream.fileno())
            os.replace(source, target)
            sync_folder(target.parent)
            sync_folder(self.cas)
        except OSError as error:
            raise storage_error(error) from error
        return digest, size

    def delete_blob(self, sha256: str) -> None:
        """Remove a blob; missing is fine."""
        self.blob_path(sha256).unlink(missing_ok=True)

    def all_blobs(self) -> list[str]:
        """Every stored hash."""
        return [p.name for p in self.cas.glob("*/*") if _SHA256.fullmatch(p.name)]

    def upload_path(self, upload: str) -> Path:
        """Where the bytes of an upload grow."""
        if not _UPLOAD_ID.fullmatch(upload):
            raise InvalidInputError("That is not an upload id.", reason="INVALID_NAME")
        return self.uploads / upload

    def scratch(self, name: str) -> Path:
        """A fresh empty folder for one job attempt."""
        folder = self.tmp / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        return folder

    def free_bytes(self) -> int:
        """What the disk still takes, less a reserve for the database."""
        return max(shutil.disk_usage(self.root).free - _RESERVE_BYTES, 0)

    def sweep_tmp(self) -> None:
        """Remove what a crash left behind."""
        for path in self.tmp.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def hash_file(path: Path) -> str:
    """sha256 of a file, lower-case hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make a rename durable (a no-op where folders cannot be opened)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def storage_error(error: OSError) -> LcaError:
    """What a caller hears when the disk refuses: full (free some space), or broken (try later)."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ExhaustedError(
            "The service's disk is full. Free some space and try again.", reason="STORAGE_FULL"
        )
    return UnavailableError(
        "The service cannot write its data (disk error or read-only). Try again later.",
        reason="STORAGE_FAILED",
    )
