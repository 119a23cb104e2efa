"""Depth order and tile lists for the CPU rasterizer.

In: projected Gaussians of one camera. Out: 64-byte records in depth order and, for every 8x8 tile, the list
of records that can touch it, near to far. Every step splits into contiguous ranges of the depth order, so
lists do not depend on the thread count.
"""

# Kernel arguments are typed by numba at compile time; the docstrings give shapes and dtypes.
# mypy: ignore-errors

from __future__ import annotations

import math

import numpy as np

from lca_core.splat._jit import kernel

F = np.float32
TINY = F(1e-36)  # a determinant near float32's smallest number: the Gaussian covers millions of pixels
TILE = 8
BAND = 4  # tile rows whose gradients one worker adds up
RECORD = 16  # floats per record: x, y, a, b, c, log2 opacity, slack, spare, then up to 4 features
FEATURES = 8  # first feature in a record
LOG2E = F(1.4426950408889634)
LOG2_255 = F(7.994353436858858)
ZERO, HALF, TWO = F(0.0), F(0.5), F(2.0)
SLACK = F(0.01)  # log2 units added to the cut-off, so that float32 rounding never drops a pixel that counts
THIN = F(3e-5)  # below this 1 - rho^2 the ellipse/row intersection loses its digits; the box is used


@kernel
def depth_order(depths, radii, order, scratch):
    """Indices of the visible Gaussians, near to far, equal depths by index; returns their number.

    Args:
        depths, radii: (N,) float32 > 0, (N, 2) int32.
        order: (N,) int32, output; only the first ``count`` entries are written.
        scratch: (3, N) uint32.
    """
    n = depths.shape[0]
    bits = depths.view(np.uint32)
    keys, other, index = scratch[0], scratch[1], scratch[2]
    histogram = np.zeros((3, 2048), np.int32)
    count = 0
    for i in range(n):
        if radii[i, 0] != 0 or radii[i, 1] != 0:
            key = bits[i]
            keys[count] = key
            order[count] = i
            count += 1
            histogram[0, key & np.uint32(2047)] += 1
            histogram[1, (key >> np.uint32(11)) & np.uint32(2047)] += 1
            histogram[2, key >> np.uint32(22)] += 1
    for digit in range(3):
        shift = np.uint32(11 * digit)
        start = np.int32(0)
        for value in range(2048):
            size = histogram[digit, value]
            histogram[digit, value] = start
            start += size
        even = digit != 1
        for i in range(count):
            if even:
                key = keys[i]
                item = np.uint32(order[i])
            else:
                key = other[i]
                item = index[i]
            value = (key >> shift) & np.uint32(2047)
            at = histogram[digit, value]
            histogram[digit, value] = at + np.int32(1)
            if even:
                other[at] = key
                index[at] = item
            else:
                keys[at] = key
                order[at] = np.int32(item)
    for i in range(count):
        order[i] = np.int32(index[i])
    return count


@kernel
def pack(
    worker, workers, order, means2d, conics, opacities, radii, features, width, height, records, boxes, rooms
):
    """Write records and tile boxes in depth order.

    Args:
        order: (count,) from :func:`depth_order`.
        means2d, conics, opacities, radii: (N, 2), (N, 3), (N,), (N, 2) int32.
        features: (N, D <= 4), zero-padded to four.
        records: (count, 16) float32, output.
        boxes: (count, 4) int32, output: first/last tile column, first/last tile row (empty: last < first).
        rooms: (2, workers) int64, output: tiles and bands in the boxes of each worker's range.
    """
    count = order.shape[0]
    step = (count + workers - 1) // workers
    d = features.shape[1]
    room = spans = 0
    for r in range(min(count, worker * step), min(count, (worker + 1) * step)):
        g = order[r]
        x, y = means2d[g, 0], means2d[g, 1]
        records[r, 0] = x
        records[r, 1] = y
        records[r, 2] = -HALF * LOG2E * conics[g, 0]
        records[r, 3] = -LOG2E * conics[g, 1]
        records[r, 4] = -HALF * LOG2E * conics[g, 2]
        log_opacity = math.log2(opacities[g])
        records[r, 5] = log_opacity
        records[r, 6] = log_opacity + LOG2_255 + SLACK
        records[r, 7] = ZERO
        for c in range(4):
            records[r, FEATURES + c] = features[g, c] if c < d else ZERO
        rx, ry = F(radii[g, 0]), F(radii[g, 1])
        x0 = np.int32(max(ZERO, np.ceil(x - rx - HALF))) >> 3
        x1 = np.int32(min(F(width - 1), np.floor(x + rx - HALF))) >> 3
        y0 = np.int32(max(ZERO, np.ceil(y - ry - HALF))) >> 3
        y1 = np.int32(min(F(height - 1), np.floor(y + ry - HALF))) >> 3
        if not records[r, 6] > ZERO:
            x1 = x0 - np.int32(1)
        boxes[r, 0] = x0
        boxes[r, 1] = x1
        boxes[r, 2] = y0
        boxes[r, 3] = y1
        if x1 >= x0 and y1 >= y0:
            room += (x1 - x0 + 1) * (y1 - y0 + 1)
            spans += y1 // BAND - y0 // BAND + 1
    rooms[0, worker] = room
    rooms[1, worker] = spans


@kernel
def pack_features(worker, workers, order, features, records):
    """Replace the features in the records by others (N, D <= 4), zero-padded to four."""
    d = features.shape[1]
    count = order.shape[0]
    step = (count + workers - 1) // workers
    for r in range(min(count, worker * step), min(count, (worker + 1) * step)):
        g = order[r]
        for c in range(4):
            records[r, FEATURES + c] = features[g, c] if c < d else ZERO


@kernel
def touch(worker, workers, records, boxes, rooms, tiles_x, starts, rows, slots, counts):
    """Find the tiles each ellipse touches, exactly: per tile row the x range of the ellipse within that row.

    Args:
        rooms: (2, workers) int64: first entry of ``slots`` and first gradient row of each worker.
        starts: (count,) int64, output: first slot of a record; the number of its slots replaces
            ``boxes[r, 0]``.
        rows: (count,) int32, output: gradient row of the record's first band, minus that band's number.
        slots: int32, output: tile numbers.
        counts: (workers, tiles) int32, zeroed, output: list lengths per worker.
    """
    count = records.shape[0]
    step = (count + workers - 1) // workers
    at = rooms[0, worker]
    row = rooms[1, worker]
    mine = counts[worker]
    for r in range(min(count, worker * step), min(count, (worker + 1) * step)):
        first = at
        starts[r] = first
        x0, x1, y0, y1 = boxes[r, 0], boxes[r, 1], boxes[r, 2], boxes[r, 3]
        rows[r] = row - y0 // BAND
        if x1 >= x0 and y1 >= y0:
            row += y1 // BAND - y0 // BAND + 1
        x, y = records[r, 0], records[r, 1]
        a, b, c = -records[r, 2], -HALF * records[r, 3], -records[r, 4]
        limit = records[r, 6]
        det = a * c - b * b
        exact = det > THIN * a * c and det > TINY and x1 >= x0 and (x1 > x0 or y1 > y0)
        inverse = F(1.0) / a
        top = F(0.0)
        if exact:
            # y offset of the rightmost point; the leftmost is its mirror
            top = -(b / c) * math.sqrt(limit * c / det)
        for ty in range(y0, y1 + 1):
            t0, t1 = x0, x1
            if exact:
                low = F(ty * TILE) + HALF - y
                high = low + F(TILE - 1)
                right = min(max(top, low), high)
                left = min(max(-top, low), high)
                disc_right = a * limit - det * right * right
                disc_left = a * limit - det * left * left
                if disc_right < ZERO or disc_left < ZERO:
                    continue
                xl = np.ceil(x + (-b * left - math.sqrt(disc_left)) * inverse - HALF)
                xr = np.floor(x + (-b * right + math.sqrt(disc_right)) * inverse - HALF)
                if xl > xr:
                    continue
                t0 = max(x0, np.int32(max(xl, ZERO)) >> 3)
                t1 = min(x1, np.int32(max(min(xr, F(1e8)), F(-1.0))) >> 3)
            for tx in range(t0, t1 + 1):
                tile = ty * tiles_x + tx
                slots[at] = tile
                mine[tile] += 1
                at += 1
        boxes[r, 0] = at - first


@kernel
def offsets(counts, ends):
    """Turn list lengths into write positions, in place; ``ends`` (tiles + 1,) int64 receives the list
    borders."""
    workers, tiles = counts.shape
    at = 0
    for tile in range(tiles):
        ends[tile] = at
        for worker in range(workers):
            size = counts[worker, tile]
            counts[worker, tile] = at
            at += size
    ends[tiles] = at
    return at


@kernel
def scatter(worker, workers, boxes, starts, slots, positions, lists):
    """Write the tile lists."""
    count = boxes.shape[0]
    step = (count + workers - 1) // workers
    mine = positions[worker]
    for r in range(min(count, worker * step), min(count, (worker + 1) * step)):
        for j in range(starts[r], starts[r] + boxes[r, 0]):
            tile = slots[j]
            at = mine[tile]
            mine[tile] = at + 1
            lists[at] = r
