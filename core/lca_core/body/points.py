"""Single texels of a UV grid as points of the body, without building the grid.

Rows and columns on a grid of any size come in (the rule of :mod:`lca_core.body.atlas`: row 0 at v = 1, a
texel's centre at +0.5); the triangle under each centre, its barycentrics, tangent frames and UV stretch come
out. So a grid may be far finer than anyone could store, and only the texels in use cost anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lca.errors import InvalidInputError
from lca_core.body.atlas import UvAtlas, vertex_normals
from lca_core.body.model import BodyModel

LARGEST = 8192


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """N texels on the body; build with :func:`locate`.

    Attributes:
        rows, cols: (N,) int64 on a grid of ``size``.
        face: (N,) int32 triangle under the texel's centre, -1 off the body.
        tri, tri_uv: (N,3) int64 its vertex and UV vertex numbers; bary: (N,3) float32. Zero off the body.
        cavity: (N,) bool, inner surfaces that carry no Gaussians. part: (N,) int64, see ``BodyModel``.
        island: (N,) int64 connected UV island, -1 off the body.
    """

    size: int
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    face: NDArray[np.int32]
    tri: NDArray[np.int64]
    tri_uv: NDArray[np.int64]
    bary: NDArray[np.float32]
    cavity: NDArray[np.bool_]
    part: NDArray[np.int64]
    island: NDArray[np.int64]
    _body: BodyModel

    def frames(self, vertices: Tensor) -> Tensor:
        """Tangent frames (N,3,3) of a mesh (V,3): columns tangent (along +u), bitangent, normal (outwards).

        The frames of :meth:`UvAtlas.frames`, for these points only.
        """
        bary = torch.from_numpy(self.bary).to(vertices)[..., None]
        normal = (vertex_normals(vertices, self._body.faces)[self.tri] * bary).sum(1)
        normal = torch.nn.functional.normalize(normal, dim=-1)
        tangent = (_atlas(self._body)._uv_tangents(vertices)[self.tri_uv] * bary).sum(1)
        tangent = tangent - (tangent * normal).sum(-1, keepdim=True) * normal
        lost = tangent.norm(dim=-1, keepdim=True) < 1e-12
        turned = normal.roll(1, -1) * normal.new_tensor([1.0, -1.0, 0.5])
        other = torch.linalg.cross(normal, turned, dim=-1)
        tangent = torch.nn.functional.normalize(torch.where(lost, other, tangent), dim=-1)
        return torch.stack([tangent, torch.linalg.cross(normal, tangent, dim=-1), normal], dim=-1)

    def derivatives(self) -> NDArray[np.float32]:
        """Weights (N,2,3) of a triangle's corners that give dP/du and dP/dv of any per-vertex value P."""
        uv = self._body.uvs.numpy()[self.tri_uv].astype(np.float64)
        d1, d2 = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
        det = d1[:, 0] * d2[:, 1] - d2[:, 0] * d1[:, 1]
        det = np.where(np.abs(det) < 1e-15, 1e-15, det)
        along_u = np.stack([d1[:, 1] - d2[:, 1], d2[:, 1], -d1[:, 1]], 1)
        along_v = np.stack([d2[:, 0] - d1[:, 0], -d2[:, 0], d1[:, 0]], 1)
        return (np.stack([along_u, along_v], 1) / det[:, None, None]).astype(np.float32)

    def stretch(self, vertices: NDArray[np.floating]) -> NDArray[np.float32]:
        """Metres on the mesh (V,3) per unit of u and of v, (N,2)."""
        slope = np.einsum("nak,nkc->nac", self.derivatives(), vertices[self.tri])
        return np.linalg.norm(slope, axis=2).astype(np.float32)


def locate(body: BodyModel, rows: NDArray[np.integer], cols: NDArray[np.integer], size: int) -> SurfacePoints:
    """The points of ``body`` at texels (N,), (N,) of a grid of ``size``; order and repetitions are kept.

    Raises:
        InvalidInputError: a texel outside the grid, or a grid larger than 8192.
    """
    if not 8 <= size <= LARGEST:
        raise InvalidInputError(f"The UV grid must be 8 to {LARGEST} texels wide, not {size}.")
    if len(rows) and (min(rows.min(), cols.min()) < 0 or max(rows.max(), cols.max()) >= size):
        raise InvalidInputError(f"Texels must lie on the grid of {size} x {size}.")
    faces, face_uvs, uvs = body.faces.numpy(), body.face_uvs.numpy(), body.uvs.numpy()
    pixels = np.stack([uvs[:, 0] * size, (1.0 - uvs[:, 1]) * size], 1)
    keys, back = np.unique(rows.astype(np.int64) * size + cols, return_inverse=True)
    face, bary = _cover(keys, size, np.ascontiguousarray(pixels[face_uvs], np.float64))
    face, bary = face[back], bary[back]
    on = face >= 0
    safe = np.where(on, face, 0)
    tri = np.where(on[:, None], faces[safe], 0)
    return SurfacePoints(
        size=size,
        rows=rows.astype(np.int64),
        cols=cols.astype(np.int64),
        face=face,
        tri=tri,
        tri_uv=np.where(on[:, None], face_uvs[safe], 0),
        bary=bary,
        cavity=on & body.cavity.numpy()[faces].all(1)[safe],
        part=np.where(on, body.part.numpy()[faces[safe]].min(1), 0),
        island=np.where(on, _islands(body)[face_uvs[safe, 0]], -1),
        _body=body,
    )


def _atlas(body: BodyModel) -> UvAtlas:
    return UvAtlas.build(body, 128)


def _islands(body: BodyModel) -> NDArray[np.int64]:
    from lca_core.body.atlas import _islands

    return _islands(body.face_uvs.numpy(), len(body.uvs))


@numba.njit(cache=True)
def _cover(
    keys: NDArray[np.int64], size: int, corners: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Sorted texel keys (row * size + column), corners (F,3,2) pixels -> face (N,), bary (N,3).

    The lowest face number wins and the tolerance is that of ``body.raster.rasterize``.
    """
    n = len(keys)
    face = np.full(n, -1, np.int32)
    bary = np.zeros((n, 3), np.float32)
    for f in range(len(corners)):
        ax, ay = corners[f, 0, 0], corners[f, 0, 1]
        bx, by = corners[f, 1, 0], corners[f, 1, 1]
        cx, cy = corners[f, 2, 0], corners[f, 2, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        x0 = max(0, int(np.ceil(min(ax, bx, cx) - 0.5)))
        x1 = min(size - 1, int(np.floor(max(ax, bx, cx) - 0.5)))
        y0 = max(0, int(np.ceil(min(ay, by, cy) - 0.5)))
        y1 = min(size - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        if x1 < x0:
            continue
        for y in range(y0, y1 + 1):
            i = np.searchsorted(keys, y * size + x0)
            last = y * size + x1
            while i < n and keys[i] <= last:
                if face[i] < 0:
                    px, py = keys[i] % size + 0.5 - ax, y + 0.5 - ay
                    u = (px * (cy - ay) - py * (cx - ax)) / area
                    v = ((bx - ax) * py - (by - ay) * px) / area
                    w = 1.0 - u - v
                    if u >= -1e-9 and v >= -1e-9 and w >= -1e-9:
                        face[i] = f
                        bary[i, 0] = min(max(w, 0.0), 1.0)
                        bary[i, 1] = min(max(u, 0.0), 1.0)
                        bary[i, 2] = min(max(v, 0.0), 1.0)
                i += 1
    return face, bary


def farthest_points(points: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Indices of ``count`` of the points [P,3] spread evenly, the first one fixed.

    Farthest-point sampling on a thinned set of some 24 points for each chosen.
    """
    pool = np.arange(0, len(points), max(1, len(points) // (24 * count)))
    at = np.ascontiguousarray(points[pool], np.float32)
    chosen = np.zeros(min(count, len(pool)), np.int64)
    distance = np.full(len(pool), np.inf, np.float32)
    for k in range(1, len(chosen)):
        distance = np.minimum(distance, np.square(at - at[chosen[k - 1]]).sum(1))
        chosen[k] = int(distance.argmax())
    return pool[chosen]
