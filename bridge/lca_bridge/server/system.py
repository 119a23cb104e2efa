"""SystemService: what this service is and allows."""

from __future__ import annotations

import asyncio
import functools
from importlib.metadata import PackageNotFoundError, version

import grpc

from lca.v1 import animation_service_pb2, gaussian_pb2, image_pb2, render_service_pb2
from lca.v1 import system_service_pb2 as pb
from lca.v1 import system_service_pb2_grpc as rpc
from lca_bridge.server.config import MAX_CHUNK_BYTES, MAX_MESSAGE_BYTES
from lca_bridge.server.core import ServiceCore
from lca_bridge.server.evaluate import MAX_IMAGE_SIDE
from lca_bridge.server.frames import is_local
from lca_bridge.server.motion_jobs import MAX_MOTION_FRAMES


def product_version() -> str:
    """Version of the installed distribution."""
    try:
        return version("lca-bridge")
    except PackageNotFoundError:
        return "0.0.0"


@functools.cache
def devices() -> list[str]:
    """GPUs torch can use, then "cpu". Imports torch."""
    try:
        import torch
    except ImportError:
        return ["cpu"]
    found = [f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
    return [*found, "cpu"]


def _granted(enum: object) -> list[str]:
    return [name for name, value in enum.items() if value]  # type: ignore[attr-defined]


class SystemService(rpc.SystemServiceServicer):
    """lca.v1.SystemService."""

    def __init__(self, core: ServiceCore) -> None:
        self._core = core

    async def GetServerInfo(
        self, request: pb.GetServerInfoRequest, context: grpc.aio.ServicerContext
    ) -> pb.GetServerInfoResponse:
        """Version, devices, limits."""
        limits = self._core.config.limits
        enums = (
            gaussian_pb2.GaussianEncoding,
            gaussian_pb2.PayloadCodec,
            image_pb2.ImageFormat,
            animation_service_pb2.BakeFormat,
            render_service_pb2.MovieFormat,
        )
        features = [name for enum in enums for name in _granted(enum)]
        if is_local(context.peer()):
            features.append("SHARED_MEMORY")
        return pb.GetServerInfoResponse(
            version=product_version(),
            api_version="v1",
            devices=await asyncio.to_thread(devices),
            limits=pb.ServerLimits(
                max_message_bytes=MAX_MESSAGE_BYTES,
                max_upload_bytes=limits.upload_bytes,
                max_chunk_bytes=MAX_CHUNK_BYTES,
                max_streams=limits.streams,
                max_running_jobs=limits.running_jobs,
                storage_quota_bytes=limits.storage_bytes,
                storage_used_bytes=await asyncio.to_thread(self._core.used_bytes),
                max_motion_frames=MAX_MOTION_FRAMES,
                max_image_side=MAX_IMAGE_SIDE,
            ),
            features=features,
        )
