# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sliders an imported rig has, grouped for panels and for resetting.

The avatar's ``rig.json`` is kept on the armature, so a saved file knows its controls; a few more are ours.
"""

from __future__ import annotations

import bpy

from ..core.rig_info import Control, RigInfo, read_rig_text
from . import limbs
from .body import LIMITS_CONTROL
from .face import LIDS_CONTROL
from .gaze import FOLLOW_CONTROL

RIG_TEXT = "lca_rig"
OWN = (FOLLOW_CONTROL, LIDS_CONTROL, LIMITS_CONTROL, *map(limbs.slider, limbs.limbs()))
GROUPS = ("FACE", "FINGERS", "GAZE", "BODY")


def rig_info(rig: bpy.types.Object) -> RigInfo:
    """The rig description that the avatar came with."""
    return read_rig_text(rig.data[RIG_TEXT])


def sliders(rig: bpy.types.Object, group: str) -> list[Control]:
    """Controls of one panel (FACE, FINGERS, GAZE, BODY) that the rig still has, in their given order."""
    found = [control for control in (*rig_info(rig).controls, *OWN) if control.name in rig]
    return [control for control in found if _panel(control) == group]


def reset(rig: bpy.types.Object, group: str) -> None:
    """Set one panel's sliders back to their defaults."""
    for control in sliders(rig, group):
        rig[control.name] = control.default
    rig.update_tag()


def _panel(control: Control) -> str:
    if control.group in ("Gaze", "Body"):
        return control.group.upper()
    return "FACE" if control.drives.startswith("blendShapes:") else "FINGERS"
