# SPDX-License-Identifier: GPL-3.0-or-later
"""Sidebar tab LCA, second half: Motion, Live, Export, and the progress of what runs beside the interface."""

from __future__ import annotations

import bpy

from ..bl import frames_cloud, importer, live
from ..bl.language import iface
from ..ops import task
from .panels import _NeedsAvatar


class LCA_PT_motion(_NeedsAvatar, bpy.types.Panel):
    """Motion files, performance of a clip, bakes."""

    bl_idname = "LCA_PT_motion"
    bl_label = "Motion"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        """Import, transfer, bake; the cache that is shown."""
        layout = self.layout
        column = layout.column(align=True)
        column.operator("lca.import_motion", icon="IMPORT")
        column.operator("lca.transfer", icon="FILE_MOVIE")
        layout.operator("lca.bake_keys", icon="ACTION")
        column = layout.column(align=True)
        column.operator("lca.bake_splats", icon="FILE_CACHE")
        rig = importer.find_avatar(context.object)
        cloud = None if rig is None else frames_cloud.shown(rig)
        if cloud is not None and frames_cloud.CACHE in cloud:
            layout.label(text=bpy.path.basename(str(cloud[frames_cloud.CACHE]).rstrip("/\\")))
            layout.operator("lca.hide_cache", icon="X")
        else:
            column.operator("lca.attach_cache", icon="FILE_FOLDER")
        _draw_task(layout)


class LCA_PT_live(_NeedsAvatar, bpy.types.Panel):
    """Frames of the service in the viewport."""

    bl_idname = "LCA_PT_live"
    bl_label = "Live"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, _context: bpy.types.Context) -> None:
        """On, off, and how it goes."""
        if live.running():
            self.layout.operator("lca.live_stop", icon="PAUSE")
        else:
            self.layout.operator("lca.live_start", icon="PLAY")
        # A reason is a sentence; the sidebar is narrow.
        words, line = live.message().split(), ""
        for word in words:
            if len(line) + len(word) > _LINE:
                self.layout.label(text=line)
                line = ""
            line = f"{line} {word}".strip()
        if line:
            self.layout.label(text=line)


_LINE = 40


class LCA_PT_export(_NeedsAvatar, bpy.types.Panel):
    """Ways out of Blender."""

    bl_idname = "LCA_PT_export"
    bl_label = "Export"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, _context: bpy.types.Context) -> None:
        """Buttons."""
        column = self.layout.column(align=True)
        for name in ("export_usd", "export_asset", "export_ply", "export_lca"):
            column.operator(f"lca.{name}", icon="EXPORT")
        _draw_task(self.layout)


def _draw_task(layout: bpy.types.UILayout) -> None:
    if task.running() is not None:
        now = task.progress()
        layout.progress(factor=now.fraction, text=iface(now.message or "Working"))
        layout.operator("lca.cancel_task", icon="CANCEL")
    elif task.outcome():
        layout.label(text=task.outcome())


CLASSES = (LCA_PT_motion, LCA_PT_live, LCA_PT_export)
