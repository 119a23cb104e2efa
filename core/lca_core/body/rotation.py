"""Conversions between axis-angle, rotation matrices and wxyz quaternions; batched, differentiable everywhere.

Pure torch functions of tensors ``[..., 3]``, ``[..., 3, 3]`` and ``[..., 4]``. Gradients are finite at the
identity, where the textbook formulas divide by zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SMALL = 1e-6
"""Squared angle (rad^2) below which the Taylor branch is used; its error is then under 1e-13."""


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Rodrigues' formula: rotation vectors ``[..., 3]`` (radians) to matrices ``[..., 3, 3]``."""
    square = (axis_angle * axis_angle).sum(-1)
    small = square < _SMALL
    safe = torch.where(small, torch.ones_like(square), square)
    angle = safe.sqrt()
    sine = torch.where(small, 1 - square / 6, torch.sin(angle) / angle)[..., None, None]
    cosine = torch.where(small, 0.5 - square / 24, (1 - torch.cos(angle)) / safe)[..., None, None]
    k = skew(axis_angle)
    return torch.eye(3, dtype=k.dtype, device=k.device) + sine * k + cosine * (k @ k)


def skew(vector: Tensor) -> Tensor:
    """Cross-product matrices ``[..., 3, 3]`` of vectors ``[..., 3]``: ``skew(a) @ b = a x b``."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(*vector.shape[:-1], 3, 3)


def axis_angle_to_quaternion(axis_angle: Tensor) -> Tensor:
    """Rotation vectors ``[..., 3]`` to unit quaternions ``[..., 4]``, wxyz."""
    square = (axis_angle * axis_angle).sum(-1, keepdim=True)
    small = square < _SMALL
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    scale = torch.where(small, 0.5 - square / 48, torch.sin(angle / 2) / angle)
    real = torch.where(small, 1 - square / 8, torch.cos(angle / 2))
    return torch.cat([real, scale * axis_angle], dim=-1)


def quaternion_to_axis_angle(quaternion: Tensor) -> Tensor:
    """Quaternions ``[..., 4]`` (wxyz, any length > 0) to rotation vectors ``[..., 3]`` with angle at most
    pi.
    """
    quaternion = torch.nn.functional.normalize(quaternion, dim=-1)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    real, imaginary = quaternion[..., :1], quaternion[..., 1:]
    square = (imaginary * imaginary).sum(-1, keepdim=True)
    small = square < _SMALL
    sine = torch.where(small, torch.ones_like(square), square).sqrt()
    # Taylor of 2 asin(s) / s; real is 1 up to s^2 / 2 there.
    scale = torch.where(small, 2 + square / 3, 2 * torch.atan2(sine, real) / sine)
    return scale * imaginary


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """Quaternions ``[..., 4]`` (wxyz, any length > 0) to rotation matrices ``[..., 3, 3]``."""
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).reshape(*quaternion.shape[:-1], 3, 3)


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """Rotation matrices ``[..., 3, 3]`` to unit quaternions ``[..., 4]``, wxyz with w >= 0.

    Shepperd's method: of the four equivalent formulas the one with the largest divisor is used, so both value
    and gradient stay well conditioned for every rotation.
    """
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix.flatten(-2).unbind(-1)
    square = torch.stack(
        [1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22], dim=-1
    )
    w, x, y, z = square.unbind(-1)
    wx, wy, wz = m21 - m12, m02 - m20, m10 - m01
    xy, xz, yz = m10 + m01, m02 + m20, m12 + m21
    rows = torch.stack([w, wx, wy, wz, wx, x, xy, xz, wy, xy, y, yz, wz, xz, yz, z], dim=-1)
    rows = rows.reshape(*square.shape[:-1], 4, 4)
    best = square.argmax(dim=-1, keepdim=True)
    row = torch.gather(rows, -2, best[..., None].expand(*best.shape[:-1], 1, 4)).squeeze(-2)
    quaternion = torch.nn.functional.normalize(row, dim=-1)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Rotation matrices ``[..., 3, 3]`` to rotation vectors ``[..., 3]`` with angle at most pi."""
    return quaternion_to_axis_angle(matrix_to_quaternion(matrix))


def quaternion_multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product of wxyz quaternions ``[..., 4]``: first ``b``, then ``a`` as rotations."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=-1,
    )


def quaternion_conjugate(quaternion: Tensor) -> Tensor:
    """Conjugate ``[..., 4]`` (wxyz); the inverse for unit quaternions."""
    return quaternion * quaternion.new_tensor([1.0, -1.0, -1.0, -1.0])
