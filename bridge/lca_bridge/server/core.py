"""What all services share: configuration, store, blobs, job queue, evaluators and their locks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

from lca.errors import AlreadyExistsError, NotFoundError, PreconditionError
from lca_bridge.server.blobs import BlobStore
from lca_bridge.server.config import ServerConfig
from lca_bridge.server.evaluate import Evaluators
from lca_bridge.server.results import ResultFiles
from lca_bridge.server.runner import JobRunner
from lca_bridge.server.store import AvatarRow, Store

T = TypeVar("T")


@dataclass
class ServiceCore:
    """Opened by :meth:`open`, closed by :meth:`close`; one per process and data folder."""

    config: ServerConfig
    store: Store
    blobs: BlobStore
    runner: JobRunner
    evaluators: Evaluators
    results: ResultFiles
    write_lock: asyncio.Lock
    _lock_file: IO[str] = field(repr=False)

    @staticmethod
    async def open(config: ServerConfig) -> ServiceCore:
        """Lock the data folder, sweep what a crash left, requeue interrupted jobs.

        Raises:
            AlreadyExistsError: ``DATA_IN_USE``; another service has the folder.
        """
        root = config.data_dir
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock_file = _lock(root / "lock")
        try:
            store, blobs = Store(root / "lca.db"), BlobStore(root)
        except BaseException:
            lock_file.close()
            raise
        write_lock = asyncio.Lock()
        results = ResultFiles(root)
        runner = JobRunner(store, blobs, results, config.limits, write_lock)
        evaluators = Evaluators(blobs, config.threads)
        core = ServiceCore(config, store, blobs, runner, evaluators, results, write_lock, lock_file)
        await asyncio.to_thread(core.sweep)
        await runner.start()
        return core

    async def close(self) -> None:
        """Stop the workers and let the folder go."""
        await self.runner.stop()
        self.evaluators.close()
        self.store.close()
        self._lock_file.close()

    def sweep(self) -> None:
        """Remove scratch files, unreferenced blobs, and uploads that are expired or have no row."""
        self.blobs.sweep_tmp()
        needed = self.store.revisions()
        for sha256 in self.blobs.all_blobs():
            if sha256 not in needed:
                self.blobs.delete_blob(sha256)
        self.expire_uploads()
        known = {row.id for row in self.store.uploads()}
        for path in self.blobs.uploads.iterdir():
            if path.name not in known:
                path.unlink(missing_ok=True)
        self.results.sweep(self.store.job_ids())
        self.store.forget_old_requests()

    def expire_uploads(self) -> None:
        """Remove uploads nobody used in time."""
        oldest = time.time() - self.config.limits.upload_hours * 3600
        for row in self.store.uploads():
            if not row.claimed_by and row.created < oldest:
                self.store.delete_upload(row.id)
                self.blobs.upload_path(row.id).unlink(missing_ok=True)

    def used_bytes(self) -> int:
        """Bytes of packages and (promised) uploads."""
        stored = 0
        for sha256 in self.blobs.all_blobs():
            with contextlib.suppress(FileNotFoundError):
                stored += self.blobs.blob_path(sha256).stat().st_size
        return self.store.used_bytes(stored) + self.results.used_bytes()

    def package_path(self, row: AvatarRow, revision: str) -> Path:
        """The package file of an avatar; PreconditionError if ``revision`` is pinned and another."""
        if revision and revision != row.revision:
            raise PreconditionError(
                "The avatar has another revision by now. Read it again.",
                reason="REVISION_CHANGED",
                metadata={"revision": row.revision},
            )
        path = self.blobs.blob_path(row.revision)
        if not path.is_file():
            raise NotFoundError("The package of this avatar is gone.", reason="PACKAGE_GONE")
        return path

    async def once(self, request: tuple[str, str, bytes], load: Callable[[str], T]) -> T | None:
        """The earlier answer to a request, or ``None``; hold ``write_lock`` until it is stored."""
        method, request_id, body = request
        if not request_id:
            return None
        answer = await asyncio.to_thread(self.store.earlier_answer, method, request_id, body)
        return None if answer is None else await asyncio.to_thread(load, answer)


def request_key(method: str, message: Any) -> tuple[str, str, bytes]:
    """(method, request_id, canonical body) of an idempotent request."""
    return method, message.request_id, message.SerializeToString(deterministic=True)


def _lock(path: Path) -> IO[str]:
    handle = path.open("a+", encoding="ascii")
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except OSError:
        handle.close()
        raise AlreadyExistsError(
            "Another LCA service is using this data folder. Stop it, or give --data another folder.",
            reason="DATA_IN_USE",
        ) from None
    return handle
