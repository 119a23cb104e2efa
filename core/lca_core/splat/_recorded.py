"""A frame's work on a CUDA device as one recorded graph: one launch instead of some thirty.

In: a function of one device tensor that never looks at its values from the CPU, and the size of that tensor.
Out: the same function, replayed. Recording is tried once; where it fails or gives other numbers than the
plain function, the caller goes on with the plain one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import torch
from torch import Tensor

log = logging.getLogger(__name__)
Work = Callable[[Tensor], tuple[Tensor, ...]]
WARM_UP = 3  # runs before the recording: libraries choose their algorithms and allocate in the first ones


class Recorded:
    """``work`` for inputs of ``size`` float32. Safe to call from several threads and streams."""

    def __init__(self, work: Work, size: int, device: torch.device) -> None:
        self._lock = threading.Lock()
        self._input = torch.zeros(size, device=device)
        aside = torch.cuda.Stream(device)
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.no_grad(), torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                work(self._input)
        torch.cuda.current_stream(device).wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._output = work(self._input)
        self._read = torch.cuda.Event()
        self._device = device

    def __call__(self, values: Tensor) -> tuple[Tensor, ...]:
        """Results in fresh tensors; ``values``: (size,), on any device."""
        with self._lock, torch.no_grad(), torch.cuda.device(self._device):
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(self._read)  # another stream may still read the last results
            self._input.copy_(values, non_blocking=True)
            self._graph.replay()
            results = tuple(part.clone() for part in self._output)
            self._read.record(stream)
            return results


def record(work: Work, example: Tensor) -> Recorded | None:
    """``work`` recorded for inputs like ``example`` (on the device), or None: not CUDA, or it does not work
    there, which the log tells."""
    device = example.device
    if device.type != "cuda":
        return None
    try:
        with torch.cuda.device(device):
            recorded = Recorded(work, example.numel(), device)
            for found, wanted in zip(recorded(example), work(example), strict=True):
                torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    except Exception as error:  # drivers raise anything here, and the plain way is always there
        log.warning("No CUDA graph for animation, frames are launched step by step: %s", error)
        return None
    return recorded
