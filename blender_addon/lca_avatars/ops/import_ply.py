# SPDX-License-Identifier: GPL-3.0-or-later
"""File > Import > Gaussian Splats: a splat PLY as a point cloud that renders, without a rig."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy_extras.io_utils import ImportHelper

from ..bl import compat, importer, splats
from ..core.deps import describe_error, errors
from ..core.splat_ply import read_ply


class LCA_OT_import_splat_ply(bpy.types.Operator, ImportHelper):
    """Import a Gaussian-splat PLY as a point cloud"""

    bl_idname = "lca.import_splat_ply"
    bl_label = "Import Gaussian Splats"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012 - Blender reads a plain set

    filename_ext = ".ply"
    filter_glob: bpy.props.StringProperty(default="*.ply", options={"HIDDEN"})  # type: ignore[valid-type]
    prepare_scene: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Prepare Scene",
        description="Raise the transparent bounces and show colours unchanged, as splats need it",
        default=True,
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Import synchronously; a bad file is reported, not raised."""
        path = Path(self.filepath)
        try:
            gaussians = read_ply(path)
        except (errors.LcaError, OSError) as error:
            self.report({"ERROR"}, describe_error(error))
            return {"CANCELLED"}
        cloud = splats.build_static(path.stem, gaussians, context.scene.collection)
        if self.prepare_scene:
            importer.prepare_scene(context.scene)
        compat.select_only(cloud)
        self.report({"INFO"}, f"Imported {len(gaussians.means)} splats")
        return {"FINISHED"}


def menu_entry(self: bpy.types.Menu, _context: bpy.types.Context) -> None:
    """Entry of the File > Import menu."""
    self.layout.operator(LCA_OT_import_splat_ply.bl_idname, text="Gaussian Splats (.ply)")


CLASSES = (LCA_OT_import_splat_ply,)
