"""One motion on our skeleton and face, whatever file it came from; resampling, grounding, turning.

In: arrays per frame. Out: a checked, immutable :class:`MotionClip`, float32.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lca.errors import InvalidInputError
from lca.motion.rotation import axis_angles, interpolate, matrices, turn, unit
from lca.motion.skeleton import ARKIT, FLOOR_Y, INDEX, JOINTS, SOLE_M, forward

F32 = NDArray[np.float32]
MAX_FRAMES = 200_000
OURS = "(LCA motion)"
"""End of ``source`` of our own files, which live in the camera's world and are never turned."""


@dataclass(frozen=True)
class MotionClip:
    """A motion of T frames at a fixed rate.

    Attributes:
        fps: frames per second.
        translation: (T,3) metres, added after the pelvis rotation; Y up. At rest the ground lies at about
            -0.93 m.
        poses: (T,55,3) local axis-angle, radians, SMPL-X joint order.
        arkit: (T,52) weights 0-1 in Apple's order.
        gaze: (T,2,2) left and right eye, (yaw, pitch) radians; yaw > 0 to the person's left, pitch > 0 down.
        source: one line on where it came from.

    Raises:
        InvalidInputError: no frames, wrong shapes, numbers that are not finite.
    """

    fps: float
    translation: F32
    poses: F32
    arkit: F32
    gaze: F32
    source: str = ""

    def __post_init__(self) -> None:
        count = len(self.poses)
        shapes = {
            "translation": (3,),
            "poses": (len(JOINTS), 3),
            "arkit": (len(ARKIT),),
            "gaze": (2, 2),
        }
        if not 0 < count <= MAX_FRAMES:
            raise bad_motion(self.source, f"it has {count} frames; 1 to {MAX_FRAMES} are allowed")
        if not (np.isfinite(self.fps) and 0 < self.fps <= 1000):
            raise bad_motion(self.source, f"its rate is {self.fps} frames per second")
        for name, shape in shapes.items():
            value = np.asarray(getattr(self, name), np.float32)
            if value.shape != (count, *shape):
                raise bad_motion(self.source, f"{name} has shape {value.shape}, not {(count, *shape)}")
            if not np.isfinite(value).all():
                raise bad_motion(self.source, f"{name} holds NaN or infinity")
            object.__setattr__(self, name, value)

    @staticmethod
    def of(
        fps: float,
        *,
        poses: ArrayLike | None = None,
        translation: ArrayLike | None = None,
        arkit: ArrayLike | None = None,
        gaze: ArrayLike | None = None,
        source: str = "",
    ) -> MotionClip:
        """A clip from the parts that are known; the others rest."""
        known = [np.asarray(v) for v in (poses, translation, arkit, gaze) if v is not None]
        count = len(known[0]) if known else 0

        def part(value: ArrayLike | None, *shape: int) -> F32:
            return np.zeros((count, *shape), np.float32) if value is None else np.asarray(value, np.float32)

        return MotionClip(
            float(fps), part(translation, 3), part(poses, len(JOINTS), 3), part(arkit, len(ARKIT)),
            part(gaze, 2, 2), source,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.poses)

    @property
    def joint_rotations(self) -> F32:
        """The poses under the name that animation and the USD exporter use."""
        return self.poses

    @property
    def seconds(self) -> float:
        """From the first frame to the end of the last."""
        return len(self) / self.fps

    def resampled(self, fps: float) -> MotionClip:
        """The same motion at another rate: rotations on great circles, the rest linearly."""
        if not (np.isfinite(fps) and 0 < fps <= 1000):
            raise InvalidInputError(f"A frame rate of {fps} is not possible; give 1 to 1000.")
        if fps == self.fps or len(self) == 1:
            return replace(self, fps=float(fps))
        count = int(np.floor((len(self) - 1) * fps / self.fps + 1e-6)) + 1
        at = np.arange(count) * (self.fps / fps)

        def linear(value: F32) -> NDArray:
            flat = value.reshape(len(value), -1)
            columns = [np.interp(at, np.arange(len(value)), flat[:, c]) for c in range(flat.shape[1])]
            return np.stack(columns, -1).reshape(count, *value.shape[1:])

        return MotionClip(
            float(fps), linear(self.translation), interpolate(self.poses, at).astype(np.float32),
            linear(self.arkit), linear(self.gaze), self.source,
        )  # fmt: skip

    def facing_forward(self) -> MotionClip:
        """Turned about the vertical through the first frame's place so that it faces +Z there."""
        ahead = matrices(self.poses[0, 0])[:, 2]
        if np.hypot(ahead[0], ahead[2]) < 0.2:  # looks straight up or down: no heading
            return self
        return self.turned(-float(np.arctan2(ahead[0], ahead[2])))

    def turned(self, yaw: float) -> MotionClip:
        """Turned by ``yaw`` radians about the vertical through the first frame's place."""
        r = turn(np.array([0.0, 1.0, 0.0]), yaw)
        poses = self.poses.copy()
        poses[:, 0] = axis_angles(r @ matrices(self.poses[:, 0]))
        pivot = self.translation[0] * np.array([1, 0, 1], np.float32)
        return replace(self, poses=poses, translation=(self.translation - pivot) @ r.T + pivot)

    def joints(self) -> NDArray[np.float64]:
        """World joints (T,55,3) on the mean body."""
        return forward(matrices(self.poses), self.translation.astype(np.float64))

    def grounded(self) -> MotionClip:
        """Set on the ground: the first frame above the origin, feet that touch at the height of resting feet.

        One shift puts the usual lowest foot on the ground; where a foot would still sink in, the body is
        lifted smoothly. Jumps stay jumps.
        """
        shift = self.translation.astype(np.float64)
        shift = shift - shift[0] * np.array([1.0, 0.0, 1.0])
        joints = forward(matrices(self.poses), shift)
        feet = joints[:, [INDEX["left_foot"], INDEX["right_foot"], INDEX["left_ankle"], INDEX["right_ankle"]]]
        # Ankles stand a little above the balls of the feet, so both are compared with their own rest height.
        lowest = (feet[:, :, 1] - np.array([0, 0, 0.05, 0.05])).min(1) - (FLOOR_Y + SOLE_M)
        shift[:, 1] -= np.percentile(lowest, 20)
        sunk = np.maximum(0.0, np.percentile(lowest, 20) - lowest)
        shift[:, 1] += np.maximum(sunk, _smooth(sunk, 0.08 * self.fps))
        return replace(self, translation=shift.astype(np.float32))


def _smooth(values: NDArray, sigma: float) -> NDArray[np.float64]:
    """Gaussian along axis 0 with held ends; ``sigma`` in frames."""
    if sigma < 0.3 or len(values) < 3:
        return np.asarray(values, np.float64)
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    padded = np.pad(np.asarray(values, np.float64), reach, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


def upright(up: NDArray) -> NDArray[np.float64]:
    """Rotation (3,3) from a file's world to ours (Y up), given the mean up direction (3,) of its person.

    The nearest axis of the file is taken as its vertical; Y up stays as it is, so do headings.
    """
    up = unit(up)
    axis = int(np.argmax(np.abs(up)))
    sign = 1.0 if up[axis] > 0 else -1.0
    x = np.array([1.0, 0.0, 0.0])
    if axis == 1:
        return np.eye(3) if sign > 0 else turn(x, np.pi)
    if axis == 2:  # Z up, as in motion capture files: (x, y, z) -> (x, z, -y)
        return turn(x, -sign * np.pi / 2)
    return turn(np.array([0.0, 0.0, 1.0]), sign * np.pi / 2)


def bad_motion(source: str, why: str) -> InvalidInputError:
    """The error of a file that cannot become a motion."""
    return InvalidInputError(f"{source or 'This motion'} cannot be used: {why}.", reason="BAD_MOTION")
