"""Motion in, UsdSkel channels out: local quaternions, joint offsets and shape weights for every frame.

Any object with the fields of :class:`MotionLike` serves (the core's `Motion` does), or the path of a motion
file. Joint maths is that of `lca_bridge.wire.skin`, so USD and every other client
pose alike.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lca.errors import InvalidInputError
from lca.motion import read_motion as read_motion_file
from lca_bridge.wire.skin import local_rotations, quaternions
from lca_usd.asset import F32, Asset

NUM_JOINTS, NUM_ARKIT = 55, 52


class MotionLike(Protocol):
    """A clip: fps, translation (T,3) m, joint_rotations (T,55,3) axis-angle, arkit (T,52), gaze (T,2,2)
    radians."""

    @property
    def fps(self) -> float: ...
    @property
    def translation(self) -> npt.NDArray[Any]: ...
    @property
    def joint_rotations(self) -> npt.NDArray[Any]: ...
    @property
    def arkit(self) -> npt.NDArray[Any]: ...
    @property
    def gaze(self) -> npt.NDArray[Any]: ...


@dataclass(frozen=True)
class Clip:
    """A checked motion; fields as in :class:`MotionLike`."""

    fps: float
    translation: F32
    joint_rotations: F32
    arkit: F32
    gaze: F32

    def __len__(self) -> int:
        return len(self.joint_rotations)


@dataclass(frozen=True)
class SkelFrames:
    """T frames of SkelAnimation channels.

    Attributes:
        rotations: (T,55,4) wxyz local; translations: (T,55,3) local, metres.
        weights: (T,S) of ``shape_names``: the 52 ARKit shapes, then the pose shapes of the asset.
        matrices: (T,55,3,3) the same rotations.
    """

    rotations: npt.NDArray[np.float64]
    translations: F32
    weights: F32
    shape_names: tuple[str, ...]
    matrices: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rotations)


def rest_clip() -> Clip:
    """One frame at rest."""
    return Clip(
        24.0,
        np.zeros((1, 3), np.float32),
        np.zeros((1, NUM_JOINTS, 3), np.float32),
        np.zeros((1, NUM_ARKIT), np.float32),
        np.zeros((1, 2, 2), np.float32),
    )


def read_motion(source: str | os.PathLike[str] | MotionLike) -> Clip:
    """Check a motion, or read one from any file that :func:`lca.motion.read_motion` knows.

    Raises:
        NotFoundError: no such file.
        InvalidInputError: ``BAD_MOTION``; wrong shapes, no frames, a rate that is not positive, or not
            finite.
    """
    found: Any = read_motion_file(source) if isinstance(source, (str, os.PathLike)) else source
    fields = {
        name: getattr(found, name) for name in ("fps", "translation", "joint_rotations", "arkit", "gaze")
    }
    rotations = np.asarray(fields["joint_rotations"], np.float32)
    if rotations.size == 0 or rotations.size % (NUM_JOINTS * 3):
        raise _bad(f"joint_rotations has shape {list(rotations.shape)}, not [frames, 55, 3]")
    rotations = rotations.reshape(-1, NUM_JOINTS, 3)
    count = len(rotations)
    checked = [rotations]
    for name, shape in (("translation", (3,)), ("arkit", (NUM_ARKIT,)), ("gaze", (2, 2))):
        value = fields.get(name)
        array = np.zeros((count, *shape), np.float32) if value is None else np.asarray(value, np.float32)
        if array.shape != (count, *shape):
            raise _bad(f"{name} has shape {list(array.shape)}, not {[count, *shape]}")
        checked.append(array)
    fps = float(fields.get("fps") or 30.0)
    if not all(np.isfinite(array).all() for array in checked) or not (np.isfinite(fps) and fps > 0):
        raise _bad("it holds a number that is not finite, or a frame rate that is not positive")
    return Clip(fps, checked[1], checked[0], checked[2], checked[3])


@dataclass(frozen=True)
class Frame:
    """One frame of a clip, for :func:`lca_usd.ply.export_ply`."""

    translation: F32
    joint_rotations: F32
    arkit: F32
    gaze: F32


def frame_of(source: str | os.PathLike[str] | MotionLike, number: int) -> Frame:
    """Frame ``number`` of a motion; negative numbers count from the end.

    Raises:
        InvalidInputError: there is no such frame; what :func:`read_motion` raises.
    """
    clip = read_motion(source)
    if not -len(clip) <= number < len(clip):
        raise InvalidInputError(f"The motion has {len(clip)} frames; there is no frame {number}.")
    return Frame(
        clip.translation[number], clip.joint_rotations[number], clip.arkit[number], clip.gaze[number]
    )


def skel_frames(asset: Asset, clip: Clip) -> SkelFrames:
    """Evaluate a clip for one avatar. Consecutive quaternions lie in one hemisphere, so readers may
    interpolate."""
    matrices = np.stack(
        [local_rotations(rotations, gaze) for rotations, gaze in zip(clip.joint_rotations, clip.gaze)]
    )
    rotations = quaternions(matrices)
    for frame in range(1, len(rotations)):
        flip = np.einsum("jc,jc->j", rotations[frame], rotations[frame - 1]) < 0
        rotations[frame, flip] *= -1
    translations = np.repeat(asset.local_joints[None], len(clip), axis=0)
    # The pelvis turns about itself and the root translation comes last: both live in its own offset.
    translations[:, 0] += clip.translation
    weights, names = clip.arkit, tuple(asset.rig.arkit_names)
    if asset.pose_map is not None:
        weights = np.concatenate([weights, asset.pose_map.weights(matrices)], axis=1)
        names += asset.pose_map.names
    return SkelFrames(rotations, translations, weights, names, matrices)


def _bad(why: str) -> InvalidInputError:
    return InvalidInputError(
        f"This motion cannot be exported: {why}. A frame is 55 SMPL-X joint rotations and 52 ARKit weights.",
        reason="BAD_MOTION",
    )
