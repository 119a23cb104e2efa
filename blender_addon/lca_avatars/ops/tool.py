# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators on an imported avatar share: they need one, change it, say what they did or why not."""

from __future__ import annotations

import bpy

from ..bl import importer
from ..bl.language import rpt
from ..core.deps import describe_error, errors

LOST = "This avatar has lost its splats. Import it again."


def active_rig(context: bpy.types.Context) -> bpy.types.Object:
    """The rig of the active avatar; only where ``poll`` has made sure of one."""
    return importer.find_avatar(context.object)


class AvatarOperator:
    """Needs an avatar: its rig, proxy or splats must be active."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Greyed out with a hint when no avatar is active."""
        if importer.find_avatar(context.object) is None:
            cls.poll_message_set(rpt("Select an imported avatar first"))  # type: ignore[attr-defined]
            return False
        return True

    def refuse(self, why: str) -> set[str]:
        """Report the reason and cancel."""
        self.report({"ERROR"}, why)  # type: ignore[attr-defined]
        return {"CANCELLED"}


class AvatarTool(AvatarOperator):
    """An undoable change of the active avatar; subclasses make it in :meth:`change`."""

    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012 - Blender reads a plain set

    def change(self, rig: bpy.types.Object, context: bpy.types.Context) -> str:
        """Do it; returns a line for the user, or nothing to say.

        Raises:
            LcaError, OSError, ValueError: it cannot be done; the user reads the message.
        """
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Change the avatar and report."""
        try:
            line = self.change(active_rig(context), context)
        except (errors.LcaError, OSError) as error:
            return self.refuse(describe_error(error))
        except ValueError as error:
            return self.refuse(str(error))
        if line:
            self.report({"INFO"}, line)  # type: ignore[attr-defined]
        return {"FINISHED"}


class KeyedTool(AvatarTool):
    """An avatar tool that can key what it changed."""

    key: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Key", description="Key what this changes at the current frame", default=False
    )

    def wants_keys(self, context: bpy.types.Context) -> bool:
        """Asked for, or auto-keying is on."""
        return bool(self.key or context.scene.tool_settings.use_keyframe_insert_auto)
