# SPDX-License-Identifier: GPL-3.0-or-later
"""File > Import > Gaussian Splats: a splat PLY as a point cloud that renders, without a rig."""

from __future__ import annotations

from pathlib import Path

import bpy

from ..bl import compat, splats
from ..bl.language import iface, rpt
from ..core.splat_ply import read_ply
from .file_import import SplatImport


class LCA_OT_import_splat_ply(SplatImport, bpy.types.Operator):
    """Import a Gaussian-splat PLY as a point cloud"""

    bl_idname = "lca.import_splat_ply"
    bl_label = "Import Gaussian Splats"

    filename_ext = ".ply"
    filter_glob: bpy.props.StringProperty(default="*.ply", options={"HIDDEN"})  # type: ignore[valid-type]

    def load(self, context: bpy.types.Context) -> str:
        """Read the file and show its splats."""
        path = Path(self.filepath)
        gaussians = read_ply(path)
        compat.select_only(splats.build_static(path.stem, gaussians, context.scene.collection))
        return rpt("Imported {count} splats").format(count=len(gaussians.means))


def menu_entry(self: bpy.types.Menu, _context: bpy.types.Context) -> None:
    """Entry of the File > Import menu."""
    self.layout.operator(LCA_OT_import_splat_ply.bl_idname, text=iface("Gaussian Splats (.ply)"))


CLASSES = (LCA_OT_import_splat_ply,)
