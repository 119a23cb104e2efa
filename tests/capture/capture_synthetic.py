"""Observations of a known body: what the landmark networks would say about projected synthetic people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from lca_core.body.model import BodyModel
from lca_core.body.names import JOINT_INDEX
from lca_core.body.raster import rasterize
from lca_core.capture.fit_body import BODY_LINKS, FitBody
from lca_core.capture.hands import HandResult
from lca_core.capture.networks import Roi
from lca_core.capture.pose import POSE_INDEX, PoseResult
from lca_core.capture.select import Observation, body_yaw


@dataclass
class Truth:
    """Known parameters and their projections."""

    betas: np.ndarray
    pose: np.ndarray
    transl: np.ndarray
    focal: float
    joints: np.ndarray
    vertices: np.ndarray
    size: tuple[int, int]
    observations: list[Observation]
    masks: list[np.ndarray]


def poses(yaws: list[float], seed: int = 0) -> np.ndarray:
    """Plausible standing poses [T,55,3] at the given yaws (radians)."""
    rng = np.random.default_rng(seed)
    out = np.zeros((len(yaws), 55, 3))
    j = JOINT_INDEX
    for p, yaw in zip(out, yaws, strict=True):
        p[0] = (0, yaw, 0)
        p[j["left_shoulder"]] = (0, -rng.uniform(0, 0.5), -rng.uniform(0.3, 1.2))
        p[j["right_shoulder"]] = (0, rng.uniform(0, 0.5), rng.uniform(0.3, 1.2))
        p[j["left_elbow"]] = (0, -rng.uniform(0.2, 1.5), 0)
        p[j["right_elbow"]] = (0, rng.uniform(0.2, 1.5), 0)
        p[j["left_hip"]] = (-rng.uniform(0, 0.5), 0, rng.uniform(0, 0.3))
        p[j["right_hip"]] = (-rng.uniform(0, 0.5), 0, -rng.uniform(0, 0.3))
        p[j["left_knee"]] = (rng.uniform(0, 0.6), 0, 0)
        p[j["right_knee"]] = (rng.uniform(0, 0.6), 0, 0)
        p[j["neck"]] = rng.normal(0, 0.1, 3)
        for side, sign in (("left", 1.0), ("right", -1.0)):
            for finger in ("index", "middle", "ring", "pinky"):
                for k in (1, 2, 3):
                    p[j[f"{side}_{finger}{k}"]] = (0, 0, -sign * rng.uniform(0.1, 0.8))
    return out.astype(np.float32)


def make_truth(
    body: BodyModel,
    yaws: list[float],
    *,
    seed: int = 0,
    focal: float = 1200.0,
    size: tuple[int, int] = (720, 960),
    noise_percent: float = 0.0,
    world_noise: tuple[float, float, float] = (0.0, 0.0, 0.0),
    hands: bool = True,
    betas_scale: float = 1.0,
    drawn: bool = True,
) -> Truth:
    """Pose, project and describe a random person; noise follows TRACKING.md's synthetic test.

    Not ``drawn``: masks of one empty pixel, for tests that look at landmarks only.
    """
    rng = np.random.default_rng(seed)
    width, height = size
    betas = (betas_scale * rng.normal(0, 1, 50) * (np.arange(50) < 10)).astype(np.float32)
    pose = poses(yaws, seed)
    fit_body = FitBody(body)
    with torch.no_grad():
        out = body(torch.tensor(betas)[None], torch.tensor(pose))
        rest = fit_body.rest_joints(torch.tensor(betas))
        depth = focal * 1.8 / (0.85 * height)
        transl = np.stack([rng.uniform(-0.1, 0.1, len(yaws)), rng.uniform(-0.1, 0.1, len(yaws)),
                           -depth + rng.uniform(-0.1, 0.1, len(yaws))], 1).astype(np.float32)  # fmt: skip
        from lca_core.body.rotation import axis_angle_to_matrix

        posed = fit_body(
            torch.tensor(betas), axis_angle_to_matrix(torch.tensor(pose)), rest[0] + torch.tensor(transl)
        )
    vertices, joints = out.vertices.numpy() + transl[:, None], out.joints.numpy() + transl[:, None]
    centre = np.array([width / 2, height / 2])
    project = lambda p: focal * np.stack([p[..., 0], -p[..., 1]], -1) / -p[..., 2:] + centre  # noqa: E731
    observations, masks = [], []
    for t in range(len(yaws)):
        landmarks = posed.landmarks[t].numpy()
        points, world = np.zeros((33, 2), np.float32), np.zeros((33, 3), np.float32)
        visibility = np.zeros(33, np.float32)
        pixels = project(landmarks)
        extent = np.ptp(pixels, axis=0).max() / 100
        hips = 0.5 * (joints[t, 1] + joints[t, 2])
        for i, (name, _) in enumerate(BODY_LINKS):
            k = POSE_INDEX[name]
            points[k] = pixels[i] + rng.normal(0, 1, 2) * noise_percent * extent
            world[k] = (landmarks[i] - hips) * (1, -1, -1) + rng.normal(0, 1, 3) * world_noise
            visibility[k] = 1.0
        mask = np.zeros((1, 1), np.float32)
        if drawn:
            mask = silhouette(project(vertices[t])[body.faces.numpy()], width, height)
        result = PoseResult(points, np.zeros(33), visibility, world, 1.0, mask, Roi(*centre, height))
        found: list[HandResult | None] = [None, None]
        if hands:
            for side in (0, 1):
                p = posed.hands[t, side].numpy()
                px = project(p) + rng.normal(0, 0.5, (21, 2)) * noise_percent * extent
                found[side] = HandResult(px, (p - p[0]) * (1, -1, -1), 1.0, 1.0 - side)
        observations.append(Observation(t, result, (found[0], found[1]), None, body_yaw(result), 1.0, 1.0))
        masks.append(mask)
    return Truth(betas, pose, transl, focal, joints, vertices, size, observations, masks)


def silhouette(corners: np.ndarray, width: int, height: int) -> np.ndarray:
    """Binary coverage [H,W] of projected triangles [F,3,2]."""
    return (rasterize(corners, width, height)[0] >= 0).astype(np.float32)


def procrustes_error(a: np.ndarray, b: np.ndarray) -> float:
    """Mean distance after the best similarity transform of a [N,3] onto b."""
    x, y = a - a.mean(0), b - b.mean(0)
    u, s, vt = np.linalg.svd(x.T @ y)
    d = np.ones(3)
    d[2] = np.sign(np.linalg.det(u @ vt))
    r = u @ np.diag(d) @ vt
    scale = (s * d).sum() / (x**2).sum()
    return float(np.linalg.norm(scale * x @ r - y, axis=1).mean())
