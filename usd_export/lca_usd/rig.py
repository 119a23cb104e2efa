"""Names, limits and controls of the rig, read from the package's ``rig.json``; nothing here retypes them.

``rig.json`` goes in, a :class:`Rig` comes out; `define_controls` writes its controls as attributes with
limits and interface hints. USD evaluates nothing: controls describe, joints and shape weights drive.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from lca.errors import InvalidInputError
from pxr import Sdf, Usd, UsdGeom, UsdUI

NUM_JOINTS, NUM_ARKIT = 55, 52
CONTROLS = "/Avatar/Rig/Controls"


@dataclass(frozen=True)
class Control:
    """One animator control: soft limits (sliders), hard limits (meaning ends there), and what it drives."""

    name: str
    group: str
    label: str
    soft: tuple[float, float]
    hard: tuple[float, float]
    default: float
    drives: str

    @property
    def attribute(self) -> str:
        """``rig:<group>:<name>`` as a legal attribute name."""
        return ":".join(["rig", _token(self.group), *(_token(part) for part in self.name.split(":"))])


@dataclass(frozen=True)
class Rig:
    """Joint names and parents (55, SMPL-X order), the 52 ARKit names in Apple's order, and the controls."""

    joint_names: tuple[str, ...]
    joint_parents: tuple[int, ...]
    arkit_names: tuple[str, ...]
    controls: tuple[Control, ...]


def read_rig(description: Mapping[str, Any], parents: npt.NDArray[Any]) -> Rig:
    """``rig.json`` -> Rig.

    Args:
        parents: (55,) parents as the skinning arrays state them; the description must agree.

    Raises:
        InvalidInputError: ``RIG_INVALID``; names are missing, double or not 55 and 52, or parents disagree.
    """
    joints = _names(description, ("joint_names", "joints"))
    arkit = _names(description, ("arkit_names", "arkit", "expressions"))
    for what, names, count in (("joint", joints, NUM_JOINTS), ("expression", arkit, NUM_ARKIT)):
        if len(names) != count or len(set(names)) != count:
            raise _invalid(f"it lists {len(set(names))} {what} names, not {count}")
        if not all(Sdf.Path.IsValidIdentifier(name) for name in names):
            raise _invalid(f"a {what} name is not a plain ASCII identifier")
    stated = description.get("joint_parents", description.get("parents"))
    if stated is not None and list(stated) != list(parents):
        raise _invalid("its joint parents differ from those of the skinning arrays")
    controls = tuple(_controls(description, arkit))
    names = [control.attribute for control in controls]
    if len(set(names)) != len(names):
        raise _invalid("two controls share a name")
    return Rig(joints, tuple(int(p) for p in parents), arkit, controls)


def define_controls(stage: Usd.Stage, rig: Rig) -> Usd.Prim:
    """``Rig/Controls``: one float per control with limits, group and label; customData ``lca:drives`` names
    the target."""
    scope = UsdGeom.Scope.Define(stage, CONTROLS).GetPrim()
    for control in rig.controls:
        attribute = scope.CreateAttribute(control.attribute, Sdf.ValueTypeNames.Float, custom=True)
        attribute.Set(control.default)
        for limits, (low, high) in (
            (attribute.GetSoftLimits(), control.soft),
            (attribute.GetHardLimits(), control.hard),
        ):
            limits.SetMinimum(float(low))
            limits.SetMaximum(float(high))
        hints = UsdUI.AttributeHints(attribute)
        hints.SetDisplayGroup(control.group)
        hints.SetDisplayName(control.label)
        attribute.SetCustomDataByKey("lca:drives", control.drives)
    return scope


def _names(description: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, ...]:
    for key in keys:
        value = description.get(key)
        if isinstance(value, Mapping):
            value = list(value)
        if isinstance(value, Sequence) and not isinstance(value, str) and value:
            return tuple(str(item.get("name", "") if isinstance(item, Mapping) else item) for item in value)
    raise _invalid(f"it has no {keys[0]}")


def _controls(description: Mapping[str, Any], arkit: Sequence[str]) -> Iterable[Control]:
    """The description's controls; one 0..1 slider for every ARKit shape that none of them drives."""
    listed = description.get("controls") or []
    if isinstance(listed, Mapping):
        listed = [{"name": name, **about} for name, about in listed.items()]
    driven = set()
    for entry in listed:
        control = _control(entry)
        driven.update((control.name, control.drives))
        yield control
    for name in arkit:
        if not {name, f"blendShapes:{name}"} & driven:
            yield Control(name, "face", _label(name), (0.0, 1.0), (0.0, 1.0), 0.0, f"blendShapes:{name}")


def _control(entry: Mapping[str, Any]) -> Control:
    try:
        name = str(entry["name"])
        low, high = (float(entry.get(key, fallback)) for key, fallback in (("min", 0.0), ("max", 1.0)))
        soft = entry.get("soft") or (low, high)
        return Control(
            name,
            str(entry.get("group", "rig")),
            str(entry.get("label", _label(name))),
            (float(soft[0]), float(soft[1])),
            (low, high),
            float(entry.get("default", np.clip(0.0, low, high))),
            str(entry.get("drives", "")),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise _invalid(f"a control is malformed ({error})") from error


def _token(name: str) -> str:
    """Any name -> a USD identifier."""
    token = re.sub(r"[^A-Za-z0-9_]", "_", name) or "_"
    return f"_{token}" if token[0].isdigit() else token


def _label(name: str) -> str:
    """jawOpen -> Jaw Open, left_wrist -> Left Wrist."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", name).split()
    return " ".join(word[:1].upper() + word[1:] for word in words)


def _invalid(why: str) -> InvalidInputError:
    return InvalidInputError(
        f"The rig description of this avatar cannot be used: {why}. Create the avatar again.",
        reason="RIG_INVALID",
    )
