"""Jobs that play a whole motion: bakes and rendered movies. Checks a request and queues it durably.

The request itself is what the worker (``motion_worker.py``) reads, so nothing of it is written twice.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any, TypeAlias

from lca.errors import InvalidInputError
from lca.v1 import animation_service_pb2, job_pb2, motion_pb2, render_service_pb2
from lca_bridge.server import names
from lca_bridge.server.animation_rules import find_avatar, granted_correction
from lca_bridge.server.core import ServiceCore, request_key
from lca_bridge.server.frames import requested_shot
from lca_bridge.server.messages import job_message
from lca_bridge.server.store import AvatarRow, JobRow
from lca_bridge.wire.messages import pose_from_proto

MAX_MOTION_FRAMES = 20_000
MotionRequest: TypeAlias = "animation_service_pb2.BakeMotionRequest | render_service_pb2.RenderMotionRequest"

_BAKES = {
    animation_service_pb2.BAKE_FORMAT_UNSPECIFIED: ("motion.lcaframes", "application/zip"),
    animation_service_pb2.BAKE_FORMAT_FRAMES: ("motion.lcaframes", "application/zip"),
    animation_service_pb2.BAKE_FORMAT_PLY_SEQUENCE: ("motion-ply.zip", "application/zip"),
    animation_service_pb2.BAKE_FORMAT_USDZ: ("motion.usdz", "model/vnd.usdz+zip"),
}
_MOVIES = {
    render_service_pb2.MOVIE_FORMAT_UNSPECIFIED: ("motion.mp4", "video/mp4"),
    render_service_pb2.MOVIE_FORMAT_MP4: ("motion.mp4", "video/mp4"),
    render_service_pb2.MOVIE_FORMAT_PICTURES: ("motion-pictures.zip", "application/zip"),
}


def check_motion(motion: motion_pb2.Motion) -> None:
    """InvalidInputError ``BAD_MOTION``, or ``BAD_POSE`` naming the frame."""
    if not 1 <= len(motion.frames) <= MAX_MOTION_FRAMES:
        raise InvalidInputError(f"A motion has 1 to {MAX_MOTION_FRAMES} frames.", reason="BAD_MOTION")
    if not (math.isfinite(motion.frame_rate) and 1 <= motion.frame_rate <= 240):
        raise InvalidInputError("A motion has 1 to 240 frames a second.", reason="BAD_MOTION")
    for index, frame in enumerate(motion.frames):
        try:
            pose_from_proto(frame)
        except InvalidInputError as error:
            raise InvalidInputError(f"Frame {index}: {error.message}", reason=error.reason) from None


def file_of(request: MotionRequest) -> tuple[str, str]:
    """(file name, media type) of what a request makes; InvalidInputError ``BAD_FORMAT``."""
    known: dict[Any, tuple[str, str]] = (
        _BAKES if isinstance(request, animation_service_pb2.BakeMotionRequest) else _MOVIES
    )
    if request.format not in known:
        raise InvalidInputError("Unknown file format.", reason="BAD_FORMAT")
    return known[request.format]


def size_of(request: MotionRequest, row: AvatarRow) -> int:
    """About how many bytes the result will have, so that a quota or disk it cannot fit says so now."""
    frames = len(request.motion.frames)
    if isinstance(request, animation_service_pb2.BakeMotionRequest):
        if request.format == animation_service_pb2.BAKE_FORMAT_USDZ:
            return int(row.stats.get("package_size_bytes", 0)) + frames * 1024
        return frames * int(row.stats.get("gaussian_count", 0)) * 56
    shot, kind = requested_shot(request.output)
    pixels = frames * shot.width * shot.height
    if request.format != render_service_pb2.MOVIE_FORMAT_PICTURES:
        return pixels // 20
    return pixels * 3 if kind == "RAW_RGB8" else pixels // 2


async def submit_motion(core: ServiceCore, request: MotionRequest) -> job_pb2.Job:
    """Check what can be checked now, then queue the job; the same request_id gives the same job."""
    names.check_request_id(request.request_id)
    file_name, media_type = file_of(request)
    if isinstance(request, render_service_pb2.RenderMotionRequest):
        shot, _ = requested_shot(request.output)
        if media_type == "video/mp4" and (shot.width % 2 or shot.height % 2):
            raise InvalidInputError("A movie needs an even width and height.", reason="BAD_CAMERA")
    await asyncio.to_thread(check_motion, request.motion)
    row = await find_avatar(core, request.avatar, request.revision)
    if request.correction == animation_service_pb2.CORRECTION_MODE_LIVE:
        evaluator = await core.evaluators.get(row.revision)
        await granted_correction(core, evaluator, request.correction)
    bake = isinstance(request, animation_service_pb2.BakeMotionRequest)
    kind, method = ("BAKE_MOTION", "BakeMotion") if bake else ("RENDER_MOTION", "RenderMotion")
    async with core.write_lock:
        key = request_key(method, request)
        if (earlier := await core.once(key, core.store.job)) is not None:
            return job_message(earlier)
        await asyncio.to_thread(core.reserve, size_of(request, row))
        spec = {"avatar": row.id, "revision": row.revision, "file_name": file_name, "media_type": media_type}
        job = JobRow(id=names.new_id("j"), kind=kind, spec=spec, request_id=request.request_id)
        body = request.SerializeToString()
        await asyncio.to_thread(core.results.put_request, job.id, body)
        try:
            return job_message(await core.runner.submit(job, [], key))
        except BaseException:
            core.results.forget(job.id)
            raise
