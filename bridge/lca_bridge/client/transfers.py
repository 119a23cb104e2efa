"""Files to and from a service: uploads and downloads that go on where they were interrupted."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from lca.errors import (
    AbortedError,
    DataLossError,
    LcaError,
    NotFoundError,
    OutOfRangeError,
    UnavailableError,
)
from lca.v1 import (
    avatar_service_pb2,
    avatar_service_pb2_grpc,
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
    upload_service_pb2,
    upload_service_pb2_grpc,
)
from lca_bridge.client.errors import translated

CHUNK_BYTES = 1 << 20
CALL_SECONDS = 60.0

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""


class TransferCalls:
    """The part of :class:`~lca_bridge.client.client.LcaClient` that moves files."""

    _avatars: avatar_service_pb2_grpc.AvatarServiceStub
    _uploads: upload_service_pb2_grpc.UploadServiceStub
    _jobs: job_service_pb2_grpc.JobServiceStub

    def upload(
        self,
        path: str | os.PathLike[str],
        progress: Progress | None = None,
        *,
        resume: str = "",
        reuse: bool = False,
        attempts: int = 5,
    ) -> upload_service_pb2.Upload:
        """Upload and finalize one file; a broken connection or damaged piece continues where it stopped.

        Args:
            resume: name of an upload that an earlier call left unfinished.
            reuse: look whether the service already has these bytes, wholly or in part, in an upload that no
                job uses, and send only what is missing. Works after a restart of this program, too.

        Raises:
            MediaUnreadableError: the service cannot use the file; nothing of it stays there.
        """
        source = Path(path)
        if not source.is_file():
            raise NotFoundError(f"There is no file {source}.", reason="FILE_NOT_FOUND")
        size = source.stat().st_size
        sha256 = _sha256(source)
        created = None if resume else self.create_upload(size, source.name, sha256=sha256, reuse=reuse)
        name = resume if created is None else created.name
        if created is not None and created.state == upload_service_pb2.UPLOAD_STATE_VERIFIED:
            return created
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
        return self.finalize_upload(name, sha256)

    @translated
    def create_upload(
        self, size: int, file_name: str = "", *, sha256: str = "", reuse: bool = False
    ) -> upload_service_pb2.Upload:
        """Reserve room for ``size`` bytes; with ``reuse``, or find the upload that holds them already."""
        request = upload_service_pb2.CreateUploadRequest(
            size_bytes=size,
            file_name=file_name[-200:],
            request_id=str(uuid.uuid4()),
            sha256=sha256,
            reuse_existing=reuse,
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
        return _complete(part, target, sha256)

    def _fetch(self, name: str, part: Path, progress: Progress | None) -> str:
        """Append to ``part`` what is missing; returns the sha256 of the whole package."""
        request = avatar_service_pb2.GetAvatarRequest(name=name)
        revision = self._revision(request)
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
    def _revision(self, request: avatar_service_pb2.GetAvatarRequest) -> str:
        return self._avatars.GetAvatar(request, timeout=CALL_SECONDS).revision

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

    def download_result(
        self, job: str, path: str | os.PathLike[str], progress: Progress | None = None, attempts: int = 5
    ) -> Path:
        """Fetch what a bake or a rendered motion made; an interrupted download goes on, even later.

        Args:
            path: the file to write, or a folder: the file then has the name the service gives it.

        Raises:
            PreconditionError: ``NO_RESULT``; the job is not done, or makes no file.
            DataLossError: the finished file does not match its sha256.
        """
        target = Path(path)
        for attempt in range(attempts):
            try:
                header, part = self._fetch_result(job, target, progress)
                break
            except (UnavailableError, AbortedError):
                if attempt == attempts - 1:
                    raise
                time.sleep(min(0.2 * 2**attempt, 3))
        return _complete(part, part.with_name(part.name.removesuffix(".part")), header.sha256)

    @translated
    def _fetch_result(
        self, job: str, target: Path, progress: Progress | None
    ) -> tuple[job_pb2.JobResult, Path]:
        found = self._jobs.GetJob(job_service_pb2.GetJobRequest(name=job), timeout=CALL_SECONDS).result
        if target.is_dir():
            target = target / (Path(found.file_name).name or "result")
        part = target.with_name(f"{target.name}.part")
        marker = part.with_name(part.name + ".sha256")
        if part.exists() and not (marker.exists() and marker.read_text(encoding="ascii") == found.sha256):
            part.unlink()
        part.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(found.sha256, encoding="ascii")
        header = found
        with part.open("ab") as stream:
            request = job_service_pb2.DownloadResultRequest(name=job, offset=stream.tell())
            for piece in self._jobs.DownloadResult(request):
                if piece.HasField("header"):
                    header = piece.header
                    continue
                if piece.offset != stream.tell() or zlib.crc32(piece.data) != piece.crc32:
                    raise AbortedError("A piece of the download arrived damaged.", reason="CHECKSUM_MISMATCH")
                stream.write(piece.data)
                if progress is not None:
                    progress(stream.tell(), header.size_bytes)
        marker.unlink()
        return header, part


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _complete(part: Path, target: Path, sha256: str) -> Path:
    """Give a finished download its name."""
    if _sha256(part) != sha256:
        part.unlink()
        raise DataLossError("The download is damaged. Fetch it again.")
    os.replace(part, target)
    return target
