"""`LcaClient`: the whole service API as plain synchronous calls, resumable where the network may break.

One channel per client; a client is safe to use from several threads. Messages of ``lca.v1`` are returned as
they are; frames are decoded to numpy arrays.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import grpc
import numpy as np

from lca.errors import (
    AbortedError,
    Category,
    DataLossError,
    InvalidInputError,
    LcaError,
    NotFoundError,
    OutOfRangeError,
    UnavailableError,
    error_from,
)
from lca.v1 import (
    animation_service_pb2,
    animation_service_pb2_grpc,
    avatar_pb2,
    avatar_service_pb2,
    avatar_service_pb2_grpc,
    image_pb2,
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
    motion_pb2,
    render_service_pb2,
    render_service_pb2_grpc,
    system_service_pb2,
    system_service_pb2_grpc,
    upload_service_pb2,
    upload_service_pb2_grpc,
)
from lca_bridge.client.animate import MODES, AnimateStream
from lca_bridge.client.channel import open_channel
from lca_bridge.client.errors import translated, translated_stream
from lca_bridge.client.live import LiveDriver
from lca_bridge.wire.frames import Codec, Encoding, FrameDecoder
from lca_bridge.wire.messages import FrameAssembler, layout_from_proto
from lca_bridge.wire.skin import PosedSplats
from lca_bridge.wire.status import CATEGORIES

CHUNK_BYTES = 1 << 20
CALL_SECONDS = 60.0
FINAL_STATES = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""


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


class LcaClient:
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

    # -- uploads -------------------------------------------------------------------------------------------

    def upload(
        self,
        path: str | os.PathLike[str],
        progress: Progress | None = None,
        *,
        resume: str = "",
        attempts: int = 5,
    ) -> upload_service_pb2.Upload:
        """Upload and finalize one file; a broken connection or damaged piece continues where it stopped.

        Args:
            resume: name of an upload that an earlier call left unfinished.

        Raises:
            MediaUnreadableError: the service cannot use the file; nothing of it stays there.
        """
        source = Path(path)
        if not source.is_file():
            raise NotFoundError(f"There is no file {source}.", reason="FILE_NOT_FOUND")
        size = source.stat().st_size
        name = resume or self.create_upload(size, source.name).name
        for attempt in range(attempts):
            try:
                upload = self.get_upload(name)
                if upload.committed_size < size:
                    self._send(source, name, upload.committed_size, size, progress)
                break
            except (UnavailableError, OutOfRangeError, DataLossError):
                if attempt == attempts - 1:
                    raise
                time.sleep(min(0.2 * 2**attempt, 3))
        with source.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        return self.finalize_upload(name, sha256)

    @translated
    def create_upload(self, size: int, file_name: str = "") -> upload_service_pb2.Upload:
        """Reserve room for ``size`` bytes."""
        request = upload_service_pb2.CreateUploadRequest(
            size_bytes=size, file_name=file_name[-200:], request_id=str(uuid.uuid4())
        )
        return self._uploads.CreateUpload(request, timeout=CALL_SECONDS)

    @translated
    def get_upload(self, name: str) -> upload_service_pb2.Upload:
        """How far an upload is."""
        return self._uploads.GetUpload(upload_service_pb2.GetUploadRequest(name=name), timeout=CALL_SECONDS)

    @translated
    def write_upload(
        self, pieces: Iterator[upload_service_pb2.WriteUploadRequest]
    ) -> upload_service_pb2.Upload:
        """Send raw pieces; see :meth:`upload` for the whole thing."""
        return self._uploads.WriteUpload(pieces)

    def _send(self, source: Path, name: str, offset: int, size: int, progress: Progress | None) -> None:
        trouble: list[BaseException] = []

        def pieces() -> Iterator[upload_service_pb2.WriteUploadRequest]:
            try:
                with source.open("rb") as stream:
                    stream.seek(offset)
                    at = offset
                    while data := stream.read(CHUNK_BYTES):
                        yield upload_service_pb2.WriteUploadRequest(
                            name=name, offset=at, data=data, crc32=zlib.crc32(data)
                        )
                        at += len(data)
                        if progress is not None:
                            progress(at, size)
            except Exception as error:
                trouble.append(error)
                raise

        try:
            self.write_upload(pieces())
        except LcaError:
            if trouble:  # gRPC pulls the pieces on its own thread and hides why they ended
                raise trouble[0] from None
            raise

    @translated
    def finalize_upload(self, name: str, sha256: str) -> upload_service_pb2.Upload:
        """Let the service check the whole file."""
        request = upload_service_pb2.FinalizeUploadRequest(name=name, sha256=sha256)
        return self._uploads.FinalizeUpload(request, timeout=CALL_SECONDS)

    @translated
    def delete_upload(self, name: str) -> None:
        """Drop an upload."""
        self._uploads.DeleteUpload(upload_service_pb2.DeleteUploadRequest(name=name), timeout=CALL_SECONDS)

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
    def list_avatars(self, page_size: int = 0) -> list[avatar_pb2.Avatar]:
        """All avatars, newest first."""
        found: list[avatar_pb2.Avatar] = []
        token = ""
        while True:
            request = avatar_service_pb2.ListAvatarsRequest(page_size=page_size, page_token=token)
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
    def delete_avatar(self, name: str, etag: str = "") -> None:
        """Erase an avatar."""
        request = avatar_service_pb2.DeleteAvatarRequest(name=name, etag=etag)
        self._avatars.DeleteAvatar(request, timeout=CALL_SECONDS)

    @translated
    def rig(self, name: str) -> avatar_pb2.Rig:
        """Joints, expression channels, name maps."""
        return self._avatars.GetRig(avatar_service_pb2.GetRigRequest(name=name), timeout=CALL_SECONDS)

    def download(
        self, name: str, path: str | os.PathLike[str], progress: Progress | None = None, attempts: int = 5
    ) -> Path:
        """Fetch the package to ``path``; an interrupted download continues from ``path.part``, even later.

        Raises:
            DataLossError: the finished file does not match its sha256.
        """
        target = Path(path)
        part = target.with_name(target.name + ".part")
        for attempt in range(attempts):
            try:
                sha256 = self._fetch(name, part, progress)
                break
            except (UnavailableError, AbortedError):
                if attempt == attempts - 1:
                    raise
                time.sleep(min(0.2 * 2**attempt, 3))
        with part.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != sha256:
                part.unlink()
                raise DataLossError("The download is damaged. Fetch it again.")
        os.replace(part, target)
        return target

    def _fetch(self, name: str, part: Path, progress: Progress | None) -> str:
        """Append to ``part`` what is missing; returns the sha256 of the whole package."""
        revision = self.get_avatar(name).revision
        marker = part.with_name(part.name + ".revision")
        if part.exists() and not (marker.exists() and marker.read_text(encoding="ascii") == revision):
            part.unlink()  # pieces of another revision
        part.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(revision, encoding="ascii")
        with part.open("ab") as stream:
            self._append(name, revision, stream, progress)
        marker.unlink()
        return revision

    @translated
    def _append(self, name: str, revision: str, stream: IO[bytes], progress: Progress | None) -> None:
        request = avatar_service_pb2.DownloadPackageRequest(
            name=name, revision=revision, offset=stream.tell()
        )
        size = 0
        for piece in self._avatars.DownloadPackage(request):
            if piece.HasField("header"):
                size = piece.header.size_bytes
                continue
            if piece.offset != stream.tell() or zlib.crc32(piece.data) != piece.crc32:
                raise AbortedError("A piece of the download arrived damaged.", reason="CHECKSUM_MISMATCH")
            stream.write(piece.data)
            if progress is not None:
                progress(stream.tell(), size)

    # -- jobs ----------------------------------------------------------------------------------------------

    @translated
    def get_job(self, name: str) -> job_pb2.Job:
        """One job."""
        return self._jobs.GetJob(job_service_pb2.GetJobRequest(name=name), timeout=CALL_SECONDS)

    @translated
    def list_jobs(self, page_size: int = 50) -> list[job_pb2.Job]:
        """The newest jobs."""
        request = job_service_pb2.ListJobsRequest(page_size=page_size)
        return list(self._jobs.ListJobs(request, timeout=CALL_SECONDS).jobs)

    def watch_job(self, name: str, after_sequence: int = 0, patience: float = 30.0) -> Iterator[job_pb2.Job]:
        """Snapshots of a job until it is final; reconnects while ``patience`` seconds last."""
        last_answer = time.monotonic()
        while True:
            try:
                request = job_service_pb2.WatchJobRequest(name=name, after_sequence=after_sequence)
                for event in translated_stream(self._jobs.WatchJob(request)):
                    last_answer, after_sequence = time.monotonic(), event.sequence
                    yield event.job
                    if event.job.state in FINAL_STATES:
                        return
            except UnavailableError:
                if time.monotonic() - last_answer > patience:
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
    def delete_job(self, name: str) -> None:
        """Forget a final job."""
        self._jobs.DeleteJob(job_service_pb2.DeleteJobRequest(name=name), timeout=CALL_SECONDS)

    # -- animation and pictures ----------------------------------------------------------------------------

    def animate(
        self,
        avatar: str,
        *,
        codec: str | Codec = "",
        latest: bool = False,
        every: bool = False,
        encoding: Encoding = Encoding.Q20,
        credit: int = 0,
        max_age: float | None = None,
        keyframe_interval: int = 0,
        live: bool = False,
        image: image_pb2.ImageOutput | None = None,
        revision: str = "",
    ) -> AnimateStream:
        """Open an animate stream; see :class:`~lca_bridge.client.animate.AnimateStream`.

        ``with client.animate(name, codec="shm", latest=True) as stream:`` gives float32 arrays without any
        copy where client and service share a machine, and the same frames inline where they do not.

        Args:
            codec: a name of :data:`~lca_bridge.client.animate.MODES` ("shm", "f32", "q20", "q10",
                "q10-delta", ...), or "corrections": rig frames for
                :meth:`~lca_bridge.wire.skin.BakedRig.apply`, about 3 KB each. A :class:`Codec` goes with
                ``encoding``.
            latest: only the newest pose counts (live preview); the default.
            every: every pose in order (offline) instead.
            credit: frames the service may send ahead, at most 8 (corrections: 64); 0 means 2 for the latest
                pose, 4 for every pose, 64 for corrections of every pose.
            max_age: seconds after which a waiting pose is dropped (live preview).
            live: use the correction network instead of the linear correctives.
            image: get pictures instead of Gaussians.

        Raises:
            InvalidInputError: ``BAD_START``; there is no such codec, or latest and every were both asked for.
        """
        pb = animation_service_pb2
        if latest and every:
            raise InvalidInputError("Choose latest or every, not both.", reason="BAD_START")
        corrections = codec == "corrections"
        if image is not None:
            output = pb.OutputSpec(image=image)
        elif corrections:
            output = pb.OutputSpec(corrections=pb.CorrectionOutput())
        else:
            output = pb.OutputSpec(gaussians=_gaussian_output(codec, encoding, keyframe_interval))
        policy = pb.DeliveryPolicy(
            mode=pb.DELIVERY_MODE_EVERY if every else pb.DELIVERY_MODE_LATEST,
            initial_credit=credit or (64 if corrections and every else 4 if every else 2),
        )
        if max_age is not None:
            policy.max_age.FromNanoseconds(int(max_age * 1e9))
        start = pb.AnimateStart(
            avatar=avatar,
            revision=revision,
            output=output,
            delivery=policy,
            correction=_correction(live),
        )
        return AnimateStream(self._animation.Animate, start)

    def drive(self, avatar: str, *, codec: str = "shm", live: bool = False, revision: str = "") -> LiveDriver:
        """Drive an avatar live without ever waiting; see :class:`~lca_bridge.client.live.LiveDriver`."""
        stream = self.animate(avatar, codec=codec, latest=True, credit=3, live=live, revision=revision)
        return LiveDriver(stream)

    @translated
    def evaluate_pose(
        self,
        avatar: str,
        pose: motion_pb2.PoseFrame,
        *,
        encoding: Encoding = Encoding.Q20,
        codec: Codec = Codec.RAW,
        live: bool = False,
        revision: str = "",
    ) -> PosedSplats:
        """The Gaussians of one pose; ``live`` as in :meth:`animate`."""
        pb = animation_service_pb2
        request = pb.EvaluatePoseRequest(
            avatar=avatar,
            revision=revision,
            pose=pose,
            correction=_correction(live),
            output=pb.GaussianOutput(encoding=int(encoding), codec=int(codec)),  # type: ignore[arg-type]
        )
        response = self._animation.EvaluatePose(request, timeout=CALL_SECONDS)
        layout = layout_from_proto(response.layout)
        frame = FrameAssembler(layout).add(response.frame)
        if frame is None:
            raise InvalidInputError("The service sent half a frame.", reason="MALFORMED_FRAME")
        return FrameDecoder(layout).decode(frame)

    @translated
    def render_still(
        self,
        avatar: str,
        pose: motion_pb2.PoseFrame | None = None,
        *,
        output: image_pb2.ImageOutput | None = None,
        revision: str = "",
    ) -> image_pb2.Image:
        """A picture (PNG unless ``output`` says otherwise)."""
        request = render_service_pb2.RenderStillRequest(
            avatar=avatar, revision=revision, pose=pose, output=output
        )
        return self._render.RenderStill(request, timeout=300).image


def camera(viewmat: np.ndarray, intrinsics: tuple[float, float, float, float]) -> image_pb2.Camera:
    """A camera message from a (4, 4) world-to-camera matrix and (fx, fy, cx, cy)."""
    return image_pb2.Camera(
        view_matrix=np.asarray(viewmat, np.float64).ravel().tolist(), intrinsics=list(intrinsics)
    )


def _gaussian_output(
    codec: str | Codec, encoding: Encoding, keyframe_interval: int
) -> animation_service_pb2.GaussianOutput:
    share = False
    if isinstance(codec, str):
        if codec and codec not in MODES:
            raise InvalidInputError(
                f"There is no codec {codec!r}. Known: {', '.join((*MODES, 'corrections'))}.",
                reason="BAD_START",
            )
        encoding, codec, share = MODES.get(codec, (encoding, Codec.RAW, False))
    return animation_service_pb2.GaussianOutput(
        encoding=int(encoding),  # type: ignore[arg-type]
        codec=int(codec),  # type: ignore[arg-type]
        keyframe_interval=keyframe_interval,
        prefer_shared_memory=share,
    )


def _correction(live: bool) -> animation_service_pb2.CorrectionMode:
    return animation_service_pb2.CORRECTION_MODE_LIVE if live else animation_service_pb2.CORRECTION_MODE_BAKED


def job_error(job: job_pb2.Job) -> LcaError:
    """The error of a job that did not succeed."""
    category = CATEGORIES.get(job.error.code, Category.INTERNAL)
    return error_from(category, job.error.reason, job.error.message, dict(job.error.metadata))
