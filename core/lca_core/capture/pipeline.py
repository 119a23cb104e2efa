"""The whole path of this room: a clip or photos in, a :class:`Capture` (or :class:`Motion`) out.

decode -> landmarks of sampled frames -> reference choice -> mattes -> joint body fit -> expressions.
Every stage reports progress as (stage, fraction, message); a report may raise to cancel.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from lca.errors import InvalidInputError, NoPersonFoundError
from lca_core.body.model import BodyModel
from lca_core.body.names import HEAD_JOINTS, JOINT_INDEX, JOINT_NAMES, NUM_ARKIT

from .debug import contact_sheet, labelled, overlay, project_joints
from .decode import Clip, DecodeLimits, read_clip
from .exposure import brightened
from .expression import (
    closed_lips,
    expression_confidence,
    expression_weights,
    eye_rotations,
    gaze_angles,
    personal_neutral,
)
from .face import FaceTracker
from .facing import settle_facing
from .fit import TRACKED_WEIGHTS, FitResult, FitWeights, fit_body
from .fit_body import BODY_LINKS, LINK_POINTS, FitBody
from .fit_targets import build_targets, point_confidence
from .hands import HandTracker
from .leg_gap import open_leg_gap
from .masks import refine_mask
from .networks import Array
from .plugins import TrackSource
from .pose import POSE_INDEX, PoseTracker
from .quality import silhouette_iou
from .select import Observation, choose, choose_frames, frame_report, moved, observe
from .tracks import Tracks, apply_tracks, tracks_focal
from .types import CAMERA_FROM_WORLD, Capture, intrinsics

Report = Callable[[str, float, str], None]
MediaPath = str | os.PathLike[str] | list[str | os.PathLike[str]]

STAGES: list[tuple[str, float]] = [
    ("decode", 2.0), ("detect", 3.0), ("masks", 1.5), ("fit", 5.0), ("expression", 0.3),
]  # fmt: skip
"""Stage names in order with typical seconds; feed them to ``lca_core.progress.Progress``."""

SIDES, SHIN = ("left", "right"), ("knee", "ankle")
SAMPLED_FRAMES = 48
LOOKED_AT = 24
"""Of a clip's samples every second is looked at first, the ones between only where the person moves."""
MOVING = 0.08
"""Metres of the mean joint between two looked-at samples that count as moving."""
MIN_COVERAGE = 0.3
"""A frame counts as showing a person when this share of the main joints is visible, or its face is."""
MIN_SHARE = 0.25
"""A clip counts as showing a person when this share of its sampled frames does."""


def silent(stage: str, fraction: float, message: str) -> None:
    """Report to nobody."""


def capture_clip(
    path: MediaPath,
    *,
    max_references: int = 8,
    report: Report | None = None,
    seed: int = 0,
    focal_px: float | None = None,
    height_m: float | None = None,
    limits: DecodeLimits | None = None,
    debug_sheet: str | os.PathLike[str] | None = None,
    tracks: str | os.PathLike[str] | Tracks | None = None,
) -> Capture:
    """Capture one person from a clip, a photo, a photo folder or a list of photos.

    Args:
        path: what to read.
        max_references: at most this many reference frames, 1-16.
        report: called with (stage, fraction 0..1, message); stages are ``STAGES``. May raise to cancel.
        seed: of the samples drawn in the fit; the same seed gives the same result on the same machine.
        focal_px: focal length in pixels of the decoded frames (longer side at most 1920), if known; EXIF is
            used for photos. Otherwise a prior decides, and size and distance are only known up to a common
            factor.
        height_m: standing height in metres, if known.
        limits: what the file may cost.
        debug_sheet: write a contact sheet PNG of the fit here, and beside it (same name, ``.json``) which
            frames were looked at, which were taken, and why.
        tracks: landmarks of another tracker for this clip (``tracks.npz``, or ``"tracker:NAME"`` to run an
            installed one); they replace ours where present.

    Raises:
        MediaUnreadableError: the media cannot be decoded.
        NoPersonFoundError: no person in enough frames.
        InvalidInputError: an argument is out of range.
    """
    report = report or silent
    check_options(max_references, focal_px, height_m)
    source = TrackSource(tracks)
    report("decode", 0.0, "Reading the clip.")
    clip = read_clip(path, max(SAMPLED_FRAMES, max_references), limits=limits)
    report("decode", 1.0, f"{len(clip)} of {clip.frame_count} frames read.")
    foreign = source.read(clip)
    seen = settle(observe_samples(clip, report), clip)
    if foreign is not None:
        seen = apply_tracks(seen, foreign, clip.frame_index, clip.size)
        focal_px = focal_px or tracks_focal(foreign, clip.size)
    labels = [f"frame {i} ({t:.1f} s)" for i, t in zip(clip.frame_index, clip.timestamps, strict=True)]
    if clip.kind == "images":
        labels = [f"photo {i + 1}" for i in clip.frame_index]
    chosen, notes = choose_frames(seen, max_references, kind=clip.kind, labels=labels)
    index = np.array([o.index for o in chosen])
    if any(brightened(f) is not f for f in clip.frames[index]):
        notes.append("The clip is dark; film in good light for true colours and clean edges.")
    corrected = sum(o.turned for o in seen)
    if corrected:
        notes.append(
            f"Front and back were mistaken in {corrected} of {len(seen)} frames and set right by the face "
            "and the frames around them; light the face."
        )
    masks = matte_frames(clip, chosen, report)
    body = BodyModel.load()
    report("fit", 0.0, f"Fitting the body to {len(chosen)} frames.")
    expression, gaze = read_faces(seen, chosen)
    targets = build_targets(chosen, masks, clip.sizes[index], seed, expression=expression)
    fit = fit_body(
        FitBody(body, seed, own_links=foreign is None),
        targets,
        focal_px=focal_px or clip.focal_px,
        height_m=height_m,
        weights=FitWeights() if foreign is None else TRACKED_WEIGHTS,
        report=lambda f: report("fit", f, ""),
    )
    report("expression", 0.0, "Reading expressions.")
    capture = assemble(clip, chosen, masks, fit, expression, gaze, notes)
    valid = [m[:h, :w] for m, (w, h) in zip(masks, clip.sizes[index], strict=True)]
    iou = silhouette_iou(body, fit.betas, fit.pose, fit.transl, capture.Ks, valid)
    capture = replace(
        capture, metrics=capture.metrics | {"iou": float(iou.mean()), "iou_min": float(iou.min())}
    )
    if debug_sheet is not None:
        draw_capture(capture, fit.joints, debug_sheet)
        choice = choose(seen, max_references, kind=clip.kind)
        table = frame_report(seen, choice, clip.frame_index.tolist(), clip.timestamps.tolist())
        Path(debug_sheet).with_suffix(".json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    report("expression", 1.0, "The clip is captured.")
    return capture


def check_options(max_references: int, focal_px: float | None, height_m: float | None) -> None:
    """Raise InvalidInputError for numbers that cannot be meant."""
    if not 1 <= max_references <= 16:
        raise InvalidInputError(f"max_references is {max_references}; give a number from 1 to 16.")
    if focal_px is not None and not 50 <= focal_px <= 50000:
        raise InvalidInputError(f"focal_px is {focal_px}; give the focal length in pixels, e.g. 1500.")
    if height_m is not None and not 1.2 <= height_m <= 2.3:
        raise InvalidInputError(f"height_m is {height_m}; give an adult's height in metres, 1.2 to 2.3.")


def observe_samples(clip: Clip, report: Report = silent) -> list[Observation]:
    """Look at every second sample of a clip, and between two that differ at the one between.

    A moving person is sharp only for moments; twice the samples there find more of them, and a person who
    stands still costs nothing more.

    Raises:
        NoPersonFoundError: as in :func:`observe_clip`.
    """
    if len(clip) <= LOOKED_AT or clip.kind == "images":
        return observe_clip(clip, report)
    seen = observe_clip(clip, report, only=list(range(0, len(clip), 2)))
    pairs = itertools.pairwise(seen)
    between = [a.index + 1 for a, b in pairs if b.index == a.index + 2 and moved(a, b) > MOVING]
    if between:
        seen = sorted(seen + observe_clip(clip, report, only=between, least=0), key=lambda o: o.index)
    return seen


def observe_clip(
    clip: Clip, report: Report = silent, *, only: list[int] | None = None, least: float = MIN_SHARE
) -> list[Observation]:
    """Run all landmark networks over the sampled frames.

    Args:
        only: look at these samples instead of all.
        least: share of them that must show a person.

    Raises:
        NoPersonFoundError: fewer than ``MIN_SHARE`` of the frames show a person.
    """
    pose_tracker, hand_tracker, face_tracker = PoseTracker(), HandTracker(), FaceTracker()
    seen: list[Observation] = []
    look = list(range(len(clip))) if only is None else only
    for n, i in enumerate(look):
        report("detect", n / len(look), f"Looking for the person, frame {n + 1} of {len(look)}.")
        width, height = (int(n) for n in clip.sizes[i])
        view = brightened(np.ascontiguousarray(clip.frames[i][:height, :width]))
        pose = pose_tracker(view)
        if pose is None:
            continue
        observation = observe(
            i, view, (width, height), pose, hand_tracker(view, pose), face_tracker(view, pose)
        )
        if observation.coverage >= MIN_COVERAGE or observation.face is not None:
            seen.append(observation)
    if least > 0 and len(seen) < max(1.0, least * len(look)):
        raise NoPersonFoundError(
            f"A person is visible in only {len(seen)} of {len(look)} sampled frames; film one person with "
            "the whole body in the picture, in good light.",
            metadata={"frames_with_person": str(len(seen)), "frames_sampled": str(len(look))},
        )
    report("detect", 1.0, f"Person found in {len(seen)} of {len(look)} frames.")
    return seen


def settle(seen: list[Observation], clip: Clip) -> list[Observation]:
    """Observations of ``clip`` with front and back settled; photos do not vouch for each other."""
    times = clip.timestamps[[o.index for o in seen]] if clip.kind == "video" else None
    return settle_facing(seen, times)


def matte_frames(clip: Clip, chosen: list[Observation], report: Report = silent) -> list[Array]:
    """Refined mattes [H,W] of the chosen frames, in the padded frame size."""
    masks = []
    for n, o in enumerate(chosen):
        report("masks", n / len(chosen), f"Cutting out frame {n + 1} of {len(chosen)}.")
        width, height = (int(v) for v in clip.sizes[o.index])
        view = np.ascontiguousarray(clip.frames[o.index][:height, :width])
        full = np.zeros(clip.frames.shape[1:3], np.float32)
        if clip.alpha is not None and clip.alpha[o.index].min() < 128:  # somebody cut the person out already
            masks.append(clip.alpha[o.index].astype(np.float32) / 255.0)
            continue
        matte = refine_mask(view, o.pose.mask, [h.points for h in o.hands if h is not None])
        knees, ankles = (o.pose.points[[POSE_INDEX[f"{side}_{joint}"] for side in SIDES]] for joint in SHIN)
        full[:height, :width] = open_leg_gap(view, matte, knees, ankles)
        masks.append(full)
    report("masks", 1.0, "")
    return masks


def read_faces(seen: list[Observation], chosen: list[Observation]) -> tuple[Array, Array]:
    """Expression weights [T,52] and gaze [T,2,2] of the chosen frames, calibrated on all ``seen`` frames."""
    faces = [o.face for o in seen]
    neutral = personal_neutral(faces, np.array([o.face_sharpness for o in seen], np.float32))
    closed = closed_lips(faces)
    gaze_by_index = dict(zip([o.index for o in seen], gaze_angles(faces), strict=True))
    expression = np.zeros((len(chosen), NUM_ARKIT), np.float32)
    for row, o in zip(expression, chosen, strict=True):
        if o.face is not None:
            row[:] = expression_weights(o.face, neutral, closed)
    return expression, np.stack([gaze_by_index[o.index] for o in chosen])


def assemble(
    clip: Clip,
    chosen: list[Observation],
    masks: list[Array],
    fit: FitResult,
    expression: Array,
    gaze: Array,
    notes: list[str],
) -> Capture:
    """Put fit, expressions [T,52], gaze [T,2,2] and confidences together."""
    index = np.array([o.index for o in chosen])
    pose = fit.pose.copy()
    pose[:, [JOINT_INDEX["left_eye_smplhf"], JOINT_INDEX["right_eye_smplhf"]]] = eye_rotations(gaze)
    conf = {
        "body": np.array([o.pose.score * o.coverage for o in chosen], np.float32),
        "face": np.array([o.face.score if o.face else 0.0 for o in chosen], np.float32),
        "left_hand": np.array([o.hands[0].score if o.hands[0] else 0.0 for o in chosen], np.float32),
        "right_hand": np.array([o.hands[1].score if o.hands[1] else 0.0 for o in chosen], np.float32),
        "expression": np.array([expression_confidence(o.face) for o in chosen], np.float32),
    }
    conf["joints"] = np.stack([joint_confidence(o, clip.sizes[o.index]) for o in chosen])
    return Capture(
        frames=clip.frames[index],
        masks=np.stack(masks).astype(np.float32),
        Ks=intrinsics(fit.focal, clip.sizes[index]),
        viewmats=np.repeat(CAMERA_FROM_WORLD[None], len(chosen), 0),
        betas=fit.betas,
        pose=pose,
        transl=fit.transl,
        expression=expression,
        gaze=gaze,
        conf=conf,
        frame_index=clip.frame_index[index],
        timestamps=clip.timestamps[index],
        image_size=clip.size,
        sizes=clip.sizes[index],
        height_m=fit.height,
        notes=notes,
        metrics={
            "body_error_percent": float(fit.body_error.mean()),
            "body_error_percent_median": float(np.median(fit.body_error)),
            "hand_error_px": fit.hand_error if np.isfinite(fit.hand_error) else None,
            "face_error_px": fit.face_error if np.isfinite(fit.face_error) else None,
            "focal_px": fit.focal,
            "body_yaw_degrees": [round(float(np.degrees(o.yaw)), 1) for o in chosen],
        },
    )


def joint_confidence(o: Observation, size: Array) -> Array:
    """Confidence [55]: landmark confidence for limbs, hand score for fingers, body score elsewhere."""
    links = point_confidence(o.pose, size)[LINK_POINTS]
    out = np.full(len(JOINT_NAMES), o.pose.score * o.coverage, np.float32)
    for value, (_, part) in zip(links, BODY_LINKS, strict=True):
        if part in JOINT_INDEX:
            out[JOINT_INDEX[part]] = value
    for k in (0, 1):
        hand = o.hands[k]
        out[25 + 15 * k : 40 + 15 * k] = hand.score if hand is not None else 0.0
    out[list(HEAD_JOINTS)] = o.face.score if o.face is not None else 0.3
    return out


def draw_capture(capture: Capture, joints: Array, path: str | os.PathLike[str]) -> None:
    """Write a contact sheet of mask outlines and skeletons (joints [T,55,3] world metres).

    Above each frame stand its number and why it was taken: the first notes, one per frame.
    """
    notes = capture.notes[: len(capture)]
    tiles = [
        labelled(overlay(frame, mask, project_joints(j, k, v)), note)
        for frame, mask, j, k, v, note in zip(
            capture.frames, capture.masks, joints, capture.Ks, capture.viewmats, notes, strict=True
        )
    ]
    contact_sheet(tiles, Path(path))
