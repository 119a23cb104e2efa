"""Hands and torso: distances to the body are right, the penalty is one-sided, and a fit keeps hands out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from capture_synthetic import make_truth

from lca_core.body.atlas import vertex_normals
from lca_core.body.lbs import joint_transforms
from lca_core.body.names import JOINT_INDEX, JOINT_PARENTS
from lca_core.body.rotation import axis_angle_to_matrix
from lca_core.capture.contact import ARMS, FLESH_M, NEAR_M, BodySurface, contact_penalty
from lca_core.capture.fit import FitWeights, fit_body
from lca_core.capture.fit_body import FitBody
from lca_core.capture.fit_targets import build_targets
from lca_core.capture.pose import POSE_INDEX


def body_gaps(body, betas: torch.Tensor, pose: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Gaps of points [T,P,3] to the body in ``pose`` [T,55,3], pelvis at its rest place."""
    rest = body.joint_template + body.joint_dirs @ betas
    _, transforms = joint_transforms(
        axis_angle_to_matrix(pose), rest.expand(len(pose), -1, -1), JOINT_PARENTS
    )
    return BodySurface(body).gaps(points, betas, transforms, torch.zeros(len(pose), 1, 3))


def test_gaps_are_heights_over_the_posed_skin(body) -> None:
    pose = torch.zeros(2, 55, 3)
    pose[1, 0], pose[1, JOINT_INDEX["spine1"]] = torch.tensor([0, 2.0, 0]), torch.tensor([0.5, 0, 0])
    betas = torch.zeros(50)
    betas[1] = 1.5
    out = body(betas[None], pose, torch.zeros(2, 3))
    vertices = out.vertices
    normals = vertex_normals(vertices, body.faces)
    torso = [JOINT_INDEX[n] for n in ("pelvis", "spine1", "spine2", "spine3")]
    some = torch.nonzero(torch.isin(body.weights.argmax(1), torch.tensor(torso)))[::23, 0]
    for height in (-0.03, 0.0, 0.03):
        gaps = body_gaps(body, betas, pose, vertices[:, some] + height * normals[:, some])
        assert (gaps - height).abs().median() < 0.004
        assert (gaps - height).abs().quantile(0.9) < 0.012


def test_arms_are_no_obstacle_to_their_own_hands() -> None:
    assert JOINT_INDEX["left_wrist"] in ARMS and JOINT_INDEX["right_thumb3"] in ARMS
    assert not {JOINT_INDEX[n] for n in ("spine3", "left_collar", "head", "left_hip", "jaw")} & set(ARMS)


def test_penalty_pushes_out_draws_near_and_lets_go() -> None:
    def slope(gap: float) -> float:
        gaps = torch.full((1, 2, 21), gap, requires_grad=True)
        contact_penalty(gaps).sum().backward()
        assert gaps.grad is not None
        return float(gaps.grad.sum())

    assert slope(-0.05) < slope(-0.01) < 0  # deeper is worse, and out is downhill
    assert slope(0.5 * (FLESH_M + NEAR_M)) > 0
    assert slope(FLESH_M) == 0 and slope(NEAR_M + 0.001) == 0
    assert abs(slope(0.5 * (FLESH_M + NEAR_M))) < 0.2 * abs(slope(-0.01))


def test_a_hand_that_depth_noise_put_into_the_belly_stays_outside(body) -> None:
    truth = make_truth(body, [0.0], seed=4, hands=False, drawn=False)
    o = truth.observations[0]
    points, world = o.pose.points.copy(), o.pose.world.copy()
    wrist, elbow, shoulder = (POSE_INDEX[f"left_{n}"] for n in ("wrist", "elbow", "shoulder"))
    across = [POSE_INDEX["left_hip"], POSE_INDEX["right_shoulder"]]
    points[wrist], world[wrist] = points[across].mean(0), world[across].mean(0)  # amid the body
    world[elbow] = world[shoulder] + np.array([0.1, 0.27, 0.0])
    seen = [replace(o, pose=replace(o.pose, points=points, world=world))]
    targets = build_targets(seen, truth.masks, np.array([truth.size]))
    betas, hand = torch.tensor(truth.betas), [JOINT_INDEX["left_wrist"], *range(25, 40)]
    deepest = []
    for weight in (0.0, FitWeights().contact):
        fit = fit_body(
            FitBody(body),
            targets,
            focal_px=truth.focal,
            betas=truth.betas,
            weights=FitWeights(contact=weight, outside=0.0, contour=0.0),
            stages=((20, 0.03), (60, 0.04), (60, 0.03)),
        )
        joints = torch.tensor(fit.joints - fit.transl[:, None])[:, hand]
        deepest.append(float(body_gaps(body, betas, torch.tensor(fit.pose), joints).min()))
    assert deepest[0] < -0.02  # without the term it is inside
    assert deepest[1] > -0.01
