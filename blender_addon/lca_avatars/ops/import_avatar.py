# SPDX-License-Identifier: GPL-3.0-or-later
"""File > Import > LCA Avatar, and dropping an ``.lca`` file into the 3D view."""

from __future__ import annotations

import bpy

from ..bl import importer
from ..bl.language import iface, rpt
from .file_import import SplatImport


class LCA_OT_import_avatar(SplatImport, bpy.types.Operator):
    """Import a rigged splat avatar from an .lca file"""

    bl_idname = "lca.import_avatar"
    bl_label = "Import LCA Avatar"

    filename_ext = ".lca"
    filter_glob: bpy.props.StringProperty(default="*.lca", options={"HIDDEN"})  # type: ignore[valid-type]

    def load(self, context: bpy.types.Context) -> str:
        """Build the avatar."""
        rig = importer.import_avatar(self.filepath, context).rig
        return rpt("Imported {name}: {count} splats").format(name=rig.name, count=rig["lca_gaussians"])


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
    self.layout.operator(LCA_OT_import_avatar.bl_idname, text=iface("LCA Avatar (.lca)"))


CLASSES = (LCA_OT_import_avatar, LCA_FH_import_avatar)
