"""Distillation: the correction branch becomes linear correctives that any client can evaluate without a
network.

One sparse corrective per ARKit shape (evaluated at weight 1) and a few dense pose components: the principal
components of the corrections over sampled poses, whose coefficients are a ridge regression from the pose
feature. The idea of linear per-frame correctives follows SqueezeMe (arXiv 2412.15171).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from lca_core.avatar.animate import Correction, Deltas, local_rotations
from lca_core.avatar.avatar import Correctives
from lca_core.avatar.frame import PoseFrame
from lca_core.body.names import HEAD_JOINTS, JOINT_INDEX, JOINT_NAMES, NUM_ARKIT, NUM_JOINTS

FACE = (JOINT_INDEX["neck"], *HEAD_JOINTS)
POSE_FEATURES = (NUM_JOINTS - 1) * 9
# Units in which one of each delta is about equally visible: metres, quaternion parts, log scale, SH DC.
VISIBLE = {"means": 1e-3, "quats": 2e-2, "log_scales": 5e-2, "sh0": 2e-2}
SPARSE_THRESHOLD = {"means": 5e-5, "quats": 2e-3, "log_scales": 5e-3, "sh0": 4e-3}


def distill(
    correction: Correction,
    *,
    seed: int = 0,
    components: int = 6,
    pose_samples: int = 40,
    face: NDArray[np.bool_] | None = None,
    report: Callable[[float], None] = lambda fraction: None,
) -> Correctives:
    """Fit linear correctives to ``correction``, which must be zero at rest.

    Args:
        correction: what to imitate, usually the network's live correction.
        seed: of the sampled poses.
        components: pose components kept.
        pose_samples: poses evaluated.
        face: (N,) what ARKit shapes may move (:func:`face_points`); elsewhere the network's answer to a
            shape is noise of some tenths of a millimetre. None lets them move everything.
        report: called with the fraction done.
    """
    total = NUM_ARKIT + pose_samples
    pointers, index = [0], []
    parts: dict[str, list[np.ndarray]] = {field.name: [] for field in fields(Deltas)}
    for shape in range(NUM_ARKIT):
        weights = np.zeros(NUM_ARKIT, np.float32)
        weights[shape] = 1.0
        deltas = _evaluate(correction, PoseFrame(arkit=weights))
        visible = _visible(deltas)
        moved = np.flatnonzero(visible if face is None else visible & face)
        index.append(moved)
        pointers.append(pointers[-1] + len(moved))
        for name, rows in parts.items():
            rows.append(getattr(deltas, name)[moved])
        report((shape + 1) / total)

    features, outputs = [], []
    for sample, frame in enumerate(sample_poses(pose_samples, seed)):
        features.append(pose_feature(frame))
        outputs.append(_flatten(_evaluate(correction, frame)))
        report((NUM_ARKIT + sample + 1) / total)
    basis, directions = _fit_pose(np.stack(features), np.stack(outputs), components)
    pose = _unflatten(directions, components)
    half = np.float16
    return Correctives(
        arkit_ptr=np.asarray(pointers, np.int32),
        arkit_index=np.concatenate(index).astype(np.int32),
        arkit_means=np.concatenate(parts["means"]).astype(half),
        arkit_quats=np.concatenate(parts["quats"]).astype(half),
        arkit_log_scales=np.concatenate(parts["log_scales"]).astype(half),
        arkit_sh0=np.concatenate(parts["sh0"]).astype(half),
        pose_mean=np.zeros(POSE_FEATURES, np.float32),
        pose_basis=basis.astype(np.float32),
        pose_means=pose["means"].astype(half),
        pose_quats=pose["quats"].astype(half),
        pose_log_scales=pose["log_scales"].astype(half),
        pose_sh0=pose["sh0"].astype(half),
    )


def face_points(weights: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which Gaussians (N,) expressions and gaze may move, from their skin weights (N,55): head and neck."""
    return np.asarray(weights[:, FACE].sum(1) > 0.05)


def pose_feature(frame: PoseFrame) -> np.ndarray:
    """(486,) rotation matrices minus identity of joints 1..54, row-major (docs/avatar-file.md step 1)."""
    return (local_rotations(frame).numpy()[1:] - np.eye(3, dtype=np.float32)).reshape(-1)


def sample_poses(count: int, seed: int) -> list[PoseFrame]:
    """Plausible random poses: standing arms, large limbs, some fingers. The face stays neutral."""
    generator = np.random.default_rng(seed)
    spread = np.full((NUM_JOINTS, 3), 0.12)
    for joint, name in enumerate(JOINT_NAMES):
        if name.endswith(("shoulder", "hip", "elbow", "knee")):
            spread[joint] = (0.35, 0.35, 0.35)
        elif name[-1].isdigit() and not name.startswith("spine"):
            spread[joint] = (0.05, 0.08, 0.4)
        elif "eye" in name or name in ("jaw", "pelvis"):
            spread[joint] = 0.0
    frames = []
    for _ in range(count):
        rotations = generator.normal(0.0, 1.0, (NUM_JOINTS, 3)) * spread
        drop = generator.uniform(0.0, 1.3)
        for name, sign in (("left_shoulder", -1.0), ("right_shoulder", 1.0)):
            rotations[JOINT_NAMES.index(name), 2] += sign * drop
        for name in ("left_knee", "right_knee"):
            rotations[JOINT_NAMES.index(name)] = (abs(generator.normal(0.0, 0.6)), 0.0, 0.0)
        frames.append(PoseFrame(joint_rotations=rotations.astype(np.float32)))
    return frames


def _evaluate(correction: Correction, frame: PoseFrame) -> Deltas:
    return correction(frame, local_rotations(frame).numpy())


def _visible(deltas: Deltas) -> np.ndarray:
    visible = np.zeros(len(deltas.means), bool)
    for name, threshold in SPARSE_THRESHOLD.items():
        visible |= np.abs(getattr(deltas, name)).max(axis=1) > threshold
    return visible


def _flatten(deltas: Deltas) -> np.ndarray:
    return np.concatenate(
        [(getattr(deltas, name) / unit).reshape(-1) for name, unit in VISIBLE.items()]
    ).astype(np.float32)


def _unflatten(rows: np.ndarray, components: int) -> dict[str, np.ndarray]:
    widths = {"means": 3, "quats": 4, "log_scales": 3, "sh0": 3}
    count = rows.shape[1] // sum(widths.values())
    result, start = {}, 0
    for name, unit in VISIBLE.items():
        stop = start + count * widths[name]
        result[name] = (rows[:, start:stop] * unit).reshape(components, count, widths[name])
        start = stop
    return result


def _fit_pose(features: np.ndarray, outputs: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray]:
    """Principal directions of the outputs and the ridge map from features to their coefficients."""
    values, vectors = np.linalg.eigh(outputs @ outputs.T)
    order = np.argsort(values)[::-1][:components]
    lengths = np.sqrt(np.maximum(values[order], 0.0))
    scores = vectors[:, order] * lengths
    directions = (vectors[:, order] / np.maximum(lengths, 1e-9)).T @ outputs
    directions[lengths < 1e-6] = 0.0
    kernel = features @ features.T
    ridge = 1e-2 * np.trace(kernel) / len(kernel)
    basis = (features.T @ np.linalg.solve(kernel + ridge * np.eye(len(kernel)), scores)).T
    if len(basis) < components:
        missing = components - len(basis)
        basis = np.concatenate([basis, np.zeros((missing, basis.shape[1]))])
        directions = np.concatenate([directions, np.zeros((missing, directions.shape[1]))])
    return basis, directions
