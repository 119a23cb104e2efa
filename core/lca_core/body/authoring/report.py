"""Measures how well the linear body covers people it was not built from (``build_body --report``)."""

from __future__ import annotations

import numpy as np

from lca_core.body.names import JOINT_NAMES


def measure(
    people: np.ndarray,
    joints: np.ndarray,
    train: int,
    template: np.ndarray,
    components: np.ndarray,
    expressions: np.ndarray,
    regressor: np.ndarray,
    emphasis: np.ndarray,
) -> dict[str, object]:
    """Residuals in mm on ``people[train:]``.

    Args:
        people: ``(N,V,3)``, joints: ``(N,55,3)``; template ``(V,3)``, components ``(50,V,3)``,
            expressions ``(52,V,3)``, regressor ``(55,V)``, emphasis ``(V,)`` PCA weights (face > 1).
    """
    held = people[train:] - template
    face = emphasis > 1.0
    weight = np.repeat(emphasis, 3)
    out: dict[str, object] = {}
    for k in (10, 20, 30, 50):
        basis = components[:k].reshape(k, -1) * weight
        flat = held.reshape(len(held), -1) * weight
        scores = np.linalg.solve(basis @ basis.T, basis @ flat.T).T
        error = np.linalg.norm(held - np.einsum("nk,kvc->nvc", scores, components[:k]), axis=2) * 1000
        out[f"residual_mm_K{k}"] = {
            "body": float(error[:, ~face].mean()),
            "face": float(error[:, face].mean()),
            "worst": float(error.max()),
            "max_abs_beta": float(np.abs(scores).max()),
        }
    miss = np.linalg.norm(np.einsum("jv,nvc->njc", regressor, people[train:]) - joints[train:], axis=2) * 1000
    worst = np.unravel_index(miss.argmax(), miss.shape)
    out["joint_regression_mm"] = {
        "mean": float(miss.mean()),
        "worst": float(miss.max()),
        "worst_joint": JOINT_NAMES[int(worst[1])],
        "per_joint_mean_max": float(miss.mean(axis=0).max()),
    }
    out["expression_joint_drift_mm"] = float(
        np.abs(np.einsum("jv,evc->ejc", regressor, expressions)).max() * 1000
    )
    size = np.linalg.norm(expressions, axis=2).max(axis=1) * 1000
    out["expression_largest_mm"] = [round(float(v), 1) for v in size]
    mirrored = joints.mean(axis=0) * np.array([-1.0, 1.0, 1.0])
    swap = [JOINT_NAMES.index(_other_side(n)) for n in JOINT_NAMES]
    out["joint_asymmetry_mm"] = float(np.abs(mirrored[swap] - joints.mean(axis=0)).max() * 1000)
    out["height_m"] = [float(v) for v in np.percentile(np.ptp(people[:, :, 1], axis=1), [0, 5, 50, 95, 100])]
    return out


def _other_side(name: str) -> str:
    if name.startswith("left_"):
        return "right_" + name[5:]
    if name.startswith("right_"):
        return "left_" + name[6:]
    return name
