"""The node deformer of loose garments: smooth skin weights for skirts and dresses (LGS of Large-scale Codec
Avatars).

``W' = softmax(log W + H)`` at sparse nodes: W are smoothed weights of the legs and the pelvis at the node's
place, H comes from a small network that has seen simulated skirts (:mod:`lca_core.train.loose`). In: points
of a garment in the T-pose, rest joints, the heights of waist and hem. Out: weights over the 55 joints. It
sees geometry only, so it serves photographs, simulated cloth and proxy meshes alike.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy.spatial import cKDTree
from torch import Tensor, nn
from torch.nn import functional as F

from lca.errors import InvalidInputError
from lca_core.body.names import JOINT_INDEX, NUM_JOINTS
from lca_core.body.points import farthest_points

JOINTS = ("pelvis", "left_hip", "right_hip", "left_knee", "right_knee")
INDEX = tuple(JOINT_INDEX[n] for n in JOINTS)
MIRROR = (0, 2, 1, 4, 3)
FEATURES = 16
NODES, NEAREST = 160, 6
"""Nodes of a garment, and how many of them a point mixes."""
WEIGHTS = Path(__file__).parent / "weights" / "loose.safetensors"
FLOOR = 0.02
"""Least base weight: log W stays finite and every node may listen to both legs."""
SIDE_M, BEND_M = 0.06, 0.07
"""Softness of the change from leg to leg, and along a leg at hip and knee, metres."""
PINNED = (0.02, 0.22)
"""Share of the way from waist to hem over which the body's own weights give way."""


def base_weights(x: Tensor, joints: Tensor) -> Tensor:
    """Smooth leg weights (N,5) in the order of ``JOINTS`` at points (N,3) of a T-pose with joints (55,3)."""
    left, right = (_distance(x, joints, side) for side in ("left", "right"))
    side = torch.sigmoid((right - left) / SIDE_M)
    hip = joints[[JOINT_INDEX["left_hip"], JOINT_INDEX["right_hip"]], 1].mean()
    knee = joints[[JOINT_INDEX["left_knee"], JOINT_INDEX["right_knee"]], 1].mean()
    leg = torch.sigmoid((hip - 0.03 - x[:, 1]) / BEND_M)
    shin = torch.sigmoid((knee - x[:, 1]) / BEND_M)
    thigh = leg * (1 - shin)
    shin = leg * shin
    w = torch.stack([1 - leg, thigh * side, thigh * (1 - side), shin * side, shin * (1 - side)], 1)
    w = w + FLOOR
    return w / w.sum(1, keepdim=True)


def _distance(x: Tensor, joints: Tensor, side: str) -> Tensor:
    """Distance of points (N,3) to a leg's axis."""
    chain = [joints[JOINT_INDEX[f"{side}_{n}"]] for n in ("hip", "knee", "ankle")]
    out = []
    for a, b in itertools.pairwise(chain):
        t = (((x - a) @ (b - a)) / (b - a).square().sum()).clamp(0, 1)
        out.append((x - a - t[:, None] * (b - a)).norm(dim=1))
    return torch.minimum(*out)


def features(x: Tensor, joints: Tensor, waist: float, hem: float) -> Tensor:
    """(N,FEATURES): place relative to the pelvis, height between waist and hem, where hem and knee are,
    distances to both legs and the pelvis's axis, and the way around the garment."""
    pelvis = joints[0]
    hips = joints[[JOINT_INDEX["left_hip"], JOINT_INDEX["right_hip"]]].mean(0)
    knee = joints[[JOINT_INDEX["left_knee"], JOINT_INDEX["right_knee"]]].mean(0)
    ankle = joints[[JOINT_INDEX["left_ankle"], JOINT_INDEX["right_ankle"]]].mean(0)
    leg = hips[1] - ankle[1]
    local = (x - torch.stack([pelvis[0], hips[1], hips[2]])) / leg
    t = (waist - x[:, 1]) / (waist - hem)
    left, right = (_distance(x, joints, side) / leg for side in ("left", "right"))
    radius = local[:, [0, 2]].norm(dim=1)
    around = local[:, [0, 2]] / radius.clamp(min=1e-3)[:, None]
    level = (hips[1] - x[:, 1]) / leg
    end = (hips[1] - hem) / leg * torch.ones_like(t)
    bend = (hips[1] - knee[1]) / leg
    return torch.stack(
        [4 * local[:, 0], 2 * local[:, 1], 4 * local[:, 2], t, t * t, end, level - bend, 4 * left, 4 * right,
         4 * radius, around[:, 0], around[:, 1], around[:, 0] * t, around[:, 1] * t,
         4 * (right - left), end * t],
        1,
    )  # fmt: skip


class LooseNet(nn.Module):
    """Features (N,16) -> H (N,5); mirrored features give mirrored H by construction."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        last = nn.Linear(width, len(JOINTS))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.net = nn.Sequential(
            nn.Linear(FEATURES, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), last
        )

    def forward(self, f: Tensor) -> Tensor:
        sign = torch.ones(FEATURES)
        sign[[0, 10, 12, 14]] = -1
        order = list(range(FEATURES))
        order[7], order[8] = 8, 7
        mirrored = (f * sign)[:, order]
        h: Tensor = 0.5 * (self.net(f) + self.net(mirrored)[:, list(MIRROR)])
        return h - h.mean(1, keepdim=True)


def leg_weights(net: LooseNet, x: Tensor, joints: Tensor, waist: float, hem: float) -> tuple[Tensor, Tensor]:
    """Weights (N,5) = softmax(log W + H), and H; differentiable."""
    h = net(features(x, joints, waist, hem))
    return F.softmax(base_weights(x, joints).log() + h, 1), h


def pinned_share(y: NDArray[np.floating], waist: float, hem: float) -> NDArray[np.float64]:
    """How far points at height ``y`` (N,) follow the body's own weights: 1 at the waist, 0 below."""
    t = (waist - np.asarray(y, np.float64)) / (waist - hem)
    s = np.clip((t - PINNED[0]) / (PINNED[1] - PINNED[0]), 0, 1)
    return np.asarray(1 - s * s * (3 - 2 * s), np.float64)


@lru_cache(maxsize=4)
def load_deformer(path: Path = WEIGHTS) -> LooseNet:
    """The trained deformer; raises InvalidInputError when the file does not fit."""
    net = LooseNet()
    try:
        net.load_state_dict(load_file(path))
    except (OSError, RuntimeError) as error:
        raise InvalidInputError(f"{path} is no deformer of loose garments: {error}") from error
    return net.eval()


def node_weights(
    points: NDArray[np.floating], weights: NDArray[np.floating], joints: NDArray[np.floating], waist: float,
    hem: float, net: LooseNet | None = None,
) -> NDArray[np.float32]:  # fmt: skip
    """New skin weights of the points of one loose garment: the deformer at sparse nodes (farthest points),
    carried to all points by smooth shares.

    Below the waist every point follows nodes only, so no two neighbours can be torn apart by what the body
    beneath them does.

    Args:
        points: (N,3) T-pose, metres. weights: (N,55) the body's. joints: (55,3) at rest. waist, hem:
            heights of the garment's ends, metres.

    Returns:
        (N,55): the body's weights at the waist, the deformer's below.

    Raises:
        InvalidInputError: the hem lies above the waist.
    """
    if not waist > hem:
        raise InvalidInputError(f"The hem ({hem:.2f} m) must lie below the waist ({waist:.2f} m).")
    if not len(points):
        return np.zeros((0, NUM_JOINTS), np.float32)
    points = np.asarray(points, np.float32)
    chosen = farthest_points(points, NODES)
    at = points[chosen]
    # Nodes carry the deformer alone; the body's weights come in per point.
    net = net or load_deformer()
    with torch.no_grad():
        five, _ = leg_weights(
            net, torch.from_numpy(at), torch.from_numpy(np.asarray(joints, np.float32)), waist, hem
        )
    near = min(NEAREST, len(chosen))
    distance, index = cKDTree(at).query(points, near)
    distance, index = distance.reshape(len(points), near), index.reshape(len(points), near)
    share = np.square(1 - np.minimum(distance / np.maximum(distance[:, -1:], 1e-6), 1)) + 1e-6
    share /= share.sum(1, keepdims=True)
    full = np.zeros((len(points), NUM_JOINTS), np.float32)
    full[:, list(INDEX)] = (share[..., None] * five.numpy()[index]).sum(1)
    keep = pinned_share(points[:, 1], waist, hem)[:, None].astype(np.float32)
    out = keep * weights + (1 - keep) * full
    return np.asarray(out / out.sum(1, keepdims=True), np.float32)
