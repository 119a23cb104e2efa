"""One progress type from the core to every front end (service jobs, command line, Blender)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from lca.errors import CancelledError


@dataclass(frozen=True)
class ProgressEvent:
    """Where a long operation stands.

    Attributes:
        stage: short name of the current stage, e.g. ``"fit body"``.
        stage_index: 0-based index of the stage.
        stage_count: number of stages of the whole operation.
        fraction: 0..1 over the whole operation; never decreases.
        message: one human sentence, may be empty.
    """

    stage: str
    stage_index: int
    stage_count: int
    fraction: float
    message: str = ""


ProgressCallback = Callable[[ProgressEvent], None]


class Progress:
    """Reports staged progress and carries cancellation.

    Args:
        stages: (name, weight) pairs; weights are relative expected durations.
        callback: receives every event; ``None`` drops them.
        cancelled: when set, the next report raises :class:`lca.errors.CancelledError`.
    """

    def __init__(
        self,
        stages: list[tuple[str, float]],
        callback: ProgressCallback | None = None,
        cancelled: threading.Event | None = None,
    ) -> None:
        self._names = [name for name, _ in stages]
        total = sum(weight for _, weight in stages) or 1.0
        self._spans: list[tuple[float, float]] = []
        start = 0.0
        for _, weight in stages:
            self._spans.append((start, start + weight / total))
            start += weight / total
        self._callback = callback
        self._cancelled = cancelled
        self._last = 0.0

    def report(self, stage: str, fraction: float = 0.0, message: str = "") -> None:
        """Report ``fraction`` (0..1) of ``stage``; raises CancelledError if cancellation was asked for."""
        if self._cancelled is not None and self._cancelled.is_set():
            raise CancelledError("The operation was cancelled on request.")
        index = self._names.index(stage)
        low, high = self._spans[index]
        self._last = max(self._last, low + (high - low) * min(max(fraction, 0.0), 1.0))
        if self._callback is not None:
            self._callback(ProgressEvent(stage, index, len(self._names), self._last, message))
