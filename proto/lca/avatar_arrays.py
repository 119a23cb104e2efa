"""The array groups of an avatar, one per entry of the ``.lca`` file (docs/avatar-file.md): what core makes
and saves, and what the numpy-only reader of clients gives back.

N is the number of Gaussians, V/F/T the proxy's vertices, faces and texture vertices, J = 55 joints. Metres,
Y up; canonical: the person in T-pose facing +Z.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class CanonicalSplats:
    """The avatar at rest: N Gaussians in metres, Y up, facing +Z.

    Attributes:
        means: (N, 3) f32 centres.
        quats: (N, 4) f32 wxyz, not necessarily normalised.
        scales: (N, 3) f32 linear, metres.
        opacities: (N,) f32 linear, 0..1.
        sh: (N, K, 3) f32; colour = 0.5 + 0.28209479 * sh[:, 0].
        texel: (N, 2) i32 row and column in the Gaussian UV grid.
        uv_size: side of that grid, 0 if unknown.
    """

    means: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    sh: np.ndarray
    texel: np.ndarray
    uv_size: int


@dataclass(frozen=True)
class Skinning:
    """Rest joints (J, 3), parents (J,) i32 (-1 = root), joint_indices (N, 4) u8, joint_weights (N, 4) f32."""

    joints: np.ndarray
    parents: np.ndarray
    joint_indices: np.ndarray
    joint_weights: np.ndarray


@dataclass(frozen=True)
class Correctives:
    """Linear correctives: ARKit shapes as sparse rows (CSR over 52 shapes), pose components dense over all N.

    Attributes:
        arkit_ptr: (53,) i32; shape k owns entries ``arkit_ptr[k]:arkit_ptr[k + 1]``.
        arkit_index: (M,) i32 Gaussian of each entry, unique inside a shape.
        arkit_means, arkit_quats, arkit_log_scales, arkit_sh0: (M, 3|4|3|3) f16 offsets at weight 1.
        pose_mean: (P,) f32; pose_basis: (C, P) f32 with P = 9 (J - 1).
        pose_means, pose_quats, pose_log_scales, pose_sh0: (C, N, 3|4|3|3) f16 offsets per component.
    """

    arkit_ptr: np.ndarray
    arkit_index: np.ndarray
    arkit_means: np.ndarray
    arkit_quats: np.ndarray
    arkit_log_scales: np.ndarray
    arkit_sh0: np.ndarray
    pose_mean: np.ndarray
    pose_basis: np.ndarray
    pose_means: np.ndarray
    pose_quats: np.ndarray
    pose_log_scales: np.ndarray
    pose_sh0: np.ndarray

    def arkit_rows(self, shape: int) -> slice:
        """Entries of one ARKit shape."""
        return slice(int(self.arkit_ptr[shape]), int(self.arkit_ptr[shape + 1]))


@dataclass(frozen=True)
class Relight:
    """albedo (N, 3) f32 linear 0..1, transfer (N, 9) f32 spherical-harmonic light transfer."""

    albedo: np.ndarray
    transfer: np.ndarray


@dataclass(frozen=True)
class ProxyMesh:
    """A skinned triangle mesh that follows the splats, for selection, shadows and engines without splats.

    Attributes:
        vertices, normals: (V, 3) f32; faces: (F, 3) i32.
        uvs: (T, 2) f32, v up; face_uvs: (F, 3) i32.
        joint_indices: (V, 4) u8; joint_weights: (V, 4) f32.
        arkit_ptr (53,), arkit_index (L,) i32, arkit_vertices (L, 3) f32: sparse face shapes.
        bind_tri: (N, 3) i32 proxy vertices under each Gaussian; bind_bary: (N, 3) f32.
    """

    vertices: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    uvs: np.ndarray
    face_uvs: np.ndarray
    joint_indices: np.ndarray
    joint_weights: np.ndarray
    arkit_ptr: np.ndarray
    arkit_index: np.ndarray
    arkit_vertices: np.ndarray
    bind_tri: np.ndarray
    bind_bary: np.ndarray

    def arkit_rows(self, shape: int) -> slice:
        """Entries of one ARKit shape."""
        return slice(int(self.arkit_ptr[shape]), int(self.arkit_ptr[shape + 1]))
