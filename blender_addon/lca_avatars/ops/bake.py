# SPDX-License-Identifier: GPL-3.0-or-later
"""A shot's splats from the service into a cache of files, and the performance of a clip onto the avatar."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import bpy
from bpy_extras.io_utils import ImportHelper

from ..bl import avatar_library, cache_player, frames_cloud, importer, live
from ..bl.language import rpt
from ..bl.pose_reader import RigPose, frame_rate, recording
from ..core import live as link_core
from ..core import media
from ..core.jobs import Job, Report
from ..core.programs import find_lca, run_lca
from ..core.splat_cache import CacheInfo, CacheWriter, Gaussians
from . import landing, motion, service
from .task import Task, TaskOperator
from .tool import LOST, AvatarTool, active_rig


class LCA_OT_bake_splats(motion.FrameRange, service.ServiceFields, TaskOperator, bpy.types.Operator):
    """Let the service evaluate every frame of the range and play the result from files: final quality"""

    bl_idname = "lca.bake_splats"
    bl_label = "Bake Splat Cache"
    bl_options = {"REGISTER"}  # noqa: RUF012 - Blender reads a plain set

    directory: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Folder",
        description="Where the cache goes; empty: beside the .blend file",
        subtype="DIR_PATH",
    )
    corrected: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Network Corrections",
        description="Ask for the correction network; without it the linear correctives of the file are used",
        default=True,
    )

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Work beside the interface."""
        self.wait = False
        return self.execute(context)

    def prepare(self, context: bpy.types.Context) -> Task:
        """Record the poses, stream them in order, write the files, show them."""
        rig, scene = active_rig(context), context.scene
        target, (start, end) = self.target(), self.frames(scene)
        cloud = importer.part(rig, "splats")
        if cloud is None:
            raise ValueError(rpt(LOST))
        folder = self._folder(rig)
        info = CacheInfo(len(cloud.data.points), start, end, frame_rate(scene))
        package, avatar, corrected = live.package_of(rig), avatar_library.unique_id(rig), self.corrected
        poses: list[RigPose] = []

        def work(report: Report, cancelled: threading.Event) -> tuple[Path, str]:
            with CacheWriter(folder, info) as writer:

                def keep(index: int, posed: object) -> None:
                    writer.write(start + index, Gaussians.of(posed))

                note = link_core.stream_every(
                    target, package, poses, keep, len(poses), report, cancelled, corrected
                )
                return writer.finish(), note

        def land(result: tuple[Path, str]) -> str:
            made, note = result
            live.stop()
            cache_player.attach(live.need(avatar), made, scene)
            count = info.end - info.start + 1
            line = rpt("Baked {count} frames into {name}").format(count=count, name=made.name)
            return f"{line}, {note}" if note else line

        steps = recording(rig, scene, start, end, poses)
        return Task(rpt("Bake Splat Cache"), lambda: Job(work), land, steps, self.bl_label)

    def _folder(self, rig: bpy.types.Object) -> Path:
        name = f"{bpy.path.clean_name(rig.name)}_splats"
        if self.directory:
            return Path(bpy.path.abspath(self.directory)) / name
        return (Path(bpy.path.abspath("//")) if bpy.data.filepath else landing.download_folder()) / name


class LCA_OT_attach_cache(AvatarTool, bpy.types.Operator):
    """Show a splat cache that was baked before"""

    bl_idname = "lca.attach_cache"
    bl_label = "Open Splat Cache"

    directory: bpy.props.StringProperty(name="Folder", subtype="DIR_PATH")  # type: ignore[valid-type]

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask for the folder."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def change(self, rig: bpy.types.Object, context: bpy.types.Context) -> str:
        """Check and show."""
        live.stop()
        cache_player.attach(rig, Path(bpy.path.abspath(self.directory)), context.scene)
        return ""


class LCA_OT_transfer(TaskOperator, bpy.types.Operator, ImportHelper):
    """Track body, hands, face and gaze in a clip on this computer and key them on the avatar"""

    bl_idname = "lca.transfer"
    bl_label = "Performance from Clip"
    bl_options = {"REGISTER"}  # noqa: RUF012

    filename_ext = ""
    filter_glob: bpy.props.StringProperty(  # type: ignore[valid-type]
        default=media.VIDEO_FILTER, options={"HIDDEN"}
    )
    start: bpy.props.IntProperty(name="Start Frame", default=1)  # type: ignore[valid-type]
    layer: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="As Layer", description="Put it on an NLA track above the present animation", default=False
    )
    most: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="At Most", description="Frames of the clip that are tracked, evenly spaced", default=300, min=1
    )
    program: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the clip; afterwards work beside the interface."""
        self.wait = False
        return ImportHelper.invoke(self, context, event)

    def prepare(self, context: bpy.types.Context) -> Task:
        """Run ``lca capture``, then key its motion file."""
        rig, scene = active_rig(context), context.scene
        clip = Path(bpy.path.abspath(self.filepath))
        program = self.program or service.program()
        find_lca(program)
        if not clip.is_file():
            raise ValueError(rpt("There is no clip at {path}").format(path=clip))
        avatar, start, layer, most = avatar_library.unique_id(rig), self.start, self.layer, self.most
        title = rpt("Tracking the clip")
        out = Path(tempfile.mkdtemp(prefix="lca_motion_", dir=bpy.app.tempdir)) / f"{clip.stem}.npz"

        def work(report: Report, cancelled: threading.Event) -> Path:
            arguments: list[str | Path] = ["capture", clip, "-o", out, "--frames", str(most)]
            run_lca(program, arguments, title, report, cancelled)
            return out

        def land(path: Path) -> str:
            count, _source = motion.land_clip(live.need(avatar), str(path), scene, start=start, layer=layer)
            return rpt("Keyed {count} frames of {clip}").format(count=count, clip=clip.name)

        return Task(rpt("Performance from Clip"), lambda: Job(work), land, undo=self.bl_label)


class LCA_OT_hide_cache(AvatarTool, bpy.types.Operator):
    """Let the splats follow the rig again; the files of the cache stay"""

    bl_idname = "lca.hide_cache"
    bl_label = "Close Splat Cache"

    def change(self, rig: bpy.types.Object, context: bpy.types.Context) -> str:
        """Remove the frames object."""
        frames_cloud.hide(rig)
        return ""


CLASSES = (LCA_OT_bake_splats, LCA_OT_attach_cache, LCA_OT_hide_cache, LCA_OT_transfer)
