# SPDX-License-Identifier: GPL-3.0-or-later
"""Live mode on and off."""

from __future__ import annotations

import time

import bpy

from ..bl import avatar_library, frames_cloud, importer, live
from ..bl.language import rpt
from ..core import live as link_core
from . import service
from .tool import LOST, AvatarTool


class LCA_OT_live_start(service.ServiceFields, AvatarTool, bpy.types.Operator):
    """Show the avatar as the service evaluates it while you pose, play and scrub"""

    bl_idname = "lca.live_start"
    bl_label = "Start Live"
    bl_options = {"REGISTER"}  # noqa: RUF012 - frames are no data to undo

    corrected: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Network Corrections",
        description="Ask for the correction network; without it the linear correctives of the file are used",
        default=True,
    )
    codec: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Frames",
        items=[
            ("shm", "Shared Memory", "The same computer; falls back to exact frames elsewhere"),
            ("q20", "20 bit", "Local network, every attribute"),
            ("q10", "10 bit", "Slow network, size and colour of the last key frame"),
        ],
    )
    wait: bpy.props.BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]
    timeout: bpy.props.FloatProperty(default=60.0, min=0.1, options={"HIDDEN"})  # type: ignore[valid-type]

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Connect in the background; the timer shows the first frame."""
        self.wait = False
        return self.execute(context)

    def change(self, rig: bpy.types.Object, context: bpy.types.Context) -> str:
        """Start; from a script, wait for the first frame."""
        target = self.target()
        if importer.part(rig, "splats") is None:
            raise ValueError(rpt(LOST))
        avatar_library.unique_id(rig)
        link = link_core.LiveLink(target, live.package_of(rig), self.corrected, self.codec)
        live.start(rig, link)
        deadline = time.monotonic() + self.timeout
        while self.wait and live.running() and not live.frames():
            if time.monotonic() > deadline:
                live.stop(rpt("No frame came in {seconds:.0f} s").format(seconds=self.timeout))
            context.view_layer.update()
            if not live.step():
                time.sleep(0.005)
        if not live.running():
            raise ValueError(live.message())
        return ""


class LCA_OT_live_stop(bpy.types.Operator):
    """Let the splats follow the rig again"""

    bl_idname = "lca.live_stop"
    bl_label = "Stop Live"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """While live, or while frames of it are left."""
        rig = importer.find_avatar(context.object)
        return live.running() or (rig is not None and frames_cloud.shown(rig) is not None)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Stop; a cache that is shown goes away, too (its files stay)."""
        live.stop()
        rig = importer.find_avatar(context.object)
        if rig is not None:
            frames_cloud.hide(rig)
        return {"FINISHED"}


CLASSES = (LCA_OT_live_start, LCA_OT_live_stop)
