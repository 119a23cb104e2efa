"""The smallest frames: what poses a baked rig, instead of the posed Gaussians. The client skins.

Poses (arrays by name, as ``messages.pose_from_proto`` gives them) go in, :class:`RigFrame` values come out,
many at a time, because a frame is small and vectorised arithmetic is not. :meth:`~lca_bridge.wire.skin
.BakedRig.apply` turns a rig frame into Gaussians.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lca.errors import InvalidInputError
from lca.v1 import gaussian_pb2
from lca_bridge.wire.package import NUM_ARKIT, NUM_JOINTS, AvatarPackage
from lca_bridge.wire.skin import LEFT_EYE, RIGHT_EYE, joint_transforms, rotation_matrices

MATRIX_SHAPE = (NUM_JOINTS, 3, 4)


@dataclass(frozen=True)
class RigFrame:
    """Arguments of :meth:`BakedRig.apply`: transforms (55, 3, 4), coefficients (C,), arkit (52,); float32."""

    transforms: np.ndarray
    coefficients: np.ndarray
    arkit: np.ndarray


class RigDriver:
    """Computes rig frames of one avatar. Safe to call from several threads."""

    def __init__(self, package: AvatarPackage) -> None:
        self._joints, self._parents = package.skinning.joints, package.skinning.parents
        change = package.correctives
        features = 9 * (NUM_JOINTS - 1)
        basis = np.zeros((0, features)) if change is None else change.pose_basis
        self._basis = np.ascontiguousarray(basis.T, np.float64)
        self._mean = np.zeros(features) if change is None else change.pose_mean.astype(np.float64)

    def frames(self, poses: Sequence[Mapping[str, np.ndarray]]) -> list[RigFrame]:
        """One rig frame per pose: ``joint_rotations`` (55, 3), ``gaze`` (2, 2), ``translation`` (3,) and
        ``arkit_weights`` (52,) each."""
        vectors = np.stack([pose["joint_rotations"] for pose in poses])
        rotations = rotation_matrices(vectors)
        gaze = np.stack([pose["gaze"] for pose in poses])
        if gaze.any():
            turns, nods = np.zeros((2, *gaze.shape[:2], 3))
            turns[..., 1], nods[..., 0] = gaze[..., 0], gaze[..., 1]
            eyes = [LEFT_EYE, RIGHT_EYE]
            rotations[:, eyes] = rotations[:, eyes] @ rotation_matrices(turns) @ rotation_matrices(nods)
        shifts = np.stack([pose["translation"] for pose in poses])
        matrices = joint_transforms(self._joints, self._parents, rotations, shifts)[..., :3, :]
        feature = (rotations[:, 1:] - np.eye(3)).reshape(len(poses), -1)
        coefficients = ((feature - self._mean) @ self._basis).astype(np.float32)
        return [
            RigFrame(transforms, row, np.asarray(pose["arkit_weights"], np.float32))
            for transforms, row, pose in zip(matrices.astype(np.float32), coefficients, poses)
        ]


def rig_frame_to_proto(frame: RigFrame) -> gaussian_pb2.CorrectionFrame:
    """The message of a rig frame."""
    return gaussian_pb2.CorrectionFrame(
        joint_matrices=np.ascontiguousarray(frame.transforms, "<f4").tobytes(),
        pose_coefficients=np.ascontiguousarray(frame.coefficients, "<f4").tobytes(),
        arkit_weights=np.ascontiguousarray(frame.arkit, "<f4").tobytes(),
    )


def rig_frame_from_proto(message: gaussian_pb2.CorrectionFrame) -> RigFrame:
    """Views of the message's bytes (read-only); InvalidInputError ``MALFORMED_FRAME`` if they do not fit."""
    sizes = len(message.joint_matrices), len(message.arkit_weights), len(message.pose_coefficients) % 4
    if sizes != (4 * NUM_JOINTS * 12, 4 * NUM_ARKIT, 0):
        raise InvalidInputError("A correction frame has the wrong size.", reason="MALFORMED_FRAME")
    return RigFrame(
        np.frombuffer(message.joint_matrices, "<f4").reshape(MATRIX_SHAPE),
        np.frombuffer(message.pose_coefficients, "<f4"),
        np.frombuffer(message.arkit_weights, "<f4"),
    )
