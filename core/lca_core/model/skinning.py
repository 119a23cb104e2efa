"""Coarse skin weights and their learned residual: ``W' = softmax(log W + H)``.

The network predicts H for 24 coarse joints (22 body joints + two hands); fingers share their hand's
residual and
jaw and eyes share the head's. The softmax form keeps weights positive with sum 1 (Large-scale Codec
Avatars adds H).
"""

from __future__ import annotations

import torch
from torch import Tensor

from lca_core.body.names import JOINT_NAMES, NUM_JOINTS
from lca_core.model.config import SKIN_JOINTS


def _coarse_of_joint() -> tuple[int, ...]:
    out = []
    for i, name in enumerate(JOINT_NAMES):
        if i < 22:
            out.append(i)
        elif i < 25:
            out.append(JOINT_NAMES.index("head"))
        else:
            out.append(22 if name.startswith("left") else 23)
    return tuple(out)


COARSE_OF_JOINT: tuple[int, ...] = _coarse_of_joint()
"""Coarse joint (0..23) whose residual each of the 55 joints uses."""

assert max(COARSE_OF_JOINT) == SKIN_JOINTS - 1 and len(COARSE_OF_JOINT) == NUM_JOINTS

REACH = 0.02
"""Weight given to a joint in the reach of the residual although the template gives it none. Without it log
W would
be minus infinity and a skirt texel bound to one leg could never learn to listen to the other."""


def reach_of(weights: Tensor) -> Tensor:
    """Template weights [..., T, 55] -> bool [..., T, 55]: joints that the residual may raise from zero.

    These are hips, knees and the spine for texels that already listen to one of them (skirts), nothing
    else: a hand
    must never learn to follow a thigh.
    """
    lower = [JOINT_NAMES.index(n) for n in ("pelvis", "left_hip", "right_hip", "left_knee", "right_knee")]
    listens = weights[..., lower].sum(-1, keepdim=True) > 0.5
    allowed = torch.zeros(NUM_JOINTS, dtype=torch.bool, device=weights.device)
    allowed[lower] = True
    return listens & allowed


def residual_weights(weights: Tensor, logits: Tensor) -> Tensor:
    """Template weights [T,55] or [B,T,55] and coarse logits [B,T,24] -> weights [B,T,55], rows sum to 1.

    Logits of zero return the template weights exactly: joints that the template does not use enter with
    ``REACH * max(exp(H) - 1, 0)`` (the clamp passes the gradient at zero, where training starts).
    """
    fine = logits[..., torch.as_tensor(COARSE_OF_JOINT, device=logits.device)]
    used = weights * fine.exp()
    raised = reach_of(weights) & (weights < REACH)
    extra = torch.where(raised, REACH * (fine.exp() - 1).clamp(min=0), torch.zeros_like(fine))
    total = used + extra
    return total / total.sum(-1, keepdim=True)
