# SPDX-License-Identifier: GPL-3.0-or-later
"""Sidebar tab LCA: Avatar, Service, Pose, Face, Fingers, Gaze, Animation."""

from __future__ import annotations

import bpy

from ..bl import bone_groups, controls, importer, limbs, mirror, preview, scene_light, splats
from ..bl.language import iface
from ..core.frames import SIDES
from ..core.presets import expressions, hand_poses
from ..core.rig_info import Control
from ..ops import landing, service

_SHOWN_AVATARS = 12
_DETAILS = (1.0, 0.5, 0.25)
_HAND_BUTTONS, _FACE_BUTTONS = 6, 6


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
        facts = iface("{name}: {count:,} splats").format(name=rig.name, count=rig.get("lca_gaussians", 0))
        layout.label(text=facts, icon="OUTLINER_OB_ARMATURE")
        row = layout.row(align=True)
        for mode in importer.DISPLAY:
            row.operator("lca.display", text=iface(mode.title())).mode = mode
        shown = bool(rig.get(preview.SHOWN))
        layout.operator("lca.preview", icon="SHADING_RENDERED", depress=shown).on = not shown
        if shown and preview.problem():
            layout.label(text=preview.problem(), icon="ERROR")
        cloud = importer.part(rig, "splats")
        if cloud is not None:
            row = layout.row(align=True)
            row.label(text=iface("Detail {share:.0%}").format(share=splats.get_keep(cloud)))
            for keep in _DETAILS:
                row.operator("lca.detail", text=f"{keep:.0%}").keep = keep
        if scene_light.FOLLOW in rig:
            layout.prop(rig, f'["{scene_light.FOLLOW}"]', text="Lit by the Scene (service frames)")
        layout.operator("lca.add_to_library", icon="ASSET_MANAGER")


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
            layout.progress(factor=progress.fraction, text=iface(progress.message or "Working"))
            layout.operator("lca.cancel_job", icon="CANCEL")
            return
        layout.operator("lca.create_avatar", icon="FILE_MOVIE")
        for avatar in info.avatars[:_SHOWN_AVATARS]:
            button = layout.operator(
                "lca.fetch_avatar", text=iface("Import {name}").format(name=avatar.title), icon="IMPORT"
            )
            button.resource = avatar.resource
        if landing.outcome():
            layout.label(text=landing.outcome())


class LCA_PT_pose(_NeedsAvatar, bpy.types.Panel):
    """Limbs, mirror, what is visible."""

    bl_idname = "LCA_PT_pose"
    bl_label = "Pose"

    def draw(self, context: bpy.types.Context) -> None:
        """FK/IK sliders with snap buttons; limits; mirror; bone collections."""
        rig, layout = importer.find_avatar(context.object), self.layout
        if rig is None:
            return
        for limb in limbs.limbs():
            row = layout.row(align=True)
            row.prop(rig, f'["{limb.switch}"]', text=iface(limbs.slider(limb).label), slider=True)
            for way in ("FK", "IK"):
                button = row.operator("lca.switch_limb", text=way)
                button.limb, button.to = limb.switch, way
        own = {limb.switch for limb in limbs.limbs()}
        rest = [control for control in controls.sliders(rig, "BODY") if control.name not in own]
        _draw_sliders(layout, rig, rest)
        row = layout.row(align=True)
        for direction, text in (
            (mirror.LEFT_TO_RIGHT, "L > R"),
            (mirror.RIGHT_TO_LEFT, "R > L"),
            (mirror.SWAP, "Swap"),
        ):
            row.operator("lca.mirror_pose", text=iface(text)).direction = direction
        box = layout.box()
        box.label(text="Visible Controls")
        grid = box.grid_flow(columns=3, align=True)
        shown = rig.data.collections_all
        for name in bone_groups.PARENTS:
            if name in shown:
                grid.prop(shown[name], "is_visible", text=name, toggle=True)


class LCA_PT_animation(_NeedsAvatar, bpy.types.Panel):
    """Keys, pose assets, bone names."""

    bl_idname = "LCA_PT_animation"
    bl_label = "Animation"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        """Buttons."""
        row = self.layout.row(align=True)
        for part in ("ALL", "BODY", "HANDS", "FACE"):
            row.operator("lca.key_pose", text=iface(part.title())).part = part
        self.layout.operator("lca.board_to_sliders")
        self.layout.operator("lca.pose_assets", icon="ASSET_MANAGER")
        self.layout.operator_menu_enum("lca.bone_names", "scheme")


class LCA_PT_face(_NeedsAvatar, bpy.types.Panel):
    """The 52 ARKit sliders by region."""

    bl_idname = "LCA_PT_face"
    bl_label = "Face"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        """One box per region."""
        rig = importer.find_avatar(context.object)
        self.layout.operator("lca.reset_controls", icon="LOOP_BACK").group = "FACE"
        self.layout.operator("lca.reset_board")
        grid = self.layout.grid_flow(columns=3, align=True)
        for name in list(expressions())[:_FACE_BUTTONS]:
            grid.operator("lca.expression", text=name).expression = name
        self.layout.operator_menu_enum("lca.expression", "expression")
        by_region: dict[str, list[Control]] = {}
        for control in controls.sliders(rig, "FACE"):
            by_region.setdefault(control.group, []).append(control)
        for title, members in by_region.items():
            box = self.layout.box()
            box.label(text=iface(title))
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
        grid = self.layout.grid_flow(columns=3, align=True)
        for name in list(hand_poses())[:_HAND_BUTTONS]:
            grid.operator("lca.hand_pose", text=name).pose = name
        self.layout.operator_menu_enum("lca.hand_pose", "pose")
        row = self.layout.row()
        for side in SIDES:
            column = row.column()
            column.label(text=iface(f"{side.title()} hand"))
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
        column.prop(rig, f'["{control.name}"]', text=iface(control.label), slider=True)


CLASSES = (
    LCA_PT_avatar,
    LCA_PT_service,
    LCA_PT_pose,
    LCA_PT_face,
    LCA_PT_fingers,
    LCA_PT_gaze,
    LCA_PT_animation,
)
