"""Attempts as processes of this machine: each a fresh interpreter in a process group of its own.

Never forks the service, because gRPC's threads do not survive a fork. With several GPUs, attempts take
turns on
them through ``CUDA_VISIBLE_DEVICES``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from lca.errors import Category
from lca_bridge.server.executor import (
    CANCEL_GRACE_SECONDS,
    LOG_TAIL_BYTES,
    EventSink,
    Run,
    Work,
    cancelled,
    lost,
    reported,
    silent,
)

log = logging.getLogger("lca.executor")

WORKER = (sys.executable, "-m", "lca_bridge.server.worker")


class LocalExecutor:
    """The default executor.

    Args:
        capacity: attempts at a time.
        silence_seconds: a worker that says nothing for so long is ended; it shows signs of life every 2 s.
        gpus: ``CUDA_VISIBLE_DEVICES`` entries that attempts share in turn; empty: leave the variable alone.
        worker: the command of a worker.
    """

    def __init__(
        self,
        capacity: int = 1,
        silence_seconds: float = 60.0,
        gpus: Sequence[str] = (),
        worker: Sequence[str] = WORKER,
    ) -> None:
        self._capacity, self._silence, self._worker = capacity, silence_seconds, tuple(worker)
        self._in_use = dict.fromkeys(gpus, 0)

    @property
    def capacity(self) -> int:
        """Attempts at a time."""
        return self._capacity

    async def start(self) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """Attempts end with their :meth:`LocalRun.run`."""

    def prepare(self, work: Work) -> Run:
        """A process that has not started."""
        return LocalRun(work, self._worker, self._silence, self._in_use)


class LocalRun:
    """One worker process and what it started."""

    def __init__(
        self, work: Work, worker: Sequence[str], silence_seconds: float, gpus: dict[str, int]
    ) -> None:
        self._spec, self._scratch, self._worker = work.spec, work.scratch, worker
        self._silence, self._gpus = silence_seconds, gpus
        self._process: asyncio.subprocess.Process | None = None
        self._cancelled = asyncio.Event()

    def cancel(self) -> None:
        """Ask for the end; idempotent."""
        self._cancelled.set()

    async def run(self, on_event: EventSink) -> None:
        """Start the worker and follow it; see :class:`~lca_bridge.server.executor.Run`."""
        if self._cancelled.is_set():
            raise cancelled()
        gpu = min(self._gpus, key=self._gpus.__getitem__, default=None)
        if gpu is None:
            await self._run(on_event, {})
            return
        self._gpus[gpu] += 1
        try:
            await self._run(on_event, {"CUDA_VISIBLE_DEVICES": gpu})
        finally:
            self._gpus[gpu] -= 1

    async def _run(self, on_event: EventSink, more: dict[str, str]) -> None:
        # Idle OpenMP threads that spin would starve the other workers of a small machine.
        env = {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ | more
        env |= {"TMPDIR": str(self._scratch), "TEMP": str(self._scratch)}
        with (self._scratch / "worker.log").open("wb") as worker_log:
            self._process = await asyncio.create_subprocess_exec(
                *self._worker,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=worker_log,
                env=env,
                start_new_session=True,
                limit=1 << 20,
            )
        follower = asyncio.create_task(self._follow(on_event))
        canceller = asyncio.create_task(self._cancelled.wait())
        try:
            await asyncio.wait({follower, canceller}, return_when=asyncio.FIRST_COMPLETED)
            if not follower.done():
                await self._send("cancel")
                await asyncio.wait({follower}, timeout=CANCEL_GRACE_SECONDS)
            if self._cancelled.is_set() and (not follower.done() or follower.exception() is not None):
                raise cancelled()
            await follower
        finally:
            canceller.cancel()
            await self._kill()
            follower.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await follower

    async def _send(self, line: str) -> None:
        assert self._process is not None and self._process.stdin is not None
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            self._process.stdin.write(line.encode() + b"\n")
            # a frozen worker reads nothing; this must not freeze us
            await asyncio.wait_for(self._process.stdin.drain(), CANCEL_GRACE_SECONDS)

    async def _follow(self, on_event: EventSink) -> None:
        assert self._process is not None and self._process.stdout is not None
        await self._send(json.dumps(self._spec))
        while True:
            try:
                line = await asyncio.wait_for(self._process.stdout.readline(), self._silence)
            except TimeoutError:
                log.error("a worker was silent for %.0f s", self._silence)
                raise silent(self._silence) from None
            if not line:
                break
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if "progress" in message or "checkpoint" in message:
                await on_event(message)
            elif "done" in message:
                return
            elif "error" in message:
                if message["error"]["category"] == Category.INTERNAL.value:
                    self._report("A job failed inside its worker.")
                raise reported(message["error"])
        self._report("The worker of a job ended without a result.")
        raise lost()

    def _report(self, headline: str) -> None:
        with contextlib.suppress(OSError):
            tail = (self._scratch / "worker.log").read_bytes()[-LOG_TAIL_BYTES:]
            log.error("%s Its last words:\n%s", headline, tail.decode(errors="replace"))

    async def _kill(self) -> None:
        """End the whole process group, decoders included; harmless when it has ended."""
        process = self._process
        if process is None:
            return
        if hasattr(os, "killpg"):
            # The group outlives its leader while a grandchild runs; its id cannot be reused before that.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        elif process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()


def visible_gpus() -> tuple[str, ...]:
    """GPUs attempts can share: the given ones, else what the driver shows; one or none needs no sharing."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        found = tuple(entry.strip() for entry in given.split(",") if entry.strip())
    else:
        found = tuple(str(i) for i in range(len(list(Path("/proc/driver/nvidia/gpus").glob("*")))))
    return found if len(found) > 1 else ()
