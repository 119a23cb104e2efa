"""Chooses reference frames: landmarks of sampled frames in, up to eight indices and the reasons out.

A reference is worth having when it is sharp, shows the whole body, and shows a side that the others do not.
Selection is greedy: the best frontal frame first, then whatever adds most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .face import FaceResult
from .hands import HandResult
from .networks import Roi
from .pose import POSE_INDEX, PoseResult

BODY_POINTS = [POSE_INDEX[f"{s}_{p}"] for s in ("left", "right") for p in
               ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")]  # fmt: skip
SHOULDERS = [POSE_INDEX["left_shoulder"], POSE_INDEX["right_shoulder"]]
HIPS = [POSE_INDEX["left_hip"], POSE_INDEX["right_hip"]]

MIN_REFERENCES = 6
"""So many are taken even when they repeat each other: they average out the landmarks' noise."""
BLURRED, BLURRED_SIDE, BLURRED_FACE = 0.42, 0.33, 0.15
"""Sharpness below these shares of the clip's sharp frames rules a frame out (fronts; sides and backs, which
have less detail; faces)."""
FRONT = np.radians(40.0)
TWIST = np.radians(70.0)
"""Shoulders and hips that differ more in yaw belong to no living person."""
NARROW_HIPS, BROAD_SHOULDERS = 0.3, 0.4
"""Hips below this share of the shoulders, where the shoulders are broader than this share of the torso."""
REPEAT_TURN, REPEAT_MOVE = np.radians(12.0), 0.08
"""A frame repeats another below these: radians, metres of the mean joint."""


@dataclass(frozen=True)
class Observation:
    """Everything the networks said about one frame, plus measures derived from it.

    Attributes:
        index: position in the sampled frames.
        pose, hands, face: network results; hands are the subject's (left, right).
        yaw: body yaw in radians: 0 faces the camera, positive turns to the subject's left, +-pi is a back
            view.
        coverage: share 0..1 of the 12 main joints that are visible and inside the picture.
        face_sharpness: mean squared Laplacian of the face at a fixed face size, 0 without a face.
        sharpness: mean squared Laplacian inside the person at a fixed person size.
        turned: front and back were exchanged after the network spoke (``facing.py``).
    """

    index: int
    pose: PoseResult
    hands: tuple[HandResult | None, HandResult | None]
    face: FaceResult | None
    yaw: float
    coverage: float
    sharpness: float
    face_sharpness: float = 0.0
    turned: bool = False


def observe(
    index: int,
    frame: NDArray[np.uint8],
    size: tuple[int, int],
    pose: PoseResult,
    hands: tuple[HandResult | None, HandResult | None],
    face: FaceResult | None,
) -> Observation:
    """Derive the measures of one frame; ``size`` is (width, height) of its valid part."""
    inside = ((pose.points >= 0) & (pose.points < np.asarray(size))).all(1)
    seen = inside[BODY_POINTS] & (pose.visibility[BODY_POINTS] > 0.5)
    measures = body_yaw(pose), float(seen.mean()), sharpness(frame, pose), face_sharpness(frame, face)
    return Observation(index, pose, hands, face, *measures)


def body_yaw(pose: PoseResult) -> float:
    """Yaw of shoulders plus hips from the world landmarks, radians in (-pi, pi]."""
    left = (pose.world[SHOULDERS[0]] - pose.world[SHOULDERS[1]]) + (pose.world[HIPS[0]] - pose.world[HIPS[1]])
    # Facing the camera, the subject's left is image right (+x); turning left moves it away (+z).
    return float(np.arctan2(left[2], left[0]))


def sharpness(frame: NDArray[np.uint8], pose: PoseResult, side: int = 384) -> float:
    """Mean squared Laplacian inside the person, sampled to ``side`` pixels so that clips compare.

    The background must not count: with a fixed camera it stays sharp while the person blurs.
    """
    grey = pose.roi.crop(frame, side).astype(np.float32).mean(2)
    solid = (np.clip(pose.mask, 0, 1) * 255).astype(np.uint8)
    weight = pose.roi.crop(np.repeat(solid[..., None], 3, 2), side)[..., 0] > 200
    weight = ndimage.binary_erosion(weight, iterations=2)
    if not weight.any():
        return 0.0
    return float((ndimage.laplace(grey)[weight] ** 2).mean())


def face_sharpness(frame: NDArray[np.uint8], face: FaceResult | None, side: int = 96) -> float:
    """Mean squared Laplacian of the face box sampled to ``side`` pixels; 0 without a face."""
    if face is None:
        return 0.0
    centre = face.points[:468, :2].mean(0)
    grey = Roi(float(centre[0]), float(centre[1]), 1.1 * face.width).crop(frame, side)
    return float((ndimage.laplace(grey.astype(np.float32).mean(2)) ** 2).mean())


@dataclass(frozen=True)
class Choice:
    """Which observations were taken (positions in time order), and a reason for every observation."""

    taken: list[int]
    reasons: dict[int, str]


def choose_frames(
    seen: list[Observation],
    max_references: int = 8,
    *,
    kind: str = "video",
    labels: list[str] | None = None,
) -> tuple[list[Observation], list[str]]:
    """Pick references in time order.

    Args:
        seen: observations of the sampled frames.
        max_references: upper limit.
        kind: ``"images"`` keeps every photo up to the limit (somebody chose them), ``"video"`` also drops
            blur and frames that repeat what is already there.
        labels: what the notes call sample i; "sample i" by default.

    Returns:
        (chosen, notes): one note per chosen frame and one per thing that was never visible.
    """
    choice = choose(seen, max_references, kind=kind)
    picked = [seen[i] for i in choice.taken]
    notes = [
        f"{labels[seen[i].index] if labels else f'sample {seen[i].index}'}: {choice.reasons[i]}"
        for i in choice.taken
    ]
    return picked, notes + (missing_views(picked) if picked else [])


def choose(seen: list[Observation], max_references: int = 8, *, kind: str = "video") -> Choice:
    """As :func:`choose_frames`, with a reason for every frame, taken or not."""
    if not seen:
        return Choice([], {})
    sharp = np.array([o.sharpness for o in seen])
    rank = sharp / max(np.percentile(sharp, 80), 1e-6)
    coverage = np.array([o.coverage for o in seen])
    quality = np.clip(rank / 0.6, 0, 1) + 1.5 * coverage
    quality += np.array([0.25 * sum(h is not None for h in o.hands) for o in seen])
    quality += np.array([0.6 * arms_clear(o.pose) for o in seen])
    faces = np.array([o.face_sharpness for o in seen])
    face_rank = np.ones(len(seen))
    if faces.any():  # a blurred face spoils an avatar more than a blurred sleeve
        face_rank = faces / max(np.percentile(faces[faces > 0], 80), 1e-6)
        quality += 0.5 * np.clip(face_rank / 0.6, 0, 1)
    reasons = dict.fromkeys(range(len(seen)), "nothing new beside the chosen frames")
    allowed = np.ones(len(seen), bool)
    limited = kind == "video" and len(seen) > min(max_references, MIN_REFERENCES)
    if limited:
        frontal_face = np.array([o.face is not None and abs(o.face.yaw) < FRONT for o in seen])
        front = np.array([abs(o.yaw) < np.radians(50.0) for o in seen])
        blurred_face = frontal_face & (face_rank < BLURRED_FACE)
        for bad, why in (
            (coverage < 0.75 * coverage.max(), "less of the body is visible than elsewhere"),
            (np.array([torn(o) for o in seen]), "shoulders and hips were read from opposite sides"),
            (blurred_face, "the face is blurred"),
            (rank < np.where(front, BLURRED, BLURRED_SIDE), "the person is blurred"),
        ):
            allowed &= ~bad
            reasons |= dict.fromkeys(np.flatnonzero(bad).tolist(), why)
        wanted = min(max_references, MIN_REFERENCES, len(seen))
        if allowed.sum() < wanted:
            allowed[np.argsort(-quality)[:wanted]] = True
    frontal = np.array([_frontality(o) for o in seen])
    first = int(np.argmax(np.where(allowed, quality + 2.0 * frontal, -np.inf)))
    chosen = [first]
    face_seen = frontal[first] > 0.5
    reasons[first] = (
        "most frontal sharp frame with a face" if face_seen else "sharpest frame with the whole body"
    )
    while len(chosen) < min(max_references, int(allowed.sum())):
        gain = np.array([_gain(seen, i, chosen) for i in range(len(seen))])
        score = np.where(allowed, quality + gain, -np.inf)
        score[chosen] = -np.inf
        if limited:
            new = allowed & ~np.array([_repeats(seen, i, chosen) for i in range(len(seen))])
            if new.any():
                score[~new] = -np.inf
            elif len(chosen) >= MIN_REFERENCES:
                break
        pick = int(np.argmax(score))
        reasons[pick] = _reason(seen, pick, chosen)
        chosen.append(pick)
    return Choice(sorted(chosen), reasons)


def _reason(seen: list[Observation], pick: int, chosen: list[int]) -> str:
    turned = min(_turn(seen[pick].yaw, seen[c].yaw) for c in chosen)
    if turned > np.radians(25):
        what = "a new side of the body"
    elif min(moved(seen[pick], seen[c]) for c in chosen) > REPEAT_MOVE:
        what = "another pose"
        if arms_clear(seen[pick].pose) > 0.5:
            what += ", arms away from the body"
    else:
        what = "another look at the same pose"
    return f"{what} (yaw {np.degrees(seen[pick].yaw):.0f} degrees)"


def torn(o: Observation) -> bool:
    """Whether shoulders and hips, all visible, were read from opposite sides.

    Either they differ by more than ``TWIST`` in space, or the hips collapse in the picture under shoulders
    that are not seen edge on.
    """
    p = o.pose.points
    if o.pose.visibility[SHOULDERS + HIPS].min() < 0.5:
        return False
    yaws = [np.arctan2(v[2], v[0]) for v in (o.pose.world[a] - o.pose.world[b] for a, b in (SHOULDERS, HIPS))]
    torso = float(np.hypot(*(p[SHOULDERS].mean(0) - p[HIPS].mean(0))))
    shoulders, hips = (float(p[a, 0] - p[b, 0]) for a, b in (SHOULDERS, HIPS))
    broad = abs(shoulders) > BROAD_SHOULDERS * torso
    return _turn(*yaws) > TWIST or (broad and hips / shoulders < NARROW_HIPS)


def arms_clear(pose: PoseResult) -> float:
    """0..1: how far elbows and wrists lie beside the torso in the picture, 0 over or along it, mean of both.

    Arms in front of the body hide clothes, and the hands' colours end up on them.
    """
    hull = pose.points[[SHOULDERS[0], SHOULDERS[1], HIPS[1], HIPS[0]]].astype(float)
    length = max(float(np.hypot(*(hull[:2].mean(0) - hull[2:].mean(0)))), 1e-6)
    clear = []
    for side in ("left", "right"):
        values = []
        for part, near, far in (("elbow", 0.05, 0.25), ("wrist", 0.1, 0.5)):
            gap = _outside(pose.points[POSE_INDEX[f"{side}_{part}"]].astype(float), hull) / length
            values.append(np.clip((gap - near) / (far - near), 0.0, 1.0))
        clear.append(float(np.mean(values)))
    return float(np.mean(clear))


def _outside(point: NDArray[np.float64], corners: NDArray[np.float64]) -> float:
    """Distance of a point to a convex quadrilateral, 0 inside."""
    ends = np.roll(corners, -1, 0)
    edge, to = ends - corners, point - corners
    turn = edge[:, 0] * to[:, 1] - edge[:, 1] * to[:, 0]
    if (turn >= 0).all() or (turn <= 0).all():
        return 0.0
    along = np.clip((to * edge).sum(1) / np.maximum((edge**2).sum(1), 1e-9), 0, 1)
    return float(np.linalg.norm(to - along[:, None] * edge, axis=1).min())


def frame_report(seen: list[Observation], choice: Choice, numbers: list[int], times: list[float]) -> dict:
    """JSON-ready table of the choice: every looked-at frame, its measures, whether it was taken, and why.

    Args:
        numbers, times: source frame number and seconds of every sample (indexed by ``Observation.index``).
    """
    rows = [
        {
            "frame": int(numbers[o.index]),
            "seconds": round(float(times[o.index]), 3),
            "used": i in choice.taken,
            "why": choice.reasons[i],
            "sharpness": round(o.sharpness, 1),
            "face_sharpness": round(o.face_sharpness, 1),
            "body_yaw_degrees": round(float(np.degrees(o.yaw)), 1),
            "visible_joints": round(o.coverage, 2),
            "arms_clear": round(arms_clear(o.pose), 2),
            "hands": [h is not None for h in o.hands],
            "face": o.face is not None,
            "front_back_corrected": o.turned,
        }
        for i, o in enumerate(seen)
    ]
    return {"frames": rows, "used": [r["frame"] for r in rows if r["used"]]}


def missing_views(chosen: list[Observation]) -> list[str]:
    """Sentences about what no reference shows."""
    notes = []
    crowded = sum(o.pose.others > 0 for o in chosen)
    if crowded:
        notes.append(
            f"Another person is visible in {crowded} of {len(chosen)} references; the larger, more central "
            "one was taken."
        )
    if all(o.face is None for o in chosen):
        notes.append("No face was found in the references; the expression stays neutral.")
    if all(abs(o.yaw) < np.radians(120) for o in chosen):
        notes.append("The back was not seen; turn round once in the clip for a true back.")
    for side, name in enumerate(("left", "right")):
        if all(o.hands[side] is None for o in chosen):
            notes.append(f"The {name} hand was not found; its pose is the relaxed default.")
    legs = [POSE_INDEX[n] for n in ("left_knee", "right_knee", "left_ankle", "right_ankle")]
    if all(o.pose.visibility[legs].mean() < 0.5 for o in chosen):
        notes.append("The legs were not seen; their shape and pose are the default.")
    return notes


def _frontality(o: Observation) -> float:
    if o.face is None:
        return 0.0
    return float(np.clip(np.cos(o.face.yaw), 0, 1) * np.clip(np.cos(o.yaw), 0, 1))


def _turn(a: float, b: float) -> float:
    return abs((a - b + np.pi) % (2 * np.pi) - np.pi)


def moved(a: Observation, b: Observation) -> float:
    """Mean distance in metres of the main joints about the hips."""
    return float(np.linalg.norm(a.pose.world[BODY_POINTS] - b.pose.world[BODY_POINTS], axis=1).mean())


def _repeats(seen: list[Observation], i: int, chosen: list[int]) -> bool:
    """Whether frame i shows the same side, pose and hands as a chosen one."""
    for c in chosen:
        a, b = seen[i], seen[c]
        new_hand = any(
            h is not None and all(seen[k].hands[side] is None for k in chosen)
            for side, h in enumerate(a.hands)
        )
        same = _turn(a.yaw, b.yaw) < REPEAT_TURN and moved(a, b) < REPEAT_MOVE
        if same and not new_hand:
            return True
    return False


def _gain(seen: list[Observation], i: int, chosen: list[int]) -> float:
    """What frame i adds: new yaw first, then new limb directions, expressions, hands, and time apart."""
    turn = min(_turn(seen[i].yaw, seen[c].yaw) for c in chosen)
    change = min(moved(seen[i], seen[c]) for c in chosen)
    hands = sum(
        seen[i].hands[s] is not None and all(seen[c].hands[s] is None for c in chosen) for s in (0, 1)
    )
    gain = 2.0 * min(turn / np.radians(60), 1.0) + 1.5 * min(change / 0.3, 1.0) + 0.5 * hands
    face, others = seen[i].face, [f for c in chosen if (f := seen[c].face) is not None]
    if face is not None and others:
        gain += 0.5 * min(min(float(np.abs(face.scores - f.scores).sum()) for f in others) / 2.0, 1.0)
    apart = min(abs(seen[i].index - seen[c].index) for c in chosen)
    return gain + 0.3 * min(apart / 3.0, 1.0)
