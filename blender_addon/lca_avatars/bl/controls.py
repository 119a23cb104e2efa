# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sliders an imported rig has, grouped for panels and for resetting; read from the rig itself."""

from __future__ import annotations

import bpy

from ..core.frames import FINGERS, SIDES
from . import fingers, gaze
from .face import LIDS_FOLLOW
from .importer import part

# Panel sections by the start of an ARKit name; what matches nothing lands in "Other".
_REGIONS = (
    ("Brows", ("brow",)),
    ("Eyes", ("eyeBlink", "eyeSquint", "eyeWide")),
    ("Eye Look", ("eyeLook",)),
    ("Cheeks and Nose", ("cheek", "nose")),
    ("Jaw and Tongue", ("jaw", "tongue")),
    ("Mouth", ("mouth",)),
)


def face_sliders(rig: bpy.types.Object) -> dict[str, list[str]]:
    """ARKit property names by region, in the order of the proxy's shape keys."""
    mesh = part(rig, "proxy")
    if mesh is None or mesh.data.shape_keys is None:
        return {}
    names = [key.name for key in mesh.data.shape_keys.key_blocks if key.name in rig]
    regions: dict[str, list[str]] = {title: [] for title, _ in _REGIONS}
    for name in names:
        title = next((title for title, starts in _REGIONS if name.startswith(starts)), "Other")
        regions.setdefault(title, []).append(name)
    return {title: members for title, members in regions.items() if members}


def finger_sliders(side: str) -> list[str]:
    """Curl and spread property names of one hand, the whole hand first."""
    return [
        fingers.curl_property("hand", side),
        fingers.spread_property(side),
        *(fingers.curl_property(finger, side) for finger in FINGERS),
    ]


def gaze_sliders() -> list[str]:
    """Property names of the gaze controls."""
    return [gaze.YAW, gaze.PITCH, gaze.FOLLOW, LIDS_FOLLOW]


def reset(rig: bpy.types.Object, group: str) -> None:
    """Set one group (FACE, FINGERS, GAZE) back to the defaults stored with each property."""
    names = {
        "FACE": [name for members in face_sliders(rig).values() for name in members],
        "FINGERS": [name for side in SIDES for name in finger_sliders(side)],
        "GAZE": gaze_sliders(),
    }[group]
    for name in names:
        rig[name] = rig.id_properties_ui(name).as_dict()["default"]
    rig.update_tag()
