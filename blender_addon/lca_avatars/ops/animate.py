# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators an animator poses with: FK/IK snapping, presets, mirror, keying, the board, level of detail."""

from __future__ import annotations

import bpy

from ..bl import importer, keys, limbs, mirror, name_maps, pose_assets, presets, snap, splats
from ..core.presets import expressions, hand_poses
from .pose import AvatarOperator

_UNDO = {"REGISTER", "UNDO"}
_PARTS = [
    ("ALL", "Everything", "Body, hands and face"),
    ("BODY", "Body", "Body controls"),
    ("HANDS", "Hands", "Fingers of both hands"),
    ("FACE", "Face", "Face board, face sliders and gaze"),
]
_SIDES = [
    ("left", "Left", "The person's left"),
    ("right", "Right", "The person's right"),
    ("both", "Both", ""),
]


_LIMBS = [("ALL", "All", "Both arms and both legs")]
_LIMBS += [(limb.switch, f"{limb.side.title()} {limb.kind.title()}", "") for limb in limbs.limbs()]


def _choices(names: tuple[str, ...] | list[str]) -> list[tuple[str, str, str]]:
    return [(name, name, "") for name in names]


def _wants_keys(operator: bpy.types.Operator, context: bpy.types.Context) -> bool:
    return operator.key or context.scene.tool_settings.use_keyframe_insert_auto  # type: ignore[attr-defined]


class LCA_OT_switch_limb(AvatarOperator, bpy.types.Operator):
    """Switch limbs between FK and IK without moving them"""

    bl_idname = "lca.switch_limb"
    bl_label = "Snap FK/IK"
    bl_options = _UNDO

    limb: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Limb",
        items=_LIMBS,
    )
    to: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="To",
        items=[("IK", "IK", "Hands and feet lead"), ("FK", "FK", "Each joint turns by itself")],
    )
    key: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Key", description="Key the switch and the controls at this frame", default=False
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Write the pose to the other system, then throw the switch."""
        rig = importer.find_avatar(context.object)
        step = snap.to_ik if self.to == "IK" else snap.to_fk
        for limb in limbs.limbs():
            if self.limb in ("ALL", limb.switch):
                step(rig, limb, key=_wants_keys(self, context))
        return {"FINISHED"}


class LCA_OT_hand_pose(AvatarOperator, bpy.types.Operator):
    """Put a hand into a pose, by its curl and spread sliders"""

    bl_idname = "lca.hand_pose"
    bl_label = "Hand Pose"
    bl_options = _UNDO

    pose: bpy.props.EnumProperty(name="Pose", items=_choices(list(hand_poses())))  # type: ignore[valid-type]
    side: bpy.props.EnumProperty(name="Hand", items=_SIDES, default="both")  # type: ignore[valid-type]
    strength: bpy.props.FloatProperty(name="Strength", default=1.0, min=0.0, max=1.0)  # type: ignore[valid-type]
    key: bpy.props.BoolProperty(name="Key", default=False)  # type: ignore[valid-type]

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set the sliders of one hand or both."""
        rig = importer.find_avatar(context.object)
        names: list[str] = []
        for side in ("left", "right") if self.side == "both" else (self.side,):
            names += presets.apply_hand_pose(rig, hand_poses()[self.pose], side, self.strength)
        if _wants_keys(self, context):
            keys.key_sliders(rig, names, context.scene.frame_current)
        return {"FINISHED"}


class LCA_OT_expression(AvatarOperator, bpy.types.Operator):
    """Put the face into an expression, by its 52 sliders"""

    bl_idname = "lca.expression"
    bl_label = "Expression"
    bl_options = _UNDO

    expression: bpy.props.EnumProperty(name="Expression", items=_choices(list(expressions())))  # type: ignore[valid-type]
    strength: bpy.props.FloatProperty(name="Strength", default=1.0, min=0.0, max=1.0)  # type: ignore[valid-type]
    key: bpy.props.BoolProperty(name="Key", default=False)  # type: ignore[valid-type]

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set the sliders."""
        rig = importer.find_avatar(context.object)
        names = presets.apply_expression(rig, expressions()[self.expression], self.strength)
        if _wants_keys(self, context):
            keys.key_sliders(rig, names, context.scene.frame_current)
        return {"FINISHED"}


class LCA_OT_mirror_pose(AvatarOperator, bpy.types.Operator):
    """Mirror the pose across the body"""

    bl_idname = "lca.mirror_pose"
    bl_label = "Mirror Pose"
    bl_options = _UNDO

    direction: bpy.props.EnumProperty(  # type: ignore[valid-type]
        name="Direction",
        items=[
            (mirror.LEFT_TO_RIGHT, "Left to Right", "Copy the person's left side onto the right one"),
            (mirror.RIGHT_TO_LEFT, "Right to Left", "Copy the person's right side onto the left one"),
            (mirror.SWAP, "Swap", "Mirror the whole pose"),
        ],
    )
    part: bpy.props.EnumProperty(name="Part", items=_PARTS)  # type: ignore[valid-type]

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Mirror bones and sliders."""
        written = mirror.mirror_pose(importer.find_avatar(context.object), self.direction, self.part)
        self.report({"INFO"}, f"Mirrored {len(written)} controls")
        return {"FINISHED"}


class LCA_OT_key_pose(AvatarOperator, bpy.types.Operator):
    """Key the avatar's controls and sliders at this frame"""

    bl_idname = "lca.key_pose"
    bl_label = "Key Pose"
    bl_options = _UNDO

    part: bpy.props.EnumProperty(name="Part", items=_PARTS)  # type: ignore[valid-type]

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Insert keys."""
        rig = importer.find_avatar(context.object)
        count = keys.key_part(rig, self.part, context.scene.frame_current)
        self.report({"INFO"}, f"Keyed {count} controls at frame {context.scene.frame_current}")
        return {"FINISHED"}


class LCA_OT_board_to_sliders(AvatarOperator, bpy.types.Operator):
    """Move what the face board says into the face sliders and centre its knobs; the face stays as it is"""

    bl_idname = "lca.board_to_sliders"
    bl_label = "Board to Sliders"
    bl_options = _UNDO

    key: bpy.props.BoolProperty(name="Key", default=False)  # type: ignore[valid-type]

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add the knobs to the sliders."""
        rig = importer.find_avatar(context.object)
        names = presets.board_to_sliders(rig)
        if _wants_keys(self, context):
            keys.key_sliders(rig, names, context.scene.frame_current)
        self.report({"INFO"}, f"{len(names)} sliders took over from the board")
        return {"FINISHED"}


class LCA_OT_reset_board(AvatarOperator, bpy.types.Operator):
    """Centre every knob of the face board"""

    bl_idname = "lca.reset_board"
    bl_label = "Reset Board"
    bl_options = _UNDO

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Zero the knobs."""
        presets.reset_board(importer.find_avatar(context.object))
        return {"FINISHED"}


class LCA_OT_pose_assets(AvatarOperator, bpy.types.Operator):
    """Make the shipped hand poses and expressions pose assets of this file, with catalogs"""

    bl_idname = "lca.pose_assets"
    bl_label = "Create Pose Assets"
    bl_options = _UNDO

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Build the actions; catalogs go beside the saved file."""
        made = pose_assets.build_library(importer.find_avatar(context.object))
        if bpy.data.filepath:
            pose_assets.write_catalogs(bpy.path.abspath("//"))
        self.report({"INFO"}, f"{len(made)} pose assets in this file")
        return {"FINISHED"}


class LCA_OT_detail(AvatarOperator, bpy.types.Operator):
    """Show only a fraction of the splats, the most visible ones: faster playback, coarser picture"""

    bl_idname = "lca.detail"
    bl_label = "Level of Detail"
    bl_options = _UNDO

    keep: bpy.props.FloatProperty(name="Keep", default=1.0, min=0.01, max=1.0, subtype="FACTOR")  # type: ignore[valid-type]

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set the fraction."""
        cloud = importer.part(importer.find_avatar(context.object), "splats")
        if cloud is None:
            self.report({"ERROR"}, "This avatar has lost its splats. Import it again.")
            return {"CANCELLED"}
        splats.set_keep(cloud, self.keep)
        return {"FINISHED"}


class LCA_OT_bone_names(AvatarOperator, bpy.types.Operator):
    """Name the deform bones as another rig does, for retargeting and export; controls keep their names"""

    bl_idname = "lca.bone_names"
    bl_label = "Bone Names"
    bl_options = _UNDO

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

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Rename; Blender updates what refers to the bones."""
        rig = importer.find_avatar(context.object)
        if self.scheme not in name_maps.schemes(rig):
            self.report({"ERROR"}, f"This avatar's rig description has no names for {self.scheme}")
            return {"CANCELLED"}
        self.report({"INFO"}, f"Renamed {name_maps.rename(rig, self.scheme)} bones")
        return {"FINISHED"}


CLASSES = (
    LCA_OT_switch_limb,
    LCA_OT_hand_pose,
    LCA_OT_expression,
    LCA_OT_mirror_pose,
    LCA_OT_key_pose,
    LCA_OT_board_to_sliders,
    LCA_OT_reset_board,
    LCA_OT_pose_assets,
    LCA_OT_detail,
    LCA_OT_bone_names,
)
