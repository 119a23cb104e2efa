"""Curves for TensorBoard without TensorBoard: scalars as TFRecord event files.

One record is length, masked CRC-32C of the length, an ``Event`` protobuf, masked CRC-32C of it (TensorFlow's
``record_writer.h`` and ``event.proto``). ``tensorboard --logdir RUN`` reads the file; nothing else is needed.
"""

from __future__ import annotations

import math
import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

_TABLE = []
for _byte in range(256):
    _value = _byte
    for _ in range(8):
        _value = (_value >> 1) ^ (0x82F63B78 if _value & 1 else 0)
    _TABLE.append(_value)


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of ``data``."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    """The checksum as TFRecord stores it, 4 bytes."""
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def record(data: bytes) -> bytes:
    """One TFRecord."""
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


class EventWriter:
    """Appends scalars to a new event file in ``folder``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        self.path = folder / f"events.out.tfevents.{int(now)}.{socket.gethostname()}.{os.getpid()}"
        self._write(_field(1, now) + _bytes(3, b"brain.Event:2"))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log finite ``values`` at ``step``."""
        parts = [
            _bytes(1, _bytes(1, name.encode()) + _tag(2, 5) + struct.pack("<f", value))
            for name, value in values.items()
            if math.isfinite(value)
        ]
        self._write(_field(1, time.time()) + _tag(2, 0) + _varint(step) + _bytes(5, b"".join(parts)))

    def _write(self, event: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(record(event))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _tag(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _field(number: int, value: float) -> bytes:
    return _tag(number, 1) + struct.pack("<d", value)


def _bytes(number: int, data: bytes) -> bytes:
    return _tag(number, 2) + _varint(len(data)) + data
