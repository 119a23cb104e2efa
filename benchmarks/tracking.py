"""How the tracker errs: films synthetic people, tracks them with the capture room, compares with the truth.

Run ``lca bench tracking [--clips N] [--frames N] [--write] [--json]``. ``--write`` stores the statistics,
with calibrated noise sizes, as the asset that the wild data set draws its tracking noise from. The clips are
dressed synthetic people before the phones of that data set.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lca_core.capture import read_clip
from lca_core.capture.motion import MOTION_SIDE, capture_motion
from lca_core.capture.pipeline import observe_clip
from lca_core.data import clips, tracking_noise
from lca_core.data.cameras import phone
from lca_core.data.people import Person, sample_identity, streams
from lca_core.data.samples import background, sample_light
from lca_core.data.tracking_noise import Truth
from lca_core.data.wild import MARGIN_M

KINDS = ("talk", "poses", "turn", "wave", "walk", "exercise")
SIZE, FPS = (480, 640), 15.0
FIRST = 150_000
"""Identities of the training range that no other command starts at."""


def motion_of(number: int, kind: str, frames: int) -> Any:
    """A level motion clip of ``frames`` frames at ``FPS``."""
    (rng,) = streams("train", number, "tracking")
    return clips.make_clip(rng, frames, FPS, kind)


def plain_truth(number: int, kind: str, frames: int) -> Truth:
    """The exact clip: motion, shape and camera; nothing is rendered."""
    motion, betas = motion_of(number, kind, frames), np.array(sample_identity("train", number).betas)
    (rng,) = streams("train", number, "camera")
    joints, _ = tracking_noise.joints_of(betas, motion.poses, motion.translation)
    low, high = joints.min((0, 1)) - MARGIN_M, joints.max((0, 1)) + MARGIN_M
    K, viewmats = phone(rng, low, high, frames, FPS, SIZE)
    return Truth(
        motion.poses, motion.translation, motion.arkit, motion.gaze, betas, np.repeat(K[None], frames, 0),
        viewmats, FPS, np.ones((frames, 2), bool),
    )  # fmt: skip


def film(path: Path, number: int, kind: str, frames: int) -> Truth:
    """Render one clip to ``path`` (H.264) and return its truth."""
    from fractions import Fraction

    import av

    person, true = Person(sample_identity("train", number)), plain_truth(number, kind, frames)
    light_rng, back_rng = streams("train", number, "light", "backgrnd")
    scene, light, back = person.scene(), sample_light(light_rng), background(back_rng, SIZE[1], SIZE[0])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(int(FPS)))
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "20"}
        for t in range(frames):
            at = true.pose[t], true.expression[t], true.gaze[t]
            scene.pose(person.skinned(*at) + true.transl[t])
            image = scene.render(true.K[t], true.viewmat[t], *SIZE, light, samples=2).composite(back)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return true


def track(path: Path, true: Truth) -> tuple[Truth, Truth]:
    """The truth at the tracked moments, and what the tracker says."""
    count = len(true.pose)
    motion = capture_motion(path, max_frames=count)
    at = np.clip(np.round((motion.timestamps - motion.timestamps[0]) * FPS).astype(int), 0, count - 1)
    clip = read_clip(path, count, max_side=MOTION_SIDE)
    found = np.zeros((count, 2), bool)
    for seen in observe_clip(clip):
        found[min(seen.index, count - 1)] = [h is not None for h in seen.hands]
    assert motion.K is not None and motion.betas is not None
    scale = SIZE[0] / motion.image_size[0]
    K = np.diag([scale, scale, 1.0]) @ motion.K
    viewmat = np.diag([1.0, -1.0, -1.0, 1.0])
    said = Truth(
        motion.pose, motion.transl, motion.expression, motion.gaze, motion.betas,
        np.repeat(K[None], len(at), 0), np.repeat(viewmat[None], len(at), 0), FPS, found[at],
    )  # fmt: skip
    exact = Truth(
        true.pose[at], true.transl[at], true.expression[at], true.gaze[at], true.betas, true.K[at],
        true.viewmat[at], FPS, true.hands[at],
    )  # fmt: skip
    return exact, said


def measure(count: int, frames: int) -> dict[str, Any]:
    """Track ``count`` clips and calibrate the noise on longer motions of the same kinds."""
    pairs, seconds = [], time.process_time()
    with tempfile.TemporaryDirectory(prefix="lca-tracking-") as folder:
        for k in range(count):
            path = Path(folder) / f"{k}.mp4"
            true = film(path, FIRST + k, KINDS[k % len(KINDS)], frames)
            pairs.append(track(path, true))
            print(
                f"clip {k + 1}/{count}: {time.process_time() - seconds:.0f} CPU-s",
                file=sys.stderr,
                flush=True,
            )
    stats = tracking_noise.statistics(pairs)
    stats["cpu_s"] = round(time.process_time() - seconds, 1)
    stats["about"] = (
        f"{count} synthetic clips of {frames} frames at {FPS:.0f} per second, tracked by lca_core.capture"
    )
    return tracking_noise.calibrate(stats, calibration_clips([p[0] for p in pairs]))


def calibration_clips(true: list[Truth], repeats: int = 4) -> list[Truth]:
    """The tracked clips several times over: noise differs, motion does not."""
    return true * repeats


def rounded(value: Any) -> Any:
    """Numbers to five digits."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--write", action="store_true", help="store the result as the data room's asset")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    facts = rounded(measure(args.clips, args.frames))
    text = json.dumps(facts, indent=1) + "\n"
    if args.write:
        tracking_noise.FILE.write_text(text, encoding="utf-8")
    if args.json:
        print(text, end="")
    else:
        for name, value in facts.items():
            print(f"{name:26s} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
