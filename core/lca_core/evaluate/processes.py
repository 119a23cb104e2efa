"""Several people at the same time, each in a process of one thread; one that dies costs only itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

Result = TypeVar("Result")
THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS")


def run_apart(
    work: Callable[..., Result],
    jobs: list[tuple[Any, ...]],
    workers: int,
    crashed: Callable[..., Result] | None = None,
) -> Iterator[Result]:
    """Results of ``work(*job)`` as they come.

    Args:
        work: a function of a module (it travels to other processes).
        workers: processes; with 1 everything runs here.
        crashed: the result of a job whose process died twice; without it that is an error.
    """
    if workers <= 1:
        yield from (work(*job) for job in jobs)
        return
    left = dict(enumerate(jobs))
    with _one_thread_each():
        # Fresh processes: forked ones would inherit locked thread pools.
        yield from _pool(work, left, workers)
        # When one process dies the pool gives up the others' work too: they run again, one by one.
        for key, job in list(left.items()):
            yield from _pool(work, alone := {key: job}, 1)
            if alone:
                if crashed is None:
                    raise RuntimeError(f"the process of job {key} died twice")
                yield crashed(*job)
            left.pop(key)


def _pool(work: Callable[..., Result], left: dict[int, tuple[Any, ...]], workers: int) -> Iterator[Result]:
    """Results of the jobs ``left``, which are taken out when done; ends early when a process dies."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(work, *job): key for key, job in left.items()}
        for future in as_completed(running):
            try:
                result = future.result()
            except BrokenProcessPool:
                continue
            left.pop(running[future])
            yield result


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Environment of the children: one thread each."""
    before = {k: os.environ.get(k) for k in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
