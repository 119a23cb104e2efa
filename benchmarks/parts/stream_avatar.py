"""An avatar file of any size with random values, for benchmarks of the service: nobody is on it.

Memory layout and counts are those of avatars made from clips; values do not matter to the time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lca_core.avatar.avatar import (
    Avatar,
    Canonical,
    Correctives,
    Proxy,
    Relight,
    Skinning,
    WeightsInfo,
)
from lca_core.body.names import JOINT_PARENTS
from lca_core.body.rig import RigDescription
from parts.rig import random_rig


def write_random_avatar(path: Path, gaussians: int) -> None:
    """Write a valid ``.lca`` of ``gaussians`` Gaussians in a box the size of a person."""
    rig = random_rig(gaussians)
    base, skin, change = rig.canonical, rig.skinning, rig.correctives
    weights = (skin.joint_weights / skin.joint_weights.sum(1, keepdims=True)).astype(np.float32)
    corners = np.array([[0, 0, 0], [0.1, 0, 0], [0, 1.75, 0]], np.float32)
    ups = np.tile(np.array([0, 0, 1], np.float32), (3, 1))
    first = np.tile(np.array([1, 0, 0, 0], np.float32), (3, 1))
    Avatar(
        name="Random", created="2026-01-01T00:00:00Z", generator="lca bench stream",
        weights=WeightsInfo("none", "", "CC0-1.0"), inputs_licence="CC0-1.0", height_m=1.75,
        betas=np.zeros(50, np.float32), rig=RigDescription.default(),
        canonical=Canonical(
            base.means, base.quats / np.linalg.norm(base.quats, axis=1, keepdims=True), base.scales,
            base.opacities, base.sh, np.zeros((gaussians, 2), np.int32), 64,
        ),
        skinning=Skinning(skin.joints, np.asarray(JOINT_PARENTS, np.int32), skin.joint_indices, weights),
        correctives=Correctives(**vars(change)),
        network={"identity_map": np.zeros((1, 1, 1), np.float16)},
        relight=Relight(np.full((gaussians, 3), 0.5, np.float32), np.zeros((gaussians, 9), np.float32)),
        proxy=Proxy(
            corners, ups, np.array([[0, 1, 2]], np.int32), np.zeros((3, 2), np.float32),
            np.array([[0, 1, 2]], np.int32), np.zeros((3, 4), np.uint8), first, np.zeros(53, np.int32),
            np.zeros(0, np.int32), np.zeros((0, 3), np.float32), np.zeros((gaussians, 3), np.int32),
            np.tile(np.array([1, 0, 0], np.float32), (gaussians, 1)), np.zeros((8, 8, 3), np.uint8),
        ),
        thumbnail=np.zeros((256, 256, 3), np.uint8),
    ).save(path)  # fmt: skip
