"""Files the service keeps: content-addressed packages and growing uploads, safe against crashes.

A blob is complete or absent: it is synced before it gets its name, and the folder synced, before the database
row that names it. With an object store (``objects.py``) blobs are there first, and the local ones are copies
that may go and come back. Uploads are append-only files whose durable length the database knows.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Collection
from pathlib import Path

from lca.errors import (
    DataLossError,
    ExhaustedError,
    InvalidInputError,
    LcaError,
    NotFoundError,
    UnavailableError,
)
from lca_bridge.server.objects import ObjectStore

_SHA256 = re.compile(r"[0-9a-f]{64}")
_UPLOAD_ID = re.compile(r"[0-9a-z]{1,40}")
_RESERVE_BYTES = 64 << 20
_IN_USE_SECONDS = 600.0


class BlobStore:
    """Folders ``cas``, ``uploads`` and ``tmp`` below one root.

    Args:
        url: of an object store that keeps the blobs; empty: they are kept in ``cas``.
        claim: make the object store ours if it is nobody's.
    """

    def __init__(self, root: Path, url: str = "", claim: bool = True) -> None:
        self.root = root
        self.cas, self.uploads, self.tmp = root / "cas", root / "uploads", root / "tmp"
        for folder in (root, self.cas, self.uploads, self.tmp):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._objects = ObjectStore(url, owner_id(root / "blobs-owner"), claim) if url else None
        self._not_erased: set[str] = set()

    def blob_path(self, sha256: str) -> Path:
        """Where a blob lies; refuses anything that is not a hash."""
        if not _SHA256.fullmatch(sha256):
            raise InvalidInputError("That is not a sha256.", reason="INVALID_NAME")
        return self.cas / sha256[:2] / sha256

    def fetch(self, sha256: str) -> Path:
        """The file of a blob, brought from the object store if it is not here; blocks.

        Raises:
            NotFoundError: ``PACKAGE_GONE``.
            DataLossError: the object store holds other bytes under this name.
            UnavailableError, ExhaustedError: the object store or the disk fails.
        """
        path = self.blob_path(sha256)
        if path.is_file():
            if self._objects is not None:
                os.utime(path)  # trim() lets go what was not asked for the longest
            return path
        if self._objects is None:
            raise NotFoundError("The package of this avatar is gone.", reason="PACKAGE_GONE")
        arriving = self.tmp / f"fetch-{uuid.uuid4().hex}"
        try:
            self._objects.get(sha256, arriving)
            if hash_file(arriving) != sha256:
                raise DataLossError("The stored package of this avatar is damaged. Restore it from a backup.")
            path.parent.mkdir(mode=0o700, exist_ok=True)
            os.replace(arriving, path)
        except OSError as error:
            raise storage_error(error) from error
        finally:
            arriving.unlink(missing_ok=True)
        return path

    def put_file(self, source: Path, sha256: str | None = None) -> tuple[str, int]:
        """Store the bytes of ``source`` (on the same file system), which stays; returns (sha256, size).

        Raises:
            ExhaustedError: ``STORAGE_FULL``.
            UnavailableError: ``STORAGE_FAILED``.
        """
        try:
            digest = sha256 or hash_file(source)
            target = self.blob_path(digest)
            size = source.stat().st_size
            if self._objects is not None:
                self._objects.put(digest, source)
                self._not_erased.discard(digest)
            if target.exists():
                return digest, size
            target.parent.mkdir(mode=0o700, exist_ok=True)
            with source.open("rb+") as stream:
                os.fsync(stream.fileno())
            self._name(source, target)
            sync_folder(target.parent)
            sync_folder(self.cas)
        except OSError as error:
            raise storage_error(error) from error
        return digest, size

    def _name(self, source: Path, target: Path) -> None:
        """A second name for a synced file; a copy where files have only one."""
        try:
            os.link(source, target)
        except FileExistsError:
            return
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            copy = self.tmp / f"copy-{uuid.uuid4().hex}"
            try:
                shutil.copyfile(source, copy)
                with copy.open("rb+") as stream:
                    os.fsync(stream.fileno())
                os.replace(copy, target)
            finally:
                copy.unlink(missing_ok=True)

    def delete_blob(self, sha256: str) -> None:
        """Remove a blob no row names; missing is fine. An object store that fails is asked again by
        :meth:`erase_rest`.
        """
        self.blob_path(sha256).unlink(missing_ok=True)
        self._not_erased.add(sha256)
        self.erase_object(sha256)
        self._not_erased.discard(sha256)

    def erase_object(self, sha256: str) -> None:
        """Remove a blob from the object store only."""
        if self._objects is not None:
            self._objects.delete(sha256)

    def erase_rest(self) -> None:
        """Delete what an object store failed to delete; what it still holds at the next start is swept."""
        for sha256 in list(self._not_erased):
            self.delete_blob(sha256)

    def all_blobs(self) -> list[str]:
        """Every stored hash."""
        here = {p.name for p in self.cas.glob("*/*") if _SHA256.fullmatch(p.name)}
        return sorted(here | set(self._objects.sizes if self._objects is not None else ()))

    def stored_bytes(self) -> int:
        """Bytes of all blobs."""
        if self._objects is not None:
            return sum(self._objects.sizes.values())
        total = 0
        for sha256 in self.all_blobs():
            with contextlib.suppress(FileNotFoundError):
                total += self.blob_path(sha256).stat().st_size
        return total

    def trim(self, limit: int, keep: Collection[str] = ()) -> None:
        """Let copies go that the object store has, the least recently used first, down to ``limit`` bytes.

        Never those in ``keep``, nor what was asked for in the last minutes.
        """
        if self._objects is None:
            return
        sizes = self._objects.sizes
        copies = [(path.stat(), path) for path in self.cas.glob("*/*") if path.name in sizes]
        copies.sort(key=lambda found: found[0].st_mtime)
        total = sum(about.st_size for about, _ in copies)
        for about, path in copies:
            if total <= limit:
                return
            idle = time.time() - about.st_mtime > _IN_USE_SECONDS
            if idle and path.name not in keep:
                path.unlink(missing_ok=True)
                total -= about.st_size

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


def owner_id(path: Path) -> str:
    """The id of this data folder's service, made at first use; it travels with the folder."""
    if not path.exists():
        beside = path.with_name(path.name + ".new")
        beside.write_text(uuid.uuid4().hex, encoding="ascii")
        os.replace(beside, path)
    return path.read_text(encoding="ascii").strip()


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
