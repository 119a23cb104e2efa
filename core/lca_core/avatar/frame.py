"""The driving signal: a `PoseFrame` says where body, face and eyes are; a `Motion` is a clip of them."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lca.errors import InvalidInputError
from lca_core.body.names import ARKIT_INDEX, JOINT_INDEX, NUM_ARKIT, NUM_JOINTS

FloatArray = npt.NDArray[np.float32]


def _array(value: npt.ArrayLike, shape: tuple[int, ...], name: str) -> FloatArray:
    array = np.asarray(value, dtype=np.float32)
    if array.shape != shape:
        raise InvalidInputError(f"{name} has shape {array.shape}; a pose frame needs {shape}.")
    if not np.isfinite(array).all():
        raise InvalidInputError(f"{name} holds NaN or infinity; every value must be finite.")
    return array


@dataclass(frozen=True)
class PoseFrame:
    """One frame of driving.

    Attributes:
        translation: (3,) metres, added last (SMPL-X ``transl``).
        joint_rotations: (55, 3) local axis-angle, radians, SMPL-X joint order; row 0 turns the pelvis.
        arkit: (52,) ARKit weights 0..1 in Apple's order.
        gaze: (2, 2) left and right eye, (yaw, pitch) radians; yaw > 0 looks to the person's left, pitch > 0
            down.
        light: (9, 3) order-2 SH of linear RGB radiance in avatar axes, signs of ``lca_core.splat.harmonics``;
            None keeps the light of the photographs.

    Raises:
        InvalidInputError: a wrong shape, NaN or infinity.
    """

    translation: FloatArray = field(default_factory=lambda: np.zeros(3, np.float32))
    joint_rotations: FloatArray = field(default_factory=lambda: np.zeros((NUM_JOINTS, 3), np.float32))
    arkit: FloatArray = field(default_factory=lambda: np.zeros(NUM_ARKIT, np.float32))
    gaze: FloatArray = field(default_factory=lambda: np.zeros((2, 2), np.float32))
    light: FloatArray | None = None

    def __post_init__(self) -> None:
        for name, shape in (
            ("translation", (3,)),
            ("joint_rotations", (NUM_JOINTS, 3)),
            ("arkit", (NUM_ARKIT,)),
            ("gaze", (2, 2)),
        ):
            object.__setattr__(self, name, _array(getattr(self, name), shape, name))
        if self.light is not None:
            object.__setattr__(self, "light", _array(self.light, (9, 3), "light"))

    @staticmethod
    def posed(
        rotations: dict[str, tuple[float, float, float]] | None = None,
        arkit: dict[str, float] | None = None,
        gaze: tuple[float, float] = (0.0, 0.0),
    ) -> PoseFrame:
        """A frame from joint and ARKit names; unnamed values stay at rest."""
        joints = np.zeros((NUM_JOINTS, 3), np.float32)
        weights = np.zeros(NUM_ARKIT, np.float32)
        for name, rotation in (rotations or {}).items():
            joints[JOINT_INDEX[name]] = rotation
        for name, weight in (arkit or {}).items():
            weights[ARKIT_INDEX[name]] = weight
        return PoseFrame(joint_rotations=joints, arkit=weights, gaze=np.array([gaze, gaze], np.float32))


@dataclass(frozen=True)
class Motion:
    """A clip of pose frames at a fixed rate.

    Attributes:
        fps: frames per second.
        translation: (T, 3); joint_rotations: (T, 55, 3); arkit: (T, 52); gaze: (T, 2, 2), as in
            :class:`PoseFrame`.
    """

    fps: float
    translation: FloatArray
    joint_rotations: FloatArray
    arkit: FloatArray
    gaze: FloatArray

    def __len__(self) -> int:
        return len(self.joint_rotations)

    def __getitem__(self, index: int) -> PoseFrame:
        return PoseFrame(
            self.translation[index], self.joint_rotations[index], self.arkit[index], self.gaze[index]
        )

    def save(self, path: Path) -> None:
        """Write an ``.npz`` that :meth:`load` reads."""
        np.savez_compressed(
            path,
            fps=np.float64(self.fps),
            translation=self.translation,
            joint_rotations=self.joint_rotations,
            arkit=self.arkit,
            gaze=self.gaze,
        )

    @staticmethod
    def from_frames(frames: list[PoseFrame], fps: float) -> Motion:
        """Stack frames into a clip."""
        if not frames:
            raise InvalidInputError("A motion needs at least one frame.")
        return Motion(
            fps,
            np.stack([frame.translation for frame in frames]),
            np.stack([frame.joint_rotations for frame in frames]),
            np.stack([frame.arkit for frame in frames]),
            np.stack([frame.gaze for frame in frames]),
        )

    @staticmethod
    def load(path: Path) -> Motion:
        """Read a motion: our ``.npz`` or an SMPL-X style one (``poses`` (T, 165) or (T, 55, 3), optional
            ``trans``).

        Raises:
            InvalidInputError: not an npz, or neither layout.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                arrays = {key: data[key] for key in data.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InvalidInputError(
                f"{path.name} is not a readable .npz motion file ({error}). "
                "Give an .npz with joint_rotations (T,55,3), or poses (T,165) from SMPL-X tools."
            ) from error
        rotations = next((arrays[key] for key in ("joint_rotations", "poses", "pose") if key in arrays), None)
        if rotations is None or rotations.size == 0 or rotations.size % (NUM_JOINTS * 3):
            raise InvalidInputError(
                f"{path.name} has no joint_rotations (T,55,3) or poses (T,165); found {sorted(arrays)}."
            )
        joints = rotations.reshape(-1, NUM_JOINTS, 3).astype(np.float32)
        count = len(joints)

        def take(names: tuple[str, ...], shape: tuple[int, ...]) -> FloatArray:
            for name in names:
                if name in arrays:
                    return _array(arrays[name].reshape(count, *shape), (count, *shape), name)
            return np.zeros((count, *shape), np.float32)

        rates = ("fps", "mocap_frame_rate", "mocap_framerate")
        fps = next((float(arrays[name]) for name in rates if name in arrays), 30.0)
        # SMPL-X "expression" is 10 learned components, which mean nothing in ARKit terms.
        if "expression" in arrays and arrays["expression"].shape[-1] != NUM_ARKIT:
            del arrays["expression"]
        return Motion(
            fps,
            take(("translation", "trans", "transl"), (3,)),
            _array(joints, joints.shape, "joint_rotations"),
            take(("arkit", "expression"), (NUM_ARKIT,)),
            take(("gaze",), (2, 2)),
        )
