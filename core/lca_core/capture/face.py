"""Face landmarks and expression scores: an image plus body landmarks in, 478 points and 52 ARKit scores out.

The face is searched in a head crop laid around the nose, eyes and ears of the body landmarks, because the
detector sees too little on full-body images. Back views and profiles without a face give ``None``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lca_core.body.names import ARKIT_INDEX, NUM_ARKIT

from .exposure import brightened_head
from .networks import Array, Network, Roi, aligned_roi, decode_detections, letterbox, sigmoid, ssd_anchors
from .pose import POSE_INDEX, PoseResult

BLENDSHAPE_LANDMARKS: tuple[int, ...] = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70,
    78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149,
    150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195,
    197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300,
    308, 310, 311, 312, 314, 317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375,
    377, 378, 379, 380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454,
    466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
)  # fmt: skip
"""The 146 of 478 points that the score network reads (order of the published graph)."""

NETWORK_SCORES: tuple[str, ...] = ("_neutral", *sorted(name for name in ARKIT_INDEX if name != "tongueOut"))
"""Order of the score network: ``_neutral`` first, then alphabetical, without tongueOut."""

RIGHT_EYE_OUTER, LEFT_EYE_OUTER = 33, 263


@dataclass(frozen=True)
class FaceResult:
    """One face.

    Attributes:
        points: [478,3] pixels; z in pixels, smaller is nearer. 468-477 are the irises.
        scores: [52] raw ARKit scores in the order of ``ARKIT_NAMES`` (tongueOut is always 0).
        score: probability that the crop holds a face.
    """

    points: Array
    scores: Array
    score: float

    @property
    def width(self) -> float:
        """Face width in pixels (ear to ear contour points)."""
        return float(np.linalg.norm(self.points[454] - self.points[234]))

    @property
    def rotation(self) -> Array:
        """Head axes [3,3] as columns (left, down, back) in camera axes (x right, y down, z away)."""
        left = self.points[LEFT_EYE_OUTER] - self.points[RIGHT_EYE_OUTER]
        down = self.points[152] - self.points[10]
        left = left / np.linalg.norm(left)
        back = np.cross(left, down)
        back /= np.linalg.norm(back)
        return np.stack([left, np.cross(back, left), back], 1)

    @property
    def yaw(self) -> float:
        """Head yaw in radians; 0 faces the camera, positive turns to the subject's left."""
        return float(np.arctan2(-self.rotation[0, 2], self.rotation[2, 2]))


class FaceTracker:
    """Face detector, landmark and score networks. Not thread-safe."""

    def __init__(self, threads: int = 1) -> None:
        self._detector = Network("face_detection_short_range.tflite", threads)
        self._landmarks = Network("face_landmarks_detector.tflite", threads)
        self._scores = Network("face_blendshapes.tflite", threads)
        self._anchors = ssd_anchors(128, (8, 16, 16, 16))

    def detect(self, image: NDArray[np.uint8], roi: Roi, threshold: float = 0.5) -> list[Roi]:
        """Face crops found inside ``roi``, most certain first."""
        out = self._detector(roi.crop(image, 128).astype(np.float32) / 127.5 - 1.0)
        hits = decode_detections(out["regressors"], out["classificators"], self._anchors, 128, roi, threshold)
        rois = []
        for hit in hits:
            size = 1.5 * float(max(hit.box[2] - hit.box[0], hit.box[3] - hit.box[1]))
            cx, cy = 0.5 * (hit.box[:2] + hit.box[2:])
            rois.append(Roi(float(cx), float(cy), size, aligned_roi(hit.keypoints[0], hit.keypoints[1], 0.0)))
        return rois

    def landmarks(self, image: NDArray[np.uint8], roi: Roi) -> FaceResult:
        """Run landmark and score networks in ``roi``."""
        out = self._landmarks(roi.crop(image, 256).astype(np.float32) / 255.0)
        raw = out["Identity"].reshape(478, 3) / 256.0
        points = roi.to_image(np.concatenate([raw[:, :2], raw[:, 2:] * roi.size], 1))
        return FaceResult(points, self.scores(points), float(sigmoid(out["Identity_1"]).reshape(-1)[0]))

    def scores(self, points: Array) -> Array:
        """ARKit scores [52] of 478 points in pixels (the network removes position, scale and rotation)."""
        out = self._scores(points[list(BLENDSHAPE_LANDMARKS), :2])
        return to_arkit_order(next(iter(out.values())))

    def __call__(
        self, image: NDArray[np.uint8], pose: PoseResult | None = None, min_score: float = 0.5
    ) -> FaceResult | None:
        """The face of the person ``pose`` (or the largest face when no pose is given), or ``None``."""
        height, width = image.shape[:2]
        searches = [head_region(pose)] if pose is not None else [letterbox(width, height)]
        if pose is not None:  # a close-up head fills the crop: one wider look before giving up
            image = brightened_head(image, pose, searches[0])
            searches.append(Roi(searches[0].cx, searches[0].cy, 2.0 * searches[0].size, searches[0].angle))
        for search in searches:
            for roi in self.detect(image, search)[:2]:
                face = self.landmarks(image, roi)
                if face.score >= min_score:
                    return face
        return None


def head_region(pose: PoseResult) -> Roi:
    """Square around the head, about twice the face, from nose, eyes, ears and mouth."""
    head = pose.points[: POSE_INDEX["left_shoulder"]]
    shoulders = pose.points[[POSE_INDEX["left_shoulder"], POSE_INDEX["right_shoulder"]]]
    centre = head.mean(0)
    # In profile the head points collapse sideways, so the neck length bounds the size from below.
    extent = max(
        2.2 * float(np.ptp(head, axis=0).max()), 1.1 * float(np.hypot(*(shoulders.mean(0) - centre)))
    )
    return Roi(float(centre[0]), float(centre[1]), max(extent, 24.0))


def to_arkit_order(network_scores: Array) -> Array:
    """Permute [52] network scores (``NETWORK_SCORES``) to the ARKit header order; tongueOut becomes 0."""
    out = np.zeros(NUM_ARKIT, np.float32)
    for value, name in zip(network_scores.reshape(-1), NETWORK_SCORES, strict=True):
        if name != "_neutral":
            out[ARKIT_INDEX[name]] = value
    return out
