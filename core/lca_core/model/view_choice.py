"""Which view a body part is copied from: one best view per part, others only where it does not reach.

Frames of a real clip never fit the body exactly. Choosing views texel by texel then mixes misaligned copies
of the same eye or button; choosing once per part keeps the picture of that part whole.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lca_core.body.names import ARKIT_INDEX, HAND_JOINTS, JOINT_NAMES
from lca_core.model.surface import BodyPoints

RANK_PENALTY = 0.3
"""Score lost per rank; with the fusion's sharpness the second best view weighs 1.5 % where both see a texel
well."""
HUE_NEAR, HUE_FAR = 0.04, 0.085
"""Distance in (r, g, b) / sum within and beyond which a texel has the hue of the hands or not."""
BARE_SHARE = 0.2
COVERED_M, COVERED = 0.13, 0.25
"""Distance from the middle of the head within which a hand in front of it covers the face, and what such a
view of the face is worth: the hand's fit is too rough to tell its pixels from the mouth's."""
BLINKS = (ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"])
MOUTH = (ARKIT_INDEX["jawOpen"], ARKIT_INDEX["mouthFunnel"], ARKIT_INDEX["mouthPucker"])


def part_of_joint(name: str) -> str:
    """Body part that is copied as a whole, by the joint that moves it."""
    side = name.split("_")[0] if name.startswith(("left_", "right_")) else ""
    bare = name.removeprefix("left_").removeprefix("right_")
    if bare.startswith(("eye", "jaw", "head")):
        return "head"
    if bare[-1].isdigit() and not bare.startswith("spine"):
        return f"{side} hand"
    if bare in ("ankle", "foot"):
        return f"{side} foot"
    if bare in ("elbow", "wrist"):
        return f"{side} {'forearm' if bare == 'elbow' else 'hand'}"
    if bare in ("hip", "knee"):
        return f"{side} leg"
    if bare == "shoulder":
        return f"{side} upper arm"
    return "torso"


PARTS: tuple[str, ...] = tuple(sorted({part_of_joint(name) for name in JOINT_NAMES}))
HEAD_FRONT = PARTS.index("head") * 2
"""Part number of the face."""


def texel_parts(template: BodyPoints) -> NDArray[np.int64]:
    """Part number of each texel [T]; front and back of a part are chosen apart, because no view shows
    both."""
    part = np.array([PARTS.index(part_of_joint(name)) for name in JOINT_NAMES])[template.weights.argmax(1)]
    return part * 2 + (template.rest_normals()[:, 2] < -0.1)


def part_ranks(
    template: BodyPoints,
    trust: NDArray[np.float32],
    score: NDArray[np.float32],
    color: NDArray[np.float32],
    expression: NDArray[np.float32],
    covered: NDArray[np.bool_] | None = None,
) -> dict[int, NDArray[np.int64]]:
    """Which view is best for which part.

    Args:
        trust, score: [N,T] of the inverse texture map; score is -inf where a view is void.
        color: [N,T,3] sRGB 0-1. expression: [N,52] ARKit of each view. covered: [N] views with a hand before
        the face.

    Returns:
        rank [N] of the views, 0 = best, for each part number of :func:`texel_parts`.
    """
    parts = texel_parts(template)
    ranks = {}
    safe = np.where(np.isfinite(score), score, 0.0)
    detail = _detail(template, color, trust)
    facing = template.rest_normals()[:, 2]
    # Open eyes and a closed mouth make the better neutral face.
    calm = 1.0 - 0.6 * expression[:, BLINKS].mean(1) - 0.4 * expression[:, MOUTH].max(1)
    for part in np.unique(parts):
        texels = parts == part
        # The middle of a part counts most: a view that also shows its side is not a better view of the face.
        middle = np.square(facing[texels])
        quality = (trust[:, texels] * safe[:, texels] * middle).sum(1) / max(float(middle.sum()), 1e-6)
        sharp = detail[:, texels].sum(1) / np.maximum(trust[:, texels].sum(1), 1e-6)
        quality = quality * sharp / max(float(sharp.max()), 1e-6)
        if part // 2 == HEAD_FRONT // 2:
            quality = quality * np.clip(calm, 0.2, 1.0)
            quality = quality if covered is None else np.where(covered, COVERED * quality, quality)
        ranks[int(part)] = np.argsort(np.argsort(-quality, kind="stable"), kind="stable")
    return ranks


def hand_before_face(template: BodyPoints, mesh: NDArray[np.floating]) -> bool:
    """Whether a forearm or hand of the posed body may cover the face; mesh [V,3] in the camera's space, m.

    Depth does not count: from one camera a hand at the mouth may well be fitted behind the head.
    """
    head, arms = mesh[template.head_vertices].mean(0), mesh[np.unique(template.arm_faces)]
    if not len(arms) or head[2] <= 0:
        return False
    seen = arms[:, :2] * (head[2] / np.maximum(arms[:, 2:], 0.05))
    return bool((np.hypot(*(seen - head[:2]).T) < COVERED_M).any())


def hand_points(points: BodyPoints) -> NDArray[np.bool_]:
    """Which points [T] belong to the hands."""
    return np.isin(points.weights.argmax(1), [*HAND_JOINTS["left"], *HAND_JOINTS["right"]])


def hand_trust(
    template: BodyPoints, trust: NDArray[np.float32], color: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Factor of the trust [N,T]: hands keep what has the hue of hands, 1 everywhere else.

    Hands are small and their fit is off by a finger's width, so some of their texels land on cuffs and on
    the clothes behind. Bare hands have the hue of the face; if few texels do, the person wears gloves and
    the hands' own median decides.

    Args:
        trust: [N,T]; color: [N,T,3] sRGB 0-1.
    """
    hands = hand_points(template)
    factor = np.ones_like(trust)
    sure = trust[:, hands] > 0.5
    if sure.sum() < 50:
        return factor
    hue = color / (color.sum(-1, keepdims=True) + 0.1)
    face = (texel_parts(template) == HEAD_FRONT) & (template.rest_normals()[:, 2] > 0.5)
    seen_face = trust[:, face] > 0.5
    own = hue[:, hands]
    away = np.linalg.norm(own - np.median(own[sure], axis=0), axis=-1)
    if seen_face.sum() >= 50:
        from_face = np.linalg.norm(own - np.median(hue[:, face][seen_face], axis=0), axis=-1)
        if (from_face[sure] < HUE_FAR).mean() > BARE_SHARE:
            away = from_face
    factor[:, hands] = np.clip((HUE_FAR - away) / (HUE_FAR - HUE_NEAR), 0.0, 1.0)
    return factor


def rank_bias(template: BodyPoints, ranks: dict[int, NDArray[np.int64]]) -> NDArray[np.float32]:
    """What to add to the score of every view at every texel [N,T]: 0 for the best view of its part."""
    table = np.zeros((max(ranks) + 1, len(next(iter(ranks.values())))), np.float32)
    for part, rank in ranks.items():
        table[part] = -RANK_PENALTY * rank
    return np.ascontiguousarray(table[texel_parts(template)].T)


def _detail(
    template: BodyPoints, color: NDArray[np.float32], trust: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Contrast to the next texel along a row [N,T], weighted by trust: motion blur lowers it."""
    following = template.following()
    valid = following >= 0
    step = np.zeros_like(trust)
    step[:, valid] = np.abs(color[:, valid] - color[:, following[valid]]).mean(-1)
    step[:, valid] *= np.minimum(trust[:, valid], trust[:, following[valid]])
    return step
