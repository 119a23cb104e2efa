"""Light for synthetic people: environments with a sun, skies, rooms, light stages and point lights.

In: a random generator or a few numbers. Out: :class:`~lca_core.data.render.Light` for the renderer, and
:class:`Environment`, an equirectangular HDR picture with its order-2 spherical harmonics. Colours follow
black-body temperatures, so people never turn green or purple.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lca.errors import InvalidInputError
from lca_core.data.render import Light, sh_basis

BANDS = np.array([np.pi] + [2 * np.pi / 3] * 3 + [np.pi / 4] * 5)
"""Cosine-lobe coefficients A_l per spherical harmonic (Ramamoorthi and Hanrahan 2001)."""

TO_FRAMES = np.array([1, -1, 1, -1, 1, -1, 1, -1, 1.0])
"""Signs (9,) from the generator's harmonics to those of `.lca` files and pose frames; its own inverse."""


def blackbody(kelvin: float) -> NDArray[np.float64]:
    """Linear sRGB of a black body at 1,667-25,000 K, scaled to green = 1.

    Chromaticity by the cubic approximation of the Planckian locus of Kang et al. (2002).
    """
    t = float(np.clip(kelvin, 1667, 25000))
    low, high = (
        (-0.2661239e9, -0.2343589e6, 0.8776956e3, 0.179910),
        (-3.0258469e9, 2.1070379e6, 0.2226347e3, 0.240390),
    )
    a, b, c, d = low if t <= 4000 else high
    x = a / t**3 + b / t**2 + c / t + d
    if t <= 2222:
        y = np.polyval([-1.1063814, -1.34811020, 2.18555832, -0.20219683], x)
    elif t <= 4000:
        y = np.polyval([-0.9549476, -1.37418593, 2.09137015, -0.16748867], x)
    else:
        y = np.polyval([3.0817580, -5.87338670, 3.75112997, -0.37001483], x)
    to_rgb = np.array(
        [
            [3.2404542, -1.5371385, -0.4985314],
            [-0.9692660, 1.8760108, 0.0415560],
            [0.0556434, -0.2040259, 1.0572252],
        ]
    )
    rgb = to_rgb @ np.array([x / y, 1.0, (1 - x - y) / y])
    return np.maximum(rgb, 0.02) / rgb[1]


@cache
def equirect_directions(height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit directions (H,2H,3) of the texels of an equirectangular picture and their solid angles (H,2H).

    Row 0 looks up (+Y); the middle column looks along +Z, where the person faces; columns to the right look
    towards +X.
    """
    theta = (np.arange(height) + 0.5) / height * np.pi
    phi = ((np.arange(2 * height) + 0.5) / (2 * height) - 0.5) * 2 * np.pi
    st = np.sin(theta)[:, None]
    d = np.stack(np.broadcast_arrays(st * np.sin(phi), np.cos(theta)[:, None], st * np.cos(phi)), -1)
    edges = np.cos(np.linspace(0, np.pi, height + 1))
    area = np.broadcast_to(((edges[:-1] - edges[1:]) * np.pi / height)[:, None], (height, 2 * height))
    return d, area


@dataclass(frozen=True)
class Environment:
    """Distant light: ``radiance`` (H,2H,3) linear, equirectangular, plus an optional sun kept apart.

    The sun is (direction (3,), rgb (3,) leaving a white surface that faces it): too small for order 2, it is
    rendered as a directional light with a shadow.
    """

    radiance: NDArray[np.float32]
    sun: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    def sh(self) -> NDArray[np.float64]:
        """Radiance coefficients L_k (9,3) = integral of L(w) Y_k(w), without the sun."""
        height = self.radiance.shape[0]
        if self.radiance.shape[1] != 2 * height:
            raise InvalidInputError(
                f"An equirect picture is twice as wide as high, got {self.radiance.shape}."
            )
        d, area = equirect_directions(height)
        return np.einsum("hwk,hwc,hw->kc", sh_basis(d), self.radiance, area)

    def light(self) -> Light:
        """The light for the renderer: ambient by order 2, the sun as directional light."""
        sh = self.sh() * (BANDS / np.pi)[:, None]
        up, dark = np.array([0, 1, 0], np.float32), np.zeros(3, np.float32)
        direction, rgb = self.sun if self.sun is not None else (up, dark)
        return Light(sh.astype(np.float32), direction, rgb)

    def turned(self, yaw: float) -> Environment:
        """The same light turned about +Y by ``yaw`` radians (+Z towards +X)."""
        shift = yaw / (2 * np.pi) * self.radiance.shape[1]
        picture = ndimage.shift(self.radiance, (0, shift, 0), order=1, mode="grid-wrap")
        sun = self.sun
        if sun is not None:
            c, s = np.cos(yaw), np.sin(yaw)
            turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
            sun = ((turn @ sun[0]).astype(np.float32), sun[1])
        return Environment(picture, sun)


def _balance(*colours: NDArray, rng: np.random.Generator) -> NDArray[np.float64]:
    """Partial white balance: what a camera divides by."""
    return np.asarray(np.mean(colours, 0) ** rng.uniform(0.6, 1.0))


def sky(rng: np.random.Generator, height: int = 32) -> Environment:
    """Out of doors: a graded sky, clouds, ground that returns light, and a sun unless it is overcast."""
    d, _ = equirect_directions(height)
    up = np.clip(d[..., 1], 0, 1)
    elevation = rng.uniform(0.15, 1.3)
    azimuth = rng.uniform(-np.pi, np.pi)
    towards = np.array([np.cos(elevation) * np.sin(azimuth), np.sin(elevation),
                        np.cos(elevation) * np.cos(azimuth)])  # fmt: skip
    overcast = rng.random() < 0.35
    sun_colour = blackbody(1e6 / float(np.interp(elevation, [0.1, 0.6, 1.4], [330, 210, 180])))
    zenith = blackbody(1e6 / (rng.uniform(140, 160) if overcast else rng.uniform(70, 110)))
    horizon = 0.5 * (zenith + blackbody(6000)) * rng.uniform(1.1, 1.6)
    picture = horizon * (1 - up[..., None]) ** 2 + zenith * (1 - (1 - up[..., None]) ** 2)
    cloud = ndimage.gaussian_filter(
        rng.standard_normal((height, 2 * height)), (1.5, 3), mode=("nearest", "wrap")
    )
    cover = np.clip(cloud / cloud.std() * 0.5 + rng.uniform(-0.4, 0.8), 0, 1)[..., None] * (
        up[..., None] > 0.05
    )
    picture = picture * (1 - 0.6 * cover) + 0.9 * blackbody(6200) * cover
    glow = np.clip(d @ towards, 0, 1)[..., None] ** 40
    picture = picture + (0.4 if overcast else 2.0) * glow * sun_colour
    level = rng.uniform(0.25, 0.5)
    strength = 0.0 if overcast else rng.uniform(0.25, 0.75) * np.sin(elevation) ** 0.3
    ground = np.array([1.0, rng.uniform(0.9, 1.0), rng.uniform(0.75, 0.95)]) * rng.uniform(0.1, 0.4)
    bounce = ground * (level * zenith + strength * np.sin(elevation) * sun_colour)
    picture = np.where(d[..., 1:2] < 0, bounce, picture * level)
    balance = _balance(zenith, sun_colour, rng=rng)
    sun = (towards.astype(np.float32), (strength * sun_colour / balance).astype(np.float32))
    return Environment((picture / balance).astype(np.float32), sun if strength > 0 else None)


def room(rng: np.random.Generator, height: int = 32) -> Environment:
    """Indoors: coloured walls, floor and ceiling, one to three windows or lamps of correlated temperature."""
    d, _ = equirect_directions(height)
    mired = rng.uniform(110, 360)
    half = rng.uniform([1.5, 1.0, 1.5], [4.0, 1.8, 4.0])
    hit = half / np.maximum(np.abs(d), 1e-6)
    side = hit.argmin(-1)
    at = d * hit.min(-1)[..., None]
    wall = 1 + rng.normal(0, 0.06, 3)
    paint = {0: wall * rng.uniform(0.4, 0.8), 2: wall * rng.uniform(0.4, 0.8)}
    fill = blackbody(1e6 / np.clip(mired + rng.uniform(-60, 60), 95, 400))
    level = rng.uniform(0.15, 0.35)
    floor = np.array([1.0, 0.88, 0.74]) * rng.uniform(0.15, 0.5)
    picture = np.zeros((*side.shape, 3))
    for k in (0, 2):
        picture[side == k] = paint[k]
    picture[(side == 1) & (d[..., 1] > 0)] = rng.uniform(0.7, 0.9)
    picture[(side == 1) & (d[..., 1] < 0)] = floor
    picture *= level * fill
    colours = [fill]
    sun: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    for k in range(int(rng.integers(1, 4))):
        colour = blackbody(1e6 / np.clip(mired + rng.uniform(-80, 80), 95, 400))
        colours.append(colour)
        if rng.random() < 0.5:
            wall_axis, sign = int(rng.choice([0, 2])), float(rng.choice([-1, 1]))
            centre = np.array([rng.uniform(-1, 1) * half[2 - wall_axis], rng.uniform(-0.2, 0.6)])
            size = rng.uniform([0.4, 0.4], [1.6, 0.9])
            inside = (side == wall_axis) & (np.sign(d[..., wall_axis]) == sign)
            inside &= (np.abs(at[..., 2 - wall_axis] - centre[0]) < size[0]) & (
                np.abs(at[..., 1] - centre[1]) < size[1]
            )
            picture[inside] += colour * rng.uniform(1.5, 5.0)
        else:
            place = rng.uniform(-0.7, 0.7, 2) * half[[0, 2]]
            lamp = (side == 1) & (d[..., 1] > 0)
            lamp &= np.hypot(at[..., 0] - place[0], at[..., 2] - place[1]) < rng.uniform(0.3, 0.8)
            picture[lamp] += colour * rng.uniform(2.0, 6.0)
        if k == 0:
            towards = rng.normal(0, 1, 3)
            towards[1] = abs(towards[1]) + 0.4
            towards /= np.linalg.norm(towards)
            sun = (towards.astype(np.float32), (rng.uniform(0.05, 0.35) * colour).astype(np.float32))
    balance = _balance(*colours, rng=rng)
    assert sun is not None
    sun = (sun[0], (sun[1] / balance).astype(np.float32))
    return Environment((picture / balance).astype(np.float32), sun)


def correlated(rng: np.random.Generator) -> Light:
    """Ambient order-2 SH plus one key light, coloured by temperature with a partial white balance."""
    mired = rng.uniform(100, 370)
    key = blackbody(1e6 / mired)
    fill = blackbody(1e6 / np.clip(mired + rng.uniform(-80, 80), 95, 400))
    balance = (0.5 * (key + fill)) ** rng.uniform(0.6, 1.0)
    key, fill = key / balance, fill / balance
    level = rng.uniform(0.3, 0.6)
    sh = np.zeros((9, 3))
    sh[0] = level / 0.282095
    sh[1] = rng.uniform(0.05, 0.35) * level
    sh[2:4] = rng.normal(0, 0.12, (2, 1)) * level
    sh[4:] = rng.normal(0, 0.06, (5, 1)) * level
    direction = rng.normal(0, 1, 3)
    direction[1] = abs(direction[1]) + 0.3
    direction /= np.linalg.norm(direction)
    strength = rng.uniform(0.1, 0.55)
    return Light(
        (sh * fill).astype(np.float32), direction.astype(np.float32), (strength * key).astype(np.float32)
    )


def radiance_sh(light: Light) -> NDArray[np.float64]:
    """Radiance coefficients (9,3) of a light's ambient part in the harmonics of pose frames."""
    return np.asarray(light.sh, np.float64) * (np.pi / BANDS * TO_FRAMES)[:, None]


def sample_light(rng: np.random.Generator) -> Light:
    """One light of the wild: half correlated SH, a quarter skies, a quarter rooms, at a usable exposure."""
    kind = rng.random()
    if kind < 0.5:
        return correlated(rng)
    light = (sky(rng) if kind < 0.75 else room(rng)).light()
    mean = light.sh[0].mean() * 0.282095
    gain = rng.uniform(0.35, 0.6) / max(float(mean + 0.25 * light.rgb.mean()), 1e-3)
    return Light(light.sh * np.float32(gain), light.direction, light.rgb * np.float32(min(gain, 1.5)))


def white(level: float = 1.0) -> Light:
    """Uniform ambient light that leaves a white surface at ``level``."""
    sh = np.zeros((9, 3), np.float32)
    sh[0] = level / 0.282095
    return Light(sh, np.array([0, 1, 0], np.float32), np.zeros(3, np.float32))


@cache
def stage_directions(count: int = 64) -> NDArray[np.float64]:
    """Directions (count,3) spread evenly over the sphere (spherical Fibonacci), the light stage's lamps."""
    i = np.arange(count) + 0.5
    y = 1 - 2 * i / count
    phi = i * np.pi * (3 - np.sqrt(5))
    r = np.sqrt(1 - y * y)
    return np.stack([r * np.sin(phi), y, r * np.cos(phi)], 1)


def one_light(index: int, count: int = 64, rgb: float = 1.0) -> Light:
    """One light at a time: lamp ``index`` of ``count`` on the sphere, nothing else."""
    direction = stage_directions(count)[index].astype(np.float32)
    return Light(np.zeros((9, 3), np.float32), direction, np.full(3, rgb, np.float32))


def light_group(rng: np.random.Generator, count: int = 64, lamps: int = 6) -> Light:
    """A group of neighbouring stage lamps with one colour temperature."""
    directions = stage_directions(count)
    near = np.argsort(-(directions @ directions[rng.integers(count)]))[:lamps]
    colour = (blackbody(1e6 / rng.uniform(130, 300)) / lamps * rng.uniform(0.7, 1.2)).astype(np.float32)
    beams = tuple((directions[i].astype(np.float32), colour) for i in near)
    return Light(np.zeros((9, 3), np.float32), beams[0][0], beams[0][1], beams=beams[1:])


def point_lights(rng: np.random.Generator, count: int = 2, ambient: float = 0.08) -> Light:
    """Point lights 1 to 2.5 m around the person (pelvis at the origin) over a dim ambient."""
    base = white(ambient)
    mired = rng.uniform(130, 350)
    points = []
    for _ in range(count):
        azimuth, up, distance = rng.uniform(-np.pi, np.pi), rng.uniform(-0.3, 1.1), rng.uniform(1.0, 2.5)
        place = distance * np.array([np.cos(up) * np.sin(azimuth), np.sin(up), np.cos(up) * np.cos(azimuth)])
        colour = blackbody(1e6 / np.clip(mired + rng.uniform(-80, 80), 95, 400)) * rng.uniform(0.2, 0.7)
        points.append((place.astype(np.float32), (colour * distance**2).astype(np.float32)))
    return Light(base.sh, base.direction, base.rgb, points=tuple(points))


def relight(transfer: NDArray, light_sh: NDArray) -> NDArray[np.float64]:
    """Light (...,3) leaving a white surface of transfer (...,9) under radiance coefficients (9,3)."""
    return np.maximum(np.asarray(transfer, np.float64) @ light_sh / np.pi, 0.0)


@cache
def _rotation_probe() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    d = stage_directions(24)
    return d, np.linalg.pinv(sh_basis(d))


def rotate_sh(coefficients: NDArray, rotation: NDArray) -> NDArray[np.float64]:
    """Order-2 coefficients (...,9) of f turned by rotations (...,3,3): g(w) = f(R^T w).

    Order 2 is closed under rotation, so fitting 24 samples is exact. Use R^T of a texel's skinning rotation
    to bring a transfer into the texel's own frame.
    """
    d, fit = _rotation_probe()
    back = np.einsum("...ji,nj->...ni", rotation, d)
    values = np.einsum("...nk,...k->...n", sh_basis(back), coefficients)
    return np.asarray(values @ fit.T)
