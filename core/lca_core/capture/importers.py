"""Files of other tools turned into :class:`Tracks`: SAM 3D Body (MHR keypoints) and SMPL-X style parameters.

In: arrays as those tools write them; out: checked tracks. Foreign shape and expression codes are dropped:
they mean nothing to our body.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from lca.errors import InvalidInputError, PreconditionError
from lca_core.body.model import BodyModel
from lca_core.body.names import JOINT_INDEX, NUM_JOINTS

from .fit_body import BODY_LINKS
from .networks import Array
from .tracks import Tracks, check_tracks

MHR70: dict[str, int] = {
    "nose": 0, "left_eye": 1, "right_eye": 2, "left_ear": 3, "right_ear": 4, "left_shoulder": 5,
    "right_shoulder": 6, "left_elbow": 7, "right_elbow": 8, "left_hip": 9, "right_hip": 10, "left_knee": 11,
    "right_knee": 12, "left_ankle": 13, "right_ankle": 14, "left_foot_index": 15, "left_heel": 17,
    "right_foot_index": 18, "right_heel": 20, "right_wrist": 41, "left_wrist": 62,
}  # fmt: skip
"""Our landmark name to the index in SAM 3D Body's 70 keypoints."""

MHR_HANDS: tuple[tuple[int, ...], ...] = tuple(
    (wrist, *(first + 4 * finger + joint for finger in range(5) for joint in (3, 2, 1, 0)))
    for wrist, first in ((62, 42), (41, 21))
)
"""Left and right hand in tracker order (wrist, thumb base to tip, ...); MHR counts from tip to base."""


def from_sam3d_body(
    people: Sequence[Mapping[str, Any]],
    image_size: tuple[int, int],
    frame_index: Sequence[int] | None = None,
) -> Tracks:
    """One person per frame as SAM 3D Body returns it.

    Args:
        people: per frame ``pred_keypoints_3d`` [70,3], ``pred_keypoints_2d`` [70,2] pixels,
            ``pred_cam_t`` [3], ``focal_length``; a camera point is the keypoint plus ``pred_cam_t``.
        image_size: (width, height) of the original picture.
        frame_index: source frame numbers; 0, 1, ... when left out.

    Raises:
        InvalidInputError: a key is missing or a check fails.
    """
    if not people:
        raise InvalidInputError("There is no frame in the SAM 3D Body result.")
    need = ("pred_keypoints_3d", "pred_keypoints_2d", "pred_cam_t", "focal_length")
    for n, person in enumerate(people):
        lacking = [k for k in need if k not in person]
        if lacking:
            raise InvalidInputError(f"Frame {n} of the SAM 3D Body result lacks {', '.join(lacking)}.")

    def stack(key: str, shape: tuple[int, ...]) -> Array:
        try:
            return np.stack([np.asarray(p[key], np.float32).reshape(shape) for p in people])
        except ValueError as error:
            raise InvalidInputError(f"{key} is not of shape {shape} in every frame.") from error

    points = stack("pred_keypoints_3d", (70, 3)) + stack("pred_cam_t", (1, 3))
    pixels, focal = stack("pred_keypoints_2d", (70, 2)), stack("focal_length", (1,))[:, 0]
    take, hands = list(MHR70.values()), np.array(MHR_HANDS)
    return check_tracks(
        {"tool": "SAM 3D Body", "licence": "SAM licence; see the tool", "model": "mhr"},
        frame_index=np.arange(len(people)) if frame_index is None else np.asarray(frame_index),
        image_size=np.asarray(image_size),
        K=_pinhole(focal, image_size),
        joint_names=tuple(MHR70),
        joints3d=points[:, take],
        joints2d=pixels[:, take],
        conf=np.ones((len(people), len(take)), np.float32),
        hands3d=points[:, hands],
        hands2d=pixels[:, hands],
    )


def from_smplx(
    values: Mapping[str, Any],
    image_size: tuple[int, int],
    focal_px: float | None = None,
    *,
    model_path: str | os.PathLike[str] | None = None,
) -> Tracks:
    """SMPL-X parameters in a full-picture camera (SMPLest-X, Multi-HMR and others; crop cameras converted).

    Args:
        values: ``global_orient`` [T,3], ``body_pose`` [T,63], ``transl`` [T,3] in camera axes; optional
            ``left_hand_pose``, ``right_hand_pose`` [T,45], ``betas``, ``focal``, ``frame_index``.
        image_size: (width, height); focal_px: focal length when ``values`` has none.
        model_path: folder with the official model files, loaded by the ``smplx`` extra; without it our own
            skeleton of mean size stands in, which keeps directions and loses a few centimetres of size.

    Raises:
        InvalidInputError: a key is missing or a check fails.
        PreconditionError: ``model_path`` is given and the ``smplx`` package or its files are not there.
    """
    lacking = [k for k in ("global_orient", "body_pose", "transl") if k not in values]
    focal = values.get("focal", focal_px)
    if lacking or focal is None:
        raise InvalidInputError(f"The SMPL-X file lacks {', '.join(lacking) or 'focal'}.")
    orient = np.asarray(values["global_orient"], np.float32).reshape(-1, 3)
    count = len(orient)
    pose = np.zeros((count, NUM_JOINTS, 3), np.float32)
    pose[:, 0] = orient
    parts = {"body_pose": (1, 22), "left_hand_pose": (25, 40), "right_hand_pose": (40, 55)}
    for key, (first, last) in parts.items():
        if key in values:
            part = np.asarray(values[key], np.float32)
            if part.size != count * 3 * (last - first):
                raise InvalidInputError(
                    f"{key} has shape {part.shape}; expected ({count},{3 * (last - first)})."
                )
            pose[:, first:last] = part.reshape(count, last - first, 3)
    transl = np.asarray(values["transl"], np.float32).reshape(count, 3)
    if model_path is None:
        with torch.no_grad():
            out = BodyModel.load()(torch.zeros(1, 50), torch.as_tensor(pose), torch.as_tensor(transl))
        joints = out.joints.numpy()
    else:
        joints = _official_joints(pose, transl, values.get("betas"), os.fspath(model_path))
    names = [image for image, part in BODY_LINKS if part in JOINT_INDEX]
    points = joints[:, [JOINT_INDEX[part] for _, part in BODY_LINKS if part in JOINT_INDEX]]
    ks = _pinhole(np.broadcast_to(np.asarray(focal, np.float32).reshape(-1), (count,)), image_size)
    pixels = np.einsum("tij,tnj->tni", ks, points)
    return check_tracks(
        {"tool": "SMPL-X parameters", "licence": "see the tool", "model": "smplx"},
        frame_index=np.asarray(values.get("frame_index", np.arange(count))),
        image_size=np.asarray(image_size),
        K=ks,
        joint_names=names,
        joints3d=points,
        joints2d=pixels[..., :2] / np.maximum(pixels[..., 2:], 1e-6),
        conf=np.ones((count, len(names)), np.float32),
    )


def _official_joints(pose: Array, transl: Array, betas: Any, path: str) -> Array:
    """Joints [T,55,3] of the official SMPL-X model."""
    try:
        import smplx
    except ImportError as error:
        raise PreconditionError("Official SMPL-X files need lca-bridge[smplx].") from error
    shape = np.zeros((1, 10)) if betas is None else np.asarray(betas, np.float32).reshape(-1, 10)[:1]
    try:
        model = smplx.create(path, "smplx", use_pca=False, flat_hand_mean=True, batch_size=len(pose))
    except Exception as error:  # the loader raises whatever the file's contents provoke
        raise PreconditionError(f"No SMPL-X model could be loaded from {path} ({error}).") from error
    t = torch.as_tensor(pose)
    with torch.no_grad():
        out = model(
            betas=torch.as_tensor(shape, dtype=torch.float32).expand(len(pose), -1),
            global_orient=t[:, 0],
            body_pose=t[:, 1:22].flatten(1),
            left_hand_pose=t[:, 25:40].flatten(1),
            right_hand_pose=t[:, 40:55].flatten(1),
            transl=torch.as_tensor(transl),
        )
    return out.joints[:, :NUM_JOINTS].numpy()


def _pinhole(focal: Array, image_size: tuple[int, int]) -> Array:
    ks = np.zeros((len(focal), 3, 3), np.float32)
    ks[:, 0, 0] = ks[:, 1, 1] = focal
    ks[:, 0, 2], ks[:, 1, 2], ks[:, 2, 2] = image_size[0] / 2, image_size[1] / 2, 1.0
    return ks
