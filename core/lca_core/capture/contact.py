"""Hands and the rest of the body share no space: torso samples with normals in, a penalty for hands out.

One camera hardly sees depth, so a hand before the belly or on the hip is easily fitted into the body or some
centimetres off it. Hands may not enter, and a hand that is already close is drawn to the surface. Torso, head
and thighs count; the samples move with the same skinning as the body.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lca_core.body.atlas import vertex_normals
from lca_core.body.lbs import blend_transforms
from lca_core.body.model import BodyModel
from lca_core.body.names import JOINT_INDEX, JOINT_NAMES

from .sampling import spread_sample

PERCENT_M = 0.017

SAMPLES = 400
"""Five centimetres apart: the tangent planes between two lie three millimetres outside the surface."""
ARMS = [
    j
    for name, j in JOINT_INDEX.items()
    if j >= JOINT_NAMES.index("left_index1") or any(p in name for p in ("shoulder", "elbow", "wrist"))
]
FLESH_M = 0.01
"""Joints lie this deep inside a finger, so this far above what it touches."""
NEAR_M = 0.04
"""Closer hands touch, as far as one camera can tell; the others are free, or every hand before the body
would end up on it."""
PULL = 0.1
"""Weight of drawing near against that of keeping out."""


class BodySurface:
    """Evenly spread surface samples of everything but the arms.

    Args:
        body: the full body.
        seed: of the sample.
    """

    def __init__(self, body: BodyModel, seed: int = 0) -> None:
        on_arm = torch.isin(body.weights.argmax(1), torch.tensor(ARMS))
        outer = torch.nonzero((body.part == 0) & ~body.cavity & ~on_arm)[:, 0].numpy()
        keep = outer[spread_sample(body.v_template.numpy()[outer], SAMPLES, seed)]
        self.template, self.dirs, self.weights = (
            body.v_template[keep],
            body.shapedirs[keep],
            body.weights[keep],
        )
        self.normals = vertex_normals(body.v_template, body.faces)[keep]

    def gaps(self, points: Tensor, betas: Tensor, transforms: Tensor, move: Tensor) -> Tensor:
        """Signed distance [T,P] in metres of points [T,P,3] to the posed surface, negative inside.

        Measured to the tangent plane of the nearest sample, so far away only roughly right.

        Args:
            betas: [B]; transforms: [T,55,4,4] of :func:`joint_transforms`; move: [T,1,3] added after them.
        """
        blended = blend_transforms(self.weights, transforms)
        rest = self.template + self.dirs @ betas
        samples = (blended[..., :3] @ rest[..., None])[..., 0] + blended[..., 3] + move
        normals = torch.nn.functional.normalize((blended[..., :3] @ self.normals[..., None])[..., 0], dim=-1)
        with torch.no_grad():
            nearest = torch.cdist(points, samples).argmin(-1)[..., None].expand(-1, -1, 3)
        return ((points - samples.gather(1, nearest)) * normals.gather(1, nearest)).sum(-1)


def contact_penalty(gaps: Tensor) -> Tensor:
    """Squared trespass of hand points [T,2,21] (metres), plus a weak pull of close ones to the surface: [T].

    In percent of a 1.7 m body, like the other residuals; mean over a hand's points, sum over hands.
    """
    beyond = (gaps - FLESH_M) / PERCENT_M
    inside = torch.relu(-beyond) ** 2
    reach = (NEAR_M - FLESH_M) / PERCENT_M
    off = (torch.relu(beyond) / reach).clamp_max(1.0)
    pull = reach**2 / 3 * (1 - (1 - off**2) ** 3)  # Tukey: quadratic at the surface, flat from NEAR_M on
    return (inside + PULL * pull).mean(-1).sum(1)
