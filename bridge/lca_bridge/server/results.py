"""Files that belong to one job: its request while it runs, its result when it is done.

They live as long as the job's row. A result is complete or absent: written beside its place, synced, renamed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from lca.errors import InvalidInputError, PreconditionError
from lca_bridge.server.blobs import hash_file, storage_error, sync_folder

_JOB_ID = re.compile(r"[0-9a-z]{1,40}")


class ResultFiles:
    """Folder ``results`` below a service's data folder."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "results"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _path(self, job: str, ending: str) -> Path:
        if not _JOB_ID.fullmatch(job):
            raise InvalidInputError("That is not a job id.", reason="INVALID_NAME")
        return self._folder / f"{job}.{ending}"

    def request(self, job: str) -> Path:
        """Where the request of a job lies."""
        return self._path(job, "request")

    def result(self, job: str) -> Path:
        """Where the result of a job lies."""
        return self._path(job, "result")

    def open_result(self, job: str) -> Path:
        """The same, checked to be there; PreconditionError ``NO_RESULT``."""
        path = self.result(job)
        if not path.is_file():
            raise PreconditionError("This job has no result file (any more).", reason="NO_RESULT")
        return path

    def put_request(self, job: str, data: bytes) -> None:
        """Store the request of a job, durably; ExhaustedError ``STORAGE_FULL``."""
        path = self.request(job)
        try:
            with path.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            sync_folder(self._folder)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise storage_error(error) from error

    def put_result(self, job: str, source: Path) -> dict[str, str | int]:
        """Move ``source`` (on the same file system) here; returns ``sha256`` and ``size_bytes``."""
        about: dict[str, str | int] = {"sha256": hash_file(source), "size_bytes": source.stat().st_size}
        try:
            with source.open("rb+") as stream:
                os.fsync(stream.fileno())
            os.replace(source, self.result(job))
            sync_folder(self._folder)
        except OSError as error:
            raise storage_error(error) from error
        return about

    def forget(self, job: str) -> None:
        """Remove what a job left; missing is fine."""
        self.request(job).unlink(missing_ok=True)
        self.result(job).unlink(missing_ok=True)

    def used_bytes(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self._folder.iterdir())

    def sweep(self, known: Iterable[str]) -> None:
        """Remove files of jobs that are not among ``known``."""
        keep = set(known)
        for path in self._folder.iterdir():
            if path.name.partition(".")[0] not in keep:
                path.unlink(missing_ok=True)
