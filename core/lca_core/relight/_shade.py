"""Kernels of relighting: depth maps for shadows, and the light leaving each Gaussian, in one pass. `shade`
and `transfer` call them."""

# Kernel arguments are typed by numba at compile time; the docstrings give shapes and dtypes.
# mypy: ignore-errors

from __future__ import annotations

import math

import numpy as np

from lca_core.splat._jit import kernel

F = np.float32
ZERO, ONE, TWO = F(0.0), F(1.0), F(2.0)  # plain integers would turn the arithmetic into double
SRGB_STEPS = 4096
SRGB_REACH = F(2.0)  # square root of the largest light with a finite table
C0 = F(0.28209479177387814)
BEHIND = F(-0.25)
"""Cosine of normal and view from which a Gaussian counts as looking away from the camera."""


@kernel
def axes(quats, out):
    """The z axes (N,3) of unit wxyz quaternions (N,4): Gaussians lie flat on the surface."""
    for i in range(quats.shape[0]):
        w, x, y, z = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
        out[i, 0] = TWO * (x * z + w * y)
        out[i, 1] = TWO * (y * z - w * x)
        out[i, 2] = ONE - TWO * (x * x + y * y)


@kernel
def bounds(points):
    """Least and largest coordinates (2,3) of points (N,3)."""
    out = np.empty((2, 3), np.float32)
    out[0], out[1] = np.inf, -np.inf
    for i in range(points.shape[0]):
        for k in range(3):
            out[0, k] = min(out[0, k], points[i, k])
            out[1, k] = max(out[1, k], points[i, k])
    return out


@kernel
def depth_map(points, solid, frame, low, cell, grid):
    """Nearest depth towards the light per cell, ``grid`` (H,W) starting at -inf.

    Args:
        points: (N,3). solid: (N,) bool. frame: (3,3) rows across, up, towards the light. low: (2,).
    """
    height, width = grid.shape
    for i in range(points.shape[0]):
        if not solid[i]:
            continue
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        u = int((frame[0, 0] * x + frame[0, 1] * y + frame[0, 2] * z - low[0]) / cell)
        v = int((frame[1, 0] * x + frame[1, 1] * y + frame[1, 2] * z - low[1]) / cell)
        w = frame[2, 0] * x + frame[2, 1] * y + frame[2, 2] * z
        if u < 0 or v < 0 or u >= width or v >= height:
            continue
        if w > grid[v, u]:
            grid[v, u] = w


@kernel
def lit(points, normals, frames, lows, cell, lift, bias, grids, out):
    """:func:`visible` of map 0 for points (N,3), lifted ``lift`` metres off the surface."""
    for i in range(points.shape[0]):
        facing = frames[0, 2, 0] * normals[i, 0] + frames[0, 2, 1] * normals[i, 1]
        facing += frames[0, 2, 2] * normals[i, 2]
        if facing <= ZERO:
            out[i] = ONE  # turned away: the cosine makes it dark, not the shadow
            continue
        x = points[i, 0] + lift * normals[i, 0]
        y = points[i, 1] + lift * normals[i, 1]
        z = points[i, 2] + lift * normals[i, 2]
        out[i] = visible(x, y, z, 0, frames, lows, cell, bias, grids)


@kernel
def visible(x, y, z, j, frames, lows, cell, bias, grids):
    """Share 0-1 of the 2 x 2 nearest cells in which nothing lies nearer to the light than the point by more
    than ``bias`` metres; bilinear. Frame ``j`` of (L,3,3), low corner (L,2), depth map (L,H,W): slicing them
    first would cost more than the look-up."""
    height, width = grids.shape[1], grids.shape[2]
    a = (frames[j, 0, 0] * x + frames[j, 0, 1] * y + frames[j, 0, 2] * z - lows[j, 0]) / cell - F(0.5)
    b = (frames[j, 1, 0] * x + frames[j, 1, 1] * y + frames[j, 1, 2] * z - lows[j, 1]) / cell - F(0.5)
    w = frames[j, 2, 0] * x + frames[j, 2, 1] * y + frames[j, 2, 2] * z + bias
    # The map has two cells of margin, so this only bites where it had to be cut at its largest size.
    u, v = min(max(int(a), 0), width - 2), min(max(int(b), 0), height - 2)
    fu, fv = a - F(u), b - F(v)
    # Comparisons as numbers: four branches that nobody can foretell would cost more than all the rest.
    near = F(grids[j, v, u] <= w) * (ONE - fu) + F(grids[j, v, u + 1] <= w) * fu
    far = F(grids[j, v + 1, u] <= w) * (ONE - fu) + F(grids[j, v + 1, u + 1] <= w) * fu
    return near * (ONE - fv) + far * fv


@kernel
def srgb(x, table):
    """sRGB of linear light >= 0 by a table over its square root (error below 1e-6; held at 4)."""
    s = math.sqrt(max(x, ZERO)) * F(SRGB_STEPS / 2.0)
    s = min(s, F(SRGB_STEPS) - F(1.001))
    i = int(s)
    f = s - F(i)
    return table[i] * (ONE - f) + table[i + 1] * f


@kernel
def shade(
    worker, workers, means, quats, rest, transfer, albedo, gloss, light, ceiling, lamp_at, lamp_rgb, frames,
    lows, cell, lift, bias, grids, lobes, sheen, mirrored, eye, seen, table, sh,
):  # fmt: skip
    """Light leaving each Gaussian, as the first SH coefficient of its sRGB colour.

    Args:
        means: (N,3) posed. quats, rest: (N,4) unit wxyz, posed and canonical. transfer: (N,10) constant,
            vector and symmetric parts of the canonical transfer / pi. albedo: (N,3). gloss: (N,) uint8 row
            of sheen.
        light: (10,3) like ``transfer``. ceiling: (3,). lamp_at: (L,4), last 1 for a point light.
        lamp_rgb: (L,3). frames (L,3,3), lows (L,2), grids (L,H,W): depth map of each lamp, see ``visible``.
        lobes: (R,H,W,3), empty for no highlights. sheen: (R,2) F0 and
            roughness; rows from R on are matt. mirrored: (R,M) share of light that the lobe reflects, by
            cosine.
        eye: (3,) camera. seen: whether there is one. table: sRGB. sh: (N,K,3) output, all of it written.
    """
    n = means.shape[0]
    matt = np.uint8(sheen.shape[0] if lobes.shape[0] > 0 else 0)  # rows of gloss from here on have no lobe
    lamps = lamp_at.shape[0]
    rt = np.empty((3, 3), np.float32)
    m = np.empty((3, 3), np.float32)
    first, last = n * worker // workers, n * (worker + 1) // workers
    for i in range(first, last):
        aw, ax, ay, az = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
        t0 = transfer[i, 0]
        r0 = r1 = r2 = ZERO
        nx = TWO * (ax * az + aw * ay)
        ny = TWO * (ay * az - aw * ax)
        nz = ONE - TWO * (ax * ax + ay * ay)
        nv, ev, f0, alpha, edge = ONE, ZERO, ZERO, ONE, ZERO
        ex = ey = ez = ZERO
        open_share = min(max(t0 * F(3.5449077), ZERO), ONE)  # share of the cosine lobe that sees the sky
        shiny = gloss[i] < matt
        if seen:
            ex, ey, ez = eye[0] - means[i, 0], eye[1] - means[i, 1], eye[2] - means[i, 2]
            k = ONE / math.sqrt(max(ex * ex + ey * ey + ez * ez, F(1e-12)))
            ex, ey, ez = ex * k, ey * k, ez * k
            nv = nx * ex + ny * ey + nz * ez
            # What looks away from the camera is hidden by the front, or seen from inside, where the sky's
            # mean is all the light there is.
            if nv < BEHIND:
                for c in range(3):
                    e = min(max(t0 * light[0, c], ZERO), ceiling[c] * open_share) * albedo[i, c]
                    sh[i, 0, c] = (srgb(e, table) - F(0.5)) / C0
                clear(sh, i)
                continue
        # The turn of the skin since the canonical pose: posed times conjugate of rest.
        bw, bx, by, bz = rest[i, 0], -rest[i, 1], -rest[i, 2], -rest[i, 3]
        w = aw * bw - ax * bx - ay * by - az * bz
        x = aw * bx + ax * bw + ay * bz - az * by
        y = aw * by - ax * bz + ay * bw + az * bx
        z = aw * bz + ax * by - ay * bx + az * bw
        rt[0, 0], rt[0, 1], rt[0, 2] = (
            ONE - TWO * (y * y + z * z),
            TWO * (x * y - w * z),
            TWO * (x * z + w * y),
        )
        rt[1, 0], rt[1, 1], rt[1, 2] = (
            TWO * (x * y + w * z),
            ONE - TWO * (x * x + z * z),
            TWO * (y * z - w * x),
        )
        rt[2, 0], rt[2, 1], rt[2, 2] = (
            TWO * (x * z - w * y),
            TWO * (y * z + w * x),
            ONE - TWO * (x * x + y * y),
        )
        vx = rt[0, 0] * transfer[i, 1] + rt[0, 1] * transfer[i, 2] + rt[0, 2] * transfer[i, 3]
        vy = rt[1, 0] * transfer[i, 1] + rt[1, 1] * transfer[i, 2] + rt[1, 2] * transfer[i, 3]
        vz = rt[2, 0] * transfer[i, 1] + rt[2, 1] * transfer[i, 2] + rt[2, 2] * transfer[i, 3]
        # m = R A, then the six entries of m R^T; A = [4 7 8; 7 5 9; 8 9 6]
        for r in range(3):
            m[r, 0] = rt[r, 0] * transfer[i, 4] + rt[r, 1] * transfer[i, 7] + rt[r, 2] * transfer[i, 8]
            m[r, 1] = rt[r, 0] * transfer[i, 7] + rt[r, 1] * transfer[i, 5] + rt[r, 2] * transfer[i, 9]
            m[r, 2] = rt[r, 0] * transfer[i, 8] + rt[r, 1] * transfer[i, 9] + rt[r, 2] * transfer[i, 6]
        xx = m[0, 0] * rt[0, 0] + m[0, 1] * rt[0, 1] + m[0, 2] * rt[0, 2]
        yy = m[1, 0] * rt[1, 0] + m[1, 1] * rt[1, 1] + m[1, 2] * rt[1, 2]
        zz = m[2, 0] * rt[2, 0] + m[2, 1] * rt[2, 1] + m[2, 2] * rt[2, 2]
        xy = m[0, 0] * rt[1, 0] + m[0, 1] * rt[1, 1] + m[0, 2] * rt[1, 2]
        xz = m[0, 0] * rt[2, 0] + m[0, 1] * rt[2, 1] + m[0, 2] * rt[2, 2]
        yz = m[1, 0] * rt[2, 0] + m[1, 1] * rt[2, 1] + m[1, 2] * rt[2, 2]
        if shiny:
            row = gloss[i]
            f0, alpha = sheen[row, 0], sheen[row, 1] * sheen[row, 1]
            # Flat Gaussians seen edge-on or from behind have no mirror of their own: their lobe fades out.
            edge = min(max((nv - F(0.05)) * F(3.0), ZERO), ONE)
            nv = min(max(nv, F(0.05)), ONE)
            ev = at_cosine(mirrored, row, nv) * edge
            # The mirror direction, from the blurred picture of this roughness.
            d = TWO * (nx * ex + ny * ey + nz * ez)
            mx, my, mz = d * nx - ex, d * ny - ey, d * nz - ez
            height, width = lobes.shape[1], lobes.shape[2]
            a = (azimuth(mx, mz) / F(2 * math.pi) + F(0.5)) * F(width) - F(0.5)
            b = polar(min(max(my, -ONE), ONE)) / F(math.pi) * F(height) - F(0.5)
            b = min(max(b, ZERO), F(height) - F(1.001))
            u, v = math.floor(a), int(b)
            fu, fv = a - F(u), b - F(v)
            u0 = u + width if u < 0 else u
            u1 = u + 1 if u + 1 < width else 0
            g = ev * open_share
            p00, p01 = (ONE - fu) * (ONE - fv) * g, fu * (ONE - fv) * g
            p10, p11 = (ONE - fu) * fv * g, fu * fv * g
            r0 = (
                p00 * lobes[row, v, u0, 0]
                + p01 * lobes[row, v, u1, 0]
                + p10 * lobes[row, v + 1, u0, 0]
                + p11 * lobes[row, v + 1, u1, 0]
            )
            r1 = (
                p00 * lobes[row, v, u0, 1]
                + p01 * lobes[row, v, u1, 1]
                + p10 * lobes[row, v + 1, u0, 1]
                + p11 * lobes[row, v + 1, u1, 1]
            )
            r2 = (
                p00 * lobes[row, v, u0, 2]
                + p01 * lobes[row, v, u1, 2]
                + p10 * lobes[row, v + 1, u0, 2]
                + p11 * lobes[row, v + 1, u1, 2]
            )
        keep = ONE - ev
        for c in range(3):
            e = t0 * light[0, c] + vx * light[1, c] + vy * light[2, c] + vz * light[3, c]
            e += xx * light[4, c] + yy * light[5, c] + zz * light[6, c]
            e += TWO * (xy * light[7, c] + xz * light[8, c] + yz * light[9, c])
            e = min(max(e, ZERO), ceiling[c] * open_share) * keep * albedo[i, c]
            if c == 0:
                r0 += e
            elif c == 1:
                r1 += e
            else:
                r2 += e
        for j in range(lamps):
            lx, ly, lz = lamp_at[j, 0], lamp_at[j, 1], lamp_at[j, 2]
            fall = ONE
            if lamp_at[j, 3] != ZERO:
                lx, ly, lz = lx - means[i, 0], ly - means[i, 1], lz - means[i, 2]
                fall = ONE / max(lx * lx + ly * ly + lz * lz, F(0.01))
                k = math.sqrt(fall)
                lx, ly, lz = lx * k, ly * k, lz * k
            nl = nx * lx + ny * ly + nz * lz
            if nl <= ZERO:
                continue
            s = visible(
                means[i, 0] + lift * nx, means[i, 1] + lift * ny, means[i, 2] + lift * nz,
                j, frames, lows, cell, bias, grids,
            )  # fmt: skip
            if s <= ZERO:
                continue
            nl = min(nl, ONE)
            fall *= nl * s
            spec, left = ZERO, ONE
            if shiny:
                # Half as much again: the fit falls short of the lobe's true albedo for grazing light.
                left = keep * (ONE - min(F(1.5) * at_cosine(mirrored, gloss[i], nl), ONE))
                hx, hy, hz = lx + ex, ly + ey, lz + ez
                k = ONE / math.sqrt(max(hx * hx + hy * hy + hz * hz, F(1e-12)))
                nh = min(max((nx * hx + ny * hy + nz * hz) * k, ZERO), ONE)
                vh = min(max((ex * hx + ey * hy + ez * hz) * k, ZERO), ONE)
                spec = ggx(f0, alpha, nv, nl, nh, vh) * F(math.pi) * edge
            r0 += fall * lamp_rgb[j, 0] * (albedo[i, 0] * left + spec)
            r1 += fall * lamp_rgb[j, 1] * (albedo[i, 1] * left + spec)
            r2 += fall * lamp_rgb[j, 2] * (albedo[i, 2] * left + spec)
        sh[i, 0, 0] = (srgb(r0, table) - F(0.5)) / C0
        sh[i, 0, 1] = (srgb(r1, table) - F(0.5)) / C0
        sh[i, 0, 2] = (srgb(r2, table) - F(0.5)) / C0
        clear(sh, i)


@kernel
def clear(sh, i):
    """Zero for the higher bands of Gaussian ``i`` of sh (N,K,3)."""
    for band in range(1, sh.shape[1]):
        for axis in range(3):
            sh[i, band, axis] = ZERO


@kernel
def ggx(f0, alpha, nv, nl, nh, vh):
    """BRDF value of one GGX lobe (Walter et al. 2007), height-correlated Smith as Hammon (2017) approximates
    it, Schlick's Fresnel."""
    a2 = alpha * alpha
    d = nh * nh * (a2 - ONE) + ONE
    both = nl * nv
    masking = (both + both) * (ONE - alpha) + (nl + nv) * alpha
    rest = ONE - vh
    square = rest * rest
    fresnel = f0 + (ONE - f0) * square * square * rest
    return a2 * fresnel * F(0.5) / max(F(math.pi) * d * d * masking, F(1e-6))


@kernel
def at_cosine(table, row, cosine):
    """A row of a table (R,M) over cosines 0-1 read at one."""
    last = table.shape[1] - 1
    x = cosine * F(last)
    i = min(int(x), last - 1)
    return table[row, i] + (table[row, i + 1] - table[row, i]) * (x - F(i))


@kernel
def azimuth(x, z):
    """atan2(x, z) to 2e-3, enough for a picture of 11-degree texels."""
    ax, az = abs(x), abs(z)
    t = min(ax, az) / max(max(ax, az), F(1e-12))
    s = t * t
    r = ((F(-0.0464965) * s + F(0.1593142)) * s - F(0.3276228)) * s * t + t
    r = F(math.pi / 2) - r if ax > az else r
    r = F(math.pi) - r if z < ZERO else r
    return -r if x < ZERO else r


@kernel
def polar(y):
    """acos(y) to 1e-4 (Abramowitz and Stegun 4.4.45)."""
    a = abs(y)
    p = ((F(-0.0187293) * a + F(0.0742610)) * a - F(0.2121144)) * a + F(1.5707288)
    p *= math.sqrt(max(ONE - a, ZERO))
    return F(math.pi) - p if y < ZERO else p
