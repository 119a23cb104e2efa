"""The job queue: takes durable job rows, runs their attempts, and tells everyone who watches.

The database is the truth; this keeps what must live in memory (running attempts, waiting watchers). A
lease on
a job is the attempt number plus the lock on the data folder: who dies loses both, whatever the clock says.
:meth:`JobRunner.start` puts what a dead service left back in the queue with the next attempt, which goes
on from
the checkpoint; a worker that is lost or silent is replaced in the same way, up to ``limits.job_attempts``
times.
"""

from __future__ import annotations

import asyncio
import contextlib
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
    UnavailableError,
)
from lca_bridge.server.access import caller
from lca_bridge.server.blobs import BlobStore, storage_error
from lca_bridge.server.config import Limits
from lca_bridge.server.executor import Executor, Run, Work
from lca_bridge.server.media import check_package
from lca_bridge.server.metrics import Metrics, StageClock
from lca_bridge.server.privacy import PathHider
from lca_bridge.server.results import ResultFiles
from lca_bridge.server.store import AvatarRow, JobRow, Store
from lca_bridge.wire.package import AvatarPackage
from lca_bridge.wire.status import CODES

log = logging.getLogger("lca.jobs")

WATCH_INTERVAL_SECONDS = 0.2
RECORD_AGAIN_SECONDS = 1.0
_MAY_PASS = (Category.UNAVAILABLE, Category.RESOURCE_EXHAUSTED, Category.CANCELLED)
_DONE = {"stage": "done", "stage_index": 0, "stage_count": 0, "fraction": 1.0, "message": ""}


class JobRunner:
    """Runs as many attempts at a time as the executor takes, oldest job first."""

    def __init__(
        self,
        store: Store,
        blobs: BlobStore,
        results: ResultFiles,
        limits: Limits,
        write_lock: asyncio.Lock,
        executor: Executor,
        metrics: Metrics,
    ) -> None:
        self._metrics = metrics
        self._store, self._blobs, self._results, self._limits = store, blobs, results, limits
        self._write_lock, self._executor = write_lock, executor
        self._hide = PathHider(blobs.root)
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._runs: dict[str, Run] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self) -> None:
        """Requeue interrupted jobs and begin work."""
        await self._executor.start()
        for job in await asyncio.to_thread(self._store.unfinished_jobs):
            await self._recover(job)
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self._executor.capacity)]

    async def stop(self) -> None:
        """Kill the workers; their jobs start again with the next service."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._executor.close()
        for job in await asyncio.to_thread(self._store.unfinished_jobs):
            if job.state == "RUNNING":  # an orderly end is no loss
                changes = {"state": "QUEUED", "attempt": job.attempt + 1, "progress": {}}
                with contextlib.suppress(LcaError):
                    await self._change(job.id, job.attempt, **changes)

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return self._queue.qsize()

    async def _recover(self, job: JobRow) -> None:
        if job.state == "CANCELLING":
            await self._finish(job, "CANCELLED", CancelledError("The job was cancelled on request."))
        elif job.state == "QUEUED":
            self._queue.put_nowait(job.id)
        else:
            interrupted = UnavailableError(
                "The job was interrupted again and again. Check the service's memory, then resume it.",
                reason="WORKER_LOST",
            )
            if not await self._again(job):
                await self._finish(job, "FAILED", interrupted)

    async def _again(self, job: JobRow) -> bool:
        """Queue a job that was lost for another attempt; ``False`` if it was lost too often."""
        job = await asyncio.to_thread(self._store.job, job.id)
        if job.losses + 1 >= self._limits.job_attempts or job.state == "CANCELLING":
            return False
        changes = {"state": "QUEUED", "attempt": job.attempt + 1, "losses": job.losses + 1, "progress": {}}
        job = await self._change(job.id, job.attempt, **changes)
        self._queue.put_nowait(job.id)
        return True

    async def submit(self, row: JobRow, claim: list[str], request: tuple[str, str, bytes] | None) -> JobRow:
        """Store a job and queue it; ExhaustedError ``TOO_MANY_JOBS`` when the queue is full."""
        if self._queue.qsize() >= self._limits.queued_jobs:
            raise ExhaustedError("The job queue is full. Wait for a job to end.", reason="TOO_MANY_JOBS")
        principal = caller.get()
        if not principal.sees_all:
            waiting = await asyncio.to_thread(self._store.waiting_jobs, principal.name)
            if waiting >= self._limits.principal_jobs:
                raise ExhaustedError("You have too many jobs. Wait for one to end.", reason="TOO_MANY_JOBS")
        job = await asyncio.to_thread(self._store.add_job, row, claim, request)
        self._queue.put_nowait(job.id)
        return job

    async def resume(self, key: str, request: tuple[str, str, bytes]) -> JobRow:
        """Queue a failed or cancelled job again."""
        job = await asyncio.to_thread(self._store.resume_job, key, request)
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

    async def end(self, key: str) -> None:
        """Cancel a job and wait until nothing of it runs."""
        with contextlib.suppress(NotFoundError):
            if not (await self.cancel(key)).is_final:
                async for _ in self.watch(key, 0):
                    pass

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
        failure: LcaError | None = None
        scratch = self._blobs.tmp / f"job-{key}-{job.attempt}"
        log.info("job starts", extra={"facts": {"job": key, "attempt": job.attempt, "from": job.checkpoint}})
        try:
            await asyncio.to_thread(self._blobs.scratch, scratch.name)
            await self._run(job, scratch)
            if job.kind == "CREATE_AVATAR":
                await self._succeed(job, scratch / "avatar.lca")
            else:
                await self._succeed_with_file(job, scratch / "result")
        except LcaError as error:
            failure = error
        except asyncio.CancelledError:
            raise  # the service stops; the row stays RUNNING for the next one
        except OSError as error:
            failure = storage_error(error)
        except Exception:
            log.exception("job %s failed", key)
            failure = LcaError("The job failed inside the service; its log says where.")
        finally:
            # before the final state is known to anyone: a finished job has left nothing behind
            self._runs.pop(key, None)
            await asyncio.to_thread(shutil.rmtree, scratch, True)
        if failure is not None and not self._stopping:
            await self._record(job, failure)

    async def _record(self, job: JobRow, failure: LcaError) -> None:
        """Write down how an attempt failed, also while the disk is full: then again until it works."""
        lost = isinstance(failure, UnavailableError) or failure.reason == "OUT_OF_MEMORY"
        state = "CANCELLED" if isinstance(failure, CancelledError) else "FAILED"
        while True:
            try:
                if not (lost and await self._again(job)):
                    await self._finish(job, state, failure)
                return
            except NotFoundError:
                return  # the job was erased meanwhile
            except LcaError as trouble:
                log.error("cannot record the end of job %s: %s", job.id, trouble.reason)
                await asyncio.sleep(RECORD_AGAIN_SECONDS)

    async def _run(self, job: JobRow, scratch: Path) -> None:
        spec = await asyncio.to_thread(self._worker_spec, job, scratch)
        run = self._runs[job.id] = self._executor.prepare(Work(spec, scratch))
        if (await asyncio.to_thread(self._store.job, job.id)).state != "RUNNING":
            run.cancel()
        progress = _ProgressWriter(self, job)

        async def on_event(event: dict[str, Any]) -> None:
            if "checkpoint" in event:
                stage, name = event["checkpoint"]["stage"], Path(event["checkpoint"]["file"]).name
                await self._keep(job, stage, scratch / name)
            else:
                await progress(event["progress"])

        try:
            await run.run(on_event)
        finally:
            progress.clock.at("")

    async def _keep(self, job: JobRow, stage: str, made: Path) -> None:
        """Store a checkpoint: the bytes first, then the row, and the old bytes last."""
        async with self._write_lock:
            digest, _ = await asyncio.to_thread(self._blobs.put_file, made)
            await asyncio.to_thread(made.unlink)  # the worker cannot reach the blob through its own file
            kept = await self._change(job.id, job.attempt, checkpoint=stage, checkpoint_blob=digest, losses=0)
            if kept.checkpoint_blob != digest or job.checkpoint_blob not in ("", digest):
                old = digest if kept.checkpoint_blob != digest else job.checkpoint_blob
                await asyncio.to_thread(self._drop_unneeded, [old])

    def _worker_spec(self, job: JobRow, scratch: Path) -> dict[str, Any]:
        """Link the uploads under the names a decoder expects: one file, or a folder of photos."""
        if job.kind != "CREATE_AVATAR":
            package = self._blobs.fetch(job.spec["revision"])
            return {
                "kind": job.kind,
                "package": str(package),
                "request": str(self._results.request(job.id)),
                "out": str(scratch / "result"),
            }
        saved = ""
        with contextlib.suppress(NotFoundError):
            saved = str(self._blobs.fetch(job.checkpoint_blob)) if job.checkpoint_blob else ""
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
            "checkpoint": saved,
        }

    async def _succeed(self, job: JobRow, made: Path) -> None:
        def check() -> AvatarPackage:
            if not made.is_file():
                raise LcaError("The worker made no avatar file; the service's log says more.")
            return check_package(made)

        package = await asyncio.to_thread(check)
        async with self._write_lock:
            revision, size = await asyncio.to_thread(self._blobs.put_file, made)
            await asyncio.to_thread(made.unlink)
            row = AvatarRow(
                id=job.spec["avatar_id"],
                display_name=job.spec["display_name"],
                revision=revision,
                labels=job.spec.get("labels", {}),
                create_job=job.id,
                stats=package_stats(package, size),
            )
            done = before = await asyncio.to_thread(self._store.job, job.id)
            try:
                done = await asyncio.to_thread(
                    lambda: self._store.finish_job(
                        job.id, job.attempt, "SUCCEEDED", avatar=row, progress=_DONE
                    )
                )
            finally:
                if done.state != "SUCCEEDED":  # fenced off, erased, or the disk is full
                    await asyncio.to_thread(self._drop_unneeded, [revision])
        await self._clear(before)
        self._announce(job.id)
        log.info("job ends", extra={"facts": {"job": job.id, "state": done.state, "avatar": row.id}})

    async def _succeed_with_file(self, job: JobRow, made: Path) -> None:
        if not made.is_file():
            raise LcaError("The worker made no file; the service's log says more.")
        about = await asyncio.to_thread(self._results.put_result, job.id, made)
        about |= {"file_name": job.spec["file_name"], "media_type": job.spec["media_type"]}
        done = await asyncio.to_thread(
            lambda: self._store.finish_job(
                job.id, job.attempt, "SUCCEEDED", result_file=about, progress=_DONE
            )
        )
        if done.state == "SUCCEEDED":
            await asyncio.to_thread(self._results.request(job.id).unlink, True)
        self._announce(job.id)
        log.info("job ends", extra={"facts": {"job": job.id, "state": done.state}})

    def _drop_unneeded(self, blobs: list[str]) -> None:
        needed = self._store.needed_blobs()
        for blob in blobs:
            if blob and blob not in needed:
                self._blobs.delete_blob(blob)

    async def _finish(self, job: JobRow, state: str, error: LcaError) -> JobRow:
        resumable = error.category in _MAY_PASS
        about = {
            "code": CODES[error.category],
            "reason": error.reason,
            "message": self._hide(error.message),
            "metadata": error.metadata,
            "resumable": resumable,
        }
        until = time.time() + self._limits.resume_hours * 3600 if resumable else 0.0
        before = await asyncio.to_thread(self._store.job, job.id)
        done = await asyncio.to_thread(
            lambda: self._store.finish_job(job.id, job.attempt, state, error=about, inputs_until=until)
        )
        if done.is_final and not done.inputs_until:
            await self._clear(before)
        self._announce(job.id)
        log.info("job ends", extra={"facts": {"job": job.id, "state": done.state, "reason": error.reason}})
        return done

    async def _clear(self, job: JobRow) -> None:
        """Remove the bytes of a job's uploads and checkpoint, after their rows; a sweep finds what is left.

        ``job`` is the row as it was before its end.
        """

        def clear() -> None:
            for upload in job.spec.get("uploads", []):
                self._blobs.upload_path(upload).unlink(missing_ok=True)
            self._drop_unneeded([job.checkpoint_blob])

        async with self._write_lock:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(clear)


class _ProgressWriter:
    """Turns a worker's progress into rows, with an estimate of the time left."""

    def __init__(self, runner: JobRunner, job: JobRow) -> None:
        self._runner, self._job = runner, job
        self._begun = time.monotonic()
        self._fraction = 0.0
        self.clock = StageClock(runner._metrics)

    async def __call__(self, progress: dict[str, Any]) -> None:
        self.clock.at(str(progress["stage"]))
        self._fraction = max(self._fraction, min(max(float(progress["fraction"]), 0.0), 1.0))
        elapsed = time.monotonic() - self._begun
        left = elapsed * (1 - self._fraction) / self._fraction if self._fraction > 0.03 else None
        row = {**progress, "fraction": self._fraction, "remaining_seconds": left}
        # progress that cannot be written (a full disk) is no reason to lose the work
        with contextlib.suppress(UnavailableError, ExhaustedError):
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


def check_parameters(parameters: dict[str, str]) -> None:
    """Bounds on free-form parameters, none of which is a path; the worker checks names and values."""
    if len(parameters) > 64 or any(len(k) > 64 or len(v) > 256 for k, v in parameters.items()):
        raise InvalidInputError("There are too many, or too long, parameters.", reason="BAD_PARAMETER")
    if any(set(value) & set("/\\\0") or ".." in value for value in parameters.values()):
        raise InvalidInputError("A creation parameter is not a path.", reason="BAD_PARAMETER")
