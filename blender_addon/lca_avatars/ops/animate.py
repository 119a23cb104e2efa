# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators an animator poses with: FK/IK snapping, presets, mirror, keying, the board, bone names."""

from __future__ import annotations

import bpy

from ..bl import keys, limbs, mirror, name_maps, pose_assets, presets, snap
from ..bl.language import rpt
from ..core.frames import SIDES
from ..core.presets import expressions, hand_poses
from .tool import AvatarTool, KeyedTool

_PARTS = [
    ("ALL", "Everything", "Body, hands and face"),
    ("BODY", "Body", "Body controls"),
    ("HANDS", "Hands", "Fingers of both hands"),
    ("FACE", "Face", "Face board, face sliders and gaze"),
]
_SIDES = [
    ("left", "Left", "The person's left"),
    ("right", "Right", "The person's right"),
    ("both", "Both", "Left and right"),
]
_LIMBS = [("ALL", "All", "Both arms and both legs")]
_LIMBS += [(limb.switch, f"{limb.side.title()} {limb.kind.title()}", "") for limb in limbs.limbs()]


def _choices(names: tuple[str, ...] | list[str]) -> list[tuple[str, str, str]]:
    return [(name, name, "") for name in names]


class LCA_OT_switch_limb(KeyedTool, bpy.types.Operator):
    """Switch limbs between FK and IK without moving them"""

    bl_idname = "lca.switch_limb"
    bl_label = "Snap FK/IK"

    limb: bpy.props.EnumProperty(name="Limb", items=_LIMBS)  # type: ignore[valid-type]
    to: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="To",
        items=[("IK", "IK", "Hands and feet lead"), ("FK", "FK", "Each joint turns by itself")],
    )

    def change(self, rig: bpy.types.Object, context: bpy.types.Context) -> str:
        """Write the pose to the other system, then throw the switch."""
        step = snap.to_ik if self.to == "IK" else snap.to_fk
        for limb in limbs.limbs():
            if self.limb in ("ALL", limb.switch):
                step(rig, limb, key=self.wants_keys(context))
        return ""


class _SliderTool(KeyedTool):
    """Writes sliders, which :meth:`write` names, and keys those."""

    def write(self, rig: bpy.types.Object) -> list[str]:
        """Set the sliders; returns their names."""
        raise NotImplementedError

    def change(self, rig: bpy.types.Object, context: bpy.types.Context) -> str:
        """Write, and key what was written."""
        names = self.write(rig)
        if self.wants_keys(context):
            keys.key_sliders(rig, names, context.scene.frame_current)
        return ""


class _PresetTool(_SliderTool):
    strength: bpy.props.FloatProperty(  # type: ignore[valid-type]
        name="Strength", description="Share of the preset", default=1.0, min=0.0, max=1.0
    )


class LCA_OT_hand_pose(_PresetTool, bpy.types.Operator):
    """Put a hand into a pose, by its curl and spread sliders"""

    bl_idname = "lca.hand_pose"
    bl_label = "Hand Pose"

    pose: bpy.props.EnumProperty(name="Pose", items=_choices(list(hand_poses())))  # type: ignore[valid-type]
    side: bpy.props.EnumProperty(name="Hand", items=_SIDES, default="both")  # type: ignore[valid-type]

    def write(self, rig: bpy.types.Object) -> list[str]:
        """The sliders of one hand or both."""
        hand, sides = hand_poses()[self.pose], SIDES if self.side == "both" else (self.side,)
        return [name for side in sides for name in presets.apply_hand_pose(rig, hand, side, self.strength)]


class LCA_OT_expression(_PresetTool, bpy.types.Operator):
    """Put the face into an expression, by its 52 sliders"""

    bl_idname = "lca.expression"
    bl_label = "Expression"

    expression: bpy.props.EnumProperty(name="Expression", items=_choices(list(expressions())))  # type: ignore[valid-type]

    def write(self, rig: bpy.types.Object) -> list[str]:
        """The face sliders."""
        return presets.apply_expression(rig, expressions()[self.expression], self.strength)


class LCA_OT_board_to_sliders(_SliderTool, bpy.types.Operator):
    """Move what the face board says into the face sliders and centre its knobs; the face stays as it is"""

    bl_idname = "lca.board_to_sliders"
    bl_label = "Board to Sliders"

    def write(self, rig: bpy.types.Object) -> list[str]:
        """Add the knobs to the sliders."""
        names = presets.board_to_sliders(rig)
        self.report({"INFO"}, rpt("{count} sliders took over from the board").format(count=len(names)))
        return names


class LCA_OT_mirror_pose(AvatarTool, bpy.types.Operator):
    """Mirror the pose across the body"""

    bl_idname = "lca.mirror_pose"
    bl_label = "Mirror Pose"

    direction: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Direction",
        items=[
            (mirror.LEFT_TO_RIGHT, "Left to Right", "Copy the person's left side onto the right one"),
            (mirror.RIGHT_TO_LEFT, "Right to Left", "Copy the person's right side onto the left one"),
            (mirror.SWAP, "Swap", "Mirror the whole pose"),
        ],
    )
    part: bpy.props.EnumProperty(name="Part", items=_PARTS)  # type: ignore[valid-type]

    def change(self, rig: bpy.types.Object, context: bpy.types.Context) -> str:
        """Mirror bones and sliders."""
        written = mirror.mirror_pose(rig, self.direction, self.part)
        return rpt("Mirrored {count} controls").format(count=len(written))


class LCA_OT_key_pose(AvatarTool, bpy.types.Operator):
    """Key the avatar's controls and sliders at this frame"""

    bl_idname = "lca.key_pose"
    bl_label = "Key Pose"

    part: bpy.props.EnumProperty(name="Part", items=_PARTS)  # type: ignore[valid-type]

    def change(self, rig: bpy.types.Object, context: bpy.types.Context) -> str:
        """Insert keys."""
        frame = context.scene.frame_current
        count = keys.key_part(rig, self.part, frame)
        return rpt("Keyed {count} controls at frame {frame}").format(count=count, frame=frame)


class LCA_OT_reset_board(AvatarTool, bpy.types.Operator):
    """Centre every knob of the face board"""

    bl_idname = "lca.reset_board"
    bl_label = "Reset Board"

    def change(self, rig: bpy.types.Object, context: bpy.types.Context) -> str:
        """Zero the knobs."""
        presets.reset_board(rig)
        return ""


class LCA_OT_pose_assets(AvatarTool, bpy.types.Operator):
    """Make the shipped hand poses and expressions pose assets of this file, with catalogs"""

    bl_idname = "lca.pose_assets"
    bl_label = "Create Pose Assets"

    def change(self, rig: bpy.types.Object, context: bpy.types.Context) -> str:
        """Build the actions; catalogs go beside the saved file."""
        made = pose_assets.build_library(rig)
        if bpy.data.filepath:
            pose_assets.write_catalogs(bpy.path.abspath("//"))
        return rpt("{count} pose assets in this file").format(count=len(made))


class LCA_OT_bone_names(AvatarTool, bpy.types.Operator):
    """Name the deform bones as another rig does, for retargeting and export; controls keep their names"""

    bl_idname = "lca.bone_names"
    bl_label = "Bone Names"

    scheme: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Names",
        items=[
            ("smplx", "SMPL-X", "Our own joint names"),
            ("unreal", "Unreal (UE4)", "Unreal mannequin, UE4"),
            ("unreal5", "Unreal (UE5)", "Unreal mannequin, UE5"),
            ("unity", "Unity", "Unity Humanoid"),
            ("mixamo", "Mixamo", "Mixamo"),
            ("rigify", "Rigify", "Rigify deform bones"),
        ],
    )

    def change(self, rig: bpy.types.Object, context: bpy.types.Context) -> str:
        """Rename; Blender updates what refers to the bones."""
        if self.scheme not in name_maps.schemes(rig):
            raise ValueError(
                rpt("This avatar's rig description has no names for {scheme}").format(scheme=self.scheme)
            )
        return rpt("Renamed {count} bones").format(count=name_maps.rename(rig, self.scheme))


CLASSES = (
    LCA_OT_switch_limb,
    LCA_OT_hand_pose,
    LCA_OT_expression,
    LCA_OT_mirror_pose,
    LCA_OT_key_pose,
    LCA_OT_board_to_sliders,
    LCA_OT_reset_board,
    LCA_OT_pose_assets,
    LCA_OT_bone_names,
)
