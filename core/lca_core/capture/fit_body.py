"""A thin view of the body for fitting: skeleton, image landmarks and a sparse skin, all differentiable.

In: the embedded body. Out: joints and some nine hundred posed points per frame, far cheaper than posing every
vertex. The wrist correctives are left out: they move forearm skin by millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lca_core.body.landmarks import STANDARD_VERTICES, face_links
from lca_core.body.lbs import joint_transforms, skin_points
from lca_core.body.model import BodyModel
from lca_core.body.names import JOINT_INDEX, JOINT_PARENTS

from .contact import BodySurface
from .pose import POSE_INDEX
from .sampling import spread_sample

SKIN_POINTS = 900

FACE_POINTS = np.arange(0, 468, 3)
"""Face-mesh points used by the fit; neighbours say almost the same."""

FACE_SPREAD = 0.004
"""Metres: a face link that varied this much over people and views counts half."""

FINGERS = ("thumb", "index", "middle", "ring", "pinky")

BODY_LINKS: tuple[tuple[str, str], ...] = (
    *((f"{s}_{p}", f"{s}_{p}") for s in ("left", "right") for p in
      ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")),
    ("left_heel", "LHeel"), ("right_heel", "RHeel"),
    ("left_foot_index", "LBigToe"), ("right_foot_index", "RBigToe"),
    ("nose", "nose"), ("left_eye", "leye"), ("right_eye", "reye"), ("left_ear", "lear"), ("right_ear",
    "rear"),
)  # fmt: skip
"""(image landmark, body joint or standard vertex), joints first: the 21 points that tie the body to an
image."""

BODY_JOINTS = [JOINT_INDEX[b] for _, b in BODY_LINKS if b in JOINT_INDEX]
LINK_POINTS = [POSE_INDEX[i] for i, _ in BODY_LINKS]
EARS = [[name for name, _ in BODY_LINKS].index(f"{side}_ear") for side in ("left", "right")]

LINK_OFFSETS: dict[str, tuple[str, tuple[float, float, float]]] = {
    "shoulder": ("spine3", (-4, 8, -2)), "elbow": ("shoulder", (-18, 0, 2)), "wrist": ("elbow", (8, -5, 5)),
    "hip": ("pelvis", (-10, -4, 24)), "knee": ("hip", (-8, 0, 15)), "ankle": ("knee", (0, 20, 12)),
    "heel": ("ankle", (-3, 15, 17)), "foot_index": ("ankle", (14, 7, -24)),
    "nose": ("head", (0, 7, -11)), "eye": ("head", (0, -2, -9)), "ear": ("head", (4, -1, 43)),
}  # fmt: skip
"""Where the tracker's points lie beside our joints and vertices: the joint that carries them, and millimetres
in its axes (left, up, front) on the left side. Measured with the run-time network on renders of four training
people of known pose (190 frames): least squares over 2D misses, which fall by 10 to 45 percent."""

EAR_INSET = 0.18
"""The tracker marks the ear canal, the standard vertex is the ear's rim: this share of the ear distance
further in (median over 24 frames of three people; 1.6 percent of body size without it)."""


@dataclass(frozen=True)
class Posed:
    """World positions of one batch: joints [T,55,3], landmarks [T,21,3], hands [T,2,21,3], face [T,F,3],
    skin [T,S,3] (S = 0 when the skin was not asked for), gaps [T,2,21] metres between hand points and the
    rest of the body (None when not asked for).

    ``rotations`` [T,55,3,3] are global.
    """

    joints: Tensor
    landmarks: Tensor
    hands: Tensor
    face: Tensor
    skin: Tensor
    rotations: Tensor
    gaps: Tensor | None = None


class FitBody:
    """Sparse body with the same skeleton, shape space and skinning weights as the full one.

    Args:
        body: the full body.
        seed: of the skin sample; eyes, tongue and inner surfaces are never sampled.
        own_links: the landmarks are those of the built-in tracker (``LINK_OFFSETS``), not true joints.
    """

    def __init__(self, body: BodyModel, seed: int = 0, *, own_links: bool = True) -> None:
        template = body.v_template.numpy()
        outer = np.flatnonzero((body.part.numpy() == 0) & ~body.cavity.numpy())
        skin = outer[spread_sample(template[outer], min(SKIN_POINTS, len(outer)), seed)]
        tips = [STANDARD_VERTICES[f"{s}{f}"] for s in "lr" for f in FINGERS]
        marks = [STANDARD_VERTICES[b] for _, b in BODY_LINKS if b not in JOINT_INDEX]
        keep = torch.as_tensor(np.concatenate([tips, marks, skin]), dtype=torch.int64)
        self._ends = (len(tips), len(tips) + len(marks))
        self.template, self.dirs = body.v_template[keep], body.shapedirs[keep]
        self.weights = body.weights[keep]
        self.joint_template, self.joint_dirs = body.joint_template, body.joint_dirs
        # Height is read off the two extreme vertices of the mean body: close enough, and linear in betas.
        ends = [int(template[:, 1].argmin()), int(template[:, 1].argmax())]
        self._end_template, self._end_dirs = body.v_template[ends, 1], body.shapedirs[ends, 1]
        self.num_betas = body.num_betas
        self._links = link_offsets() if own_links else None
        self._surface = BodySurface(body, seed)
        links = face_links(body)
        corners = torch.as_tensor(links.vertices[FACE_POINTS])
        mix = torch.as_tensor(links.bary[FACE_POINTS])

        def blend(buffer: Tensor) -> Tensor:
            return (mix.reshape(*mix.shape, *[1] * (buffer.dim() - 1)) * buffer[corners]).sum(1)

        # Blended weights are exact where all three corners follow the head alone: nearly everywhere.
        self._face = blend(body.v_template), blend(body.shapedirs), blend(body.expr_dirs), blend(body.weights)
        self.face_weights = torch.as_tensor(1.0 / (1.0 + (links.spread[FACE_POINTS] / FACE_SPREAD) ** 2))

    def rest_joints(self, betas: Tensor) -> Tensor:
        """Joints [55,3] of the rest pose for betas [B]."""
        return self.joint_template + self.joint_dirs @ betas

    def height(self, betas: Tensor) -> Tensor:
        """Standing height in metres (scalar tensor)."""
        low, high = self._end_template + self._end_dirs @ betas
        return high - low

    def __call__(
        self,
        betas: Tensor,
        rotations: Tensor,
        pelvis: Tensor,
        expression: Tensor | None = None,
        *,
        with_skin: bool = True,
        with_gaps: bool = False,
    ) -> Posed:
        """Pose the body.

        Args:
            betas: [B].
            rotations: [T,55,3,3] local joint rotations, root first.
            pelvis: [T,3] world position of the pelvis joint.
            expression: [T,52] ARKit weights, or None for neutral faces.
            with_skin: pose the skin samples too.
            with_gaps: measure how far the hands are from the rest of the body.
        """
        rest = self.rest_joints(betas).expand(len(pelvis), -1, -1)
        joints, transforms = joint_transforms(rotations, rest, JOINT_PARENTS)
        move = (pelvis - rest[:, 0])[:, None]
        joints = joints + move
        count = len(self.template) if with_skin else self._ends[1]
        points = self.template[:count] + self.dirs[:count] @ betas
        posed = skin_points(points, self.weights[:count], transforms) + move
        template, dirs, expr_dirs, weights = self._face
        face = template + dirs @ betas
        if expression is not None:
            face = face + torch.einsum("fck,tk->tfc", expr_dirs, expression)
        tips, marks = posed[:, : self._ends[0]], posed[:, self._ends[0] : self._ends[1]]
        landmarks = torch.cat([joints[:, BODY_JOINTS], marks], 1)
        ears = landmarks[:, EARS]
        inset = ears + EAR_INSET * (ears.flip(1) - ears)
        landmarks = torch.cat([landmarks[:, : EARS[0]], inset], 1)
        if self._links is not None:
            carriers, offsets = self._links
            turned = transforms[:, carriers, :3, :3] @ offsets[:, :, None]
            landmarks = landmarks + turned[..., 0]
        hands = torch.stack([self._hand(joints, tips, side) for side in (0, 1)], 1)
        gaps = None
        if with_gaps:
            gaps = self._surface.gaps(hands.flatten(1, 2), betas, transforms, move).unflatten(1, (2, 21))
        return Posed(
            joints,
            landmarks,
            hands,
            skin_points(face, weights, transforms) + move,
            posed[:, self._ends[1] :],
            transforms[..., :3, :3],
            gaps,
        )

    def _hand(self, joints: Tensor, tips: Tensor, side: int) -> Tensor:
        """The 21 hand points in tracker order: wrist, then per finger three joints and the tip."""
        name = ("left", "right")[side]
        parts = [joints[:, JOINT_INDEX[f"{name}_wrist"]][:, None]]
        for k, finger in enumerate(FINGERS):
            first = JOINT_INDEX[f"{name}_{finger}1"]
            parts += [joints[:, first : first + 3], tips[:, 5 * side + k][:, None]]
        return torch.cat(parts, 1)


def link_offsets() -> tuple[list[int], Tensor]:
    """Carrying joint [21] and offset [21,3] metres of every landmark; the right side mirrors the left."""
    carriers, offsets = [], []
    for name, _ in BODY_LINKS:
        carrier, (x, y, z) = next(v for k, v in LINK_OFFSETS.items() if name.endswith(k))
        side = name.split("_")[0]
        carriers.append(JOINT_INDEX[carrier if carrier in JOINT_INDEX else f"{side}_{carrier}"])
        offsets.append((-x if side == "right" else x, y, z))
    return carriers, torch.tensor(offsets) / 1000.0
