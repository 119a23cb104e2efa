# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sliders an imported rig has, grouped for panels and for resetting.

The avatar's ``rig.json`` is kept on the armature, so a saved file knows its own controls; two more are ours.
"""

from __future__ import annotations

import bpy

from ..core.rig_info import Control, RigInfo, read_rig_text
from .face import LIDS_CONTROL
from .gaze import FOLLOW_CONTROL

RIG_TEXT = "lca_rig"
OWN = (FOLLOW_CONTROL, LIDS_CONTROL)
GROUPS = ("FACE", "FINGERS", "GAZE")


def rig_info(rig: bpy.types.Object) -> RigInfo:
    """The rig description that the avatar came with."""
    return read_rig_text(rig.data[RIG_TEXT])


def sliders(rig: bpy.types.Object, group: str) -> list[Control]:
    """Controls of one panel (FACE, FINGERS, GAZE) that the rig still has, in the order of the description."""
    found = [control for control in (*rig_info(rig).controls, *OWN) if control.name in rig]
    return [control for control in found if _panel(control) == group]


def reset(rig: bpy.types.Object, group: str) -> None:
    """Set one panel's sliders back to their defaults."""
    for control in sliders(rig, group):
        rig[control.name] = control.default
    rig.update_tag()


def _panel(control: Control) -> str:
    if control in OWN or control.group == "Gaze":
        return "GAZE"
    return "FACE" if control.drives.startswith("blendShapes:") else "FINGERS"
