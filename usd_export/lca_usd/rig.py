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
from pxr import Sdf, Usd, UsdGeom, UsdUI, Vt

from lca.errors import InvalidInputError
from lca_usd import arrays

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
    unit: str

    @property
    def attribute(self) -> str:
        """``rig:face:jawOpen``, ``rig:gaze:gaze_yaw``, ``rig:fingers:curl_index_L``: a legal attribute
        name."""
        space = "face" if self.drives.startswith("blendShapes:") else self.group.lower()
        return f"rig:{_token(space)}:{_token(self.name)}"


@dataclass(frozen=True)
class Rig:
    """What the exporter needs of the rig description.

    Attributes:
        joint_names, joint_parents: 55, SMPL-X order; arkit_names: 52, Apple's order.
        controls: every animator control.
        joint_limits: (55,2,3) lowest and highest Euler angles in degrees (R = Rz Ry Rx), or None.
        finger_turns: (2,55,3) rotation vectors in degrees of every joint when its curl or spread slider is at
            1, or None.
        name_maps: foreign rig -> (our joint -> its name there).
    """

    joint_names: tuple[str, ...]
    joint_parents: tuple[int, ...]
    arkit_names: tuple[str, ...]
    controls: tuple[Control, ...]
    joint_limits: npt.NDArray[np.float32] | None
    finger_turns: npt.NDArray[np.float32] | None
    name_maps: Mapping[str, Mapping[str, str]]


def read_rig(description: Mapping[str, Any], parents: npt.NDArray[Any]) -> Rig:
    """``rig.json`` -> Rig.

    Args:
        parents: (55,) parents as the skinning arrays state them; the description must agree.

    Raises:
        InvalidInputError: ``RIG_INVALID``; names are missing, double or not 55 and 52, or parents disagree.
    """
    joints = _names(description, "joint_names")
    arkit = _names(description, "arkit_names")
    for what, names, count in (("joint", joints, NUM_JOINTS), ("expression", arkit, NUM_ARKIT)):
        if len(names) != count or len(set(names)) != count:
            raise _invalid(f"it lists {len(set(names))} {what} names, not {count}")
        if not all(Sdf.Path.IsValidIdentifier(name) for name in names):
            raise _invalid(f"a {what} name is not a plain ASCII identifier")
    stated = description.get("joint_parents")
    if stated is not None and list(stated) != list(parents):
        raise _invalid("its joint parents differ from those of the skinning arrays")
    controls = tuple(_controls(description, arkit))
    if len({control.attribute for control in controls}) != len(controls):
        raise _invalid("two controls share a name")
    maps = description.get("name_maps") or {}
    turns = _finger_turns(description, joints)
    up = tuple(int(p) for p in parents)
    return Rig(joints, up, arkit, controls, _joint_limits(description), turns, maps)


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
        attribute.SetCustomDataByKey("lca:unit", control.unit)
    return scope


def author_joint_hints(skeleton: Usd.Prim, rig: Rig) -> None:
    """Joint limits and foreign names on the skeleton, as arrays in joint order; an empty name has no
    counterpart."""
    if rig.joint_limits is not None:
        for side, name in enumerate(("lca:jointMinDegrees", "lca:jointMaxDegrees")):
            _uniform(skeleton, name, Sdf.ValueTypeNames.Float3Array).Set(
                arrays.vec3f(rig.joint_limits[:, side])
            )
    if rig.finger_turns is not None:
        for turns, name in zip(rig.finger_turns, ("lca:curlDegrees", "lca:spreadDegrees")):
            _uniform(skeleton, name, Sdf.ValueTypeNames.Float3Array).Set(arrays.vec3f(turns))
    for foreign, names in sorted(rig.name_maps.items()):
        attribute = _uniform(skeleton, f"lca:names:{_token(foreign)}", Sdf.ValueTypeNames.StringArray)
        attribute.Set(Vt.StringArray([names.get(joint, "") for joint in rig.joint_names]))


def _uniform(prim: Usd.Prim, name: str, kind: Sdf.ValueTypeName) -> Usd.Attribute:
    return prim.CreateAttribute(name, kind, custom=True, variability=Sdf.VariabilityUniform)


def _joint_limits(description: Mapping[str, Any]) -> npt.NDArray[np.float32] | None:
    listed = description.get("joints")
    try:
        rows = [(joint["min_degrees"], joint["max_degrees"]) for joint in listed or []]
        limits = np.array(rows, np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise _invalid(f"its joint limits are malformed ({error})") from error
    if listed and limits.shape != (NUM_JOINTS, 2, 3):
        raise _invalid("its joint limits are not 55 triples")
    return limits if listed else None


def _finger_turns(description: Mapping[str, Any], joints: Sequence[str]) -> npt.NDArray[np.float32] | None:
    """The description's finger axes and degrees as rotation vectors; spread turns the first joint only."""
    fingers = description.get("fingers")
    if not fingers:
        return None
    turns = np.zeros((2, NUM_JOINTS, 3), np.float32)
    try:
        for finger in fingers:
            rows = [joints.index(name) for name in finger["joints"]]
            # Avatars made before every joint had its axis state one per finger.
            axes = np.asarray(finger.get("curl_axes") or [finger["curl_axis"]] * 3, np.float32)
            axes /= np.linalg.norm(axes, axis=1, keepdims=True)
            turns[0, rows] = np.asarray(finger["curl_degrees"], np.float32)[:, None] * axes
            turns[1, rows[0]] = np.asarray(finger["spread_axis"], np.float32) * finger["spread_degrees"]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise _invalid(f"a finger is malformed ({error})") from error
    return turns


def _names(description: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = description.get(key)
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise _invalid(f"it has no {key}")
    return tuple(str(name) for name in value)


def _controls(description: Mapping[str, Any], arkit: Sequence[str]) -> Iterable[Control]:
    """The description's controls; one 0..1 slider for every ARKit shape that none of them drives."""
    listed = description.get("controls") or []
    driven: set[str] = set()
    for entry in listed:
        control = _control(entry)
        driven.update((control.name, control.drives))
        yield control
    for name in arkit:
        if not {name, f"blendShapes:{name}"} & driven:
            yield Control(
                name, "face", _label(name), (0.0, 1.0), (0.0, 1.0), 0.0, f"blendShapes:{name}", "weight"
            )


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
            str(entry.get("unit", "weight")),
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
