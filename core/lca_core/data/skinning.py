"""Linear blend skinning in numpy with the body model's joints, pose correctives and conventions.

In: rest vertices, weights, local joint rotations. Out: posed vertices. The arrays come from the shipped body
file, so a dressed person moves exactly like the body model; a test holds the two together.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

import lca_core.body
from lca.errors import NotFoundError
from lca_core.body.names import JOINT_INDEX, JOINT_PARENTS

BODY_FILE = Path(lca_core.body.__file__).parent / "assets" / "lca_body_v1.npz"


@cache
def body_arrays() -> dict[str, NDArray]:
    """J_regressor, base_ids and the nonzero columns of posedirs of the body file."""
    if not BODY_FILE.is_file():
        raise NotFoundError(f"The body file {BODY_FILE.name} is missing; reinstall lca-bridge.")
    with np.load(BODY_FILE, allow_pickle=False) as data:
        posedirs = data["posedirs"].astype(np.float32)
        columns = np.flatnonzero(np.abs(posedirs).max((0, 1)) > 0)
        return {
            "J_regressor": data["J_regressor"].astype(np.float32),
            "base_ids": data["base_ids"].astype(np.int64),
            "pose_columns": columns,
            "posedirs": posedirs[..., columns],
        }


def rest_joints(base: NDArray) -> NDArray[np.float32]:
    """Rest joints (55,3) of a base body (19158,3) without expression."""
    arrays = body_arrays()
    return arrays["J_regressor"] @ base[arrays["base_ids"]]


def rotation_matrices(axis_angle: NDArray) -> NDArray[np.float64]:
    """Rodrigues: (...,3) radians to (...,3,3)."""
    v = np.asarray(axis_angle, np.float64)
    angle = np.linalg.norm(v, axis=-1, keepdims=True)
    axis = v / np.maximum(angle, 1e-12)
    x, y, z = np.moveaxis(axis, -1, 0)
    zero = np.zeros_like(x)
    k = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*v.shape[:-1], 3, 3)
    a = angle[..., None]
    return np.eye(3) + np.sin(a) * k + (1 - np.cos(a)) * (k @ k)


def gaze_rotation(gaze: NDArray) -> NDArray[np.float64]:
    """Eye rotation (...,3,3) of (yaw, pitch) (...,2): yaw about +Y (left positive), then pitch about X (down
    positive)."""
    g = np.asarray(gaze, np.float64)
    zero = np.zeros_like(g[..., 0])
    yaw = rotation_matrices(np.stack([zero, g[..., 0], zero], -1))
    pitch = rotation_matrices(np.stack([g[..., 1], zero, zero], -1))
    return yaw @ pitch


def local_rotations(pose: NDArray, gaze: NDArray) -> NDArray[np.float64]:
    """Local joint rotations (55,3,3) of axis-angles (55,3) with gaze (2,2) turned into the eye joints."""
    out = rotation_matrices(pose)
    for row, name in enumerate(("left_eye_smplhf", "right_eye_smplhf")):
        j = JOINT_INDEX[name]
        out[j] = out[j] @ gaze_rotation(gaze[row])
    return out


def joint_transforms(rotations: NDArray, joints: NDArray) -> NDArray[np.float64]:
    """Skinning transforms (55,3,4) that take rest points to posed points, before the root translation."""
    world = np.zeros((55, 3, 3))
    origin = np.zeros((55, 3))
    for j, parent in enumerate(JOINT_PARENTS):
        if parent < 0:
            world[j], origin[j] = rotations[j], joints[j]
        else:
            world[j] = world[parent] @ rotations[j]
            origin[j] = origin[parent] + world[parent] @ (joints[j] - joints[parent])
    shift = origin - np.einsum("jab,jb->ja", world, joints)
    return np.concatenate([world, shift[..., None]], -1)


def blend(weights: NDArray, transforms: NDArray) -> NDArray[np.float32]:
    """Blended transforms (N,3,4) of weights (N,55)."""
    flat = np.asarray(weights, np.float32) @ transforms.reshape(55, 12).astype(np.float32)
    return flat.reshape(-1, 3, 4)


def skin(rest: NDArray, weights: NDArray, transforms: NDArray) -> NDArray[np.float32]:
    """Posed points (N,3)."""
    a = blend(weights, transforms)
    return (np.einsum("nij,nj->ni", a[..., :3], rest) + a[..., 3]).astype(np.float32)


def forearm_guides(rest: NDArray, weights: NDArray) -> tuple[NDArray, NDArray]:
    """Vertices that follow the forearm corrective and the body-model vertex each takes it from: two (M,)
    arrays."""
    arrays = body_arrays()
    arms = weights[:, [JOINT_INDEX[f"{s}_{j}"] for s in ("left", "right") for j in ("elbow", "wrist")]].sum(1)
    follow = np.flatnonzero(arms > 0.3)
    source = np.full(len(rest), -1)
    source[arrays["base_ids"]] = np.arange(len(arrays["base_ids"]))
    loose = follow[source[follow] < 0]
    if len(loose):
        source[loose] = cKDTree(rest[arrays["base_ids"]]).query(rest[loose])[1]
    return follow, source[follow]


def twist_forearms(rest: NDArray, rotations: NDArray, guides: tuple[NDArray, NDArray]) -> NDArray[np.float32]:
    """Rest vertices (N,3) with the body model's pose corrective added where ``guides`` says."""
    arrays = body_arrays()
    feature = (rotations[1:] - np.eye(3)).reshape(-1)[arrays["pose_columns"]].astype(np.float32)
    out = rest.copy()
    follow, source = guides
    out[follow] += arrays["posedirs"][source] @ feature
    return out
