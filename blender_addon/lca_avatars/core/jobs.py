# SPDX-License-Identifier: GPL-3.0-or-later
"""Work off the main thread: one daemon thread per job, its progress in a newest-wins slot, cancel by an
Event.

The thread never sees bpy. The main thread polls ``Job.progress``, ``Job.done`` and, at the end,
``Job.result()``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from .deps import errors

T = TypeVar("T")


@dataclass(frozen=True)
class JobProgress:
    """Where a job stands: fraction 0..1 over the whole job and one human sentence."""

    fraction: float
    message: str


Report = Callable[[float, str], None]


class Job(Generic[T]):
    """Runs ``work(report, cancelled)`` in a thread.

    Args:
        work: gets ``report(fraction, message)`` and an Event to look at; returns the job's result.
    """

    def __init__(self, work: Callable[[Report, threading.Event], T]) -> None:
        self._work = work
        self._cancelled = threading.Event()
        self._progress = JobProgress(0.0, "starting")
        self._result: T | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="lca-job", daemon=True)

    def start(self) -> Job[T]:
        """Start the thread and return self."""
        self._thread.start()
        return self

    def cancel(self) -> None:
        """Ask the job to stop; it ends with CancelledError at its next look."""
        self._cancelled.set()

    @property
    def progress(self) -> JobProgress:
        """The newest report."""
        return self._progress

    @property
    def done(self) -> bool:
        """Whether the thread has ended, one way or the other."""
        return not self._thread.is_alive() and self._thread.ident is not None

    def wait(self, seconds: float) -> bool:
        """Block up to ``seconds``; True when the job has ended."""
        self._thread.join(seconds)
        return self.done

    def result(self) -> T:
        """What the work returned; raises what it raised. Only after ``done``."""
        if not self.done:
            raise RuntimeError("the job is still running")
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    def _report(self, fraction: float, message: str) -> None:
        if self._cancelled.is_set():
            raise errors.CancelledError("Cancelled on request.")
        self._progress = JobProgress(min(max(fraction, 0.0), 1.0), message)

    def _run(self) -> None:
        try:
            self._result = self._work(self._report, self._cancelled)
        except BaseException as error:  # carried to the main thread, which reports it
            self._error = error
