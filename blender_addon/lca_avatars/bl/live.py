# SPDX-License-Identifier: GPL-3.0-or-later
"""Live mode: the rig's pose goes to the service, the newest frame comes back into the viewport.

A timer of the main thread hands poses and frames over and never waits for the network; posing, playback and
scrubbing need nothing else. When the service fails, the splats follow the rig natively again and the panel
says why.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import bpy

from ..core import live as link_core
from ..core.deps import errors
from ..core.live import LiveLink
from ..core.splat_cache import Gaussians
from . import frames_cloud, importer, status
from .language import rpt
from .pose_reader import PoseReader, RigPose

_TICK_SECONDS = 1.0 / 60.0


@dataclass
class _Session:
    link: LiveLink
    avatar: str
    reader: PoseReader
    sent: RigPose | None = None
    frames: int = 0
    longest: float = 0.0


@dataclass
class _State:
    session: _Session | None = None
    message: str = ""


_state = _State()


def running() -> bool:
    """Whether an avatar is driven live, or the connection for it is being made."""
    return _state.session is not None


def message() -> str:
    """One line for the panel: what live mode does, or why it ended."""
    session = _state.session
    if session is None:
        return _state.message
    if session.link.state == link_core.CONNECTING:
        return rpt("Connecting")
    text = rpt("Live, {count} frames").format(count=session.frames)
    return f"{text}, {session.link.note}" if session.link.note else text


def frames() -> int:
    """Frames shown since the start."""
    return 0 if _state.session is None else _state.session.frames


def longest_block() -> float:
    """Seconds of the longest step in the main thread since the start."""
    return 0.0 if _state.session is None else _state.session.longest


def start(rig: bpy.types.Object, link: LiveLink) -> None:
    """Drive ``rig`` through ``link``; another live avatar is stopped first. Returns at once."""
    stop()
    _state.message = ""
    _state.session = _Session(link, str(rig[importer.AVATAR_ID]), PoseReader(rig))
    bpy.app.timers.register(_tick, first_interval=_TICK_SECONDS, persistent=True)


def stop(why: str = "") -> None:
    """End live mode: the splats follow the rig again. ``why`` is shown in the panel."""
    session, _state.session = _state.session, None
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    if session is None:
        return
    _state.message = why
    session.link.close()
    rig = find(session.avatar)
    if rig is not None:
        frames_cloud.hide(rig)


def step() -> bool:
    """Send the pose if it changed, show the newest frame if there is one; says whether one was shown.

    The timer calls this; scripts without a running interface call it themselves.
    """
    session = _state.session
    if session is None:
        return False
    begun = time.perf_counter()
    try:
        return _step(session)
    finally:
        session.longest = max(session.longest, time.perf_counter() - begun)


def _step(session: _Session) -> bool:
    rig = find(session.avatar)
    if rig is None:
        stop(rpt("The avatar is gone"))
        return False
    posed = session.link.latest()
    if session.link.state == link_core.FAILED:
        ended = (
            rpt("Live mode ended, the splats follow the rig again: {why}")
            if session.frames
            else rpt("Live mode did not start: {why}")
        )
        stop(ended.format(why=session.link.problem))
        print(f"LCA Avatars: {_state.message}")
        return False
    if len(rig.pose.bones) != session.reader.bones:
        session.reader = PoseReader(rig)
    pose = session.reader.read(rig, bpy.context.scene)
    if pose.differs(session.sent) and session.link.push(pose):
        session.sent = pose
    if posed is None:
        return False
    cloud = frames_cloud.show(rig)
    if len(posed.means) != len(cloud.data.points):
        stop(rpt("Live mode ended: the service drives another version of this avatar. Import it again."))
        return False
    frames_cloud.write(cloud, Gaussians.of(posed))
    session.frames += 1
    return True


def find(avatar: str) -> bpy.types.Object | None:
    """The rig by its own id (``importer.AVATAR_ID``): object references do not survive an undo."""
    return next((obj for obj in bpy.data.objects if obj.get(importer.AVATAR_ID) == avatar), None)


def need(avatar: str) -> bpy.types.Object:
    """:func:`find`, for results that land later.

    Raises:
        NotFoundError: the avatar was removed in the meantime.
    """
    rig = find(avatar)
    if rig is None:
        raise errors.NotFoundError("The avatar was removed in the meantime; nothing was changed.")
    return rig


def _tick() -> float | None:
    before = message()
    if step() or message() != before:
        status.redraw()
    return _TICK_SECONDS if running() else None


def package_of(rig: bpy.types.Object) -> Path:
    """The avatar file that a rig came from; it may have been moved away since."""
    return Path(str(rig.get(importer.PACKAGE, "")))


@bpy.app.handlers.persistent
def stop_before_load(*_arguments: object) -> None:
    """``load_pre`` handler: the rig is about to go away."""
    stop()


@bpy.app.handlers.persistent
def tidy_after_load(*_arguments: object) -> None:
    """``load_post`` handler: a file saved while live opens with splats that follow the rig."""
    for rig in [obj for obj in bpy.data.objects if importer.AVATAR_ID in obj]:
        cloud = frames_cloud.shown(rig)
        if cloud is not None and frames_cloud.CACHE not in cloud:
            frames_cloud.hide(rig)
