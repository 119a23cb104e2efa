"""Synthetic people with exact truth: avatars from four studio views, judged in new views, poses,
expressions and hands.

In: the four cells of ``lca_core.data.splits`` (seen or new identity x seen or new garment). Out: a
JSON-ready report. Pose and cameras of the input are exact, so that the network is measured and not the body
fit; the avatar is what ``lca create`` makes and what every client plays (the baked rig). The same people
are made once more from their front view alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_core.evaluate.metrics import scores
from lca_core.evaluate.processes import run_apart

CELLS = {
    "seen_identity_seen_garment": "seen-seen",
    "seen_identity_new_garment": "seen-new",
    "new_identity_seen_garment": "new-seen",
    "new_identity_new_garment": "new-new",
}
"""Report keys and the names of ``lca_core.data.splits``."""
METRICS = ("psnr", "ssim", "flip", "iou")
SIZE = 384
TILE = 220
INPUT_YAWS = (0.0, 90.0, 180.0, 270.0)
POSES = 2
"""New poses per person, each from a new direction."""


@dataclass(frozen=True)
class SyntheticOptions:
    """Choices of a run: people per cell, weights (shipped or a file), people at the same time, seed."""

    people: int = 8
    weights: str = "lca-xs"
    workers: int = 0
    seed: int = 0


@dataclass
class Person:
    """Scores of one person: task -> method -> metric; tiles for the sheet."""

    cell: str
    index: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    tiles: list[tuple[str, NDArray[np.uint8]]] = field(default_factory=list)
    seconds: float = 0.0


def evaluate_person(cell: str, index: int, options: SyntheticOptions) -> Person:
    """Make and judge one person of a cell."""
    import torch

    from lca_core.avatar.animate import Animator
    from lca_core.avatar.create import CreateOptions, create_avatar
    from lca_core.avatar.frame import PoseFrame
    from lca_core.data import motion, uv_bake
    from lca_core.data.people import Person as Dressed
    from lca_core.data.samples import background, fit_camera, sample_light
    from lca_core.data.splits import cell_identity
    from lca_core.model.checkpoint import load_model
    from lca_core.splat import render

    torch.set_num_threads(1)
    start = time.perf_counter()
    path = Path(options.weights)
    model = load_model(path=path) if path.suffix == ".safetensors" else load_model(options.weights)
    person = Dressed(cell_identity(CELLS[cell], index))
    rng = np.random.default_rng([options.seed, list(CELLS).index(cell), index])
    light = sample_light(rng)
    scene = uv_bake.layered_scene(person)
    used = np.unique(person.faces)

    def shot(
        pose: Any, yaw: float, pitch: float, points: NDArray | None = None, distance: float = 3.5
    ) -> _Shot:
        posed = person.posed(pose.joints, pose.transl, pose.expression, pose.gaze)
        scene.pose(posed)
        target = posed[used] if points is None else points
        k, viewmat = fit_camera(target, np.radians(yaw), pitch, distance, SIZE, SIZE, 0.9, np.zeros(2))
        frame = scene.render(k, viewmat, SIZE, SIZE, light, samples=2)
        image = frame.composite(background(rng, SIZE, SIZE))
        return _Shot(image, frame.composite(0.0), np.asarray(frame.coverage, np.float32), k, viewmat, pose)

    standing = motion.random_pose(rng, "a_pose")
    inputs = [shot(standing, yaw + rng.normal(0, 4), rng.uniform(-0.05, 0.2)) for yaw in INPUT_YAWS]
    avatars = {}
    for name, taken in (("four", inputs), ("single", inputs[:1])):
        capture = _capture(taken, person.betas)
        made = create_avatar(
            capture, name=f"{cell} {index}", model=model, seed=options.seed, options=CreateOptions()
        )
        avatars[name] = Animator(made)
    targets: list[tuple[str, _Shot]] = [
        ("view", shot(standing, rng.uniform(25, 65) * rng.choice([-1, 1]), rng.uniform(0, 0.3))),
        ("view", shot(standing, 180 + rng.uniform(25, 65) * rng.choice([-1, 1]), rng.uniform(0, 0.3))),
    ]
    for k in range(POSES):
        turn = rng.uniform(-180, 180) if k else rng.uniform(-40, 40)
        targets.append(("pose", shot(motion.random_pose(rng), turn, rng.uniform(-0.05, 0.35))))
    face = motion.random_pose(rng, "stand")
    joints = _joints(avatars["four"], face)
    head = joints[[15, 23, 24]].mean(0) + np.array([0, 0.02, 0])
    box = head + 0.13 * np.array([[-1, -1, -1], [1, 1, 1]])
    targets.append(("face", shot(face, np.degrees(_yaw(face)) + rng.uniform(-25, 25), 0.0, box, 1.6)))
    hands = motion.random_pose(rng, "a_pose")
    joints = _joints(avatars["four"], hands)
    for low in (25, 40):
        spread = joints[low : low + 15]
        middle, reach = (spread.min(0) + spread.max(0)) / 2, 0.11
        box = middle + reach * np.array([[-1, -1, -1], [1, 1, 1]])
        targets.append(("hands", shot(hands, rng.uniform(-30, 30), 0.25, box, 1.6)))
    out = Person(cell, index)
    out.tiles = [("input", _tile(inputs[0].over)), ("input", _tile(inputs[2].over))]
    for task, truth in targets:
        # The eyes of the synthetic people turn by the gaze, as those of the avatar do.
        frame = PoseFrame(truth.pose.transl, truth.pose.joints, truth.pose.expression, truth.pose.gaze)
        real = truth.over.astype(np.float32) / 255
        row: dict[str, Any] = {"task": task}
        shown = []
        for name, animator in avatars.items():
            g = animator.evaluate(frame)
            image, alpha, _ = render(
                g.means, g.quats, g.scales, g.opacities, g.colors(),
                torch.from_numpy(truth.viewmat.astype(np.float32))[None],
                torch.from_numpy(truth.k.astype(np.float32))[None], SIZE, SIZE,
            )  # fmt: skip
            picture = image[0].clamp(0, 1).numpy()
            row[name] = {
                k: round(v, 4) for k, v in scores(picture, alpha[0, ..., 0].numpy(), real, truth.mask).items()
            }
            shown.append((f"{task} {name}", _tile((picture * 255 + 0.5).astype(np.uint8))))
        out.rows.append(row)
        if task != "hands" or len(out.tiles) < 16:
            out.tiles += [(f"{task} truth", _tile(truth.over)), *shown]
    out.seconds = round(time.perf_counter() - start, 1)
    return out


@dataclass(frozen=True)
class _Shot:
    """A rendered photograph: over a background, over black (uint8 [S,S,3]), matte, camera, pose."""

    image: NDArray[np.uint8]
    over: NDArray[np.uint8]
    mask: NDArray[np.float32]
    k: NDArray[np.float64]
    viewmat: NDArray[np.float64]
    pose: Any


def _capture(shots: list[_Shot], betas: NDArray[np.floating]) -> Any:
    """A capture with exact parameters."""
    import torch

    from lca_core.body.model import BodyModel
    from lca_core.capture.fit_body import FitBody
    from lca_core.capture.types import Capture

    count = len(shots)
    height = float(FitBody(BodyModel.load(), 0).height(torch.as_tensor(np.asarray(betas, np.float32))))
    return Capture(
        frames=np.stack([s.image for s in shots]),
        masks=np.stack([s.mask for s in shots]).astype(np.float32),
        Ks=np.stack([s.k for s in shots]).astype(np.float32),
        viewmats=np.stack([s.viewmat for s in shots]).astype(np.float32),
        betas=np.asarray(betas, np.float32),
        pose=np.stack([s.pose.joints for s in shots]),
        transl=np.stack([s.pose.transl for s in shots]),
        expression=np.stack([s.pose.expression for s in shots]),
        gaze=np.stack([s.pose.gaze for s in shots]),
        conf={},
        frame_index=np.arange(count),
        timestamps=np.arange(count, dtype=np.float64),
        image_size=(SIZE, SIZE),
        sizes=np.full((count, 2), SIZE),
        height_m=height,
    )


def _joints(animator: Any, pose: Any) -> NDArray[np.float32]:
    from lca_core.avatar.frame import PoseFrame

    joints: NDArray[np.float32] = animator.joints(
        PoseFrame(pose.transl, pose.joints, pose.expression, pose.gaze)
    )
    return joints


def _yaw(pose: Any) -> float:
    """Where the head looks, radians about the vertical."""
    import torch

    from lca_core.body.lbs import joint_transforms
    from lca_core.body.names import JOINT_PARENTS
    from lca_core.body.rotation import axis_angle_to_matrix

    rotations = axis_angle_to_matrix(torch.from_numpy(np.asarray(pose.joints, np.float32)))
    _, transforms = joint_transforms(rotations[None], torch.zeros(1, 55, 3), JOINT_PARENTS)
    forward = transforms[0, 15, :3, 2].numpy()
    return float(np.arctan2(forward[0], forward[2]))


def _tile(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from lca_core.avatar.pictures import fit_height

    return fit_height(image, TILE)


def evaluate_synthetic(
    options: SyntheticOptions | None = None, progress: Callable[[str], None] | None = None
) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """Evaluate ``people`` of every cell.

    Returns:
        The report (see docs/evaluation.md) and a sheet of the first person of every cell, uint8 [H,W,3].
    """
    from lca_core.avatar.pictures import sheet

    options = options or SyntheticOptions()
    tell = progress or (lambda line: None)
    start = time.perf_counter()
    jobs = [(cell, i) for i in range(options.people) for cell in CELLS]
    workers = min(options.workers or os.cpu_count() or 1, len(jobs), 8)
    people: list[Person] = []

    def done(person: Person) -> None:
        people.append(person)
        values = [r["four"]["psnr"] for r in person.rows if r["task"] in ("view", "pose")]
        tell(f"{person.cell} {person.index} ({len(people)} of {len(jobs)}): {np.mean(values):.2f} dB")

    for person in run_apart(evaluate_person, [(*job, options) for job in jobs], workers):
        done(person)
    people.sort(key=lambda p: (list(CELLS).index(p.cell), p.index))
    report = summarise(people)
    report |= {
        "seconds": round(time.perf_counter() - start, 1),
        "workers": workers,
        "people_per_cell": options.people,
    }
    report |= _weights(options)
    firsts = [p.tiles for p in people if p.index == 0]
    return report, sheet(firsts)


def summarise(people: list[Person]) -> dict[str, Any]:
    """Means of the cells and tasks; the drop from four images to one."""
    report: dict[str, Any] = {"protocol": "synthetic"}
    body = [(p, r) for p in people for r in p.rows if r["task"] in ("view", "pose")]
    for cell in CELLS:
        rows = [r for p, r in body if p.cell == cell]
        report[cell] = _means([r["four"] for r in rows]) | {
            "single_image": _means([r["single"] for r in rows]),
            "novel_view": _means([r["four"] for r in rows if r["task"] == "view"]),
            "novel_pose": _means([r["four"] for r in rows if r["task"] == "pose"]),
            "people": len({p.index for p, _ in body if p.cell == cell}),
            "each": [_one(p) for p in people if p.cell == cell],
            "pictures": len(rows),
        }
    for task in ("face", "hands"):
        rows = [r for p in people for r in p.rows if r["task"] == task]
        report[task] = _means([r["four"] for r in rows]) | {"pictures": len(rows)}
        new = [
            r for p in people for r in p.rows if r["task"] == task and p.cell == "new_identity_new_garment"
        ]
        report[task]["new_identity_new_garment"] = _means([r["four"] for r in new])
    four, single = (_means([r[k] for _, r in body]) for k in ("four", "single"))
    report["mean"] = four
    report["single_image"] = single
    report["single_image_drop_psnr"] = round(four["psnr"] - single["psnr"], 4)
    return report


def _one(person: Person) -> dict[str, float]:
    """One person's PSNR over views and poses, from four pictures and from one."""
    rows = [r for r in person.rows if r["task"] in ("view", "pose")]
    return {k: round(float(np.mean([r[k]["psnr"] for r in rows])), 2) for k in ("four", "single")}


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {k: round(float(np.nanmean([r[k] for r in rows])), 4) for k in METRICS}


def _weights(options: SyntheticOptions) -> dict[str, Any]:
    from lca_core.model.checkpoint import read_info, weights_path

    path = Path(options.weights)
    info = read_info(path if path.suffix == ".safetensors" else weights_path(options.weights))
    return {"weights": {"config": info.config.name, "sha256": info.sha256}}


def markdown(report: dict[str, Any]) -> str:
    """The tables of the report."""
    lines = [
        "| cell | PSNR dB | SSIM | FLIP | IoU | novel view | novel pose | single image |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for cell in CELLS:
        r = report[cell]
        numbers = [f"{r['psnr']:.2f}", f"{r['ssim']:.3f}", f"{r['flip']:.3f}", f"{r['iou']:.3f}"]
        numbers += [f"{r[k]['psnr']:.2f}" for k in ("novel_view", "novel_pose", "single_image")]
        lines.append("| " + " | ".join([cell.replace("_", " "), *numbers]) + " |")
    for task in ("face", "hands"):
        r = report[task]
        lines.append(
            f"| {task} | {r['psnr']:.2f} | {r['ssim']:.3f} | {r['flip']:.3f} | {r['iou']:.3f} | | | |"
        )
    lines += ["", f"Single image instead of four: {report['single_image_drop_psnr']:.2f} dB less.", ""]
    count = max(len(report[cell]["each"]) for cell in CELLS)
    lines += ["| four pictures / one |" + "".join(f" {i} |" for i in range(count)), "|---|" + "---|" * count]
    for cell in CELLS:
        each = "".join(f" {one['four']:.1f} / {one['single']:.1f} |" for one in report[cell]["each"])
        lines.append(f"| {cell.replace('_', ' ')} |{each}")
    return "\n".join(lines) + "\n"
