"""Linear blend skinning of Gaussians for preview frames: four influences, position and orientation.

The formula of ``docs/avatar-file.md`` step 3: x' = sum_i w_i (A_i x), and q' = normalise(sum_i w_i s_i
q(A_i)) * q with s_i the sign of the dot product with the heaviest joint's quaternion. ``skin_gaussians`` is
the fast, non-differentiable numba kernel; ``skin_gaussians_torch`` is its readable, differentiable twin.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lca.errors import InvalidInputError
from lca_core.splat._jit import kernel
from lca_core.splat._threads import share, worker_count
from lca_core.splat.gaussians import matrix_to_quaternion, quaternion_multiply

F = np.float32
GRAIN = 16384  # Gaussians that are worth another thread


def _check(means: Tensor, quats: Tensor, indices: Tensor, weights: Tensor, transforms: Tensor) -> None:
    n = means.shape[0] if means.ndim == 2 else -1
    j = transforms.shape[0] if transforms.ndim == 3 else -1
    shapes = {
        "means": (n, 3),
        "quats": (n, 4),
        "joint_indices": (n, 4),
        "joint_weights": (n, 4),
        "A": (j, 4, 4),
    }
    for (name, shape), tensor in zip(
        shapes.items(), (means, quats, indices, weights, transforms), strict=True
    ):
        if tuple(tensor.shape) != shape:
            wanted = {"A": "(J, 4, 4)"}.get(name, f"(N, {shape[1]})")
            raise InvalidInputError(
                f"{name} has shape {tuple(tensor.shape)}, expected {wanted} with one N for all."
            )
    if indices.is_floating_point():
        raise InvalidInputError("joint_indices must be integers.")
    if n and (int(indices.min()) < 0 or int(indices.max()) >= j):
        raise InvalidInputError(f"joint_indices must lie in 0..{j - 1} (there are {j} joint transforms).")


def skin_gaussians_torch(
    means: Tensor, quats: Tensor, joint_indices: Tensor, joint_weights: Tensor, A: Tensor
) -> tuple[Tensor, Tensor]:
    """Differentiable twin of :func:`skin_gaussians`, same arguments and results, any dtype and device."""
    _check(means, quats, joint_indices, joint_weights, A)
    index = joint_indices.long()
    blended = (joint_weights[:, :, None, None] * A[index]).sum(dim=1)
    moved = (blended[:, :3, :3] @ means[:, :, None])[:, :, 0] + blended[:, :3, 3]
    turns = matrix_to_quaternion(A[:, :3, :3])[index]
    dots = (turns * turns[:, :1]).sum(dim=-1, keepdim=True)
    signs = torch.where(dots < 0, -torch.ones_like(dots), torch.ones_like(dots))
    turn = torch.nn.functional.normalize((joint_weights[:, :, None] * signs * turns).sum(dim=1), dim=-1)
    return moved, quaternion_multiply(turn, quats)


@kernel
def _skin(worker: int, workers: int, means: Any, quats: Any, indices: Any, weights: Any, *rest: Any) -> None:
    transforms, turns, moved, turned = rest
    step = (means.shape[0] + workers - 1) // workers
    for g in range(worker * step, min(means.shape[0], (worker + 1) * step)):
        x, y, z = means[g, 0], means[g, 1], means[g, 2]
        px = py = pz = qw = qx = qy = qz = F(0.0)
        first = indices[g, 0]
        hw, hx, hy, hz = turns[first, 0], turns[first, 1], turns[first, 2], turns[first, 3]
        for i in range(4):
            w = weights[g, i]
            j = indices[g, i]
            a = transforms[j]
            px += w * (a[0, 0] * x + a[0, 1] * y + a[0, 2] * z + a[0, 3])
            py += w * (a[1, 0] * x + a[1, 1] * y + a[1, 2] * z + a[1, 3])
            pz += w * (a[2, 0] * x + a[2, 1] * y + a[2, 2] * z + a[2, 3])
            tw, tx, ty, tz = turns[j, 0], turns[j, 1], turns[j, 2], turns[j, 3]
            signed = -w if tw * hw + tx * hx + ty * hy + tz * hz < F(0.0) else w
            qw += signed * tw
            qx += signed * tx
            qy += signed * ty
            qz += signed * tz
        k = F(1.0) / math.sqrt(max(qw * qw + qx * qx + qy * qy + qz * qz, F(1e-24)))
        qw, qx, qy, qz = qw * k, qx * k, qy * k, qz * k
        bw, bx, by, bz = quats[g, 0], quats[g, 1], quats[g, 2], quats[g, 3]
        moved[g, 0] = px
        moved[g, 1] = py
        moved[g, 2] = pz
        turned[g, 0] = qw * bw - qx * bx - qy * by - qz * bz
        turned[g, 1] = qw * bx + qx * bw + qy * bz - qz * by
        turned[g, 2] = qw * by - qx * bz + qy * bw + qz * bx
        turned[g, 3] = qw * bz + qx * by - qy * bx + qz * bw


def skin_gaussians(
    means: Tensor, quats: Tensor, joint_indices: Tensor, joint_weights: Tensor, A: Tensor
) -> tuple[Tensor, Tensor]:
    """Pose Gaussians on the CPU, without gradients.

    Args:
        means, quats: (N, 3) metres and (N, 4) wxyz, canonical.
        joint_indices, joint_weights: (N, 4) integer and float, heaviest first, rows of weights sum to 1.
        A: (J, 4, 4) rigid transforms rest -> posed, one per joint (J = 55 for SMPL-X).

    Returns:
        means (N, 3), quats (N, 4), float32 on the CPU.

    Raises:
        InvalidInputError: shapes do not fit or a joint index is out of range.
    """
    _check(means, quats, joint_indices, joint_weights, A)

    def array(tensor: Tensor, dtype: torch.dtype) -> np.ndarray:
        return tensor.detach().to("cpu", dtype).contiguous().numpy()

    f = torch.float32
    turns = array(matrix_to_quaternion(A.detach()[:, :3, :3]), f)
    moved, turned = torch.empty(means.shape, dtype=f), torch.empty(quats.shape, dtype=f)
    share(
        _skin,
        worker_count(len(means), GRAIN),
        array(means, f),
        array(quats, f),
        array(joint_indices, torch.uint8 if len(A) <= 256 else torch.int32),
        array(joint_weights, f),
        array(A, f),
        turns,
        moved.numpy(),
        turned.numpy(),
    )
    return moved, turned
