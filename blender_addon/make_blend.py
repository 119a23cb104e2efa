# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns an avatar file into a .blend with rig, proxy and splats, without a Blender window; optionally renders
it.

    python blender_addon/make_blend.py AVATAR.lca OUT.blend [--render PREVIEW.png] [--engine cycles|workbench]

Runs in any Python that has the ``bpy`` module. The proxy's texture is packed, so the .blend travels alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import bpy

sys.path.insert(0, str(Path(__file__).parent))


def save_blend(
    lca_path: str | Path,
    blend_path: str | Path,
    render: str | Path | None = None,
    *,
    engine: str = "cycles",
    samples: int = 32,
    denoise: bool = True,
    resolution: tuple[int, int] = (512, 768),
) -> Path:
    """Import ``lca_path`` into an empty file, add a camera and lights, save ``blend_path``.

    Args:
        render: PNG to write as well: the splats with ``engine="cycles"``, the proxy with ``"workbench"``.
        samples: Cycles samples per pixel; ``denoise`` removes most of what noise is left.
        resolution: width and height in pixels.

    Raises:
        lca.errors.LcaError: the avatar file cannot be used.
    """
    import bpy

    from lca_avatars.bl import importer

    bpy.ops.wm.read_factory_settings(use_empty=True)
    handles = importer.import_avatar(lca_path)
    scene = bpy.context.scene
    importer.prepare_scene(scene)
    _stage(scene, float(handles.rig["lca_height_m"]), _centre(handles.proxy))
    scene.render.resolution_x, scene.render.resolution_y = resolution
    _show_textures()
    blend_path = Path(blend_path).resolve()
    blend_path.parent.mkdir(parents=True, exist_ok=True)
    # Blender would keep the previous file beside it as .blend1.
    bpy.context.preferences.filepaths.save_version = 0
    bpy.ops.wm.save_as_mainfile(filepath=str(blend_path), compress=True)
    if render is not None:
        _render(scene, handles, Path(render).resolve(), engine, samples, denoise)
    return blend_path


def _centre(proxy: bpy.types.Object) -> Any:
    from mathutils import Vector

    corners = [proxy.matrix_world @ Vector(corner) for corner in proxy.bound_box]
    return sum(corners, Vector()) / len(corners)


def _stage(scene: bpy.types.Scene, height: float, centre: Any) -> None:
    """A camera on the person's front that frames the whole body, a soft key light and a grey world."""
    import bpy
    from mathutils import Vector

    from lca_avatars.bl import compat

    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.data.lens = 60.0
    # In Blender's world an avatar faces -Y.
    camera.location = centre + Vector((0.35, -2.3, 0.1)) * height
    camera.rotation_euler = (centre - camera.location).to_track_quat("-Z", "Y").to_euler()
    sun = bpy.data.objects.new("Key", bpy.data.lights.new("Key", "SUN"))
    sun.data.energy, sun.data.angle = 2.5, 0.5
    sun.rotation_euler = (0.9, 0.25, 0.5)
    world = bpy.data.worlds.new("World")
    background = compat.shader_tree(world).nodes["Background"]
    background.inputs[0].default_value = (0.35, 0.35, 0.37, 1.0)
    scene.world, scene.camera = world, camera
    for obj in (camera, sun):
        scene.collection.objects.link(obj)


def _show_textures() -> None:
    """Open the file with the proxy's texture visible in solid view."""
    import bpy

    for screen in bpy.data.screens:
        for area in screen.areas:
            for space in area.spaces:
                if space.type == "VIEW_3D":
                    space.shading.color_type = "TEXTURE"


def _render(
    scene: bpy.types.Scene, handles: Any, target: Path, engine: str, samples: int, denoise: bool
) -> None:
    import bpy

    target.parent.mkdir(parents=True, exist_ok=True)
    scene.render.filepath = str(target)
    scene.render.image_settings.file_format = "PNG"
    if engine == "workbench":
        scene.render.engine = "BLENDER_WORKBENCH"
        scene.display.shading.color_type = "TEXTURE"
        handles.proxy.hide_render, handles.splats.hide_render = False, True
    else:
        scene.render.engine = "CYCLES"
        scene.cycles.samples = samples
        scene.cycles.use_denoising = denoise
    bpy.ops.render.render(write_still=True)


def main(arguments: list[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lca", type=Path)
    parser.add_argument("blend", type=Path)
    parser.add_argument("--render", type=Path, help="also write this PNG")
    parser.add_argument("--engine", choices=("cycles", "workbench"), default="cycles")
    parser.add_argument("--samples", type=int, default=32)
    options = parser.parse_args(arguments)
    from lca_avatars.core.deps import errors

    try:
        saved = save_blend(
            options.lca, options.blend, options.render, engine=options.engine, samples=options.samples
        )
    except errors.LcaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(saved)
    return 0


if __name__ == "__main__":
    sys.exit(main())
