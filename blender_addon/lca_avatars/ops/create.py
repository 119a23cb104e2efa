# SPDX-License-Identifier: GPL-3.0-or-later
"""Avatars from the service: create one from a clip or photos, fetch one that is there, cancel either."""

from __future__ import annotations

import threading
from pathlib import Path

import bpy

from ..bl.language import rpt
from ..core import media
from ..core import service as service_core
from ..core.deps import describe_error, errors
from ..core.jobs import Job, Report
from . import landing, service


class _ServiceJob(service.ServiceFields):
    """Shared by operators that run a service job: scripts wait for the avatar, the interface does not."""

    wait: bpy.props.BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]
    timeout: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Timeout",
        description="How many seconds a script waits for the avatar",
        default=3600.0,
        min=0.1,
        options={"HIDDEN"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """One job at a time."""
        if landing.running() is not None:
            cls.poll_message_set(rpt("An avatar is on its way already"))  # type: ignore[attr-defined]
            return False
        return True

    def _launch(self, context: bpy.types.Context, job: Job[Path], title: str, keep: bool = False) -> set[str]:
        landing.start(job, title, keep)
        if not self.wait:
            landing.watch()
            return {"FINISHED"}
        try:
            landing.wait(self.timeout, context)
        except Exception as error:
            return self._refuse(error)
        self.report({"INFO"}, landing.outcome())  # type: ignore[attr-defined]
        return {"FINISHED"}

    def _refuse(self, error: Exception) -> set[str]:
        self.report({"ERROR"}, describe_error(error))  # type: ignore[attr-defined]
        return {"CANCELLED"}


class LCA_OT_create_avatar(_ServiceJob, bpy.types.Operator):
    """Create an avatar from a clip or photos of one person and import it when it is ready"""

    bl_idname = "lca.create_avatar"
    bl_label = "Create Avatar"
    bl_options = {"REGISTER"}  # noqa: RUF012 - Blender reads a plain set

    filepath: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Clip", description="One video, one photo, or a folder of photos", subtype="FILE_PATH"
    )
    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]
    files: bpy.props.CollectionProperty(  # type: ignore[valid-type]
        type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"}
    )
    filter_glob: bpy.props.StringProperty(default=media.FILTER, options={"HIDDEN"})  # type: ignore[valid-type]
    avatar_name: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Name", description="Name of the avatar; empty takes the clip's name"
    )
    keep: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Add to Library",
        description="Also keep the avatar in the avatar library, for other files",
        default=False,
    )

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask for files first, unless they were dropped; the work itself goes on in the background."""
        self.wait = False
        if not self.filepath and not self.files:
            context.window_manager.fileselect_add(self)
            return {"RUNNING_MODAL"}
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Check what can be checked here, then hand the work to a thread."""
        chosen = self._chosen()
        try:
            target, sources = self.target(), media.source_files(chosen)
        except errors.LcaError as error:
            return self._refuse(error)
        title, folder = self.avatar_name or media.title_of(chosen), landing.download_folder()

        def work(report: Report, cancelled: threading.Event) -> Path:
            return service_core.create_avatar(target, sources, title, folder, report, cancelled)

        return self._launch(context, Job(work), title, self.keep)

    def _chosen(self) -> list[Path]:
        """Several files from the browser or a drop; else the one path; a browser without a selection means
        its folder."""
        folder = Path(bpy.path.abspath(self.directory)) if self.directory else None
        names = [entry.name for entry in self.files if entry.name]
        if folder is not None and names:
            return [folder / name for name in names]
        if self.filepath:
            return [Path(bpy.path.abspath(self.filepath))]
        return [] if folder is None else [folder]


class LCA_OT_fetch_avatar(_ServiceJob, bpy.types.Operator):
    """Download an avatar from the service and import it"""

    bl_idname = "lca.fetch_avatar"
    bl_label = "Import from Service"
    bl_options = {"REGISTER"}  # noqa: RUF012

    resource: bpy.props.StringProperty(name="Avatar", description="avatars/...")  # type: ignore[valid-type]

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Work in the background."""
        self.wait = False
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Hand the download to a thread."""
        try:
            target = self.target()
        except errors.LcaError as error:
            return self._refuse(error)
        resource, folder = self.resource, landing.download_folder()

        def work(report: Report, cancelled: threading.Event) -> Path:
            return service_core.fetch_avatar(target, resource, folder, report, cancelled)

        return self._launch(context, Job(work), resource)


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


class LCA_FH_create_avatar(bpy.types.FileHandler):
    """A clip or photos dropped on the 3D view"""

    bl_idname = "LCA_FH_create_avatar"
    bl_label = "LCA Avatar from Clip or Photos"
    bl_import_operator = "lca.create_avatar"
    bl_file_extensions = ";".join((*media.VIDEOS, *media.PHOTOS))

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """Onto the 3D view, while nothing is on its way."""
        area = context.area
        return area is not None and area.type == "VIEW_3D" and landing.running() is None


CLASSES = (LCA_OT_create_avatar, LCA_OT_fetch_avatar, LCA_OT_cancel_job, LCA_FH_create_avatar)
