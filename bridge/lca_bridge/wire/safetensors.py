"""A minimal safetensors reader: bytes in, named numpy arrays out.

The format is 8 bytes of little-endian header length, a JSON header, then raw tensors
(https://github.com/huggingface/safetensors). Own code because this module ships to artists' machines, where
only numpy is present. Every offset is checked before a byte is touched; nothing is ever unpickled.
"""

from __future__ import annotations

import json
import math

import numpy as np

from lca.errors import InvalidInputError

_DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_MAX_HEADER_BYTES = 4 << 20


def _broken(why: str) -> InvalidInputError:
    return InvalidInputError(
        f"A tensor file is damaged: {why}. Export the avatar again.", reason="PACKAGE_INVALID"
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def read_safetensors(data: bytes | memoryview) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read every tensor of a safetensors file.

    Args:
        data: the whole file. The returned arrays are read-only views of it, no copies.

    Returns:
        ``(tensors, metadata)``: arrays by name, and the free ``__metadata__`` strings.

    Raises:
        InvalidInputError: reason ``PACKAGE_INVALID`` for anything the specification does not allow.
    """
    view = memoryview(data)
    if len(view) < 8:
        raise _broken("it is shorter than its header")
    header_size = int.from_bytes(view[:8], "little")
    if header_size > min(_MAX_HEADER_BYTES, len(view) - 8):
        raise _broken("its header is longer than the file")
    try:
        header = json.loads(bytes(view[8 : 8 + header_size]))
    except (ValueError, RecursionError):
        raise _broken("its header is not JSON") from None
    if not isinstance(header, dict):
        raise _broken("its header is not a JSON object")
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _broken("its metadata is not a map of strings")
    body = view[8 + header_size :]
    tensors = {name: _read_tensor(name, entry, body) for name, entry in header.items()}
    return tensors, metadata


def _read_tensor(name: str, entry: object, body: memoryview) -> np.ndarray:
    if not isinstance(entry, dict):
        raise _broken(f"tensor {name!r} has no description")
    dtype = _DTYPES.get(entry.get("dtype", ""))
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if dtype is None:
        raise _broken(f"tensor {name!r} has an unknown number type")
    if not isinstance(shape, list) or len(shape) > 16 or not all(_is_count(n) for n in shape):
        raise _broken(f"tensor {name!r} has no valid shape")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_count(n) for n in offsets):
        raise _broken(f"tensor {name!r} has no valid offsets")
    start, stop = offsets
    count = math.prod(shape)
    if start > stop or stop > len(body) or stop - start != count * dtype.itemsize:
        raise _broken(f"tensor {name!r} does not fit its place in the file")
    array = np.frombuffer(body, dtype=dtype, count=count, offset=start).reshape(shape)
    array.flags.writeable = False
    return array
