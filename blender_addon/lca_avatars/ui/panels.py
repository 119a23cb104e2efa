# SPDX-License-Identifier: GPL-3.0-or-later
"""Sidebar tab LCA: Avatar, Service, Face, Fingers, Gaze."""

from __future__ import annotations

import bpy

from ..bl import controls, importer
from ..core.frames import SIDES
from ..core.rig_info import Control
from ..ops import landing, service

_SHOWN_AVATARS = 12


class _Sidebar:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "LCA"


class _NeedsAvatar(_Sidebar):
    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with an avatar active."""
        return importer.find_avatar(context.object) is not None


class LCA_PT_avatar(_Sidebar, bpy.types.Panel):
    """What is selected, how it is shown, and import."""

    bl_idname = "LCA_PT_avatar"
    bl_label = "Avatar"

    def draw(self, context: bpy.types.Context) -> None:
        """Import button; facts and display switch of the active avatar."""
        layout = self.layout
        layout.operator("lca.import_avatar", icon="IMPORT")
        rig = importer.find_avatar(context.object)
        if rig is None:
            return
        layout.label(text=f"{rig.name}: {rig.get('lca_gaussians', 0):,} splats", icon="OUTLINER_OB_ARMATURE")
        row = layout.row(align=True)
        for mode in importer.DISPLAY:
            row.operator("lca.display", text=mode.title()).mode = mode


class LCA_PT_service(_Sidebar, bpy.types.Panel):
    """Connection and creation."""

    bl_idname = "LCA_PT_service"
    bl_label = "Service"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, _context: bpy.types.Context) -> None:
        """Address, connect, create, progress with cancel."""
        layout = self.layout
        prefs = service.preferences()
        if prefs is not None:
            for name in ("endpoint", "token_file", "ca_file"):
                layout.prop(prefs, name)
        layout.operator("lca.connect", icon="LINKED")
        info = service.service_info()
        if info.line:
            layout.label(text=info.line)
        job = landing.running()
        if job is not None:
            progress = job.progress
            layout.progress(factor=progress.fraction, text=progress.message or "Working")
            layout.operator("lca.cancel_job", icon="CANCEL")
            return
        layout.operator("lca.create_avatar", icon="FILE_MOVIE")
        for avatar in info.avatars[:_SHOWN_AVATARS]:
            button = layout.operator("lca.fetch_avatar", text=f"Import {avatar.title}", icon="IMPORT")
            button.resource = avatar.resource
        if landing.outcome():
            layout.label(text=landing.outcome())


class LCA_PT_face(_NeedsAvatar, bpy.types.Panel):
    """The 52 ARKit sliders by region."""

    bl_idname = "LCA_PT_face"
    bl_label = "Face"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        """One box per region."""
        rig = importer.find_avatar(context.object)
        self.layout.operator("lca.reset_controls", icon="LOOP_BACK").group = "FACE"
        by_region: dict[str, list[Control]] = {}
        for control in controls.sliders(rig, "FACE"):
            by_region.setdefault(control.group, []).append(control)
        for title, members in by_region.items():
            box = self.layout.box()
            box.label(text=title)
            _draw_sliders(box, rig, members)


class LCA_PT_fingers(_NeedsAvatar, bpy.types.Panel):
    """Curl and spread of both hands."""

    bl_idname = "LCA_PT_fingers"
    bl_label = "Fingers"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        """One column per hand, as seen from the person: left hand first."""
        rig = importer.find_avatar(context.object)
        self.layout.operator("lca.reset_controls", icon="LOOP_BACK").group = "FINGERS"
        row = self.layout.row()
        for side in SIDES:
            column = row.column()
            column.label(text=f"{side.title()} hand")
            _draw_sliders(column, rig, [c for c in controls.sliders(rig, "FINGERS") if c.side == side])


class LCA_PT_gaze(_NeedsAvatar, bpy.types.Panel):
    """Where the eyes look."""

    bl_idname = "LCA_PT_gaze"
    bl_label = "Gaze"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        """Two sliders, the target's influence, and the lids."""
        rig = importer.find_avatar(context.object)
        self.layout.operator("lca.reset_controls", icon="LOOP_BACK").group = "GAZE"
        _draw_sliders(self.layout, rig, controls.sliders(rig, "GAZE"))


def _draw_sliders(layout: bpy.types.UILayout, rig: bpy.types.Object, members: list[Control]) -> None:
    column = layout.column(align=True)
    for control in members:
        column.prop(rig, f'["{control.name}"]', text=control.label, slider=True)


CLASSES = (LCA_PT_avatar, LCA_PT_service, LCA_PT_face, LCA_PT_fingers, LCA_PT_gaze)
