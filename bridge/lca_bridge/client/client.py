"""`LcaClient`: the whole service API as plain synchronous calls, resumable where the network may break.

One channel per client; a client is safe to use from several threads. Messages of ``lca.v1`` are returned as
they are; frames are decoded to numpy arrays.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence

import grpc

from lca.errors import Category, LcaError, UnavailableError, error_from
from lca.v1 import (
    animation_service_pb2_grpc,
    avatar_pb2,
    avatar_service_pb2,
    avatar_service_pb2_grpc,
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
    render_service_pb2_grpc,
    system_service_pb2,
    system_service_pb2_grpc,
    upload_service_pb2_grpc,
)
from lca_bridge.client.channel import open_channel
from lca_bridge.client.errors import translated, translated_stream
from lca_bridge.client.motion import MotionCalls, camera
from lca_bridge.client.transfers import CALL_SECONDS, CHUNK_BYTES, Progress, TransferCalls
from lca_bridge.wire.status import CATEGORIES

__all__ = ["CHUNK_BYTES", "FINAL_STATES", "LcaClient", "Progress", "camera", "connect", "job_error"]

FINAL_STATES = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)

WATCH_SECONDS = 60.0


def connect(
    target: str, token: str | None = None, *, tls_ca: bytes | None = None, wait_seconds: float = 0.0
) -> LcaClient:
    """A client for ``HOST:PORT`` or ``unix:PATH``.

    Args:
        token: the bearer token of a TCP service.
        tls_ca: PEM certificates to trust; turns TLS on. Plain text is allowed on loopback and unix sockets
            only.
        wait_seconds: wait that long for a service that is still starting.

    Raises:
        PreconditionError: ``TLS_REQUIRED``; a token would travel in the clear.
        UnavailableError: nobody answered in ``wait_seconds``.
    """
    channel, owned = open_channel(target, token, tls_ca, wait_seconds)
    return LcaClient(channel, owned)


class LcaClient(TransferCalls, MotionCalls):
    """Use :func:`connect`; close it, or use it in a ``with`` statement."""

    def __init__(self, channel: grpc.Channel, owned: grpc.Channel | None = None) -> None:
        self._owned = owned or channel
        self._avatars = avatar_service_pb2_grpc.AvatarServiceStub(channel)
        self._uploads = upload_service_pb2_grpc.UploadServiceStub(channel)
        self._jobs = job_service_pb2_grpc.JobServiceStub(channel)
        self._animation = animation_service_pb2_grpc.AnimationServiceStub(channel)
        self._render = render_service_pb2_grpc.RenderServiceStub(channel)
        self._system = system_service_pb2_grpc.SystemServiceStub(channel)

    def __enter__(self) -> LcaClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel."""
        self._owned.close()

    # -- system --------------------------------------------------------------------------------------------

    @translated
    def server_info(self, timeout: float = CALL_SECONDS) -> system_service_pb2.GetServerInfoResponse:
        """Version, devices, limits."""
        return self._system.GetServerInfo(system_service_pb2.GetServerInfoRequest(), timeout=timeout)

    # -- avatars -------------------------------------------------------------------------------------------

    @translated
    def create_avatar(
        self,
        clips: str | list[str],
        *,
        display_name: str = "",
        avatar_id: str = "",
        labels: dict[str, str] | None = None,
        seed: int = 0,
        parameters: dict[str, str] | None = None,
        validate_only: bool = False,
        request_id: str = "",
    ) -> job_pb2.Job:
        """Start a creation job from finalized uploads: one video, or photos."""
        request = avatar_service_pb2.CreateAvatarRequest(
            avatar_id=avatar_id,
            display_name=display_name,
            labels=labels or {},
            clips=[clips] if isinstance(clips, str) else clips,
            options=avatar_service_pb2.CreateAvatarOptions(seed=seed, parameters=parameters or {}),
            request_id=request_id or str(uuid.uuid4()),
            validate_only=validate_only,
        )
        return self._avatars.CreateAvatar(request, timeout=CALL_SECONDS)

    @translated
    def import_avatar(
        self,
        upload: str,
        *,
        display_name: str = "",
        avatar_id: str = "",
        labels: dict[str, str] | None = None,
    ) -> avatar_pb2.Avatar:
        """Store an uploaded ``.lca`` file as an avatar."""
        request = avatar_service_pb2.ImportAvatarRequest(
            avatar_id=avatar_id,
            display_name=display_name,
            labels=labels or {},
            package=upload,
            request_id=str(uuid.uuid4()),
        )
        return self._avatars.ImportAvatar(request, timeout=CALL_SECONDS)

    @translated
    def get_avatar(self, name: str) -> avatar_pb2.Avatar:
        """One avatar."""
        return self._avatars.GetAvatar(avatar_service_pb2.GetAvatarRequest(name=name), timeout=CALL_SECONDS)

    @translated
    def list_avatars(
        self, page_size: int = 0, *, show_deleted: bool = False, labels: dict[str, str] | None = None
    ) -> list[avatar_pb2.Avatar]:
        """All avatars (that carry ``labels``), newest first."""
        found: list[avatar_pb2.Avatar] = []
        token = ""
        while True:
            request = avatar_service_pb2.ListAvatarsRequest(
                page_size=page_size, page_token=token, show_deleted=show_deleted, labels=labels or {}
            )
            page = self._avatars.ListAvatars(request, timeout=CALL_SECONDS)
            found += page.avatars
            token = page.next_page_token
            if not token:
                return found

    @translated
    def update_avatar(self, avatar: avatar_pb2.Avatar) -> avatar_pb2.Avatar:
        """Change display name and labels; the etag in ``avatar`` guards against lost updates."""
        request = avatar_service_pb2.UpdateAvatarRequest(avatar=avatar)
        return self._avatars.UpdateAvatar(request, timeout=CALL_SECONDS)

    @translated
    def delete_avatar(self, name: str, etag: str = "", *, allow_missing: bool = False) -> avatar_pb2.Avatar:
        """Delete an avatar; :meth:`undelete_avatar` brings it back until its ``purge_time``."""
        request = avatar_service_pb2.DeleteAvatarRequest(name=name, etag=etag, allow_missing=allow_missing)
        return self._avatars.DeleteAvatar(request, timeout=CALL_SECONDS)

    @translated
    def undelete_avatar(self, name: str, etag: str = "") -> avatar_pb2.Avatar:
        """Take a deletion back."""
        request = avatar_service_pb2.UndeleteAvatarRequest(name=name, etag=etag)
        return self._avatars.UndeleteAvatar(request, timeout=CALL_SECONDS)

    @translated
    def purge_avatar(self, name: str, etag: str = "") -> None:
        """Erase an avatar and its bytes now, for ever."""
        request = avatar_service_pb2.PurgeAvatarRequest(name=name, etag=etag)
        self._avatars.PurgeAvatar(request, timeout=CALL_SECONDS)

    @translated
    def rig(self, name: str) -> avatar_pb2.Rig:
        """Joints, expression channels, name maps."""
        return self._avatars.GetRig(avatar_service_pb2.GetRigRequest(name=name), timeout=CALL_SECONDS)

    # -- jobs ----------------------------------------------------------------------------------------------

    @translated
    def get_job(self, name: str) -> job_pb2.Job:
        """One job."""
        return self._jobs.GetJob(job_service_pb2.GetJobRequest(name=name), timeout=CALL_SECONDS)

    @translated
    def list_jobs(
        self, page_size: int = 50, *, states: Sequence[int] = (), kinds: Sequence[int] = ()
    ) -> list[job_pb2.Job]:
        """The newest jobs (of these states and kinds)."""
        request = job_service_pb2.ListJobsRequest(
            page_size=page_size,
            states=states,  # type: ignore[arg-type]
            kinds=kinds,  # type: ignore[arg-type]
        )
        return list(self._jobs.ListJobs(request, timeout=CALL_SECONDS).jobs)

    def watch_job(self, name: str, after_sequence: int = 0, patience: float = 30.0) -> Iterator[job_pb2.Job]:
        """Snapshots of a job until it is final; reconnects while ``patience`` seconds last."""
        last_answer = time.monotonic()
        while True:
            try:
                request = job_service_pb2.WatchJobRequest(name=name, after_sequence=after_sequence)
                for event in translated_stream(self._jobs.WatchJob(request, timeout=WATCH_SECONDS)):
                    last_answer, after_sequence = time.monotonic(), event.sequence
                    yield event.job
                    if event.job.state in FINAL_STATES:
                        return
            except UnavailableError as error:
                # A watch is renewed every minute: a service that is stuck still answers gRPC's pings.
                if error.reason != "DEADLINE_EXCEEDED" and time.monotonic() - last_answer > patience:
                    raise
            time.sleep(0.3)

    def wait_job(self, name: str) -> job_pb2.Job:
        """The final job; raises its error if it failed or was cancelled."""
        *_, job = self.watch_job(name)
        if job.state != job_pb2.JOB_STATE_SUCCEEDED:
            raise job_error(job)
        return job

    @translated
    def cancel_job(self, name: str) -> job_pb2.Job:
        """Ask a job to end."""
        return self._jobs.CancelJob(job_service_pb2.CancelJobRequest(name=name), timeout=CALL_SECONDS)

    @translated
    def resume_job(self, name: str, request_id: str = "") -> job_pb2.Job:
        """Queue a failed or cancelled job again, from its checkpoint."""
        request = job_service_pb2.ResumeJobRequest(name=name, request_id=request_id or str(uuid.uuid4()))
        return self._jobs.ResumeJob(request, timeout=CALL_SECONDS)

    @translated
    def delete_job(self, name: str) -> None:
        """Forget a final job and what it made."""
        self._jobs.DeleteJob(job_service_pb2.DeleteJobRequest(name=name), timeout=CALL_SECONDS)


def job_error(job: job_pb2.Job) -> LcaError:
    """The error of a job that did not succeed."""
    category = CATEGORIES.get(job.error.code, Category.INTERNAL)
    return error_from(category, job.error.reason, job.error.message, dict(job.error.metadata))
