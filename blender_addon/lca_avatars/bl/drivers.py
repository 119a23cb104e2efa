# SPDX-License-Identifier: GPL-3.0-or-later
"""Custom properties and drivers, in forms that need no script auto-run: sums and simple expressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import bpy

from ..core.rig_info import Control


@dataclass(frozen=True)
class PropertyVariable:
    """A driver variable that reads a custom property of an object."""

    name: str
    owner: bpy.types.Object
    property: str


@dataclass(frozen=True)
class RotationVariable:
    """A driver variable that reads one local rotation (radians, XYZ, constraints included) of a bone."""

    name: str
    rig: bpy.types.Object
    bone: str
    axis: str


@dataclass(frozen=True)
class LocationVariable:
    """A driver variable that reads how far a bone was moved along one of its own axes, metres."""

    name: str
    rig: bpy.types.Object
    bone: str
    axis: str


@dataclass(frozen=True)
class DistanceVariable:
    """A driver variable that reads the distance between the heads of two posed bones, metres."""

    name: str
    rig: bpy.types.Object
    first: str
    second: str


Variable = PropertyVariable | RotationVariable | LocationVariable | DistanceVariable


def add_control(owner: bpy.types.Object, control: Control) -> None:
    """The control as a keyable, overridable float property at its default."""
    name = control.name
    owner[name] = control.default
    owner.id_properties_ui(name).update(
        min=control.range[0],
        max=control.range[1],
        soft_min=control.soft[0],
        soft_max=control.soft[1],
        default=control.default,
        subtype="ANGLE" if control.unit == "radians" else "NONE",
        description=control.label,
    )
    owner.property_overridable_library_set(f'["{name}"]', True)


def add_driver(
    target: Any, path: str, variables: Sequence[Variable], *, index: int = -1, expression: str | None = None
) -> bpy.types.FCurve:
    """Drive ``target.path[index]`` by the sum of ``variables`` or by a simple ``expression`` of their names.

    Raises:
        ValueError: the expression is not simple; Blender would refuse it where auto-run is off.
    """
    curve = target.driver_add(path, index) if index >= 0 else target.driver_add(path)
    driver = curve.driver
    driver.type = "SCRIPTED" if expression else "SUM"
    for variable in variables:
        _add_variable(driver, variable)
    if expression:
        driver.expression = expression
        if not driver.is_simple_expression:
            raise ValueError(f"driver expression {expression!r} is not simple")
    return curve


def _add_variable(driver: bpy.types.Driver, variable: Variable) -> None:
    entry = driver.variables.new()
    entry.name = variable.name
    if isinstance(variable, PropertyVariable):
        entry.type = "SINGLE_PROP"
        entry.targets[0].id = variable.owner
        entry.targets[0].data_path = f'["{variable.property}"]'
        return
    if isinstance(variable, DistanceVariable):
        entry.type = "LOC_DIFF"
        for target, bone in zip(entry.targets, (variable.first, variable.second), strict=True):
            target.id, target.bone_target = variable.rig, bone
        return
    entry.type = "TRANSFORMS"
    target = entry.targets[0]
    target.id = variable.rig
    target.bone_target = variable.bone
    target.transform_space = "LOCAL_SPACE"
    if isinstance(variable, LocationVariable):
        target.transform_type = f"LOC_{variable.axis}"
        return
    target.transform_type = f"ROT_{variable.axis}"
    target.rotation_mode = "XYZ"
