# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs beside the interface, shown in it: a line in the status bar, fresh drawing of 3D views."""

from __future__ import annotations

import bpy

from ..core.jobs import JobProgress


def show(title: str, progress: JobProgress | None) -> None:
    """Write a job's stage into the status bar of every window; None gives the bar back to Blender."""
    line = None if progress is None else f"{title}: {progress.message} ({progress.fraction:.0%})"
    for workspace in {window.workspace for window in bpy.context.window_manager.windows}:
        workspace.status_text_set(line)


def redraw() -> None:
    """Draw every 3D view, panels included, again."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()
