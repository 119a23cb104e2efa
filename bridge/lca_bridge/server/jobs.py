"""JobService: look at, wait for, watch, cancel and forget jobs, and fetch what they made."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator

import grpc
from google.protobuf.empty_pb2 import Empty

from lca.errors import InvalidInputError, OutOfRangeError, PreconditionError
from lca.v1 import job_pb2
from lca.v1 import job_service_pb2 as pb
from lca.v1 import job_service_pb2_grpc as rpc
from lca_bridge.server import names
from lca_bridge.server.core import ServiceCore, request_key
from lca_bridge.server.messages import job_message
from lca_bridge.server.pieces import pieces
from lca_bridge.server.store import JobRow

MAX_WAIT_SECONDS = 60.0


class JobService(rpc.JobServiceServicer):
    """lca.v1.JobService."""

    def __init__(self, core: ServiceCore) -> None:
        self._core = core

    def _message(self, row: JobRow) -> job_pb2.Job:
        return job_message(row, self._core.config.limits.job_days)

    async def GetJob(self, request: pb.GetJobRequest, context: grpc.aio.ServicerContext) -> job_pb2.Job:
        """AIP-131."""
        key = names.parse_name(request.name, "jobs")
        return self._message(await asyncio.to_thread(self._core.store.job, key))

    async def ListJobs(
        self, request: pb.ListJobsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListJobsResponse:
        """Newest first."""
        size = names.page_size(request.page_size)
        cursor = names.parse_page_token(request.page_token)
        states = names.enum_names(job_pb2.JobState, request.states, "JOB_STATE_")
        kinds = names.enum_names(job_pb2.JobKind, request.kinds, "JOB_KIND_")
        found = await asyncio.to_thread(
            lambda: self._core.store.page("jobs", size + 1, cursor, states=states, kinds=kinds)
        )
        rows = [JobRow(**body) for body in found]
        token = names.page_token(rows[size - 1].created, rows[size - 1].id) if len(rows) > size else ""
        return pb.ListJobsResponse(jobs=map(self._message, rows[:size]), next_page_token=token)

    async def WaitJob(self, request: pb.WaitJobRequest, context: grpc.aio.ServicerContext) -> job_pb2.Job:
        """The final job, or what it is when the time is up."""
        key = names.parse_name(request.name, "jobs")
        seconds = MAX_WAIT_SECONDS
        if request.HasField("timeout"):
            seconds = request.timeout.seconds + request.timeout.nanos * 1e-9
            if seconds < 0:
                raise InvalidInputError("timeout cannot be negative.", reason="BAD_TIMEOUT")
        row = await asyncio.to_thread(self._core.store.job, key)

        async def follow() -> None:
            nonlocal row
            async for latest in self._core.runner.watch(key, 0):
                row = latest

        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(follow(), min(seconds, MAX_WAIT_SECONDS))
        return self._message(row)

    async def WatchJob(
        self, request: pb.WatchJobRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[job_pb2.JobEvent]:
        """Snapshots until the job is final."""
        key = names.parse_name(request.name, "jobs")
        async for row in self._core.runner.watch(key, request.after_sequence):
            yield job_pb2.JobEvent(sequence=row.sequence, job=self._message(row))

    async def CancelJob(self, request: pb.CancelJobRequest, context: grpc.aio.ServicerContext) -> job_pb2.Job:
        """Idempotent."""
        return self._message(await self._core.runner.cancel(names.parse_name(request.name, "jobs")))

    async def ResumeJob(self, request: pb.ResumeJobRequest, context: grpc.aio.ServicerContext) -> job_pb2.Job:
        """From its checkpoint; the same request_id gives the same answer."""
        core = self._core
        name = names.parse_name(request.name, "jobs")
        names.check_request_id(request.request_id)
        async with core.write_lock:
            key = request_key("ResumeJob", request)
            if (earlier := await core.once(key, core.store.job)) is not None:
                return self._message(earlier)
            return self._message(await core.runner.resume(name, key))

    async def DeleteJob(self, request: pb.DeleteJobRequest, context: grpc.aio.ServicerContext) -> Empty:
        """Final jobs only, with what they kept."""
        key = names.parse_name(request.name, "jobs")
        async with self._core.write_lock:
            erased = await asyncio.to_thread(self._core.store.delete_job, key)
            await asyncio.to_thread(self._core.forget, erased)
        return Empty()

    async def DownloadResult(
        self, request: pb.DownloadResultRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.DownloadResultResponse]:
        """Header first, then pieces from the offset."""
        key = names.parse_name(request.name, "jobs")
        row = await asyncio.to_thread(self._core.store.job, key)
        if not row.result_file:
            raise PreconditionError("This job has no result file.", reason="NO_RESULT")
        path = self._core.results.open_result(key)
        header = job_pb2.JobResult(**row.result_file)
        if request.offset > header.size_bytes:
            raise OutOfRangeError(
                f"The file has {header.size_bytes} bytes; {request.offset} lies beyond.", reason="BAD_OFFSET"
            )
        yield pb.DownloadResultResponse(header=header, offset=request.offset)
        async for offset, data in pieces(path, request.offset, request.max_chunk_bytes):
            yield pb.DownloadResultResponse(offset=offset, data=data, crc32=zlib.crc32(data))
