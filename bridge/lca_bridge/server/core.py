"""What all services share: configuration, store, blobs, job queue, evaluators and their locks."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from lca.errors import AlreadyExistsError, ExhaustedError, InvalidInputError, PreconditionError
from lca_bridge.server.access import SYSTEM, caller
from lca_bridge.server.blobs import BlobStore, storage_error
from lca_bridge.server.config import ServerConfig
from lca_bridge.server.evaluate import Evaluators
from lca_bridge.server.executor import Executor
from lca_bridge.server.local_executor import WORKER, LocalExecutor, visible_gpus
from lca_bridge.server.metrics import Metrics
from lca_bridge.server.results import ResultFiles
from lca_bridge.server.runner import JobRunner
from lca_bridge.server.store import AvatarRow, Erased, Store

if TYPE_CHECKING:
    from lca_bridge.server.ray_animation import RayAnimators

T = TypeVar("T")
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs", "afs", "lustre"}


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
    metrics: Metrics
    animators: RayAnimators | None
    _lock_file: IO[str] = field(repr=False)

    @staticmethod
    async def open(config: ServerConfig, work: bool = True) -> ServiceCore:
        """Lock the data folder, sweep what a crash left, requeue interrupted jobs; not ``work``: only look.

        Raises:
            AlreadyExistsError: ``DATA_IN_USE``; another service has the folder.
        """
        root = config.data_dir
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            refuse_open_folder(root)
            refuse_network_folder(root)
            lock_file = _lock(root / "lock")
        except OSError as error:
            raise storage_error(error) from error
        try:
            blobs = BlobStore(root, config.blobs, claim=work)
            store = Store(root / "lca.db")
        except BaseException:
            lock_file.close()
            raise
        write_lock = asyncio.Lock()
        results, metrics = ResultFiles(root), Metrics()
        runner = JobRunner(store, blobs, results, config.limits, write_lock, make_executor(config), metrics)
        evaluators = Evaluators(blobs, config.threads)
        core = ServiceCore(config, store, blobs, runner, evaluators, results, write_lock, metrics,
                           make_animators(config), lock_file)  # fmt: skip
        if not work:
            return core
        try:
            await asyncio.to_thread(core.sweep)
            await runner.start()
        except BaseException:
            store.close()
            lock_file.close()
            raise
        return core

    async def close(self) -> None:
        """Stop the workers and let the folder go."""
        await self.runner.stop()
        self.evaluators.close()
        self.store.close()
        self._lock_file.close()

    def sweep(self) -> None:
        """Remove scratch files, unreferenced blobs, and uploads that are expired or have no row.

        For the start only: a running service has files on their way to their rows.
        """
        self.blobs.sweep_tmp()
        self.expire()
        needed = self.store.needed_blobs()
        for sha256 in self.blobs.all_blobs():
            if sha256 not in needed:
                self.blobs.delete_blob(sha256)
        known = {row.id for row in self.store.uploads()}
        for path in self.blobs.uploads.iterdir():
            if path.name not in known:
                path.unlink(missing_ok=True)
        self.results.sweep(self.store.job_ids())

    def expire(self) -> None:
        """Everything whose time is over: uploads, deleted avatars, old jobs and what they kept, request
        ids."""
        self.expire_uploads()
        self.forget(self.store.expire_jobs(self.config.limits.job_days * 86400))
        for key in self.store.avatars_to_purge():
            self.forget(self.store.purge_avatar(key))
        self.store.forget_old_requests()
        self.blobs.erase_rest()
        self.blobs.trim(self.config.limits.cache_bytes, self.evaluators.loaded)

    def forget(self, erased: Erased) -> None:
        """Remove the bytes of rows that are gone."""
        needed = self.store.needed_blobs() if erased.blobs else set()
        for blob in erased.blobs:
            if blob not in needed:
                self.evaluators.forget(blob)
                if self.animators is not None:
                    self.animators.forget(blob)
                self.blobs.delete_blob(blob)
        for upload in erased.uploads:
            self.blobs.upload_path(upload).unlink(missing_ok=True)
        for job in erased.jobs:
            self.results.forget(job)

    def expire_uploads(self) -> None:
        """Remove uploads nobody used in time."""
        oldest = time.time() - self.config.limits.upload_hours * 3600
        for row in self.store.uploads():
            if not row.claimed_by and row.created < oldest:
                self.store.delete_upload(row.id)
                self.blobs.upload_path(row.id).unlink(missing_ok=True)

    def used_bytes(self) -> int:
        """Bytes the caller uses: of packages, results and (promised) uploads; of everybody if it sees all."""
        principal = caller.get()
        if not principal.sees_all:
            return self.store.owned_bytes(principal.name)
        return self.blobs.stored_bytes() + self.store.promised_bytes() + self.results.used_bytes()

    def reserve(self, size: int) -> None:
        """Refuse what the disk or a quota cannot take; ExhaustedError ``STORAGE_FULL``,
        ``QUOTA_EXCEEDED``."""
        limits, principal = self.config.limits, caller.get()
        if self.blobs.free_bytes() < size:
            raise storage_error(OSError(errno.ENOSPC, "full"))
        quota = limits.storage_bytes if principal.sees_all else limits.principal_bytes
        if self.used_bytes() + size > quota:
            raise ExhaustedError("The storage quota is used up. Delete avatars or uploads.")
        if not principal.sees_all:
            running = caller.set(SYSTEM)
            try:
                everything = self.used_bytes()
            finally:
                caller.reset(running)
            if everything + size > limits.storage_bytes:
                raise ExhaustedError("The service's storage is used up. Ask who runs it.")

    def package_path(self, row: AvatarRow, revision: str) -> Path:
        """The package file of an avatar; PreconditionError if ``revision`` is pinned and another. Blocks."""
        if revision and revision != row.revision:
            raise PreconditionError(
                "The avatar has another revision by now. Read it again.",
                reason="REVISION_CHANGED",
                metadata={"revision": row.revision},
            )
        return self.blobs.fetch(row.revision)

    async def once(self, request: tuple[str, str, bytes], load: Callable[[str], T]) -> T | None:
        """The earlier answer to a request, or ``None``; hold ``write_lock`` until it is stored."""
        method, request_id, body = request
        if not request_id:
            return None
        answer = await asyncio.to_thread(self.store.earlier_answer, method, request_id, body)
        return None if answer is None else await asyncio.to_thread(load, answer)


def make_executor(config: ServerConfig) -> Executor:
    """What runs the jobs of a service; InvalidInputError ``UNKNOWN_EXECUTOR``."""
    limits = config.limits
    if config.executor == "local":
        return LocalExecutor(
            limits.running_jobs, limits.worker_silence_seconds, visible_gpus(), config.worker or WORKER
        )
    if config.executor == "ray":
        from lca_bridge.server.ray_executor import RayExecutor

        return RayExecutor(limits.running_jobs, limits.worker_silence_seconds)
    raise InvalidInputError(
        f"There is no executor {config.executor!r}: local or ray.", reason="UNKNOWN_EXECUTOR"
    )


def make_animators(config: ServerConfig) -> RayAnimators | None:
    """Where live streams are posed when not here; InvalidInputError ``UNKNOWN_EXECUTOR``."""
    if config.animate == "local":
        return None
    if (config.animate, config.executor) != ("ray", "ray"):
        raise InvalidInputError(
            "Streams are posed here (local), or on Ray if jobs run there, too.", reason="UNKNOWN_EXECUTOR"
        )
    from lca_bridge.server.ray_animation import RayAnimators

    return RayAnimators()


def request_key(method: str, message: Any) -> tuple[str, str, bytes]:
    """(method, request_id, canonical body) of an idempotent request."""
    return method, message.request_id, message.SerializeToString(deterministic=True)


def refuse_open_folder(folder: Path) -> None:
    """PreconditionError ``DATA_FOLDER_OPEN``: others could put files of theirs in the place of ours."""
    if os.name == "posix" and folder.stat().st_mode & 0o002:
        raise PreconditionError(
            "Everybody may write into the data folder. Run chmod 700 on it, or choose another.",
            reason="DATA_FOLDER_OPEN",
        )


def refuse_network_folder(folder: Path, mounts: Path = Path("/proc/mounts")) -> None:
    """PreconditionError ``NETWORK_FOLDER``: SQLite's log and file locks do not hold on network file
    systems."""
    if not mounts.is_file():
        return
    inside = folder.resolve()
    kinds: list[tuple[int, str]] = []
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        _, point, kind, *_ = line.split(" ")
        if inside.is_relative_to(point.replace("\\040", " ")):
            kinds.append((len(point), kind))
    if max(kinds, default=(0, ""))[1] in _NETWORK:
        raise PreconditionError(
            "The data folder lies on a network file system, where a database is not safe. Choose a local "
            "disk.",
            reason="NETWORK_FOLDER",
        )


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
