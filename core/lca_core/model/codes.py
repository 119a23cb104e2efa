"""Driving signals as vectors: the pose code (80), the view code (12 + pose code), the ARKit basis.

The pose-code layout is part of every checkpoint: 21 body joints x 3 axis-angle, 6 values per hand (mean
bend of
index, middle, pinky, ring, thumb about the finger's bending axis; mean sideways swing of the thumb), gaze
2 x 2,
one reserved zero. The jaw is driven by expression, so the jaw joint has no place in it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lca_core.body.rotation import axis_angle_to_matrix
from lca_core.model.config import POSE_CODE
from lca_core.model.references import References

POSE_LAYOUT = "body21x3,left_hand6,right_hand6,gaze2x2,zero1"


def pose_code(pose: Tensor, gaze: Tensor, width: int = POSE_CODE) -> Tensor:
    """pose [B,55,3] axis-angle, gaze [B,2,2] -> [B,80]; root orientation is left out (it moves nothing
    locally)."""
    if width != POSE_CODE:
        raise ValueError(f"The pose code is {POSE_CODE} wide, not {width}.")
    b = pose.shape[0]
    hands = []
    for start in (25, 40):
        fingers = pose[:, start : start + 15].reshape(b, 5, 3, 3)
        # Hands point along +-X at rest, palms down: fingers bend about Z, the thumb mostly about Y.
        hands.append(fingers[..., 2].mean(-1))
        hands.append(fingers[:, 4, :, 1].mean(-1, keepdim=True))
    parts = [pose[:, 1:22].reshape(b, 63), *hands, gaze.reshape(b, 4), pose.new_zeros(b, 1)]
    return torch.cat(parts, 1)


def view_code(refs: References, pose_dim: int = POSE_CODE) -> Tensor:
    """Camera relative to the pelvis (rotation 9, direction and inverse distance 3) and pose code:
    [B,N,12+80]."""
    b, n = refs.pose.shape[:2]
    root = axis_angle_to_matrix(refs.pose[:, :, 0])
    turn = refs.viewmats[..., :3, :3] @ root
    centre = (refs.viewmats[..., :3, :3] @ refs.transl[..., None])[..., 0] + refs.viewmats[..., :3, 3]
    depth = centre[..., 2:].clamp(min=0.1)
    place = torch.cat([centre[..., :2] / depth, 1 / depth], -1)
    code = pose_code(refs.pose.flatten(0, 1), refs.gaze.flatten(0, 1), pose_dim).view(b, n, -1)
    return torch.cat([turn.flatten(-2), place, code], -1)


def expression_basis(width: int) -> Tensor:
    """Orthonormal start of the linear map ARKit-52 -> code, [width, 52]; fixed seed, then learned."""
    generator = torch.Generator().manual_seed(52)
    q, _ = torch.linalg.qr(torch.randn(max(width, 52), max(width, 52), generator=generator))
    return q[:width, :52].contiguous()
