"""Fits one body to several frames at once: targets in, shape, poses, translations and focal length out.

Adam in three stages: root only; pose, shape and focal on points and directions; then hands and silhouettes
too. Robust residuals (Geman-McClure) in percent of the body size. Directions from the world landmarks carry
the depth sign, which points alone lose. Focal length, distance and height are one ambiguity: give a focal
length or a body height when known, otherwise priors decide.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from lca_core.body.names import JOINT_INDEX
from lca_core.body.rotation import axis_angle_to_matrix, matrix_to_axis_angle

from .contact import PERCENT_M, contact_penalty
from .fit_body import BODY_LINKS, FitBody, Posed
from .fit_prior import moving_joints, pose_prior
from .fit_targets import HAND_BONES, LIMBS, Targets
from .networks import Array
from .robust import geman_mcclure

Report = Callable[[float], None]

FOCAL_GUESS = 1.15
"""Prior focal length over the longer image side."""

ANKLE_RANGE, WRIST_RANGE = 0.6, 1.3
"""Radians an ankle or wrist turns freely."""

STAGES = ((60, 0.03), (200, 0.04), (300, 0.03))
"""(steps, learning rate) of root, body and full stage; each decays to 10 % along a cosine."""


@dataclass(frozen=True)
class FitWeights:
    """Weights of the terms; see the module text and ``_loss`` for their residuals.

    ``contour`` pulls the body out to the mask's edge and so dresses it in its own fat: it stays a tenth of
    ``outside``, and edges up to ``slack`` percent of the body size away count as clothes. The pair was chosen
    on synthetic people: weaker, limbs lie beside the mask; stronger, points and fingers get worse. Edges
    some three percent away (skirts, bags, hair) pull little.
    """

    limbs: tuple[float, float] = (20.0, 8.0)
    hand_points: float = 1.0
    hand_bones: float = 2.0
    head: float = 6.0
    face: float = 40.0
    outside: float = 30.0
    contour: float = 3.0
    slack: float = 1.2
    focal: float = 20.0
    betas: float = 0.1
    smooth: float = 10.0
    height: float = 4000.0
    hinge: float = 10.0
    contact: float = 4.0


TRACKED_WEIGHTS = FitWeights(limbs=(40.0, 40.0))
"""With the 3D joints of a better tracker, whose directions can be trusted."""


@dataclass(frozen=True)
class FitResult:
    """Result of :func:`fit_body` (numpy, world frame as in ``types.py``).

    Attributes:
        betas [50]; pose [T,55,3] axis-angle; transl [T,3]; focal px; joints [T,55,3] world metres;
        body_error [T] mean 2D error of the weighted landmarks, percent of body size;
        hand_error, face_error px, mean over found hands and trusted faces (nan if none); height metres;
        loss: final value.
    """

    betas: Array
    pose: Array
    transl: Array
    focal: float
    joints: Array
    body_error: Array
    hand_error: float
    face_error: float
    height: float
    loss: float


def fit_body(
    body: FitBody,
    targets: Targets,
    *,
    focal_px: float | None = None,
    height_m: float | None = None,
    betas: Array | None = None,
    times: np.ndarray | None = None,
    weights: FitWeights | None = None,
    stages: tuple[tuple[int, float], ...] = STAGES,
    report: Report | None = None,
) -> FitResult:
    """Fit shape (shared), focal (shared), pose and position (per frame).

    Args:
        body: sparse body.
        targets: observations of T frames.
        focal_px: known focal length in pixels; fixed when given.
        height_m: known standing height in metres; a strong residual when given.
        betas: known shape [50]; fixed when given.
        times: [T] seconds when the frames are consecutive: neighbours then hold each other.
        report: called with 0..1.
    """
    weights = weights or FitWeights()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # spinning threads multiply the CPU time of such small tensors
    try:
        problem = _Problem(body, targets, focal_px, height_m, weights, betas, times)
        done, total, loss = 0, sum(n for n, _ in stages), 0.0
        for stage, (steps, rate) in enumerate(stages):
            groups = [{**group, "initial_lr": group["lr"]} for group in problem.groups(stage, rate)]
            optimiser = torch.optim.Adam(groups)
            for step in range(steps):
                for group in optimiser.param_groups:
                    group["lr"] = group["initial_lr"] * (0.55 + 0.45 * math.cos(math.pi * step / steps))
                optimiser.zero_grad()
                value = problem.loss(stage)
                value.backward()
                optimiser.step()
                done += 1
                if report and done % 20 == 0:
                    report(done / total)
            loss = float(value.detach())
        return problem.result(loss)
    finally:
        torch.set_num_threads(threads)


class _Problem:
    """Parameters, start values and residuals of one fit."""

    def __init__(
        self,
        body: FitBody,
        targets: Targets,
        focal_px: float | None,
        height_m: float | None,
        weights: FitWeights,
        betas: Array | None = None,
        times: np.ndarray | None = None,
    ) -> None:
        self.body, self.targets, self.weights = body, targets, weights
        self.known_focal, self.height_m = focal_px is not None, height_m
        count = len(targets)
        self.centre, self.prior = pose_prior()
        self.moving = moving_joints(targets)
        self.focal_guess = float(focal_px or FOCAL_GUESS * float(targets.sizes.max()))
        self.log_focal = torch.zeros(())
        self.known_betas = betas is not None
        self.betas = torch.zeros(body.num_betas) if betas is None else torch.as_tensor(betas).float().clone()
        self.calm = None
        if times is not None and count > 1:
            # What a twelfth of a second apart may differ is penalised less, what is closer more.
            gap = np.maximum(np.diff(times), 1e-3)
            self.calm = torch.as_tensor(np.minimum((1 / 30 / gap) ** 2, 1.0), dtype=torch.float32)
        self.root_delta = torch.zeros(count, 3)
        self.pose = self.centre.repeat(count, 1, 1)
        with torch.no_grad():
            self.root = self._start_root()
            self._start_limbs()
            self.place = self._start_place()
        self.parameters = [self.log_focal, self.betas, self.root_delta, self.pose, self.place]
        for p in self.parameters:
            p.requires_grad_(True)

    # ---- start values

    def _start_root(self) -> Tensor:
        """Root rotations [T,3,3]: Kabsch of shoulder and hip lines to the world landmarks."""
        rest = self.body.rest_joints(self.betas)
        limb = {pair: i for i, pair in enumerate(LIMBS)}
        shoulders = self.targets.limbs[:, limb[("right_shoulder", "left_shoulder")]]
        hips = self.targets.limbs[:, limb[("right_hip", "left_hip")]]
        across = shoulders + hips
        names = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
        s0, s1, h0, h1 = (rest[JOINT_INDEX[n]] for n in names)
        model = np.stack([_np((s0 - s1) + (h0 - h1)), _np((s0 + s1) - (h0 + h1))])
        out = []
        for a, u in zip(_np(across), _np(self.targets.spine), strict=True):
            norm = [v / max(float(np.linalg.norm(v)), 1e-9) for v in (a, u, *model)]
            out.append(Rotation.align_vectors(np.stack(norm[:2]), np.stack(norm[2:]))[0].as_matrix())
        return torch.as_tensor(np.stack(out), dtype=torch.float32)

    def _start_limbs(self) -> None:
        """Turn each limb joint by the smallest rotation that lays its bone on the observed direction."""
        rest = self.body.rest_joints(self.betas)
        chains = (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
        limb = {pair: i for i, pair in enumerate(LIMBS)}
        for t in range(len(self.targets)):
            root = _np(self.root[t])
            for side in ("left", "right"):
                for chain in chains:
                    parent = root
                    for a, b in itertools.pairwise(chain):
                        i = limb[(f"{side}_{a}", f"{side}_{b}")]
                        joint, child = JOINT_INDEX[f"{side}_{a}"], JOINT_INDEX[f"{side}_{b}"]
                        if self.targets.limb_weights[t, i] < 0.25:
                            parent = parent @ Rotation.from_rotvec(_np(self.pose[t, joint])).as_matrix()
                            continue
                        want = parent.T @ _np(self.targets.limbs[t, i])
                        turn = _shortest_turn(_np(rest[child] - rest[joint]), want)
                        self.pose[t, joint] = torch.as_tensor(turn.as_rotvec(), dtype=torch.float32)
                        parent = parent @ turn.as_matrix()

    def _start_place(self) -> Tensor:
        """(x/z, y/z, log z) [T,3] of the pelvis by scaling the posed joints onto the image points."""
        rotations = self._rotations()
        posed = self.body(self.betas, rotations, torch.zeros(len(self.targets), 3), with_skin=False)
        model, image = posed.landmarks, self.targets.points
        w = self.targets.point_weights[..., None] + 1e-6
        flat = model[..., :2] * torch.tensor([1.0, -1.0])
        mean = lambda v: (w * v).sum(1, keepdim=True) / w.sum(1, keepdim=True)  # noqa: E731
        a, b = flat - mean(flat), image - mean(image)
        # The ratio of spreads (not the regression slope) does not shrink when the pose is off.
        scale = ((w * b * b).sum((1, 2)) / (w * a * a).sum((1, 2)).clamp_min(1e-6)).sqrt()
        depth = self.focal_guess / scale.clamp_min(1e-3)
        offset = (mean(image)[:, 0] - self.targets.centre) / scale[:, None] - mean(flat)[:, 0]
        return torch.cat([offset / depth[:, None], depth.log()[:, None]], 1)

    # ---- model

    def groups(self, stage: int, rate: float) -> list[dict]:
        """Adam groups of a stage."""
        root = [{"params": [self.root_delta, self.place], "lr": rate}]
        if stage == 0:
            return root
        shape_rate = rate if stage == 1 else 2 * rate
        rest = [{"params": [self.pose], "lr": rate}]
        if not self.known_betas:
            rest.append({"params": [self.betas], "lr": shape_rate})
        return root + rest + ([] if self.known_focal else [{"params": [self.log_focal], "lr": 0.5 * rate}])

    def _rotations(self) -> Tensor:
        local = axis_angle_to_matrix(self.centre + self.moving * (self.pose - self.centre))
        root = self.root @ axis_angle_to_matrix(self.root_delta)
        return torch.cat([root[:, None], local[:, 1:]], 1)

    def pelvis(self) -> Tensor:
        """Pelvis position [T,3] in world metres."""
        depth = self.place[:, 2].exp()
        return torch.stack([self.place[:, 0] * depth, -self.place[:, 1] * depth, -depth], 1)

    def focal(self) -> Tensor:
        return self.focal_guess * self.log_focal.exp()

    def project(self, points: Tensor) -> Tensor:
        """World points [T,...,3] to pixels [T,...,2]."""
        depth = (-points[..., 2]).clamp_min(0.05)
        shape = (len(self.targets),) + (1,) * (points.dim() - 2) + (2,)
        flat = torch.stack([points[..., 0] / depth, -points[..., 1] / depth], -1)
        return self.focal() * flat + self.targets.centre.reshape(shape)

    def posed(self, *, skin: bool = False, gaps: bool = False) -> Posed:
        rotations, pelvis, faces = self._rotations(), self.pelvis(), self.targets.expression
        return self.body(self.betas, rotations, pelvis, faces, with_skin=skin, with_gaps=gaps)

    # ---- residuals

    def loss(self, stage: int) -> Tensor:
        t, w = self.targets, self.weights
        silhouette = stage == 2 and (w.outside > 0 or w.contour > 0)
        posed = self.posed(skin=silhouette, gaps=stage == 2 and w.contact > 0)
        points = self.project(posed.landmarks)
        off = (points - t.points).norm(dim=-1) / t.percent[:, None]
        total = (t.point_weights * geman_mcclure(off, 6.0)).sum(1)
        if stage == 0:
            return total.mean() + (self.root_delta**2).sum(1).mean()
        limb_weight = w.limbs[0] if stage == 1 else w.limbs[1]
        total = total + limb_weight * (t.limb_weights * (1 - (self._limbs(posed) * t.limbs).sum(-1))).sum(1)
        axes = posed.rotations[:, JOINT_INDEX["head"]]
        total = total + w.head * t.head_weights * (3 - (axes * t.head).sum((1, 2)))
        total = total + (self.prior * (self.pose - self.centre) ** 2).sum((1, 2)) + w.hinge * self._hinges()
        if stage == 2:
            total = total + self._hand_terms(posed) + self._face_term(posed)
        if posed.gaps is not None:
            total = total + w.contact * contact_penalty(posed.gaps)
        if silhouette:
            total = total + self._silhouette_terms(posed)
        shared = w.betas * (self.betas**2).sum()
        if not self.known_focal:
            shared = shared + w.focal * self.log_focal**2
        if self.calm is not None:
            shared = shared + self._jumps(posed) / len(t)
        if self.height_m is not None:
            shared = shared + w.height * (self.body.height(self.betas) - self.height_m) ** 2
        return total.mean() + shared

    def _jumps(self, posed: Posed) -> Tensor:
        """Squared steps between neighbours: joints in percent of a 1.7 m body, and local rotations."""
        assert self.calm is not None
        step = (posed.joints[1:] - posed.joints[:-1]) / PERCENT_M
        turn = self.pose[1:] - self.pose[:-1]
        each = 0.05 * (step**2).sum((1, 2)) / 2 + self.weights.smooth * (turn**2).sum((1, 2))
        return (self.calm * each).sum()

    def _limbs(self, posed: Posed) -> Tensor:
        at = {name: i for i, (name, _) in enumerate(BODY_LINKS)}
        a, b = ([at[pair[k]] for pair in LIMBS] for k in (0, 1))
        return torch.nn.functional.normalize(posed.landmarks[:, b] - posed.landmarks[:, a], dim=-1)

    def _hinges(self) -> Tensor:
        """Squared rotation of elbows and knees against their bending direction, and of ankles and wrists
        beyond what they can turn (toes seen from behind are guesses): [T]."""
        knees = self.pose[:, [JOINT_INDEX["left_knee"], JOINT_INDEX["right_knee"]], 0]
        left, right = (self.pose[:, JOINT_INDEX[f"{s}_elbow"], 1] for s in ("left", "right"))
        wrong = torch.relu(-knees) ** 2
        wrong = wrong.sum(1) + torch.relu(left) ** 2 + torch.relu(-right) ** 2
        for joint, most in (("ankle", ANKLE_RANGE), ("wrist", WRIST_RANGE)):
            both = self.pose[:, [JOINT_INDEX[f"left_{joint}"], JOINT_INDEX[f"right_{joint}"]]]
            turn = (both * both).sum(-1).clamp_min(1e-8).sqrt()
            wrong = wrong + 3.0 * (torch.relu(turn - most) ** 2).sum(1)
        return wrong

    def _hand_terms(self, posed: Posed) -> Tensor:
        t, w = self.targets, self.weights
        off = (self.project(posed.hands) - t.hands).norm(dim=-1) / t.percent[:, None, None]
        first, second = ([bone[k] for bone in HAND_BONES] for k in (0, 1))
        bones = torch.nn.functional.normalize(posed.hands[:, :, second] - posed.hands[:, :, first], dim=-1)
        turn = 1 - (bones * t.hand_bones).sum(-1)
        value = w.hand_points * geman_mcclure(off, 3.0).sum(-1) + w.hand_bones * turn.sum(-1)
        return (t.hand_weights * value).sum(1)

    def _face_term(self, posed: Posed) -> Tensor:
        t, each = self.targets, self.body.face_weights
        off = (self.project(posed.face) - t.face).norm(dim=-1) / t.percent[:, None]
        mean = (each * geman_mcclure(off, 3.0)).sum(1) / each.sum()
        return self.weights.face * t.face_weights * mean

    def _silhouette_terms(self, posed: Posed) -> Tensor:
        t, w = self.targets, self.weights
        skin = self.project(posed.skin)
        grid = skin / t.square[:, None, None] * 2 - 1
        far = torch.nn.functional.grid_sample(
            t.outside, grid[:, None], padding_mode="border", align_corners=False
        )[:, 0, 0]
        inside = ((skin >= 0) & (skin < t.sizes[:, None])).all(-1)
        outside = (geman_mcclure(far, 4.0) * inside).mean(1)
        gap = torch.cdist(t.contour, skin).amin(-1) / t.percent[:, None]
        cover = (t.contour_weights * geman_mcclure(torch.relu(gap - w.slack), 3.0)).mean(1)
        return w.outside * outside + w.contour * cover

    # ---- result

    def result(self, loss: float) -> FitResult:
        with torch.no_grad():
            t, posed = self.targets, self.posed()
            off = (self.project(posed.landmarks) - t.points).norm(dim=-1) / t.visible_percent[:, None]
            seen = (t.point_weights > 0.1 * t.point_weights.max()).float()
            body_error = (off * seen).sum(1) / seen.sum(1).clamp_min(1)
            hands = (self.project(posed.hands) - t.hands).norm(dim=-1).mean(-1)
            found = t.hand_weights > 0
            hand_error = float(hands[found].mean()) if bool(found.any()) else float("nan")
            faces = (self.project(posed.face) - t.face).norm(dim=-1).mean(-1)
            frontal = t.face_weights > 0.5
            face_error = float(faces[frontal].mean()) if bool(frontal.any()) else float("nan")
            pose = matrix_to_axis_angle(self._rotations())
            transl = self.pelvis() - self.body.rest_joints(self.betas)[0]
            return FitResult(
                _np(self.betas).copy(),
                _np(pose),
                _np(transl),
                float(self.focal()),
                _np(posed.joints),
                _np(body_error),
                hand_error,
                face_error,
                float(self.body.height(self.betas)),
                loss,
            )


def _shortest_turn(a: Array, b: Array) -> Rotation:
    """Smallest rotation that turns direction a to direction b."""
    a, b = a / np.linalg.norm(a), b / max(float(np.linalg.norm(b)), 1e-9)
    axis, cosine = np.cross(a, b), float(np.clip(a @ b, -1, 1))
    sine = float(np.linalg.norm(axis))
    if sine < 1e-8:
        return Rotation.identity() if cosine > 0 else Rotation.from_rotvec([0.0, np.pi, 0.0])
    return Rotation.from_rotvec(axis / sine * math.atan2(sine, cosine))


def _np(x: Tensor) -> Array:
    return x.detach().numpy().astype(np.float32)
