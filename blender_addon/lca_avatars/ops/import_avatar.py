# SPDX-License-Identifier: GPL-3.0-or-later
"""File > Import > LCA Avatar, and dropping an ``.lca`` file into the 3D view."""

from __future__ import annotations

import bpy
from bpy_extras.io_utils import ImportHelper

from ..bl import importer
from ..core.deps import describe_error, errors


class LCA_OT_import_avatar(bpy.types.Operator, ImportHelper):
    """Import a rigged splat avatar from an .lca file"""

    bl_idname = "lca.import_avatar"
    bl_label = "Import LCA Avatar"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012 - Blender reads a plain set

    filename_ext = ".lca"
    filter_glob: bpy.props.StringProperty(default="*.lca", options={"HIDDEN"})  # type: ignore[valid-type]
    prepare_scene: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Prepare Scene",
        description="Raise the transparent bounces and show colours unchanged, as splats need it",
        default=True,
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Import synchronously; a bad file is reported, not raised."""
        try:
            handles = importer.import_avatar(self.filepath, context)
        except (errors.LcaError, OSError) as error:
            self.report({"ERROR"}, describe_error(error))
            return {"CANCELLED"}
        if self.prepare_scene:
            importer.prepare_scene(context.scene)
        self.report({"INFO"}, f"Imported {handles.rig.name}: {handles.rig['lca_gaussians']} splats")
        return {"FINISHED"}

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """A dropped file is imported at once, otherwise the file browser opens."""
        if self.filepath:
            return self.execute(context)
        return ImportHelper.invoke(self, context, event)


class LCA_FH_import_avatar(bpy.types.FileHandler):
    """Drag and drop of .lca files"""

    bl_idname = "LCA_FH_import_avatar"
    bl_label = "LCA Avatar"
    bl_import_operator = "lca.import_avatar"
    bl_file_extensions = ".lca"

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """Only the 3D view accepts an avatar."""
        return context.area is not None and context.area.type == "VIEW_3D"


def menu_entry(self: bpy.types.Menu, _context: bpy.types.Context) -> None:
    """Entry of the File > Import menu."""
    self.layout.operator(LCA_OT_import_avatar.bl_idname, text="LCA Avatar (.lca)")


CLASSES = (LCA_OT_import_avatar, LCA_FH_import_avatar)
