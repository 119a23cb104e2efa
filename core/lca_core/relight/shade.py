"""New light on posed Gaussians: :class:`Relighter` holds what never changes of an avatar and recolours
frames.

In: albedo, transfer and canonical orientation once; per frame a posed :class:`~lca_core.splat.GaussianSet`
and an :class:`~lca_core.relight.light.Illumination`. Out: the set with other colours (one SH band, sRGB as
the renderer blends it). The transfer turns with each Gaussian's skin; lamps throw shadows of the posed body.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lca.errors import InvalidInputError
from lca_core.relight import _shade
from lca_core.relight.light import ROUGHNESS, Illumination
from lca_core.relight.transfer import BIAS_M, LIFT_M, depth_map
from lca_core.splat import GaussianSet
from lca_core.splat._threads import share, worker_count

GRAIN = 16384
EYE, SKIN, CLOTH = 0, 1, 2
"""Rows of ``gloss``."""
SHEEN = np.array([[0.025, ROUGHNESS[0]], [0.028, ROUGHNESS[1]]], np.float32)
"""Reflectance at normal incidence and roughness of eyes (water film) and skin (Weyrich et al. 2006). Cloth is
matt: its wide lobe of 3 % cannot be told from diffuse light and would cost a tenth of a frame."""
SHADOW_CELL_M = 0.01


def _mirrored() -> NDArray[np.float32]:
    """Share of light that each lobe of :data:`SHEEN` reflects in all directions (R,65), by cosine 0-1 (Karis
    2014, fit of the split sum)."""
    f0, roughness = SHEEN[:, :1].astype(np.float64), SHEEN[:, 1:].astype(np.float64)
    x, y, z = 1 - roughness, -0.0275 * roughness + 0.0425, -0.572 * roughness + 1.04
    a = np.minimum(x * x, np.exp2(-9.28 * np.linspace(0, 1, 65))) * x + y
    return np.clip(f0 * (-1.04 * a + z) + 1.04 * a + 0.022 * roughness - 0.04, 0, 1).astype(np.float32)


MIRRORED = _mirrored()


def quadratic(coefficients: NDArray) -> NDArray[np.float32]:
    """Order-2 SH (...,9) as constant, vector (x,y,z) and symmetric matrix (xx,yy,zz,xy,xz,yz): (...,10).

    Scaled so that the inner product of two (counting the last three twice) is that of the coefficients: a
    form that turns with nine multiplications per vector instead of a 9 x 9 matrix per Gaussian.
    """
    c = np.moveaxis(np.asarray(coefficients, np.float64), -1, 0)
    a = 1 / np.sqrt(2)
    b = 1 / np.sqrt(6)
    return np.stack(
        [c[0], -c[3], -c[1], c[2], a * c[8] - b * c[6], -a * c[8] - b * c[6], 2 * b * c[6],
         a * c[4], -a * c[7], -a * c[5]], -1
    ).astype(np.float32)  # fmt: skip


def _srgb_table() -> NDArray[np.float32]:
    x = (np.arange(_shade.SRGB_STEPS + 1) / _shade.SRGB_STEPS * float(_shade.SRGB_REACH)) ** 2
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-9) ** (1 / 2.4) - 0.055).astype(
        np.float32
    )


def _depth_maps(means: NDArray[np.float32], opacities: NDArray, light: Illumination) -> tuple[Any, ...]:
    """Frames (L,3,3), lows (L,2), cell, lift, bias, grids (L,H,W): what ``_shade.visible`` reads per lamp."""
    lamps = light.lamps
    frames, lows = np.empty((len(lamps), 3, 3), np.float32), np.empty((len(lamps), 2), np.float32)
    found = []
    box = _shade.bounds(means) if lamps else np.zeros((2, 3), np.float32)
    for k, lamp in enumerate(lamps):
        # A near lamp's shadow falls as if it were far away in its direction from the middle.
        towards = lamp.at - box.mean(0) if lamp.point else lamp.at
        towards = towards / max(float(np.linalg.norm(towards)), 1e-6)
        frames[k], lows[k], grid = depth_map(means, opacities, towards, box, SHADOW_CELL_M)
        found.append(grid)
    if len(found) == 1:
        grids = found[0][None]
    else:
        height, width = np.max([grid.shape for grid in found], axis=0) if found else (1, 1)
        grids = np.full((len(found), height, width), -np.inf, np.float32)
        for whole, grid in zip(grids, found, strict=True):
            whole[: grid.shape[0], : grid.shape[1]] = grid
    return frames, lows, np.float32(SHADOW_CELL_M), np.float32(LIFT_M), np.float32(BIAS_M), grids


class Relighter:
    """Safe to call from several threads: nothing changes after creation.

    Args:
        albedo: (N,3) linear 0-1. transfer: (N,9) canonical. quats: (N,4) canonical, wxyz.
        gloss: (N,) row of :data:`SHEEN`; all cloth when left out.

    Raises:
        InvalidInputError: lengths differ.
    """

    def __init__(
        self, albedo: NDArray, transfer: NDArray, quats: NDArray, gloss: NDArray | None = None
    ) -> None:
        n = len(quats)
        if albedo.shape != (n, 3) or transfer.shape != (n, 9):
            raise InvalidInputError("The avatar's albedo and light transfer do not fit its Gaussians.")
        self._albedo = np.array(np.clip(albedo, 0, 1), np.float32)
        self._transfer = quadratic(transfer) / np.float32(np.pi)
        self._rest = np.array(quats / np.linalg.norm(quats, axis=1, keepdims=True), np.float32)
        self._gloss = np.full(n, CLOTH, np.uint8) if gloss is None else np.array(gloss, np.uint8)
        self._table = _srgb_table()

    def apply(self, gaussians: GaussianSet, light: Illumination, eye: NDArray | None = None) -> GaussianSet:
        """The posed set (N,...) under ``light``. With the camera's place ``eye`` (3,) also highlights;
        without, the light is diffuse and holds for every direction of view."""
        means = np.ascontiguousarray(gaussians.means.detach().cpu().numpy(), np.float32)
        quats = np.ascontiguousarray(gaussians.quats.detach().cpu().numpy(), np.float32)
        if len(means) != len(self._rest):
            raise InvalidInputError("These Gaussians are not the avatar's: their number differs.")
        opacities = gaussians.opacities.detach().cpu().numpy()
        lamps = light.lamps
        lamp_at = np.array([[*lamp.at, float(lamp.point)] for lamp in lamps], np.float32).reshape(-1, 4)
        lamp_rgb = np.array([lamp.rgb for lamp in lamps], np.float32).reshape(-1, 3)
        maps = _depth_maps(means, opacities, light)
        none = np.zeros((0, 1, 1, 3), np.float32)
        if eye is None:
            lobes = none
        elif light.lobes is None:
            lobes = np.zeros((len(ROUGHNESS), 2, 4, 3), np.float32)
        else:
            lobes = light.lobes
        sh = torch.empty(gaussians.sh.shape, dtype=torch.float32)
        share(
            _shade.shade, worker_count(len(means), GRAIN), means, quats, self._rest, self._transfer,
            self._albedo, self._gloss, np.ascontiguousarray(quadratic(light.sh.T).T), light.ceiling, lamp_at,
            lamp_rgb, *maps, np.ascontiguousarray(lobes), SHEEN, MIRRORED,
            np.zeros(3, np.float32) if eye is None else np.asarray(eye, np.float32), eye is not None,
            self._table, sh.numpy(),
        )  # fmt: skip
        return replace(gaussians, sh=sh.to(gaussians.sh.device))
