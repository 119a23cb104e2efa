"""Kernels of the fused pose path: forward kinematics, then correctives, normalisation, skinning and scales of
all Gaussians in one pass, block by block in cache. ``posing`` packs the arrays and calls them.
"""

# Kernel arguments are typed by numba at compile time; the docstrings give shapes and dtypes.
# mypy: ignore-errors

from __future__ import annotations

import math

import numpy as np

from lca_core.splat._jit import kernel

F = np.float32
ZERO, ONE = F(0.0), F(1.0)
BLOCK = 128  # Gaussians whose 13 changing values (6.5 kB) stay in the first-level cache together
ROWS = 13  # means 3, quats 4, scales 3, first SH coefficient 3
QUATS, SCALES, SH0 = 3, 7, 10
LOG2E, LN2 = F(1.4426950408889634), F(0.6931471805599453)


@kernel
def exponential(x):
    """exp(x), relative error below 3e-7 for |x| < 20 and exactly 1 at 0; SIMD code where libm is a call."""
    x = min(max(x, F(-80.0)), F(80.0))
    whole = np.int32(x * LOG2E)
    r = x - F(whole) * LN2
    e = F(2.7557319e-6) * r + F(2.4801587e-5)
    e = e * r + F(1.9841270e-4)
    e = e * r + F(1.3888889e-3)
    e = e * r + F(8.3333333e-3)
    e = e * r + F(4.1666667e-2)
    e = e * r + F(1.6666667e-1)
    e = e * r + F(0.5)
    e = e * r + ONE
    e = e * r + ONE
    return e * np.int32((whole + np.int32(127)) << np.int32(23)).view(np.float32)


@kernel
def _turn(x, y, z, out):
    """Rodrigues' formula in float64: rotation vector to ``out`` (3, 3)."""
    square = x * x + y * y + z * z
    if square < 1e-12:
        s, c = 1.0 - square / 6.0, 0.5 - square / 24.0
    else:
        angle = math.sqrt(square)
        s, c = math.sin(angle) / angle, (1.0 - math.cos(angle)) / square
    out[0, 0], out[1, 1], out[2, 2] = (
        1.0 - c * (y * y + z * z),
        1.0 - c * (x * x + z * z),
        1.0 - c * (x * x + y * y),
    )
    out[0, 1], out[1, 0] = c * x * y - s * z, c * x * y + s * z
    out[0, 2], out[2, 0] = c * x * z + s * y, c * x * z - s * y
    out[1, 2], out[2, 1] = c * y * z - s * x, c * y * z + s * x


@kernel
def _multiply(a, b, out):
    for i in range(3):
        for j in range(3):
            out[i, j] = a[i, 0] * b[0, j] + a[i, 1] * b[1, j] + a[i, 2] * b[2, j]


@kernel
def _quaternion(m, out):
    """Rotation matrix to unit wxyz quaternion with w >= 0 (Shepperd: the largest divisor)."""
    xx, yy, zz = m[0, 0], m[1, 1], m[2, 2]
    w4, x4, y4, z4 = 1.0 + xx + yy + zz, 1.0 + xx - yy - zz, 1.0 - xx + yy - zz, 1.0 - xx - yy + zz
    wx, wy, wz = m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
    xy, xz, yz = m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1]
    if w4 >= x4 and w4 >= y4 and w4 >= z4:
        q0, q1, q2, q3 = w4, wx, wy, wz
    elif x4 >= y4 and x4 >= z4:
        q0, q1, q2, q3 = wx, x4, xy, xz
    elif y4 >= z4:
        q0, q1, q2, q3 = wy, xy, y4, yz
    else:
        q0, q1, q2, q3 = wz, xz, yz, z4
    k = 1.0 / math.sqrt(q0 * q0 + q1 * q1 + q2 * q2 + q3 * q3)
    k = -k if q0 < 0.0 else k
    out[0], out[1], out[2], out[3] = F(q0 * k), F(q1 * k), F(q2 * k), F(q3 * k)


@kernel
def kinematics(rotations, gaze, eyes, joints, parents, local, transforms, turns):
    """Forward kinematics in float64: (J, 3) local rotation vectors to ``local`` (J, 3, 3), ``transforms``
    (J, 3, 4) rest to posed and ``turns`` (J, 4), outputs in float32. Gaze turns the eye joints."""
    count = rotations.shape[0]
    world, place = np.empty((count, 3, 3)), np.empty((count, 3))
    mine, other, turn = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    for j in range(count):
        _turn(np.float64(rotations[j, 0]), np.float64(rotations[j, 1]), np.float64(rotations[j, 2]), mine)
        for eye in range(2):
            if eyes[eye] == j and (gaze[eye, 0] != ZERO or gaze[eye, 1] != ZERO):
                _turn(0.0, np.float64(gaze[eye, 0]), 0.0, turn)
                _multiply(mine, turn, other)
                _turn(np.float64(gaze[eye, 1]), 0.0, 0.0, turn)
                _multiply(other, turn, mine)
        p = parents[j]
        if p < 0:
            world[j] = mine
            place[j] = joints[j]
        else:
            _multiply(world[p], mine, world[j])
            for i in range(3):
                place[j, i] = place[p, i]
                for k in range(3):
                    place[j, i] += world[p, i, k] * (joints[j, k] - joints[p, k])
        for i in range(3):
            shift = place[j, i]
            for k in range(3):
                local[j, i, k] = F(mine[i, k])
                transforms[j, i, k] = F(world[j, i, k])
                shift -= world[j, i, k] * joints[j, k]
            transforms[j, i, 3] = F(shift)
        _quaternion(world[j], turns[j])


@kernel
def pose(
    worker, workers, layers, coefficients, shape_ptr, shape_id, shape_rows, shape_weights,
    indices, weights, transforms, turns, translation, sh_rest, means, quats, scales, sh,
):  # fmt: skip
    """Correctives, normalisation, skinning and scales of this worker's blocks.

    Args:
        layers: (blocks, 1 + C, 13, BLOCK): canonical values (scales linear), then the pose components.
        coefficients: (C,). shape_ptr: (N + 1,), shape_id: (M,), shape_rows: (M, 13): sparse shapes by
            Gaussian. shape_weights: (S,); all zero may be passed as (0,), which skips them.
        indices, weights: (N, 4). transforms, turns: (J, 3, 4), (J, 4). translation: (3,).
        sh_rest: (N, K, 3), of which [:, 1:] is copied.
        means, quats, scales, sh: outputs.
    """
    n = means.shape[0]
    blocks = layers.shape[0]
    acc = np.empty((ROWS, BLOCK), np.float32)
    grown = np.empty((3, BLOCK), np.float32)
    for block in range(worker, blocks, workers):
        first = block * BLOCK
        size = min(BLOCK, n - first)
        for row in range(ROWS):
            rest = layers[block, 0, row]
            keep = ZERO if row >= SCALES and row < SH0 else ONE
            line = acc[row]
            for i in range(BLOCK):
                line[i] = keep * rest[i]
        for c in range(coefficients.shape[0]):
            factor = coefficients[c]
            for row in range(ROWS):
                layer, line = layers[block, c + 1, row], acc[row]
                for i in range(BLOCK):
                    line[i] += factor * layer[i]
        if shape_weights.shape[0] > 0:
            for i in range(size):
                for at in range(shape_ptr[first + i], shape_ptr[first + i + 1]):
                    w = shape_weights[shape_id[at]]
                    if w != ZERO:
                        for row in range(ROWS):
                            acc[row, i] += w * shape_rows[at, row]
        for axis in range(3):
            rest, line, out = layers[block, 0, SCALES + axis], acc[SCALES + axis], grown[axis]
            for i in range(BLOCK):
                out[i] = rest[i] * exponential(line[i])
        for i in range(size):
            g = first + i
            x, y, z = acc[0, i], acc[1, i], acc[2, i]
            px = py = pz = qw = qx = qy = qz = ZERO
            heavy = indices[g, 0]
            hw, hx, hy, hz = turns[heavy, 0], turns[heavy, 1], turns[heavy, 2], turns[heavy, 3]
            for k in range(4):
                w = weights[g, k]
                if w == ZERO:
                    continue
                j = indices[g, k]
                a = transforms[j]
                px += w * (a[0, 0] * x + a[0, 1] * y + a[0, 2] * z + a[0, 3])
                py += w * (a[1, 0] * x + a[1, 1] * y + a[1, 2] * z + a[1, 3])
                pz += w * (a[2, 0] * x + a[2, 1] * y + a[2, 2] * z + a[2, 3])
                tw, tx, ty, tz = turns[j, 0], turns[j, 1], turns[j, 2], turns[j, 3]
                signed = -w if tw * hw + tx * hx + ty * hy + tz * hz < ZERO else w
                qw += signed * tw
                qx += signed * tx
                qy += signed * ty
                qz += signed * tz
            bw, bx, by, bz = acc[QUATS, i], acc[QUATS + 1, i], acc[QUATS + 2, i], acc[QUATS + 3, i]
            # both quaternions are normalised here: the product of the lengths is the length of the product
            length = (qw * qw + qx * qx + qy * qy + qz * qz) * (bw * bw + bx * bx + by * by + bz * bz)
            k = ONE / math.sqrt(max(length, F(1e-24)))
            qw, qx, qy, qz = qw * k, qx * k, qy * k, qz * k
            means[g, 0] = px + translation[0]
            means[g, 1] = py + translation[1]
            means[g, 2] = pz + translation[2]
            quats[g, 0] = qw * bw - qx * bx - qy * by - qz * bz
            quats[g, 1] = qw * bx + qx * bw + qy * bz - qz * by
            quats[g, 2] = qw * by - qx * bz + qy * bw + qz * bx
            quats[g, 3] = qw * bz + qx * by - qy * bx + qz * bw
            for axis in range(3):
                scales[g, axis] = grown[axis, i]
                sh[g, 0, axis] = acc[SH0 + axis, i]
            for band in range(1, sh.shape[1]):
                for axis in range(3):
                    sh[g, band, axis] = sh_rest[g, band, axis]
