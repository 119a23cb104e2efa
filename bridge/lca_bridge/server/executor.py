"""The port to whatever does the work of a job, and what happens there in plain words.

A :class:`Run` is one attempt. It takes a specification (JSON; paths of inputs and outputs inside the
attempt's
scratch folder or the store), reports events, and ends with its files in place or with an error. The truth
about a
job stays with the service: an executor may forget everything at any moment.
``tests/faults/test_executors.py`` is
the contract.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lca.errors import CancelledError, Category, LcaError, UnavailableError, error_from

LOG_TAIL_BYTES = 8000
CANCEL_GRACE_SECONDS = 1.0

EventSink = Callable[[dict[str, Any]], Awaitable[None]]
"""Called with ``{"progress": {...}}`` or ``{"checkpoint": {"stage", "file"}}``; the file lies in the
scratch."""


@dataclass(frozen=True)
class Work:
    """One attempt of a job: what to do, and the empty folder to do it in."""

    spec: dict[str, Any]
    scratch: Path


class Run(Protocol):
    """One attempt: :meth:`run` ends with the work; :meth:`cancel` makes it end soon."""

    def cancel(self) -> None:
        """Ask for the end; idempotent, at any time."""

    async def run(self, on_event: EventSink) -> None:
        """Do the work and follow it.

        Raises:
            CancelledError: it was cancelled; nothing of it runs any more.
            UnavailableError: ``WORKER_LOST``; it died (killed, out of memory, crashed), or
            ``WORKER_SILENT``; it
                showed no sign of life for too long and was ended.
            LcaError: what the work reported.
        """


class Executor(Protocol):
    """Runs attempts somewhere."""

    @property
    def capacity(self) -> int:
        """How many attempts make sense at a time."""

    async def start(self) -> None:
        """Get ready; raises UnavailableError if that fails."""

    async def close(self) -> None:
        """End everything it started."""

    def prepare(self, work: Work) -> Run:
        """An attempt that has not begun."""


def cancelled() -> CancelledError:
    """What a cancelled attempt ends with."""
    return CancelledError("The job was cancelled on request.")


def lost() -> UnavailableError:
    """What an attempt ends with that died without a word."""
    return UnavailableError(
        "The process that did the job was stopped (killed, or out of memory). Try again.",
        reason="WORKER_LOST",
    )


def silent(seconds: float) -> UnavailableError:
    """What an attempt ends with that froze."""
    return UnavailableError(
        f"The process that did the job gave no sign of life for {seconds:.0f} s and was ended. Try again.",
        reason="WORKER_SILENT",
    )


def error_facts(error: BaseException) -> dict[str, Any]:
    """An error as plain data, for another machine's :func:`reported`; ``log`` is for the service only."""
    from lca_bridge.server.worker import as_reported

    known = as_reported(error)
    return {
        "category": known.category.value,
        "reason": known.reason,
        "message": known.message,
        "metadata": known.metadata,
        "log": "" if isinstance(error, LcaError) else "".join(traceback.format_exception(error)),
    }


def reported(about: dict[str, Any]) -> LcaError:
    """An error a worker sent."""
    return error_from(Category(about["category"]), about["reason"], about["message"], about["metadata"])
