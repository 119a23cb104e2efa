"""Pictures of an avatar: turntable beside the input frames, expressions, hands, thumbnail. All on plain grey.

Cameras look at the posed skeleton (whole body, head or hand), so framing holds for any person and pose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw

from lca.hand_poses import HAND_POSES
from lca_core.avatar.animate import Animator
from lca_core.avatar.avatar import Avatar
from lca_core.avatar.frame import PoseFrame
from lca_core.body.hand_pose import hand_rotations
from lca_core.body.names import HAND_JOINTS, JOINT_INDEX
from lca_core.splat import GaussianSet, intrinsics, look_at, render_image

BACKGROUND = (0.62, 0.63, 0.65)
FOV_DEGREES = 24.0
STANDING = {
    "left_shoulder": (0.0, 0.0, -0.95),
    "right_shoulder": (0.0, 0.0, 0.95),
    "left_elbow": (0.0, -0.25, 0.0),
    "right_elbow": (0.0, 0.25, 0.0),
}
"""Arms lowered from the T-pose to a relaxed A-pose."""

EXPRESSIONS: tuple[tuple[str, dict[str, float], tuple[float, float]], ...] = (
    ("neutral", {}, (0.0, 0.0)),
    ("jawOpen", {"jawOpen": 0.8}, (0.0, 0.0)),
    (
        "smile",
        {"mouthSmileLeft": 0.9, "mouthSmileRight": 0.9, "cheekSquintLeft": 0.4, "cheekSquintRight": 0.4},
        (0, 0),
    ),
    ("eyeBlink", {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}, (0.0, 0.0)),
    ("wink left", {"eyeBlinkLeft": 1.0}, (0.0, 0.0)),
    ("mouthPucker", {"mouthPucker": 1.0}, (0.0, 0.0)),
    ("mouthFrown", {"mouthFrownLeft": 1.0, "mouthFrownRight": 1.0}, (0.0, 0.0)),
    ("browInnerUp", {"browInnerUp": 1.0, "browOuterUpLeft": 1.0, "browOuterUpRight": 1.0}, (0.0, 0.0)),
    (
        "browDown",
        {"browDownLeft": 1.0, "browDownRight": 1.0, "noseSneerLeft": 0.6, "noseSneerRight": 0.6},
        (0, 0),
    ),
    ("cheekPuff", {"cheekPuff": 1.0}, (0.0, 0.0)),
    ("gaze left", {"eyeLookOutLeft": 0.6, "eyeLookInRight": 0.6}, (0.45, 0.0)),
    ("gaze right", {"eyeLookInLeft": 0.6, "eyeLookOutRight": 0.6}, (-0.45, 0.0)),
)
"""Named expressions: label, ARKit weights, gaze (yaw, pitch) of both eyes."""

HANDS_SHOWN = ("Flat", "Relaxed", "Fist", "Point", "Peace", "Thumbs Up", "OK")
"""The poses of ``lca.hand_poses`` in the hands sheet."""
THUMB_UP = (-0.5, 0.0, 0.0)
"""Turn of each joint of an arm that lies along X, together so far that the thumb points up."""


@dataclass(frozen=True)
class View:
    """A camera: viewmat (4,4) world-to-camera, K (3,3), picture width and height in pixels."""

    viewmat: torch.Tensor
    K: torch.Tensor
    width: int
    height: int


def aim(target: np.ndarray, extent: float, yaw: float, pitch: float, width: int, height: int) -> View:
    """A camera that shows ``extent`` metres vertically around ``target``, from ``yaw``/``pitch`` radians
    off +Z.
    """
    distance = 0.5 * extent / np.tan(0.5 * np.deg2rad(FOV_DEGREES))
    direction = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    center = torch.from_numpy(np.asarray(target, np.float64))
    viewmat = look_at(center + torch.from_numpy(distance * direction), center)
    return View(viewmat, intrinsics(FOV_DEGREES, width, height), width, height)


def picture(gaussians: GaussianSet, view: View) -> np.ndarray:
    """Render to (H, W, 3) uint8 sRGB over the grey background."""
    return render_image(gaussians, view.viewmat, view.K, view.width, view.height, BACKGROUND)


def body_view(
    animator: Animator, frame: PoseFrame, yaw: float, height: int, width: int | None = None
) -> View:
    """A full-body camera for the posed skeleton."""
    joints = animator.joints(frame)
    low, high = joints[:, 1].min() - 0.12, joints[JOINT_INDEX["head"], 1] + 0.28
    extent = max(high - low, float(np.ptp(joints[:, 0])) + 0.3)
    center = np.array([joints[0, 0], 0.5 * (low + high), joints[0, 2]])
    return aim(center, extent * 1.04, yaw, 0.05, width or (height * 9) // 16, height)


def head_view(animator: Animator, frame: PoseFrame, yaw: float = 0.0, size: int = 320) -> View:
    """A close-up of the face."""
    joints = animator.joints(frame)
    eyes = 0.5 * (joints[JOINT_INDEX["left_eye_smplhf"]] + joints[JOINT_INDEX["right_eye_smplhf"]])
    return aim(eyes + np.array([0.0, -0.025, 0.0]), 0.34, yaw, 0.0, size, size)


def turntable(
    avatar: Avatar, views: int = 8, height: int = 512, inputs: Sequence[np.ndarray] = ()
) -> np.ndarray:
    """A sheet (H, W, 3) uint8: the input frames in the first row, ``views`` views all round below."""
    animator = Animator(avatar)
    frame = PoseFrame.posed(STANDING)
    gaussians = animator.evaluate(frame)
    cells = [
        (
            f"{round(360 * k / views)} deg",
            picture(gaussians, body_view(animator, frame, 2 * np.pi * k / views, height)),
        )
        for k in range(views)
    ]
    rows = [cells]
    if len(inputs):
        rows.insert(0, [(f"input {i + 1}", fit_height(image, height)) for i, image in enumerate(inputs)])
    return sheet(rows)


def expressions_sheet(avatar: Avatar, size: int = 320, columns: int = 4) -> np.ndarray:
    """Face close-ups of :data:`EXPRESSIONS`."""
    animator = Animator(avatar)
    cells = []
    for label, weights, gaze in EXPRESSIONS:
        frame = PoseFrame.posed(STANDING, weights, gaze)
        cells.append((label, picture(animator.evaluate(frame), head_view(animator, frame, 0.0, size))))
    return sheet([cells[i : i + columns] for i in range(0, len(cells), columns)])


def hands_sheet(avatar: Avatar, size: int = 320) -> np.ndarray:
    """Both hands, thumbs up and palms to the front, in the poses :data:`HANDS_SHOWN`."""
    animator = Animator(avatar)
    rows: list[list[tuple[str, np.ndarray]]] = []
    for side, sign in (("left", 1.0), ("right", -1.0)):
        row = []
        fingers = list(HAND_JOINTS[side][1:])
        for name in HANDS_SHOWN:
            pose = HAND_POSES[name]
            turned = {f"{side}_{joint}": THUMB_UP for joint in ("shoulder", "elbow", "wrist")}
            frame = PoseFrame.posed(turned | hand_rotations(side, pose.curl, pose.spread))
            center = animator.joints(frame)[fingers].mean(axis=0)
            view = aim(center, 0.26, 0.35 * sign, 0.2, size, size)
            row.append((f"{side}: {name.lower()}", picture(animator.evaluate(frame), view)))
        rows.append(row)
    return sheet(rows)


def thumbnail(avatar: Avatar, size: int = 256) -> np.ndarray:
    """A (size, size, 3) head-and-shoulders picture."""
    animator = Animator(avatar)
    frame = PoseFrame.posed(STANDING)
    joints = animator.joints(frame)
    view = aim(joints[JOINT_INDEX["neck"]] + np.array([0.0, 0.02, 0.0]), 0.75, 0.25, 0.0, size, size)
    return picture(animator.evaluate(frame), view)


def fit_height(image: np.ndarray, height: int) -> np.ndarray:
    """Scale (H, W, 3) uint8 to ``height`` pixels, keeping its aspect."""
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def sheet(rows: Sequence[Sequence[tuple[str, np.ndarray]]], gap: int = 6) -> np.ndarray:
    """Lay out labelled pictures in rows on a dark sheet."""
    caption = 18
    heights = [max(image.shape[0] for _, image in row) + caption for row in rows]
    width = max(sum(image.shape[1] + gap for _, image in row) for row in rows) + gap
    canvas = Image.new("RGB", (width, sum(heights) + gap * (len(rows) + 1)), (28, 29, 32))
    draw = ImageDraw.Draw(canvas)
    top = gap
    for row, height in zip(rows, heights, strict=True):
        left = gap
        for label, image in row:
            draw.text((left + 2, top + 2), label, fill=(225, 225, 225))
            canvas.paste(Image.fromarray(image), (left, top + caption))
            left += image.shape[1] + gap
        top += height + gap
    return np.asarray(canvas)
