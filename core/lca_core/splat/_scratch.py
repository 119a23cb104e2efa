"""Scratch memory that calls hand on to later calls.

Fresh memory costs the operating system a page fault per 4 kB, which for a frame of 100k Gaussians is several
milliseconds, in a lock that all threads of the process share. In: sizes. Out: arrays with arbitrary contents
that belong to their ``Scratch`` alone until it is released; calls from several threads do not meet.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

LIMIT = 96 << 20
"""Bytes kept for later calls at most."""
PAGE = 1 << 16
_free: deque[np.ndarray] = deque()  # its single operations are atomic: no lock that a finalizer could meet


def _take(size: int) -> np.ndarray:
    """A buffer of at least ``size`` bytes, a used one if one of about that size is free."""
    for _ in range(len(_free)):
        try:
            buffer = _free.popleft()
        except IndexError:  # another thread took the last one
            break
        if size <= buffer.size <= 2 * size + PAGE:
            return buffer
        _free.append(buffer)
    return np.empty((size + size // 8) // PAGE * PAGE + PAGE, np.uint8)


class Scratch:
    """Arrays that live until ``release`` or until this object goes; nobody may use them afterwards."""

    def __init__(self) -> None:
        self._buffers: list[np.ndarray] = []

    def empty(self, shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
        """Uninitialised array, C order, aligned for every dtype."""
        shape = (shape,) if isinstance(shape, int) else shape
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        buffer = _take(size)
        self._buffers.append(buffer)
        return buffer[:size].view(dtype).reshape(shape)

    def zeros(self, shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
        array = self.empty(shape, dtype)
        array.fill(0)
        return array

    def release(self) -> None:
        """Give every array back."""
        kept, self._buffers = self._buffers, []
        _free.extend(kept)
        try:
            while sum(buffer.size for buffer in tuple(_free)) > LIMIT:
                _free.popleft()  # the one that waited longest
        except (IndexError, RuntimeError):
            pass  # other threads are busy here; the next release tidies up

    def __del__(self) -> None:
        self.release()
