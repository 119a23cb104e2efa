"""Turns network results into the tensors a body fit compares with: 2D points, 3D directions, silhouettes.

Units: pixels divided by a hundredth of the body size ("percent"), so that one weight set serves every
resolution. Directions are unit vectors in world axes (x right, y up, z towards the camera).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from lca_core.body.names import NUM_ARKIT

from .fit_body import FACE_POINTS, LINK_POINTS
from .networks import Array
from .pose import POSE_INDEX, PoseResult
from .select import HIPS, SHOULDERS, Observation

TO_WORLD = np.array([1.0, -1.0, -1.0], np.float32)
"""Camera axes (x right, y down, z away) to world axes."""

POINT_WEIGHTS: dict[str, float] = {
    "hip": 0.7, "heel": 0.6, "foot_index": 0.6, "nose": 0.3, "eye": 0.3, "ear": 0.2,
}  # fmt: skip

LIMBS: tuple[tuple[str, str], ...] = (
    *((f"{s}_{a}", f"{s}_{b}") for s in ("left", "right") for a, b in
      (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"), ("heel",
      "foot_index"))),
    ("right_shoulder", "left_shoulder"), ("right_hip", "left_hip"),
)  # fmt: skip
"""The 12 directions taken from the world landmarks."""

HAND_BONES: tuple[tuple[int, int], ...] = tuple(
    (0 if k == 0 else 4 * f + k, 4 * f + k + 1) for f in range(5) for k in range(4)
)
"""20 bones of a 21-point hand."""

HIDDEN_WEIGHT = 0.08
CHAINS: tuple[tuple[str, str], ...] = tuple(
    (f"{s}_{near}", f"{s}_{far}")
    for s in ("left", "right")
    for near, far in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"),
                      ("ankle", "heel"), ("ankle", "foot_index"))
)  # fmt: skip
GUESSED = 0.5
"""Visibility below which a point is a guess; behind the picture's edge a guess has nothing to start from."""
BACK, UNSEEN_TOES = np.radians(110.0), 0.1
"""Beyond this body yaw (radians) toes are hidden by the heels and guessed splayed: their weight falls."""
MIN_EVIDENCE = 8.0
"""In close-ups few points are left: their weights are raised (at most fourfold) towards this sum."""
CONTOUR_POINTS = 240
DISTANCE_SIDE = 256


@dataclass(frozen=True)
class Targets:
    """Observations of T frames as tensors.

    Attributes:
        points [T,21,2] px, point_weights [T,21]; limbs [T,12,3], limb_weights [T,12]; spine [T,3] hips to
        shoulders; hands [T,2,21,2] px, hand_bones [T,2,20,3], hand_weights [T,2]; face [T,F,2] px,
        face_weights [T], expression [T,52]; head [T,3,3] head axes (left, up, front) in world axes,
        head_weights [T]; outside [T,1,D,D] distance to the mask in percent on the square of side ``square``
        [T] px; contour [T,240,2] px, contour_weights [T,240]; percent [T] pixels per percent of the
        standing size, visible_percent [T] of the visible part; centre [T,2] principal points px; sizes
        [T,2] px.
    """

    points: Tensor
    point_weights: Tensor
    limbs: Tensor
    limb_weights: Tensor
    spine: Tensor
    hands: Tensor
    hand_bones: Tensor
    hand_weights: Tensor
    face: Tensor
    face_weights: Tensor
    expression: Tensor
    head: Tensor
    head_weights: Tensor
    outside: Tensor
    square: Tensor
    contour: Tensor
    contour_weights: Tensor
    percent: Tensor
    visible_percent: Tensor
    centre: Tensor
    sizes: Tensor

    def __len__(self) -> int:
        return len(self.points)


def build_targets(
    seen: list[Observation],
    masks: list[Array],
    sizes: np.ndarray,
    seed: int = 0,
    *,
    expression: Array | None = None,
) -> Targets:
    """Collect the targets of the chosen frames.

    Args:
        seen: observations, one per frame.
        masks: matte [H,W] per frame.
        sizes: [T,2] valid width and height per frame.
        expression: [T,52] ARKit weights, fixed during the fit; neutral when left out.
    """
    rng = np.random.default_rng(seed)
    rows = [_frame_targets(o, m, s, rng) for o, m, s in zip(seen, masks, np.asarray(sizes), strict=True)]
    weights = np.zeros((len(rows), NUM_ARKIT)) if expression is None else expression
    for row, values in zip(rows, weights, strict=True):
        row["expression"] = values
    columns = {key: torch.as_tensor(np.stack([r[key] for r in rows]).astype(np.float32)) for key in rows[0]}
    return Targets(**columns)


def point_confidence(pose: PoseResult, size: Array) -> Array:
    """Visibility squared where the point is inside the picture, else 0: [33].

    Points inside the picture keep ``HIDDEN_WEIGHT``: the tracker's guess of a hidden joint beats the prior's.
    Not so when the limb has left the picture before: a close-up of a face must not grow hands.
    """
    inside = ((pose.points >= 0) & (pose.points < size)).all(1)
    conf = (np.maximum(pose.visibility**2, HIDDEN_WEIGHT) * inside).astype(np.float32)
    for near, far in CHAINS:
        if conf[POSE_INDEX[near]] == 0 and pose.visibility[POSE_INDEX[far]] < GUESSED:
            conf[POSE_INDEX[far]] = 0.0
    return conf


def _frame_targets(o: Observation, mask: Array, size: Array, rng: np.random.Generator) -> dict[str, Any]:
    percent = o.pose.standing_size / 100.0
    conf = point_confidence(o.pose, size)
    names = list(POSE_INDEX)
    base = np.array([next((w for k, w in POINT_WEIGHTS.items() if k in names[i]), 1.0) for i in LINK_POINTS])
    weights = base * conf[LINK_POINTS]
    a, b = ([POSE_INDEX[pair[k]] for pair in LIMBS] for k in (0, 1))
    limb_weights = np.minimum(conf[a], conf[b])
    if abs(o.yaw) > BACK:
        toes = [POSE_INDEX[f"{s}_foot_index"] for s in ("left", "right")]
        weights = weights * np.where(np.isin(LINK_POINTS, toes), UNSEEN_TOES, 1.0)
        limb_weights = limb_weights * np.where(np.isin(b, toes), UNSEEN_TOES, 1.0)
    out: dict[str, Any] = {
        "points": o.pose.points[LINK_POINTS],
        "point_weights": weights * np.clip(MIN_EVIDENCE / max(weights.sum(), 1e-3), 1.0, 4.0),
        "limbs": _unit((o.pose.world[b] - o.pose.world[a]) * TO_WORLD),
        "limb_weights": limb_weights,
        "spine": _unit((o.pose.world[SHOULDERS].mean(0) - o.pose.world[HIPS].mean(0)) * TO_WORLD),
        "percent": np.float32(percent),
        "visible_percent": np.float32(o.pose.body_size / 100.0),
        "centre": 0.5 * size,
        "sizes": size,
    }
    points, bones, scores = np.zeros((2, 21, 2)), np.zeros((2, 20, 3)), np.zeros(2)
    for k, hand in enumerate(o.hands):
        if hand is None:
            continue
        first, second = np.array(HAND_BONES).T
        points[k], scores[k] = hand.points, hand.score
        bones[k] = _unit((hand.world[second] - hand.world[first]) * TO_WORLD)
    out |= {"hands": points, "hand_bones": bones, "hand_weights": scores}
    head, weight, face_points = np.eye(3), 0.0, np.zeros((len(FACE_POINTS), 2))
    trust: float = 0.0
    if o.face is not None:
        left, down, back = (o.face.rotation * TO_WORLD[:, None]).T
        head, weight = np.stack([left, -down, -back], 1), float(np.clip(2 * np.cos(o.face.yaw), 0.2, 1.0))
        face_points = o.face.points[FACE_POINTS, :2].astype(np.float64)
        # Far sides of profiles are guessed, and faces of some 20 px are all guess.
        trust = o.face.score * np.clip(2 * np.cos(o.face.yaw), 0, 1) * np.clip(o.face.width / 40 - 0.5, 0, 1)
    out |= {"face": face_points, "face_weights": np.float32(trust)}
    out |= {"head": head, "head_weights": np.float32(weight)}
    return out | _silhouette(mask, size, percent, rng)


def _silhouette(mask: Array, size: Array, percent: float, rng: np.random.Generator) -> dict[str, Any]:
    """Distance map outside the mask, and contour points that do not lie on the picture's edge."""
    width, height = int(size[0]), int(size[1])
    solid = mask[:height, :width] > 0.5
    side = float(max(width, height))
    step = side / DISTANCE_SIDE
    # Beyond the picture nothing is known: distance 0 there.
    grid = (np.arange(DISTANCE_SIDE) + 0.5) * step
    cols, rows = np.minimum(grid.astype(int), width - 1), np.minimum(grid.astype(int), height - 1)
    distance = np.zeros((DISTANCE_SIDE, DISTANCE_SIDE), np.float32)
    if solid.any():
        far = ndimage.distance_transform_edt(~solid) / percent
        distance = far[np.ix_(rows, cols)].astype(np.float32)
    distance[:, grid >= width] = 0
    distance[grid >= height] = 0
    edge = solid & ~ndimage.binary_erosion(solid, border_value=1)
    margin = max(2, int(0.01 * side))
    edge[:margin], edge[-margin:], edge[:, :margin], edge[:, -margin:] = False, False, False, False
    ys, xs = np.nonzero(edge)
    points, weights = np.zeros((CONTOUR_POINTS, 2)), np.zeros(CONTOUR_POINTS)
    if len(xs) >= CONTOUR_POINTS // 4:
        pick = rng.choice(len(xs), CONTOUR_POINTS, replace=len(xs) < CONTOUR_POINTS)
        points, weights = np.stack([xs[pick], ys[pick]], 1) + 0.5, np.ones(CONTOUR_POINTS)
    return {
        "outside": distance[None],
        "square": np.float32(side),
        "contour": points,
        "contour_weights": weights,
    }


def _unit(v: Array) -> Array:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)
