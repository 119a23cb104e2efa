# SPDX-License-Identifier: GPL-3.0-or-later
"""Panels of the sidebar tab; they draw properties and buttons and decide nothing."""

from __future__ import annotations

import bpy

from . import motion_panels, panels

_CLASSES = (*panels.CLASSES, *motion_panels.CLASSES)


def register() -> None:
    """Register the panels, parents first."""
    for cls in _CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Remove the panels, children first."""
    for cls in reversed(_CLASSES):
        bpy.utils.unregister_class(cls)
