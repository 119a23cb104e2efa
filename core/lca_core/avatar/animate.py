"""Animation: an avatar and a pose frame give posed Gaussians.

Two ways, one door (ARCHITECTURE "Two ways to animate"): by default the linear correctives of the file are
used (the baked rig, what every client does); with a `Correction` the network computes them per frame.
Skinning is the same four-influence linear blend skinning in both (docs/avatar-file.md). The baked rig runs as
one fused kernel (``lca_core.splat.posing``); a `LinearCorrection` passed by hand goes step by step like any
other correction and is the kernel's clear twin.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from lca_core.avatar.avatar import Avatar
from lca_core.avatar.frame import PoseFrame
from lca_core.avatar.light import relighter
from lca_core.body.lbs import joint_transforms
from lca_core.body.names import JOINT_INDEX
from lca_core.body.rotation import axis_angle_to_matrix
from lca_core.relight.light import Illumination
from lca_core.relight.shade import Relighter
from lca_core.splat import GaussianSet
from lca_core.splat.posing import BakedRig, DeviceRig, FusedRig, Values
from lca_core.splat.skinning import skin_gaussians

EYES = (JOINT_INDEX["left_eye_smplhf"], JOINT_INDEX["right_eye_smplhf"])


@dataclass
class Deltas:
    """What a pose adds to canonical Gaussians: means (N,3) m, quats (N,4), log_scales (N,3), sh0 (N,3)."""

    means: np.ndarray
    quats: np.ndarray
    log_scales: np.ndarray
    sh0: np.ndarray


class Correction(Protocol):
    """Anything that can say how the canonical Gaussians change with a pose frame."""

    def __call__(self, frame: PoseFrame, rotations: np.ndarray) -> Deltas:
        """``rotations`` (55, 3, 3): local joint rotations with gaze applied."""
        ...


class LinearCorrection:
    """The baked rig's correction: sparse ARKit shapes plus dense pose components."""

    def __init__(self, avatar: Avatar) -> None:
        source = avatar.correctives
        self._count = avatar.gaussian_count
        self._pointers = source.arkit_ptr
        self._index = source.arkit_index
        self._arkit = [
            np.asarray(part, np.float32)
            for part in (source.arkit_means, source.arkit_quats, source.arkit_log_scales, source.arkit_sh0)
        ]
        self._pose = [
            np.asarray(part, np.float32)
            for part in (source.pose_means, source.pose_quats, source.pose_log_scales, source.pose_sh0)
        ]
        self._pose_mean = source.pose_mean
        self._pose_basis = source.pose_basis

    def __call__(self, frame: PoseFrame, rotations: np.ndarray) -> Deltas:
        feature: np.ndarray = (rotations[1:] - np.eye(3, dtype=np.float32)).reshape(-1)
        coefficients = self._pose_basis @ (feature - self._pose_mean)
        parts = [np.tensordot(coefficients, part, 1).astype(np.float32) for part in self._pose]
        for shape in np.flatnonzero(frame.arkit):
            rows = slice(self._pointers[shape], self._pointers[shape + 1])
            for part, source in zip(parts, self._arkit, strict=True):
                part[self._index[rows]] += frame.arkit[shape] * source[rows]
        return Deltas(*parts)


class Animator:
    """Poses one avatar. Safe to call from several threads; holds no per-frame state.

    Args:
        avatar: the avatar.
        correction: how expressions and poses deform the canonical set; the file's linear correctives by
            default.
        device: where the Gaussians live and come out, e.g. "cuda"; the CPU by default.
    """

    def __init__(
        self,
        avatar: Avatar,
        correction: Correction | None = None,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        self._correction = correction
        self._device = torch.device(device)
        self._rig: FusedRig | DeviceRig | None = None
        if correction is None:
            baked = _baked(avatar)
            self._rig = FusedRig(baked) if self._device.type == "cpu" else DeviceRig(baked, self._device)
        self._means = np.asarray(avatar.canonical.means, np.float32)
        self._quats = np.asarray(avatar.canonical.quats, np.float32)
        self._log_scales = np.log(np.asarray(avatar.canonical.scales, np.float32))
        self._opacities = torch.from_numpy(np.array(avatar.canonical.opacities, np.float32)).to(self._device)
        self._sh = np.asarray(avatar.canonical.sh, np.float32)
        self._joint_indices = torch.from_numpy(np.array(avatar.skinning.joint_indices))
        self._joint_weights = torch.from_numpy(np.array(avatar.skinning.joint_weights, np.float32))
        self._joints = torch.from_numpy(np.array(avatar.skinning.joints, np.float32))
        self._parents = [int(parent) for parent in avatar.skinning.parents]
        self._avatar = avatar

    @functools.cached_property
    def relighter(self) -> Relighter:
        """Puts other light on what :meth:`evaluate` returns (built on first use)."""
        return relighter(self._avatar)

    def evaluate(self, frame: PoseFrame) -> GaussianSet:
        """Corrections, then LBS, then the root translation; world metres. Opacities never change; colours are
        those of the photographs' light, or of ``frame.light`` (diffuse)."""
        posed = self._pose(frame)
        if frame.light is None:
            return posed
        return self.relighter.apply(posed, Illumination.of_frame(frame.light))

    def _pose(self, frame: PoseFrame) -> GaussianSet:
        if self._rig is not None:
            posed = self._rig.pose(frame.joint_rotations, frame.gaze, frame.arkit, frame.translation)
            means, quats, scales, sh = posed
            return GaussianSet(means, quats, scales, self._opacities, sh)
        assert self._correction is not None
        return self._evaluate_stepwise(frame, self._correction).to(self._device)

    def _evaluate_stepwise(self, frame: PoseFrame, correction: Correction) -> GaussianSet:
        rotations = local_rotations(frame)
        deltas = correction(frame, rotations.numpy())
        means = self._means + deltas.means
        quats = self._quats + deltas.quats
        quats /= np.linalg.norm(quats, axis=1, keepdims=True)
        _, transforms = joint_transforms(rotations[None], self._joints[None], self._parents)
        posed_means, posed_quats = skin_gaussians(
            torch.from_numpy(means),
            torch.from_numpy(quats),
            self._joint_indices,
            self._joint_weights,
            transforms[0],
        )
        sh = self._sh.copy()
        sh[:, 0] += deltas.sh0
        return GaussianSet(
            means=posed_means + torch.from_numpy(frame.translation),
            quats=posed_quats,
            scales=torch.from_numpy(np.exp(self._log_scales + deltas.log_scales)),
            opacities=self._opacities.cpu(),
            sh=torch.from_numpy(sh),
        )

    def joints(self, frame: PoseFrame) -> np.ndarray:
        """Posed joint positions (55, 3) in metres."""
        posed, _ = joint_transforms(local_rotations(frame)[None], self._joints[None], self._parents)
        return posed[0].numpy() + frame.translation


def _baked(avatar: Avatar) -> BakedRig:
    rest, change, skinning = avatar.canonical, avatar.correctives, avatar.skinning
    return BakedRig(
        Values(rest.means, rest.quats, rest.scales, rest.sh[:, 0]),
        rest.sh,
        Values(change.arkit_means, change.arkit_quats, change.arkit_log_scales, change.arkit_sh0),
        change.arkit_ptr,
        change.arkit_index,
        Values(change.pose_means, change.pose_quats, change.pose_log_scales, change.pose_sh0),
        change.pose_basis,
        change.pose_mean,
        skinning.joint_indices,
        skinning.joint_weights,
        skinning.joints,
        [int(parent) for parent in skinning.parents],
        EYES,
    )


def local_rotations(frame: PoseFrame) -> torch.Tensor:
    """Local joint rotation matrices (55, 3, 3) of a frame, with gaze turned into the two eye joints."""
    rotations = axis_angle_to_matrix(torch.from_numpy(frame.joint_rotations))
    if frame.gaze.any():
        for eye, (yaw, pitch) in zip(EYES, torch.from_numpy(frame.gaze), strict=True):
            turn = axis_angle_to_matrix(torch.stack([torch.zeros(()), yaw, torch.zeros(())]))
            nod = axis_angle_to_matrix(torch.stack([pitch, torch.zeros(()), torch.zeros(())]))
            rotations[eye] = rotations[eye] @ turn @ nod
    return rotations
