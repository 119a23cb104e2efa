"""The job queue: takes durable job rows, runs their attempts, and tells everyone who watches.

The database is the truth; this keeps what must live in memory (running workers, waiting watchers). A
service that dies leaves rows behind; :meth:`JobRunner.start` puts interrupted ones back in the queue with
the next attempt.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from lca.errors import (
    CancelledError,
    Category,
    ExhaustedError,
    InvalidInputError,
    LcaError,
    NotFoundError,
)
from lca_bridge.server.blobs import BlobStore, storage_error
from lca_bridge.server.config import Limits
from lca_bridge.server.executor import WorkerRun
from lca_bridge.server.media import check_package
from lca_bridge.server.results import ResultFiles
from lca_bridge.server.store import AvatarRow, JobRow, Store
from lca_bridge.wire.package import AvatarPackage
from lca_bridge.wire.status import CODES

log = logging.getLogger("lca.jobs")

WATCH_INTERVAL_SECONDS = 0.2


class JobRunner:
    """Runs at most ``limits.running_jobs`` workers at a time, oldest job first."""

    def __init__(
        self,
        store: Store,
        blobs: BlobStore,
        results: ResultFiles,
        limits: Limits,
        write_lock: asyncio.Lock,
    ) -> None:
        self._store, self._blobs, self._results, self._limits = store, blobs, results, limits
        self._write_lock = write_lock
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._runs: dict[str, WorkerRun] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self) -> None:
        """Requeue interrupted jobs and begin work."""
        for job in await asyncio.to_thread(self._store.unfinished_jobs):
            await self._recover(job)
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self._limits.running_jobs)]

    async def stop(self) -> None:
        """Kill the workers; their jobs start again with the next service."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _recover(self, job: JobRow) -> None:
        if job.state == "CANCELLING":
            await self._finish(job, "CANCELLED", CancelledError("The job was cancelled on request."))
        elif job.state == "QUEUED":
            self._queue.put_nowait(job.id)
        elif job.attempt >= self._limits.job_attempts:
            error = LcaError(
                f"The job was interrupted {job.attempt} times. Check the service's memory, then start anew.",
                reason="WORKER_LOST",
            )
            await self._finish(job, "FAILED", error)
        else:
            await self._change(job.id, state="QUEUED", attempt=job.attempt + 1, progress={})
            self._queue.put_nowait(job.id)

    async def submit(self, row: JobRow, claim: list[str], request: tuple[str, str, bytes] | None) -> JobRow:
        """Store a job and queue it; ExhaustedError ``TOO_MANY_JOBS`` when the queue is full."""
        if self._queue.qsize() >= self._limits.queued_jobs:
            raise ExhaustedError("The job queue is full. Wait for a job to end.", reason="TOO_MANY_JOBS")
        job = await asyncio.to_thread(self._store.add_job, row, claim, request)
        self._queue.put_nowait(job.id)
        return job

    async def cancel(self, key: str) -> JobRow:
        """Ask a job to end; a queued one ends at once, a final one stays as it is."""
        job = await asyncio.to_thread(self._store.job, key)
        if job.is_final:
            return job
        if job.state == "QUEUED":
            error = CancelledError("The job was cancelled on request.")
            job = await self._finish(job, "CANCELLED", error)
        else:
            job = await self._change(key, state="CANCELLING")
        if run := self._runs.get(key):  # also one that started in between
            run.cancel()
        return job

    async def watch(self, key: str, after: int) -> AsyncIterator[JobRow]:
        """Snapshots with a sequence above ``after``, at most five a second, until the job is final."""
        while True:
            changed = self._changed.setdefault(key, asyncio.Event())
            job = await asyncio.to_thread(self._store.job, key)
            if job.sequence > after or job.is_final:
                after = job.sequence
                yield job
            if job.is_final:
                return
            await changed.wait()
            await asyncio.sleep(WATCH_INTERVAL_SECONDS)

    async def _change(self, key: str, fence: int | None = None, **changes: Any) -> JobRow:
        job = await asyncio.to_thread(lambda: self._store.change_job(key, fence, **changes))
        self._announce(key)
        return job

    def _announce(self, key: str) -> None:
        # Watchers hold the old event; the next round makes a new one, so no change is missed or seen twice.
        if event := self._changed.pop(key, None):
            event.set()

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                await self._attempt(key)
            except Exception:
                log.exception("job %s: unexpected trouble", key)

    async def _attempt(self, key: str) -> None:
        job = await asyncio.to_thread(self._store.job, key)
        if job.state != "QUEUED":
            return
        job = await self._change(key, state="RUNNING", started=time.time())
        if job.is_final:
            return
        scratch = await asyncio.to_thread(self._blobs.scratch, f"job-{key}-{job.attempt}")
        log.info("job %s attempt %d starts", key, job.attempt)
        failure: LcaError | None = None
        try:
            await self._run_worker(job, scratch)
            if job.kind == "CREATE_AVATAR":
                await self._succeed(job, scratch / "avatar.lca")
            else:
                await self._succeed_with_file(job, scratch / "result")
        except LcaError as error:
            failure = error
        except asyncio.CancelledError:
            raise  # the service stops; the row stays RUNNING for the next one
        except Exception:
            log.exception("job %s failed", key)
            failure = LcaError("The job failed inside the service; its log says where.")
        finally:
            # before the final state is known to anyone: a finished job has left nothing behind
            self._runs.pop(key, None)
            await asyncio.to_thread(shutil.rmtree, scratch, True)
        if failure is not None and not self._stopping:
            state = "CANCELLED" if isinstance(failure, CancelledError) else "FAILED"
            await self._finish(job, state, failure)

    async def _run_worker(self, job: JobRow, scratch: Path) -> None:
        spec = await asyncio.to_thread(self._worker_spec, job, scratch)
        run = self._runs[job.id] = WorkerRun(spec, scratch)
        if (await asyncio.to_thread(self._store.job, job.id)).state != "RUNNING":
            run.cancel()
        await run.run(_ProgressWriter(self, job))

    def _worker_spec(self, job: JobRow, scratch: Path) -> dict[str, Any]:
        """Link the uploads under the names a decoder expects: one file, or a folder of photos."""
        if job.kind != "CREATE_AVATAR":
            package = self._blobs.blob_path(job.spec["revision"])
            if not package.is_file():
                raise NotFoundError("The avatar of this job was erased.", reason="PACKAGE_GONE")
            return {
                "kind": job.kind,
                "package": str(package),
                "request": str(self._results.request(job.id)),
                "out": str(scratch / "result"),
            }
        paths: list[Path] = []
        for upload in job.spec["uploads"]:
            row = self._store.upload(upload)
            folder = scratch / "input"
            folder.mkdir(exist_ok=True)
            path = folder / f"{len(paths):03d}{row.suffix}"
            try:
                path.hardlink_to(self._blobs.upload_path(upload))
            except OSError:
                shutil.copyfile(self._blobs.upload_path(upload), path)
            paths.append(path)
        clip = paths[0] if len(paths) == 1 else paths[0].parent
        return {
            "clip": str(clip),
            "out": str(scratch / "avatar.lca"),
            "name": job.spec["display_name"],
            "seed": job.spec.get("seed", 0),
            "parameters": job.spec.get("parameters", {}),
        }

    async def _succeed(self, job: JobRow, made: Path) -> None:
        def check() -> AvatarPackage:
            if not made.is_file():
                raise LcaError("The worker made no avatar file; the service's log says more.")
            return check_package(made)

        package = await asyncio.to_thread(check)
        async with self._write_lock:
            revision, size = await asyncio.to_thread(self._blobs.put_file, made)
            row = AvatarRow(
                id=job.spec["avatar_id"],
                display_name=job.spec["display_name"],
                revision=revision,
                labels=job.spec.get("labels", {}),
                create_job=job.id,
                stats=package_stats(package, size),
            )
            progress = {"stage": "done", "stage_index": 0, "stage_count": 0, "fraction": 1.0, "message": ""}
            done = await asyncio.to_thread(
                lambda: self._store.finish_job(
                    job.id, job.attempt, "SUCCEEDED", avatar=row, progress=progress
                )
            )
            if done.state != "SUCCEEDED":  # fenced off: someone ended this attempt meanwhile
                await asyncio.to_thread(self._drop_unreferenced, revision)
        await self._remove_uploads(job)
        self._announce(job.id)
        log.info("job %s %s: avatars/%s", job.id, done.state, row.id)

    async def _succeed_with_file(self, job: JobRow, made: Path) -> None:
        if not made.is_file():
            raise LcaError("The worker made no file; the service's log says more.")
        about = await asyncio.to_thread(self._results.put_result, job.id, made)
        about |= {"file_name": job.spec["file_name"], "media_type": job.spec["media_type"]}
        progress = {"stage": "done", "stage_index": 0, "stage_count": 0, "fraction": 1.0, "message": ""}
        done = await asyncio.to_thread(
            lambda: self._store.finish_job(
                job.id, job.attempt, "SUCCEEDED", result_file=about, progress=progress
            )
        )
        if done.state == "SUCCEEDED":
            await asyncio.to_thread(self._results.request(job.id).unlink, True)
        self._announce(job.id)
        log.info("job %s %s: %s", job.id, done.state, about["file_name"])

    def _drop_unreferenced(self, revision: str) -> None:
        if revision not in self._store.revisions():
            self._blobs.delete_blob(revision)

    async def _finish(self, job: JobRow, state: str, error: LcaError) -> JobRow:
        about = {
            "code": CODES[error.category],
            "reason": error.reason,
            "message": error.message,
            "metadata": error.metadata,
        }
        await self._remove_uploads(job)
        done = await asyncio.to_thread(
            lambda: self._store.finish_job(job.id, job.attempt, state, error=about)
        )
        self._announce(job.id)
        if error.category is not Category.INTERNAL:
            log.info("job %s %s: %s", job.id, done.state, error.reason)
        return done

    async def _remove_uploads(self, job: JobRow) -> None:
        for upload in job.spec.get("uploads", []):
            path = self._blobs.upload_path(upload)
            await asyncio.to_thread(path.unlink, True)


class _ProgressWriter:
    """Turns a worker's progress into rows, with an estimate of the time left."""

    def __init__(self, runner: JobRunner, job: JobRow) -> None:
        self._runner, self._job = runner, job
        self._begun = time.monotonic()
        self._fraction = 0.0

    async def __call__(self, progress: dict[str, Any]) -> None:
        self._fraction = max(self._fraction, min(max(float(progress["fraction"]), 0.0), 1.0))
        elapsed = time.monotonic() - self._begun
        left = elapsed * (1 - self._fraction) / self._fraction if self._fraction > 0.03 else None
        row = {**progress, "fraction": self._fraction, "remaining_seconds": left}
        await self._runner._change(self._job.id, self._job.attempt, progress=row)


def package_stats(package: AvatarPackage, size: int) -> dict[str, float]:
    """The numbers of lca.v1.AvatarStats."""
    return {
        "gaussian_count": package.gaussian_count,
        "joint_count": len(package.skinning.joints),
        "arkit_count": 52,
        "package_size_bytes": size,
        "height_meters": package.height_m,
    }


def stored(blobs: BlobStore, make_room: int) -> None:
    """Refuse early what the disk cannot hold; ExhaustedError ``STORAGE_FULL``."""
    if blobs.free_bytes() < make_room:
        raise storage_error(OSError(28, "No space left on device"))


def check_parameters(parameters: dict[str, str]) -> None:
    """Bounds on free-form parameters, none of which is a path; the worker checks names and values."""
    if len(parameters) > 64 or any(len(k) > 64 or len(v) > 256 for k, v in parameters.items()):
        raise InvalidInputError("There are too many, or too long, parameters.", reason="BAD_PARAMETER")
    if any(set(value) & set("/\\\0") or ".." in value for value in parameters.values()):
        raise InvalidInputError("A creation parameter is not a path.", reason="BAD_PARAMETER")
