# SPDX-License-Identifier: GPL-3.0-or-later
"""What importing operators share: a file that cannot be used is reported, and the scene gets ready for
splats."""

from __future__ import annotations

import bpy
from bpy_extras.io_utils import ImportHelper

from ..bl import importer
from ..core.deps import describe_error, errors


class SplatImport(ImportHelper):
    """File > Import entries; subclasses load in :meth:`load`."""

    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012 - Blender reads a plain set

    prepare_scene: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Prepare Scene",
        description="Raise the transparent bounces and show colours unchanged, as splats need it",
        default=True,
    )

    def load(self, context: bpy.types.Context) -> str:
        """Import ``self.filepath``; returns a line for the user.

        Raises:
            LcaError, OSError: the file cannot be used; the user reads the message.
        """
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Import synchronously and report."""
        try:
            line = self.load(context)
        except (errors.LcaError, OSError) as error:
            self.report({"ERROR"}, describe_error(error))  # type: ignore[attr-defined]
            return {"CANCELLED"}
        if self.prepare_scene:
            importer.prepare_scene(context.scene)
        self.report({"INFO"}, line)  # type: ignore[attr-defined]
        return {"FINISHED"}

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """A dropped file is imported at once, otherwise the file browser opens."""
        if self.filepath:
            return self.execute(context)
        opened: set[str] = ImportHelper.invoke(self, context, event)
        return opened
