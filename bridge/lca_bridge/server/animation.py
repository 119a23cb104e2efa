"""AnimationService, RenderService: poses in, Gaussian frames or pictures out."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc

from lca.errors import ExhaustedError, InvalidInputError, UnimplementedError
from lca.v1 import animation_service_pb2 as pb
from lca.v1 import animation_service_pb2_grpc as rpc
from lca.v1 import image_pb2, render_service_pb2, render_service_pb2_grpc
from lca_bridge.server import names
from lca_bridge.server.avatars import load_rig
from lca_bridge.server.config import MAX_MESSAGE_BYTES
from lca_bridge.server.core import ServiceCore
from lca_bridge.server.evaluate import Evaluator, Pose, Shot, check_shot, encode_picture
from lca_bridge.server.session import AnimateSession, Job
from lca_bridge.server.store import AvatarRow
from lca_bridge.wire.frames import Codec, Encoding, Layout, encode_frame, make_layout
from lca_bridge.wire.messages import frame_to_protos, layout_to_proto, pose_from_proto


def _granted(output: pb.GaussianOutput) -> tuple[Encoding, Codec]:
    try:
        return Encoding(output.encoding or Encoding.Q20), Codec(output.codec or Codec.RAW)
    except ValueError:
        raise InvalidInputError("Unknown encoding or codec.", reason="BAD_START") from None


async def _correction(core: ServiceCore, evaluator: Evaluator, mode: int) -> pb.CorrectionMode:
    """Baked unless live is asked for and the network of this avatar is here."""
    if mode not in pb.CorrectionMode.values():
        raise InvalidInputError("Unknown correction mode.", reason="BAD_START")
    if mode != pb.CORRECTION_MODE_LIVE:
        return pb.CORRECTION_MODE_BAKED
    if not await core.evaluators.run(evaluator.load_live):
        raise UnimplementedError(
            "This service has no correction network for this avatar; ask for baked.",
            reason="LIVE_UNAVAILABLE",
        )
    return pb.CORRECTION_MODE_LIVE


def _shot(output: image_pb2.ImageOutput) -> tuple[Shot, str]:
    shot = check_shot(
        output.width,
        output.height,
        list(output.camera.view_matrix),
        list(output.camera.intrinsics),
        list(output.background),
    )
    kinds = {0: "PNG", 1: "PNG", 2: "JPEG", 3: "RAW_RGB8"}
    if output.format not in kinds:
        raise InvalidInputError("Unknown picture format.", reason="BAD_CAMERA")
    return shot, kinds[output.format]


def _picture(
    evaluator: Evaluator, pose: Pose | None, shot: Shot, kind: str, live: bool = False
) -> image_pb2.Image:
    data = encode_picture(evaluator.picture(pose, shot, live), kind)
    formats = {"PNG": 1, "JPEG": 2, "RAW_RGB8": 3}
    if len(data) > MAX_MESSAGE_BYTES - 4096:
        raise ExhaustedError("The picture is too large for one message.", reason="MESSAGE_TOO_LARGE")
    return image_pb2.Image(
        format=formats[kind],  # type: ignore[arg-type]
        data=data,
        width=shot.width,
        height=shot.height,
    )


async def _avatar(core: ServiceCore, name: str, revision: str) -> AvatarRow:
    row = await asyncio.to_thread(core.store.avatar, names.parse_name(name, "avatars"))
    core.package_path(row, revision)
    return row


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
        try:
            start = await self._start(request_iterator)
            row = await _avatar(self._core, start.avatar, start.revision)
            maker = await _FrameMaker.open(self._core, row, start)
            session = AnimateSession(start.delivery, start.output.gaussians.keyframe_interval, maker)
            yield pb.AnimateResponse(
                started=pb.AnimateStarted(
                    rig=await asyncio.to_thread(load_rig, self._core, row),
                    layout=layout_to_proto(maker.layout) if maker.layout else None,
                    delivery=session.policy,
                    revision=row.revision,
                    correction=maker.correction,
                )
            )
            reader = asyncio.create_task(session.read(request_iterator))
            async for response in session.responses(reader):
                yield response
        finally:
            self._streams -= 1
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

    async def EvaluatePose(
        self, request: pb.EvaluatePoseRequest, context: grpc.aio.ServicerContext
    ) -> pb.EvaluatePoseResponse:
        """One whole frame."""
        core = self._core
        row = await _avatar(core, request.avatar, request.revision)
        pose = pose_from_proto(request.pose)
        encoding, codec = _granted(request.output)
        evaluator = await core.evaluators.get(row.revision)
        correction = await _correction(core, evaluator, request.correction)
        layout = make_layout(encoding, evaluator.gaussian_count, evaluator.sh_bands)
        if layout.decoded_size(True) > MAX_MESSAGE_BYTES - (1 << 20):
            raise ExhaustedError(
                "The frame is too large for one message. Ask for Q20, or use Animate.",
                reason="MESSAGE_TOO_LARGE",
            )

        def make() -> pb.EvaluatePoseResponse:
            frame = encode_frame(
                layout, evaluator.splats(pose, correction == pb.CORRECTION_MODE_LIVE), codec=codec
            )
            (message,) = frame_to_protos(frame, max_payload=1 << 30)
            return pb.EvaluatePoseResponse(
                layout=layout_to_proto(layout), frame=message, revision=row.revision
            )

        return await core.evaluators.run(make)


class _FrameMaker:
    """Evaluates and encodes the frames of one stream on the evaluation threads."""

    def __init__(self, core: ServiceCore, evaluator: Evaluator, correction: pb.CorrectionMode) -> None:
        self._core, self._evaluator, self.correction = core, evaluator, correction
        self._live = correction == pb.CORRECTION_MODE_LIVE
        self.layout: Layout | None = None
        self._codec = Codec.RAW
        self._shot: Shot | None = None
        self._kind = ""

    @staticmethod
    async def open(core: ServiceCore, row: AvatarRow, start: pb.AnimateStart) -> _FrameMaker:
        output = start.output
        is_image = output.WhichOneof("kind") == "image"
        shot, kind = _shot(output.image) if is_image else (None, "")
        encoding, codec = _granted(output.gaussians)
        evaluator = await core.evaluators.get(row.revision)
        maker = _FrameMaker(core, evaluator, await _correction(core, evaluator, start.correction))
        maker._shot, maker._kind, maker._codec = shot, kind, codec
        if not is_image:
            maker.layout = make_layout(encoding, evaluator.gaussian_count, evaluator.sh_bands)
        return maker

    async def __call__(self, job: Job) -> list[pb.AnimateResponse]:
        return await self._core.evaluators.run(self._make, job)

    def _make(self, job: Job) -> list[pb.AnimateResponse]:
        pending, begun = job.pending, time.monotonic()
        timing = pb.FrameTiming(queue_microseconds=int((begun - pending.arrived) * 1e6))
        facts: dict[str, Any] = {"frame_id": pending.frame_id, "time_code": pending.time_code}
        if self.layout is None:
            assert self._shot is not None
            image = _picture(self._evaluator, pending.pose, self._shot, self._kind, self._live)
            timing.evaluate_microseconds = int((time.monotonic() - begun) * 1e6)
            return [pb.AnimateResponse(frame=pb.AnimatedFrame(**facts, image=image, timing=timing))]
        splats = self._evaluator.splats(pending.pose, self._live)
        evaluated = time.monotonic()
        # Without static attributes every frame is complete.
        keyframe = job.keyframe or not any(a.is_static for a in self.layout.attributes)
        pieces = list(
            frame_to_protos(encode_frame(self.layout, splats, keyframe=keyframe, codec=self._codec))
        )
        timing.evaluate_microseconds = int((evaluated - begun) * 1e6)
        timing.encode_microseconds = int((time.monotonic() - evaluated) * 1e6)
        return [
            pb.AnimateResponse(
                frame=pb.AnimatedFrame(
                    **facts, gaussians=piece, timing=timing if piece is pieces[-1] else None
                )
            )
            for piece in pieces
        ]


class RenderService(render_service_pb2_grpc.RenderServiceServicer):
    """lca.v1.RenderService."""

    def __init__(self, core: ServiceCore) -> None:
        self._core = core

    async def RenderStill(
        self, request: render_service_pb2.RenderStillRequest, context: grpc.aio.ServicerContext
    ) -> render_service_pb2.RenderStillResponse:
        """One picture."""
        row = await _avatar(self._core, request.avatar, request.revision)
        pose = pose_from_proto(request.pose) if request.HasField("pose") else None
        shot, kind = _shot(request.output)
        evaluator = await self._core.evaluators.get(row.revision)
        image = await self._core.evaluators.run(_picture, evaluator, pose, shot, kind)
        return render_service_pb2.RenderStillResponse(image=image)
