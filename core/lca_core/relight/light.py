"""What shading needs of a light: order-2 coefficients, lamps, blurred pictures for highlights, and a ceiling.

In: an :class:`~lca_core.relight.environment.Environment` or the 9 x 3 coefficients of a pose frame. Out:
:class:`Illumination`, plain arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lca.errors import InvalidInputError
from lca_core.relight.environment import Environment, Lamp, directions, sh_basis, shrink

BANDS = np.array([np.pi] + [2 * np.pi / 3] * 3 + [np.pi / 4] * 5)
"""Cosine-lobe coefficients per harmonic (Ramamoorthi and Hanrahan 2001)."""
ROUGHNESS = (0.2, 0.5)
"""Roughness (GGX alpha = roughness squared) of eyes, of skin and hair."""
LOBE_HEIGHT = 16


@dataclass(frozen=True)
class Illumination:
    """``sh`` (9,3) radiance coefficients; ``lamps``; ``lobes`` (2,16,32,3) the picture blurred by each of
    :data:`ROUGHNESS`, None where highlights were not asked for; ``ceiling`` (3,) the most that the ``sh``
    part may leave on white."""

    sh: NDArray[np.float32]
    lamps: tuple[Lamp, ...]
    lobes: NDArray[np.float32] | None
    ceiling: NDArray[np.float32]

    @staticmethod
    def of(environment: Environment, *, highlights: bool = True) -> Illumination:
        """The light of an environment."""
        height = len(environment.radiance)
        d, area = directions(height)
        sh = np.einsum("hwk,hwc,hw->kc", sh_basis(d), environment.radiance, area)
        lobes = _blurred(environment.radiance) if highlights else None
        return Illumination(
            sh.astype(np.float32), environment.lamps, lobes, _ceiling(environment.radiance).astype(np.float32)
        )

    @staticmethod
    def of_frame(light: NDArray) -> Illumination:
        """The light of a pose frame: coefficients (9,3) alone, so soft shading and no highlights.

        Raises:
            InvalidInputError: ``BAD_LIGHT``; another shape or values that are not finite.
        """
        sh = np.asarray(light, np.float32)
        if sh.shape != (9, 3) or not np.isfinite(sh).all():
            raise InvalidInputError("A light is 9 x 3 finite coefficients.", reason="BAD_LIGHT")
        d, _ = directions(16)
        most = np.maximum(sh_basis(d.reshape(-1, 3)) @ (sh * (BANDS / np.pi)[:, None]), 0).max(0)
        return Illumination(sh, (), None, most.astype(np.float32))

    def frame_light(self) -> NDArray[np.float32]:
        """All of it as the (9,3) a pose frame carries: distant lamps become soft, point lamps are left
        out."""
        sh = self.sh.astype(np.float64)
        for lamp in self.lamps:
            if not lamp.point:
                sh = sh + np.pi * sh_basis(lamp.at)[:, None] * lamp.rgb
        return sh.astype(np.float32)


def _ceiling(radiance: NDArray) -> NDArray[np.float64]:
    """The largest irradiance / pi over all normals (3,): order 2 may ring above it."""
    small = shrink(radiance, min(len(radiance), 16))
    d, area = directions(len(small))
    flat = d.reshape(-1, 3)
    cosine = np.maximum(flat @ flat.T, 0) * area.reshape(-1)
    # Normalised per normal: the sums of a coarse grid differ from pi by up to a percent.
    most: NDArray[np.float64] = (cosine @ small.reshape(-1, 3) / cosine.sum(1, keepdims=True)).max(0)
    return most


@cache
def _kernels(height: int) -> NDArray[np.float32]:
    """(2, outputs, texels) GGX weights around each output direction, rows sum to 1 (view along the normal, as
    in Karis 2013)."""
    d, area = directions(height)
    out, _ = directions(LOBE_HEIGHT)
    cosine = np.clip(out.reshape(-1, 3) @ d.reshape(-1, 3).T, -1, 1)
    half = np.sqrt((1 + cosine) / 2)  # between the direction and the normal
    kernels = []
    for roughness in ROUGHNESS:
        a2 = roughness**4
        lobe = a2 / (half**2 * (a2 - 1) + 1) ** 2 * np.maximum(cosine, 0) * area.reshape(-1)
        kernels.append(lobe / lobe.sum(1, keepdims=True))
    return np.stack(kernels).astype(np.float32)


def _blurred(radiance: NDArray) -> NDArray[np.float32]:
    small = shrink(radiance, min(len(radiance), 32))
    flat = small.reshape(-1, 3).astype(np.float32)
    return (_kernels(len(small)) @ flat).reshape(len(ROUGHNESS), LOBE_HEIGHT, 2 * LOBE_HEIGHT, 3)
