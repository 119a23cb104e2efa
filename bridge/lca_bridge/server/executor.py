"""Runs one job attempt in a fresh process group and reports what it says; kills it fast when asked to.

Never forks the service: the worker is a new interpreter, because gRPC's threads do not survive a fork.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from lca.errors import CancelledError, Category, LcaError, UnavailableError, error_from

log = logging.getLogger("lca.executor")

CANCEL_GRACE_SECONDS = 1.0
_LOG_TAIL_BYTES = 8000

ProgressSink = Callable[[dict[str, Any]], Awaitable[None]]


class WorkerRun:
    """One attempt: :meth:`run` ends with the worker; :meth:`cancel` makes it end soon."""

    def __init__(self, spec: dict[str, Any], scratch: Path) -> None:
        self._spec, self._scratch = spec, scratch
        self._process: asyncio.subprocess.Process | None = None
        self._cancelled = asyncio.Event()

    def cancel(self) -> None:
        """Ask for the end; idempotent."""
        self._cancelled.set()

    async def run(self, on_progress: ProgressSink) -> None:
        """Start the worker and follow it.

        Raises:
            CancelledError: it was cancelled.
            UnavailableError: ``WORKER_LOST``; it died without a word (killed, out of memory, crashed).
            LcaError: what the worker reported.
        """
        # Idle OpenMP threads that spin would starve the other workers of a small machine.
        env = {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ
        env |= {"TMPDIR": str(self._scratch), "TEMP": str(self._scratch)}
        with (self._scratch / "worker.log").open("wb") as worker_log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "lca_bridge.server.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=worker_log,
                env=env,
                start_new_session=True,
                limit=1 << 20,
            )
        follower = asyncio.create_task(self._follow(on_progress))
        canceller = asyncio.create_task(self._cancelled.wait())
        try:
            await asyncio.wait({follower, canceller}, return_when=asyncio.FIRST_COMPLETED)
            if not follower.done():
                await self._send("cancel")
                await asyncio.wait({follower}, timeout=CANCEL_GRACE_SECONDS)
            if self._cancelled.is_set() and (not follower.done() or follower.exception() is not None):
                raise CancelledError("The job was cancelled on request.")
            await follower
        finally:
            canceller.cancel()
            await self._kill()
            follower.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await follower

    async def _send(self, line: str) -> None:
        assert self._process is not None and self._process.stdin is not None
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(line.encode() + b"\n")
            await self._process.stdin.drain()

    async def _follow(self, on_progress: ProgressSink) -> None:
        assert self._process is not None and self._process.stdout is not None
        await self._send(json.dumps(self._spec))
        async for line in self._process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if "progress" in message:
                await on_progress(message["progress"])
            elif "done" in message:
                return
            elif "error" in message:
                raise self._error(message["error"])
        self._report("The worker of a job ended without a result.")
        raise UnavailableError(
            "The process that made the avatar was stopped (killed, or out of memory). Try again.",
            reason="WORKER_LOST",
        )

    def _error(self, about: dict[str, Any]) -> LcaError:
        category = Category(about["category"])
        if category is Category.INTERNAL:
            self._report("A job failed inside its worker.")
        return error_from(category, about["reason"], about["message"], about["metadata"])

    def _report(self, headline: str) -> None:
        with contextlib.suppress(OSError):
            tail = (self._scratch / "worker.log").read_bytes()[-_LOG_TAIL_BYTES:]
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
