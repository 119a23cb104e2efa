"""Speed of the synthetic people: frames and people per second, and how much of a frame is ray casting.

Run ``lca bench data [--frames N] [--workers N] [--json]``. A frame is posing and skinning a dressed person,
rebuilding the ray-cast tree, one view with 2 x 2 rays per pixel, shadows and all buffers, background and
sRGB; one person gives many frames, as in the data sets. A person is drawing, dressing and baking the 256 x
256 UV maps. Each worker is a process with one thread, as the data sets use them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from typing import Any

import numpy as np

SIZES = (256, 512)


def environment(device: str) -> dict[str, Any]:
    """The machine."""
    import warp as wp

    return {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "warp": wp.__version__,
        "device": device,
        "load_average": round(os.getloadavg()[0], 2),
    }


Timing = tuple[float, float, int, float]
"""Seconds, seconds of them in the renderer, items, and seconds of processor time."""


def run_frames(number: int, size: int, frames: int, device: str, gate: Any = None) -> Timing:
    """Frames of one worker; with a gate all workers start at once."""
    from lca_core.data import motion
    from lca_core.data.people import Person, sample_identity, streams
    from lca_core.data.samples import background, fit_camera, sample_light

    person = Person(sample_identity("train", number))
    scene, used = person.scene(device), np.unique(person.faces)
    pose_rng, camera_rng, light_rng, back_rng = streams(
        "train", number, "motion", "camera", "light", "backgrnd"
    )
    light, back = sample_light(light_rng), background(back_rng, size, size)

    def one() -> float:
        q = motion.random_pose(pose_rng)
        posed = person.posed(q.joints, q.transl, q.expression, q.gaze)
        K, viewmat = fit_camera(
            posed[used], camera_rng.uniform(0, 6.28), 0.1, 3.0, size, size, 0.9, np.zeros(2)
        )
        start = time.perf_counter()
        scene.pose(posed)
        frame = scene.render(K, viewmat, size, size, light, samples=2)
        seconds = time.perf_counter() - start
        frame.composite(back)
        return seconds

    one()
    if gate is not None:
        gate.wait()
    start, cpu = time.perf_counter(), time.process_time()
    inside = sum(one() for _ in range(frames))
    return time.perf_counter() - start, inside, frames, time.process_time() - cpu


def run_people(first: int, count: int, device: str, gate: Any = None) -> Timing:
    """People of one worker."""
    from lca_core.data.fields import Actor
    from lca_core.data.people import sample_identity

    Actor(sample_identity("train", first), "train", 256)
    if gate is not None:
        gate.wait()
    start, cpu = time.perf_counter(), time.process_time()
    for k in range(count):
        Actor(sample_identity("train", first + 1 + k), "train", 256)
    return time.perf_counter() - start, 0.0, count, time.process_time() - cpu


def _entry(function: str, args: tuple[Any, ...], gate: Any, results: Any) -> None:
    results.put(globals()[function](*args, gate))


def together(function: str, tasks: list[tuple[Any, ...]]) -> tuple[float, float, float]:
    """Items per second of all workers at once, share of time in the renderer, items per processor second."""
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(len(tasks)), context.Queue()
    workers = [context.Process(target=_entry, args=(function, t, gate, results)) for t in tasks]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=600) for _ in workers]
    for worker in workers:
        worker.join()
    seconds = max(s for s, _, _, _ in found)
    share = statistics.mean(inside / s for s, inside, _, _ in found)
    items = sum(n for _, _, n, _ in found)
    return items / seconds, share, items / sum(f[3] for f in found)


def measure(frames: int, workers: int, device: str) -> dict[str, Any]:
    """All numbers."""
    people = plain_people(workers)
    run_frames(people[0], 64, 1, device)  # compiles the kernels once, before any clock runs
    facts: dict[str, Any] = {"workers": workers}
    shares = {}
    for size in SIZES:
        count = frames if size == 256 else max(frames // 3, 4)
        rate, shares[size], steady = together("run_frames", [(n, size, count, device) for n in people])
        facts[f"frames_per_s_{size}"] = round(rate, 2)
        if device == "cpu":
            # Other processes on a busy machine slow the first figure, hardly this one.
            facts[f"frames_per_cpu_s_{size}"] = round(steady, 2)
    facts["render_share"] = round(shares[256], 3)
    facts["render_share_512"] = round(shares[512], 3)
    rate, _, _ = together("run_people", [(100 * (k + 1), 4, device) for k in range(workers)])
    facts["people_per_s"] = round(rate, 2)
    facts["environment"] = environment(device)
    return facts


def plain_people(count: int) -> list[int]:
    """Identities without a simulated skirt, whose cloth has a speed of its own."""
    from lca_core.data.people import sample_identity
    from lca_core.data.procedural import SKIRTS

    out, number = [], 0
    while len(out) < count:
        bottom = sample_identity("train", number).outfit.bottom
        if bottom is None or bottom.kind not in SKIRTS:
            out.append(number)
        number += 1
    return out


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=48, help="frames per worker at 256 px (%(default)s)")
    parser.add_argument(
        "--workers", type=int, default=0, help="processes (default: one per core, two at most)"
    )
    parser.add_argument("--device", default="cpu", help="cpu, or a CUDA device such as cuda:0")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    workers = args.workers or (1 if args.device.startswith("cuda") else min(os.cpu_count() or 1, 2))
    facts = measure(max(args.frames, 4), workers, args.device)
    if args.json:
        print(json.dumps(facts, indent=1))
    else:
        for name, value in facts.items():
            print(f"{name:20s} {value}")
    return 0


if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    sys.exit(main())
