"""The values this room hands on: one :class:`Capture` per clip, plain numpy, no open files.

World frame: metres, Y up. The camera stands at the world origin and looks along -Z, so every ``viewmat`` is
diag(1,-1,-1,1): world (x, y, z) becomes camera (x, -y, -z), x right, y down, z forward. The person stands at
negative world z; a person facing the camera has a root rotation near identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

CAMERA_FROM_WORLD: Array = np.diag([1.0, -1.0, -1.0, 1.0]).astype(np.float32)
"""World-to-camera matrix of the fixed capture camera."""


@dataclass(frozen=True)
class Motion:
    """Per-frame driving signal of a clip (all frames, not only references).

    Attributes:
        pose: [N,55,3] axis-angle, local, SMPL-X order (root first); eye joints stay 0, ``gaze`` turns them.
        transl: [N,3] metres, world. The camera is that of :class:`Capture`: fixed at the world origin.
        expression: [N,52] ARKit order, 0..1.
        gaze: [N,2,2] (left, right eye) x (yaw, pitch) radians.
        timestamps: [N] seconds, evenly spaced, also for clips of variable frame rate.
        conf: [N] 0..1; frames without a person repeat their neighbour with confidence 0.
        fps: frames per second.
        betas: [50] shape of the person; K: [3,3] pixels of a picture of ``image_size`` (width, height).
    """

    pose: Array
    transl: Array
    expression: Array
    gaze: Array
    timestamps: NDArray[np.float64]
    conf: Array
    fps: float
    betas: Array | None = None
    K: Array | None = None
    image_size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Capture:
    """What a clip says about a person: reference frames, mattes, cameras, body and expression.

    Attributes:
        frames: uint8 [T,H,W,3] RGB, the chosen reference frames.
        masks: float32 [T,H,W] 0..1 alpha matte of the person.
        Ks: float32 [T,3,3] pixels, pixel centres at +0.5.
        viewmats: float32 [T,4,4] world-to-camera, OpenCV.
        betas: float32 [50] body shape, one person.
        pose: float32 [T,55,3] axis-angle, local, SMPL-X order; [:,0] is the root, jaw is 0, eyes follow the
            gaze.
        transl: float32 [T,3] metres, added after the root rotation about the pelvis joint.
        expression: float32 [T,52] 0..1, ARKit order.
        gaze: float32 [T,2,2] (left, right eye) x (yaw, pitch) radians, relative to the head; yaw > 0 looks
            to the subject's left, pitch > 0 looks down. ``pose`` already turns the eye joints by it.
        conf: "body", "face", "left_hand", "right_hand", "expression": [T] 0..1; "joints": [T,55].
        frame_index: int [T] frame numbers in the source.
        timestamps: float [T] seconds in the source.
        image_size: (width, height).
        sizes: int [T,2] width and height of the valid part of each frame.
        height_m: standing height of the fitted body, metres.
        notes: plain sentences for the user (why frames were chosen, what was not visible).
        metrics: fit quality, e.g. ``body_error_percent``, ``iou``.
        motion: optional per-frame signal of the whole clip.
    """

    frames: NDArray[np.uint8]
    masks: Array
    Ks: Array
    viewmats: Array
    betas: Array
    pose: Array
    transl: Array
    expression: Array
    gaze: Array
    conf: dict[str, Array]
    frame_index: NDArray[np.int64]
    timestamps: NDArray[np.float64]
    image_size: tuple[int, int]
    sizes: NDArray[np.int64]
    height_m: float
    notes: list[str] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    motion: Motion | None = None

    def __post_init__(self) -> None:
        count, height, width = self.frames.shape[:3]
        shapes: dict[str, tuple[NDArray[Any], tuple[int, ...]]] = {
            "frames": (self.frames, (count, height, width, 3)),
            "masks": (self.masks, (count, height, width)),
            "Ks": (self.Ks, (count, 3, 3)),
            "viewmats": (self.viewmats, (count, 4, 4)),
            "betas": (self.betas, (50,)),
            "pose": (self.pose, (count, 55, 3)),
            "transl": (self.transl, (count, 3)),
            "expression": (self.expression, (count, 52)),
            "gaze": (self.gaze, (count, 2, 2)),
        }
        for name, (value, shape) in shapes.items():
            if value.shape != shape:
                raise ValueError(f"Capture.{name} has shape {value.shape}, expected {shape}")

    def __len__(self) -> int:
        return len(self.frames)

    def without(self, frames: Sequence[int]) -> Capture:
        """The same person in all reference frames but those of the given numbers."""
        keep = np.setdiff1d(np.arange(len(self)), frames)
        per_frame = (
            "frames", "masks", "Ks", "viewmats", "pose", "transl", "expression", "gaze", "frame_index",
            "timestamps", "sizes",
        )  # fmt: skip
        values: dict[str, Any] = {name: getattr(self, name)[keep] for name in per_frame}
        return replace(self, **values, conf={name: value[keep] for name, value in self.conf.items()})


def intrinsics(focal_px: float, sizes: NDArray[np.int64]) -> Array:
    """Pinhole matrices [T,3,3] with the principal point amid each picture (width, height) [T,2]."""
    ks = np.zeros((len(sizes), 3, 3), np.float32)
    ks[:, 0, 0] = ks[:, 1, 1] = focal_px
    ks[:, 0, 2], ks[:, 1, 2] = 0.5 * sizes[:, 0], 0.5 * sizes[:, 1]
    ks[:, 2, 2] = 1.0
    return ks
