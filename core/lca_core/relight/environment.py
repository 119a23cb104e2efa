"""Light as it is given: an equirectangular picture of distant light and lamps near or far.

In: pictures, or one of six environments made by formula. Out: :class:`Environment`; turned by
:meth:`Environment.turned`. Row 0 looks up (+Y), the middle column along +Z (the side a person at rest faces:
light there falls on the face), columns to the right towards +X.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lca.errors import InvalidInputError
from lca_core.relight.hdr import read_picture

WORK_HEIGHT = 64
"""Height every picture is brought to: order-2 light and lobes of 8 degrees and more need no finer one."""
SUN_SHARE = 0.12
"""Share of all light within one spot from which it counts as a lamp with a shadow of its own."""
SUN_COS = float(np.cos(np.radians(12)))


@dataclass(frozen=True)
class Lamp:
    """A directional light (``at``: unit direction towards it) or a point light (``at``: place, metres).

    ``rgb`` (3,): light leaving a white surface that faces it; for a point light at one metre.
    """

    at: NDArray[np.float64]
    rgb: NDArray[np.float64]
    point: bool = False


def directional(direction: NDArray | tuple[float, ...], rgb: NDArray | tuple[float, ...]) -> Lamp:
    """A distant lamp seen in ``direction`` (3,), any length.

    Raises:
        InvalidInputError: ``BAD_LIGHT``; no direction, or negative or infinite light.
    """
    d, c = np.asarray(direction, np.float64), np.asarray(rgb, np.float64)
    length = float(np.linalg.norm(d))
    if (
        d.shape != (3,)
        or c.shape != (3,)
        or not length > 1e-9
        or not np.isfinite([*d, *c]).all()
        or c.min() < 0
    ):
        raise InvalidInputError(
            "A directional light needs a direction and three colours >= 0.", reason="BAD_LIGHT"
        )
    return Lamp(d / length, c)


def point(place: NDArray | tuple[float, ...], rgb: NDArray | tuple[float, ...]) -> Lamp:
    """A lamp at ``place`` (3,) metres; ``rgb`` as if at one metre.

    Raises:
        InvalidInputError: ``BAD_LIGHT``; not three finite numbers each, or negative light.
    """
    p, c = np.asarray(place, np.float64), np.asarray(rgb, np.float64)
    if p.shape != (3,) or c.shape != (3,) or not np.isfinite([*p, *c]).all() or c.min() < 0:
        raise InvalidInputError("A point light needs a place and three colours >= 0.", reason="BAD_LIGHT")
    return Lamp(p, c, True)


@cache
def directions(height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit directions (H,2H,3) of the texels and their solid angles (H,2H), which sum to 4 pi."""
    theta = (np.arange(height) + 0.5) / height * np.pi
    phi = ((np.arange(2 * height) + 0.5) / (2 * height) - 0.5) * 2 * np.pi
    sine = np.sin(theta)[:, None]
    d = np.stack(np.broadcast_arrays(sine * np.sin(phi), np.cos(theta)[:, None], sine * np.cos(phi)), -1)
    edges = np.cos(np.linspace(0, np.pi, height + 1))
    return d, np.broadcast_to(((edges[:-1] - edges[1:]) * np.pi / height)[:, None], (height, 2 * height))


def sh_basis(n: NDArray) -> NDArray[np.float64]:
    """Order-2 real SH (...,9) of unit vectors in the order and signs of ``lca_core.splat.harmonics`` (those
    of 3DGS files): what `.lca` files and pose frames use."""
    x, y, z = np.moveaxis(np.asarray(n, np.float64), -1, 0)
    a, b = 0.4886025119029199, 1.092548430592079
    return np.stack(
        [
            np.full_like(x, 0.28209479177387814), -a * y, a * z, -a * x, b * x * y, -b * y * z,
            0.31539156525252 * (3 * z * z - 1), -b * x * z, 0.5 * b * (x * x - y * y),
        ],
        -1,
    )  # fmt: skip


@dataclass(frozen=True)
class Environment:
    """Distant light ``radiance`` (H,2H,3) linear, and lamps."""

    radiance: NDArray[np.float64]
    lamps: tuple[Lamp, ...] = ()

    @staticmethod
    def read(path: Path) -> Environment:
        """An equirectangular picture (twice as wide as high); a sun in it becomes a lamp.

        Raises:
            InvalidInputError: ``LIGHT_UNREADABLE`` (see ``hdr.read_picture``) or not 2:1.
        """
        picture = read_picture(path)
        height, width = picture.shape[:2]
        if abs(width - 2 * height) > 1 or height < 4:
            raise InvalidInputError(
                f"{Path(path).name} is {width} x {height}; "
                "an equirectangular picture is twice as wide as high.",
                reason="LIGHT_UNREADABLE",
            )
        return Environment(shrink(picture, min(height, WORK_HEIGHT))).split()

    def mean(self) -> NDArray[np.float64]:
        """Mean radiance (3,) over the sphere, lamps included."""
        _, area = directions(len(self.radiance))
        flat = np.einsum("hwc,hw->c", self.radiance, area) / (4 * np.pi)
        # A lamp that leaves rgb on white gives irradiance pi rgb.
        return np.asarray(flat + sum((lamp.rgb for lamp in self.lamps if not lamp.point), np.zeros(3)) / 4)

    def exposed(self, level: float = 0.5) -> Environment:
        """Scaled so that the mean radiance over the sphere is ``level`` (one factor for all channels)."""
        now = float(self.mean().mean())
        return self.scaled(level / now) if now > 0 else self

    def scaled(self, gain: float) -> Environment:
        """All light times ``gain``."""
        lamps = tuple(replace(lamp, rgb=lamp.rgb * gain) for lamp in self.lamps)
        return Environment(self.radiance * gain, lamps)

    def turned(self, degrees: float) -> Environment:
        """The same light turned about +Y (+Z towards +X)."""
        width = self.radiance.shape[1]
        shift = degrees / 360 * width
        whole = int(np.floor(shift))
        part = shift - whole
        picture = (1 - part) * np.roll(self.radiance, whole, 1) + part * np.roll(self.radiance, whole + 1, 1)
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        return Environment(picture, tuple(replace(lamp, at=turn @ lamp.at) for lamp in self.lamps))

    def split(self) -> Environment:
        """Takes the brightest spot (12 degrees) out as a lamp when it holds :data:`SUN_SHARE` of all light:
        order 2 would smear it over half the sphere."""
        d, area = directions(len(self.radiance))
        flux = self.radiance.mean(-1) * area
        peak = d[np.unravel_index(np.argmax(self.radiance.sum(-1)), area.shape)]
        spot = d @ peak > SUN_COS
        ring = (d @ peak > np.cos(np.radians(20))) & ~spot
        around = np.median(self.radiance[ring], axis=0) if ring.any() else np.zeros(3)
        extra = np.maximum(self.radiance - around, 0) * spot[..., None]
        rgb = np.einsum("hwc,hw->c", extra, area) / np.pi
        if np.pi * rgb.mean() < SUN_SHARE * flux.sum():
            return self
        weight = extra.sum(-1) * area
        centre = np.einsum("hwk,hw->k", d, weight)
        return Environment(self.radiance - extra, (*self.lamps, directional(centre, rgb)))


def shrink(picture: NDArray, height: int) -> NDArray[np.float64]:
    """(height, 2 height, 3) by averaging boxes, weighted by their overlap: light is neither lost nor made up
    to the change of solid angle within a box."""

    def weights(old: int, new: int) -> NDArray[np.float64]:
        edges = np.arange(new + 1) * old / new
        cell = np.arange(old)
        over = np.minimum(edges[1:, None], cell + 1) - np.maximum(edges[:-1, None], cell)
        over = np.maximum(over, 0)
        return np.asarray(over / over.sum(1, keepdims=True))

    rows, columns = weights(picture.shape[0], height), weights(picture.shape[1], 2 * height)
    return np.asarray(np.einsum("hy,yxc->hxc", rows, np.einsum("wx,yxc->ywc", columns, picture)))


def _spot(
    d: NDArray, azimuth: float, elevation: float, radius: float, colour: tuple[float, float, float]
) -> NDArray:
    """A soft-edged round window or lamp; degrees."""
    a, e = np.radians([azimuth, elevation])
    towards = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
    angle = np.degrees(np.arccos(np.clip(d @ towards, -1, 1)))
    return np.clip((radius - angle) / 4 + 0.5, 0, 1)[..., None] * np.array(colour)


def _graded(d: NDArray, up: tuple[float, ...], side: tuple[float, ...], down: tuple[float, ...]) -> NDArray:
    y = d[..., 1:2]
    sky = np.array(side) + (np.array(up) - np.array(side)) * np.clip(y, 0, 1) ** 0.6
    return np.asarray(np.where(y > 0, sky, np.array(side) * 0.3 + 0.7 * np.array(down)))


def _studio(d: NDArray) -> NDArray:
    base = _graded(d, (0.12,) * 3, (0.1,) * 3, (0.08,) * 3)
    return base + _spot(d, -50, 30, 28, (4.2, 4.1, 4.0)) + _spot(d, 60, 15, 22, (1.1, 1.15, 1.25))


def _noon(d: NDArray) -> NDArray:
    return _graded(d, (0.22, 0.38, 0.75), (0.55, 0.62, 0.75), (0.22, 0.2, 0.16)) + _spot(
        d, 40, 58, 5, (230, 214, 188)
    )


def _overcast(d: NDArray) -> NDArray:
    return _graded(d, (0.95, 0.98, 1.04), (0.6, 0.62, 0.66), (0.14, 0.13, 0.12))


def _sunset(d: NDArray) -> NDArray:
    base = _graded(d, (0.12, 0.2, 0.42), (0.75, 0.4, 0.24), (0.1, 0.07, 0.05))
    return base + _spot(d, 75, 8, 30, (1.6, 0.6, 0.2)) + _spot(d, 75, 8, 5, (120, 57, 18))


def _window(d: NDArray) -> NDArray:
    base = _graded(d, (0.22, 0.2, 0.17), (0.15, 0.13, 0.11), (0.09, 0.065, 0.045))
    return base + _spot(d, 85, 10, 30, (3.0, 3.3, 3.8)) + _spot(d, -110, 25, 10, (2.6, 1.7, 0.8))


def _club(d: NDArray) -> NDArray:
    base = np.full((*d.shape[:-1], 3), 0.06)
    return base + _spot(d, -80, 15, 35, (2.6, 0.35, 1.6)) + _spot(d, 80, 20, 35, (0.2, 0.9, 2.8))


MADE: dict[str, Callable[[NDArray], NDArray]] = {
    "studio": _studio, "noon": _noon, "overcast": _overcast, "sunset": _sunset, "window": _window,
    "club": _club,
}  # fmt: skip
"""Environments made by formula, for tests, pictures and a quick look; ours, no pictures of others."""


def made(name: str) -> Environment:
    """One of :data:`MADE` at mean radiance 0.5.

    Raises:
        InvalidInputError: ``BAD_LIGHT``; unknown name.
    """
    if name not in MADE:
        raise InvalidInputError(
            f"There is no light {name!r}; give a .hdr or .exr file or one of {', '.join(MADE)}.",
            reason="BAD_LIGHT",
        )
    d, _ = directions(WORK_HEIGHT)
    return Environment(MADE[name](d)).split().exposed()


def read_or_made(light: str) -> Environment:
    """A file when there is one of that name, else one of :data:`MADE`."""
    if light in MADE and not Path(light).is_file():
        return made(light)
    return Environment.read(Path(light)) if Path(light).suffix else made(light)
