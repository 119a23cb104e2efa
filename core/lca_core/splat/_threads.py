"""Runs one kernel on several threads: each takes the next part of the work until none is left.

Kernels release the GIL, so plain Python threads run them side by side. Compared with numba's own ``prange``
nothing spins while it waits (OpenMP's active barriers made a 5 ms frame take 50 ms on a busy two-core
container), concurrent calls need no special threading layer, and a forked child simply starts its own
threads.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numba

_config: Any = numba.config
_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


def _forget() -> None:
    """Threads do not survive a fork: the child starts with none."""
    global _lock, _pool
    _lock, _pool = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _most() -> int:
    return max(1, int(_config.NUMBA_NUM_THREADS))


def worker_count(items: int, grain: int) -> int:
    """Workers for ``items`` units of work: one per ``grain``, at most NUMBA_NUM_THREADS (default: the
    usable CPUs)."""
    return max(1, min(_most(), items // grain))


def _executor() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(_most(), "lca-splat")
        return _pool


def share(kernel: Any, workers: int, *args: Any, parts: int = 0) -> None:
    """Call ``kernel(part, parts, *args)`` for every part and wait for all of them.

    Args:
        workers: threads; one of them is the caller. With one, the kernel is called once with everything.
        parts: portions of the work, taken in order by whoever is free; 0 makes one per worker.
    """
    if workers == 1:
        kernel(0, 1, *args)
        return
    parts = parts or workers
    todo = iter(range(parts))  # handing out the next one is a single step under the GIL

    def work() -> None:
        for part in todo:
            kernel(part, parts, *args)

    pool = _executor()
    others: list[Future[None]] = [pool.submit(work) for _ in range(1, workers)]
    try:
        work()
    finally:
        wait(others)  # they write into the caller's arrays
    for other in others:
        other.result()
