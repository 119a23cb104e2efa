# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads 3D-Gaussian-splatting PLY files (binary little-endian, Inria property names) into plain arrays.

Scales come back linear, opacities 0..1, rotations wxyz unit, spherical harmonics as (N, K, 3) with the DC
term first; everything by whole-array operations.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .deps import errors

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "<i2", "int16": "<i2",
    "ushort": "<u2", "uint16": "<u2", "int": "<i4", "int32": "<i4", "uint": "<u4", "uint32": "<u4",
    "float": "<f4", "float32": "<f4", "double": "<f8", "float64": "<f8",
}  # fmt: skip
_NEEDED = [*"xyz", "opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
_NEEDED += [f"f_dc_{i}" for i in range(3)]
_HEADER_LIMIT = 1 << 16


@dataclass(frozen=True)
class PlySplats:
    """means (N, 3), quats (N, 4) wxyz unit, scales (N, 3) linear, opacities (N,) 0..1, sh (N, K, 3); f32."""

    means: NDArray[np.float32]
    quats: NDArray[np.float32]
    scales: NDArray[np.float32]
    opacities: NDArray[np.float32]
    sh: NDArray[np.float32]


def read_ply(path: str | os.PathLike[str]) -> PlySplats:
    """Read a splat PLY.

    Raises:
        InvalidInputError: ``PLY_INVALID``; not such a file, or cut short.
    """
    file = Path(path)
    if not file.is_file():
        raise _invalid(f"there is no file {file.name}")
    data = np.memmap(file, np.uint8, "r") if file.stat().st_size else np.zeros(0, np.uint8)
    head = bytes(data[:_HEADER_LIMIT])
    end = head.find(b"end_header\n")
    if not head.startswith(b"ply") or end < 0:
        raise _invalid("it is not a PLY file")
    count, record = _layout(head[:end].decode("ascii", "replace"))
    start = end + len(b"end_header\n")
    if len(data) - start < count * record.itemsize:
        raise _invalid(f"it is cut short: {count} splats are announced")
    rows = data[start : start + count * record.itemsize].view(record)
    missing = [name for name in _NEEDED if name not in (record.names or ())]
    if missing:
        raise _invalid(f"it holds no Gaussian splats (no {missing[0]})")
    quats = _columns(rows, "rot_", 4)
    quats /= np.maximum(np.linalg.norm(quats, axis=1, keepdims=True), 1e-12)
    return PlySplats(
        means=np.stack([rows[axis] for axis in "xyz"], -1).astype(np.float32),
        quats=quats,
        scales=np.exp(_columns(rows, "scale_", 3)),
        opacities=(1.0 / (1.0 + np.exp(-rows["opacity"].astype(np.float32)))).astype(np.float32),
        sh=_harmonics(rows, record),
    )


def _layout(header: str) -> tuple[int, np.dtype]:
    count, fields, inside = -1, [], False
    for line in header.splitlines()[1:]:
        words = line.split()
        if words[:1] == ["format"] and words[1:2] != ["binary_little_endian"]:
            raise _invalid(f"its format is {words[1]}; binary_little_endian is read")
        if words[:1] == ["element"]:
            inside = words[1] == "vertex" and count < 0
            if inside:
                count = int(words[2])
            elif count < 0:
                raise _invalid("its vertices do not come first")
        elif words[:1] == ["property"] and inside:
            if words[1] not in _TYPES:
                raise _invalid(f"property type {words[1]} is unknown")
            fields.append((words[2], _TYPES[words[1]]))
    if count < 0 or not fields:
        raise _invalid("it has no vertices")
    return count, np.dtype(fields)


def _columns(rows: np.ndarray, stem: str, number: int) -> NDArray[np.float32]:
    return np.stack([rows[f"{stem}{i}"] for i in range(number)], -1).astype(np.float32)


def _harmonics(rows: np.ndarray, record: np.dtype) -> NDArray[np.float32]:
    """DC and complete bands; the file stores the rest channel by channel."""
    rest = sum(name.startswith("f_rest_") for name in record.names or ())
    degree = int(np.sqrt(rest // 3 + 1)) - 1
    bands = (degree + 1) ** 2 - 1
    sh = np.empty((len(rows), 1 + bands, 3), np.float32)
    for channel in range(3):
        sh[:, 0, channel] = rows[f"f_dc_{channel}"]
        for band in range(bands):
            sh[:, 1 + band, channel] = rows[f"f_rest_{channel * (rest // 3) + band}"]
    return sh


def _invalid(why: str) -> Exception:
    return errors.InvalidInputError(
        f"This PLY file cannot be used: {why}. Choose a Gaussian-splat PLY.", reason="PLY_INVALID"
    )


def write_ply(path: str | os.PathLike[str], splats: PlySplats) -> Path:
    """Write a splat PLY with colour and opacity, the layout of the 3DGS reference; complete or not at all.

    Raises:
        PreconditionError: the file cannot be written (no permission, disk full).
    """
    target = Path(path)
    count, bands = splats.sh.shape[:2]
    opacity = np.clip(splats.opacities.astype(np.float64), 1e-6, 1.0 - 1e-6)
    columns = [
        splats.means,
        np.zeros((count, 3), np.float32),
        splats.sh[:, 0],
        splats.sh[:, 1:].transpose(0, 2, 1).reshape(count, 3 * (bands - 1)),
        np.log(opacity / (1.0 - opacity))[:, None],
        np.log(np.maximum(splats.scales, 1e-12)),
        splats.quats,
    ]
    names = [*"xyz", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    names += [f"f_rest_{i}" for i in range(3 * (bands - 1))]
    names += ["opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    header += [f"property float {name}" for name in names] + ["end_header", ""]
    data = np.concatenate(columns, axis=1).astype("<f4").tobytes()
    replace_file(target, "\n".join(header).encode() + data)
    return target


def replace_file(target: Path, data: bytes) -> None:
    """Write ``data`` beside ``target`` and move it there: an old file stays until the new one is complete.

    Raises:
        PreconditionError: it cannot be written.
    """
    part = target.with_name(target.name + ".part")
    try:
        part.write_bytes(data)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise errors.PreconditionError(
            f"{target.name} cannot be written: {error.strerror}. Free some space or choose another folder.",
            reason="NOT_WRITABLE",
        ) from None
