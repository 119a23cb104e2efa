"""Shared memory between a service and a client on the same machine: one region per stream, a few slots.

The service creates and writes, the client maps read-only. A slot is a header (its generation) and one
uncompressed frame; messages carry slot numbers, the service alone names regions. Once both sides have mapped
a region its name is removed, so that whoever dies, by whatever means, the memory goes with the processes.
Written on the primitives because ``multiprocessing.shared_memory`` lets the first process that exits
remove the segment under all others before Python 3.13.
"""

from __future__ import annotations

import mmap
import os
import re
import secrets
import sys
import weakref
from contextlib import suppress
from pathlib import Path

import numpy as np

from lca.errors import InvalidInputError, UnavailableError
from lca_bridge.wire.frames import MAX_GAUSSIANS

HEADER_BYTES = 64
MAX_SLOTS = 16
MAX_SLOT_BYTES = 256 * MAX_GAUSSIANS
PAGE = 4096
_NAME = re.compile(r"lca-[0-9a-f]{24}")
_LINUX_FOLDER = Path("/dev/shm")


class SharedRegion:
    """Slots in memory both sides see. Use :meth:`create` or :meth:`attach`."""

    def __init__(self, name: str, memory: mmap.mmap, slots: int, stride: int, owner: bool) -> None:
        self.name, self.slots, self.stride = name, slots, stride
        self._memory = memory
        # Also when the region is dropped without a word, as by a call that ends while it is being made.
        self._linked = weakref.finalize(self, _unlink, name) if owner else None
        self._bytes = np.frombuffer(memory, np.uint8, slots * stride)

    @staticmethod
    def create(slots: int, slot_bytes: int) -> SharedRegion:
        """A new region, readable and writable by this user only.

        Raises:
            UnavailableError: ``NO_SHARED_MEMORY``; the system gives none (or not that much).
        """
        stride = -(-(slot_bytes + HEADER_BYTES) // PAGE) * PAGE
        name = f"lca-{os.getpid() & 0xFFFFFFFF:08x}{secrets.token_hex(8)}"
        try:
            memory = _create(name, slots * stride)
        except (OSError, ImportError, ValueError) as error:
            raise UnavailableError(
                f"The system gives no shared memory of {slots * stride >> 20} MiB ({error}).",
                reason="NO_SHARED_MEMORY",
            ) from None
        return SharedRegion(name, memory, slots, stride, owner=True)

    @staticmethod
    def attach(name: str, slots: int, stride: int) -> SharedRegion:
        """Map what a service offers, read-only.

        Raises:
            InvalidInputError: ``MALFORMED_FRAME``; not a region a service would offer.
            UnavailableError: ``NO_SHARED_MEMORY``; it is not here (another machine or container).
        """
        sound = 0 < slots <= MAX_SLOTS and HEADER_BYTES < stride <= MAX_SLOT_BYTES and stride % PAGE == 0
        if not _NAME.fullmatch(name) or not sound:
            raise InvalidInputError("The service offers odd shared memory.", reason="MALFORMED_FRAME")
        try:
            memory = _attach(name, slots * stride)
        except (OSError, ImportError, ValueError):
            raise UnavailableError(
                "The service's shared memory cannot be opened here.", reason="NO_SHARED_MEMORY"
            ) from None
        return SharedRegion(name, memory, slots, stride, owner=False)

    def payload(self, slot: int, size: int) -> np.ndarray:
        """(size,) uint8 view of a slot's frame; read-only for the client."""
        if not 0 <= slot < self.slots or not 0 <= size <= self.stride - HEADER_BYTES:
            raise InvalidInputError("A frame lies outside the shared memory.", reason="MALFORMED_FRAME")
        start = slot * self.stride + HEADER_BYTES
        return self._bytes[start : start + size]

    def generation(self, slot: int) -> int:
        """What the slot holds now; 0 while it is being written."""
        return int(self._bytes[slot * self.stride :][:8].view("<u8")[0])

    def stamp(self, slot: int, generation: int) -> None:
        """Say what the slot holds (the service's side)."""
        self._bytes[slot * self.stride :][:8].view("<u8")[0] = generation

    def unlink(self) -> None:
        """Remove the name; who has mapped the region keeps it. Idempotent, the service's side."""
        if self._linked is not None:
            self._linked()  # runs once

    def close(self) -> None:
        """Let go; arrays given out before stay valid, the memory goes with the last of them."""
        self.unlink()
        self._bytes = np.zeros(0, np.uint8)
        with suppress(BufferError):  # arrays still point into it: it is unmapped when they are gone
            self._memory.close()


def _create(name: str, size: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, size, tagname=name)
    import _posixshmem

    handle = _posixshmem.shm_open(f"/{name}", os.O_CREAT | os.O_EXCL | os.O_RDWR, mode=0o600)
    try:
        os.ftruncate(handle, size)
        if hasattr(os, "posix_fallocate"):  # a full /dev/shm says so now, not by SIGBUS later
            os.posix_fallocate(handle, 0, size)
        return mmap.mmap(handle, size)
    except BaseException:
        _unlink(name)
        raise
    finally:
        os.close(handle)


def _attach(name: str, size: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, size, tagname=name, access=mmap.ACCESS_READ)
    import _posixshmem

    handle = _posixshmem.shm_open(f"/{name}", os.O_RDONLY, mode=0o600)
    try:
        about = os.fstat(handle)
        if about.st_size < size or about.st_uid != os.geteuid():
            raise ValueError("not the service's")
        return mmap.mmap(handle, size, mmap.MAP_SHARED, mmap.PROT_READ)
    finally:
        os.close(handle)


def _unlink(name: str) -> None:
    if sys.platform != "win32":
        import _posixshmem

        with suppress(OSError):
            _posixshmem.shm_unlink(f"/{name}")


def sweep_regions() -> int:
    """Remove regions whose service died before its client had mapped them; returns how many. Linux only."""
    removed = 0
    if not _LINUX_FOLDER.is_dir():
        return removed
    for path in _LINUX_FOLDER.glob("lca-*"):
        with suppress(OSError):
            ours = _NAME.fullmatch(path.name) and path.stat().st_uid == os.geteuid()
            if ours and not Path(f"/proc/{int(path.name[4:12], 16)}").exists():
                path.unlink()
                removed += 1
    return removed
