"""The UV atlas: which point of the body every texel of a square map shows, and the frames to place things
there.

A body goes in; per-texel face, barycentrics, vertex numbers, region and cavity maps come out. Row 0 is the
top of the image (v = 1) and a texel's centre is at ``((column + 0.5) / size, 1 - (row + 0.5) / size)``.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from lca.errors import InvalidInputError
from lca_core.body.model import BodyModel
from lca_core.body.names import JOINT_NAMES
from lca_core.body.raster import rasterize

ArrayOrTensor = TypeVar("ArrayOrTensor", np.ndarray, Tensor)


class Region(IntEnum):
    """What a texel belongs to; ``NONE`` is outside every island."""

    NONE = 0
    HEAD = 1
    TORSO = 2
    ARMS = 3
    HANDS = 4
    LEGS = 5
    FEET = 6
    EYES = 7
    TONGUE = 8


def _region_of_joint(name: str) -> Region:
    part = name.split("_", 1)[-1]
    if part in ("neck", "head", "jaw", "eye_smplhf"):
        return Region.HEAD
    if part in ("shoulder", "elbow"):
        return Region.ARMS
    if part in ("hip", "knee"):
        return Region.LEGS
    if part in ("ankle", "foot"):
        return Region.FEET
    if part == "wrist" or (part[-1].isdigit() and not part.startswith("spine")):
        return Region.HANDS
    return Region.TORSO


JOINT_REGIONS: tuple[Region, ...] = tuple(_region_of_joint(name) for name in JOINT_NAMES)
"""Region of each of the 55 joints."""


@dataclass(frozen=True, eq=False)
class UvAtlas:
    """Maps of one body at one size U; build with :meth:`build`.

    Attributes:
        size: U.
        mask: ``(U,U)`` bool, texels whose centre lies on the body.
        face: ``(U,U)`` int32 face number, -1 outside.
        bary: ``(U,U,3)`` float32 barycentric weights, zero outside.
        tri: ``(U,U,3)`` int64 vertex numbers, zero outside.
        tri_uv: ``(U,U,3)`` int64 UV vertex numbers, zero outside.
        cavity: ``(U,U)`` bool, inner surfaces (mouth, sockets, nostrils) that carry no Gaussians.
        region: ``(U,U)`` uint8, see :class:`Region`.
        island: ``(U,U)`` int32 number of the connected UV island, -1 outside.
    """

    size: int
    mask: np.ndarray
    face: np.ndarray
    bary: np.ndarray
    tri: np.ndarray
    tri_uv: np.ndarray
    cavity: np.ndarray
    region: np.ndarray
    island: np.ndarray
    _faces: np.ndarray
    _face_uvs: np.ndarray
    _uvs: np.ndarray
    _device_cache: dict[tuple[str, str], Tensor] = field(default_factory=dict, repr=False)

    @staticmethod
    def build(body: BodyModel, size: int) -> UvAtlas:
        """The atlas of ``body`` at ``size`` x ``size``; kept for as long as the body lives.

        Raises:
            InvalidInputError: size outside 8-4096.
        """
        if not 8 <= size <= 4096:
            raise InvalidInputError(f"The atlas size must be 8 to 4096, not {size}.")
        sizes = _ATLASES.setdefault(body, {})
        if size not in sizes:
            sizes[size] = _build(body, size)
        return sizes[size]

    @property
    def splat_mask(self) -> np.ndarray:
        """``(U,U)`` bool: texels that may carry Gaussians (on the body, not in a cavity)."""
        return self.mask & ~self.cavity

    def sample(self, attribute: ArrayOrTensor) -> ArrayOrTensor:
        """Interpolate a per-vertex attribute ``[..., V, C]`` to ``[..., U, U, C]``; zero outside the mask."""
        return self._interpolate(attribute, "tri")

    def frames(self, vertices: ArrayOrTensor) -> ArrayOrTensor:
        """Tangent frames of a posed or rest surface.

        Args:
            vertices: ``[..., V, 3]``; torch (differentiable) or numpy.

        Returns:
            ``[..., U, U, 3, 3]`` rotations with columns tangent (along +u), bitangent and normal (outwards);
            the normal is the interpolated vertex normal, and bitangent = normal x tangent. Identity outside
            the mask.
        """
        if isinstance(vertices, np.ndarray):
            return self.frames(torch.from_numpy(np.ascontiguousarray(vertices))).numpy()
        normal = self.sample(vertex_normals(vertices, self._tensor("_faces", vertices)))
        tangent = self._interpolate(self._uv_tangents(vertices), "tri_uv")
        valid = self._tensor("mask", vertices)[..., None]
        x_axis, z_axis = vertices.new_tensor([1.0, 0, 0]), vertices.new_tensor([0.0, 0, 1])
        normal = torch.where(valid, normal, z_axis)
        normal = torch.nn.functional.normalize(normal, dim=-1)
        tangent = torch.where(valid, tangent, x_axis)
        tangent = tangent - (tangent * normal).sum(-1, keepdim=True) * normal
        # A tangent that vanishes (collapsed triangle) is replaced by any direction across the normal.
        lost = tangent.norm(dim=-1, keepdim=True) < 1e-12
        other = torch.linalg.cross(normal, normal.roll(1, -1) * normal.new_tensor([1.0, -1.0, 0.5]), dim=-1)
        tangent = torch.nn.functional.normalize(torch.where(lost, other, tangent), dim=-1)
        return torch.stack([tangent, torch.linalg.cross(normal, tangent, dim=-1), normal], dim=-1)

    def neighbours(self) -> np.ndarray:
        """Pairs ``(E,2)`` int64 of flat texel numbers that touch sideways or vertically within one island."""
        flat = np.arange(self.size * self.size).reshape(self.size, self.size)
        pairs = []
        for a, b in (
            (np.s_[:, :-1], np.s_[:, 1:]),
            (np.s_[:-1], np.s_[1:]),
        ):
            same = self.mask[a] & self.mask[b] & (self.island[a] == self.island[b])
            pairs.append(np.stack([flat[a][same], flat[b][same]], axis=1))
        return np.concatenate(pairs)

    def centres(self) -> np.ndarray:
        """UV of every texel centre, ``(U,U,2)`` float32, v up."""
        at = (np.arange(self.size, dtype=np.float32) + 0.5) / self.size
        u, v = np.meshgrid(at, 1.0 - at)
        return np.stack([u, v], axis=-1)

    def _interpolate(self, attribute: ArrayOrTensor, table: str) -> ArrayOrTensor:
        if isinstance(attribute, np.ndarray):
            ids = getattr(self, table)
            corners = (attribute[..., ids[:, :, k], :] * self.bary[:, :, k, None] for k in range(3))
            return sum(corners, start=np.zeros((), attribute.dtype))
        ids, bary = self._tensor(table, attribute), self._tensor("bary", attribute).to(attribute.dtype)
        flat = attribute.flatten(0, -3) if attribute.ndim > 3 else attribute
        parts = []
        for k in range(3):
            picked = flat.index_select(-2, ids[:, :, k].reshape(-1)).unflatten(-2, (self.size, self.size))
            parts.append(picked * bary[:, :, k, None])
        result = parts[0] + parts[1] + parts[2]
        return result.unflatten(0, attribute.shape[:-2]) if attribute.ndim > 3 else result

    def _tensor(self, name: str, like: Tensor) -> Tensor:
        key = (name, str(like.device))
        if key not in self._device_cache:
            self._device_cache[key] = torch.from_numpy(np.ascontiguousarray(getattr(self, name))).to(
                like.device
            )
        return self._device_cache[key]

    def _uv_tangents(self, vertices: Tensor) -> Tensor:
        """dP/du at every UV vertex, ``[..., T, 3]``, summed over the faces around it (area-weighted)."""
        faces, face_uvs = self._tensor("_faces", vertices), self._tensor("_face_uvs", vertices)
        uv = self._tensor("_uvs", vertices).to(vertices.dtype)[face_uvs]
        p = vertices[..., faces, :]
        e1, e2 = p[..., 1, :] - p[..., 0, :], p[..., 2, :] - p[..., 0, :]
        d1, d2 = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
        determinant = d1[:, 0] * d2[:, 1] - d2[:, 0] * d1[:, 1]
        # Dividing by the determinant gives dP/du; weighting by |determinant| leaves only its sign.
        direction = (e1 * d2[:, 1:] - e2 * d1[:, 1:]) * torch.sign(determinant)[:, None]
        total = torch.zeros(*vertices.shape[:-2], len(self._uvs), 3, dtype=p.dtype, device=p.device)
        for k in range(3):
            total = total.index_add(-2, face_uvs[:, k], direction)
        return total


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Area-weighted unit normals ``[..., V, 3]`` of a mesh ``[..., V, 3]`` with ``faces (F, 3)``."""
    p = vertices[..., faces, :]
    face = torch.linalg.cross(p[..., 1, :] - p[..., 0, :], p[..., 2, :] - p[..., 0, :], dim=-1)
    total = torch.zeros_like(vertices)
    for k in range(3):
        total = total.index_add(-2, faces[:, k], face)
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-20)


_ATLASES: weakref.WeakKeyDictionary[BodyModel, dict[int, UvAtlas]] = weakref.WeakKeyDictionary()


def _build(body: BodyModel, size: int) -> UvAtlas:
    faces, face_uvs = body.faces.cpu().numpy(), body.face_uvs.cpu().numpy()
    uvs, weights = body.uvs.cpu().numpy(), body.weights.cpu().numpy()
    part, cavity = body.part.cpu().numpy(), body.cavity.cpu().numpy()
    pixels = np.stack([uvs[:, 0] * size, (1.0 - uvs[:, 1]) * size], axis=1)
    face, bary = rasterize(pixels[face_uvs], size, size)
    mask = face >= 0
    safe = np.where(mask, face, 0)
    tri = np.where(mask[..., None], faces[safe], 0)
    tri_uv = np.where(mask[..., None], face_uvs[safe], 0)

    by_region = np.zeros((len(weights), len(Region)), np.float32)
    np.add.at(by_region.T, np.asarray(JOINT_REGIONS), weights.T)
    by_region[part == 1] = np.eye(len(Region))[Region.TONGUE]
    by_region[part >= 2] = np.eye(len(Region))[Region.EYES]
    share = sum(by_region[tri[..., k]] * bary[..., k, None] for k in range(3))
    region = np.where(mask, np.argmax(share, axis=-1), Region.NONE).astype(np.uint8)
    return UvAtlas(
        size=size,
        mask=mask,
        face=face,
        bary=bary,
        tri=tri,
        tri_uv=tri_uv,
        cavity=mask & cavity[faces].all(axis=1)[safe],
        region=region,
        island=np.where(mask, _islands(face_uvs, len(uvs))[face_uvs[safe, 0]], -1).astype(np.int32),
        _faces=faces,
        _face_uvs=face_uvs,
        _uvs=uvs,
    )


def _islands(face_uvs: np.ndarray, count: int) -> np.ndarray:
    """Connected components of the UV mesh: a label ``(count,)`` per UV vertex, numbered from 0."""
    label = np.arange(count)
    while True:
        low = label[face_uvs].min(axis=1)
        new = label.copy()
        for k in range(3):
            np.minimum.at(new, face_uvs[:, k], low)
        new = new[new]
        if np.array_equal(new, label):
            return np.unique(label, return_inverse=True)[1]
        label = new
