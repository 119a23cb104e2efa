# SPDX-License-Identifier: GPL-3.0-or-later
"""LCA Avatars: import, pose and create Gaussian-splat avatars in Blender. This module only registers the
parts.

Importing the package outside Blender (the parts under ``core/`` need no bpy) registers nothing.
"""

from __future__ import annotations


def register() -> None:
    """Register operators, panels and preferences."""
    from . import ops, ui

    ops.register()
    ui.register()


def unregister() -> None:
    """Stop running jobs and remove everything that ``register`` added, in reverse order."""
    from . import ops, ui

    ui.unregister()
    ops.unregister()
