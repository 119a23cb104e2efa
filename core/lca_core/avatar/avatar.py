"""The avatar as plain data: the array groups of :mod:`lca.avatar_arrays`, one per entry of the `.lca`
file, and what else is known of the person.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lca.avatar_arrays import CanonicalSplats as Canonical
from lca.avatar_arrays import Correctives, ProxyMesh, Relight, Skinning
from lca_core.body.rig import RigDescription

__all__ = ["Avatar", "Canonical", "Correctives", "Proxy", "Relight", "Skinning", "WeightsInfo"]

SCHEMA = "lca.avatar/1"


@dataclass(frozen=True)
class WeightsInfo:
    """Which network made the avatar: config name, checkpoint sha256, licence of the weights."""

    config: str
    sha256: str
    licence: str


@dataclass(frozen=True)
class Proxy(ProxyMesh):
    """The skinned mesh of the same person with its texture, (H, W, 3) uint8 sRGB."""

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
