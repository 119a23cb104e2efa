# SPDX-License-Identifier: GPL-3.0-or-later
"""How an imported avatar is shown and kept: proxy or splats, preview, detail, library; slider resets."""

from __future__ import annotations

import bpy

from ..bl import compat, controls, frames_cloud, importer, preview, splats
from ..bl.language import rpt
from . import landing
from .tool import LOST, AvatarTool


class LCA_OT_display(AvatarTool, bpy.types.Operator):
    """Choose what the viewport shows of the avatar; renders always show the splats"""

    bl_idname = "lca.display"
    bl_label = "Show in Viewport"

    mode: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Show",
        items=[
            ("PROXY", "Proxy", "Textured mesh only: fastest while posing"),
            ("SPLATS", "Splats", "Splats only"),
            ("BOTH", "Both", "Mesh and splats"),
        ],
    )

    def change(self, rig: bpy.types.Object, context: bpy.types.Context) -> str:
        """Switch the two objects."""
        mesh, cloud = importer.part(rig, "proxy"), importer.part(rig, "splats")
        if mesh is None or cloud is None:
            raise ValueError(rpt("This avatar has lost its proxy or its splats. Import it again."))
        if not rig.select_get():
            # A hidden object cannot stay active, so the rig takes over.
            context.view_layer.objects.active = rig
            rig.select_set(True)
        importer.set_display(mesh, cloud, self.mode)
        return ""


class LCA_OT_preview(AvatarTool, bpy.types.Operator):
    """Draw the splats in the viewport as they look, in every shading mode; rendering is not affected"""

    bl_idname = "lca.preview"
    bl_label = "Splat Preview"

    on: bpy.props.BoolProperty(name="On", default=True)  # type: ignore[valid-type]

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Not where Blender draws splats by itself."""
        if compat.has_native_splats():
            cls.poll_message_set(rpt("This Blender draws splats by itself"))
            return False
        return super().poll(context)

    def change(self, rig: bpy.types.Object, context: bpy.types.Context) -> str:
        """Switch, and show the splats."""
        mesh, cloud = importer.part(rig, "proxy"), importer.part(rig, "splats")
        if cloud is None:
            raise ValueError(rpt(LOST))
        frames = frames_cloud.shown(rig)
        preview.set_shown(rig, [cloud] if frames is None else [cloud, frames], self.on)
        if self.on and frames is None and mesh is not None and cloud.hide_viewport:
            importer.set_display(mesh, cloud, "SPLATS")
        return ""


class LCA_OT_detail(AvatarTool, bpy.types.Operator):
    """Show only a fraction of the splats, the most visible ones: faster playback, coarser picture"""

    bl_idname = "lca.detail"
    bl_label = "Level of Detail"

    keep: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Keep", description="Share of the splats", default=1.0, min=0.01, max=1.0, subtype="FACTOR"
    )

    def change(self, rig: bpy.types.Object, context: bpy.types.Context) -> str:
        """Set the fraction."""
        cloud = importer.part(rig, "splats")
        if cloud is None:
            raise ValueError(rpt(LOST))
        splats.set_keep(cloud, self.keep)
        return ""


class LCA_OT_reset_controls(AvatarTool, bpy.types.Operator):
    """Set the sliders of one group back to their defaults"""

    bl_idname = "lca.reset_controls"
    bl_label = "Reset Sliders"

    group: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Group", items=[(group, group.title(), "") for group in controls.GROUPS]
    )

    def change(self, rig: bpy.types.Object, context: bpy.types.Context) -> str:
        """Reset, and tell the depsgraph."""
        controls.reset(rig, self.group)
        return ""


class LCA_OT_add_to_library(AvatarTool, bpy.types.Operator):
    """Keep this avatar in the avatar library: Blender's asset browser then offers it in every file"""

    bl_idname = "lca.add_to_library"
    bl_label = "Add to Library"
    bl_options = {"REGISTER"}  # noqa: RUF012

    def change(self, rig: bpy.types.Object, context: bpy.types.Context) -> str:
        """Write the library file, its picture and catalog."""
        return rpt("{name} is in the avatar library").format(name=landing.keep_in_library(rig).stem)


CLASSES = (
    LCA_OT_display,
    LCA_OT_preview,
    LCA_OT_detail,
    LCA_OT_reset_controls,
    LCA_OT_add_to_library,
)
