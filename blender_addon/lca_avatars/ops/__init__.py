# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators: thin doors that gather input, call ``bl`` or ``core`` and report what happened."""

from __future__ import annotations

import bpy

from ..core import local_service
from . import animate, create, import_avatar, import_ply, landing, motion, pose, service

_MODULES = (service, import_avatar, import_ply, create, pose, animate, motion)
_MENUS = (import_avatar.menu_entry, import_ply.menu_entry)


def register() -> None:
    """Register every operator class, then the file drop and menu entries."""
    for module in _MODULES:
        for cls in module.CLASSES:
            bpy.utils.register_class(cls)
    for entry in _MENUS:
        bpy.types.TOPBAR_MT_file_import.append(entry)
    bpy.app.handlers.load_pre.append(landing.stop_on_load)


def unregister() -> None:
    """The reverse of ``register``; a running job is cancelled first."""
    landing.stop()
    local_service.stop()
    if landing.stop_on_load in bpy.app.handlers.load_pre:
        bpy.app.handlers.load_pre.remove(landing.stop_on_load)
    for entry in reversed(_MENUS):
        bpy.types.TOPBAR_MT_file_import.remove(entry)
    for module in reversed(_MODULES):
        for cls in reversed(module.CLASSES):
            bpy.utils.unregister_class(cls)
