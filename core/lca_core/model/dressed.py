"""What an offset surface does to the Gaussians on it: how it stretches and turns against the body below.

In: texel positions and frames of the rest body, offsets in those frames. Out: log stretch and rotation maps,
the targets of training and the correction of creation where masks move the predicted surface.
"""

from __future__ import annotations

import torch
from torch import Tensor


def dressed_shape(position: Tensor, frame: Tensor, offset: Tensor, surface: Tensor) -> tuple[Tensor, Tensor]:
    """How clothing stretches and turns the surface at each texel.

    Args:
        position [3,U,U] rest texel positions; frame [U,U,3,3]; offset [3,U,U] tangent frame; surface [1,U,U].

    Returns:
        log_scale [3,U,U]: log stretch along tangent, bitangent; 0 along the normal. quat [4,U,U] wxyz: the
        shortest
        rotation in the tangent frame that takes the body normal to the dressed normal (at most 60 degrees).
    """
    dressed = position + torch.einsum("hwij,jhw->ihw", frame, offset)
    steps = []
    logs = []
    for axis in (2, 1):

        def central(values: Tensor, axis: int = axis) -> Tensor:
            return torch.roll(values, -1, axis) - torch.roll(values, 1, axis)

        near, step = central(position), central(dressed)
        both = surface * torch.roll(surface, -1, axis) * torch.roll(surface, 1, axis)
        length = near.norm(dim=0, keepdim=True)
        # Neighbours on another chart are far away on the body: no derivative there.
        both = both * (length < 0.06) * (length > 1e-5)
        ratio = step.norm(dim=0, keepdim=True).clamp(min=1e-6) / length.clamp(min=1e-6)
        logs.append(torch.where(both > 0, ratio.log().clamp(-0.7, 0.7), torch.zeros_like(ratio)))
        steps.append((step, both))
    (du, ok_u), (dv, ok_v) = steps
    normal = torch.cross(du, dv, dim=0)
    local = torch.einsum("hwij,ihw->jhw", frame, normal)
    local = local * torch.where(local[2:] < 0, -1.0, 1.0)
    length = local.norm(dim=0, keepdim=True)
    flat = torch.zeros_like(local)
    flat[2] = 1
    good = (ok_u * ok_v > 0) & (length > 1e-10)
    local = torch.where(good, local / length.clamp(min=1e-10), flat)
    cosine = local[2:].clamp(0.5, 1)
    tilt = local[:2] / local[:2].norm(dim=0, keepdim=True).clamp(min=1e-6)
    half = torch.acos(cosine) / 2
    axis_vector = torch.cat([-tilt[1:], tilt[:1], torch.zeros_like(cosine)])
    quat = torch.cat([half.cos(), half.sin() * axis_vector])
    return torch.cat([*logs, torch.zeros_like(cosine)]), quat
