# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads ``rig.json`` (schema ``lca.rig/1``): names, controls and finger ranges come from the avatar file.

A parsed JSON object goes in, a frozen :class:`RigInfo` comes out; the add-on retypes none of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .deps import errors

SUPPORTED_SCHEMA = "lca.rig/1"
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Control:
    """One slider: hard and usual range, default, what it drives (``blendShapes:`` or ``joints:``)."""

    name: str
    group: str
    label: str
    side: str
    unit: str
    range: tuple[float, float]
    soft: tuple[float, float]
    default: float
    drives: str


@dataclass(frozen=True)
class FingerRange:
    """A finger's joints and its rotation at slider 1: degrees, about unit axes of avatar space at rest; each
    joint curls about its own.
    """

    finger: str
    side: str
    joints: tuple[str, str, str]
    curl_degrees: Triple
    curl_axes: tuple[Triple, Triple, Triple]
    spread_degrees: float
    spread_axis: Triple


@dataclass(frozen=True)
class JointRange:
    """How far a joint turns: degrees about the world axes x, y, z at rest, Euler order XYZ."""

    low: Triple
    high: Triple


@dataclass(frozen=True)
class RigInfo:
    """Joint names and ARKit names in the order of the package's arrays; controls; finger ranges; limits by
    joint; joint names of foreign rigs (``name_maps[rig][our joint]``).
    """

    joint_names: tuple[str, ...]
    arkit_names: tuple[str, ...]
    controls: tuple[Control, ...]
    fingers: tuple[FingerRange, ...]
    limits: dict[str, JointRange]
    name_maps: dict[str, dict[str, str]]

    def control(self, name: str) -> Control:
        """The control called ``name``; KeyError if the rig has none."""
        for control in self.controls:
            if control.name == name:
                return control
        raise KeyError(name)


def read_rig(rig: dict[str, Any]) -> RigInfo:
    """Parse ``rig.json``.

    Raises:
        InvalidInputError: ``RIG_INVALID``; another schema, or parts are missing or malformed.
    """
    try:
        if rig["schema"] != SUPPORTED_SCHEMA:
            raise _invalid(f"its schema is {rig['schema']}, this add-on reads {SUPPORTED_SCHEMA}")
        info = RigInfo(
            tuple(map(str, rig["joint_names"])),
            tuple(map(str, rig["arkit_names"])),
            tuple(_control(entry) for entry in rig["controls"]),
            tuple(_finger(entry) for entry in rig["fingers"]),
            {str(entry["name"]): _joint_range(entry) for entry in rig["joints"]},
            {
                str(title): {str(ours): str(theirs) for ours, theirs in table.items()}
                for title, table in rig["name_maps"].items()
            },
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise _invalid(f"{type(error).__name__}: {error}") from None
    names = [control.name for control in info.controls]
    if len(set(names)) != len(names) or not set(info.arkit_names) <= set(names):
        raise _invalid("its controls do not cover the face shapes, or one appears twice")
    if not {joint for finger in info.fingers for joint in finger.joints} <= set(info.joint_names):
        raise _invalid("a finger names a joint that the rig does not have")
    return info


@lru_cache(maxsize=8)
def read_rig_text(text: str) -> RigInfo:
    """The same from JSON text; cached, because panels ask on every redraw."""
    return read_rig(json.loads(text))


def _control(entry: dict[str, Any]) -> Control:
    low, high = float(entry["min"]), float(entry["max"])
    soft = (float(entry["soft"][0]), float(entry["soft"][1]))
    if not low <= soft[0] <= float(entry["default"]) <= soft[1] <= high:
        raise ValueError(f"range of {entry['name']}")
    return Control(
        str(entry["name"]),
        str(entry["group"]),
        str(entry["label"]),
        str(entry["side"]),
        str(entry["unit"]),
        (low, high),
        soft,
        float(entry["default"]),
        str(entry["drives"]),
    )


def _finger(entry: dict[str, Any]) -> FingerRange:
    joints = tuple(map(str, entry["joints"]))
    if len(joints) != 3:
        raise ValueError(f"{entry['finger']} has {len(joints)} joints")
    # Avatars made before every joint had its axis state one per finger.
    axes = [_triple(axis) for axis in entry.get("curl_axes") or [entry["curl_axis"]] * 3]
    return FingerRange(
        str(entry["finger"]),
        str(entry["side"]),
        (joints[0], joints[1], joints[2]),
        _triple(entry["curl_degrees"]),
        (axes[0], axes[1], axes[2]),
        float(entry["spread_degrees"]),
        _triple(entry["spread_axis"]),
    )


def _joint_range(entry: dict[str, Any]) -> JointRange:
    return JointRange(_triple(entry["min_degrees"]), _triple(entry["max_degrees"]))


def _triple(values: Any) -> Triple:
    x, y, z = (float(v) for v in values)
    return x, y, z


def _invalid(why: str) -> Exception:
    return errors.InvalidInputError(
        f"The rig description of this avatar cannot be used: {why}. Create the avatar again.",
        reason="RIG_INVALID",
    )
