"""Projection of 3D Gaussians to 2D ellipses on the CPU, forward and backward, in gsplat's formula (EWA
splatting).

In: centres, quaternions, scales, opacities, one camera. Out: per Gaussian the pixel position, inverse 2D
covariance ("conic"), depth, antialiasing factor and integer radii; radii (0, 0) mean "not visible". The
backward pass recomputes what it needs from the inputs, so nothing is stored in between. Determinants are
sums of squares (Cauchy-Binet), which keeps thin splats exact where ``a c - b^2`` would cancel in float32.
"""

# Kernel arguments are typed by numba at compile time; the docstrings give shapes and dtypes.
# mypy: ignore-errors

from __future__ import annotations

import math

import numpy as np

from lca_core.splat._jit import kernel

F = np.float32
ZERO, ONE, TWO, HALF = F(0.0), F(1.0), F(2.0), F(0.5)
EXTENT = F(3.33)  # sigmas; sqrt(2 ln 255) = 3.329 is where an opaque Gaussian falls to 1/255
ALPHA_MIN = F(1.0 / 255.0)
FOV_MARGIN = F(0.3)
GRAIN = 512  # Gaussians per block: sums over Gaussians always run block by block, whatever the thread count


@kernel
def _rotation(w, x, y, z):
    """Nine entries (row-major) of the rotation of a unit quaternion."""
    return (
        ONE - TWO * (y * y + z * z),
        TWO * (x * y - w * z),
        TWO * (x * z + w * y),
        TWO * (x * y + w * z),
        ONE - TWO * (x * x + z * z),
        TWO * (y * z - w * x),
        TWO * (x * z - w * y),
        TWO * (y * z + w * x),
        ONE - TWO * (x * x + y * y),
    )


@kernel
def _limits(camera, width, height):
    """Clamp range of x/z and y/z: (x_min, x_max, y_min, y_max)."""
    fx, fy, cx, cy = camera[12], camera[13], camera[14], camera[15]
    mx = FOV_MARGIN * HALF * F(width) / fx
    my = FOV_MARGIN * HALF * F(height) / fy
    return -(cx / fx + mx), (F(width) - cx) / fx + mx, -(cy / fy + my), (F(height) - cy) / fy + my


@kernel
def project_forward(
    worker, workers, means, quats, scales, opacities, camera,
    width, height, eps2d, near, far, radius_clip, antialiased,
    radii, means2d, depths, conics, factors,
):  # fmt: skip
    """Project N Gaussians; all arrays float32 and contiguous.

    Args:
        means, quats, scales, opacities: (N, 3), (N, 4) wxyz, (N, 3), (N,).
        camera: (16,) = rotation row-major (9), translation (3), fx, fy, cx, cy.
        radii, means2d, depths, conics, factors: outputs (N, 2) int32, (N, 2), (N,), (N, 3), (N,).
    """
    n = means.shape[0]
    fx, fy, cx, cy = camera[12], camera[13], camera[14], camera[15]
    blocks = (n + GRAIN - 1) // GRAIN
    for block in range(worker, blocks, workers):
        x_min, x_max, y_min, y_max = _limits(camera, width, height)
        for i in range(block * GRAIN, min(n, (block + 1) * GRAIN)):
            radii[i, 0] = 0
            radii[i, 1] = 0
            means2d[i, 0] = ZERO
            means2d[i, 1] = ZERO
            depths[i] = ZERO
            conics[i, 0] = ZERO
            conics[i, 1] = ZERO
            conics[i, 2] = ZERO
            factors[i] = ZERO
            px, py, pz = means[i, 0], means[i, 1], means[i, 2]
            z = camera[6] * px + camera[7] * py + camera[8] * pz + camera[11]
            opacity = opacities[i]
            if not (z >= near and z <= far and opacity >= ALPHA_MIN):
                continue
            x = camera[0] * px + camera[1] * py + camera[2] * pz + camera[9]
            y = camera[3] * px + camera[4] * py + camera[5] * pz + camera[10]
            qw, qx, qy, qz = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
            norm = qw * qw + qx * qx + qy * qy + qz * qz
            if not norm > F(1e-30):
                continue
            k = ONE / math.sqrt(norm)
            r00, r01, r02, r10, r11, r12, r20, r21, r22 = _rotation(qw * k, qx * k, qy * k, qz * k)
            rz = ONE / z
            tx = min(x_max, max(x_min, x * rz))
            ty = min(y_max, max(y_min, y * rz))
            # rows of J W: the two gradients of the pixel position in world space
            jx, jy = fx * rz, fy * rz
            a0 = jx * (camera[0] - tx * camera[6])
            a1 = jx * (camera[1] - tx * camera[7])
            a2 = jx * (camera[2] - tx * camera[8])
            b0 = jy * (camera[3] - ty * camera[6])
            b1 = jy * (camera[4] - ty * camera[7])
            b2 = jy * (camera[5] - ty * camera[8])
            s0, s1, s2 = scales[i, 0], scales[i, 1], scales[i, 2]
            t00 = (a0 * r00 + a1 * r10 + a2 * r20) * s0
            t01 = (a0 * r01 + a1 * r11 + a2 * r21) * s1
            t02 = (a0 * r02 + a1 * r12 + a2 * r22) * s2
            t10 = (b0 * r00 + b1 * r10 + b2 * r20) * s0
            t11 = (b0 * r01 + b1 * r11 + b2 * r21) * s1
            t12 = (b0 * r02 + b1 * r12 + b2 * r22) * s2
            c00 = t00 * t00 + t01 * t01 + t02 * t02
            c01 = t00 * t10 + t01 * t11 + t02 * t12
            c11 = t10 * t10 + t11 * t11 + t12 * t12
            m0 = t00 * t11 - t01 * t10
            m1 = t00 * t12 - t02 * t10
            m2 = t01 * t12 - t02 * t11
            det0 = m0 * m0 + m1 * m1 + m2 * m2
            det = det0 + eps2d * (c00 + c11) + eps2d * eps2d
            if not (det > ZERO and det < F(1e30)):
                continue
            c00 += eps2d
            c11 += eps2d
            factor = math.sqrt(det0 / det)
            if antialiased:
                opacity = opacity * factor
                if opacity < ALPHA_MIN:
                    continue
            extent = min(EXTENT, math.sqrt(TWO * math.log(opacity / ALPHA_MIN)))
            ex = np.ceil(extent * math.sqrt(c00))
            ey = np.ceil(extent * math.sqrt(c11))
            if ex <= radius_clip and ey <= radius_clip:
                continue
            u = fx * x * rz + cx
            v = fy * y * rz + cy
            if not (u + ex > ZERO and u - ex < F(width) and v + ey > ZERO and v - ey < F(height)):
                continue
            radii[i, 0] = np.int32(min(ex, F(1e9)))
            radii[i, 1] = np.int32(min(ey, F(1e9)))
            means2d[i, 0] = u
            means2d[i, 1] = v
            depths[i] = z
            inverse = ONE / det
            conics[i, 0] = c11 * inverse
            conics[i, 1] = -c01 * inverse
            conics[i, 2] = c00 * inverse
            factors[i] = factor


@kernel
def project_backward(
    worker, workers, means, quats, scales, camera, width, height, eps2d, antialiased, radii,
    g_means2d, g_depths, g_conics, g_factors, g_means, g_quats, g_scales, partial,
):  # fmt: skip
    """Chain rule of :func:`project_forward`; **adds** to ``g_means``, ``g_quats``, ``g_scales``.

    Args:
        partial: (blocks, 12) float64, written: per block of ``GRAIN`` Gaussians the gradient of rotation
            (9) and translation.
    """
    n = means.shape[0]
    fx, fy = camera[12], camera[13]
    blocks = (n + GRAIN - 1) // GRAIN
    for block in range(worker, blocks, workers):
        x_min, x_max, y_min, y_max = _limits(camera, width, height)
        v00 = v01 = v02 = v10 = v11 = v12 = v20 = v21 = v22 = vt0 = vt1 = vt2 = 0.0
        for i in range(block * GRAIN, min(n, (block + 1) * GRAIN)):
            if radii[i, 0] == 0 and radii[i, 1] == 0:
                continue
            # --- the forward values again
            px, py, pz = means[i, 0], means[i, 1], means[i, 2]
            x = camera[0] * px + camera[1] * py + camera[2] * pz + camera[9]
            y = camera[3] * px + camera[4] * py + camera[5] * pz + camera[10]
            z = camera[6] * px + camera[7] * py + camera[8] * pz + camera[11]
            qw, qx, qy, qz = quats[i, 0], quats[i, 1], quats[i, 2], quats[i, 3]
            k = ONE / math.sqrt(qw * qw + qx * qx + qy * qy + qz * qz)
            qw, qx, qy, qz = qw * k, qx * k, qy * k, qz * k
            r00, r01, r02, r10, r11, r12, r20, r21, r22 = _rotation(qw, qx, qy, qz)
            rz = ONE / z
            xz, yz = x * rz, y * rz
            tx = min(x_max, max(x_min, xz))
            ty = min(y_max, max(y_min, yz))
            jx, jy = fx * rz, fy * rz
            a0 = jx * (camera[0] - tx * camera[6])
            a1 = jx * (camera[1] - tx * camera[7])
            a2 = jx * (camera[2] - tx * camera[8])
            b0 = jy * (camera[3] - ty * camera[6])
            b1 = jy * (camera[4] - ty * camera[7])
            b2 = jy * (camera[5] - ty * camera[8])
            s0, s1, s2 = scales[i, 0], scales[i, 1], scales[i, 2]
            p00 = a0 * r00 + a1 * r10 + a2 * r20
            p01 = a0 * r01 + a1 * r11 + a2 * r21
            p02 = a0 * r02 + a1 * r12 + a2 * r22
            p10 = b0 * r00 + b1 * r10 + b2 * r20
            p11 = b0 * r01 + b1 * r11 + b2 * r21
            p12 = b0 * r02 + b1 * r12 + b2 * r22
            t00, t01, t02 = p00 * s0, p01 * s1, p02 * s2
            t10, t11, t12 = p10 * s0, p11 * s1, p12 * s2
            c00 = t00 * t00 + t01 * t01 + t02 * t02
            c01 = t00 * t10 + t01 * t11 + t02 * t12
            c11 = t10 * t10 + t11 * t11 + t12 * t12
            m0 = t00 * t11 - t01 * t10
            m1 = t00 * t12 - t02 * t10
            m2 = t01 * t12 - t02 * t11
            det0 = m0 * m0 + m1 * m1 + m2 * m2
            det = det0 + eps2d * (c00 + c11) + eps2d * eps2d
            inverse = ONE / det
            ka, kb, kc = (c11 + eps2d) * inverse, -c01 * inverse, (c00 + eps2d) * inverse
            # --- conic = inverse covariance: V_cov = -K V_conic K; the off-diagonal gradient counts both
            # entries
            ga, gb, gc = g_conics[i, 0], HALF * g_conics[i, 1], g_conics[i, 2]
            h00, h01 = ga * ka + gb * kb, ga * kb + gb * kc
            h10, h11 = gb * ka + gc * kb, gb * kb + gc * kc
            w00 = -(ka * h00 + kb * h10)
            w01 = -(ka * h01 + kb * h11)
            w11 = -(kb * h01 + kc * h11)
            if antialiased:
                # factor = sqrt(det0/det); d det/dcov is the adjugate with blur, d det0/dcov the one without
                factor = math.sqrt(det0 * inverse)
                if factor > F(1e-12):
                    g0 = HALF * g_factors[i] * inverse / factor
                    g1 = -HALF * g_factors[i] * factor * inverse
                    w00 += g0 * c11 + g1 * (c11 + eps2d)
                    w11 += g0 * c00 + g1 * (c00 + eps2d)
                    w01 -= (g0 + g1) * c01
            # --- cov = T T^t with T = (J W) R S
            w00, w01, w11 = TWO * w00, TWO * w01, TWO * w11
            e00, e01, e02 = w00 * t00 + w01 * t10, w00 * t01 + w01 * t11, w00 * t02 + w01 * t12
            e10, e11, e12 = w01 * t00 + w11 * t10, w01 * t01 + w11 * t11, w01 * t02 + w11 * t12
            g_scales[i, 0] += e00 * p00 + e10 * p10
            g_scales[i, 1] += e01 * p01 + e11 * p11
            g_scales[i, 2] += e02 * p02 + e12 * p12
            e00, e01, e02, e10, e11, e12 = e00 * s0, e01 * s1, e02 * s2, e10 * s0, e11 * s1, e12 * s2
            # rotation matrix of the quaternion
            d00, d01, d02 = a0 * e00 + b0 * e10, a0 * e01 + b0 * e11, a0 * e02 + b0 * e12
            d10, d11, d12 = a1 * e00 + b1 * e10, a1 * e01 + b1 * e11, a1 * e02 + b1 * e12
            d20, d21, d22 = a2 * e00 + b2 * e10, a2 * e01 + b2 * e11, a2 * e02 + b2 * e12
            gw = TWO * (qx * (d21 - d12) + qy * (d02 - d20) + qz * (d10 - d01))
            gx = TWO * (-TWO * qx * (d11 + d22) + qy * (d01 + d10) + qz * (d02 + d20) + qw * (d21 - d12))
            gy = TWO * (qx * (d01 + d10) - TWO * qy * (d00 + d22) + qz * (d12 + d21) + qw * (d02 - d20))
            gz = TWO * (qx * (d02 + d20) + qy * (d12 + d21) - TWO * qz * (d00 + d11) + qw * (d10 - d01))
            dot = gw * qw + gx * qx + gy * qy + gz * qz
            g_quats[i, 0] += (gw - dot * qw) * k
            g_quats[i, 1] += (gx - dot * qx) * k
            g_quats[i, 2] += (gy - dot * qy) * k
            g_quats[i, 3] += (gz - dot * qz) * k
            # gradients of the rows a, b of J W
            na0 = e00 * r00 + e01 * r01 + e02 * r02
            na1 = e00 * r10 + e01 * r11 + e02 * r12
            na2 = e00 * r20 + e01 * r21 + e02 * r22
            nb0 = e10 * r00 + e11 * r01 + e12 * r02
            nb1 = e10 * r10 + e11 * r11 + e12 * r12
            nb2 = e10 * r20 + e11 * r21 + e12 * r22
            # a = jx (W_0 - tx W_2), b = jy (W_1 - ty W_2)
            a_w2 = na0 * camera[6] + na1 * camera[7] + na2 * camera[8]
            b_w2 = nb0 * camera[6] + nb1 * camera[7] + nb2 * camera[8]
            gtx, gty = -jx * a_w2, -jy * b_w2
            gz_c = -(na0 * a0 + na1 * a1 + na2 * a2 + nb0 * b0 + nb1 * b1 + nb2 * b2) * rz
            gu, gv = g_means2d[i, 0] * fx * rz, g_means2d[i, 1] * fy * rz
            gx_c, gy_c = gu, gv
            gz_c += g_depths[i] - gu * xz - gv * yz
            if xz >= x_min and xz <= x_max:  # no gradient through the clamp
                gx_c += gtx * rz
                gz_c -= gtx * xz * rz
            if yz >= y_min and yz <= y_max:
                gy_c += gty * rz
                gz_c -= gty * yz * rz
            g_means[i, 0] += camera[0] * gx_c + camera[3] * gy_c + camera[6] * gz_c
            g_means[i, 1] += camera[1] * gx_c + camera[4] * gy_c + camera[7] * gz_c
            g_means[i, 2] += camera[2] * gx_c + camera[5] * gy_c + camera[8] * gz_c
            v00 += gx_c * px + jx * na0
            v01 += gx_c * py + jx * na1
            v02 += gx_c * pz + jx * na2
            v10 += gy_c * px + jy * nb0
            v11 += gy_c * py + jy * nb1
            v12 += gy_c * pz + jy * nb2
            v20 += gz_c * px - jx * tx * na0 - jy * ty * nb0
            v21 += gz_c * py - jx * tx * na1 - jy * ty * nb1
            v22 += gz_c * pz - jx * tx * na2 - jy * ty * nb2
            vt0 += gx_c
            vt1 += gy_c
            vt2 += gz_c
        row = partial[block]
        row[0], row[1], row[2], row[3], row[4], row[5] = v00, v01, v02, v10, v11, v12
        row[6], row[7], row[8], row[9], row[10], row[11] = v20, v21, v22, vt0, vt1, vt2
