"""Where and how numbers were taken: environment, clocks, peak memory, and measurements in child processes.

The parent process imports neither torch nor numba: every measurement starts from the same small process, and
its peak memory is its own.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1]


def cpu_model() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def load_average() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def environment() -> dict[str, Any]:
    """Machine and versions; printed with every result."""
    from importlib.metadata import PackageNotFoundError, version

    def found(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": cpu_model(),
        "usable_cpus": usable,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_average_at_start": load_average(),
        **{name: found(name) for name in ("lca-bridge", "torch", "numba", "llvmlite", "numpy", "gsplat")},
    }


def peak_memory() -> int:
    """Largest resident size of this process so far, bytes."""
    try:  # unlike getrusage, not inherited from the process that started this one
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Clock:
    """CPU and wall time of named phases, repeated."""

    def __init__(self) -> None:
        self.core: dict[str, list[float]] = {}
        self.wall: dict[str, list[float]] = {}

    def run(self, name: str, job: Callable[[], Any]) -> Any:
        wall, core = time.perf_counter(), time.process_time()
        result = job()
        self.core.setdefault(name, []).append(1e3 * (time.process_time() - core))
        self.wall.setdefault(name, []).append(1e3 * (time.perf_counter() - wall))
        return result

    def forget_first(self) -> None:
        """Drop the first pass, which touches fresh memory."""
        for values in (*self.core.values(), *self.wall.values()):
            values.pop(0)

    def medians(self) -> dict[str, float]:
        """``NAME_core_ms`` and ``NAME_wall_ms`` of every phase."""
        out = {f"{name}_core_ms": statistics.median(values) for name, values in self.core.items()}
        return out | {f"{name}_wall_ms": statistics.median(values) for name, values in self.wall.items()}


def measure(name: str, *args: object, threads: int = 1, cache: Path | None = None) -> dict[str, Any]:
    """Run ``parts.measures`` NAME in a process of its own and return what it measured.

    Args:
        threads: of the CPU back end and of torch.
        cache: folder of compiled kernels; None uses the installation's.

    Raises:
        RuntimeError: the measurement failed; its last words are in the message.
    """
    path = os.pathsep.join(filter(None, [str(FOLDER), os.environ.get("PYTHONPATH", "")]))
    pinned = {
        "PYTHONPATH": path, "NUMBA_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",  # as in the service: waiting torch threads must not hold a processor
    }  # fmt: skip
    if cache is not None:
        pinned["NUMBA_CACHE_DIR"] = str(cache)
    done = subprocess.run(
        [sys.executable, "-m", "parts.measures", name, *map(str, args)],
        env={**os.environ, **pinned}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"measurement {name} failed: {(done.stderr.strip() or 'no message')[-600:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def say(text: str) -> None:
    """Progress, away from the JSON on standard output."""
    print(text, file=sys.stderr, flush=True)
