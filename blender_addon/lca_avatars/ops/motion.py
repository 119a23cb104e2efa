# SPDX-License-Identifier: GPL-3.0-or-later
"""Motion files onto the avatar, and what the avatar shows as plain keys."""

from __future__ import annotations

import time

import bpy
from bpy_extras.io_utils import ImportHelper

from ..bl import importer, motion, pose_reader
from ..bl.language import rpt
from ..core.deps import motion as motion_files
from .tool import AvatarTool

FILTER = ";".join(f"*{suffix}" for suffix in motion_files.SUFFIXES)


class FrameRange:
    """Operators over frames: the scene's range unless another one is given."""

    start: bpy.props.IntProperty(name="Start", description="-1: the scene's", default=-1, min=-1)  # type: ignore[valid-type]
    end: bpy.props.IntProperty(name="End", description="-1: the scene's", default=-1, min=-1)  # type: ignore[valid-type]

    def frames(self, scene: bpy.types.Scene) -> tuple[int, int]:
        """First and last frame.

        Raises:
            ValueError: the range is empty.
        """
        start = scene.frame_start if self.start < 0 else self.start
        end = scene.frame_end if self.end < 0 else self.end
        if end < start:
            raise ValueError(
                rpt("The range ends before it starts ({start} to {end})").format(start=start, end=end)
            )
        return start, end


def land_clip(
    rig: bpy.types.Object,
    path: str,
    scene: bpy.types.Scene,
    *,
    start: int,
    layer: bool,
    blend_in: float = 0.0,
    fit_range: bool = True,
    face_forward: bool = True,
) -> tuple[int, str]:
    """Key a motion file on ``rig``; returns the number of frames and the clip's own description.

    Raises:
        LcaError: not a motion file we can read.
    """
    clip = motion_files.read_motion(path, fps=pose_reader.frame_rate(scene), face_forward=face_forward)
    motion.key_clip(rig, clip, start, layer=layer, blend_in=blend_in)
    if fit_range:
        scene.frame_start = min(scene.frame_start, start) if layer else start
        last = start + len(clip) - 1
        scene.frame_end = max(scene.frame_end, last) if layer else last
    scene.frame_set(scene.frame_current)
    return len(clip), clip.source


class LCA_OT_import_motion(AvatarTool, bpy.types.Operator, ImportHelper):
    """Key a motion file on the avatar: BVH, SMPL-X or captured npz, ARKit JSON, Live Link Face CSV"""

    bl_idname = "lca.import_motion"
    bl_label = "Import Motion"

    filename_ext = ""
    filter_glob: bpy.props.StringProperty(default=FILTER, options={"HIDDEN"})  # type: ignore[valid-type]
    start: bpy.props.IntProperty(  # type: ignore[valid-type]
        name="Start Frame", description="Where the clip's first frame goes", default=1
    )
    layer: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="As Layer",
        description="Put the clip on an NLA track above the present animation instead of replacing it",
        default=False,
    )
    blend_in: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Fade", description="Frames over which a layer fades in and out", default=0.0, min=0.0
    )
    fit_range: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Fit Frame Range", description="Make the scene's frame range hold the clip", default=True
    )
    face_forward: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Face Forward",
        description="Turn the clip so that it starts facing the way the avatar does at rest",
        default=True,
    )

    def change(self, rig: bpy.types.Object, context: bpy.types.Context) -> str:
        """Read and key; a file that is no motion is reported, and nothing changes."""
        begun = time.perf_counter()
        count, source = land_clip(
            rig,
            bpy.path.abspath(self.filepath),
            context.scene,
            start=self.start,
            layer=self.layer,
            blend_in=self.blend_in,
            fit_range=self.fit_range,
            face_forward=self.face_forward,
        )
        line = rpt("Keyed {count} frames of {clip} in {seconds:.1f} s")
        return line.format(count=count, clip=source, seconds=time.perf_counter() - begun)


class LCA_OT_bake_keys(FrameRange, AvatarTool, bpy.types.Operator):
    """Write what the avatar shows, whatever IK, masters, board and layers made it, as plain keys"""

    bl_idname = "lca.bake_keys"
    bl_label = "Bake to Keys"

    def change(self, rig: bpy.types.Object, context: bpy.types.Context) -> str:
        """Play the range once and key it."""
        start, end = self.frames(context.scene)
        action = motion.bake(rig, context.scene, start, end)
        return rpt("Baked {count} frames into {name}").format(count=end - start + 1, name=action.name)


class LCA_FH_motion(bpy.types.FileHandler):
    """Motion files dropped on the 3D view."""

    bl_idname = "LCA_FH_motion"
    bl_label = "Motion for LCA Avatars"
    bl_import_operator = "lca.import_motion"
    bl_file_extensions = ";".join(motion_files.SUFFIXES)

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """Onto the 3D view, with an avatar to move."""
        area = context.area
        return (
            area is not None and area.type == "VIEW_3D" and importer.find_avatar(context.object) is not None
        )


CLASSES = (LCA_OT_import_motion, LCA_OT_bake_keys, LCA_FH_motion)
