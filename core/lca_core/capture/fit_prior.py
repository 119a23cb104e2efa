"""What the fit assumes about poses it cannot see: prior rotations and their weights, and which joints move.

In: the targets' weights; out: tensors for the fit. A limb that nothing in the picture speaks for hangs at
rest: left free, it would reach for the outline of hair and clothes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lca_core.body.names import JOINT_INDEX, NUM_JOINTS

from .fit_body import BODY_LINKS
from .fit_targets import Targets

FREE_JOINTS = [
    j
    for name, j in JOINT_INDEX.items()
    if name not in ("pelvis", "jaw", "left_foot", "right_foot") and "eye" not in name
]


def pose_prior(num_joints: int = NUM_JOINTS) -> tuple[Tensor, Tensor]:
    """Centre [55,3] (arms down, fingers relaxed) and weight [55,3] of the rotation prior."""
    centre, weight = torch.zeros(num_joints, 3), torch.ones(num_joints, 3)
    per_joint = {
        "hip": 0.3, "knee": 0.3, "elbow": 0.3, "shoulder": 0.2, "wrist": 1.0, "ankle": 1.5,
        "spine": 4.0, "neck": 1.0, "head": 1.0, "collar": 2.0,
    }  # fmt: skip
    for name, j in JOINT_INDEX.items():
        for part, value in per_joint.items():
            if part in name:
                weight[j] = value
        side = 1.0 if name.startswith("left") else -1.0
        if name.endswith("shoulder"):
            centre[j] = torch.tensor([0.0, 0.0, -1.1 * side])
        elif name.endswith("elbow"):
            centre[j] = torch.tensor([0.0, -0.25 * side, 0.0])
            weight[j] = torch.tensor([1.0, 0.3, 2.0])  # a hinge about Y, a little twist
        elif name.endswith("knee"):
            weight[j] = torch.tensor([0.3, 3.0, 3.0])  # a hinge about X
        elif any(f in name for f in ("index", "middle", "ring", "pinky")):
            # Curl turns the fingers (along +-X) towards the palm (-Y); they hardly spread or twist.
            centre[j] = torch.tensor([0.0, 0.0, -0.35 * side])
            weight[j] = torch.tensor([4.0, 2.0, 1.0])
        elif "thumb" in name:
            weight[j] = 2.0
    weight[[JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"]]] = 0.0
    return centre, weight


def moving_joints(targets: Targets) -> Tensor:
    """1 for joints that the fit turns, 0 for those it leaves at the prior: [T,55,1].

    Toes, jaw and eyes are never turned; a limb's joint is when some point beyond it was seen.
    """
    free = torch.zeros(len(targets), NUM_JOINTS, 1)
    free[:, FREE_JOINTS] = 1.0
    at = {name: i for i, (name, _) in enumerate(BODY_LINKS)}
    chains = (("collar", "shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
    for side, found in zip(("left", "right"), targets.hand_weights.T, strict=True):
        for chain in chains:
            for i, joint in enumerate(chain):
                beyond = [at[f"{side}_{part}"] for part in chain[min(i + 1, len(chain) - 1) :]]
                seen = targets.point_weights[:, beyond].sum(1) > 0
                if chain[-1] == "wrist":
                    seen = seen | (found > 0)
                free[:, JOINT_INDEX[f"{side}_{joint}"], 0] = seen.float()
    return free
