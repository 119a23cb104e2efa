"""Blending on the CPU: tiles of 8x8 pixels, front to back, forward and backward.

In: records and tile lists of ``_tiles``. Out: feature image and transmittance; backward, the gradients of
each Gaussian, summed over its tiles in tile order: one worker adds them up as it goes, several write one row
per list entry and add afterwards through the inverse map (no atomics, same bits on any number of threads).

All 64 pixels are updated by branch-free selects so that the loop becomes SIMD code; a tile's state lies in
one scratch row at constant offsets, which tells the compiler that nothing overlaps. The transmittance of a
pixel that has reached the stop is kept negative. The backward pass also runs front to back: with S =
gradient-weighted colour still to come, dL/dalpha = T (c . g) - S / (1 - alpha), so no per-pixel lists are
stored. ``channels`` is a tuple whose *length* D is the number of features: a compile-time constant.
"""

# Kernel arguments are typed by numba at compile time; the docstrings give shapes and dtypes.
# mypy: ignore-errors

from __future__ import annotations

import numpy as np

from lca_core.splat._jit import kernel, pixel

F = np.float32
ZERO, ONE, HALF, TWO = F(0.0), F(1.0), F(0.5), F(2.0)
ALPHA_MIN = F(1.0 / 255.0)
ALPHA_MAX = F(0.999)
STOP = F(1e-4)
FLOOR = F(-30.0)
LN2 = F(0.6931471805599453)
# 2^f on [-1, 0], relative error 7.5e-8 (weighted minimax fit)
E0, E1, E2 = F(0.9999999250632793), F(0.6931422525823581), F(0.24017218916789745)
E3, E4, E5 = F(0.055279722366873396), F(0.00918861149532521), F(0.0009387882453742169)
P_T, P_X, P_Y, P_0, P_1, P_2, P_3, P_S, P_G = 0, 64, 128, 192, 256, 320, 384, 448, 512
SCRATCH = 528
MOMENTS = 6  # gradient columns before the features; after them, with absgrad, two more


@pixel
def _alpha(x, y, a, b, c, lo, px, py):
    """(unclamped alpha, dx, dy) at one pixel; alpha is 0 below 1/255 and where rounding makes sigma
    negative."""
    dx = x - px
    dy = y - py
    q = dx * (a * dx + b * dy) + c * dy * dy
    power = q + lo
    power = power if power > FLOOR else FLOOR
    whole = np.int32(power)
    f = power - F(whole)
    scale = np.int32((whole + np.int32(127)) << np.int32(23)).view(np.float32)
    e = (E0 + f * (E1 + f * (E2 + f * (E3 + f * (E4 + f * E5))))) * scale
    e = e if e >= ALPHA_MIN else ZERO
    e = e if q <= ZERO else ZERO
    return e, dx, dy


@pixel
def _forward_tile(tile, ends, lists, records, width, height, tiles_x, channels, s, image, through):
    d = len(channels)
    x0, y0 = (tile % tiles_x) * 8, (tile // tiles_x) * 8
    w, h = min(8, width - x0), min(8, height - y0)
    for p in range(64):
        i, j = p & 7, p >> 3
        s[P_T + p] = ONE if i < w and j < h else -ONE
        s[P_X + p] = F(x0 + i) + HALF
        s[P_Y + p] = F(y0 + j) + HALF
        s[P_0 + p] = ZERO
        s[P_1 + p] = ZERO
        s[P_2 + p] = ZERO
        s[P_3 + p] = ZERO
    for k in range(ends[tile], ends[tile + 1]):
        r = lists[k]
        x, y, a, b, c, lo = (
            records[r, 0],
            records[r, 1],
            records[r, 2],
            records[r, 3],
            records[r, 4],
            records[r, 5],
        )
        f0, f1, f2, f3 = records[r, 8], records[r, 9], records[r, 10], records[r, 11]
        for p in range(64):
            e, _dx, _dy = _alpha(x, y, a, b, c, lo, s[P_X + p], s[P_Y + p])
            alpha = e if e <= ALPHA_MAX else ALPHA_MAX
            t = s[P_T + p]
            live = t if t > ZERO else ZERO
            weight = alpha * live
            rest = live - weight
            stop = rest <= STOP
            weight = ZERO if stop else weight
            s[P_T + p] = -abs(t) if stop else rest
            s[P_0 + p] += weight * f0
            if d > 1:
                s[P_1 + p] += weight * f1
            if d > 2:
                s[P_2 + p] += weight * f2
            if d > 3:
                s[P_3 + p] += weight * f3
        if (k & 7) == 7:
            alive = ZERO  # a sum becomes vector code, a maximum 64 steps one after the other
            for p in range(64):
                alive += s[P_T + p] if s[P_T + p] > ZERO else ZERO
            if alive <= ZERO:
                break
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
    worker, workers, tiles, ends, lists, records, width, height, tiles_x, channels, image, through
):
    """Blend one view.

    Args:
        tiles: (tiles,) order in which tiles are dealt to workers (long lists first balances the load).
        image, through: (H, W, D) and (H, W) float32, outputs: features and final transmittance.
    """
    n = tiles.shape[0]
    scratch = np.empty(SCRATCH, np.float32)
    for i in range(worker, n, workers):
        _forward_tile(
            tiles[i], ends, lists, records, width, height, tiles_x, channels, scratch, image, through
        )


@pixel
def _backward_tile(
    tile, ends, lists, records, width, height, tiles_x, channels, absolute, direct,
    s, image, through, g_image, g_alpha, grads,
):  # fmt: skip
    d = len(channels)
    columns = MOMENTS + d + 2 * len(absolute)
    x0, y0 = (tile % tiles_x) * 8, (tile // tiles_x) * 8
    w, h = min(8, width - x0), min(8, height - y0)
    for p in range(64):
        i, j = p & 7, p >> 3
        s[P_T + p] = -ONE
        s[P_X + p] = F(x0 + i) + HALF
        s[P_Y + p] = F(y0 + j) + HALF
        s[P_0 + p] = ZERO
        s[P_1 + p] = ZERO
        s[P_2 + p] = ZERO
        s[P_3 + p] = ZERO
        s[P_S + p] = ZERO
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
    end = ends[tile + 1]
    stopped = end
    for k in range(ends[tile], end):
        r = lists[k]
        x, y, a, b, c, lo = (
            records[r, 0],
            records[r, 1],
            records[r, 2],
            records[r, 3],
            records[r, 4],
            records[r, 5],
        )
        f0, f1, f2, f3 = records[r, 8], records[r, 9], records[r, 10], records[r, 11]
        m0 = mx = my = mxx = mxy = myy = q0 = q1 = q2 = q3 = ax = ay = ZERO
        for p in range(64):
            e, dx, dy = _alpha(x, y, a, b, c, lo, s[P_X + p], s[P_Y + p])
            alpha = e if e <= ALPHA_MAX else ALPHA_MAX
            t = s[P_T + p]
            live = t if t > ZERO else ZERO
            weight = alpha * live
            rest = live - weight
            stop = rest <= STOP
            weight = ZERO if stop else weight
            s[P_T + p] = -abs(t) if stop else rest
            along = f0 * s[P_0 + p]
            q0 += weight * s[P_0 + p]
            if d > 1:
                along += f1 * s[P_1 + p]
                q1 += weight * s[P_1 + p]
            if d > 2:
                along += f2 * s[P_2 + p]
                q2 += weight * s[P_2 + p]
            if d > 3:
                along += f3 * s[P_3 + p]
                q3 += weight * s[P_3 + p]
            left = s[P_S + p] - weight * along
            s[P_S + p] = left
            g = weight * along - left * alpha / (ONE - alpha)
            g = ZERO if stop or e > ALPHA_MAX else g
            gx, gy = g * dx, g * dy
            m0 += g
            mx += gx
            my += gy
            mxx += gx * dx
            mxy += gx * dy
            myy += gy * dy
            if len(absolute) > 0:
                ax += abs(TWO * a * gx + b * gy)
                ay += abs(b * gx + TWO * c * gy)
        s[P_G], s[P_G + 1], s[P_G + 2], s[P_G + 3], s[P_G + 4], s[P_G + 5] = m0, mx, my, mxx, mxy, myy
        s[P_G + 6] = q0
        if d > 1:
            s[P_G + 7] = q1
        if d > 2:
            s[P_G + 8] = q2
        if d > 3:
            s[P_G + 9] = q3
        if len(absolute) > 0:
            s[P_G + MOMENTS + d] = ax
            s[P_G + MOMENTS + d + 1] = ay
        for m in range(columns):
            if len(direct) > 0:
                grads[r, m] += s[P_G + m]
            else:
                grads[k, m] = s[P_G + m]
        if (k & 7) == 7:
            alive = ZERO  # a sum becomes vector code, a maximum 64 steps one after the other
            for p in range(64):
                alive += s[P_T + p] if s[P_T + p] > ZERO else ZERO
            if alive <= ZERO:
                stopped = k + 1
                break
    if len(direct) == 0:
        for k in range(stopped, end):
            for m in range(columns):
                grads[k, m] = ZERO


@kernel
def raster_backward(
    worker, workers, tiles, ends, lists, records, width, height, tiles_x, channels, absolute, direct,
    image, through, g_image, g_alpha, grads,
):  # fmt: skip
    """Gradients per list entry or, with one worker, per record.

    Args:
        absolute: ``(0,)`` adds the two columns of absolute pixel-position gradients, ``()`` does not.
        direct: ``(0,)`` adds entries up per record at once (one worker; tiles must come in ascending order),
            ``()`` writes one row per entry.
        image, through: what :func:`raster_forward` wrote; ``g_image``, ``g_alpha``: (H, W, D), (H, W)
            cotangents.
        grads: (records, zeroed, or entries; 6 + D [+ 2]) float32, output: moments of dL/dlog(alpha) (1, dx,
            dy, dx^2, dx dy, dy^2), features.
    """
    n = tiles.shape[0]
    scratch = np.empty(SCRATCH, np.float32)
    for i in range(worker, n, workers):
        _backward_tile(
            tiles[i], ends, lists, records, width, height, tiles_x, channels, absolute, direct,
            scratch, image, through, g_image, g_alpha, grads,
        )  # fmt: skip


@kernel
def reduce_gradients(
    worker, workers, order, starts, boxes, slots, records, opacities, grads, channels, absolute, direct,
    g_means2d, g_conics, g_opacities, g_features, g_absolute,
):  # fmt: skip
    """Sum list entries per Gaussian (unless ``direct`` did), always in tile order, and turn moments into
    gradients; **adds** to the outputs."""
    d = len(channels)
    columns = MOMENTS + d + 2 * len(absolute)
    count = records.shape[0]
    step = (count + workers - 1) // workers
    total = np.empty(16, np.float32)
    for r in range(min(count, worker * step), min(count, (worker + 1) * step)):
        if len(direct) > 0:
            for m in range(columns):
                total[m] = grads[r, m]
        else:
            for m in range(columns):
                total[m] = ZERO
            for j in range(starts[r], starts[r] + boxes[r, 0]):
                k = slots[j]
                for m in range(columns):
                    total[m] += grads[k, m]
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
