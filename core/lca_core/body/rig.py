"""The rig as every tool sees it: joints with limits, face, finger and gaze controls, names in other rigs.

One frozen description, made by :func:`default_rig` and stored as ``rig.json`` in every avatar file; the
add-on, the exporter and the service read it and retype nothing. Standard library only, so that clients need
no GPU stack.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from lca.errors import InvalidInputError
from lca_core.body.names import ARKIT_NAMES, JOINT_NAMES, JOINT_PARENTS
from lca_core.body.rig_tables import (
    ARKIT_GROUPS,
    CURL_AXES,
    CURL_DEGREES,
    FINGERS,
    GAZE_LIMITS,
    JOINT_LIMITS,
    NAME_MAPS,
    SPREAD_DEGREES,
    Triple,
)

SCHEMA = "lca.rig/1"


@dataclass(frozen=True)
class RigJoint:
    """One joint.

    Attributes:
        name, parent: SMPL-X names; the root's parent is ``""``.
        side: ``"left"``, ``"right"`` or ``"middle"``.
        min_degrees, max_degrees: limits of the Euler angles about the world axes x, y, z at rest, applied in
            the order x, y, z (R = Rz Ry Rx, Blender's ``XYZ``). Anatomical guidance for sliders and clamps.
    """

    name: str
    parent: str
    side: str
    min_degrees: Triple
    max_degrees: Triple


@dataclass(frozen=True)
class RigControl:
    """One scalar an animator moves.

    Attributes:
        name: unique; for the face exactly the ARKit name.
        group: section of the interface, for example ``"Mouth"``.
        label: display name.
        min, max: what the meaning allows; soft: the slider's usual range within that.
        default: value at rest.
        unit: ``"weight"`` or ``"radians"``.
        drives: ``blendShapes:<ARKit name>`` or ``joints:<name>[,<name>...]``.
        side: ``"left"``, ``"right"`` or ``"middle"``.
    """

    name: str
    group: str
    label: str
    min: float
    max: float
    soft: tuple[float, float]
    default: float
    unit: str
    drives: str
    side: str


@dataclass(frozen=True)
class FingerMaster:
    """How one finger follows its curl and spread sliders (rotation = slider x degrees about the axis).

    Attributes:
        curl_degrees: at slider 1 (a fist), per joint from the palm to the tip, about its own of curl_axes:
            unit, world axes at rest.
        curl_axis: that of the middle joint, for readers that know one axis per finger.
        spread_degrees: at slider 1, first joint only, about spread_axis, after the curl.
    """

    finger: str
    side: str
    joints: tuple[str, str, str]
    curl_degrees: Triple
    curl_axes: tuple[Triple, Triple, Triple]
    curl_axis: Triple
    spread_degrees: float
    spread_axis: Triple


@dataclass(frozen=True)
class RigDescription:
    """Everything tools need to know about the rig; see the field types.

    ``name_maps`` holds for each foreign rig the pairs (our joint, its name); joints without a counterpart are
    absent. Keys: ``unreal`` (UE4 mannequin), ``unreal5``, ``unity``, ``mixamo``, ``rigify``.
    """

    joints: tuple[RigJoint, ...]
    arkit_names: tuple[str, ...]
    controls: tuple[RigControl, ...]
    fingers: tuple[FingerMaster, ...]
    name_maps: dict[str, dict[str, str]]

    @staticmethod
    def default() -> RigDescription:
        """The rig of the shipped body."""
        return default_rig()

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The 55 joint names in SMPL-X order."""
        return tuple(joint.name for joint in self.joints)

    @property
    def joint_parents(self) -> tuple[int, ...]:
        """Parent index per joint, -1 for the root."""
        index = {name: i for i, name in enumerate(self.joint_names)}
        return tuple(index.get(joint.parent, -1) for joint in self.joints)

    def control(self, name: str) -> RigControl:
        """The control called ``name``.

        Raises:
            InvalidInputError: there is none.
        """
        for control in self.controls:
            if control.name == name:
                return control
        raise InvalidInputError(f"The rig has no control named {name!r}.", reason="RIG_CONTROL_UNKNOWN")

    def to_json(self) -> str:
        """``rig.json``: a stable, sorted, human-readable text; inverse of :meth:`from_json`."""
        body = {
            "schema": SCHEMA,
            "joint_names": self.joint_names,
            "joint_parents": self.joint_parents,
            "arkit_names": self.arkit_names,
            "joints": [asdict(joint) for joint in self.joints],
            "controls": [asdict(control) for control in self.controls],
            "fingers": [asdict(finger) for finger in self.fingers],
            "name_maps": self.name_maps,
        }
        return json.dumps(body, indent=1, sort_keys=True)

    @staticmethod
    def from_json(text: str | bytes) -> RigDescription:
        """Read ``rig.json``; unknown keys are ignored, so newer minor versions still open.

        Raises:
            InvalidInputError: ``RIG_INVALID``; not JSON, another major schema, or parts missing or
                inconsistent.
        """
        try:
            data = json.loads(text)
            if str(data["schema"]) != SCHEMA:
                raise _invalid(f"its schema is {data['schema']}, this version reads {SCHEMA}")
            rig = RigDescription(
                joints=tuple(_make(RigJoint, entry) for entry in data["joints"]),
                arkit_names=tuple(str(name) for name in data["arkit_names"]),
                controls=tuple(_make(RigControl, entry) for entry in data["controls"]),
                fingers=tuple(_finger(entry) for entry in data["fingers"]),
                name_maps={
                    str(rig): {str(ours): str(theirs) for ours, theirs in names.items()}
                    for rig, names in data["name_maps"].items()
                },
            )
        except InvalidInputError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
            raise _invalid(f"{type(error).__name__}: {error}") from error
        _check(rig)
        return rig


def _make(kind: type, entry: dict[str, Any]) -> Any:
    """A dataclass from a JSON object: lists become tuples, unknown keys are dropped."""
    values = {name: entry[name] for name in kind.__dataclass_fields__}  # type: ignore[attr-defined]
    return kind(**{k: _frozen(v) for k, v in values.items()})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _finger(entry: dict[str, Any]) -> FingerMaster:
    """Avatars made before every joint had its axis state one per finger."""
    master: FingerMaster = _make(FingerMaster, {"curl_axes": [entry["curl_axis"]] * 3, **entry})
    sizes = [len(master.joints), len(master.curl_degrees), len(master.curl_axes), *map(len, master.curl_axes)]
    if sizes != [3] * 6:
        raise _invalid(f"the {master.finger} does not have three joints with an axis and an angle each")
    return master


def _check(rig: RigDescription) -> None:
    names = rig.joint_names
    if len(set(names)) != len(names) or not names:
        raise _invalid("it has no joints or one name twice")
    for i, (joint, parent) in enumerate(zip(rig.joints, rig.joint_parents)):
        if parent >= i or (parent < 0) != (i == 0) or (joint.parent == "") != (i == 0):
            raise _invalid(f"joint {joint.name} does not come after its parent")
        if any(low > high for low, high in zip(joint.min_degrees, joint.max_degrees)):
            raise _invalid(f"the limits of joint {joint.name} are reversed")
    controls = [control.name for control in rig.controls]
    if len(set(controls)) != len(controls):
        raise _invalid("two controls share a name")
    for control in rig.controls:
        if not control.min <= control.soft[0] <= control.default <= control.soft[1] <= control.max:
            raise _invalid(f"the range of control {control.name} is not ordered")
        kind, _, targets = control.drives.partition(":")
        known = {"joints": names, "blendShapes": rig.arkit_names}.get(kind, ())
        if not set(targets.split(",")) <= set(known):
            raise _invalid(f"control {control.name} drives something unknown")
    for rig_name, table in rig.name_maps.items():
        if not set(table) <= set(names) or len(set(table.values())) != len(table):
            raise _invalid(f"the name map {rig_name} has unknown joints or one name twice")


def _invalid(why: str) -> InvalidInputError:
    return InvalidInputError(f"The rig description cannot be used: {why}.", reason="RIG_INVALID")


def side_of(name: str) -> str:
    """``"left"``, ``"right"`` or ``"middle"`` of a joint or ARKit name."""
    for side in ("left", "right"):
        if name.startswith(f"{side}_") or name.endswith(side.capitalize()):
            return side
    return "middle"


def display_name(name: str) -> str:
    """``jawOpen`` -> ``Jaw Open``, ``left_wrist`` -> ``Left Wrist``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", name).split()
    return " ".join(word[:1].upper() + word[1:] for word in words)


def _mirror(low: Triple, high: Triple) -> tuple[Triple, Triple]:
    """Limits across the x = 0 plane: x stays, y and z change sign."""
    return (low[0], -high[1], -high[2]), (high[0], -low[1], -low[2])


def _joints() -> tuple[RigJoint, ...]:
    joints = []
    for i, name in enumerate(JOINT_NAMES):
        side = side_of(name)
        part = name if side == "middle" else name.split("_", 1)[1]
        low, high = JOINT_LIMITS[part]
        if side == "right":
            low, high = _mirror(low, high)
        parent = JOINT_NAMES[JOINT_PARENTS[i]] if i else ""
        joints.append(RigJoint(name, parent, side, low, high))
    return tuple(joints)


def _controls() -> tuple[RigControl, ...]:
    controls = []
    for name in ARKIT_NAMES:
        group = next(title for title, starts in ARKIT_GROUPS if name.startswith(starts))
        drives = f"blendShapes:{name}"
        label, side = display_name(name), side_of(name)
        controls.append(RigControl(name, group, label, 0.0, 1.0, (0.0, 1.0), 0.0, "weight", drives, side))
    eyes = "joints:left_eye_smplhf,right_eye_smplhf"
    for name, label in (("gaze_yaw", "Gaze Left"), ("gaze_pitch", "Gaze Down")):
        reach = GAZE_LIMITS[name]
        controls.append(
            RigControl(name, "Gaze", label, -reach, reach, (-reach, reach), 0.0, "radians", eyes, "middle")
        )
    for side, tag in (("left", ".L"), ("right", ".R")):
        everything = ",".join(f"{side}_{finger}{k}" for finger in FINGERS for k in (1, 2, 3))
        first = ",".join(f"{side}_{finger}1" for finger in FINGERS)
        rows = [
            ("curl_hand", "Hand Curl", (-0.25, 1.0), everything),
            ("spread_hand", "Spread", (-1.0, 1.0), first),
        ]
        for finger in FINGERS:
            own = ",".join(f"{side}_{finger}{k}" for k in (1, 2, 3))
            rows.append((f"curl_{finger}", f"{finger.capitalize()} Curl", (-0.25, 1.0), own))
        for name, label, (low, high), targets in rows:
            full = f"{side.capitalize()} {label}"
            controls.append(
                RigControl(
                    name + tag,
                    "Fingers",
                    full,
                    low,
                    high,
                    (low, high),
                    0.0,
                    "weight",
                    f"joints:{targets}",
                    side,
                )
            )
    return tuple(controls)


def _fingers() -> tuple[FingerMaster, ...]:
    masters = []
    for side, s in (("left", 1.0), ("right", -1.0)):
        for finger in FINGERS:
            joints = (f"{side}_{finger}1", f"{side}_{finger}2", f"{side}_{finger}3")
            # Rotation axes are pseudo-vectors: mirroring in x keeps x and flips y and z.
            first, second, third = ((x, s * y, s * z) for x, y, z in CURL_AXES[finger])
            masters.append(
                FingerMaster(
                    finger,
                    side,
                    joints,
                    CURL_DEGREES[finger],
                    (first, second, third),
                    second,
                    SPREAD_DEGREES[finger],
                    (0.0, -s, 0.0),
                )
            )
    return tuple(masters)


@lru_cache(maxsize=1)
def default_rig() -> RigDescription:
    """The one rig description of the shipped body; the single source of names, limits and controls."""
    rig = RigDescription(
        joints=_joints(),
        arkit_names=ARKIT_NAMES,
        controls=_controls(),
        fingers=_fingers(),
        name_maps={rig: dict(names) for rig, names in NAME_MAPS.items()},
    )
    _check(rig)
    return rig
