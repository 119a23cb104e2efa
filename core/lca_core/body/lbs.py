"""Linear blend skinning as pure functions: joint rotations in, skinning matrices out, points moved by them.

Follows SMPL (Loper et al. 2015): every joint turns about its rest position and carries its children along.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

Parents = Sequence[int] | Tensor


@lru_cache(maxsize=8)
def _levels(parents: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Joint numbers grouped by depth, so that one batched product serves a whole level."""
    depth: list[int] = []
    for joint, parent in enumerate(parents):
        if not -1 <= parent < joint:
            raise ValueError(f"parents must come before children; joint {joint} has parent {parent}")
        depth.append(0 if parent < 0 else depth[parent] + 1)
    return tuple(tuple(j for j, d in enumerate(depth) if d == level) for level in range(max(depth) + 1))


def joint_transforms(rotmats: Tensor, joints: Tensor, parents: Parents) -> tuple[Tensor, Tensor]:
    """Forward kinematics.

    Args:
        rotmats: local rotation of every joint ``[..., J, 3, 3]``; entry 0 is the root.
        joints: rest positions ``[..., J, 3]``, metres.
        parents: ``J`` parent indices, -1 for the root; parents come before children.

    Returns:
        Posed joint positions ``[..., J, 3]`` and skinning matrices A ``[..., J, 4, 4]`` that take a
        rest-space point to its posed place if it follows that joint alone. The root turns about its own rest
        position.
    """
    table = tuple(int(p) for p in (parents.tolist() if isinstance(parents, Tensor) else parents))
    levels = _levels(table)
    order = [j for level in levels for j in level]
    rotations: list[Tensor] = [rotmats[..., list(levels[0]), :, :]]
    positions: list[Tensor] = [joints[..., list(levels[0]), :]]
    for above, level in pairwise(levels):
        slot = [above.index(table[j]) for j in level]
        turn = rotations[-1][..., slot, :, :]
        bone = joints[..., list(level), :] - joints[..., [table[j] for j in level], :]
        positions.append((turn @ bone[..., None])[..., 0] + positions[-1][..., slot, :])
        rotations.append(turn @ rotmats[..., list(level), :, :])
    back = [order.index(j) for j in range(len(order))]
    rotation = torch.cat(rotations, dim=-3)[..., back, :, :]
    posed = torch.cat(positions, dim=-2)[..., back, :]
    shift = posed - (rotation @ joints[..., None])[..., 0]
    upper = torch.cat([rotation, shift[..., None]], dim=-1)
    last = upper.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*upper.shape[:-2], 1, 4)
    return posed, torch.cat([upper, last], dim=-2)


def blend_transforms(weights: Tensor, transforms: Tensor) -> Tensor:
    """Per-point 3x4 matrices ``[..., N, 3, 4]`` from weights ``[..., N, J]`` and A ``[..., J, 4, 4]``."""
    flat = transforms[..., :3, :].flatten(-2)
    return (weights @ flat).unflatten(-1, (3, 4))


def skin_points(points: Tensor, weights: Tensor, transforms: Tensor) -> Tensor:
    """Move rest-space ``points [..., N, 3]`` by A ``[..., J, 4, 4]`` with weights ``[..., N, J]`` (rows sum
    to 1).
    """
    blended = blend_transforms(weights, transforms)
    return (blended[..., :3] @ points[..., None])[..., 0] + blended[..., 3]
