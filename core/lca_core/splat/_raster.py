"""Blending on the CPU: tiles of 8x8 pixels, front to back, forward and backward.

In: records and tile lists of ``_tiles``. Out: feature image and transmittance; backward, the gradients of
each Gaussian, one row per band of tile rows it lies in, summed in tile order (no atomics, same bits on any
number of threads: one worker has a whole band).

All 64 pixels are updated by branch-free selects so that the loop becomes SIMD code: 16 lanes of four pixels,
two tile rows apart. A tile's state lies in one scratch row at constant offsets, which tells the compiler that
nothing overlaps. The transmittance of a pixel that has reached the stop is kept negative. The backward pass
also runs front to back: with S = gradient-weighted colour still to come, dL/dalpha = T (c . g) - S / (1 -
alpha), so no per-pixel lists are stored; it visits only the entries that the forward pass found to touch a
live pixel. ``channels`` is a tuple whose *length* D is the number of features: a compile-time constant.
"""

# Kernel arguments are typed by numba at compile time; the docstrings give shapes and dtypes.
# mypy: ignore-errors

from __future__ import annotations

import numpy as np

from lca_core.splat._jit import kernel, lane, pixel
from lca_core.splat._tiles import BAND

F = np.float32
ZERO, ONE, HALF, TWO = F(0.0), F(1.0), F(0.5), F(2.0)
ROW_1, ROW_2, ROW_3 = F(2.0), F(4.0), F(6.0)  # pixels between a lane's first and its other pixels
ALPHA_MIN = F(1.0 / 255.0)
ALPHA_MAX = F(0.999)
STOP = F(1e-4)
FLOOR = F(-30.0)
LN2 = F(0.6931471805599453)
# 2^f on [-1, 0], relative error 7.5e-8 (weighted minimax fit)
E0, E1, E2 = F(0.9999999250632793), F(0.6931422525823581), F(0.24017218916789745)
E3, E4, E5 = F(0.055279722366873396), F(0.00918861149532521), F(0.0009387882453742169)
LANES = 16
P_T, P_0, P_1, P_2, P_3, P_S, P_X, P_Y = 0, 64, 128, 192, 256, 320, 384, 400
SCRATCH = 416
MOMENTS = 6  # gradient columns before the features; after them, with absgrad, two more


@lane
def _opacity(base, slope, c, dy, lo):
    """Unclamped alpha at one pixel; 0 below 1/255 and where rounding makes sigma negative."""
    power = base + dy * (slope + c * dy)
    bounded = power if power > FLOOR else FLOOR
    whole = np.int32(bounded)
    f = bounded - F(whole)
    scale = np.int32((whole + np.int32(127)) << np.int32(23)).view(np.float32)
    e = (E0 + f * (E1 + f * (E2 + f * (E3 + f * (E4 + f * E5))))) * scale
    e = e if e >= ALPHA_MIN else ZERO
    return e if power <= lo else ZERO


@lane
def _add(s, p, base, slope, c, dy, lo, f0, f1, f2, f3, d):
    """Blend one pixel in; returns alpha times the transmittance it met (0: the pixel keeps its state)."""
    e = _opacity(base, slope, c, dy, lo)
    alpha = e if e <= ALPHA_MAX else ALPHA_MAX
    t = s[P_T + p]
    live = t if t > ZERO else ZERO
    met = alpha * live
    rest = live - met
    stop = rest <= STOP
    weight = ZERO if stop else met
    s[P_T + p] = -abs(t) if stop else rest
    s[P_0 + p] += weight * f0
    if d > 1:
        s[P_1 + p] += weight * f1
    if d > 2:
        s[P_2 + p] += weight * f2
    if d > 3:
        s[P_3 + p] += weight * f3
    return met


@lane
def _any_alive(s):
    alive = ZERO  # a sum becomes vector code, a maximum 64 steps one after the other
    for p in range(64):
        alive += s[P_T + p] if s[P_T + p] > ZERO else ZERO
    return alive > ZERO


@pixel
def _forward_tile(
    tile, ends, stops, lists, records, width, height, tiles_x, channels, mark, s, image, through
):
    d = len(channels)
    x0, y0 = (tile % tiles_x) * 8, (tile // tiles_x) * 8
    w, h = min(8, width - x0), min(8, height - y0)
    for p in range(64):
        s[P_T + p] = ONE if (p & 7) < w and (p >> 3) < h else -ONE
        s[P_0 + p] = ZERO
        s[P_1 + p] = ZERO
        s[P_2 + p] = ZERO
        s[P_3 + p] = ZERO
    for i in range(LANES):
        s[P_X + i] = F(x0 + (i & 7)) + HALF
        s[P_Y + i] = F(y0 + (i >> 3)) + HALF
    used = ends[tile]
    for k in range(ends[tile], stops[tile]):
        r = lists[k]
        x, y, a, b, c = records[r, 0], records[r, 1], records[r, 2], records[r, 3], records[r, 4]
        lo = records[r, 5]
        f0, f1, f2, f3 = records[r, 8], records[r, 9], records[r, 10], records[r, 11]
        met = ZERO
        for i in range(LANES):
            dx = x - s[P_X + i]
            dy = y - s[P_Y + i]
            slope = b * dx
            base = a * dx * dx + lo
            m0 = _add(s, i, base, slope, c, dy, lo, f0, f1, f2, f3, d)
            m1 = _add(s, i + 16, base, slope, c, dy - ROW_1, lo, f0, f1, f2, f3, d)
            m2 = _add(s, i + 32, base, slope, c, dy - ROW_2, lo, f0, f1, f2, f3, d)
            m3 = _add(s, i + 48, base, slope, c, dy - ROW_3, lo, f0, f1, f2, f3, d)
            if len(mark) > 0:
                met += (m0 + m1) + (m2 + m3)
        if len(mark) > 0:
            lists[used] = r
            used += 1 if met > ZERO else 0
        if (k & 7) == 7 and not _any_alive(s):
            break
    if len(mark) > 0:
        stops[tile] = used
    for j in range(h):
        for i in range(w):
            p = j * 8 + i
            through[y0 + j, x0 + i] = abs(s[P_T + p])
            image[y0 + j, x0 + i, 0] = s[P_0 + p]
            if d > 1:
                image[y0 + j, x0 + i, 1] = s[P_1 + p]
            if d > 2:
                image[y0 + j, x0 + i, 2] = s[P_2 + p]
            if d > 3:
                image[y0 + j, x0 + i, 3] = s[P_3 + p]


@kernel
def raster_forward(
    part, parts, bands, tall, ends, stops, lists, records, width, height, tiles_x, channels, mark, image,
    through,
):  # fmt: skip
    """Blend one view.

    Args:
        bands: order in which bands, ``tall`` tile rows each, are dealt to parts (dear ones first balances the
            load; neighbouring tiles share records, so that a whole band finds most of them in the cache).
        stops: (tiles,) where the list of each tile stops.
        mark: ``(0,)`` shortens every list, in place, to the entries that meet a live pixel, ``()`` does not.
        image, through: (H, W, D) and (H, W) float32, outputs: features and final transmittance.
    """
    n = ends.shape[0] - 1
    scratch = np.empty(SCRATCH, np.float32)
    for i in range(part, bands.shape[0], parts):
        first = bands[i] * tall * tiles_x
        for tile in range(first, min(n, first + tall * tiles_x)):
            _forward_tile(
                tile, ends, stops, lists, records, width, height, tiles_x, channels, mark, scratch, image,
                through,
            )  # fmt: skip


@lane
def _take(s, p, base, slope, c, dy, lo, f0, f1, f2, f3, d):
    """(blending weight, dL/dlog(alpha)) of one pixel; moves its state on."""
    e = _opacity(base, slope, c, dy, lo)
    alpha = e if e <= ALPHA_MAX else ALPHA_MAX
    t = s[P_T + p]
    live = t if t > ZERO else ZERO
    weight = alpha * live
    rest = live - weight
    stop = rest <= STOP
    weight = ZERO if stop else weight
    s[P_T + p] = -abs(t) if stop else rest
    along = f0 * s[P_0 + p]
    if d > 1:
        along += f1 * s[P_1 + p]
    if d > 2:
        along += f2 * s[P_2 + p]
    if d > 3:
        along += f3 * s[P_3 + p]
    along *= weight
    left = s[P_S + p] - along
    s[P_S + p] = left
    g = along - left * alpha / (ONE - alpha)
    return weight, ZERO if stop or e > ALPHA_MAX else g


@pixel
def _backward_tile(
    tile, ends, stops, lists, records, rows, width, height, tiles_x, channels, absolute,
    s, image, through, g_image, g_alpha, grads,
):  # fmt: skip
    d = len(channels)
    x0, y0 = (tile % tiles_x) * 8, (tile // tiles_x) * 8
    w, h = min(8, width - x0), min(8, height - y0)
    band = (tile // tiles_x) // BAND
    for p in range(64):
        s[P_T + p] = -ONE
        s[P_0 + p] = ZERO
        s[P_1 + p] = ZERO
        s[P_2 + p] = ZERO
        s[P_3 + p] = ZERO
        s[P_S + p] = ZERO
    for i in range(LANES):
        s[P_X + i] = F(x0 + (i & 7)) + HALF
        s[P_Y + i] = F(y0 + (i >> 3)) + HALF
    for j in range(h):
        for i in range(w):
            p = j * 8 + i
            v, u = y0 + j, x0 + i
            s[P_T + p] = ONE
            s[P_0 + p] = g_image[v, u, 0]
            rest = s[P_0 + p] * image[v, u, 0] - g_alpha[v, u] * through[v, u]
            if d > 1:
                s[P_1 + p] = g_image[v, u, 1]
                rest += s[P_1 + p] * image[v, u, 1]
            if d > 2:
                s[P_2 + p] = g_image[v, u, 2]
                rest += s[P_2 + p] * image[v, u, 2]
            if d > 3:
                s[P_3 + p] = g_image[v, u, 3]
                rest += s[P_3 + p] * image[v, u, 3]
            s[P_S + p] = rest
    for k in range(ends[tile], stops[tile]):
        r = lists[k]
        x, y, a, b, c = records[r, 0], records[r, 1], records[r, 2], records[r, 3], records[r, 4]
        lo = records[r, 5]
        f0, f1, f2, f3 = records[r, 8], records[r, 9], records[r, 10], records[r, 11]
        m0 = mx = my = mxx = mxy = myy = q0 = q1 = q2 = q3 = ax = ay = ZERO
        for i in range(LANES):
            dx = x - s[P_X + i]
            dy0 = y - s[P_Y + i]
            dy1, dy2, dy3 = dy0 - ROW_1, dy0 - ROW_2, dy0 - ROW_3
            slope = b * dx
            base = a * dx * dx + lo
            w0, g0 = _take(s, i, base, slope, c, dy0, lo, f0, f1, f2, f3, d)
            w1, g1 = _take(s, i + 16, base, slope, c, dy1, lo, f0, f1, f2, f3, d)
            w2, g2 = _take(s, i + 32, base, slope, c, dy2, lo, f0, f1, f2, f3, d)
            w3, g3 = _take(s, i + 48, base, slope, c, dy3, lo, f0, f1, f2, f3, d)
            q0 += w0 * s[P_0 + i] + w1 * s[P_0 + i + 16] + w2 * s[P_0 + i + 32] + w3 * s[P_0 + i + 48]
            if d > 1:
                q1 += w0 * s[P_1 + i] + w1 * s[P_1 + i + 16] + w2 * s[P_1 + i + 32] + w3 * s[P_1 + i + 48]
            if d > 2:
                q2 += w0 * s[P_2 + i] + w1 * s[P_2 + i + 16] + w2 * s[P_2 + i + 32] + w3 * s[P_2 + i + 48]
            if d > 3:
                q3 += w0 * s[P_3 + i] + w1 * s[P_3 + i + 16] + w2 * s[P_3 + i + 32] + w3 * s[P_3 + i + 48]
            # the column's sums of 1, dy, dy^2; dx is the same for all four
            h0, h1, h2, h3 = g0 * dy0, g1 * dy1, g2 * dy2, g3 * dy3
            g = (g0 + g1) + (g2 + g3)
            gy = (h0 + h1) + (h2 + h3)
            gx = g * dx
            m0 += g
            mx += gx
            my += gy
            mxx += gx * dx
            mxy += gy * dx
            myy += h0 * dy0 + h1 * dy1 + h2 * dy2 + h3 * dy3
            if len(absolute) > 0:
                ux, uy = TWO * a * dx, TWO * c
                ax += abs(g0 * ux + b * h0) + abs(g1 * ux + b * h1)
                ax += abs(g2 * ux + b * h2) + abs(g3 * ux + b * h3)
                ay += abs(slope * g0 + uy * h0) + abs(slope * g1 + uy * h1)
                ay += abs(slope * g2 + uy * h2) + abs(slope * g3 + uy * h3)
        row = rows[r] + band
        grads[row, 0] += m0
        grads[row, 1] += mx
        grads[row, 2] += my
        grads[row, 3] += mxx
        grads[row, 4] += mxy
        grads[row, 5] += myy
        grads[row, 6] += q0
        if d > 1:
            grads[row, 7] += q1
        if d > 2:
            grads[row, 8] += q2
        if d > 3:
            grads[row, 9] += q3
        if len(absolute) > 0:
            grads[row, MOMENTS + d] += ax
            grads[row, MOMENTS + d + 1] += ay


@kernel
def raster_backward(
    part, parts, bands, ends, stops, lists, records, rows, width, height, tiles_x, channels, absolute,
    image, through, g_image, g_alpha, grads,
):  # fmt: skip
    """Gradients per record and band.

    Args:
        bands: order in which bands are dealt to parts (dear ones first balances the load).
        stops: as :func:`raster_forward` left it.
        rows: (count,) int32: row in ``grads`` of a record's first band, minus the number of that band.
        absolute: ``(0,)`` adds the two columns of absolute pixel-position gradients, ``()`` does not.
        image, through: what :func:`raster_forward` wrote; ``g_image``, ``g_alpha``: (H, W, D), (H, W)
            cotangents.
        grads: (rows, 6 + D [+ 2]) float32, zeroed, output: moments of dL/dlog(alpha) (1, dx, dy, dx^2, dx
            dy, dy^2), features.
    """
    n = ends.shape[0] - 1
    scratch = np.empty(SCRATCH, np.float32)
    for i in range(part, bands.shape[0], parts):
        first = bands[i] * BAND * tiles_x
        for tile in range(first, min(n, first + BAND * tiles_x)):
            if stops[tile] > ends[tile]:
                _backward_tile(
                    tile, ends, stops, lists, records, rows, width, height, tiles_x, channels, absolute,
                    scratch, image, through, g_image, g_alpha, grads,
                )  # fmt: skip


@kernel
def reduce_gradients(
    worker, workers, order, boxes, rows, records, opacities, grads, channels, absolute,
    g_means2d, g_conics, g_opacities, g_features, g_absolute,
):  # fmt: skip
    """Sum the bands of each Gaussian, always from top to bottom, and turn moments into gradients; **adds** to
    the outputs."""
    d = len(channels)
    columns = MOMENTS + d + 2 * len(absolute)
    count = records.shape[0]
    step = (count + workers - 1) // workers
    total = np.empty(16, np.float32)
    for r in range(min(count, worker * step), min(count, (worker + 1) * step)):
        if boxes[r, 0] == 0:
            continue
        first, last = rows[r] + boxes[r, 2] // BAND, rows[r] + boxes[r, 3] // BAND
        for m in range(columns):
            total[m] = grads[first, m]
        for row in range(first + 1, last + 1):
            for m in range(columns):
                total[m] += grads[row, m]
        g = order[r]
        a, b, c2 = records[r, 2], records[r, 3], records[r, 4]
        # records hold -log2(e)/2 * conic; ln(2) brings the derivative of the exponent back to natural
        # units
        g_means2d[g, 0] += LN2 * (TWO * a * total[1] + b * total[2])
        g_means2d[g, 1] += LN2 * (b * total[1] + TWO * c2 * total[2])
        g_conics[g, 0] -= HALF * total[3]
        g_conics[g, 1] -= total[4]
        g_conics[g, 2] -= HALF * total[5]
        g_opacities[g] += total[0] / opacities[g]
        for c in range(d):
            g_features[g, c] += total[MOMENTS + c]
        if len(absolute) > 0:
            g_absolute[g, 0] += LN2 * total[MOMENTS + d]
            g_absolute[g, 1] += LN2 * total[MOMENTS + d + 1]
