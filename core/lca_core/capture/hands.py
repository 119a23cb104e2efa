"""Hand landmarks near known wrists: an image plus body landmarks in, 21 points per hand out.

Hands are small in full-body footage, so each is searched in an upscaled crop around its pose wrist: palm
detector first, then (when it finds nothing) the hand network straight on a crop laid along the forearm.
The network's handedness assumes a mirrored selfie image; here it is turned round, so left is the subject's
left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .networks import Array, Network, Roi, aligned_roi, decode_detections, ssd_anchors
from .pose import POSE_INDEX, PoseResult

SIDES: tuple[str, str] = ("left", "right")

WRONG_SIDE_PENALTY = 0.3
"""Handedness is often wrong on small hands: a disagreement counts as this share of the crop side, no veto."""


@dataclass(frozen=True)
class HandResult:
    """One hand: points [21,2] pixels, world [21,3] metres (x right, y down, z away), score 0..1."""

    points: Array
    world: Array
    score: float
    left_probability: float


class HandTracker:
    """Palm detector plus hand landmark network. Not thread-safe."""

    def __init__(self, threads: int = 1) -> None:
        self._palms = Network("palm_detection_full.tflite", threads)
        self._landmarks = Network("hand_landmark_full.tflite", threads)
        self._anchors = ssd_anchors(192, (8, 16, 16, 16))

    def detect(self, image: NDArray[np.uint8], roi: Roi, threshold: float = 0.3) -> list[Roi]:
        """Hand crops of the palms found inside ``roi`` of ``image``."""
        out = self._palms(roi.crop(image, 192).astype(np.float32) / 255.0)
        hits = decode_detections(out["Identity"], out["Identity_1"], self._anchors, 192, roi, threshold)
        rois = []
        for hit in hits:
            angle = aligned_roi(hit.keypoints[0], hit.keypoints[2], np.pi / 2)
            side = float(max(hit.box[2] - hit.box[0], hit.box[3] - hit.box[1]))
            centre = 0.5 * (hit.box[:2] + hit.box[2:])
            # The hand extends from the palm along its own up direction, half a box further.
            shift = -0.5 * side
            cx, cy = centre[0] - shift * np.sin(angle), centre[1] + shift * np.cos(angle)
            rois.append(Roi(float(cx), float(cy), 2.6 * side, angle))
        return rois

    def landmarks(self, image: NDArray[np.uint8], roi: Roi) -> HandResult:
        """Run the landmark network in ``roi``."""
        out = self._landmarks(roi.crop(image, 224).astype(np.float32) / 255.0)
        points = roi.to_image(out["Identity"].reshape(21, 3) / 224.0)
        c, s = np.cos(roi.angle), np.sin(roi.angle)
        world = out["Identity_3"].reshape(21, 3).copy()
        world[:, 0], world[:, 1] = c * world[:, 0] - s * world[:, 1], s * world[:, 0] + c * world[:, 1]
        right = float(out["Identity_2"].reshape(-1)[0])  # "left" of the selfie the network expects
        return HandResult(points[:, :2], world, float(out["Identity_1"].reshape(-1)[0]), 1.0 - right)

    def __call__(
        self, image: NDArray[np.uint8], pose: PoseResult, min_score: float = 0.4
    ) -> tuple[HandResult | None, HandResult | None]:
        """Find the subject's (left, right) hand near the wrists of ``pose``."""
        found = [self._one(image, pose, side, min_score) for side in SIDES]
        left, right = found
        if left is not None and right is not None:
            reach = 0.5 * np.ptp(left.points, axis=0).max()
            if np.hypot(*(left.points - right.points).mean(0)) < 0.5 * reach:
                # Both searches settled on one hand: the nearer wrist keeps it.
                wrist = pose.points[[POSE_INDEX["left_wrist"], POSE_INDEX["right_wrist"]]]
                gap = [np.hypot(*(h.points[0] - w)) for h, w in zip((left, right), wrist, strict=True)]
                gap[0] += reach * (1 - left.left_probability)
                gap[1] += reach * right.left_probability
                found[int(gap[1] < gap[0]) ^ 1] = None
        return found[0], found[1]

    def _one(
        self, image: NDArray[np.uint8], pose: PoseResult, side: str, min_score: float
    ) -> HandResult | None:
        search, direct = search_regions(pose, side)
        wrist = pose.points[POSE_INDEX[f"{side}_wrist"]]
        height, width = image.shape[:2]
        if not (0 <= wrist[0] < width and 0 <= wrist[1] < height):
            return None
        best, best_cost = None, 0.35
        for roi in [*self.detect(image, search), direct]:
            hand = self.landmarks(image, roi)
            if hand.score < 0.5 * min_score:
                continue
            hand = max(hand, self.landmarks(image, roi_from_landmarks(hand.points)), key=lambda h: h.score)
            agreement = hand.left_probability if side == "left" else 1 - hand.left_probability
            gap = float(np.hypot(*(hand.points[0] - wrist))) / search.size
            if hand.score < min_score or gap > 0.35:
                continue
            cost = gap + (WRONG_SIDE_PENALTY * (1 - agreement) if agreement < 0.5 else 0.0)
            if best is None or cost < best_cost:
                best, best_cost = hand, cost
        return best


def search_regions(pose: PoseResult, side: str) -> tuple[Roi, Roi]:
    """The palm search square around a pose wrist, and a hand crop guessed from the pose alone."""
    p = pose.points
    wrist, elbow = p[POSE_INDEX[f"{side}_wrist"]], p[POSE_INDEX[f"{side}_elbow"]]
    shoulders = 0.5 * (p[POSE_INDEX["left_shoulder"]] + p[POSE_INDEX["right_shoulder"]])
    hips = 0.5 * (p[POSE_INDEX["left_hip"]] + p[POSE_INDEX["right_hip"]])
    side_px = max(0.75 * float(np.hypot(*(shoulders - hips))), 48.0)
    centre = wrist + 0.25 * (wrist - elbow)
    knuckles = 0.5 * (p[POSE_INDEX[f"{side}_index"]] + p[POSE_INDEX[f"{side}_pinky"]])
    angle = aligned_roi(wrist, knuckles, np.pi / 2)
    guess = wrist + 1.3 * (knuckles - wrist)
    return (
        Roi(float(centre[0]), float(centre[1]), side_px),
        Roi(float(guess[0]), float(guess[1]), 0.6 * side_px, angle),
    )


def roi_from_landmarks(points: Array) -> Roi:
    """Tight hand crop from 21 known points: aligned wrist to finger bases, twice their extent."""
    base = 0.25 * points[5] + 0.25 * points[13] + 0.5 * points[9]
    angle = aligned_roi(points[0], base, np.pi / 2)
    c, s = np.cos(angle), np.sin(angle)
    core = points[[0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18]]
    local = np.stack([core[:, 0] * c + core[:, 1] * s, -core[:, 0] * s + core[:, 1] * c], 1)
    low, high = local.min(0), local.max(0)
    centre, side = 0.5 * (low + high), float((high - low).max())
    centre[1] -= 0.1 * side
    return Roi(
        float(c * centre[0] - s * centre[1]),
        float(s * centre[0] + c * centre[1]),
        max(2.0 * side, 8.0),
        angle,
    )
