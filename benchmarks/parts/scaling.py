"""How much two threads bring, next to what two independent processes show the machine can give at all.

Rounds of short blocks of wall time, taking turns: frames on one thread, on two, and on one thread while a
second process renders the same scene by itself. The last is the ceiling: virtual CPUs that share one core,
or a clock that falls when both work, cap every program on the machine. Rounds in which other programs used
the processors do not count, as long as enough quiet ones are found.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BLOCK_S = 0.4
ROUNDS, ENOUGH = 5, 2  # quiet rounds that end the measurement; quiet rounds that make a result
FOREIGN = 0.08
"""CPUs that other programs may use on average in a quiet round."""


def busy_seconds() -> float | None:
    """CPU seconds all programs of the machine have used so far; None where the system does not tell."""
    try:
        user, nice, system, _idle, _wait, irq, soft, steal = (
            int(word) for word in Path("/proc/stat").read_text(encoding="ascii").split()[1:9]
        )
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


class Scene:
    """The benchmark's figure; renders on as many threads as asked for."""

    def __init__(self, count: int, size: int) -> None:
        from parts.scene import camera, figure, tensors

        self._figure, (self._views, self._ks), self._size = figure(count, "1cm"), camera(size), size
        self._tensors = tensors
        self._still = tensors(self._figure, False)

    def frame(self) -> None:
        import torch

        from lca_core.splat import render

        with torch.no_grad():
            render(*self._still, self._views, self._ks, self._size, self._size)

    def training_pass(self) -> None:
        from lca_core.splat import render

        live = self._tensors(self._figure, True)
        image, alphas, _ = render(*live, self._views, self._ks, self._size, self._size)
        (image.square().mean() + alphas.mean()).backward()


def rate(job: Callable[[], None], seconds: float, threads: int) -> float:
    """Runs per second of ``job``, for about ``seconds``."""
    import numba

    config: Any = numba.config
    config.NUMBA_NUM_THREADS = threads  # what share() looks at, call by call
    runs, begin = 0, time.perf_counter()
    while (passed := time.perf_counter() - begin) < seconds or not runs:
        job()
        runs += 1
    return runs / passed


def partner(count: str, size: str) -> None:
    """Body of the second process: per line (seconds) a block of frames; prints rate and CPU time."""
    scene = Scene(int(count), int(size))
    scene.frame()
    print("ready", flush=True)
    for line in sys.stdin:
        begin = time.process_time()
        found = rate(scene.frame, float(line), 1)
        print(found, time.process_time() - begin, flush=True)


def _round(scene: Scene, other: subprocess.Popen[str]) -> dict[str, float]:
    assert other.stdin is not None and other.stdout is not None
    begin, own, busy = time.perf_counter(), time.process_time(), busy_seconds()
    frames = [rate(scene.frame, BLOCK_S, 1)]
    frames_2 = rate(scene.frame, BLOCK_S, 2)
    other.stdin.write(f"{BLOCK_S}\n")
    other.stdin.flush()
    beside = rate(scene.frame, BLOCK_S, 1)
    beside_rate, beside_cpu = (float(word) for word in other.stdout.readline().split())
    passes, passes_2 = (rate(scene.training_pass, BLOCK_S, threads) for threads in (1, 2))
    frames.append(rate(scene.frame, BLOCK_S, 1))  # before and after: the clock may drift
    alone = statistics.mean(frames)
    wall, own = time.perf_counter() - begin, time.process_time() - own + beside_cpu
    after = busy_seconds()
    foreign = 0.0 if busy is None or after is None else max(0.0, after - busy - own) / wall
    return {
        "frame_1_fps": alone, "frame_2_fps": frames_2, "frame": frames_2 / alone,
        "training": passes_2 / passes, "ceiling": (beside + beside_rate) / alone, "foreign_cpus": foreign,
    }  # fmt: skip


def measure_threads(count: int, size: int, budget: float) -> dict[str, Any]:
    """``frame``, ``training`` (forward + backward) and ``ceiling``: medians over quiet rounds.

    Args:
        budget: seconds after which no further round begins.
    """
    scene = Scene(count, size)
    command = [sys.executable, "-m", "parts.scaling", str(count), str(size)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdin is not None and other.stdout is not None
        scene.frame()
        scene.training_pass()
        other.stdout.readline()
        rounds: list[dict[str, float]] = []
        begin = time.perf_counter()
        while time.perf_counter() - begin < budget:
            rounds.append(_round(scene, other))
            if sum(r["foreign_cpus"] <= FOREIGN for r in rounds) >= ROUNDS:
                break
        other.stdin.close()
    quiet = [r for r in rounds if r["foreign_cpus"] <= FOREIGN]
    counted = quiet if len(quiet) >= ENOUGH else rounds
    return {
        **{key: statistics.median(r[key] for r in counted) for key in rounds[0]},
        "idle": counted is quiet, "quiet_rounds": len(quiet), "rounds": rounds,
    }  # fmt: skip


if __name__ == "__main__":
    partner(*sys.argv[1:])
