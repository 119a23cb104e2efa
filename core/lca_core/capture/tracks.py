"""Landmarks of other trackers: one ``tracks.npz`` per clip in, checked :class:`Tracks` out, laid over our
own observations.

The same fitter runs whatever the source: foreign 3D joints give the limb directions, foreign 2D joints the
points, so no body model of the other tool is needed. The format is described in ``docs/tracks.md``.
"""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lca.errors import InvalidInputError
from lca_core.body.names import NUM_ARKIT

from .face import FaceResult
from .hands import HandResult
from .networks import Array
from .pose import POSE_INDEX
from .select import Observation, body_yaw

SCHEMA = 1
MAX_REPROJECTION = 0.02
"""joints3d through K may miss joints2d by this share of the body size (median over points)."""
REQUIRED = ("frame_index", "image_size", "K", "joint_names", "joints3d", "joints2d", "conf")
OPTIONAL = ("hands3d", "hands2d", "hands_conf", "arkit52", "arkit_conf")
BODY_POINTS = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
TORSO_METRES = (0.25, 0.75)
"""Shoulders to hips of an adult; outside, the unit is not metres."""
MAX_BYTES = 512 << 20


@dataclass(frozen=True)
class Tracks:
    """What a tracker says about one person; OpenCV camera axes (x right, y down, z away), metres, pixels of
    the original picture, NaN = missing.

    Attributes:
        header: ``tool``, ``version``, ``licence``, ``schema``.
        frame_index [T] source frame numbers; image_size (width, height); K [T,3,3]; joint_names J of
            ``pose.POSE_NAMES``; joints3d [T,J,3]; joints2d [T,J,2]; conf [T,J] 0..1.
        hands3d [T,2,21,3], hands2d [T,2,21,2], hands_conf [T,2]: left, right, MediaPipe order.
        arkit52 [T,52], arkit_conf [T]: Apple's order.
    """

    header: dict[str, Any]
    frame_index: np.ndarray
    image_size: tuple[int, int]
    K: Array
    joint_names: tuple[str, ...]
    joints3d: Array
    joints2d: Array
    conf: Array
    hands3d: Array | None = None
    hands2d: Array | None = None
    hands_conf: Array | None = None
    arkit52: Array | None = None
    arkit_conf: Array | None = None

    def __len__(self) -> int:
        return len(self.frame_index)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What is there: "body", "hands", "face"."""
        extra = (("hands", self.hands2d), ("face", self.arkit52))
        return ("body", *(name for name, value in extra if value is not None))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a ``tracks.npz``."""
        arrays: dict[str, Any] = {
            "header": np.array(json.dumps({"schema": SCHEMA, **self.header})),
            "frame_index": self.frame_index,
            "image_size": np.array(self.image_size),
            "K": self.K,
            "joint_names": np.array(self.joint_names),
            "joints3d": self.joints3d,
            "joints2d": self.joints2d,
            "conf": self.conf,
        }
        arrays |= {name: value for name in OPTIONAL if (value := getattr(self, name)) is not None}
        np.savez_compressed(path, **arrays)


def load_tracks(path: str | os.PathLike[str]) -> Tracks:
    """Read and check a ``tracks.npz``; nothing in it is executed.

    Raises:
        InvalidInputError: not an npz, a field is missing or has another shape, or a check of
            :func:`check_tracks` fails; the message names the field and the cure.
    """
    name = Path(path).name
    try:
        if Path(path).stat().st_size > MAX_BYTES:
            raise InvalidInputError(f"{name} is larger than {MAX_BYTES >> 20} MiB; store fewer frames.")
        with np.load(path, allow_pickle=False) as data:
            arrays = {key: data[key] for key in (*REQUIRED, *OPTIONAL, "header") if key in data.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidInputError(f"{name} is not a readable tracks.npz ({error}).") from error
    missing = [key for key in ("header", *REQUIRED) if key not in arrays]
    if missing:
        raise InvalidInputError(f"{name} lacks {', '.join(missing)}; see docs/tracks.md.")
    try:
        header = json.loads(str(arrays["header"]))
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"The header of {name} is not JSON ({error}).") from error
    if not isinstance(header, dict) or header.get("schema") != SCHEMA:
        raise InvalidInputError(f"{name} is not of schema {SCHEMA}; write it with a matching tool.")
    return check_tracks(
        header,
        **{k: arrays[k] for k in REQUIRED},
        **{k: arrays[k] for k in OPTIONAL if k in arrays},
    )


def check_tracks(
    header: dict[str, Any],
    *,
    frame_index: np.ndarray,
    image_size: np.ndarray,
    K: np.ndarray,
    joint_names: Any,
    joints3d: np.ndarray,
    joints2d: np.ndarray,
    conf: np.ndarray,
    **optional: np.ndarray,
) -> Tracks:
    """Bring arrays into shape and check them: units, axes, sides, and 3D against 2D.

    Raises:
        InvalidInputError: with the reason and what to change.
    """
    frames = np.asarray(frame_index).reshape(-1).astype(np.int64)
    count, names = len(frames), tuple(str(n) for n in np.asarray(joint_names).reshape(-1))
    if not count or (np.diff(frames) <= 0).any() or frames[0] < 0:
        raise InvalidInputError("frame_index must be increasing frame numbers, at least one.")
    unknown = [n for n in names if n not in POSE_INDEX]
    if unknown:
        raise InvalidInputError(f"Unknown joint names {unknown[:4]}; known: {', '.join(POSE_INDEX)}.")
    lacking = [n for n in BODY_POINTS if n not in names]
    if lacking or len(set(names)) != len(names):
        raise InvalidInputError(f"joint_names must hold each of {', '.join(BODY_POINTS)} once.")
    shapes = {
        "joints3d": (joints3d, (count, len(names), 3)),
        "joints2d": (joints2d, (count, len(names), 2)),
        "conf": (conf, (count, len(names))),
        "image_size": (image_size, (2,)),
    }
    wanted = {
        "hands3d": (count, 2, 21, 3),
        "hands2d": (count, 2, 21, 2),
        "hands_conf": (count, 2),
        "arkit52": (count, NUM_ARKIT),
        "arkit_conf": (count,),
    }
    shapes |= {name: (value, wanted[name]) for name, value in optional.items()}
    for name, (value, shape) in shapes.items():
        if np.shape(value) != shape:
            raise InvalidInputError(f"{name} has shape {np.shape(value)}; expected {shape}.")
    ks = np.asarray(K, np.float32)
    ks = np.repeat(ks[None], count, 0) if ks.shape == (3, 3) else ks
    if ks.shape != (count, 3, 3) or not np.isfinite(ks).all() or (ks[:, 0, 0] <= 0).any():
        raise InvalidInputError(f"K has shape {np.shape(K)}; expected (3,3) or ({count},3,3) pinhole pixels.")
    trust = np.clip(np.nan_to_num(np.asarray(conf, np.float32)), 0, 1)
    bad = ~np.isfinite(joints3d).all(-1) | ~np.isfinite(joints2d).all(-1)
    trust[bad] = 0.0
    tracks = Tracks(
        header,
        frames,
        (int(image_size[0]), int(image_size[1])),
        ks,
        names,
        np.where(bad[..., None], 0, joints3d).astype(np.float32),
        np.where(bad[..., None], 0, joints2d).astype(np.float32),
        trust,
        **{name: np.asarray(value, np.float32) for name, value in optional.items()},
    )
    _check_geometry(tracks)
    return tracks


def _check_geometry(t: Tracks) -> None:
    seen = t.conf > 0.3
    if not seen.any():
        raise InvalidInputError("No joint has a confidence above 0.3; nothing was tracked.")
    depth = t.joints3d[..., 2][seen]
    if np.median(depth) <= 0:
        raise InvalidInputError("joints3d lie behind the camera; use camera axes x right, y down, z away.")
    at = {n: i for i, n in enumerate(t.joint_names)}
    torso = t.joints3d[:, [at[n] for n in BODY_POINTS]]
    spine = torso[:, :2].mean(1) - torso[:, 2:].mean(1)
    length = float(np.median(np.linalg.norm(spine, axis=-1)))
    if not TORSO_METRES[0] < length < TORSO_METRES[1]:
        raise InvalidInputError(f"The torso measures {length:.2f}; joints3d must be in metres of an adult.")
    pixels = np.einsum("tij,tnj->tni", t.K, t.joints3d)
    pixels = pixels[..., :2] / np.maximum(pixels[..., 2:], 1e-6)
    spans = [np.ptp(p[s], axis=0).max() for p, s in zip(t.joints2d, seen, strict=True) if s.sum() > 1]
    size = max(float(np.median(spans)), 1.0) if spans else 1.0
    miss = float(np.median(np.linalg.norm(pixels - t.joints2d, axis=-1)[seen])) / size
    if miss > MAX_REPROJECTION:
        raise InvalidInputError(
            f"joints3d through K miss joints2d by {100 * miss:.1f} percent of the body; K, the picture size "
            "or a crop camera is wrong (limit 2 percent)."
        )
    if {"nose", "left_ear", "right_ear"} <= set(at):
        # In these axes left x up points where the person faces, and so does the nose from the ears.
        left = torso[:, [0, 2]].mean(1) - torso[:, [1, 3]].mean(1)
        front = np.cross(left, spine)
        nose = t.joints3d[:, at["nose"]] - t.joints3d[:, [at["left_ear"], at["right_ear"]]].mean(1)
        both = seen[:, [at[n] for n in ("nose", "left_ear", "right_ear")]].all(1)
        if both.any() and np.median(np.sign((front * nose).sum(-1)[both])) < 0:
            raise InvalidInputError("Left and right are swapped, or the picture is mirrored.")


def apply_tracks(
    seen: list[Observation], tracks: Tracks, frame_numbers: np.ndarray, size: tuple[int, int]
) -> list[Observation]:
    """Lay tracks over our own observations; frames the file lacks keep theirs.

    Args:
        seen: our observations.
        frame_numbers: source frame number of every sample (``Clip.frame_index``).
        size: (width, height) of the decoded pictures; the file speaks of the original ones.
    """
    row = {int(f): i for i, f in enumerate(tracks.frame_index)}
    scale = np.array(size, np.float32) / np.array(tracks.image_size, np.float32)
    joints = np.array([POSE_INDEX[n] for n in tracks.joint_names])
    hips = [tracks.joint_names.index(n) for n in ("left_hip", "right_hip")]
    out = []
    for o in seen:
        i = row.get(int(frame_numbers[o.index]))
        if i is None:
            out.append(o)
            continue
        good = tracks.conf[i] > 0
        points, world, visible = o.pose.points.copy(), o.pose.world.copy(), o.pose.visibility.copy()
        points[joints[good]] = tracks.joints2d[i, good] * scale
        if good[hips].all():
            world[joints[good]] = tracks.joints3d[i, good] - tracks.joints3d[i, hips].mean(0)
        visible[joints[good]] = tracks.conf[i, good]
        pose = replace(o.pose, points=points, world=world, visibility=visible)
        hands = tuple(_hand(tracks, i, s, scale) or o.hands[s] for s in (0, 1))
        out.append(
            replace(
                o, pose=pose, hands=(hands[0], hands[1]), face=_face(tracks, i, o.face), yaw=body_yaw(pose)
            )
        )
    return out


def tracks_focal(tracks: Tracks, size: tuple[int, int]) -> float:
    """Median focal length in pixels of pictures of ``size``."""
    return float(np.median(tracks.K[:, 0, 0])) * max(size) / max(tracks.image_size)


def _hand(t: Tracks, i: int, side: int, scale: Array) -> HandResult | None:
    if t.hands2d is None or t.hands3d is None:
        return None
    score = 1.0 if t.hands_conf is None else float(np.nan_to_num(t.hands_conf[i, side]))
    points, world = t.hands2d[i, side], t.hands3d[i, side]
    if score < 0.3 or not (np.isfinite(points).all() and np.isfinite(world).all()):
        return None
    return HandResult(points * scale, world - world[0], score, 1.0 - side)


def _face(t: Tracks, i: int, own: FaceResult | None) -> FaceResult | None:
    if t.arkit52 is None or own is None or not np.isfinite(t.arkit52[i]).all():
        return own
    if t.arkit_conf is not None and not t.arkit_conf[i] > 0.3:
        return own
    return replace(own, scores=np.clip(t.arkit52[i], 0, 1).astype(np.float32))
