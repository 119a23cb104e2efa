"""Statistics of the posed people: linear shape components, joint regressor, forearm corrective, vertex order.

All pure numpy on arrays; the MakeHuman side lives in ``makehuman.py`` and ``tpose.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lca_core.body.names import JOINT_INDEX

FACE_WEIGHT = 3.5
"""How much more a face vertex counts in the components than a body vertex."""


@dataclass(frozen=True)
class ShapeSpace:
    """``mean (V,3)``, ``components (K,V,3)`` for scores of unit variance, ``scores (N,K)`` of the training
    people.
    """

    mean: np.ndarray
    components: np.ndarray
    scores: np.ndarray


def shape_space(people: np.ndarray, chosen: np.ndarray, vertex_weight: np.ndarray, count: int) -> ShapeSpace:
    """Weighted PCA of ``people (N,V,3)`` judged on the vertices ``chosen`` with ``vertex_weight
    (len(chosen),)``.

    The components come back for all V vertices (the least-squares answer of every vertex to the scores), so
    that helper vertices follow the same coefficients as the skin.
    """
    n = len(people)
    mean = people.mean(axis=0, dtype=np.float64)
    centred = (people - mean.astype(np.float32)).reshape(n, -1)
    seen = centred.reshape(n, -1, 3)[:, chosen] * vertex_weight[None, :, None].astype(np.float32)
    gram = seen.reshape(n, -1).astype(np.float64) @ seen.reshape(n, -1).T.astype(np.float64)
    values, vectors = np.linalg.eigh(gram)
    basis = vectors[:, np.argsort(values)[::-1][:count]]
    basis *= np.where(basis[np.abs(basis).argmax(axis=0), np.arange(count)] < 0, -1.0, 1.0)
    components = (basis.T.astype(np.float32) @ centred) / np.sqrt(n - 1)
    return ShapeSpace(mean.astype(np.float32), components.reshape(count, -1, 3), basis * np.sqrt(n - 1))


def joint_regressor(
    vertices: np.ndarray,
    joints: np.ndarray,
    usable: np.ndarray,
    nearest: int = 3000,
    keep: int = 500,
    ridge: float = 3e-7,
) -> np.ndarray:
    """Rows ``(55,V)`` that turn T-pose vertices into joint centres.

    Args:
        vertices: ``(N,V,3)`` people, joints: ``(N,55,3)``.
        usable: per joint a boolean ``(55,V)``; only vertices that no expression moves may carry weight, so
            that the joints depend on the betas alone, exactly.
        nearest, keep: every ``nearest/keep``-th of the nearest usable vertices is a candidate, so that a ring
            around the joint is covered and not only the closest patch of skin.
        ridge: damping (m^2); more gives smaller weights and a larger error.

    Each row is the ridge solution nearest to the plain mean of its candidates, with weights that sum to 1.
    """
    count = len(vertices)
    mean = vertices.mean(axis=0)
    regressor = np.zeros((joints.shape[1], vertices.shape[1]))
    for j in range(joints.shape[1]):
        ids = np.flatnonzero(usable[j])
        distance = np.linalg.norm(mean[ids] - joints[:, j].mean(axis=0), axis=1)
        ids = ids[np.argsort(distance, kind="stable")[:nearest]]
        if len(ids) > keep:
            ids = ids[np.linspace(0, len(ids) - 1, keep).astype(int)]
        x = vertices[:, ids].astype(np.float64).transpose(0, 2, 1).reshape(count * 3, -1)
        y = joints[:, j].astype(np.float64).reshape(-1)
        # Weights = 1/n + d with sum(d) = 0: fit d on the vertices relative to their centroid.
        centre = x.mean(axis=1)
        a, b = x - centre[:, None], y - centre
        d = np.linalg.solve(a.T @ a / len(a) + ridge * np.eye(len(ids)), a.T @ b / len(a))
        regressor[j, ids] = d - d.mean() + 1.0 / len(ids)
    return regressor


def forearm_posedirs(template: np.ndarray, joints: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pose corrective ``(V,3,486)`` that spreads wrist twist over the forearm.

    With plain LBS a twist of the wrist joint shows only where the wrist has weight. For a twist by t about
    the forearm (x) axis the feature R - I has cos t - 1 in entries 11 and 22 and -+ sin t in 12 and 21, so
    ``a (R - I)(p - axis)`` in the yz plane is linear in the pose feature. ``a`` is what is missing to a twist
    that grows linearly from elbow to wrist.
    """
    posedirs = np.zeros((len(template), 3, 486), np.float32)
    for side in ("left", "right"):
        elbow, wrist = (joints[JOINT_INDEX[f"{side}_{n}"]] for n in ("elbow", "wrist"))
        own = weights[:, JOINT_INDEX[f"{side}_elbow"]] + weights[:, JOINT_INDEX[f"{side}_wrist"]]
        along = np.clip((template[:, 0] - elbow[0]) / (wrist[0] - elbow[0]), 0.0, 1.0)
        missing = np.clip(along - weights[:, JOINT_INDEX[f"{side}_wrist"]], 0.0, None)
        a = missing * weights[:, JOINT_INDEX[f"{side}_elbow"]] * (own > 0.5)
        axis = elbow[1:] + along[:, None] * (wrist - elbow)[1:]
        y, z = (template[:, 1:] - axis).T
        first = (JOINT_INDEX[f"{side}_wrist"] - 1) * 9
        r11, r12, r21, r22 = first + 4, first + 5, first + 7, first + 8
        # cos t - 1 as the mean of both diagonal entries halves the pinch that a pure bend would cause.
        for column in (r11, r22):
            posedirs[:, 1, column] = 0.5 * a * y
            posedirs[:, 2, column] = 0.5 * a * z
        posedirs[:, 1, r12] = 0.5 * a * z
        posedirs[:, 1, r21] = -0.5 * a * z
        posedirs[:, 2, r21] = 0.5 * a * y
        posedirs[:, 2, r12] = -0.5 * a * y
    return posedirs


def standard_vertices(
    template: np.ndarray, weights: np.ndarray, joints: np.ndarray, parts: np.ndarray
) -> dict[str, int]:
    """The 21 surface points every SMPL-X tool expects, as vertex numbers of our mesh, found from its
    geometry.

    Args:
        parts: 0 skin, 1 tongue, 2 left eyeball, 3 right eyeball, per vertex.
    """
    skin = parts == 0
    dominant = weights.argmax(axis=1)

    def best(mask: np.ndarray, score: np.ndarray) -> int:
        return int(np.flatnonzero(mask)[score[mask].argmax()])

    x, y, z = template.T
    head = skin & (dominant == JOINT_INDEX["head"])
    found = {"nose": best(head & (np.abs(x) < 0.004) & (y < joints[JOINT_INDEX["left_eye_smplhf"], 1]), z)}
    for part, name in ((2, "leye"), (3, "reye")):
        found[name] = best(parts == part, z)
    for side, s, tag in (("left", 1.0, "l"), ("right", -1.0, "r")):
        found[f"{tag}ear"] = best(head, s * x)
        for finger in ("thumb", "index", "middle", "ring", "pinky"):
            last = joints[JOINT_INDEX[f"{side}_{finger}3"]]
            direction = last - joints[JOINT_INDEX[f"{side}_{finger}2"]]
            tip = skin & (dominant == JOINT_INDEX[f"{side}_{finger}3"])
            found[f"{tag}{finger}"] = best(tip, (template - last) @ direction)
        foot = skin & (s * x > 0) & (weights[:, JOINT_INDEX[f"{side}_foot"]] > 0.9)
        ankle = skin & (s * x > 0) & (dominant == JOINT_INDEX[f"{side}_ankle"])
        low, high = (s * x)[foot].min(), (s * x)[foot].max()
        inner = foot & (s * x < low + 0.3 * (high - low))
        outer = foot & (s * x > high - 0.2 * (high - low))
        found[f"{tag.upper()}BigToe"] = best(inner, z)
        found[f"{tag.upper()}SmallToe"] = best(outer, z)
        found[f"{tag.upper()}Heel"] = best(ankle & (y < y[ankle].min() + 0.03), -z)
    if len(set(found.values())) != 21:
        raise ValueError("two of the 21 standard points fell on one vertex")
    return found


def vertex_order(count: int, found: dict[str, int], slots: dict[str, int]) -> np.ndarray:
    """A permutation ``(count,)`` (new -> old) that puts each found vertex into its slot; the rest keep their
    order.
    """
    order = np.full(count, -1)
    for name, slot in slots.items():
        order[slot] = found[name]
    rest = np.setdiff1d(np.arange(count), order[order >= 0])
    order[order < 0] = rest
    return order


def snap(values: np.ndarray, step: float = 2.0**-17) -> np.ndarray:
    """Round to ``step`` metres (7.6 micrometres): invisible, and the file compresses 15 times better."""
    return (np.round(values / step) * step).astype(np.float32)
