# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators: thin doors that gather input, call ``bl`` or ``core`` and report what happened."""

from __future__ import annotations

import bpy

from . import create, import_avatar, landing, pose, service

_MODULES = (service, import_avatar, create, pose)


def register() -> None:
    """Register every operator class, then the file drop and menu entries."""
    for module in _MODULES:
        for cls in module.CLASSES:
            bpy.utils.register_class(cls)
    bpy.types.TOPBAR_MT_file_import.append(import_avatar.menu_entry)
    bpy.app.handlers.load_pre.append(landing.stop_on_load)


def unregister() -> None:
    """The reverse of ``register``; a running job is cancelled first."""
    landing.stop()
    if landing.stop_on_load in bpy.app.handlers.load_pre:
        bpy.app.handlers.load_pre.remove(landing.stop_on_load)
    bpy.types.TOPBAR_MT_file_import.remove(import_avatar.menu_entry)
    for module in reversed(_MODULES):
        for cls in reversed(module.CLASSES):
            bpy.utils.unregister_class(cls)
