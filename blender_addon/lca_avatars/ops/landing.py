# SPDX-License-Identifier: GPL-3.0-or-later
"""The one service job this session may run, and how its result lands in the scene.

Operators start a job here. From the interface a timer redraws the panel and imports the finished package;
scripts wait instead (timers never fire in background mode). The thread itself never touches bpy.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import bpy

from ..bl import avatar_library, importer, status
from ..core.deps import describe_error, errors
from ..core.jobs import Job
from . import service

_TICK_SECONDS = 0.25


@dataclass
class _State:
    job: Job[Path] | None = None
    title: str = ""
    keep: bool = False
    outcome: str = ""


_state = _State()


def running() -> Job[Path] | None:
    """The job in flight, for panels and polls."""
    return _state.job


def outcome() -> str:
    """What the last job ended with; empty before the first."""
    return _state.outcome


def start(job: Job[Path], title: str = "LCA Avatars", keep: bool = False) -> None:
    """Start ``job`` as the one in flight. ``title`` goes into the status bar; with ``keep`` the avatar also
    goes into the avatar library."""
    _state.outcome, _state.title, _state.keep = "", title, keep
    _state.job = job.start()


def watch() -> None:
    """Let a timer bring the job home; returns at once."""
    bpy.app.timers.register(_tick, first_interval=_TICK_SECONDS, persistent=True)


def wait(timeout: float, context: bpy.types.Context) -> importer.AvatarHandles:
    """Block until the job has landed.

    Raises:
        UnavailableError: it took longer than ``timeout`` seconds; the job is cancelled.
        Exception: whatever the job failed with.
    """
    job, deadline = _state.job, time.monotonic() + timeout
    while job is not None and not job.wait(_TICK_SECONDS):
        if time.monotonic() > deadline:
            stop()
            raise errors.UnavailableError(f"Not ready after {timeout:.0f} s; the job was cancelled.")
    handles = drain(context)
    if handles is None:
        raise errors.CancelledError("The job was stopped.")
    return handles


def drain(context: bpy.types.Context | None = None) -> importer.AvatarHandles | None:
    """Import the package of a job that has ended, and forget the job; None while it runs. Main thread only.

    Raises:
        Exception: whatever the job failed with.
    """
    job = _state.job
    if job is None or not job.done:
        return None
    _state.job = None
    try:
        handles = importer.import_avatar(job.result(), context)
    except Exception as error:
        _state.outcome = describe_error(error)
        raise
    _state.outcome = f"Imported {handles.rig.name}"
    if _state.keep:
        try:
            keep_in_library(handles.rig)
        except errors.LcaError as error:
            _state.outcome += f". {error}"
    return handles


def keep_in_library(rig: bpy.types.Object) -> Path:
    """Put an avatar into the library folder, which the asset browser then knows; returns its .blend file.

    Raises:
        LcaError: the folder cannot be written.
    """
    folder = download_folder()
    kept = avatar_library.add(rig, folder)
    avatar_library.register_folder(folder)
    return kept


def stop() -> None:
    """Cancel the job in flight and its timer; used on unregister and before another file is loaded."""
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
        status.show(_state.title, None)
    if _state.job is not None:
        _state.job.cancel()
        _state.job = None


@bpy.app.handlers.persistent
def stop_on_load(*_arguments: object) -> None:
    """``load_pre`` handler: the scene that asked for the avatar is about to go away."""
    stop()


def download_folder() -> Path:
    """Where packages land: the folder of the preferences, else the extension's own user folder, or a
    temporary one in a checkout.
    """
    prefs = service.preferences()
    if prefs is not None and prefs.cache_folder:
        chosen = Path(bpy.path.abspath(prefs.cache_folder))
        chosen.mkdir(parents=True, exist_ok=True)
        return chosen
    base = __package__.rpartition(".")[0]
    if base.startswith("bl_ext."):
        return Path(bpy.utils.extension_path_user(base, path="avatars", create=True))
    return Path(tempfile.mkdtemp(prefix="lca_avatars_", dir=bpy.app.tempdir))


def _tick() -> float | None:
    job = _state.job
    if job is None:
        return None
    if not job.done:
        status.show(_state.title, job.progress)
        status.redraw()
        return _TICK_SECONDS
    status.show(_state.title, None)
    try:
        drain()
        bpy.ops.ed.undo_push(message="Import LCA Avatar from Service")
    except Exception as error:  # the panel shows it; a timer has nobody to raise to
        print(f"LCA Avatars: {describe_error(error)}")
    status.redraw()
    return None
