# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators: thin doors that gather input, call ``bl`` or ``core`` and report what happened."""

from __future__ import annotations

import bpy

from ..bl import cache_player, language, preview
from ..bl import live as live_session
from ..core import local_service
from . import (
    animate,
    bake,
    create,
    export,
    import_avatar,
    import_ply,
    landing,
    live,
    motion,
    pose,
    service,
    task,
)

_MODULES = (service, import_avatar, import_ply, create, pose, animate, motion, live, task, bake, export)
_MENUS = (import_avatar.menu_entry, import_ply.menu_entry)
_HANDLERS = (
    ("load_pre", landing.stop_on_load),
    ("load_pre", live_session.stop_before_load),
    ("load_pre", task.stop_before_load),
    ("load_pre", preview.forget),
    ("load_post", live_session.tidy_after_load),
    ("frame_change_pre", cache_player.play),
)


def register() -> None:
    """Register translations and every operator class, then menu entries, handlers and the preview."""
    language.register()
    for module in _MODULES:
        for cls in module.CLASSES:
            bpy.utils.register_class(cls)
    for entry in _MENUS:
        bpy.types.TOPBAR_MT_file_import.append(entry)
    for when, handler in _HANDLERS:
        getattr(bpy.app.handlers, when).append(handler)
    preview.start()


def unregister() -> None:
    """The reverse of ``register``; a running job is cancelled first."""
    landing.stop()
    task.stop()
    live_session.stop()
    local_service.stop()
    preview.stop()
    for when, handler in _HANDLERS:
        if handler in getattr(bpy.app.handlers, when):
            getattr(bpy.app.handlers, when).remove(handler)
    for entry in reversed(_MENUS):
        bpy.types.TOPBAR_MT_file_import.remove(entry)
    for module in reversed(_MODULES):
        for cls in reversed(module.CLASSES):
            bpy.utils.unregister_class(cls)
    language.unregister()
