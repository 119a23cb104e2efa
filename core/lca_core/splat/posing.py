"""The fused preview path: pose frame in, posed Gaussians out, in one pass over memory (docs/avatar-file.md).

In: once, the arrays of a baked rig; per frame, joint rotations, gaze, shape weights and root translation.
Out: arrays of posed Gaussians. One kernel adds the dense pose components and the sparse shapes, normalises,
skins and exponentiates block by block in cache, so a frame allocates its outputs and nothing else. Its clear
twin is ``lca_core.avatar.animate`` with a ``LinearCorrection``, step by step in torch and numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lca.errors import InvalidInputError
from lca_core.splat import _pose
from lca_core.splat._pose import BLOCK, ROWS
from lca_core.splat._threads import share, worker_count

GRAIN = 16384  # Gaussians that are worth another thread


@dataclass(frozen=True)
class Values:
    """What changes with a pose, any leading shape: means (..., 3) m, quats (..., 4) wxyz, scales (..., 3)
    (linear for the canonical set, added logarithms for shapes and components), sh0 (..., 3)."""

    means: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    sh0: np.ndarray

    def rows(self) -> np.ndarray:
        """(..., 13) float32."""
        parts = (self.means, self.quats, self.scales, self.sh0)
        return np.concatenate([np.asarray(part, np.float32) for part in parts], axis=-1)


class FusedRig:
    """A baked rig packed for :meth:`pose`. Safe to call from several threads: nothing changes after creation.

    Args:
        canonical: values of (N, ...); sh: (N, K, 3) all bands.
        shapes: values of (M, ...), rows ``shape_index`` (M,) of shape s being ``shape_ptr[s]:[s + 1]``.
        components, basis, mean: values of (C, N, ...), their map (C, 9 J - 9) and its origin (9 J - 9,).
        joint_indices, joint_weights: (N, 4). joints: (J, 3) rest, metres. parents: J, parents first.
        eyes: left and right eye joint, which gaze turns.

    Raises:
        InvalidInputError: an index points outside its table (the file was damaged).
    """

    def __init__(
        self,
        canonical: Values,
        sh: np.ndarray,
        shapes: Values,
        shape_ptr: np.ndarray,
        shape_index: np.ndarray,
        components: Values,
        basis: np.ndarray,
        mean: np.ndarray,
        joint_indices: np.ndarray,
        joint_weights: np.ndarray,
        joints: np.ndarray,
        parents: Sequence[int],
        eyes: tuple[int, int],
    ) -> None:
        n = len(canonical.means)
        self._parents = np.asarray(parents, np.int32)
        self._joints = np.array(joints, np.float64)
        self._eyes = np.asarray(eyes, np.int32)
        count = len(self._joints)
        if n and (joint_indices.min() < 0 or joint_indices.max() >= count):
            raise InvalidInputError(f"joint_indices must lie in 0..{count - 1}; the avatar is damaged.")
        if len(shape_index) and (shape_index.min() < 0 or shape_index.max() >= n):
            raise InvalidInputError(f"arkit_index must lie in 0..{n - 1}; the avatar is damaged.")
        if np.any(self._parents >= np.arange(count)) or np.any(self._parents < -1):
            raise InvalidInputError("parents must come before their children; the avatar is damaged.")
        lengths = np.diff(np.asarray(shape_ptr, np.int64))
        if np.any(lengths < 0) or int(lengths.sum()) != len(shape_index):
            raise InvalidInputError("arkit_ptr does not partition arkit_index; the avatar is damaged.")
        blocks = (n + BLOCK - 1) // BLOCK
        layers = np.zeros((blocks, 1 + len(basis), ROWS, BLOCK), np.float32)
        for at, rows in enumerate([canonical.rows(), *components.rows()]):
            padded = np.zeros((blocks * BLOCK, ROWS), np.float32)
            padded[:n] = rows
            layers[:, at] = padded.reshape(blocks, BLOCK, ROWS).swapaxes(1, 2)
        self._layers = layers
        order = np.argsort(shape_index, kind="stable")  # by Gaussian, shapes in order within one
        self._shape_ptr = np.searchsorted(np.asarray(shape_index)[order], np.arange(n + 1)).astype(np.int64)
        self._shape_id = np.repeat(np.arange(len(lengths)), lengths)[order].astype(np.int32)
        self._shape_rows = np.ascontiguousarray(shapes.rows()[order])
        self._basis, self._mean = np.array(basis, np.float32), np.array(mean, np.float32)
        self._indices = np.array(joint_indices, np.int32)
        self._weights = np.array(joint_weights, np.float32)
        self._sh = np.array(sh, np.float32)

    def pose(
        self, rotations: np.ndarray, gaze: np.ndarray, weights: np.ndarray, translation: np.ndarray
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One frame.

        Args:
            rotations: (J, 3) local axis-angle, radians; gaze: (2, 2) (yaw, pitch), radians; weights: (S,)
                of the shapes; translation: (3,) metres; all float32.

        Returns:
            means (N, 3) m, quats (N, 4) unit wxyz, scales (N, 3) linear m, sh (N, K, 3); float32, new.
        """
        count, n = len(self._joints), len(self._sh)
        local = np.empty((count, 3, 3), np.float32)
        transforms, turns = np.empty((count, 3, 4), np.float32), np.empty((count, 4), np.float32)
        _pose.kinematics(
            np.ascontiguousarray(rotations), np.ascontiguousarray(gaze), self._eyes, self._joints,
            self._parents, local, transforms, turns,
        )  # fmt: skip
        feature = (local[1:] - np.eye(3, dtype=np.float32)).reshape(-1)
        coefficients = self._basis @ (feature - self._mean)
        active = np.ascontiguousarray(weights if np.any(weights) else weights[:0])
        means, quats = torch.empty(n, 3), torch.empty(n, 4)
        scales, sh = torch.empty(n, 3), torch.empty(self._sh.shape)
        share(
            _pose.pose, worker_count(n, GRAIN), self._layers, coefficients, self._shape_ptr, self._shape_id,
            self._shape_rows, active, self._indices, self._weights, transforms, turns,
            np.ascontiguousarray(translation), self._sh, means.numpy(), quats.numpy(), scales.numpy(),
            sh.numpy(),
        )  # fmt: skip
        return means, quats, scales, sh


def warm_posing() -> None:
    """Compile (or load from the cache) the kernels with a rig of one joint and one Gaussian."""
    zero = Values(np.zeros((1, 3)), np.eye(1, 4), np.ones((1, 3)), np.zeros((1, 3)))
    none = Values(*(part[:0] for part in (zero.means, zero.quats, zero.scales, zero.sh0)))
    many = Values(*(part[None] for part in (zero.means, zero.quats, zero.scales, zero.sh0)))
    sh, weights = np.zeros((1, 1, 3)), np.eye(1, 4)
    index = np.zeros((1, 4), np.uint8)
    rig = FusedRig(
        zero, sh, none, np.zeros(2, np.int32), np.zeros(0, np.int32), many, np.zeros((1, 0)), np.zeros(0),
        index, weights, np.zeros((1, 3)), [-1], (0, 0),
    )  # fmt: skip
    rig.pose(*(np.zeros(shape, np.float32) for shape in ((1, 3), (2, 2), (1,), (3,))))
