# SPDX-License-Identifier: GPL-3.0-or-later
"""One long task beside the interface: short steps in the main thread, then a job in a thread, then a landing.

Baking records the rig's poses in steps and streams in a job; transfer and packing only have a job. From the
interface a timer moves the task on, a few milliseconds at a time; scripts wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import bpy

from ..bl import status
from ..bl.language import rpt
from ..core.deps import describe_error, errors
from ..core.jobs import Job, JobProgress
from .tool import AvatarOperator

_TICK_SECONDS = 0.05
_STEP_SECONDS = 0.02


@dataclass
class Task:
    """What to do: ``steps`` in the main thread (each short; yields 0-1), then the job of ``make_job``, then
    ``land`` with its result in the main thread, which returns one line for the user.

    ``undo`` names the undo step pushed when it lands from the interface.
    """

    title: str
    make_job: Callable[[], Job[Any]]
    land: Callable[[Any], str]
    steps: Iterator[float] | None = None
    undo: str = ""


@dataclass
class _State:
    task: Task | None = None
    job: Job[Any] | None = None
    fraction: float = 0.0
    outcome: str = ""


_state = _State()


def running() -> Task | None:
    """The task in flight."""
    return _state.task


def progress() -> JobProgress:
    """How far the task is."""
    if _state.job is not None:
        return _state.job.progress
    return JobProgress(_state.fraction, rpt("Reading the animation"))


def outcome() -> str:
    """What the last task ended with."""
    return _state.outcome


def begin(task: Task) -> None:
    """Make ``task`` the one in flight; :func:`watch` or :func:`wait` moves it on.

    Raises:
        PreconditionError: another one is running.
    """
    if _state.task is not None:
        raise errors.PreconditionError(f"{_state.task.title} is still running.")
    _state.task, _state.job, _state.fraction, _state.outcome = task, None, 0.0, ""


def watch() -> None:
    """Let a timer do it; returns at once."""
    bpy.app.timers.register(_tick, first_interval=0.0, persistent=True)


def wait(timeout: float) -> str:
    """Do it now; returns the line of its landing.

    Raises:
        UnavailableError: it took longer than ``timeout`` seconds and was cancelled.
        Exception: whatever it failed with.
    """
    deadline = time.monotonic() + timeout
    while (line := advance(_TICK_SECONDS)) is None:
        if time.monotonic() > deadline:
            stop()
            raise errors.UnavailableError(f"Not ready after {timeout:.0f} s; it was cancelled.")
        if _state.job is not None:
            _state.job.wait(_TICK_SECONDS)
    return line


def advance(budget: float = _STEP_SECONDS) -> str | None:
    """Go on for about ``budget`` seconds; the landing's line when the task is through, else None.

    Raises:
        Exception: what the task failed with; it is over.
    """
    task = _state.task
    if task is None:
        return _state.outcome
    try:
        if task.steps is not None:
            if not _take_steps(task.steps, budget):
                return None
            task.steps = None
        if _state.job is None:
            _state.job = task.make_job().start()
        if not _state.job.done:
            return None
        line = task.land(_state.job.result())
    except Exception as error:
        stop(describe_error(error))
        raise
    _state.task, _state.job, _state.outcome = None, None, line
    return line


def cancel() -> None:
    """Ask it to stop; a job ends by itself and says so."""
    if _state.job is not None:
        _state.job.cancel()
    elif _state.task is not None:
        stop("Cancelled on request.")


def stop(why: str = "") -> None:
    """Drop the task at once, without landing; used on unregister and before another file is loaded."""
    task, job = _state.task, _state.job
    _state.task, _state.job, _state.outcome = None, None, why
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
        status.show("", None)
    if job is not None:
        job.cancel()
    if task is not None and task.steps is not None:
        close = getattr(task.steps, "close", None)
        if close is not None:
            close()


@bpy.app.handlers.persistent
def stop_before_load(*_arguments: object) -> None:
    """``load_pre`` handler."""
    stop()


def _take_steps(steps: Iterator[float], budget: float) -> bool:
    end = time.perf_counter() + budget
    for fraction in steps:
        _state.fraction = fraction
        if time.perf_counter() > end:
            return False
    return True


def _tick() -> float | None:
    task = _state.task
    if task is None:
        return None
    try:
        done = advance() is not None
        if done and task.undo:
            bpy.ops.ed.undo_push(message=task.undo)
    except Exception as error:  # the panel shows it; a timer has nobody to raise to
        print(f"LCA Avatars: {describe_error(error)}")
        done = True
    status.show(task.title, None if done else progress())
    status.redraw()
    return None if done else _TICK_SECONDS


class TaskOperator(AvatarOperator):
    """Shared by operators that begin a task: scripts wait for its landing, the interface does not."""

    wait: bpy.props.BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]
    timeout: bpy.props.FloatProperty(default=3600.0, min=0.1, options={"HIDDEN"})  # type: ignore[valid-type]

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """One task at a time, on an avatar."""
        if _state.task is not None:
            line = rpt("{task} is still running").format(task=_state.task.title)
            cls.poll_message_set(line)  # type: ignore[attr-defined]
            return False
        return super().poll(context)

    def prepare(self, context: bpy.types.Context) -> Task:
        """The task to begin.

        Raises:
            LcaError, ValueError: it cannot be; the user reads the message.
        """
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin, and wait when called from a script."""
        try:
            begin(self.prepare(context))
            if not self.wait:
                watch()
                return {"FINISHED"}
            line = wait(self.timeout)
        except ValueError as error:
            return self.refuse(str(error))
        except Exception as error:
            return self.refuse(describe_error(error))
        self.report({"INFO"}, line)  # type: ignore[attr-defined]
        return {"FINISHED"}


class LCA_OT_cancel_task(bpy.types.Operator):
    """Cancel the bake, transfer or export that is running"""

    bl_idname = "lca.cancel_task"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Only while one runs."""
        return _state.task is not None

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Ask it to stop."""
        cancel()
        return {"FINISHED"}


CLASSES = (LCA_OT_cancel_task,)
