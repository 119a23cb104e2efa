# SPDX-License-Identifier: GPL-3.0-or-later
"""The half of the add-on that knows avatars and never imports bpy: frames, binding, jobs, endpoints."""
