"""Body landmarks: an RGB image in, 33 points (2D, world, visibility) and a soft person mask out.

Two networks: a person detector on the letterboxed image gives two alignment points, from which a rotated
square is
cut; the landmark network works in that square. Left and right are anatomical, also in back views.
World points: metres about the hip centre, axes x right, y down, z away from the camera. They depend
strongly on the
crop, so callers use directions between them, never positions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .networks import Array, Network, Roi, aligned_roi, decode_detections, letterbox, sigmoid, ssd_anchors

POSE_NAMES: tuple[str, ...] = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index",
    "left_thumb", "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle", "left_heel", "right_heel", "left_foot_index", "right_foot_index",
)  # fmt: skip
POSE_INDEX: dict[str, int] = {name: i for i, name in enumerate(POSE_NAMES)}


MOST_PEOPLE = 3
"""So many detections are looked at; each costs a run of the landmark network."""


@dataclass(frozen=True)
class PoseResult:
    """One person in one image.

    Attributes:
        points: [33,2] pixels of the image.
        depth: [33] pixels, smaller is nearer, relative to the hips.
        visibility: [33] 0..1, probability that the point is in the image and not hidden.
        world: [33,3] metres about the hip centre, x right, y down, z away from the camera.
        score: probability that the crop holds a person.
        mask: float32 [H,W] 0..1 soft person mask (3-8 px halo).
        roi: the crop of the landmark network.
        others: further people of comparable size in the picture, who were left out.
    """

    points: Array
    depth: Array
    visibility: Array
    world: Array
    score: float
    mask: Array
    roi: Roi
    others: int = 0

    @property
    def body_size(self) -> float:
        """Longer side of the box around the visible points, pixels: the unit of reprojection errors."""
        seen = self.points[self.visibility > 0.5]
        if len(seen) < 2:
            seen = self.points
        return float(max(np.ptp(seen, axis=0).max(), 1.0))

    @property
    def standing_size(self) -> float:
        """Rough size in pixels of the whole standing person, also in a close-up.

        The largest of the visible box and what the torso (0.29 of the body), the shoulders (0.2) and the ears
        (0.09) suggest; those shares shrink in side views, never grow.
        """
        p = self.points
        hips, shoulders = p[[23, 24]].mean(0), p[[11, 12]].mean(0)
        parts = [self.body_size]
        if self.visibility[[11, 12, 23, 24]].min() > 0.5:
            parts.append(float(np.hypot(*(shoulders - hips))) / 0.33)
        if self.visibility[[11, 12]].min() > 0.5:
            parts.append(float(np.hypot(*(p[11] - p[12]))) / 0.24)
        if self.visibility[[7, 8]].min() > 0.5:
            parts.append(float(np.hypot(*(p[7] - p[8]))) / 0.11)
        return max(parts)


class PoseTracker:
    """Person detector plus landmark network. Not thread-safe: make one per thread."""

    def __init__(self, threads: int = 1) -> None:
        self._detector = Network("pose_detection.tflite", threads)
        self._landmarks = Network("pose_landmark_full.tflite", threads)
        self._anchors = ssd_anchors(224, (8, 16, 32, 32, 32))

    def detect(self, image: NDArray[np.uint8], threshold: float = 0.5) -> list[Roi]:
        """Landmark crops of the people in ``image`` [H,W,3], most certain first."""
        height, width = image.shape[:2]
        whole = letterbox(width, height)
        out = self._detector(whole.crop(image, 224).astype(np.float32) / 127.5 - 1.0)
        hits = decode_detections(out["Identity"], out["Identity_1"], self._anchors, 224, whole, threshold)
        rois = []
        for hit in hits:
            hips, top = hit.keypoints[0], hit.keypoints[1]
            size = 2.0 * 1.25 * float(np.hypot(*(top - hips)))
            rois.append(Roi(float(hips[0]), float(hips[1]), size, aligned_roi(hips, top, np.pi / 2)))
        return rois

    def landmarks(self, image: NDArray[np.uint8], roi: Roi, *, mask: bool = True) -> tuple[PoseResult, Roi]:
        """Run the landmark network in ``roi``; returns the result and the crop for a next pass."""
        height, width = image.shape[:2]
        out = self._landmarks(roi.crop(image, 256).astype(np.float32) / 255.0)
        raw = out["Identity"].reshape(39, 5)
        unit = refine_with_heatmap(raw[:, :2] / 256.0, out["Identity_3"][0])
        points = roi.to_image(np.concatenate([unit, raw[:, 2:3] * roi.size / 256.0], 1))
        c, s = np.cos(roi.angle), np.sin(roi.angle)
        world = out["Identity_4"].reshape(39, 3).copy()
        world[:, 0], world[:, 1] = c * world[:, 0] - s * world[:, 1], s * world[:, 0] + c * world[:, 1]
        soft = np.zeros((0, 0), np.float32)
        if mask:
            soft = roi.paste(sigmoid(out["Identity_2"][0, :, :, 0]), height, width)
        visibility = sigmoid(raw[:33, 3])
        score = float(out["Identity_1"].reshape(-1)[0])
        hips, top = points[33, :2], points[34, :2]
        size = 2.0 * 1.25 * float(np.hypot(*(top - hips)))
        again = Roi(float(hips[0]), float(hips[1]), max(size, 8.0), aligned_roi(hips, top, np.pi / 2))
        result = PoseResult(points[:33, :2], points[:33, 2], visibility, world[:33], score, soft, roi)
        return result, again

    def __call__(
        self, image: NDArray[np.uint8], *, mask: bool = True, min_score: float = 0.5
    ) -> PoseResult | None:
        """The largest and most central certain person of ``image`` [H,W,3] uint8 RGB, or ``None``."""
        height, width = image.shape[:2]
        found: list[PoseResult] = []
        for roi in sorted(self.detect(image), key=lambda r: -r.size)[:MOST_PEOPLE]:
            result, again = self.landmarks(image, roi, mask=mask)
            if result.score < min_score:  # a poor detector box: the landmark network often recentres it
                result, _ = self.landmarks(image, again, mask=mask)
            if result.score >= min_score:
                found.append(result)
        if not found:
            return None

        def rank(r: PoseResult) -> float:
            off = np.hypot(r.roi.cx / width - 0.5, r.roi.cy / height - 0.5)
            return r.body_size * (1.0 - 0.5 * float(off))

        best = max(found, key=rank)
        others = sum(
            r.body_size > 0.4 * best.body_size
            and np.hypot(r.roi.cx - best.roi.cx, r.roi.cy - best.roi.cy) > 0.25 * best.body_size
            for r in found
        )
        return replace(best, others=int(others))


def refine_with_heatmap(unit: Array, heatmap: Array, kernel: int = 7, floor: float = 0.5) -> Array:
    """Shift points [N,2] (0..1) to the centre of mass of their heatmap [h,w,N] where it is confident."""
    height, width = heatmap.shape[:2]
    reach, out = kernel // 2, unit.copy()
    for i, (x, y) in enumerate(unit):
        col, row = int(x * width), int(y * height)
        if not (0 <= col < width and 0 <= row < height):
            continue
        c0, c1 = max(col - reach, 0), min(col + reach + 1, width)
        r0, r1 = max(row - reach, 0), min(row + reach + 1, height)
        confidence = sigmoid(heatmap[r0:r1, c0:c1, i])
        total = confidence.sum()
        if confidence.max() < floor or total <= 0:
            continue
        out[i, 0] = (confidence.sum(0) * np.arange(c0, c1)).sum() / width / total
        out[i, 1] = (confidence.sum(1) * np.arange(r0, r1)).sum() / height / total
    return out
