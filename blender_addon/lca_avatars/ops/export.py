# SPDX-License-Identifier: GPL-3.0-or-later
"""Out of Blender: USD of the shot, the full USD asset, the avatar file, and a PLY of the current pose."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from bpy_extras.io_utils import ExportHelper

from ..bl import compat, frames_cloud, importer, live, usd_hook
from ..bl.language import rpt
from ..bl.pose_reader import RigPose, clip_of, recording
from ..core.deps import describe_error, errors, package
from ..core.jobs import Job, Report
from ..core.motion_file import write_motion
from ..core.programs import find_lca, run_lca
from ..core.splat_ply import PlySplats, write_ply
from . import service
from .motion import FrameRange
from .task import Task, TaskOperator
from .tool import LOST, AvatarTool, active_rig


class LCA_OT_export_usd(AvatarTool, bpy.types.Operator, ExportHelper):
    """Export avatar and shot with Blender's own USD exporter: skeleton, mesh, splats frame by frame"""

    bl_idname = "lca.export_usd"
    bl_label = "Export Shot (USD)"
    bl_options = {"REGISTER"}  # noqa: RUF012 - Blender reads a plain set

    filename_ext = ".usdc"
    filter_glob: bpy.props.StringProperty(default="*.usdc;*.usda;*.usdz;*.usd", options={"HIDDEN"})  # type: ignore[valid-type]
    check_extension = None
    animation: bpy.props.BoolProperty(name="Animation", default=True)  # type: ignore[valid-type]
    proxy: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Skinned Mesh", description="Also the textured mesh on its skeleton", default=True
    )

    def change(self, rig: bpy.types.Object, context: bpy.types.Context) -> str:
        """Show everything that goes out, export it, put things back."""
        path = Path(bpy.path.abspath(self.filepath))
        if path.suffix.lower() not in (".usdc", ".usda", ".usdz", ".usd"):
            raise ValueError(
                rpt("{name} is no USD name; end it in .usdc, .usda or .usdz").format(name=path.name)
            )
        known = bpy.ops.wm.usd_export.get_rna_type().properties
        wanted: dict[str, Any] = {
            "filepath": str(path),
            "selected_objects_only": True,
            "export_animation": self.animation,
            "evaluation_mode": "RENDER",
            "export_armatures": True,
            "export_shapekeys": True,
            "check_existing": False,
        }
        try:
            with _selected(rig, self.proxy, context):
                done = bpy.ops.wm.usd_export(**{k: v for k, v in wanted.items() if k in known})
        except RuntimeError as error:
            raise ValueError(str(error).strip()) from error
        if done != {"FINISHED"} or not path.is_file():
            line = rpt("{name} was not written; the system console has Blender's reason")
            raise ValueError(line.format(name=path.name))
        return _wrote(path)


class LCA_OT_export_asset(FrameRange, TaskOperator, bpy.types.Operator, ExportHelper):
    """Export the full USD asset (skinned splats, face shapes, mesh, levels of detail) playing this shot"""

    bl_idname = "lca.export_asset"
    bl_label = "Export Full Asset (USD)"
    bl_options = {"REGISTER"}  # noqa: RUF012

    filename_ext = ".usdz"
    check_extension = None
    filter_glob: bpy.props.StringProperty(default="*.usdz;*.usdc", options={"HIDDEN"})  # type: ignore[valid-type]
    preset: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="For",
        items=[
            ("usd", "USD", "Splats, mesh and points as variants"),
            ("unreal", "Unreal", "Opens as the skinned mesh, splats beside it"),
            ("unity", "Unity", "Opens as the skinned mesh, splats beside it"),
            ("apple", "Apple", "The skinned mesh alone"),
            ("web", "Web", "The least a browser needs"),
            ("blender", "Blender", "Opens with points that carry every splat attribute"),
        ],
    )
    animation: bpy.props.BoolProperty(name="Animation", default=True)  # type: ignore[valid-type]
    program: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the file; afterwards work beside the interface."""
        self.wait = False
        return ExportHelper.invoke(self, context, event)

    def prepare(self, context: bpy.types.Context) -> Task:
        """Record the shot, then let ``lca export usd`` pack it in a process of its own."""
        rig, scene = active_rig(context), context.scene
        out = Path(bpy.path.abspath(self.filepath))
        avatar, preset, animated = live.package_of(rig), self.preset, self.animation
        start, end = self.frames(scene)
        program, title = self.program or service.program(), rpt("Packing USD")
        find_lca(program)
        if not avatar.is_file():
            line = rpt("The avatar file {path} is gone. Import the avatar again.")
            raise ValueError(line.format(path=avatar))
        poses: list[RigPose] = []
        folder = Path(tempfile.mkdtemp(prefix="lca_export_", dir=bpy.app.tempdir))

        def work(report: Report, cancelled: threading.Event) -> Path:
            arguments: list[str | Path] = ["export", "usd", avatar, out, "--preset", preset]
            if animated:
                arguments += ["--motion", write_motion(clip_of(rig, scene, poses), folder / "shot.npz")]
            run_lca(program, arguments, title, report, cancelled)
            return out

        steps = recording(rig, scene, start, end, poses) if animated else None
        return Task(rpt("Export Full Asset"), lambda: Job(work), _wrote, steps)


class LCA_OT_export_lca(AvatarTool, bpy.types.Operator, ExportHelper):
    """Save the avatar file, as it was imported"""

    bl_idname = "lca.export_lca"
    bl_label = "Save Avatar File"
    bl_options = {"REGISTER"}  # noqa: RUF012

    filename_ext = ".lca"
    filter_glob: bpy.props.StringProperty(default="*.lca", options={"HIDDEN"})  # type: ignore[valid-type]

    def change(self, rig: bpy.types.Object, context: bpy.types.Context) -> str:
        """Verify the file and copy it."""
        source = live.package_of(rig)
        target = Path(bpy.path.abspath(self.filepath))
        part = target.with_name(target.name + ".part")
        try:
            package.read_package(source)
            shutil.copyfile(source, part)
            part.replace(target)
        except (errors.LcaError, OSError) as error:
            part.unlink(missing_ok=True)
            line = rpt("The avatar file cannot be saved: {why}")
            raise ValueError(line.format(why=describe_error(error))) from error
        return _wrote(target)


class LCA_OT_export_ply(AvatarTool, bpy.types.Operator, ExportHelper):
    """Write the splats as they are posed now, with colour and opacity"""

    bl_idname = "lca.export_ply"
    bl_label = "Export Pose (PLY)"
    bl_options = {"REGISTER"}  # noqa: RUF012

    filename_ext = ".ply"
    filter_glob: bpy.props.StringProperty(default="*.ply", options={"HIDDEN"})  # type: ignore[valid-type]
    world: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="World Space",
        description="Where the avatar stands in the scene (Z up) instead of its own space (Y up)",
        default=False,
    )

    def change(self, rig: bpy.types.Object, context: bpy.types.Context) -> str:
        """Read the evaluated points and write them."""
        posed = posed_splats(rig, context, self.world)
        write_ply(bpy.path.abspath(self.filepath), posed)
        return rpt("Wrote {count} splats").format(count=len(posed.means))


def _wrote(path: Path) -> str:
    return rpt("Wrote {name}").format(name=path.name)


def posed_splats(rig: bpy.types.Object, context: bpy.types.Context, world: bool = False) -> PlySplats:
    """What is shown now: the splats that follow the rig, or the frame of a service or cache. Colour is band
    0; what depends on the view is left out.

    Raises:
        ValueError: the avatar has lost its splats.
    """
    with _shown(rig, context) as cloud:
        data = cloud.evaluated_get(context.evaluated_depsgraph_get()).data
        means, quats, scales, base = (
            compat.read_attribute(data, name) for name in ("position", "rotation", "scale", "radiance:base")
        )
    if world:
        matrix = np.array(cloud.matrix_world, np.float32)
        means = means @ matrix[:3, :3].T + matrix[:3, 3]
        _place, turn, size = cloud.matrix_world.decompose()
        w, x, y, z = turn
        left = np.array([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]], np.float32)
        quats, scales = quats @ left.T, scales * np.float32(sum(size) / 3.0)
    return PlySplats(means, quats, scales, base[:, 3], base[:, None, :3])


@contextmanager
def _shown(rig: bpy.types.Object, context: bpy.types.Context) -> Iterator[bpy.types.Object]:
    """The object whose splats count, visible meanwhile: hidden objects are not evaluated."""
    cloud = frames_cloud.shown(rig) or importer.part(rig, "splats")
    if cloud is None:
        raise ValueError(rpt(LOST))
    before, cloud.hide_viewport = cloud.hide_viewport, False
    try:
        context.view_layer.update()
        yield cloud
    finally:
        cloud.hide_viewport = before


@contextmanager
def _selected(rig: bpy.types.Object, with_proxy: bool, context: bpy.types.Context) -> Iterator[None]:
    """Rig, splats and, if wanted, the proxy selected and visible; everything as before afterwards."""
    layer = context.view_layer
    chosen, active = [obj for obj in layer.objects if obj.select_get()], layer.objects.active
    proxy = importer.part(rig, "proxy")
    with _shown(rig, context) as cloud:
        hidden = None if proxy is None else (proxy.hide_viewport, proxy.hide_render)
        if proxy is not None:
            proxy.hide_viewport, proxy.hide_render = not with_proxy, not with_proxy
        try:
            layer.update()
            compat.select_only(rig)
            for obj in (cloud, *([proxy] if with_proxy and proxy is not None else [])):
                obj.select_set(True)
            yield
        finally:
            if proxy is not None and hidden is not None:
                proxy.hide_viewport, proxy.hide_render = hidden
            for obj in layer.objects:
                obj.select_set(obj in chosen)
            layer.objects.active = active


CLASSES = (usd_hook.LCA_USDHook, LCA_OT_export_usd, LCA_OT_export_asset, LCA_OT_export_lca, LCA_OT_export_ply)
