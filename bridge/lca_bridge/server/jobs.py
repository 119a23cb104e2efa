"""JobService: look at, watch, cancel and forget jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
from google.protobuf.empty_pb2 import Empty

from lca.errors import PreconditionError
from lca.v1 import job_pb2
from lca.v1 import job_service_pb2 as pb
from lca.v1 import job_service_pb2_grpc as rpc
from lca_bridge.server import names
from lca_bridge.server.core import ServiceCore
from lca_bridge.server.messages import job_message
from lca_bridge.server.store import JobRow


class JobService(rpc.JobServiceServicer):
    """lca.v1.JobService."""

    def __init__(self, core: ServiceCore) -> None:
        self._core = core

    async def GetJob(self, request: pb.GetJobRequest, context: grpc.aio.ServicerContext) -> job_pb2.Job:
        """AIP-131."""
        key = names.parse_name(request.name, "jobs")
        return job_message(await asyncio.to_thread(self._core.store.job, key))

    async def ListJobs(
        self, request: pb.ListJobsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListJobsResponse:
        """Newest first."""
        size = names.page_size(request.page_size)
        cursor = names.parse_page_token(request.page_token)
        found = await asyncio.to_thread(self._core.store.page, "jobs", size + 1, cursor)
        rows = [JobRow(**body) for body in found]
        token = names.page_token(rows[size - 1].created, rows[size - 1].id) if len(rows) > size else ""
        return pb.ListJobsResponse(jobs=map(job_message, rows[:size]), next_page_token=token)

    async def WatchJob(
        self, request: pb.WatchJobRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[job_pb2.JobEvent]:
        """Snapshots until the job is final."""
        key = names.parse_name(request.name, "jobs")
        async for row in self._core.runner.watch(key, request.after_sequence):
            yield job_pb2.JobEvent(sequence=row.sequence, job=job_message(row))

    async def CancelJob(self, request: pb.CancelJobRequest, context: grpc.aio.ServicerContext) -> job_pb2.Job:
        """Idempotent."""
        return job_message(await self._core.runner.cancel(names.parse_name(request.name, "jobs")))

    async def DeleteJob(self, request: pb.DeleteJobRequest, context: grpc.aio.ServicerContext) -> Empty:
        """Final jobs only."""
        key = names.parse_name(request.name, "jobs")

        def delete() -> None:
            if not self._core.store.job(key).is_final:
                raise PreconditionError("The job is not final. Cancel it first.", reason="JOB_NOT_FINAL")
            self._core.store.delete_job(key)

        await asyncio.to_thread(delete)
        return Empty()
