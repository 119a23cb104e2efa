# SPDX-License-Identifier: GPL-3.0-or-later
"""Motion clips as keys on the control rig: FK controls, 52 face sliders and gaze, in one slotted action.

A clip lands either as the avatar's action or as an NLA layer above what is there; ``bake`` writes what the
rig shows, whatever made it, as plain keys. Curves are filled in bulk: one key at a time is ten times slower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.board import BOARD
from ..core.control_names import IK_PROPERTIES, LIMITS_PROPERTY, TORSO, control_of
from ..core.motion_keys import JOINTS_OF, PARTS, key_table, moved_parts
from . import compat, gaze
from .controls import rig_info
from .face import LIDS_FOLLOW
from .keys import controls_in, sliders_in
from .pose_reader import record

Values = NDArray[np.floating]
Channel = Callable[[str, int, str], bpy.types.FCurve]
_LINEAR = 1


def key_clip(
    rig: bpy.types.Object,
    clip: Any,
    start: int,
    *,
    layer: bool = False,
    parts: Iterable[str] | None = None,
    name: str = "",
    blend_in: float = 0.0,
) -> bpy.types.Action:
    """Key a ``MotionClip``, one key per frame from ``start``; resample it to the scene's rate first.

    Args:
        layer: put it on an NLA track above everything else instead of making it the avatar's action; what was
            the action moves to a track below and shows again where the clip does not reach.
        parts: which of ``core.motion_keys.PARTS`` to key; default those that the clip moves.
        blend_in: frames over which a layer fades in and out.
    """
    chosen = moved_parts(clip) if parts is None else set(parts)
    action = bpy.data.actions.new(name or clip.source.split(" (")[0] or "Motion")
    channel = compat.new_channels(action, rig)
    frames = np.arange(start, start + len(clip), dtype=np.float64)
    _key_parts(rig, clip, chosen, channel, frames)
    for switch in _switches(chosen):
        _fill(channel(f'["{switch}"]', 0, "Sliders"), frames[:1], np.zeros(1))
    _settle_on(rig, action, start, layer, blend_in)
    return action


def bake(rig: bpy.types.Object, scene: bpy.types.Scene, start: int, end: int) -> bpy.types.Action:
    """Write what the rig shows in ``start`` to ``end`` as an action of plain FK, face and eye keys.

    IK, masters, board, gaze sliders and NLA layers are in the keys afterwards; they themselves are keyed to
    rest at ``start`` and the NLA tracks are muted.
    """
    clip = record(rig, scene, start, end)
    action = bpy.data.actions.new(f"{rig.name} baked")
    channel = compat.new_channels(action, rig)
    frames = np.arange(start, end + 1, dtype=np.float64)
    _key_parts(rig, clip, set(PARTS) - {"EYES"}, channel, frames)
    rest = _rest_frames(rig)
    for joint, quats in key_table(clip, rest, {"EYES"}).turns.items():
        _turns(channel, control_of(rig_info(rig).joint_names[joint]), frames, quats)
    _rest_the_others(rig, channel, float(start))
    anim = rig.animation_data or rig.animation_data_create()
    for track in anim.nla_tracks:
        track.mute = True
    anim.action = action
    anim.action_slot = action.slots[0]
    scene.frame_set(scene.frame_current)
    return action


def _key_parts(
    rig: bpy.types.Object, clip: Any, parts: set[str], channel: Channel, frames: NDArray[np.float64]
) -> None:
    info = rig_info(rig)
    table = key_table(clip, _rest_frames(rig), parts)
    for joint, quats in table.turns.items():
        _turns(channel, control_of(info.joint_names[joint]), frames, quats)
    if table.shift is not None:
        rest = np.array(rig.data.bones[TORSO].matrix_local.to_3x3(), np.float64)
        for axis, values in enumerate((table.shift @ rest).T):
            _fill(channel(f'pose.bones["{TORSO}"].location', axis, TORSO), frames, values)
    if table.gaze is not None:
        for slider, values in zip((gaze.YAW, gaze.PITCH), table.gaze.T, strict=True):
            _fill(channel(f'["{slider}"]', 0, "Sliders"), frames, values)
    if table.face is not None:
        for slider, values in zip(info.arkit_names, table.face.T, strict=True):
            _fill(channel(f'["{slider}"]', 0, "Sliders"), frames, values)


def _switches(parts: set[str]) -> tuple[str, ...]:
    """Sliders that would hide the keys of these parts; they go to 0 with the clip."""
    found = IK_PROPERTIES if "BODY" in parts else ()
    return (*found, gaze.FOLLOW) if "EYES" in parts else found


def _rest_the_others(rig: bpy.types.Object, channel: Channel, frame: float) -> None:
    """One key at rest for every control and slider whose effect is in the joint keys now."""
    info, at = rig_info(rig), np.array([frame])
    joints = {control_of(joint) for joint in info.joint_names}
    for name in controls_in(rig, "ALL"):
        bone = rig.pose.bones[name]
        if name in joints or name == BOARD:
            continue
        values: list[tuple[str, tuple[float, ...]]] = [("location", (0.0, 0.0, 0.0))]
        if bone.rotation_mode == "QUATERNION":
            values.append(("rotation_quaternion", (1.0, 0.0, 0.0, 0.0)))
        elif bone.rotation_mode != "AXIS_ANGLE":
            values.append(("rotation_euler", (0.0, 0.0, 0.0)))
        for path, rest in values:
            for axis, value in enumerate(rest):
                _fill(channel(f'pose.bones["{name}"].{path}', axis, name), at, np.array([value]))
    own = {*info.arkit_names}
    others = [name for name in sliders_in(rig, "ALL") if name not in own]
    for name in dict.fromkeys((*others, LIDS_FOLLOW, LIMITS_PROPERTY)):
        if name in rig:
            _fill(channel(f'["{name}"]', 0, "Sliders"), at, np.zeros(1))


def _settle_on(rig: bpy.types.Object, action: bpy.types.Action, start: int, layer: bool, fade: float) -> None:
    anim = rig.animation_data or rig.animation_data_create()
    if not layer:
        anim.action = action
        anim.action_slot = action.slots[0]
        return
    below, slot = anim.action, anim.action_slot
    if below is not None:
        # The active action plays above all tracks, so it has to become one.
        anim.action = None
        strip = _strip(anim, below, slot, round(below.frame_range[0]))
        strip.extrapolation = "HOLD"
    strip = _strip(anim, action, action.slots[0], start)
    strip.extrapolation, strip.blend_type = "NOTHING", "REPLACE"
    strip.blend_in = strip.blend_out = min(fade, 0.5 * (strip.frame_end - strip.frame_start))


def _strip(anim: bpy.types.AnimData, action: bpy.types.Action, slot: Any, start: int) -> bpy.types.NlaStrip:
    track = anim.nla_tracks.new()
    track.name = action.name
    strip = track.strips.new(action.name, start, action)
    if slot is not None:
        strip.action_slot = slot
    return strip


def _turns(channel: Channel, control: str, frames: NDArray[np.float64], quats: Values) -> None:
    for axis in range(4):
        _fill(channel(f'pose.bones["{control}"].rotation_quaternion', axis, control), frames, quats[:, axis])


def _fill(curve: bpy.types.FCurve, frames: NDArray[np.float64], values: Values) -> None:
    points = curve.keyframe_points
    points.add(len(frames))
    flat = np.stack([frames, values], -1).astype(np.float32).reshape(-1)
    points.foreach_set("co", flat)
    points.foreach_set("interpolation", np.full(len(frames), _LINEAR, np.int32))
    curve.update()


def _rest_frames(rig: bpy.types.Object) -> NDArray[np.float64]:
    """(55, 3, 3) rest axes of the joints' controls in avatar space."""
    bones = rig.data.bones
    names = [control_of(joint) for joint in rig_info(rig).joint_names]
    count = max(max(joints) for joints in JOINTS_OF.values()) + 1
    return np.array([bones[name].matrix_local.to_3x3() for name in names[:count]], np.float64)
