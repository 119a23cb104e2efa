"""Rotation of spherical-harmonic colour, so that a turned splat keeps showing the same colour to the same
side.

Basis and signs are those of the 3DGS reference (Kerbl et al. 2023, `sh_utils`), degrees 0 to 3. Band l turns
by the matrix that fits its values on fixed directions: exact, because each band is closed under rotation.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


def sh_basis(directions: npt.NDArray[Any]) -> F64:
    """(...,3) unit directions -> (...,16) real basis values, bands 0 to 3, m = -l..l inside a band."""
    x, y, z = np.moveaxis(np.asarray(directions, np.float64), -1, 0)
    xx, yy, zz, xy, yz, xz = x * x, y * y, z * z, x * y, y * z, x * z
    return np.stack(
        [
            np.full_like(x, 0.28209479177387814),
            -0.4886025119029199 * y,
            0.4886025119029199 * z,
            -0.4886025119029199 * x,
            1.0925484305920792 * xy,
            -1.0925484305920792 * yz,
            0.31539156525252005 * (2 * zz - xx - yy),
            -1.0925484305920792 * xz,
            0.5462742152960396 * (xx - yy),
            -0.5900435899266435 * y * (3 * xx - yy),
            2.890611442640554 * xy * z,
            -0.4570457994644658 * y * (4 * zz - xx - yy),
            0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
            -0.4570457994644658 * x * (4 * zz - xx - yy),
            1.445305721320277 * z * (xx - yy),
            -0.5900435899266435 * x * (xx - 3 * yy),
        ],
        -1,
    )


@cache
def _probe() -> tuple[F64, tuple[F64, ...]]:
    """Sixteen spread directions (a Fibonacci sphere) and, per band, the pseudo-inverse of its basis on
    them."""
    k = np.arange(16) + 0.5
    z = 1 - 2 * k / 16
    turn = np.pi * (1 + 5**0.5) * k
    r = np.sqrt(1 - z * z)
    directions = np.stack([r * np.cos(turn), r * np.sin(turn), z], -1)
    basis = sh_basis(directions)
    return directions, tuple(np.linalg.pinv(basis[:, band * band : (band + 1) ** 2]) for band in range(4))


def rotate_sh(
    sh: npt.NDArray[Any], rotations: npt.NDArray[Any], *, chunk: int = 16384
) -> npt.NDArray[np.float32]:
    """Turn colours with their splats.

    Args:
        sh: (N,K,3) coefficients, K in 1, 4, 9, 16.
        rotations: (N,3,3) active rotations of the splats.

    Returns:
        (N,K,3) with ``colour(out, R d) = colour(sh, d)``.
    """
    out = np.array(sh, np.float32)
    degree = round(out.shape[1] ** 0.5) - 1
    if degree == 0:
        return out
    directions, inverses = _probe()
    for start in range(0, len(out), chunk):
        part = slice(start, start + chunk)
        # Row vectors: d R is R^T d, the direction as the unturned splat sees it.
        seen = sh_basis(directions @ np.asarray(rotations[part], np.float64))
        for band in range(1, degree + 1):
            own = slice(band * band, (band + 1) ** 2)
            matrices = inverses[band] @ seen[..., own]
            out[part, own] = matrices @ np.asarray(sh[part, own], np.float64)
    return out
