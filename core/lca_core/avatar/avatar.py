"""The avatar as plain data: typed groups of numpy arrays, one per entry of the `.lca` file (docs/avatar-
file.md).

N is the number of Gaussians, V/F/T the proxy's vertices, faces and texture vertices, J = 55 joints.
Canonical frame: metres, Y up, the person in T-pose facing +Z.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lca_core.body.rig import RigDescription

SCHEMA = "lca.avatar/1"


@dataclass(frozen=True)
class WeightsInfo:
    """Which network made the avatar: config name, checkpoint sha256, licence of the weights."""

    config: str
    sha256: str
    licence: str


@dataclass
class Canonical:
    """Canonical Gaussians: means (N,3) m, quats (N,4) wxyz, scales (N,3) linear m, opacities (N,), sh
    (N,K,3), texel (N,2).
    """

    means: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    sh: np.ndarray
    texel: np.ndarray
    uv_size: int


@dataclass
class Skinning:
    """Rest joints (55,3) m, parents (55,), joint_indices (N,4) uint8, joint_weights (N,4) heaviest first,
    k/255.
    """

    joints: np.ndarray
    parents: np.ndarray
    joint_indices: np.ndarray
    joint_weights: np.ndarray


@dataclass
class Correctives:
    """Linear correctives: sparse per ARKit shape (CSR over Gaussians), dense per pose component."""

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


@dataclass
class Relight:
    """Albedo (N,3) linear 0..1 and order-2 SH light transfer (N,9)."""

    albedo: np.ndarray
    transfer: np.ndarray


@dataclass
class Proxy:
    """Skinned textured mesh of the same person, and the binding of every Gaussian to one of its triangles."""

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
    texture: np.ndarray


@dataclass
class Avatar:
    """A rigged Gaussian avatar: what `create_avatar` returns and `.lca` stores."""

    name: str
    created: str
    generator: str
    weights: WeightsInfo
    inputs_licence: str
    height_m: float
    betas: np.ndarray
    rig: RigDescription
    canonical: Canonical
    skinning: Skinning
    correctives: Correctives
    network: dict[str, np.ndarray]
    relight: Relight
    proxy: Proxy
    thumbnail: np.ndarray
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def gaussian_count(self) -> int:
        return len(self.canonical.means)

    def save(self, path: Path) -> None:
        """Write the `.lca` file atomically: it appears complete or not at all."""
        from lca_core.avatar.file import save_avatar

        save_avatar(self, path)

    @staticmethod
    def load(path: Path) -> Avatar:
        """Read and verify a `.lca` file; raises :class:`lca.errors.LcaError` naming what is wrong with it."""
        from lca_core.avatar.file import load_avatar

        return load_avatar(path)
