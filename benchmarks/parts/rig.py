"""A baked rig with random values and the sizes of a real one, and frames that move all of it.

Shapes touch a quarter of the Gaussians (a face), three entries per Gaussian of the whole avatar, as in
avatars made from clips. Values do not matter to the time; memory layout and counts do.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from lca_core.avatar.frame import PoseFrame
from lca_core.body.names import JOINT_PARENTS, NUM_ARKIT, NUM_JOINTS


def random_rig(n: int, components: int = 6, seed: int = 0) -> Any:
    """The parts of an avatar an ``Animator`` reads, N Gaussians standing 1.75 m tall."""
    g = np.random.default_rng(seed)

    def half(*shape: int) -> np.ndarray:
        return g.normal(0, 0.002, shape).astype(np.float16)

    face = n // 4
    size = 3 * n // NUM_ARKIT
    index = np.concatenate([np.sort(g.permutation(face)[:size]) for _ in range(NUM_ARKIT)])
    m = len(index)
    weights = np.sort(g.dirichlet(np.ones(4), n), axis=1)[:, ::-1].astype(np.float32)
    means = g.uniform((-0.25, 0.0, -0.1), (0.25, 1.75, 0.1), (n, 3)).astype(np.float32)
    joints = g.uniform((-0.25, 0.0, -0.1), (0.25, 1.75, 0.1), (NUM_JOINTS, 3)).astype(np.float32)
    return SimpleNamespace(
        gaussian_count=n,
        canonical=SimpleNamespace(
            means=means,
            quats=g.normal(0, 1, (n, 4)).astype(np.float32),
            scales=np.exp(g.normal(-5.5, 0.3, (n, 3))).astype(np.float32),
            opacities=np.full(n, 0.9, np.float32),
            sh=g.normal(0, 0.3, (n, 1, 3)).astype(np.float32),
        ),
        skinning=SimpleNamespace(
            joints=joints,
            parents=np.asarray(JOINT_PARENTS, np.int32),
            joint_indices=g.integers(0, NUM_JOINTS, (n, 4)).astype(np.uint8),
            joint_weights=weights,
        ),
        correctives=SimpleNamespace(
            arkit_ptr=(size * np.arange(NUM_ARKIT + 1)).astype(np.int32),
            arkit_index=index.astype(np.int32),
            arkit_means=half(m, 3), arkit_quats=half(m, 4), arkit_log_scales=half(m, 3), arkit_sh0=half(m, 3),
            pose_mean=np.zeros(486, np.float32),
            pose_basis=g.normal(0, 0.1, (components, 486)).astype(np.float32),
            pose_means=half(components, n, 3), pose_quats=half(components, n, 4),
            pose_log_scales=half(components, n, 3), pose_sh0=half(components, n, 3),
        ),
    )  # fmt: skip


def moving_frames(count: int, seed: int = 1) -> list[PoseFrame]:
    """Frames in which every joint, every shape, the eyes and the root move."""
    g = np.random.default_rng(seed)
    return [
        PoseFrame(
            g.normal(0, 0.02, 3).astype(np.float32),
            g.normal(0, 0.05, (NUM_JOINTS, 3)).astype(np.float32),
            g.uniform(0.05, 1.0, NUM_ARKIT).astype(np.float32),
            g.normal(0, 0.1, (2, 2)).astype(np.float32),
        )
        for _ in range(count)
    ]
