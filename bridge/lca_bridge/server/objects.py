"""Blobs in an object store: any place fsspec knows (``s3://``, ``gs://``, ``file://``, ``memory://``).

The name of an object is its sha256, so putting twice is harmless and a damaged copy cannot be taken for a
good one. A place belongs to one service: a note names its owner, and others refuse to start there, because
each service erases what its own database does not know.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lca.errors import (
    AlreadyExistsError,
    InvalidInputError,
    LcaError,
    NotFoundError,
    PreconditionError,
    UnavailableError,
)

_OBJECT = re.compile(r"(?:^|/)[0-9a-f]{2}/([0-9a-f]{64})$")
OWNER_FILE = "owner.json"


def open_place(url: str) -> tuple[Any, str]:
    """(file system, path) of a folder or URL.

    Raises:
        PreconditionError: ``FSSPEC_MISSING``.
        InvalidInputError: ``BAD_URL``.
    """
    try:
        import fsspec
    except ImportError:
        raise PreconditionError(
            "Places beyond this folder are read and written with fsspec: pip install fsspec.",
            reason="FSSPEC_MISSING",
        ) from None
    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise InvalidInputError(f"This place cannot be opened: {error}", reason="BAD_URL") from None
    return system, str(path).rstrip("/")


@contextlib.contextmanager
def _reached() -> Iterator[None]:
    """Back ends have errors of their own kinds; all mean that the place does not do what was asked."""
    try:
        yield
    except LcaError:
        raise
    except Exception as error:
        raise UnavailableError(
            "The service's object store cannot be used. Try again later.", reason="STORAGE_FAILED"
        ) from error


class ObjectStore:
    """Blobs below one URL. Thread-safe; every method may raise UnavailableError ``STORAGE_FAILED``.

    Args:
        owner: id of the service; the place is taken for it, or refused.
        claim: write the owner's note into an empty place.

    Raises:
        AlreadyExistsError: ``BLOBS_IN_USE``; the place belongs to another service.
    """

    def __init__(self, url: str, owner: str, claim: bool = True) -> None:
        self._system, self._root = open_place(url)
        self._lock = threading.Lock()
        with _reached():
            self._check_owner(owner, claim)
            self._sizes = self._list()

    def _check_owner(self, owner: str, claim: bool) -> None:
        note = f"{self._root}/{OWNER_FILE}"
        try:
            found = json.loads(self._system.cat_file(note))["service"]
        except FileNotFoundError:
            if claim:
                self._system.makedirs(self._root, exist_ok=True)
                if "file" in self._system.protocol:
                    os.chmod(self._root, 0o700)
                self._system.pipe_file(note, json.dumps({"service": owner}).encode())
            return
        if found != owner:
            raise AlreadyExistsError(
                "Another LCA service keeps its blobs at this URL. Give each service a place of its own.",
                reason="BLOBS_IN_USE",
            )

    def _list(self) -> dict[str, int]:
        self._system.invalidate_cache()
        try:
            found = self._system.find(self._root, detail=True)
        except FileNotFoundError:
            return {}
        names = {path: _OBJECT.search(path) for path in found}
        return {match[1]: int(found[path]["size"] or 0) for path, match in names.items() if match}

    def _path(self, sha256: str) -> str:
        return f"{self._root}/{sha256[:2]}/{sha256}"

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of every object, by hash."""
        with self._lock:
            return dict(self._sizes)

    def put(self, sha256: str, source: Path) -> None:
        """Store a file under its hash; what is there whole already is not sent again."""
        size = source.stat().st_size
        with self._lock:
            if self._sizes.get(sha256) == size:
                return
        path = self._path(sha256)
        with _reached():
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._system.put_file(str(source), path)
            if self._system.info(path)["size"] != size:
                raise OSError("the object is not whole")
        with self._lock:
            self._sizes[sha256] = size

    def get(self, sha256: str, target: Path) -> None:
        """Fetch an object to a file; NotFoundError if there is none. The caller checks the hash."""
        with _reached():
            try:
                self._system.get_file(self._path(sha256), str(target))
            except FileNotFoundError:
                raise NotFoundError("The package of this avatar is gone.", reason="PACKAGE_GONE") from None

    def delete(self, sha256: str) -> None:
        """Erase an object; missing is fine."""
        with _reached(), contextlib.suppress(FileNotFoundError):
            self._system.rm_file(self._path(sha256))
        with self._lock:
            self._sizes.pop(sha256, None)
