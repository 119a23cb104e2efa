"""The fast twin of ``lca_bridge.wire.encode.pack``: quantised frames in one pass of compiled code.

Same arguments, same bytes (a value on the edge between two steps may fall on either side). Importing this
module imports numba, so the service does it on an evaluation thread.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lca.errors import InvalidInputError
from lca_bridge.wire.encode import Box, pack
from lca_bridge.wire.frames import SH_C0, Encoding, Kind, Layout
from lca_bridge.wire.skin import PosedSplats


def fast_pack(
    layout: Layout,
    splats: PosedSplats,
    keyframe: bool,
    box: Box | None = None,
    out: np.ndarray | None = None,
) -> tuple[np.ndarray, Box]:
    """As :func:`lca_bridge.wire.encode.pack`."""
    if layout.encoding is Encoding.FLOAT32:
        return pack(layout, splats, keyframe, box, out)
    n = layout.gaussian_count
    if len(splats.means) != n:
        raise InvalidInputError(f"The frame has {len(splats.means)} Gaussians, its layout {n}.")
    raw = np.empty(layout.decoded_size(keyframe), np.uint8) if out is None else out
    means = np.ascontiguousarray(splats.means, np.float32)
    if box is None:
        bounds = np.empty(6, np.float32)
        _bounds(means, bounds)
        box = tuple(bounds.tolist())
    low, high = np.array(box[:3], np.float32), np.array(box[3:], np.float32)
    inverse = (1 / (np.maximum(high - low, np.float32(1e-9)) / np.float32(65535))).astype(np.float32)
    for attribute, at in layout.parts(keyframe):
        target = layout.typed(attribute, raw[at])
        match attribute.kind:
            case Kind.POSITION:
                _positions(means, low, inverse, target)
            case Kind.ROTATION:
                _rotations(np.ascontiguousarray(splats.quats, np.float32), target)
            case Kind.LOG_SCALE:
                rows = np.log(np.ascontiguousarray(splats.scales, np.float32))
                _rows(rows, attribute.offset, 1 / attribute.scale, 65535, target)
            case Kind.OPACITY:
                rows = np.ascontiguousarray(splats.opacities, np.float32)[:, None]
                _rows(rows, attribute.offset, 1 / attribute.scale, 255, target)
            case _:
                rows = np.ascontiguousarray(splats.sh[:, 0], np.float32)
                _rows(rows, -0.5 / SH_C0, SH_C0 * 255, 255, target)
    return raw, box


@njit(cache=True, nogil=True)
def _bounds(means: np.ndarray, out: np.ndarray) -> None:
    """min xyz, max xyz of (N, 3)."""
    for c in range(3):
        out[c] = out[3 + c] = means[0, c]
    for i in range(len(means)):
        for c in range(3):
            value = means[i, c]
            out[c] = min(out[c], value)
            out[3 + c] = max(out[3 + c], value)


@njit(cache=True, nogil=True)
def _positions(means: np.ndarray, low: np.ndarray, inverse: np.ndarray, out: np.ndarray) -> None:
    limit = np.float32(65535)
    for c in range(3):
        start, factor = low[c], inverse[c]
        for i in range(len(means)):
            value = np.rint((means[i, c] - start) * factor)
            out[c, i] = np.uint16(min(max(value, np.float32(0)), limit))


@njit(cache=True, nogil=True)
def _rotations(quats: np.ndarray, out: np.ndarray) -> None:
    """int8 planes, the largest component at +-127."""
    for i in range(len(quats)):
        w, x, y, z = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
        largest = max(max(abs(w), abs(x)), max(abs(y), abs(z)))
        factor = np.float32(127) / largest
        out[0, i] = np.int8(np.rint(w * factor))
        out[1, i] = np.int8(np.rint(x * factor))
        out[2, i] = np.int8(np.rint(y * factor))
        out[3, i] = np.int8(np.rint(z * factor))


@njit(cache=True, nogil=True)
def _rows(rows: np.ndarray, offset: float, factor: float, limit: int, out: np.ndarray) -> None:
    """out[c, i] = clamp(round((rows[i, c] - offset) * factor)), the numbers of ``out`` being unsigned."""
    start, scale, top = np.float32(offset), np.float32(factor), np.float32(limit)
    for c in range(rows.shape[1]):
        for i in range(len(rows)):
            out[c, i] = min(max(np.rint((rows[i, c] - start) * scale), np.float32(0)), top)
