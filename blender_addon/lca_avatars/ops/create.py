# SPDX-License-Identifier: GPL-3.0-or-later
"""Avatars from the service: create one from a clip, fetch one that is there, cancel either."""

from __future__ import annotations

import threading
from pathlib import Path

import bpy

from ..core import service as service_core
from ..core.deps import describe_error
from ..core.endpoint import refusal
from ..core.jobs import Job, Report
from . import landing, service


class _ServiceJob:
    """Shared by operators that run a service job: scripts wait for the avatar, the interface does not."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """One job at a time."""
        if landing.running() is not None:
            cls.poll_message_set("An avatar is on its way already")  # type: ignore[attr-defined]
            return False
        return True

    def _launch(self, context: bpy.types.Context, job: Job[Path]) -> set[str]:
        landing.start(job)
        if not self.wait:  # type: ignore[attr-defined]
            landing.watch()
            return {"FINISHED"}
        try:
            handles = landing.wait(self.timeout, context)  # type: ignore[attr-defined]
        except Exception as error:
            return self._refuse(describe_error(error))
        self.report({"INFO"}, f"Imported {handles.rig.name}")  # type: ignore[attr-defined]
        return {"FINISHED"}

    def _refuse(self, why: str) -> set[str]:
        self.report({"ERROR"}, why)  # type: ignore[attr-defined]
        return {"CANCELLED"}


_WAIT = {"default": True, "options": {"HIDDEN", "SKIP_SAVE"}}
_TIMEOUT = {
    "name": "Timeout",
    "description": "How many seconds a script waits for the avatar",
    "default": 3600.0,
    "min": 0.1,
    "options": {"HIDDEN"},
}


class LCA_OT_create_avatar(_ServiceJob, bpy.types.Operator):
    """Create an avatar from a clip of one person and import it when it is ready"""

    bl_idname = "lca.create_avatar"
    bl_label = "Create Avatar from Clip"
    bl_options = {"REGISTER"}  # noqa: RUF012 - Blender reads a plain set

    filepath: bpy.props.StringProperty(name="Clip", subtype="FILE_PATH")  # type: ignore[valid-type]
    filter_glob: bpy.props.StringProperty(  # type: ignore[valid-type]
        default="*.mp4;*.mov;*.mkv;*.webm;*.avi;*.m4v", options={"HIDDEN"}
    )
    avatar_name: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Name", description="Name of the avatar; empty takes the clip's name"
    )
    endpoint: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]
    token_file: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]
    wait: bpy.props.BoolProperty(**_WAIT)  # type: ignore[valid-type]
    timeout: bpy.props.FloatProperty(**_TIMEOUT)  # type: ignore[valid-type]

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask for the clip first (the file browser calls ``execute``); afterwards work in the background."""
        self.wait = False
        if not self.filepath:
            context.window_manager.fileselect_add(self)
            return {"RUNNING_MODAL"}
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Check what can be checked here, then hand the work to a thread."""
        target = service.resolve(self.endpoint, self.token_file)
        clip = Path(bpy.path.abspath(self.filepath))
        problem = refusal(target.endpoint, bpy.app.online_access)
        if problem is None and not clip.is_file():
            problem = f"There is no clip at {clip}"
        if problem is not None:
            return self._refuse(problem)
        title, folder = self.avatar_name or clip.stem, landing.download_folder()

        def work(report: Report, cancelled: threading.Event) -> Path:
            return service_core.create_avatar(target, clip, title, folder, report, cancelled)

        return self._launch(context, Job(work))


class LCA_OT_fetch_avatar(_ServiceJob, bpy.types.Operator):
    """Download an avatar from the service and import it"""

    bl_idname = "lca.fetch_avatar"
    bl_label = "Import from Service"
    bl_options = {"REGISTER"}  # noqa: RUF012

    resource: bpy.props.StringProperty(name="Avatar", description="avatars/...")  # type: ignore[valid-type]
    endpoint: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]
    token_file: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]
    wait: bpy.props.BoolProperty(**_WAIT)  # type: ignore[valid-type]
    timeout: bpy.props.FloatProperty(**_TIMEOUT)  # type: ignore[valid-type]

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Work in the background."""
        self.wait = False
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Hand the download to a thread."""
        target = service.resolve(self.endpoint, self.token_file)
        problem = refusal(target.endpoint, bpy.app.online_access)
        if problem is not None:
            return self._refuse(problem)
        resource, folder = self.resource, landing.download_folder()

        def work(report: Report, cancelled: threading.Event) -> Path:
            return service_core.fetch_avatar(target, resource, folder, report, cancelled)

        return self._launch(context, Job(work))


class LCA_OT_cancel_job(bpy.types.Operator):
    """Cancel the avatar that is on its way"""

    bl_idname = "lca.cancel_job"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only while a job runs."""
        return landing.running() is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask the job to stop; it ends by itself and says so."""
        job = landing.running()
        if job is not None:
            job.cancel()
        return {"FINISHED"}


CLASSES = (LCA_OT_create_avatar, LCA_OT_fetch_avatar, LCA_OT_cancel_job)
