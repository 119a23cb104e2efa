"""The warp kernels behind :mod:`lca_core.data.render`; importing this module needs warp.

``first_hit`` walks a ray through alpha-tested triangles (label -1: every face counts; else only allowed
labels, and one-sided faces only when they look against ``facing`` times the ray); ``shade`` is linear
Lambert under SH ambient and one shadowed directional light. ``render_kernel`` and ``cast_kernel`` are two
ways to feed it rays.
"""

# mypy: ignore-errors
# Warp compiles these functions from their source: no `from __future__ import annotations` here.
import warp as wp

MAX_LAYERS = wp.constant(32)


@wp.struct
class SceneData:
    mesh: wp.uint64
    normals: wp.array(dtype=wp.vec3)
    indices: wp.array(dtype=wp.int32)
    uv: wp.array(dtype=wp.vec2)
    tex: wp.array(dtype=wp.int32)
    part: wp.array(dtype=wp.int32)
    label: wp.array(dtype=wp.int32)
    words: wp.array(dtype=wp.uint32)
    info: wp.array(dtype=wp.vec4i)
    sh: wp.array(dtype=wp.vec3)
    allowed: wp.array2d(dtype=wp.int32)
    two_sided: wp.int32
    light_at: wp.array(dtype=wp.vec4)
    light_rgb: wp.array(dtype=wp.vec3)
    transfer: wp.array2d(dtype=wp.float32)
    occluded: wp.int32


@wp.struct
class Hit:
    face: wp.int32
    u: wp.float32
    v: wp.float32
    t: wp.float32
    rgb: wp.vec3
    uv: wp.vec2


@wp.func
def to_linear(x: wp.float32):
    if x <= 0.04045:
        return x / 12.92
    return wp.pow((x + 0.055) / 1.055, 2.4)


@wp.func
def texel(s: SceneData, offset: wp.int32, width: wp.int32, height: wp.int32, x: wp.int32, y: wp.int32):
    cx = wp.clamp(x, 0, width - 1)
    cy = wp.clamp(y, 0, height - 1)
    w = s.words[offset + cy * width + cx]
    r = wp.float32(w & wp.uint32(255)) / 255.0
    g = wp.float32((w >> wp.uint32(8)) & wp.uint32(255)) / 255.0
    b = wp.float32((w >> wp.uint32(16)) & wp.uint32(255)) / 255.0
    a = wp.float32((w >> wp.uint32(24)) & wp.uint32(255)) / 255.0
    return wp.vec4(r, g, b, a)


@wp.func
def sample(s: SceneData, face: wp.int32, uv: wp.vec2):
    i = s.info[s.tex[face]]
    x = uv[0] * wp.float32(i[1]) - 0.5
    y = (1.0 - uv[1]) * wp.float32(i[2]) - 0.5
    x0 = wp.int32(wp.floor(x))
    y0 = wp.int32(wp.floor(y))
    fx = x - wp.float32(x0)
    fy = y - wp.float32(y0)
    top = texel(s, i[0], i[1], i[2], x0, y0) * (1.0 - fx) + texel(s, i[0], i[1], i[2], x0 + 1, y0) * fx
    low = (
        texel(s, i[0], i[1], i[2], x0, y0 + 1) * (1.0 - fx) + texel(s, i[0], i[1], i[2], x0 + 1, y0 + 1) * fx
    )
    return top * (1.0 - fy) + low * fy


@wp.func
def first_hit(
    s: SceneData,
    start: wp.vec3,
    direction: wp.vec3,
    max_t: wp.float32,
    cut: wp.float32,
    label: wp.int32,
    facing: wp.float32,
):
    hit = Hit()
    hit.face = wp.int32(-1)
    base = wp.float32(0.0)
    for _layer in range(MAX_LAYERS):
        if hit.face < 0 and base < max_t:
            q = wp.mesh_query_ray(s.mesh, start + direction * base, direction, max_t - base)
            if q.result:
                uv = (
                    s.uv[3 * q.face] * q.u
                    + s.uv[3 * q.face + 1] * q.v
                    + s.uv[3 * q.face + 2] * (1.0 - q.u - q.v)
                )
                c = sample(s, q.face, uv)
                good = c[3] >= cut
                if label >= 0:
                    other = s.label[q.face]
                    if s.allowed[label, other] == 0:
                        good = False
                    if other < s.two_sided and wp.dot(q.normal, direction) * facing > -0.15:
                        good = False
                if good:
                    hit.face = q.face
                    hit.u = q.u
                    hit.v = q.v
                    hit.t = base + q.t
                    hit.uv = uv
                    hit.rgb = wp.vec3(to_linear(c[0]), to_linear(c[1]), to_linear(c[2]))
                else:
                    base = base + q.t + 1.0e-4
            else:
                base = max_t
    return hit


@wp.func
def smooth_normal(s: SceneData, hit: Hit, direction: wp.vec3):
    n = (
        s.normals[s.indices[3 * hit.face]] * hit.u
        + s.normals[s.indices[3 * hit.face + 1]] * hit.v
        + s.normals[s.indices[3 * hit.face + 2]] * (1.0 - hit.u - hit.v)
    )
    n = wp.normalize(n)
    if wp.dot(n, direction) > 0.0:
        n = -n
    return n


@wp.func
def basis(n: wp.vec3, k: wp.int32):
    x = n[0]
    y = n[1]
    z = n[2]
    if k == 0:
        return 0.282095
    if k == 1:
        return 0.488603 * y
    if k == 2:
        return 0.488603 * z
    if k == 3:
        return 0.488603 * x
    if k == 4:
        return 1.092548 * x * y
    if k == 5:
        return 1.092548 * y * z
    if k == 6:
        return 0.315392 * (3.0 * z * z - 1.0)
    if k == 7:
        return 1.092548 * x * z
    return 0.546274 * (x * x - y * y)


@wp.func
def ambient(s: SceneData, n: wp.vec3, hit: Hit):
    """Ambient light leaving a white surface: by its normal, or by the occlusion-aware transfer of its
    vertices (s.sh holds A_l L_k / pi, transfer the integral of V cos Y_k)."""
    light = wp.vec3(0.0, 0.0, 0.0)
    for k in range(9):
        if s.occluded == 0:
            light = light + s.sh[k] * basis(n, k)
        else:
            band = 3.1415927
            if k > 0:
                band = 2.0943951
            if k > 3:
                band = 0.7853982
            t = (
                s.transfer[s.indices[3 * hit.face], k] * hit.u
                + s.transfer[s.indices[3 * hit.face + 1], k] * hit.v
                + s.transfer[s.indices[3 * hit.face + 2], k] * (1.0 - hit.u - hit.v)
            )
            light = light + s.sh[k] * (t / band)
    return wp.vec3(wp.max(light[0], 0.0), wp.max(light[1], 0.0), wp.max(light[2], 0.0))


@wp.func
def shade(s: SceneData, p: wp.vec3, n: wp.vec3, hit: Hit, cut: wp.float32):
    light = ambient(s, n, hit)
    for i in range(s.light_rgb.shape[0]):
        at = s.light_at[i]
        # w = 0: the direction towards a distant light; w = 1: the place of a point light.
        way = wp.vec3(at[0], at[1], at[2]) - p * at[3]
        distance = wp.length(way)
        way = way / distance
        cosine = wp.dot(n, way)
        if cosine > 0.0:
            reach = 3.0
            fall = 1.0
            if at[3] > 0.5:
                reach = distance
                fall = 1.0 / (distance * distance)
            # 4 mm keeps the smoothed normal from shadowing its own flat triangle.
            block = first_hit(s, p + n * 0.004, way, reach, cut, -1, 0.0)
            if block.face < 0:
                light = light + s.light_rgb[i] * (cosine * fall)
    return light


@wp.kernel
def render_kernel(
    s: SceneData,
    cam_to_world: wp.mat33,
    origin: wp.vec3,
    fx: wp.float32,
    fy: wp.float32,
    cx: wp.float32,
    cy: wp.float32,
    width: wp.int32,
    samples: wp.int32,
    cut: wp.float32,
    color: wp.array(dtype=wp.vec3),
    coverage: wp.array(dtype=wp.float32),
    part: wp.array(dtype=wp.int32),
    depth: wp.array(dtype=wp.float32),
    normal: wp.array(dtype=wp.vec3),
    uv: wp.array(dtype=wp.vec2),
    face: wp.array(dtype=wp.int32),
    bary: wp.array(dtype=wp.vec2),
):
    tid = wp.tid()
    total = wp.vec3(0.0, 0.0, 0.0)
    hits = wp.float32(0.0)
    step = 1.0 / wp.float32(samples)
    face[tid] = -1
    for j in range(samples):
        for i in range(samples):
            px = wp.float32(tid % width) + (wp.float32(i) + 0.5) * step
            py = wp.float32(tid // width) + (wp.float32(j) + 0.5) * step
            ray = wp.vec3((px - cx) / fx, (py - cy) / fy, 1.0)
            scale = 1.0 / wp.length(ray)
            direction = cam_to_world * (ray * scale)
            hit = first_hit(s, origin, direction, 50.0, cut, -1, 0.0)
            if hit.face >= 0:
                n = smooth_normal(s, hit, direction)
                p = origin + direction * hit.t
                total = total + wp.cw_mul(hit.rgb, shade(s, p, n, hit, cut))
                if hits == 0.0:
                    part[tid] = s.part[hit.face]
                    depth[tid] = hit.t * scale
                    normal[tid] = n
                    uv[tid] = hit.uv
                    face[tid] = hit.face
                    bary[tid] = wp.vec2(hit.u, hit.v)
                hits = hits + 1.0
    color[tid] = total * (step * step)
    coverage[tid] = hits * step * step


@wp.kernel
def cast_kernel(
    s: SceneData,
    origins: wp.array(dtype=wp.vec3),
    directions: wp.array(dtype=wp.vec3),
    labels: wp.array(dtype=wp.int32),
    max_t: wp.float32,
    cut: wp.float32,
    facing: wp.float32,
    face: wp.array(dtype=wp.int32),
    bary: wp.array(dtype=wp.vec2),
    t: wp.array(dtype=wp.float32),
    albedo: wp.array(dtype=wp.vec3),
    lit: wp.array(dtype=wp.vec3),
):
    tid = wp.tid()
    d = directions[tid]
    hit = first_hit(s, origins[tid], d, max_t, cut, labels[tid], facing)
    face[tid] = hit.face
    if hit.face >= 0:
        bary[tid] = wp.vec2(hit.u, hit.v)
        t[tid] = hit.t
        albedo[tid] = hit.rgb
        n = smooth_normal(s, hit, d)
        lit[tid] = wp.cw_mul(hit.rgb, shade(s, origins[tid] + d * hit.t, n, hit, cut))


@wp.kernel
def transfer_kernel(
    s: SceneData,
    points: wp.array(dtype=wp.vec3),
    normals: wp.array(dtype=wp.vec3),
    rays: wp.array(dtype=wp.vec3),
    lift: wp.float32,
    max_t: wp.float32,
    cut: wp.float32,
    out: wp.array2d(dtype=wp.float32),
):
    """Integral of visibility x cosine x SH basis over the hemisphere, by cosine-distributed rays that are
    turned by a different angle at every point."""
    tid = wp.tid()
    n = normals[tid]
    a = wp.vec3(1.0, 0.0, 0.0)
    if wp.abs(n[0]) > 0.7:
        a = wp.vec3(0.0, 1.0, 0.0)
    t = wp.normalize(wp.cross(a, n))
    b = wp.cross(n, t)
    turn = wp.float32(tid % 1024) * 2.3999632
    ct = wp.cos(turn)
    st = wp.sin(turn)
    count = rays.shape[0]
    weight = 3.1415927 / wp.float32(count)
    for r in range(count):
        q = rays[r]
        d = t * (q[0] * ct - q[1] * st) + b * (q[0] * st + q[1] * ct) + n * q[2]
        hit = first_hit(s, points[tid] + n * lift, d, max_t, cut, -1, 0.0)
        if hit.face < 0:
            for k in range(9):
                out[tid, k] = out[tid, k] + weight * basis(d, k)
