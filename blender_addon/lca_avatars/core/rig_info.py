# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what the add-on needs from ``rig.json``: the names come from there and are never retyped here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .deps import errors


@dataclass(frozen=True)
class RigInfo:
    """Joint names (J) and ARKit names (52), each in the order of the package's arrays."""

    joint_names: tuple[str, ...]
    arkit_names: tuple[str, ...]


def read_rig(rig: dict[str, Any]) -> RigInfo:
    """Names out of a parsed ``rig.json``.

    Raises:
        InvalidInputError: the description lacks the joints or the face shapes.
    """
    try:
        info = RigInfo(tuple(map(str, rig["joint_names"])), tuple(map(str, rig["arkit_names"])))
    except (KeyError, TypeError) as error:
        raise errors.InvalidInputError(
            f"rig.json of this avatar file lacks {error}. Export the avatar again.", reason="PACKAGE_INVALID"
        ) from None
    return info
