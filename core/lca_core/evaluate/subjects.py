"""Real subjects: folders of photographs in, a capture of some views and located held-out views out.

The held-out photographs are looked at only to find the person in them: matte, landmarks, pose with the body
shape and focal length of the other views.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lca.errors import InvalidInputError
from lca_core.avatar.fitting import Photo
from lca_core.avatar.refine import photos_of
from lca_core.body.model import BodyModel
from lca_core.capture import Capture, read_clip
from lca_core.capture.fit import fit_body
from lca_core.capture.fit_body import FitBody
from lca_core.capture.fit_targets import build_targets
from lca_core.capture.pipeline import (
    assemble,
    capture_clip,
    matte_frames,
    observe_clip,
    read_faces,
)

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
HELD_OUT = (2, 5)
"""Positions of the held-out views in name order: of eight views 000, 001, 003, 004, 006, 007 go in."""
FEWEST = 4
LOCATING = ((40, 0.04), (80, 0.04), (140, 0.03))
"""(steps, rate) of the fit to held-out photographs; alignment to each avatar follows."""


@dataclass(frozen=True)
class Subject:
    """One person's folder: input photographs and held-out ones, in name order."""

    name: str
    inputs: tuple[Path, ...]
    held_out: tuple[Path, ...]


def media_folder() -> Path:
    """Where the development subjects lie: ``LCA_MEDIA``, else ``../shared/media`` beside the source tree.

    Raises:
        InvalidInputError: neither exists.
    """
    named = os.environ.get("LCA_MEDIA")
    folder = Path(named) if named else Path(__file__).resolve().parents[4] / "shared" / "media"
    if not folder.is_dir():
        raise InvalidInputError(
            f"The folder of sample media {folder.name!r} does not exist; set LCA_MEDIA, or use --dir.",
            reason="MEDIA_MISSING",
        )
    return folder


def split_views(count: int) -> tuple[list[int], list[int]]:
    """Positions of input and held-out views: two of six or more are held out, one of four or five."""
    if count < FEWEST:
        raise InvalidInputError(
            f"{count} photographs are too few: {FEWEST} or more of one person are needed.",
            reason="TOO_FEW_VIEWS",
        )
    # The same places round the person whatever the number of views.
    held = (
        [2]
        if count < 6
        else list(HELD_OUT)
        if count == 8
        else sorted({round(count * p / 8) for p in HELD_OUT})
    )
    return [i for i in range(count) if i not in held], held


def pictures(folder: Path) -> list[Path]:
    """Picture files of a folder in name order; numbers sort as numbers, so 10.png follows 9.png."""
    files = [f for f in folder.iterdir() if f.is_file() and f.suffix.lower() in PICTURES]
    files = [f for f in files if not f.name.startswith(".")]
    return sorted(files, key=lambda f: (not f.stem.isdigit(), int(f.stem) if f.stem.isdigit() else 0, f.name))


def find_subjects(folder: Path) -> list[Subject]:
    """Every sub-folder with photographs, in name order; the folder itself where only it holds some.

    Raises:
        InvalidInputError: there is none.
    """
    if not folder.is_dir():
        raise InvalidInputError(f"{folder} is not a folder.", reason="NOT_A_FOLDER")
    places = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    listed = [(place.name, files) for place in places if (files := pictures(place))]
    if not listed and (files := pictures(folder)):
        listed = [(folder.resolve().name, files)]
    if not listed:
        raise InvalidInputError(
            f"{folder.name} has no sub-folder with photographs; give one folder per person, each with 4 or "
            "more views.",
            reason="NO_SUBJECTS",
        )
    subjects = []
    for name, files in listed:
        inside, held = split_views(len(files)) if len(files) >= FEWEST else (range(len(files)), [])
        subjects.append(Subject(name, tuple(files[i] for i in inside), tuple(files[i] for i in held)))
    return subjects


def capture_inputs(subject: Subject, seed: int = 0) -> Capture:
    """Capture the input views; all of them become references."""
    return capture_clip([str(p) for p in subject.inputs], max_references=8, seed=seed)


def locate(subject: Subject, capture: Capture, seed: int = 0) -> list[Photo]:
    """Find the person of ``capture`` in the held-out photographs: body shape and focal length are given."""
    clip = read_clip([str(p) for p in subject.held_out], max(len(subject.held_out), 1))
    seen = observe_clip(clip)
    index = np.array([o.index for o in seen])
    masks = matte_frames(clip, seen)
    expression, gaze = read_faces(seen, seen)
    targets = build_targets(seen, masks, clip.sizes[index], seed, expression=expression)
    # Photographs of one person share the camera; a picture of another size is taken to be scaled.
    focal = float(capture.Ks[0, 0, 0]) * max(clip.size) / max(capture.image_size)
    fit = fit_body(
        FitBody(BodyModel.load(), seed), targets, focal_px=focal, betas=capture.betas, stages=LOCATING
    )
    found = assemble(clip, seen, masks, fit, expression, gaze, [])
    return photos_of(replace(found, betas=capture.betas))
