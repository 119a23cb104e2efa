"""Motion ``.npz`` files: ours (``lca capture -o``) and SMPL-X parameters of other tools.

In: a path. Out: a :class:`MotionClip`. Ours has ``joint_rotations`` (T,55,3), ``translation``, ``arkit``,
``gaze``, ``fps`` and is taken as it is. SMPL-X files have ``poses`` (T,165) (AMASS, Motion-X) or
``global_orient``, ``body_pose``, ``left_hand_pose``, ... and are turned Y up and set on the ground.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca.motion.clip import OURS, MotionClip, bad_motion, upright
from lca.motion.rotation import axis_angles, matrices
from lca.motion.skeleton import ARKIT, JOINTS

MAX_ARRAY_BYTES = 1 << 30
_PARTS = {
    "global_orient": (0, 1), "root_orient": (0, 1), "body_pose": (1, 22), "pose_body": (1, 22),
    "jaw_pose": (22, 23), "leye_pose": (23, 24), "reye_pose": (24, 25), "left_hand_pose": (25, 40),
    "right_hand_pose": (40, 55), "pose_hand": (25, 55), "pose_jaw": (22, 23), "pose_eye": (23, 25),
}  # fmt: skip
"""Separate SMPL-X arrays and the joints they fill."""


def read_npz(path: Path) -> MotionClip:
    """Read a motion ``.npz``; pickled objects are never loaded.

    Raises:
        InvalidInputError: not an npz, or no poses in it.
    """
    arrays = load_arrays(path)
    ours = "joint_rotations" in arrays
    poses = _poses(arrays, path.name)
    count = len(poses)

    def take(names: tuple[str, ...], *shape: int) -> NDArray | None:
        for name in names:
            if name in arrays:
                try:
                    return arrays[name].reshape(count, *shape)
                except ValueError as error:
                    raise bad_motion(
                        path.name, f"{name} has shape {arrays[name].shape}, not {(count, *shape)}"
                    ) from error
        return None

    # SMPL-X "expression" is learned components, which mean nothing in ARKit terms.
    if "expression" in arrays and arrays["expression"].shape[-1:] != (len(ARKIT),):
        del arrays["expression"]
    rates = ("fps", "mocap_frame_rate", "mocap_framerate", "frame_rate")
    fps = next((float(arrays[n].reshape(-1)[0]) for n in rates if n in arrays), 30.0)
    clip = MotionClip.of(
        fps,
        poses=poses,
        translation=take(("translation", "trans", "transl"), 3),
        arkit=take(("arkit", "expression"), len(ARKIT)),
        gaze=take(("gaze",), 2, 2),
        source=f"{path.name} {OURS if ours else '(SMPL-X motion)'}",
    )
    return clip if ours else _stood(clip)


def _stood(clip: MotionClip) -> MotionClip:
    """Y up and on the ground, whatever world (AMASS: Z up, cameras: Y down) the poses were written in."""
    root = matrices(clip.poses[:, 0])
    r = upright(root[:, :, 1].mean(0))
    poses = clip.poses.copy()
    poses[:, 0] = axis_angles(r @ root)
    turned = MotionClip(
        clip.fps, clip.translation @ r.T.astype(np.float32), poses, clip.arkit, clip.gaze, clip.source
    )
    return turned.grounded()


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Number arrays of an npz; text and object arrays are left out.

    Raises:
        InvalidInputError: not an npz, or one that unpacks beyond all reason.
    """
    try:
        with zipfile.ZipFile(path) as pack:
            if sum(item.file_size for item in pack.infolist()) > MAX_ARRAY_BYTES:
                raise bad_motion(path.name, "it unpacks to more than 1 GB")
        found: dict[str, NDArray[Any]] = {}
        with np.load(path, allow_pickle=False) as data:
            for key in data.files:
                try:
                    value = data[key]
                except ValueError:  # an object array: refused, and needed by nothing here
                    continue
                if np.issubdtype(value.dtype, np.number):
                    found[key] = value
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise bad_motion(
            path.name,
            f"it is not a readable .npz ({error}); give joint_rotations (T,55,3), or poses (T,165) of SMPL-X",
        ) from error
    return found


def _poses(arrays: dict[str, NDArray[Any]], name: str) -> NDArray[np.float32]:
    width = len(JOINTS) * 3
    whole = next((arrays[k] for k in ("joint_rotations", "poses", "pose") if k in arrays), None)
    if whole is not None and whole.size and whole.size % width == 0:
        return whole.reshape(-1, len(JOINTS), 3).astype(np.float32)
    if whole is not None and whole.ndim == 2 and whole.shape[1] == 156:
        # SMPL-H: 22 body joints, then 30 hand joints; face joints rest.
        out = np.zeros((len(whole), len(JOINTS), 3), np.float32)
        out[:, :22], out[:, 25:] = whole[:, :66].reshape(-1, 22, 3), whole[:, 66:].reshape(-1, 30, 3)
        return out
    parts = {k: v for k, v in _PARTS.items() if k in arrays}
    if whole is None and any(v == (1, 22) for v in parts.values()):
        count = next(arrays[k].size // 63 for k, v in parts.items() if v == (1, 22))
        out = np.zeros((count, len(JOINTS), 3), np.float32)
        for key, (first, last) in parts.items():
            if arrays[key].size == count * (last - first) * 3:
                out[:, first:last] = arrays[key].reshape(count, last - first, 3)
            elif "hand" not in key:  # PCA hands need a model file: fingers rest
                raise bad_motion(name, f"{key} has shape {arrays[key].shape} for {count} frames")
        return out
    raise bad_motion(
        name, f"it has no joint_rotations (T,55,3), poses (T,165) or body_pose (T,63); found {sorted(arrays)}"
    )
