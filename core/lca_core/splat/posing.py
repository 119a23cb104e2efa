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
from lca_core.splat._recorded import record
from lca_core.splat._threads import share, worker_count
from lca_core.splat.gaussians import quaternion_multiply

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


@dataclass(frozen=True)
class BakedRig:
    """The arrays of a baked rig (docs/avatar-file.md).

    Attributes:
        canonical: values of (N, ...); sh: (N, K, 3) all bands.
        shapes: values of (M, ...), rows ``shape_index`` (M,) of shape s being ``shape_ptr[s]:[s + 1]``.
        components, basis, mean: values of (C, N, ...), their map (C, 9 J - 9) and its origin (9 J - 9,).
        joint_indices, joint_weights: (N, 4). joints: (J, 3) rest, metres. parents: J, parents first.
        eyes: left and right eye joint, which gaze turns.

    Raises:
        InvalidInputError: shapes do not fit or an index points outside its table (the file was damaged).
    """

    canonical: Values
    sh: np.ndarray
    shapes: Values
    shape_ptr: np.ndarray
    shape_index: np.ndarray
    components: Values
    basis: np.ndarray
    mean: np.ndarray
    joint_indices: np.ndarray
    joint_weights: np.ndarray
    joints: np.ndarray
    parents: Sequence[int]
    eyes: tuple[int, int]

    def __post_init__(self) -> None:
        n, count = len(self.canonical.means), len(self.joints)
        parents, lengths = np.asarray(self.parents), self.shape_lengths()
        in_order = len(parents) == count and bool(np.all((parents < np.arange(count)) & (parents >= -1)))
        for name, wrong in {
            "joint_indices": self.joint_indices.shape != (n, 4) or _outside(self.joint_indices, count),
            "joint_weights": self.joint_weights.shape != (n, 4),
            "arkit_index": _outside(self.shape_index, n),
            "arkit_ptr": bool(np.any(lengths < 0)) or int(lengths.sum()) != len(self.shape_index),
            "parents": not in_order,
            "sh": self.sh.ndim != 3 or len(self.sh) != n,
        }.items():
            if wrong:
                raise InvalidInputError(f"The avatar's {name} do not fit its other tables; it is damaged.")

    def shape_lengths(self) -> np.ndarray:
        """Rows of every shape (S,)."""
        return np.diff(np.asarray(self.shape_ptr, np.int64))

    def shape_ids(self) -> np.ndarray:
        """Shape of every row (M,)."""
        lengths = self.shape_lengths()
        return np.repeat(np.arange(len(lengths)), lengths)


def _outside(index: np.ndarray, size: int) -> bool:
    return len(index) > 0 and bool(index.min() < 0 or index.max() >= size)


class _Skeleton:
    """Joint transforms and pose coefficients of a frame; what both rigs below share."""

    def __init__(self, baked: BakedRig) -> None:
        self._parents = np.asarray(baked.parents, np.int32)
        self._joints = np.array(baked.joints, np.float64)
        self._eyes = np.asarray(baked.eyes, np.int32)
        self._basis, self._mean = np.array(baked.basis, np.float32), np.array(baked.mean, np.float32)
        self._shapes = len(baked.shape_lengths())

    def _frame(
        self, rotations: np.ndarray, gaze: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Transforms (J, 3, 4), their quaternions (J, 4) and coefficients (C,)."""
        count = len(self._joints)
        if rotations.shape != (count, 3) or gaze.shape != (2, 2) or weights.shape != (self._shapes,):
            raise InvalidInputError(
                f"A frame needs rotations ({count}, 3), gaze (2, 2) and weights ({self._shapes},)."
            )
        local = np.empty((count, 3, 3), np.float32)
        transforms, turns = np.empty((count, 3, 4), np.float32), np.empty((count, 4), np.float32)
        _pose.kinematics(
            np.ascontiguousarray(rotations), np.ascontiguousarray(gaze), self._eyes, self._joints,
            self._parents, local, transforms, turns,
        )  # fmt: skip
        feature = (local[1:] - np.eye(3, dtype=np.float32)).reshape(-1)
        return transforms, turns, self._basis @ (feature - self._mean)


class FusedRig(_Skeleton):
    """A baked rig packed for the CPU. Safe to call from several threads: nothing changes after creation."""

    def __init__(self, baked: BakedRig) -> None:
        super().__init__(baked)
        n = len(baked.canonical.means)
        blocks = (n + BLOCK - 1) // BLOCK
        self._layers = np.zeros((blocks, 1 + len(baked.basis), ROWS, BLOCK), np.float32)
        for at, rows in enumerate([baked.canonical.rows(), *baked.components.rows()]):
            padded = np.zeros((blocks * BLOCK, ROWS), np.float32)
            padded[:n] = rows
            self._layers[:, at] = padded.reshape(blocks, BLOCK, ROWS).swapaxes(1, 2)
        index = np.asarray(baked.shape_index)
        order = np.argsort(index, kind="stable")  # by Gaussian, shapes in order within one
        self._shape_ptr = np.searchsorted(index[order], np.arange(n + 1)).astype(np.int64)
        self._shape_id = baked.shape_ids()[order].astype(np.int32)
        self._shape_rows = np.ascontiguousarray(baked.shapes.rows()[order])
        self._indices = np.array(baked.joint_indices, np.int32)
        self._weights = np.array(baked.joint_weights, np.float32)
        self._sh = np.array(baked.sh, np.float32)

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
        transforms, turns, coefficients = self._frame(rotations, gaze, weights)
        n = len(self._sh)
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


class DeviceRig(_Skeleton):
    """A baked rig whose Gaussians live on a torch device (CUDA): joints are turned on the CPU, one copy of
    about 4 kB goes up per frame, everything else stays there. Safe to call from several threads.

    Args:
        graph: replay a frame's work as one CUDA graph, where that works; False launches it step by step.
    """

    def __init__(self, baked: BakedRig, device: torch.device, *, graph: bool = True) -> None:
        super().__init__(baked)

        def there(array: np.ndarray, dtype: type = np.float32) -> Tensor:
            return torch.from_numpy(np.array(array, dtype)).to(device)

        self._device = device
        self._rest = there(baked.canonical.rows())
        self._components = there(baked.components.rows()).reshape(len(baked.basis), -1)
        self._shape_rows = there(baked.shapes.rows())
        self._shape_index = there(baked.shape_index, np.int64)
        self._shape_id = there(baked.shape_ids(), np.int64)
        self._indices = there(baked.joint_indices, np.int64)
        self._weights = there(baked.joint_weights)[:, :, None]
        self._sh = there(baked.sh)
        count, shapes = len(baked.joints), self._shapes
        self._sizes = [12 * count, 4 * count, len(baked.basis), shapes, 3]
        self._graph = None
        if graph:
            moving = self._sent(np.full((count, 3), 0.1), np.full((2, 2), 0.1), np.ones(shapes), np.ones(3))
            self._graph = record(self._on_device, moving.to(device))

    def pose(
        self, rotations: np.ndarray, gaze: np.ndarray, weights: np.ndarray, translation: np.ndarray
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One frame; arguments and results as :meth:`FusedRig.pose`, results on the device."""
        sent = self._sent(rotations, gaze, weights, translation)
        work = self._graph or self._on_device
        means, quats, scales, sh = work(sent if self._graph else sent.to(self._device))
        return means, quats, scales, sh

    def _sent(self, *frame: np.ndarray) -> Tensor:
        """All numbers of a frame, on the CPU: transforms, turns, coefficients, weights, translation."""
        rotations, gaze, weights, translation = (np.asarray(part, np.float32) for part in frame)
        parts = (*self._frame(rotations, gaze, weights), weights, translation)
        return torch.from_numpy(np.concatenate([part.ravel() for part in parts]))

    def _on_device(self, sent: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Device work only: nothing here waits for a value or depends on one."""
        flat, turns, coefficients, weight, shift = sent.split(self._sizes)
        change = (coefficients @ self._components).view(-1, ROWS)
        change.index_add_(0, self._shape_index, weight[self._shape_id, None] * self._shape_rows)
        scales = self._rest[:, _pose.SCALES : _pose.SH0] * change[:, _pose.SCALES : _pose.SH0].exp()
        means = self._rest[:, :3] + change[:, :3]
        quats = self._rest[:, _pose.QUATS : _pose.SCALES] + change[:, _pose.QUATS : _pose.SCALES]
        blended = (self._weights * flat.view(-1, 12)[self._indices]).sum(dim=1).view(-1, 3, 4)
        moved = (blended[:, :, :3] @ means[:, :, None])[:, :, 0] + blended[:, :, 3] + shift
        near = turns.view(-1, 4)[self._indices]
        signs = torch.where((near * near[:, :1]).sum(dim=-1, keepdim=True) < 0, -1.0, 1.0)
        turn = (self._weights * signs * near).sum(dim=1)
        turned = torch.nn.functional.normalize(quaternion_multiply(turn, quats), dim=-1)
        sh = self._sh.clone()
        sh[:, 0] += change[:, _pose.SH0 :]
        return moved, turned, scales, sh


def warm_posing() -> None:
    """Compile (or load from the cache) the kernels with a rig of one joint and one Gaussian."""
    zero = Values(np.zeros((1, 3)), np.eye(1, 4), np.ones((1, 3)), np.zeros((1, 3)))
    none = Values(*(part[:0] for part in (zero.means, zero.quats, zero.scales, zero.sh0)))
    many = Values(*(part[None] for part in (zero.means, zero.quats, zero.scales, zero.sh0)))
    sh, weights = np.zeros((1, 1, 3)), np.eye(1, 4)
    index = np.zeros((1, 4), np.uint8)
    baked = BakedRig(
        zero, sh, none, np.zeros(2, np.int32), np.zeros(0, np.int32), many, np.zeros((1, 0)), np.zeros(0),
        index, weights, np.zeros((1, 3)), [-1], (0, 0),
    )  # fmt: skip
    FusedRig(baked).pose(*(np.zeros(shape, np.float32) for shape in ((1, 3), (2, 2), (1,), (3,))))
