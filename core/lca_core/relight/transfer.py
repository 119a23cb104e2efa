"""How each Gaussian sees distant light: order-2 transfer with self-occlusion, from depth maps of the
Gaussians.

In: canonical centres, normals, opacities. Out: transfer (N,9) in the canonical frame, the signs of
`environment.sh_basis`. A map of nearest depths per direction takes the place of rays: every direction costs
two passes over the Gaussians, no acceleration structure and no other library.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lca_core.relight import _shade
from lca_core.relight.environment import sh_basis
from lca_core.relight.light import BANDS

CELL_M = 0.012
LIFT_M = 0.012
BIAS_M = 0.008
"""Depth cells, how far a point is lifted off its surface, and what more counts as the same surface."""
SOLID = 0.3
"""Opacity from which a Gaussian throws a shadow."""


def normals_of(quats: NDArray) -> NDArray[np.float32]:
    """The z axes (N,3) of unit wxyz quaternions: Gaussians lie flat on the surface."""
    out = np.empty((len(quats), 3), np.float32)
    _shade.axes(np.ascontiguousarray(quats, np.float32), out)
    return out


def sphere(count: int) -> NDArray[np.float64]:
    """Directions (count,3) spread evenly (spherical Fibonacci)."""
    i = np.arange(count) + 0.5
    y = 1 - 2 * i / count
    phi = i * np.pi * (3 - np.sqrt(5))
    r = np.sqrt(1 - y * y)
    return np.stack([r * np.sin(phi), y, r * np.cos(phi)], 1)


def seen_from(
    points: NDArray, normals: NDArray, opacities: NDArray, direction: NDArray, cell: float = CELL_M
) -> NDArray[np.float32]:
    """Share (N,) 0-1 of distant light from ``direction`` (3,) that reaches each point (N,3) past the
    others."""
    points = np.ascontiguousarray(points, np.float32)
    frame, low, grid = depth_map(points, opacities, direction, _shade.bounds(points), cell)
    out = np.empty(len(points), np.float32)
    _shade.lit(
        points, np.ascontiguousarray(normals, np.float32), frame[None], low[None], np.float32(cell),
        np.float32(LIFT_M), np.float32(BIAS_M), grid[None], out,
    )  # fmt: skip
    return out


def depth_map(
    points: NDArray[np.float32], opacities: NDArray, direction: NDArray, box: NDArray, cell: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """The points (N,3) as distant light from ``direction`` (3,) meets them; ``box`` (2,3) are their bounds.

    Returns:
        Frame (3,3) with rows across, up, towards the light; where its cells begin (2,); the depth of what
        lies nearest to the light in each cell (H,W).
    """
    towards = np.asarray(direction, np.float64)
    across = np.cross([0.0, 1.0, 0.0] if abs(towards[1]) < 0.9 else [1.0, 0.0, 0.0], towards)
    across /= np.linalg.norm(across)
    frame = np.stack([across, np.cross(towards, across), towards]).astype(np.float32)
    middle, half = (box[1] + box[0]) / 2, (box[1] - box[0]) / 2
    reach = np.abs(frame[:2]) @ half + 2 * cell
    low = (frame[:2] @ middle - reach).astype(np.float32)
    size = np.minimum(np.ceil(2 * reach / cell).astype(int) + 1, 2048)
    grid = np.full((size[1], size[0]), -np.inf, np.float32)
    _shade.depth_map(points, np.asarray(opacities) > SOLID, frame, low, np.float32(cell), grid)
    return frame, low, grid


def unoccluded(normals: NDArray) -> NDArray[np.float32]:
    """Transfer (N,9) of a free surface (Ramamoorthi and Hanrahan 2001)."""
    return np.asarray(sh_basis(normals) * BANDS, np.float32)


def occluded(points: NDArray, normals: NDArray, opacities: NDArray, count: int = 96) -> NDArray[np.float32]:
    """Transfer (N,9): T_k = integral of visibility x max(0, n.w) x Y_k(w) (Sloan et al. 2002).

    The exact transfer of a free surface less what ``count`` directions say is hidden, so a free surface has
    no noise. The light leaving albedo a under radiance L is a / pi * sum_k T_k L_k.
    """
    around = sphere(count)
    basis = sh_basis(around)
    out = unoccluded(normals)
    for direction, values in zip(around, basis, strict=True):
        cosine = np.asarray(normals, np.float32) @ direction.astype(np.float32)
        hidden = (1 - seen_from(points, normals, opacities, direction)) * np.maximum(cosine, 0)
        out -= np.float32(4 * np.pi / count) * hidden[:, None] * values.astype(np.float32)
    return out


def turned(transfer: NDArray, rotations: NDArray) -> NDArray[np.float64]:
    """Transfer (N,9) turned by a rotation each (N,3,3)."""
    # Order 2 is closed under rotation, so 24 samples fix it.
    d = sphere(24)
    fit = np.linalg.pinv(sh_basis(d))
    out = np.empty((len(transfer), 9))
    for start in range(0, len(transfer), 8192):  # blocks bound the memory
        rows = slice(start, start + 8192)
        back = np.einsum("nji,mj->nmi", rotations[rows], d)
        out[rows] = np.einsum("nmk,nk->nm", sh_basis(back), transfer[rows]) @ fit.T
    return out
