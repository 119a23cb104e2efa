"""AnimationService: poses in, Gaussian frames, correction frames or pictures out."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator

import grpc

from lca.errors import ExhaustedError, InvalidInputError
from lca.v1 import animation_service_pb2 as pb
from lca.v1 import animation_service_pb2_grpc as rpc
from lca.v1 import job_pb2
from lca_bridge.server.animation_rules import find_avatar, granted_correction, is_live
from lca_bridge.server.avatars import load_rig
from lca_bridge.server.config import MAX_MESSAGE_BYTES
from lca_bridge.server.core import ServiceCore
from lca_bridge.server.frames import (
    best_packer,
    granted,
    is_local,
    make_frames,
)
from lca_bridge.server.motion_jobs import submit_motion
from lca_bridge.server.session import AnimateSession, FrameMaker, check_policy
from lca_bridge.server.store import AvatarRow
from lca_bridge.wire.encode import FrameEncoder
from lca_bridge.wire.frames import make_layout
from lca_bridge.wire.messages import frame_to_protos, layout_to_proto, pose_from_proto


class AnimationService(rpc.AnimationServiceServicer):
    """lca.v1.AnimationService."""

    def __init__(self, core: ServiceCore) -> None:
        self._core = core
        self._streams = 0

    async def Animate(
        self, request_iterator: AsyncIterator[pb.AnimateRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.AnimateResponse]:
        """One stream: started, then what the session says."""
        if self._streams >= self._core.config.limits.streams:
            raise ExhaustedError("All animation streams are in use. Close one.", reason="TOO_MANY_STREAMS")
        self._streams += 1
        reader: asyncio.Task[None] | None = None
        maker: FrameMaker | None = None
        try:
            start = await self._start(request_iterator)
            row = await find_avatar(self._core, start.avatar, start.revision)
            maker, correction = await self._maker(row, start, is_local(context.peer()))
            session = AnimateSession(start.delivery, start.output.gaussians.keyframe_interval, maker)
            yield pb.AnimateResponse(
                started=pb.AnimateStarted(
                    rig=await asyncio.to_thread(load_rig, self._core, row),
                    layout=layout_to_proto(maker.layout) if maker.layout else None,
                    delivery=session.policy,
                    revision=row.revision,
                    correction=correction,
                    shared_memory=maker.region,
                )
            )
            reader = asyncio.create_task(session.read(request_iterator))
            async for response in session.responses(reader):
                yield response
        finally:
            self._streams -= 1
            if maker is not None:
                maker.close()
            if reader is not None:
                reader.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await reader

    @staticmethod
    async def _start(requests: AsyncIterator[pb.AnimateRequest]) -> pb.AnimateStart:
        async for request in requests:
            if request.WhichOneof("message") == "start":
                return request.start
            break
        raise InvalidInputError("The first message of an animate stream is start.", reason="BAD_SEQUENCE")

    async def _maker(
        self, row: AvatarRow, start: pb.AnimateStart, local: bool
    ) -> tuple[FrameMaker, pb.CorrectionMode]:
        core, evaluators = self._core, self._core.evaluators
        if start.output.WhichOneof("kind") == "gaussians":
            granted(start.output.gaussians)  # refuse early, before anything is loaded
        check_policy(start.delivery)
        if core.animators is not None:
            package = await asyncio.to_thread(core.package_path, row, "")
            return await core.animators.open(row.revision, package, start)
        evaluator = await evaluators.get(row.revision)
        correction = await granted_correction(core, evaluator, start.correction)
        work = functools.partial(make_frames, evaluators, evaluator, start, is_live(correction), local)
        return await evaluators.run(work), correction

    async def EvaluatePose(
        self, request: pb.EvaluatePoseRequest, context: grpc.aio.ServicerContext
    ) -> pb.EvaluatePoseResponse:
        """One whole frame."""
        core = self._core
        row = await find_avatar(core, request.avatar, request.revision)
        pose = pose_from_proto(request.pose)
        encoding, codec = granted(request.output)
        evaluator = await core.evaluators.get(row.revision)
        live = is_live(await granted_correction(core, evaluator, request.correction))
        layout = make_layout(encoding, evaluator.gaussian_count, evaluator.sh_bands)
        if layout.decoded_size(True) > MAX_MESSAGE_BYTES - (1 << 20):
            raise ExhaustedError(
                "The frame is too large for one message. Ask for Q20, or use Animate.",
                reason="MESSAGE_TOO_LARGE",
            )

        def make() -> pb.EvaluatePoseResponse:
            encoder = FrameEncoder(layout, codec, packer=best_packer())
            frame = encoder.encode(evaluator.splats(pose, live), request.pose.frame_id, keyframe=True)
            (message,) = frame_to_protos(frame, max_payload=1 << 30)
            return pb.EvaluatePoseResponse(
                layout=layout_to_proto(layout), frame=message, revision=row.revision
            )

        return await core.evaluators.run(make)

    async def BakeMotion(
        self, request: pb.BakeMotionRequest, context: grpc.aio.ServicerContext
    ) -> job_pb2.Job:
        """Queue a bake."""
        return await submit_motion(self._core, request)
