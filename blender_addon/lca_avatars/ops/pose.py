# SPDX-License-Identifier: GPL-3.0-or-later
"""Small tools on an imported avatar: what the viewport shows, and resetting groups of sliders."""

from __future__ import annotations

import bpy

from ..bl import controls, importer


def active_rig(context: bpy.types.Context) -> bpy.types.Object:
    """The rig of the active avatar; only where ``poll`` has made sure of one."""
    return importer.find_avatar(context.object)


class AvatarOperator:
    """Needs an avatar: its rig, proxy or splats must be active."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Greyed out with a hint when no avatar is active."""
        if importer.find_avatar(context.object) is None:
            cls.poll_message_set("Select an imported avatar first")  # type: ignore[attr-defined]
            return False
        return True


class LCA_OT_display(AvatarOperator, bpy.types.Operator):
    """Choose what the viewport shows of the avatar; renders always show the splats"""

    bl_idname = "lca.display"
    bl_label = "Show in Viewport"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    mode: bpy.props.EnumProperty(  # type: ignore[valid-type]
        items=[
            ("PROXY", "Proxy", "Textured mesh only: fastest while posing"),
            ("SPLATS", "Splats", "Splats only"),
            ("BOTH", "Both", "Mesh and splats"),
        ]
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Switch the two objects."""
        rig = importer.find_avatar(context.object)
        mesh = importer.part(rig, "proxy") if rig is not None else None
        cloud = importer.part(rig, "splats") if rig is not None else None
        if rig is None or mesh is None or cloud is None:
            self.report({"ERROR"}, "This avatar has lost its proxy or its splats. Import it again.")
            return {"CANCELLED"}
        if not rig.select_get():
            # A hidden object cannot stay active, so the rig takes over.
            context.view_layer.objects.active = rig
            rig.select_set(True)
        importer.set_display(mesh, cloud, self.mode)
        return {"FINISHED"}


class LCA_OT_reset_controls(AvatarOperator, bpy.types.Operator):
    """Set the sliders of one group back to their defaults"""

    bl_idname = "lca.reset_controls"
    bl_label = "Reset Sliders"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    group: bpy.props.EnumProperty(  # type: ignore[valid-type]
        items=[(group, group.title(), "") for group in controls.GROUPS]
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Reset, and tell the depsgraph."""
        controls.reset(importer.find_avatar(context.object), self.group)
        return {"FINISHED"}


CLASSES = (LCA_OT_display, LCA_OT_reset_controls)
