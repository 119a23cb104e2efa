"""RenderService: pictures and movies for clients that cannot draw Gaussians."""

from __future__ import annotations

import grpc

from lca.v1 import job_pb2, render_service_pb2_grpc
from lca.v1 import render_service_pb2 as pb
from lca_bridge.server.animation_rules import find_avatar, granted_correction, is_live
from lca_bridge.server.core import ServiceCore
from lca_bridge.server.frames import picture, requested_shot
from lca_bridge.server.motion_jobs import submit_motion
from lca_bridge.wire.messages import pose_from_proto


class RenderService(render_service_pb2_grpc.RenderServiceServicer):
    """lca.v1.RenderService."""

    def __init__(self, core: ServiceCore) -> None:
        self._core = core

    async def RenderStill(
        self, request: pb.RenderStillRequest, context: grpc.aio.ServicerContext
    ) -> pb.RenderStillResponse:
        """One picture."""
        row = await find_avatar(self._core, request.avatar, request.revision)
        pose = pose_from_proto(request.pose) if request.HasField("pose") else None
        shot, kind = requested_shot(request.output)
        evaluators = self._core.evaluators
        evaluator = await evaluators.get(row.revision)
        live = is_live(await granted_correction(self._core, evaluator, request.correction))
        return pb.RenderStillResponse(image=await evaluators.run(picture, evaluator, pose, shot, kind, live))

    async def RenderMotion(
        self, request: pb.RenderMotionRequest, context: grpc.aio.ServicerContext
    ) -> job_pb2.Job:
        """Queue a movie."""
        return await submit_motion(self._core, request)
