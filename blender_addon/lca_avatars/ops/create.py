# SPDX-License-Identifier: GPL-3.0-or-later
"""Create an avatar from a clip on the service: upload, watch, download, import; with progress and cancel.

From the interface the work runs in a thread and a timer shows its progress and imports the result;
``execute`` (scripts, background mode, where timers never fire) does the same and waits. The thread never
touches bpy.
"""

from __future__ import annotations

import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import bpy

from ..bl import importer
from ..core import service as service_core
from ..core.deps import describe_error
from ..core.endpoint import refusal
from ..core.jobs import Job, Report
from . import service

_TICK_SECONDS = 0.25


@dataclass
class _Running:
    """The one job this session may run, and the last thing worth showing when it is over."""

    job: Job[Path] | None = None
    outcome: str = ""


_running = _Running()


def running() -> Job[Path] | None:
    """The job in flight, for panels."""
    return _running.job


def outcome() -> str:
    """What the last job ended with, for panels; empty before the first."""
    return _running.outcome


def drain(context: bpy.types.Context | None = None) -> importer.AvatarHandles | None:
    """Finish a job that has ended: import its avatar and forget it. Main thread only.

    Raises:
        Exception: whatever the job failed with.
    """
    job = _running.job
    if job is None or not job.done:
        return None
    _running.job = None
    try:
        handles = importer.import_avatar(job.result(), context)
    except Exception as error:
        _running.outcome = describe_error(error)
        raise
    _running.outcome = f"Imported {handles.rig.name}"
    return handles


def stop() -> None:
    """Cancel the job in flight and its timer; used on unregister and before another file is loaded."""
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    if _running.job is not None:
        _running.job.cancel()
        _running.job = None


@bpy.app.handlers.persistent
def stop_on_load(*_arguments: object) -> None:
    """``load_pre`` handler: the scene that asked for the avatar is about to go away."""
    stop()


def _tick() -> float | None:
    """Timer callback: redraw the panel, and land the result when there is one."""
    job = _running.job
    if job is None:
        return None
    _redraw()
    if not job.done:
        return _TICK_SECONDS
    try:
        drain()
        bpy.ops.ed.undo_push(message="Create LCA Avatar")
    except Exception as error:  # shown in the panel; a timer has nobody to raise to
        print(f"LCA Avatars: {describe_error(error)}")
    _redraw()
    return None


def _redraw() -> None:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


def _download_folder() -> Path:
    """Where packages land: the extension's own user folder, or a temporary one in a checkout."""
    base = __package__.rpartition(".")[0]
    if base.startswith("bl_ext."):
        return Path(bpy.utils.extension_path_user(base, path="avatars", create=True))
    return Path(tempfile.mkdtemp(prefix="lca_avatars_"))


class LCA_OT_create_avatar(bpy.types.Operator):
    """Create an avatar from a clip of one person and import it when it is ready"""

    bl_idname = "lca.create_avatar"
    bl_label = "Create Avatar from Clip"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    filepath: bpy.props.StringProperty(name="Clip", subtype="FILE_PATH")  # type: ignore[valid-type]
    filter_glob: bpy.props.StringProperty(  # type: ignore[valid-type]
        default="*.mp4;*.mov;*.mkv;*.webm;*.avi;*.m4v", options={"HIDDEN"}
    )
    avatar_name: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Name", description="Name of the avatar; empty takes the clip's name"
    )
    endpoint: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]
    token_file: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]
    wait: bpy.props.BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]
    timeout: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Timeout",
        description="How many seconds a script waits for the avatar",
        default=3600.0,
        min=1.0,
        options={"HIDDEN"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """One job at a time, and only to a service that may be reached."""
        if _running.job is not None:
            cls.poll_message_set("An avatar is being created already")
            return False
        return True

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask for the clip first; afterwards work in the background."""
        self.wait = False
        if not self.filepath:
            context.window_manager.fileselect_add(self)
            return {"RUNNING_MODAL"}
        return self._start_in_background()

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Scripts wait for the avatar; the interface (which comes here from the file browser) does not."""
        if not self.wait:
            return self._start_in_background()
        if not self._start():
            return {"CANCELLED"}
        job = _running.job
        assert job is not None
        deadline = time.monotonic() + self.timeout
        while not job.wait(_TICK_SECONDS):
            if time.monotonic() > deadline:
                stop()
                self.report(
                    {"ERROR"}, f"The avatar was not ready after {self.timeout:.0f} s; the job was cancelled."
                )
                return {"CANCELLED"}
        try:
            handles = drain(context)
        except Exception as error:
            self.report({"ERROR"}, describe_error(error))
            return {"CANCELLED"}
        assert handles is not None
        self.report({"INFO"}, f"Created {handles.rig.name}")
        return {"FINISHED"}

    def _start_in_background(self) -> set[str]:
        if not self._start():
            return {"CANCELLED"}
        bpy.app.timers.register(_tick, first_interval=_TICK_SECONDS, persistent=True)
        return {"FINISHED"}

    def _start(self) -> bool:
        target = service.resolve(self.endpoint, self.token_file)
        clip = Path(bpy.path.abspath(self.filepath))
        problem = refusal(target.endpoint, bpy.app.online_access)
        if problem is None and not clip.is_file():
            problem = f"There is no clip at {clip}"
        if problem is not None:
            self.report({"ERROR"}, problem)
            return False
        name, folder = self.avatar_name or clip.stem, _download_folder()

        def work(report: Report, cancelled: threading.Event) -> Path:
            return service_core.create_avatar(target, clip, name, folder, report, cancelled)

        _running.outcome = ""
        _running.job = Job(work).start()
        return True


class LCA_OT_cancel_creation(bpy.types.Operator):
    """Cancel the avatar that is being created"""

    bl_idname = "lca.cancel_creation"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only while a job runs."""
        return _running.job is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask the job to stop; it ends by itself and says so."""
        if _running.job is not None:
            _running.job.cancel()
        return {"FINISHED"}


CLASSES = (LCA_OT_create_avatar, LCA_OT_cancel_creation)
