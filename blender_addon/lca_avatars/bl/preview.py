# SPDX-License-Identifier: GPL-3.0-or-later
"""The viewport preview: true Gaussian splats drawn with the ``gpu`` module over the scene, sorted per view.

Blender's solid view shows a point cloud as balls; this draws every splat as the ellipse that it projects to,
blended from far to near, behind whatever meshes stand in front. It reads the evaluated point cloud, so it
shows what the rig, a live service or a cache says. Textures are made anew only when splats or view changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import bpy
import gpu
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

from ..core import splat_view
from . import compat

SHOWN = "lca_preview"
"""Property of the rig: its splats are drawn here and not by Blender."""
_NAMES = ("position", "rotation", "scale", "radiance:base")

_VERTEX = """
void main()
{
  int place = gl_InstanceID;
  int splat = int(texelFetch(drawing_order, ivec2(place % ROW, place / ROW), 0).r + 0.5);
  ivec2 at = ivec2((splat % ROW) * 4, splat / ROW);
  vec4 mean = texelFetch(splats, at, 0);
  vec4 quat = texelFetch(splats, at + ivec2(1, 0), 0);
  vec3 size = texelFetch(splats, at + ivec2(2, 0), 0).xyz;
  tint = vec4(texelFetch(splats, at + ivec2(3, 0), 0).xyz, mean.w);

  vec3 eye = (to_view * vec4(mean.xyz, 1.0)).xyz;
  vec4 clip = vec4(lens.x * eye.x + lens.z * eye.z + shift.x, lens.y * eye.y + lens.w * eye.z + shift.y,
                   depth.x * eye.z + depth.y, depth.z * eye.z + depth.w);
  vec2 half_size = 0.5 * shift.zw;
  vec2 ndc = clip.xy / clip.w;
  /* Far outside the picture the linear map below is meaningless and would stretch splats across it. */
  vec2 held = clamp(ndc, vec2(-1.3), vec2(1.3));
  vec3 across = half_size.x / clip.w * vec3(lens.x, 0.0, lens.z - held.x * depth.z);
  vec3 up = half_size.y / clip.w * vec3(0.0, lens.y, lens.w - held.y * depth.z);

  float w = quat.x, x = quat.y, y = quat.z, z = quat.w;
  mat3 turn = mat3(1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y),
                   2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x),
                   2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y));
  mat3 axes = mat3(to_view) * turn;
  vec3 first = vec3(dot(across, axes[0]), dot(across, axes[1]), dot(across, axes[2])) * size;
  vec3 second = vec3(dot(up, axes[0]), dot(up, axes[1]), dot(up, axes[2])) * size;

  /* Covariance in pixels, widened by the pixel itself; its axes carry the quad. */
  float a = dot(first, first) + 0.3, b = dot(first, second), d = dot(second, second) + 0.3;
  float middle = 0.5 * (a + d), reach = length(vec2(0.5 * (a - d), b));
  float large = middle + reach, small = max(middle - reach, 0.1);
  vec2 major = reach < 1e-6 ? vec2(1.0, 0.0) : (abs(b) < 1e-6 ? (a > d ? vec2(1.0, 0.0) : vec2(0.0, 1.0))
                                                              : normalize(vec2(b, large - a)));
  spread = corner * 3.33;
  vec2 pixels = spread.x * sqrt(large) * major + spread.y * sqrt(small) * vec2(-major.y, major.x);
  bool seen = clip.w > 1e-4 && eye.z < (depth.z != 0.0 ? -1e-3 : 1e9);
  gl_Position = seen ? vec4((ndc + pixels / half_size) * clip.w, clip.zw) : vec4(2.0, 2.0, 2.0, 1.0);
}
"""
_FRAGMENT = """
void main()
{
  float alpha = tint.a * exp(-0.5 * dot(spread, spread));
  if (alpha < 0.00392) {
    discard;
  }
  vec3 shown = clamp(tint.rgb, 0.0, 1.0);
  /* Blender sets srgbTarget on binding: such a framebuffer stores display values, but blends light. */
  if (srgbTarget) {
    shown = mix(shown / 12.92, pow((shown + 0.055) / 1.055, vec3(2.4)), step(0.04045, shown));
  }
  drawn = vec4(shown * alpha, alpha);
}
"""


@dataclass
class _Drawing:
    """One avatar's textures, and what they were made from."""

    arrays: tuple[NDArray[np.float32], ...] = ()
    view: NDArray[np.float32] = field(default_factory=lambda: np.zeros((4, 4), np.float32))
    splats: Any = None
    order: Any = None


@dataclass
class _State:
    handle: Any = None
    shader: Any = None
    quad: Any = None
    drawings: dict[str, _Drawing] = field(default_factory=dict)
    problem: str = ""


_state = _State()


def problem() -> str:
    """Why nothing is drawn; empty while it works."""
    return _state.problem


def start() -> None:
    """Draw in every 3D view from now on; called by ``register``."""
    if _state.handle is None and not bpy.app.background:
        _state.handle = bpy.types.SpaceView3D.draw_handler_add(_draw_view, (), "WINDOW", "POST_VIEW")


def stop() -> None:
    """Remove the draw handler and let textures go."""
    if _state.handle is not None:
        bpy.types.SpaceView3D.draw_handler_remove(_state.handle, "WINDOW")
    _state.handle = _state.shader = _state.quad = None
    _state.drawings.clear()


@bpy.app.handlers.persistent
def forget(*_arguments: object) -> None:
    """``load_pre`` handler: textures of the file that goes away."""
    _state.drawings.clear()


def set_shown(rig: bpy.types.Object, clouds: list[bpy.types.Object], on: bool) -> None:
    """Draw an avatar's splats here; Blender shows the bounds of its ``clouds`` only, and still evaluates
    them."""
    rig[SHOWN] = on
    for cloud in clouds:
        cloud.display_type = "BOUNDS" if on else "TEXTURED"


def draw(
    cloud: bpy.types.Object,
    depsgraph: bpy.types.Depsgraph,
    view: Matrix,
    projection: Matrix,
    size: tuple[int, int],
) -> int:
    """Draw one point cloud of splats into the active framebuffer; returns how many splats.

    Args:
        view, projection: world to camera (looks along -Z) and camera to clip space, as Blender has them.
        size: width and height of the framebuffer's viewport in pixels.

    Raises:
        RuntimeError: the graphics driver refuses the shader.
    """
    found = cloud.evaluated_get(depsgraph)
    arrays = tuple(compat.read_attribute(found.data, name) for name in _NAMES)
    count = len(arrays[0])
    if not count:
        return 0
    drawing = _state.drawings.setdefault(cloud.name_full, _Drawing())
    to_view = np.array(view @ found.matrix_world, np.float32)
    fresh = len(drawing.arrays) == len(arrays) and all(map(np.array_equal, arrays, drawing.arrays))
    if not fresh:
        drawing.arrays, drawing.splats = arrays, _texture(splat_view.pack(*arrays), "RGBA32F")
    if not fresh or not np.array_equal(to_view[2, :3], drawing.view[2, :3]):
        order = splat_view.far_to_near(arrays[0], to_view)
        drawing.view, drawing.order = to_view, _texture(splat_view.order_texels(order), "R32F")
    shader, quad = _shader(), _state.quad
    gpu.state.blend_set("ALPHA_PREMULT")
    gpu.state.depth_test_set("LESS_EQUAL")
    gpu.state.depth_mask_set(False)
    try:
        shader.bind()
        p = projection
        shader.uniform_float("to_view", Matrix(to_view.tolist()))
        shader.uniform_float("lens", (p[0][0], p[1][1], p[0][2], p[1][2]))
        shader.uniform_float("shift", (p[0][3], p[1][3], float(size[0]), float(size[1])))
        shader.uniform_float("depth", (p[2][2], p[2][3], p[3][2], p[3][3]))
        shader.uniform_sampler("splats", drawing.splats)
        shader.uniform_sampler("drawing_order", drawing.order)
        quad.draw_instanced(shader, instance_count=count)
    finally:
        gpu.state.blend_set("NONE")
        gpu.state.depth_test_set("NONE")
        gpu.state.depth_mask_set(True)
    return count


def _draw_view() -> None:
    """The draw handler: every avatar that wants it, in the view that is being drawn."""
    from . import frames_cloud, importer

    context = bpy.context
    region, view = context.region, context.region_data
    if region is None or view is None:
        return
    depsgraph = context.evaluated_depsgraph_get()
    for rig in context.view_layer.objects:
        if not rig.get(SHOWN) or importer.AVATAR_ID not in rig:
            continue
        cloud = frames_cloud.shown(rig) or importer.part(rig, "splats")
        if cloud is None or not cloud.visible_get():
            continue
        try:
            size = (region.width, region.height)
            draw(cloud, depsgraph, view.view_matrix, view.window_matrix, size)
            _state.problem = ""
        except Exception as error:  # a draw handler that raises floods the console at every redraw
            if str(error) != _state.problem:
                _state.problem = str(error)
                print(f"LCA Avatars: the preview cannot be drawn: {error}")


def _texture(texels: NDArray[np.float32], kind: str) -> Any:
    height, width = texels.shape[:2]
    flat = np.ascontiguousarray(texels, np.float32).reshape(-1)
    return gpu.types.GPUTexture((width, height), format=kind, data=gpu.types.Buffer("FLOAT", len(flat), flat))


def _shader() -> Any:
    if _state.shader is not None:
        return _state.shader
    between = gpu.types.GPUStageInterfaceInfo("lca_splat_between")
    between.smooth("VEC2", "spread")
    between.flat("VEC4", "tint")
    info = gpu.types.GPUShaderCreateInfo()
    info.define("ROW", str(splat_view.ROW))
    # 116 bytes: Vulkan promises 128.
    info.push_constant("MAT4", "to_view")
    for name in ("lens", "shift", "depth"):
        info.push_constant("VEC4", name)
    info.push_constant("BOOL", "srgbTarget")
    info.sampler(0, "FLOAT_2D", "splats")
    info.sampler(1, "FLOAT_2D", "drawing_order")
    info.vertex_in(0, "VEC2", "corner")
    info.vertex_out(between)
    info.fragment_out(0, "VEC4", "drawn")
    info.vertex_source(_VERTEX)
    info.fragment_source(_FRAGMENT)
    _state.shader = gpu.shader.create_from_info(info)
    layout = gpu.types.GPUVertFormat()
    layout.attr_add(id="corner", comp_type="F32", len=2, fetch_mode="FLOAT")
    corners = gpu.types.GPUVertBuf(layout, 4)
    corners.attr_fill("corner", [(-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)])
    _state.quad = gpu.types.GPUBatch(type="TRI_STRIP", buf=corners)
    return _state.shader
