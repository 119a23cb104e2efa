# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that builds or reads Blender data: a module per part of the avatar, no operators or panels."""
