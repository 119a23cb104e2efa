"""Spherical harmonics colours, shared by every back end: real SH up to degree 4 in the order and signs of
the Inria and gsplat code. In: directions and coefficients. Out: values per channel; a colour is ``0.5 +
value``, not below 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lca.errors import InvalidInputError

C0 = 0.28209479177387814
"""Value of the constant band: colour = 0.5 + C0 * sh[:, 0]."""
MAX_DEGREE = 4


def sh_basis(degree: int, directions: Tensor) -> Tensor:
    """Real SH basis values (Sloan, "Efficient Spherical Harmonic Evaluation", JCGT 2013).

    Args:
        degree: 0 to 4.
        directions: (..., 3), unit length.

    Returns:
        (..., (degree + 1)^2).
    """
    if not 0 <= degree <= MAX_DEGREE:
        raise InvalidInputError(f"SH degree {degree} is not supported; use 0 to {MAX_DEGREE}.")
    x, y, z = directions.unbind(-1)
    out = [torch.full_like(x, C0)]
    if degree >= 1:
        k = 0.4886025119029199
        out += [-k * y, k * z, -k * x]
    if degree >= 2:
        z2 = z * z
        b = -1.092548430592079 * z
        c1, s1 = x * x - y * y, 2 * x * y
        six = 0.9461746957575601 * z2 - 0.3153915652525201
        out += [0.5462742152960395 * s1, b * y, six, b * x, 0.5462742152960395 * c1]
    if degree >= 3:
        c = -2.285228997322329 * z2 + 0.4570457994644658
        b = 1.445305721320277 * z
        c2, s2 = x * c1 - y * s1, x * s1 + y * c1
        k = -0.5900435899266435
        twelve = z * (1.865881662950577 * z2 - 1.119528997770346)
        out += [k * s2, b * s1, c * y, twelve, c * x, b * c1, k * c2]
    if degree >= 4:
        d = z * (-4.683325804901025 * z2 + 2.007139630671868)
        c = 3.31161143515146 * z2 - 0.47308734787878
        b = -1.770130769779931 * z
        c3, s3 = x * c2 - y * s2, x * s2 + y * c2
        k = 0.6258357354491763
        twenty = 1.984313483298443 * z * twelve - 1.006230589874905 * six
        out += [k * s3, b * s2, c * s1, d * y, twenty, d * x, c * c1, b * c2, k * c3]
    return torch.stack(out, dim=-1)


def sh_colors(degree: int, directions: Tensor, coefficients: Tensor) -> Tensor:
    """Colours seen along ``directions``.

    Args:
        degree: bands 0 to ``degree`` are used; more coefficients are ignored.
        directions: (..., 3), from the camera to the Gaussian, any length.
        coefficients: (..., K, 3), K >= (degree + 1)^2.

    Returns:
        (..., 3), clamped from below at 0.
    """
    count = (degree + 1) ** 2
    if coefficients.shape[-2] < count:
        raise InvalidInputError(
            f"sh_degree {degree} needs {count} SH coefficients per Gaussian, "
            f"{coefficients.shape[-2]} were given."
        )
    if degree == 0:
        value = C0 * coefficients[..., 0, :]
    else:
        basis = sh_basis(degree, torch.nn.functional.normalize(directions, dim=-1))
        value = torch.einsum("...k,...kc->...c", basis, coefficients[..., :count, :])
    return torch.clamp_min(value + 0.5, 0.0)


def rotate_sh(coefficients: Tensor, rotation: Tensor) -> Tensor:
    """Coefficients of the same light field after turning the object by ``rotation``.

    Each band is closed under rotation, so its matrix follows exactly from the basis at a few fixed
    directions: with Y the basis matrix at directions d_i, ``Y(R^T d) c = Y(d) M c``.

    Args:
        coefficients: (N, K, 3) with K = 1, 4, 9, 16 or 25.
        rotation: (3, 3).
    """
    k = coefficients.shape[-2]
    degree = round(k**0.5) - 1
    if (degree + 1) ** 2 != k:
        raise InvalidInputError(f"{k} SH coefficients are no full set of bands; use 1, 4, 9, 16 or 25.")
    if degree == 0:
        return coefficients
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(64, 3, generator=generator, dtype=torch.float64)
    directions = directions / directions.norm(dim=-1, keepdim=True)
    turn = rotation.detach().double().cpu()
    before, after = sh_basis(degree, directions), sh_basis(degree, directions @ turn)
    bands = [coefficients[..., :1, :]]
    for band in range(1, degree + 1):
        part = slice(band * band, (band + 1) ** 2)
        matrix = torch.linalg.lstsq(before[:, part], after[:, part]).solution.to(coefficients)
        bands.append(torch.einsum("ij,...jc->...ic", matrix, coefficients[..., part, :]))
    return torch.cat(bands, dim=-2)
