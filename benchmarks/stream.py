"""How fast posed Gaussians travel: encode (service) + TCP or shared memory + decode to float32 (client).

``lca bench stream [--json] [--gaussians N] [--seconds S] [--save FILE]``. Service and client are the real
ones, in two processes on loopback TCP, 100k Gaussians. Poses go up, frames come down, every one of them.
Posing is replaced by frames computed beforehand (``lca bench animate`` measures it), except in the rows that
say so. ``shm`` frames are read out of the shared memory into the reader's own arrays. The naive peer is plain
grpcio as a newcomer would write it, in the same run, the better of its two schemas.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from parts import stream_naive
from parts.machine import FOLDER, environment, load_average, say

from lca.v1 import motion_pb2
from lca_bridge.client import LcaClient, connect
from lca_bridge.wire.messages import MAX_PAYLOAD_BYTES, pose_to_proto
from lca_bridge.wire.package import read_package
from lca_bridge.wire.skin import BakedRig

AVATAR = "avatars/random"
REPLAYED = 16
WARM_FRAMES = 20
MODES = ("shm", "f32", "q20", "q20-delta", "q10", "q10-zstd", "q10-delta")


@contextlib.contextmanager
def child(module: str, *args: object) -> Iterator[str]:
    """Start ``python -m module``; gives its first line, ends it by closing its standard input."""
    path = os.pathsep.join(filter(None, [str(FOLDER), os.environ.get("PYTHONPATH", "")]))
    pinned = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, env={**os.environ, **pinned, "PYTHONPATH": path},
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{module} did not start")
        yield line
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


@contextlib.contextmanager
def service(folder: Path, gaussians: int, *args: object) -> Iterator[tuple[LcaClient, dict[str, Any]]]:
    """A client of a fresh service process, and what that said."""
    with child("parts.stream_server", folder, gaussians, *args) as line:
        facts = json.loads(line)
        with connect(facts["target"], facts["token"], wait_seconds=20) as client:
            yield client, facts


def poses(seed: int = 1) -> Iterator[motion_pb2.PoseFrame]:
    """Poses in which everything moves, for ever; their arrays are made once, as a motion file's are."""
    rng = np.random.default_rng(seed)
    ready = [
        pose_to_proto(
            0, joint_rotations=rng.normal(0, 0.05, (55, 3)), translation=rng.normal(0, 0.02, 3),
            arkit=rng.random(52), gaze=rng.normal(0, 0.1, (2, 2)),
        )
        for _ in range(32)
    ]  # fmt: skip
    number = 0
    while True:
        for pose in ready:
            number += 1
            mine = motion_pb2.PoseFrame()
            mine.CopyFrom(pose)
            mine.frame_id = number
            yield mine


def throughput(client: LcaClient, codec: str, seconds: float, copy: bool = True) -> dict[str, float]:
    """Frames a second of one mode, and bytes per frame as the layout says."""
    own: list[np.ndarray] = []
    with client.animate(AVATAR, codec=codec, every=True) as stream:
        count, begun = 0, 0.0
        for seen, frame in enumerate(stream.play(poses())):
            if codec == "shm" and copy and frame.splats is not None:
                arrays = list(vars(frame.splats).values())
                own = own or [np.empty_like(a) for a in arrays]
                for mine, theirs in zip(own, arrays):
                    np.copyto(mine, theirs)
            if seen == WARM_FRAMES:
                begun = time.perf_counter()
            elif seen > WARM_FRAMES:
                count += 1
                if seen % 4 == 0 and time.perf_counter() - begun > seconds:
                    break
        elapsed = time.perf_counter() - begun
        shared = stream.shares_memory
    assert shared == (codec == "shm"), "the stream did not get the memory it asked for"
    return {"fps": count / elapsed, "frames": count}


def frame_age(client: LcaClient, codec: str, seconds: float) -> dict[str, float]:
    """Age in ms of the frames a reader of 10 a second gets of a stream of 60 poses a second (LATEST)."""
    sent: dict[int, float] = {}
    ages: list[float] = []
    stop = threading.Event()
    source = poses()
    with client.animate(AVATAR, codec=codec, latest=True) as stream:

        def feed() -> None:
            due = time.monotonic()
            while not stop.is_set():
                pose = next(source)
                sent[pose.frame_id] = time.monotonic()
                stream.push(pose)
                due += 1 / 60
                time.sleep(max(due - time.monotonic(), 0))
            stream.finish()

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        begun = time.monotonic()
        for frame in stream.frames():
            ages.append(1e3 * (time.monotonic() - sent[frame.frame_id]))
            if time.monotonic() - begun > seconds:
                stop.set()
                break
            time.sleep(0.1)
        feeder.join()
        dropped = stream.counts.dropped
    steady = ages[3:]
    return {"max": max(steady), "median": float(np.median(steady)), "frames": len(ages), "dropped": dropped}


def client_skinning(folder: Path, repeats: int = 5) -> float:
    """Milliseconds to skin one correction frame in numpy (BakedRig.apply): the client's share."""
    rig = BakedRig(read_package(folder / "random.lca"))
    matrices = np.tile(np.eye(4)[:3], (55, 1, 1))
    coefficients, weights = np.zeros(6, np.float32), np.zeros(52, np.float32)
    rig.apply(matrices, coefficients, weights)
    begun = time.perf_counter()
    for _ in range(repeats):
        rig.apply(matrices, coefficients, weights)
    return 1e3 * (time.perf_counter() - begun) / repeats


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All measurements as one document."""
    n, seconds = options.gaussians, options.seconds
    report: dict[str, Any] = {"benchmark": "stream", "environment": environment(), "gaussians": n}
    report["chunk_bytes"] = MAX_PAYLOAD_BYTES
    with child("parts.stream_naive", n) as line:
        report["naive_floats_fps"] = stream_naive.read(int(line), "Floats", n, min(seconds, 2))
        report["naive_bytes_fps"] = stream_naive.read(int(line), "Bytes", n, seconds)
    report["naive_f32_fps"] = max(report["naive_floats_fps"], report["naive_bytes_fps"])
    say(f"naive: {report['naive_floats_fps']:.1f} fps floats, {report['naive_bytes_fps']:.1f} fps bytes")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with service(folder, n, "--replay", REPLAYED) as (client, facts):
            report["malloc"] = facts["malloc"]
            report["modes"] = modes = {mode: throughput(client, mode, seconds) for mode in MODES}
            for mode, result in modes.items():
                say(f"{mode}: {result['fps']:.0f} fps")
            report["shm_view_fps"] = throughput(client, "shm", seconds, copy=False)["fps"]
            report["pose_correction_fps"] = throughput(client, "corrections", seconds)["fps"]
            report["age"] = {mode: frame_age(client, mode, options.age_seconds) for mode in ("q10", "shm")}
        say(f"corrections: {report['pose_correction_fps']:.0f} frames/s; age {report['age']}")
        if not options.quick:
            with service(folder, n) as (client, _):
                report["evaluated"] = {m: throughput(client, m, seconds)["fps"] for m in ("shm", "q10")}
            report["f32_by_chunk"] = by_chunk = {}
            for chunk in (1 << 16, 1 << 18, 1 << 20, 3 << 20):
                with service(folder, n, "--replay", REPLAYED, "--chunk", chunk) as (client, _):
                    by_chunk[str(chunk)] = throughput(client, "f32", min(seconds, 2))["fps"]
            with service(folder, n, "--replay", REPLAYED, "--plain-malloc") as (client, _):
                report["f32_plain_malloc_fps"] = throughput(client, "f32", seconds)["fps"]
        report["client_skinning_ms"] = client_skinning(folder)
    report["q10_fps"], report["q20_fps"] = modes["q10"]["fps"], modes["q20"]["fps"]
    report["f32_fps"], report["shm_f32_fps"] = modes["f32"]["fps"], modes["shm"]["fps"]
    report["frame_age_ms_slow_reader"] = max(age["max"] for age in report["age"].values())
    report["best_local_over_naive"] = report["shm_f32_fps"] / report["naive_f32_fps"]
    report["environment"]["load_average_at_end"] = load_average()
    return report


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_argument("--gaussians", type=int, default=100_000, help="per frame (%(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="per mode (%(default)s)")
    parser.add_argument("--age-seconds", type=float, default=6.0, help="of the slow reader (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="only the modes, not chunk sizes and allocator")
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    report = run(options)
    text = json.dumps(report, indent=1)
    if options.json:
        print(text)
    if options.save:
        options.save.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
