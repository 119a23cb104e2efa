"""How well capture reads people: on real clips against its own landmarks, on a synthetic clip against truth.

Run ``lca bench capture [--media FOLDER] [--json [FILE]]``. Real clips have no ground truth: reprojection and
overlap rate the fit, not the landmarks. The overlap is that of the dressed avatar; the bare body must stay
below it, or it wears the clothes as fat. Synthetic people (the shipped clip and four held-out ones, rendered
on the spot) have known pose, shape, camera and expression. CPU seconds are process time with one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parts.people import Truth, write_person
from PIL import Image

from lca_core.avatar.animate import Animator
from lca_core.avatar.create import create_avatar
from lca_core.avatar.frame import PoseFrame
from lca_core.body.model import BodyModel
from lca_core.body.names import ARKIT_INDEX, JOINT_INDEX
from lca_core.capture import Capture, capture_clip, read_clip
from lca_core.capture.motion import capture_motion
from lca_core.capture.pipeline import observe_clip
from lca_core.data.sample_clip import sample_clip_path
from lca_core.splat import render

CLIPS = ("demo.mp4", "dance.mp4")
LOOKED_AT = 30
PEOPLE = (910_010, 910_011, 910_012, 910_013)
"""Identities of the generator's test split; only the last was never looked at while the capture was built."""
GUESSED_HEIGHT = PEOPLE[0]
"""The person captured a second time without a height: once is enough to state the error."""
FITTED = 8
MOTION_FRAMES = 83
PROTOTYPE_HANDS = {"demo.mp4": (8, 27)}
"""Left and right hands that the prototype's wrist crop found in 30 frames."""
FRONTAL = np.radians(40.0)
FINGERS = {0: range(25, 40), 1: range(40, 55)}
WRISTS = (JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"])


def aligned_error(a: np.ndarray, b: np.ndarray) -> float:
    """Mean distance in mm after the best similarity transform of a [N,3] onto b (PA-MPJPE)."""
    x, y = a - a.mean(0), b - b.mean(0)
    u, s, vt = np.linalg.svd(x.T @ y)
    d = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    scale = (s * d).sum() / (x**2).sum()
    return 1000 * float(np.linalg.norm(scale * x @ (u @ np.diag(d) @ vt) - y, axis=1).mean())


def clothed_iou(capture: Capture, side: int = 480) -> float:
    """Mean overlap of the dressed avatar, drawn in the fitted poses, with the mattes of the clip."""
    animator = Animator(create_avatar(capture))
    scores = []
    for i, mask in enumerate(capture.masks):
        width, height = (int(n) for n in capture.sizes[i])
        scale = side / max(width, height)
        size = round(width * scale), round(height * scale)
        view = torch.as_tensor(capture.viewmats[i])[None]
        k = torch.as_tensor(np.diag([scale, scale, 1.0]).astype(np.float32) @ capture.Ks[i])[None]
        g = animator.evaluate(
            PoseFrame(capture.transl[i], capture.pose[i], capture.expression[i], capture.gaze[i])
        )
        _, alpha, _ = render(
            g.means, g.quats, g.scales, g.opacities, g.sh, view, k, *size, sh_degree=g.sh_degree
        )
        solid = Image.fromarray((mask[:height, :width] * 255).astype(np.uint8)).resize(size)
        drawn, wanted = alpha[0, ..., 0].numpy() > 0.5, np.asarray(solid) > 127
        scores.append((drawn & wanted).sum() / max((drawn | wanted).sum(), 1))
    return float(np.mean(scores))


class StageClock:
    """Progress report that notes the CPU seconds of the process when each stage first speaks."""

    def __init__(self) -> None:
        self.began: dict[str, float] = {}

    def __call__(self, stage: str, fraction: float, message: str) -> None:
        self.began.setdefault(stage, time.process_time())

    @property
    def fit_seconds(self) -> float:
        """CPU seconds from the start of the fit to the start of the expressions."""
        return self.began["expression"] - self.began["fit"]


def photo_fit_seconds(folder: Path) -> float | None:
    """CPU seconds of the fit to eight photos of one person, or None when it does not use eight."""
    clock = StageClock()
    capture = capture_clip(folder, max_references=FITTED, report=clock)
    return clock.fit_seconds if len(capture.frames) == FITTED else None


def real_clip(path: Path, fit_seconds: list[float]) -> dict[str, Any]:
    """Fit quality and detection rates of one clip; appends the CPU seconds of its fit if that used eight
    frames."""
    clock, start = StageClock(), time.process_time()
    capture = capture_clip(path, max_references=FITTED, report=clock)
    seconds = time.process_time() - start
    if len(capture.frames) == FITTED:
        fit_seconds.append(clock.fit_seconds)
    out: dict[str, Any] = {
        "clip": path.name,
        "frames": capture.frame_index.tolist(),
        "capture_cpu_s": round(seconds, 1),
        "reprojection_percent": round(capture.metrics["body_error_percent_median"], 3),
        "body_iou": round(capture.metrics["iou"], 3),
        "clothed_iou": round(clothed_iou(capture), 3),
        "height_m_guessed": round(capture.height_m, 2),
    }
    clip = read_clip(path, LOOKED_AT)
    start = time.process_time()
    seen = observe_clip(clip)
    out["detect_cpu_ms_per_frame"] = round(1000 * (time.process_time() - start) / len(clip))
    out["hands"] = [sum(o.hands[s] is not None for o in seen) for s in (0, 1)]
    frontal = [o for o in seen if abs(o.yaw) < FRONTAL]
    out["faces_of_frontal"] = [sum(o.face is not None for o in frontal), len(frontal)]
    return out


def synthetic_clip(path: Path, truth: Truth, *, guess: bool) -> dict[str, Any]:
    """Errors on one rendered clip, whose motion, shape and camera are known; with ``guess`` it is captured
    once more without the height."""
    body = BodyModel.load()

    def joints(shape: np.ndarray, pose: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            zero = torch.zeros(len(pose), 3)
            return body(torch.as_tensor(shape)[None], torch.as_tensor(pose), zero).joints.numpy()

    given = capture_clip(path, height_m=round(truth.height_m, 2))
    at = np.abs(truth.seconds[None] - given.timestamps[:, None]).argmin(1)
    mine, true = joints(given.betas, given.pose), joints(truth.betas, truth.pose[at])
    hands = [
        aligned_error(
            np.concatenate([a[[WRISTS[s]]], a[list(FINGERS[s])]]),
            np.concatenate([b[[WRISTS[s]]], b[list(FINGERS[s])]]),
        )
        for t, (a, b) in enumerate(zip(mine, true, strict=True))
        for s in (0, 1)
        if given.conf[("left_hand", "right_hand")[s]][t] > 0.5
    ]
    motion = capture_motion(path, person=given, max_frames=min(len(truth.pose), MOTION_FRAMES))
    at = np.abs(truth.seconds[None] - motion.timestamps[:, None]).argmin(1)
    names = ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight")
    # Motion lies on an even grid between the frames; speech is fast, so truth is read at those very times.
    columns = [
        (motion.expression[:, k], np.interp(motion.timestamps, truth.seconds, truth.expression[:, k]))
        for k in (ARKIT_INDEX[n] for n in names)
    ]
    moving, real = joints(given.betas, motion.pose), joints(truth.betas, truth.pose[at])
    out = {
        "person": path.stem,
        "pa_mpjpe_mm": mean([aligned_error(a[:22], b[:22]) for a, b in zip(mine, true, strict=True)]),
        "motion_pa_mpjpe_mm": mean(
            [aligned_error(a[:22], b[:22]) for a, b in zip(moving, real, strict=True)]
        ),
        "fingers_mm": mean(hands),
        "arkit_correlation": {
            n: round(float(np.corrcoef(a, b)[0, 1]), 3) for n, (a, b) in zip(names, columns, strict=True)
        },
        "height_m": round(truth.height_m, 3),
        "height_error_cm_given": round(100 * abs(given.height_m - truth.height_m), 1),
    }
    if guess:
        out["height_error_cm_guessed"] = round(100 * abs(capture_clip(path).height_m - truth.height_m), 1)
    return out


def mean(values: list[float]) -> float | None:
    """Mean to a tenth; None of nothing, such as the fingers of a person whose hands were never found."""
    return round(float(np.mean(values)), 1) if values else None


def shipped_truth() -> Truth:
    """Truth of the clip that ships with the product."""
    with np.load(sample_clip_path().with_suffix(".npz")) as data:
        t = {name: data[name] for name in data.files}
    rest = BodyModel.load().rest(torch.as_tensor(t["betas"])[None])[0][0]
    height = float(rest[:, 1].max() - rest[:, 1].min())
    seconds = np.arange(len(t["pose"])) / float(t["fps"])
    return Truth(t["betas"], t["pose"], t["transl"], t["expression"], t["K"], t["viewmat"], seconds, height)


def synthetic_people(numbers: Sequence[int]) -> dict[str, Any]:
    """The shipped clip and held-out people: medians over people, and the worst of each number."""
    rows = [synthetic_clip(sample_clip_path(), shipped_truth(), guess=False)]
    with tempfile.TemporaryDirectory(prefix="lca_bench_") as folder:
        for n in numbers:
            rows.append(synthetic_clip(*write_person(n, Path(folder)), guess=n == GUESSED_HEIGHT))
    out: dict[str, Any] = {"synthetic_people": rows}
    for key, name in (
        ("pa_mpjpe_mm", "synthetic_pa_mpjpe_mm"),
        ("motion_pa_mpjpe_mm", "synthetic_motion_pa_mpjpe_mm"),
        ("fingers_mm", "synthetic_fingers_mm"),
        ("height_error_cm_given", "height_error_cm_given"),
        ("height_error_cm_guessed", "height_error_cm_guessed"),
    ):
        values = [row[key] for row in rows if row.get(key) is not None]
        if not values:
            continue
        out |= {name: round(float(np.median(values)), 1), f"{name}_worst": max(values)}
    each = {n: [row["arkit_correlation"][n] for row in rows] for n in rows[0]["arkit_correlation"]}
    out["synthetic_arkit_correlation"] = {n: round(float(np.median(v)), 3) for n, v in each.items()}
    out["synthetic_arkit_correlation_worst"] = {n: min(v) for n, v in each.items()}
    return out


def measure(media: Path | None, people: int = 4) -> dict[str, Any]:
    """All numbers; those of real clips are left out without a media folder."""
    facts: dict[str, Any] = {"machine": platform.machine(), "python": platform.python_version()}
    clips = [media / "real" / name for name in CLIPS] if media else []
    seconds: list[float] = []
    rows = [real_clip(path, seconds) for path in clips if path.is_file()]
    if rows:
        found = [0, 0]
        for row in rows:
            for got, want in zip(row["hands"], PROTOTYPE_HANDS.get(row["clip"], ()), strict=False):
                found = [found[0] + min(got, want), found[1] + want]
        # Clips may be told with fewer frames; the eight photos of a turnaround are all used.
        for person in sorted((media or Path()).glob("turnaround/*")):
            if seconds or (fitted := photo_fit_seconds(person)) is None:
                continue
            seconds.append(fitted)
        faces = np.sum([row["faces_of_frontal"] for row in rows], axis=0)
        facts |= {
            "clips": rows,
            "reprojection_percent_median": float(np.median([r["reprojection_percent"] for r in rows])),
            "clothed_iou_median": float(np.median([r["clothed_iou"] for r in rows])),
            "body_iou_median": float(np.median([r["body_iou"] for r in rows])),
            "fit_cpu_s_8_frames": round(float(np.median(seconds)), 1) if seconds else None,
            "hands_found": round(found[0] / found[1], 3) if found[1] else None,
            "face_found": round(float(faces[0] / max(faces[1], 1)), 3),
        }
    return facts | synthetic_people(PEOPLE[:people])


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = os.environ.get("LCA_MEDIA", Path(__file__).resolve().parents[2] / "shared" / "media")
    parser.add_argument("--media", type=Path, default=Path(default), help="folder with real/*.mp4")
    parser.add_argument(
        "--people", type=int, default=2, choices=range(len(PEOPLE) + 1), help="held-out people"
    )
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help="print JSON, or write it")
    args = parser.parse_args()
    torch.set_num_threads(1)
    facts = measure(args.media if args.media.is_dir() else None, args.people)
    text = json.dumps(facts, indent=1, allow_nan=False)
    if args.json not in (None, "-"):
        Path(args.json).write_text(text + "\n", encoding="utf-8")
    elif args.json:
        print(text)
    else:
        for name, value in facts.items():
            print(f"{name:32s} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
