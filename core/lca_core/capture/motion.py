"""Driving signal of a whole clip: a path in, per-frame pose, place, expression and gaze out
(:class:`Motion`).

Every frame is fitted with one known (or first estimated) body and focal length, without silhouettes, and
with a term that keeps joints from jumping between neighbours. Frames without a person are bridged and get
confidence 0.
"""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation, Slerp

from lca_core.body.lbs import joint_transforms
from lca_core.body.model import BodyModel
from lca_core.body.names import JOINT_INDEX, JOINT_PARENTS
from lca_core.body.rotation import axis_angle_to_matrix

from .decode import DecodeLimits, read_clip
from .expression import expression_confidence
from .fit import TRACKED_WEIGHTS, FitWeights, fit_body
from .fit_body import FitBody
from .fit_targets import build_targets
from .networks import Array
from .pipeline import MediaPath, Report, check_options, observe_clip, read_faces, settle, silent
from .plugins import TrackSource
from .select import torn
from .tracks import Tracks, apply_tracks, tracks_focal
from .types import Capture, Motion, intrinsics

MOTION_SIDE = 960
"""Longer side of the frames read for motion; landmarks gain little from more."""
SMOOTH_SECONDS = 0.03
"""Standard deviation of the Gaussian over expression and gaze."""
GAP_SECONDS, FADE_SECONDS = 0.5, 0.25
"""A face out of sight for longer relaxes within that time, instead of freezing in its last look."""
SMOOTH_POSE_SECONDS = 0.04
SMOOTH_DEPTH_SECONDS = 0.15
"""The same over rotations and sideways place, and over the distance, which one camera sees worst."""
RESTING_SPEED, HOLD_SECONDS = 0.25, 1.5
"""Metres per second of an ankle that counts as standing; how long a correction lasts."""
MIN_TRUST = 0.1
"""Rows of less confidence say nothing."""
MOTION_STAGES = ((60, 0.03), (120, 0.05), (80, 0.02))


def capture_motion(
    path: MediaPath,
    *,
    person: Capture | None = None,
    max_frames: int = 300,
    report: Report | None = None,
    seed: int = 0,
    focal_px: float | None = None,
    height_m: float | None = None,
    limits: DecodeLimits | None = None,
    tracks: str | os.PathLike[str] | Tracks | None = None,
) -> Motion:
    """Read the motion of the person in a clip.

    Args:
        path: the clip.
        person: a capture of the same person; its shape is used as is. The focal length is taken over when
            the clip has the same shape of picture, so that the same camera is likely.
        max_frames: at most this many evenly spaced frames (the sampling rate is ``Motion.fps``).
        report: called with (stage, fraction, message); stages "decode", "detect", "fit", "expression".
        seed, focal_px, height_m, limits: as in ``capture_clip``; ``focal_px`` refers to the original
            resolution scaled to at most 1920 pixels.
        tracks: landmarks of another tracker for this clip (``tracks.npz``, or ``"tracker:NAME"`` to run an
            installed one); they replace ours where present.

    Raises:
        MediaUnreadableError, NoPersonFoundError, InvalidInputError: as in ``capture_clip``.
    """
    report = report or silent
    check_options(8, focal_px, height_m)
    source = TrackSource(tracks)
    report("decode", 0.0, "Reading the clip.")
    clip = read_clip(path, max_frames, max_side=MOTION_SIDE, limits=limits)
    report("decode", 1.0, f"{len(clip)} frames read.")
    foreign = source.read(clip)
    seen = settle(observe_clip(clip, report), clip)
    if foreign is None:
        seen = [o for o in seen if not torn(o)] or seen
    else:
        seen = apply_tracks(seen, foreign, clip.frame_index, clip.size)
    index = np.array([o.index for o in seen])
    report("fit", 0.0, f"Fitting {len(seen)} frames.")
    masks = [np.zeros((1, 1), np.float32)] * len(seen)  # silhouettes take no part
    expression, gaze = read_faces(seen, seen)
    targets = build_targets(seen, masks, clip.sizes[index], seed, expression=expression)
    if person is not None and focal_px is None and same_shape(person.image_size, clip.size):
        focal_px = float(person.Ks[0, 0, 0]) * max(clip.size) / max(person.image_size)
    elif focal_px is not None:
        focal_px *= max(clip.size) / min(1920, max(clip.source_size))
    if foreign is not None and focal_px is None:
        focal_px = tracks_focal(foreign, clip.size)
    weights = FitWeights() if foreign is None else TRACKED_WEIGHTS
    fit = fit_body(
        FitBody(BodyModel.load(), seed, own_links=foreign is None),
        targets,
        focal_px=focal_px or clip.focal_px,
        height_m=height_m if person is None else None,
        betas=None if person is None else person.betas,
        times=clip.timestamps[index],
        weights=replace(weights, outside=0.0, contour=0.0),
        stages=MOTION_STAGES,
        report=lambda f: report("fit", f, ""),
    )
    report("expression", 0.0, "Reading expressions.")
    trust = np.array([expression_confidence(o.face) for o in seen], np.float32)
    # Players step evenly, phones do not: everything moves onto an even grid.
    times = np.linspace(clip.timestamps[0], clip.timestamps[-1], len(clip))
    known = clip.timestamps[index]
    fps = float((len(clip) - 1) / max(times[-1] - times[0], 1e-6)) if len(clip) > 1 else clip.fps
    sigma = SMOOTH_SECONDS * fps
    shown = face_shown(times, known[trust > MIN_TRUST])[:, None]
    expression = smooth(shown * fill(times, known, expression, trust), sigma)
    gaze = smooth(shown * fill(times, known, gaze.reshape(len(seen), -1), trust), sigma).reshape(-1, 2, 2)
    pose = smooth_rotations(bridge_rotations(times, known, fit.pose), SMOOTH_POSE_SECONDS * fps)
    transl = fill(times, known, fit.transl, np.ones(len(seen), np.float32))
    transl[:, :2] = smooth(transl[:, :2], SMOOTH_POSE_SECONDS * fps)
    transl[:, 2:] = smooth(transl[:, 2:], SMOOTH_DEPTH_SECONDS * fps)
    transl = hold_feet(ankles(fit.betas, pose, transl), transl, fps)
    conf = np.zeros(len(clip), np.float32)
    conf[index] = [o.pose.score * o.coverage for o in seen]
    report("expression", 1.0, "The motion is captured.")
    return Motion(
        pose=pose,
        transl=transl,
        expression=np.clip(expression, 0, 1),
        gaze=gaze.astype(np.float32),
        timestamps=times,
        conf=conf,
        fps=fps,
        betas=fit.betas,
        K=intrinsics(fit.focal, clip.sizes[:1])[0],
        image_size=(int(clip.sizes[0, 0]), int(clip.sizes[0, 1])),
    )


def ankles(betas: Array, pose: Array, transl: Array) -> Array:
    """World ankles [N,2,3] of a motion."""
    body = BodyModel.load()
    feet = [JOINT_INDEX["left_ankle"], JOINT_INDEX["right_ankle"]]
    with torch.no_grad():
        rest = (body.joint_template + body.joint_dirs @ torch.as_tensor(betas)).expand(len(pose), -1, -1)
        rotations = axis_angle_to_matrix(torch.as_tensor(pose))
        joints, _ = joint_transforms(rotations, rest, JOINT_PARENTS)
    return joints[:, feet].numpy() + transl[:, None]


def hold_feet(feet: Array, transl: Array, fps: float) -> Array:
    """Move the person so that a foot that rests stays where it is: corrected translation [N,3].

    A foot rests while its smoothed speed is low; its small drift is taken off the root, and the correction
    fades within ``HOLD_SECONDS`` so that the body never wanders off the picture.

    Args:
        feet: [N,2,3] world ankles; transl: [N,3]; fps: frames per second.
    """
    if len(feet) < 3:
        return transl
    calm = gaussian_filter1d(feet.astype(np.float64), max(0.08 * fps, 0.5), axis=0, mode="nearest")
    speed = np.linalg.norm(np.diff(calm, axis=0), axis=-1) * fps
    rest = np.exp(-((speed / RESTING_SPEED) ** 2))
    drift = (rest[..., None] * np.diff(feet, axis=0)).sum(1) / np.maximum(rest.sum(1), 1e-6)[:, None]
    drift *= rest.max(1)[:, None]
    keep, shift, out = float(np.exp(-1.0 / (HOLD_SECONDS * fps))), np.zeros(3), transl.copy()
    for t in range(1, len(transl)):
        shift = keep * (shift - drift[t - 1])
        out[t] += shift
    return out


def same_shape(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether two (width, height) have the same aspect ratio within two percent."""
    return abs(a[0] * b[1] / (a[1] * b[0]) - 1) < 0.02


def fill(times: np.ndarray, known: np.ndarray, values: Array, trust: Array) -> Array:
    """Linear interpolation of rows [K,C] at ``known`` onto ``times`` [N], using rows of some trust.

    All zeros if no row is trusted; ends are held.
    """
    good = np.flatnonzero(trust > MIN_TRUST)
    out = np.zeros((len(times), values.shape[1]), np.float32)
    if len(good):
        for c in range(values.shape[1]):
            out[:, c] = np.interp(times, known[good], values[good, c])
    return out


def face_shown(times: np.ndarray, seen: np.ndarray) -> Array:
    """How far expressions at ``times`` [N] hold, 0..1, when the face was seen at ``seen`` [K] seconds.

    1 within gaps of up to ``GAP_SECONDS``; in longer ones 0 from ``FADE_SECONDS`` off either end.
    """
    if not len(seen):
        return np.zeros(len(times), np.float32)
    after = np.searchsorted(seen, times).clip(0, len(seen))
    before = np.where(after > 0, times - seen[np.maximum(after - 1, 0)], np.inf)
    until = np.where(after < len(seen), seen[np.minimum(after, len(seen) - 1)] - times, np.inf)
    fade = np.clip(1.0 - np.minimum(before, until) / FADE_SECONDS, 0.0, 1.0)
    return np.where(before + until <= GAP_SECONDS, 1.0, fade).astype(np.float32)


def smooth(values: Array, sigma: float) -> Array:
    """Zero-phase Gaussian along time; ``sigma`` in frames."""
    if sigma < 0.2 or len(values) < 3:
        return values
    return gaussian_filter1d(values, sigma, axis=0, mode="nearest").astype(np.float32)


def smooth_rotations(pose: Array, sigma: float) -> Array:
    """Zero-phase Gaussian over axis-angle rotations [N,J,3], through sign-aligned quaternions."""
    if sigma < 0.2 or len(pose) < 3:
        return pose
    quats = Rotation.from_rotvec(pose.reshape(-1, 3)).as_quat().reshape(*pose.shape[:2], 4)
    turned = np.sign((quats[1:] * quats[:-1]).sum(-1))
    quats[1:] *= np.cumprod(np.where(turned < 0, -1.0, 1.0), axis=0)[..., None]
    calm = gaussian_filter1d(quats, sigma, axis=0, mode="nearest").reshape(-1, 4)
    return Rotation.from_quat(calm).as_rotvec().reshape(pose.shape).astype(np.float32)


def bridge_rotations(times: np.ndarray, known: np.ndarray, pose: Array) -> Array:
    """Spherical interpolation of pose [K,J,3] at ``known`` onto ``times`` [N]; ends are held."""
    out = np.empty((len(times), *pose.shape[1:]), np.float32)
    if len(known) == 1:
        out[:] = pose[0]
        return out
    inside = np.clip(times, known[0], known[-1])
    for j in range(pose.shape[1]):
        out[:, j] = Slerp(known, Rotation.from_rotvec(pose[:, j]))(inside).as_rotvec()
    return out
