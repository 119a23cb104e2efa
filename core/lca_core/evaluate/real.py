"""Real people: avatars from some of a person's photographs, judged in photographs they were not made from.

In: a folder with one sub-folder of views per person. Out: a JSON-ready report and contact sheets. Four
methods stand in every row: ``feedforward`` (ours), ``texture_baseline`` (inverse texture mapping on the
body, nothing learned), ``refined`` (ours after the short fit) and ``from_scratch`` (the fit alone, in the
time of creation plus refinement). Held-out photographs only fit pose, place and focal length, by the same
steps for every method. People are independent: one that fails is reported and the others go on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca.errors import LcaError
from lca_core.evaluate.identity import FaceEmbedder, compare, summary
from lca_core.evaluate.processes import run_apart
from lca_core.evaluate.subjects import Subject, find_subjects

METHODS = ("feedforward", "texture_baseline", "refined", "from_scratch")
METRICS = ("psnr", "ssim", "flip", "iou")
TILE = 300
GREY = 0.5


@dataclass(frozen=True)
class RealOptions:
    """Choices of a run.

    Attributes:
        refine_seconds: time of the refinement, CPU seconds of one core. weights: shipped weights or a file.
        workers: people at the same time; 0 takes one per two... cores, at most the number of people.
        align_steps: steps that place each held-out photograph, for every method. seed: of everything random.
    """

    refine_seconds: float = 30.0
    weights: str = "lca-xs"
    workers: int = 0
    align_steps: int = 100
    seed: int = 0


@dataclass
class Outcome:
    """One person's results: ``report`` is JSON-ready, ``tiles`` label -> picture, embeddings of the
    frontal face."""

    name: str
    report: dict[str, Any]
    tiles: list[tuple[str, NDArray[np.uint8]]] = field(default_factory=list)
    faces: list[tuple[str, NDArray[np.uint8]]] = field(default_factory=list)
    photo_face: NDArray[np.float64] | None = None
    render_face: NDArray[np.float64] | None = None
    other_faces: list[NDArray[np.float64]] = field(default_factory=list)


def evaluate_subject(subject: Subject, options: RealOptions) -> Outcome:
    """All methods on one person; a failure is a result, not an exception."""
    import torch

    torch.set_num_threads(1)
    try:
        return _evaluate(subject, options)
    except LcaError as error:
        return Outcome(subject.name, {"status": "failed", "reason": error.reason, "message": error.message})
    except Exception as error:  # one person's trouble must not cost the others
        return Outcome(
            subject.name, {"status": "failed", "reason": type(error).__name__, "message": str(error)}
        )


def _evaluate(subject: Subject, options: RealOptions) -> Outcome:
    from lca_core.avatar.align import align
    from lca_core.avatar.create import CreateOptions, create_avatar, made_without
    from lca_core.avatar.refine import RefineOptions, refine
    from lca_core.body.model import BodyModel
    from lca_core.evaluate.baselines import SCRATCH, plain, template_model
    from lca_core.evaluate.regions import Regions
    from lca_core.evaluate.subjects import capture_inputs, locate, photos_of, split_views
    from lca_core.model.checkpoint import load_model

    if not subject.held_out:
        split_views(len(subject.inputs))  # raises: too few photographs
    seconds: dict[str, float] = {}
    clock = time.process_time

    def timed(name: str, start: float) -> None:
        seconds[name] = round(clock() - start, 2)

    start = clock()
    capture = capture_inputs(subject, options.seed)
    timed("capture", start)
    start = clock()
    held = locate(subject, capture, options.seed)
    timed("locate_held_out", start)
    start = clock()
    path = Path(options.weights)
    model = load_model(path=path) if path.suffix == ".safetensors" else load_model(options.weights)
    creation = CreateOptions(weights=model.config.name)
    start = clock()
    ours = create_avatar(capture, name=subject.name, model=model, seed=options.seed, options=creation)
    timed("create", start)
    template = create_avatar(
        capture,
        name=subject.name,
        model=template_model(model),
        seed=options.seed,
        # On the body as it was tracked: moving the surface to the masks and the pictures onto each other is
        # part of our method.
        options=replace(creation, outline=False, agree=False),
    )
    photos = photos_of(capture)
    start = clock()
    fit = refine(
        ours,
        photos,
        RefineOptions(seconds=options.refine_seconds, seed=options.seed, clock=clock),
        without=lambda frames: made_without(capture, frames, model, options.seed, creation),
    )
    timed("refine", start)
    start = clock()
    scratch = refine(
        plain(template),
        photos,
        replace(SCRATCH, seconds=seconds["create"] + seconds["refine"], seed=options.seed, clock=clock),
    )
    timed("from_scratch", start)
    avatars = dict(zip(METHODS, (ours, template, fit.avatar, scratch.avatar), strict=True))
    regions = Regions(BodyModel.load(), capture.betas)
    start = clock()
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in METHODS}
    shown: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in METHODS}
    for photo in held:
        boxes = regions.face(photo), regions.hands(photo)
        for name, avatar in avatars.items():
            there = align(avatar, photo, options.align_steps)
            row, picture = _score(avatar, there, *boxes)
            rows[name].append(row)
            shown[name].append(picture)
    timed("judge", start)
    report: dict[str, Any] = {
        "status": "ok",
        "inputs": [p.name for p in subject.inputs],
        "held_out": [p.name for p in subject.held_out],
        "gaussians": ours.gaussian_count,
        "body_iou": round(float(capture.metrics["iou"]), 4),
        "refinement": {
            "kept": fit.kept,
            "reason": fit.reason,
            "steps": fit.steps,
            "share": round(fit.share, 3),
        },
        "seconds": seconds,
    }
    for name in METHODS:
        report[name] = _mean(rows[name]) | {"views": rows[name]}
    report["feedforward_minus_texture_baseline_psnr"] = _difference(report, "feedforward", "texture_baseline")
    report["refine_gain_psnr"] = _difference(report, "refined", "feedforward")
    outcome = Outcome(subject.name, report)
    first = photos[0]
    outcome.tiles = [("input", _small(first.over())), ("input", _small(photos[len(photos) // 2].over()))]
    for i, photo in enumerate(held):
        outcome.tiles.append(("held out", _small(photo.over())))
        outcome.tiles += [(name.replace("_", " "), shown[name][i]) for name in METHODS]
    _identity(outcome, avatars, photos, held, regions)
    return outcome


def _score(avatar: Any, photo: Any, face: Any, hands: Any) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """Scores of an avatar in a photograph and the picture of it."""
    from lca_core.evaluate.metrics import scores

    picture, alpha = draw(avatar, photo)
    truth, mask = photo.over(), photo.mask
    row: dict[str, Any] = {k: round(v, 4) for k, v in scores(picture, alpha, truth, mask).items()}
    if face is not None:
        row["face"] = {k: round(v, 4) for k, v in scores(picture, alpha, truth, mask, face).items()}
    parts = [scores(picture, alpha, truth, mask, box) for box in hands]
    if parts:
        row["hands"] = {k: round(float(np.nanmean([p[k] for p in parts])), 4) for k in METRICS}
    return row, _small(picture)


def draw(avatar: Any, photo: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The avatar in a photograph: colour [H,W,3] over black, coverage [H,W]."""
    import torch

    from lca_core.avatar.fitting import FittedAvatar

    fitted = FittedAvatar(avatar, [photo])
    with torch.no_grad():
        image, alpha = fitted.draw(0, fitted.none())
    return image.clamp(0, 1).numpy(), alpha.clamp(0, 1).numpy()


def _identity(
    outcome: Outcome,
    avatars: dict[str, Any],
    photos: list[Any],
    held: list[Any],
    regions: Any,
) -> None:
    """Embeddings of the most frontal photograph and of the avatars in it; held-out photographs come first."""
    try:
        embed = FaceEmbedder()
    except LcaError as error:
        outcome.report["identity"] = {"skipped": error.message}
        return
    ranked = sorted(
        [(regions.facing(p), k >= len(photos), p) for k, p in enumerate([*photos, *held])],
        key=lambda r: -(r[0] + 0.15 * r[1]),
    )
    found: list[tuple[bool, Any, NDArray[np.float64]]] = []
    for facing, is_held, photo in ranked:
        if facing > 0.3 and (value := embed(photo.image, regions.head_points(photo))) is not None:
            found.append((is_held, photo, value))
        if len(found) == 3:
            break
    if not found:
        outcome.report["identity"] = {"skipped": "No photograph shows a face that can be recognised."}
        return
    is_held, photo, outcome.photo_face = found[0]
    outcome.other_faces = [value for _, _, value in found[1:]]
    facts: dict[str, Any] = {"photo_is_held_out": is_held}
    outcome.faces = [("photo", _face_tile(photo.image, regions.head_points(photo)))]
    for name in METHODS:
        picture, alpha = draw(avatars[name], photo)
        shown = ((picture + GREY * (1 - alpha[..., None])).clip(0, 1) * 255 + 0.5).astype(np.uint8)
        value = embed(shown, regions.head_points(photo))
        outcome.faces.append((name.replace("_", " "), _face_tile(shown, regions.head_points(photo))))
        if name == "feedforward":
            outcome.render_face = value
        similar = None if value is None else round(float(value @ outcome.photo_face), 4)
        facts[f"{name}_similarity"] = similar
        outcome.report[name]["identity_similarity"] = similar
        if similar is not None:
            outcome.report[name]["identity_distance"] = round(float(np.sqrt(max(2 - 2 * similar, 0))), 4)
    outcome.report["identity"] = facts


def _face_tile(image: NDArray[np.uint8], points: NDArray[np.floating]) -> NDArray[np.uint8]:
    from PIL import Image

    low, high = points.min(0), points.max(0)
    side, middle = float((high - low).max()) * 1.3, (low + high) / 2
    x0, y0 = (int(v) for v in np.round(middle - side / 2))
    crop = Image.fromarray(np.ascontiguousarray(image)).crop((x0, y0, int(x0 + side), int(y0 + side)))
    return np.asarray(crop.resize((160, 160), Image.Resampling.BICUBIC))


def _small(picture: NDArray[np.floating]) -> NDArray[np.uint8]:
    from lca_core.avatar.pictures import fit_height

    return fit_height((picture.clip(0, 1) * 255 + 0.5).astype(np.uint8), TILE)


def _mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over views of every metric, also of faces and hands."""
    out: dict[str, Any] = {k: round(float(np.mean([r[k] for r in rows])), 4) for k in METRICS}
    for part in ("face", "hands"):
        having = [r[part] for r in rows if part in r]
        if having:
            out[part] = {k: round(float(np.nanmean([r[k] for r in having])), 4) for k in METRICS}
    return out


def _difference(report: dict[str, Any], a: str, b: str, metric: str = "psnr") -> float:
    return round(report[a][metric] - report[b][metric], 4)


def evaluate_real(
    folder: Path, options: RealOptions | None = None, progress: Callable[[str], None] | None = None
) -> tuple[dict[str, Any], list[Outcome]]:
    """Evaluate every person in ``folder``.

    Args:
        progress: called with one line whenever a person is done.

    Returns:
        The report (see docs/evaluation.md) and the single outcomes in name order.

    Raises:
        InvalidInputError: the folder holds no people.
    """
    options = options or RealOptions()
    subjects = find_subjects(folder)
    tell = progress or (lambda line: None)
    start = time.perf_counter()
    workers = min(options.workers or os.cpu_count() or 1, len(subjects), 8)
    outcomes: dict[str, Outcome] = {}

    def done(outcome: Outcome) -> None:
        outcomes[outcome.name] = outcome
        r = outcome.report
        said = (
            f"{r['feedforward']['psnr']:.2f} dB, refined {r['refined']['psnr']:.2f} dB"
            if r["status"] == "ok"
            else r["message"]
        )
        tell(f"{outcome.name} ({len(outcomes)} of {len(subjects)}): {said}")

    for outcome in run_apart(evaluate_subject, [(s, options) for s in subjects], workers, _crashed):
        done(outcome)
    ordered = [outcomes[s.name] for s in subjects]
    report = summarise(ordered)
    report["seconds"] = round(time.perf_counter() - start, 1)
    report["workers"] = workers
    return report, ordered


def _crashed(subject: Subject, options: RealOptions) -> Outcome:
    """The outcome of a person whose process died, e.g. for want of memory."""
    return Outcome(
        subject.name,
        {
            "status": "failed",
            "reason": "CRASHED",
            "message": "The process of this person died, most likely for want of memory; try --workers 1.",
        },
    )


def summarise(outcomes: list[Outcome]) -> dict[str, Any]:
    """Means over people that could be captured, and who resembles whom."""
    good = [o.report for o in outcomes if o.report["status"] == "ok"]
    mean: dict[str, Any] = {}
    for name in METHODS if good else ():
        mean[name] = _mean([r[name] for r in good])
        similar = [s for r in good if (s := r[name].get("identity_similarity")) is not None]
        mean[name]["identity_similarity"] = round(float(np.mean(similar)), 4) if similar else None
    who = compare({o.name: o.photo_face for o in outcomes}, {o.name: o.render_face for o in outcomes})
    same = [float(o.photo_face @ v) for o in outcomes if o.photo_face is not None for v in o.other_faces]
    different = [
        float(a.photo_face @ b.photo_face)
        for i, a in enumerate(outcomes)
        for b in outcomes[:i]
        if a.photo_face is not None and b.photo_face is not None
    ]
    report: dict[str, Any] = {
        "protocol": "real",
        "subjects": {o.name: o.report for o in outcomes},
        "captured": len(good),
        "failed": [o.name for o in outcomes if o.report["status"] != "ok"],
        "mean": mean,
        "identity": who
        | {"same_person_photos": summary(same), "different_people_photos": summary(different)},
        "identity_top1": round(who["top1"] / who["compared"], 4) if who["compared"] else None,
        "identity_top1_count": who["top1"],
        "identity_compared": who["compared"],
    }
    for key, a, b, metric in (
        ("feedforward_minus_texture_baseline_psnr", "feedforward", "texture_baseline", "psnr"),
        ("feedforward_minus_texture_baseline_flip", "feedforward", "texture_baseline", "flip"),
        ("refine_gain_psnr", "refined", "feedforward", "psnr"),
        ("refined_minus_from_scratch_psnr", "refined", "from_scratch", "psnr"),
    ):
        report[key] = _difference(mean, a, b, metric) if good else None
    return report
