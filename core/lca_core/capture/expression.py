"""Expressions and gaze: face results of many frames in, ARKit weights and eye rotations out.

The network's scores are biased per person (open eyes may score 0.4 on eyeBlink), so a personal neutral, the
median of calm frontal frames, is taken off first. Gaze comes from where the irises sit between the eye
corners.
"""

from __future__ import annotations

import numpy as np

from lca_core.body.names import ARKIT_INDEX, NUM_ARKIT

from .face import FaceResult
from .networks import Array

FRONTAL = np.radians(20.0)
PROFILE = np.radians(55.0)
MIN_NEUTRAL_FRAMES = 5
MAX_NEUTRAL = 0.75
"""A neutral above this would leave no range to move in."""
CLOSED_QUANTILE = 0.2
"""A jaw only opens: its rest is the low end of what was seen, not the median of a talking face."""
CLOSED_LIPS = 0.03
"""Gap of closed lips in face widths when too few frames tell the person's own."""
MAX_GAIN = 1.7
"""Stretching the range above a high neutral further would mostly amplify noise."""

EYES: tuple[tuple[int, int, int, int, int], ...] = ((263, 362, 386, 374, 473), (33, 133, 159, 145, 468))
"""Per eye (left, right of the subject): outer corner, inner corner, upper lid, lower lid, iris centre."""

EYE_WIDTH_IN_RADII = 2.4
"""Corner distance over eyeball radius (about 29 mm over 12 mm)."""

MAX_GAZE = np.radians(35.0)


def personal_neutral(faces: list[FaceResult | None], sharpness: Array | None = None) -> Array:
    """Scores [52] of the resting face: median of calm, sharp, frontal frames; zeros if fewer than five."""
    sharp = np.ones(len(faces)) if sharpness is None else np.asarray(sharpness)
    floor = 0.5 * np.median(sharp) if len(sharp) else 0.0
    pairs = zip(faces, sharp, strict=True)
    calm = [f for f, s in pairs if f is not None and abs(f.yaw) < FRONTAL and s >= floor]
    if len(calm) < MIN_NEUTRAL_FRAMES:
        return np.zeros(NUM_ARKIT, np.float32)
    scores = np.stack([f.scores for f in calm])
    activity = np.abs(scores - np.median(scores, 0)).sum(1) + 2.0 * scores[:, ARKIT_INDEX["jawOpen"]]
    count = max(MIN_NEUTRAL_FRAMES, len(calm) // 2)
    neutral = np.median(scores[np.argsort(activity)[:count]], 0)
    jaw = ARKIT_INDEX["jawOpen"]
    neutral[jaw] = np.quantile(scores[:, jaw], CLOSED_QUANTILE)
    return np.clip(neutral, 0.0, MAX_NEUTRAL).astype(np.float32)


def lip_gap(face: FaceResult) -> float:
    """Distance of the inner lips along the face in face widths; below 0 where the points cross."""
    local = face.points @ face.rotation  # columns: subject's left, down, back
    return float((local[14, 1] - local[13, 1]) / max(face.width, 1e-3))


def closed_lips(faces: list[FaceResult | None]) -> float:
    """The person's own gap of closed lips: a low quantile of the frontal frames."""
    gaps = [lip_gap(f) for f in faces if f is not None and abs(f.yaw) < FRONTAL]
    return float(np.quantile(gaps, CLOSED_QUANTILE)) if len(gaps) >= MIN_NEUTRAL_FRAMES else CLOSED_LIPS


def expression_weights(face: FaceResult, neutral: Array, closed: float = CLOSED_LIPS) -> Array:
    """ARKit weights [52] in 0..1 of one face: score above neutral, stretched towards the full range.

    Blinks are made symmetric in near-frontal views, where a one-eyed wink is mostly noise. On small faces
    the network misses half the openings of a talking jaw, so the gap of the lips beyond ``closed`` (face
    widths) is added to its score, but not in a broad smile, which bares teeth without the jaw.
    """
    gain = np.minimum(1.0 / (1.0 - neutral), MAX_GAIN)
    out = np.clip((face.scores - neutral) * gain, 0.0, 1.0).astype(np.float32)
    jaw = ARKIT_INDEX["jawOpen"]
    grin = max(float(face.scores[ARKIT_INDEX[f"mouthSmile{side}"]]) for side in ("Left", "Right"))
    parted = max(lip_gap(face) - closed, 0.0) * np.clip(2.0 - 2.0 * grin, 0.0, 1.0)
    out[jaw] = np.clip(out[jaw] + parted, 0.0, 1.0)
    if abs(face.yaw) < FRONTAL:
        left, right = ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]
        out[[left, right]] = 0.5 * (out[left] + out[right])
    return out


def expression_confidence(face: FaceResult | None) -> float:
    """0..1: face score, fading from frontal to profile and below 60 px of face width."""
    if face is None:
        return 0.0
    turn = np.clip((PROFILE - abs(face.yaw)) / (PROFILE - FRONTAL), 0.0, 1.0)
    return float(face.score * turn * np.clip(face.width / 60.0, 0.0, 1.0))


def raw_gaze(face: FaceResult) -> Array:
    """Uncalibrated (yaw, pitch) [2,2] of (left, right) eye in radians, relative to the head.

    yaw > 0 looks to the subject's left, pitch > 0 looks down. The iris offset from the middle of the eye
    corners is taken in head axes, in units of the corner distance.
    """
    local = face.points @ face.rotation  # columns: subject's left, down, back
    out = np.zeros((2, 2), np.float32)
    for row, (outer, inner, upper, lower, iris) in enumerate(EYES):
        width = max(float(np.linalg.norm(local[outer, :2] - local[inner, :2])), 1e-3)
        middle = 0.5 * (local[outer] + local[inner])
        lids = 0.5 * (local[upper] + local[lower])
        side = (local[iris, 0] - middle[0]) / width * EYE_WIDTH_IN_RADII
        # Lids follow the eye, so the vertical reference is half corners, half lids.
        down = (local[iris, 1] - 0.5 * (middle[1] + lids[1])) / width * EYE_WIDTH_IN_RADII
        out[row] = np.arcsin(np.clip([side, down], -0.7, 0.7))
    return out


def gaze_angles(faces: list[FaceResult | None]) -> Array:
    """Gaze [T,2,2] of all frames: both eyes turn together, pitch relative to the clip's median; 0 without a
    face."""
    out = np.zeros((len(faces), 2, 2), np.float32)
    seen = [i for i, f in enumerate(faces) if f is not None and abs(f.yaw) < PROFILE]
    if not seen:
        return out
    raw = np.stack([raw_gaze(f) for f in (faces[i] for i in seen) if f is not None])
    frontal = [k for k, i in enumerate(seen) if (f := faces[i]) is not None and abs(f.yaw) < FRONTAL]
    raw[:, :, 1] -= np.median(raw[frontal or slice(None), :, 1])
    # The eyes' own left-right offsets cancel in the mean (each iris sits a little towards the nose).
    raw[:] = raw.mean(1, keepdims=True)
    out[seen] = np.clip(raw, -MAX_GAZE, MAX_GAZE)
    return out


def eye_rotations(gaze: Array) -> Array:
    """Axis-angle [...,3] of an eye joint from (yaw, pitch) [...,2]; the eye looks along +Z at rest."""
    from scipy.spatial.transform import Rotation

    flat = np.asarray(gaze, np.float64).reshape(-1, 2)
    # Ry(yaw) turns +Z towards +X (left); Rx(pitch) lowers it towards -Y.
    turned = Rotation.from_euler("YX", flat)
    return turned.as_rotvec().reshape(*np.shape(gaze)[:-1], 3).astype(np.float32)
