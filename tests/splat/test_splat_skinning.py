"""The numba skinning kernel, its torch twin, and the rigid limit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lca.errors import InvalidInputError
from lca_core.splat import skin_gaussians
from lca_core.splat._torch import rotation_matrices
from lca_core.splat.gaussians import matrix_to_quaternion, quaternion_multiply
from lca_core.splat.skinning import skin_gaussians_torch


def posed(n: int = 5000, joints: int = 55) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    weights = torch.rand(n, 4, generator=g).sort(dim=1, descending=True).values
    weights = weights / weights.sum(dim=1, keepdim=True)
    transforms = torch.eye(4).repeat(joints, 1, 1)
    # turns of about 180 degrees round X: their quaternions (w >= 0) come out with either sign
    near = torch.randn(joints, 4, generator=g) * 0.2 + torch.tensor([0.0, 1.0, 0.0, 0.0])
    transforms[:, :3, :3] = rotation_matrices(near)
    transforms[:, :3, 3] = torch.randn(joints, 3, generator=g)
    indices = torch.randint(0, joints, (n, 4), generator=g)
    return torch.randn(n, 3, generator=g), torch.randn(n, 4, generator=g), indices, weights, transforms


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_kernel_equals_twin(dtype: torch.dtype) -> None:
    means, quats, indices, weights, transforms = posed()
    fast = skin_gaussians(means, quats, indices.to(dtype), weights, transforms)
    slow = skin_gaussians_torch(
        means.double(), quats.double(), indices, weights.double(), transforms.double()
    )
    turns = matrix_to_quaternion(transforms[:, :3, :3])[indices]
    flipped = (turns * turns[:, :1]).sum(-1) < 0
    assert 0.1 < float(flipped.float().mean()) < 0.9  # the sign rule matters here
    torch.testing.assert_close(fast[0].double(), slow[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fast[1].double(), slow[1], atol=1e-4, rtol=1e-4)


def test_one_joint_is_a_rigid_motion() -> None:
    means, quats, indices, weights, transforms = posed(100)
    indices[:] = 7
    moved, turned = skin_gaussians(means, quats, indices, weights, transforms)
    turn, shift = transforms[7, :3, :3], transforms[7, :3, 3]
    torch.testing.assert_close(moved, means @ turn.T + shift, atol=1e-5, rtol=1e-5)
    expected = quaternion_multiply(matrix_to_quaternion(turn).expand_as(quats), quats)
    torch.testing.assert_close(turned, expected, atol=1e-5, rtol=1e-5)


def test_rest_pose_changes_nothing() -> None:
    means, quats, indices, weights, _ = posed(100)
    moved, turned = skin_gaussians(means, quats, indices, weights, torch.eye(4).repeat(55, 1, 1))
    torch.testing.assert_close(moved, means, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(turned, quats, atol=1e-6, rtol=1e-6)


def test_twin_is_differentiable() -> None:
    means, quats, indices, weights, transforms = posed(6, 5)
    inputs = [t.double().requires_grad_() for t in (means, quats, weights, transforms)]

    def skin(m: Tensor, q: Tensor, w: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        return skin_gaussians_torch(m, q, indices, w, a)

    assert torch.autograd.gradcheck(skin, inputs)


def test_no_gaussians() -> None:
    means, quats, indices, weights, transforms = posed(4)
    moved, turned = skin_gaussians(means[:0], quats[:0], indices[:0], weights[:0], transforms)
    assert moved.shape == (0, 3) and turned.shape == (0, 4)


@pytest.mark.parametrize("name", ["means", "quats", "joint_indices", "joint_weights", "A"])
def test_wrong_shapes_are_refused(name: str) -> None:
    parts = dict(zip(("means", "quats", "joint_indices", "joint_weights", "A"), posed(10), strict=True))
    parts[name] = parts[name][..., :-1]
    with pytest.raises(InvalidInputError, match=name):
        skin_gaussians(**parts)


def test_wrong_joints_are_refused() -> None:
    means, quats, indices, weights, transforms = posed(10)
    for value in (-1, 55):
        indices[3, 2] = value
        with pytest.raises(InvalidInputError, match="joint_indices"):
            skin_gaussians(means, quats, indices, weights, transforms)
