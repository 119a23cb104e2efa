# SPDX-License-Identifier: GPL-3.0-or-later
"""Light as a pose frame carries it: lamps and a sky in, nine spherical-harmonic colours out.

The coefficients (9, 3) are linear radiance in the avatar's axes, in the order and signs that ``.lca`` files
and ``PoseFrame.light`` use (those of 3DGS). A lamp becomes soft: it counts with the irradiance it throws on
the avatar's middle. Plain arrays; ``bl/scene_light.py`` reads them from Blender.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Lamp:
    """A lamp as Blender has it, in the scene's axes.

    Attributes:
        kind: ``SUN``, ``POINT``, ``SPOT`` or ``AREA``.
        rgb: (3,) linear colour times strength: W/m^2 for a sun, W for the others.
        place: (3,) metres. aim: (3,) unit vector along which it shines.
        spot_size, spot_blend: full angle of the cone (radians) and its soft share.
    """

    kind: str
    rgb: Vector
    place: Vector
    aim: Vector
    spot_size: float = math.pi
    spot_blend: float = 0.0


def harmonics(directions: Vector) -> Vector:
    """Order-2 real harmonics (..., 9) of unit vectors (..., 3)."""
    x, y, z = np.moveaxis(np.asarray(directions, np.float64), -1, 0)
    a, b = 0.4886025119029199, 1.092548430592079
    return np.stack(
        [np.full_like(x, 0.28209479177387814), -a * y, a * z, -a * x, b * x * y, -b * y * z,
         0.31539156525252 * (3 * z * z - 1), -b * x * z, 0.5 * b * (x * x - y * y)], -1,
    )  # fmt: skip


def constant(rgb: Vector) -> Vector:
    """Coefficients (9, 3) of the same radiance (3,) from everywhere."""
    light = np.zeros((9, 3))
    light[0] = np.asarray(rgb, np.float64) * 4 * math.pi * 0.28209479177387814
    return light


def arriving(lamp: Lamp, middle: Vector) -> tuple[Vector, Vector]:
    """Where a lamp's light comes from (3,), unit, and its irradiance (3,) on a surface at ``middle`` that
    faces it, as Cycles has it: power / (4 pi d^2) of points and spots, power x cosine / (pi d^2) of areas."""
    if lamp.kind == "SUN":
        return -lamp.aim, lamp.rgb
    away = np.asarray(middle, np.float64) - lamp.place
    distance = max(float(np.linalg.norm(away)), 1e-3)
    away = away / distance
    cosine = float(away @ lamp.aim)
    share = 1.0 / (4 * math.pi)
    if lamp.kind == "AREA":
        share = max(cosine, 0.0) / math.pi
    elif lamp.kind == "SPOT":
        share *= _cone(cosine, lamp.spot_size, lamp.spot_blend)
    return -away, lamp.rgb * (share / distance**2)


def _cone(cosine: float, size: float, blend: float) -> float:
    """Share of a spot's light at an angle: Cycles measures it on a plane across the axis."""
    edge = math.cos(0.5 * size)
    if cosine <= edge:
        return 0.0
    soft = (cosine - edge) / max((1.0 - edge) * blend, 1e-6)
    return 1.0 if soft >= 1.0 else soft * soft * (3.0 - 2.0 * soft)


def sky(radiance: Vector) -> Vector:
    """Coefficients (9, 3), in the scene's axes, of an equirectangular picture (H, W, 3), rows from the bottom
    up as Blender stores them: the middle column lies along +X, columns to the right turn towards -Y."""
    height, width, _ = radiance.shape
    latitude = ((np.arange(height) + 0.5) / height - 0.5) * math.pi
    turn = (0.5 - (np.arange(width) + 0.5) / width) * 2 * math.pi
    flat = np.cos(latitude)[:, None]
    towards = np.stack(
        np.broadcast_arrays(flat * np.cos(turn), flat * np.sin(turn), np.sin(latitude)[:, None]), -1
    )
    area = np.diff(np.sin(np.linspace(-math.pi / 2, math.pi / 2, height + 1)))[:, None] * (
        2 * math.pi / width
    )
    return np.einsum("hwk,hwc,hw->kc", harmonics(towards), radiance, np.broadcast_to(area, (height, width)))


def turned(light: Vector, rotation: Vector) -> Vector:
    """Coefficients of the same light in other axes: ``rotation`` (3, 3) takes a direction of the old axes to
    the new ones."""
    out = np.array(light, np.float64)
    before, after = harmonics(_PROBES), harmonics(_PROBES @ np.asarray(rotation, np.float64).T)
    for band in (slice(1, 4), slice(4, 9)):
        out[band] = np.linalg.lstsq(after[:, band], before[:, band] @ out[band], rcond=None)[0]
    return out


def gathered(sky_light: Vector, lamps: list[Lamp], middle: Vector, to_avatar: Vector) -> NDArray[np.float32]:
    """All light at ``middle`` (3,), given in the scene's axes, as the (9, 3) of a pose frame in the avatar's:
    ``to_avatar`` (3, 3) rotates the scene's axes into the avatar's."""
    light = np.array(sky_light, np.float64)
    for lamp in lamps:
        towards, irradiance = arriving(lamp, middle)
        light += harmonics(towards)[:, None] * irradiance
    return turned(light, to_avatar).astype(np.float32)


def _probes() -> Vector:
    """Sixteen directions spread over the sphere (a Fibonacci lattice): enough to pin each band's turn."""
    step = np.arange(16) + 0.5
    height, turn = 1 - step / 8, step * math.pi * (3 - math.sqrt(5))
    flat = np.sqrt(1 - height**2)
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), height], -1)


_PROBES = _probes()
