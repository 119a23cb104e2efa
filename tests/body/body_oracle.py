"""A second, deliberately plain implementation of the body: float64, one joint and one vertex at a time."""

from __future__ import annotations

import numpy as np

from lca_core.body.names import JOINT_PARENTS


def rotation_matrix(v: np.ndarray) -> np.ndarray:
    """Rodrigues on one rotation vector (3,)."""
    angle = np.linalg.norm(v)
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = v / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k)


def pose_body(
    raw: dict[str, np.ndarray],
    betas: np.ndarray,
    pose: np.ndarray,
    transl: np.ndarray,
    expression: np.ndarray,
    chosen: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices ``(len(chosen),3)`` and joints ``(55,3)`` of one person straight from the file's arrays."""
    shape = raw["shapedirs"].astype(np.float64)
    shaped = raw["v_template"].astype(np.float64) + shape[:, :, :50] @ betas
    joints = raw["J_regressor"].astype(np.float64) @ shaped
    shaped = shaped + shape[:, :, 300:352] @ expression
    local = [rotation_matrix(v) for v in pose.astype(np.float64)]
    feature = np.concatenate([(r - np.eye(3)).reshape(-1) for r in local[1:]])
    shaped = shaped + raw["posedirs"].astype(np.float64) @ feature

    world: list[np.ndarray] = []
    for j, parent in enumerate(JOINT_PARENTS):
        step = np.eye(4)
        step[:3, :3] = local[j]
        step[:3, 3] = joints[j] - (joints[parent] if parent >= 0 else 0.0)
        world.append(step if parent < 0 else world[parent] @ step)
    out = []
    for v in chosen:
        total = np.zeros(3)
        for j in np.flatnonzero(raw["weights"][v]):
            total += raw["weights"][v, j] * (world[j][:3, :3] @ (shaped[v] - joints[j]) + world[j][:3, 3])
        out.append(total + transl)
    return np.array(out), np.array([m[:3, 3] for m in world]) + transl
