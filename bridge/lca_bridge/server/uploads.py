"""UploadService: bytes arrive in checked pieces and are usable once they are what they claim."""

from __future__ import annotations

import asyncio
import os
import re
import threading
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

import grpc
from google.protobuf.empty_pb2 import Empty

from lca.errors import (
    AlreadyExistsError,
    DataLossError,
    ExhaustedError,
    InvalidInputError,
    LcaError,
    OutOfRangeError,
    PreconditionError,
)
from lca.v1 import upload_service_pb2 as pb
from lca.v1 import upload_service_pb2_grpc as rpc
from lca_bridge.server import names
from lca_bridge.server.blobs import hash_file, storage_error
from lca_bridge.server.config import MAX_CHUNK_BYTES
from lca_bridge.server.core import ServiceCore, request_key
from lca_bridge.server.media import probe_file
from lca_bridge.server.messages import upload_message
from lca_bridge.server.store import UploadRow

SYNC_BYTES = 8 << 20
MAX_PROBES = 2


class UploadService(rpc.UploadServiceServicer):
    """lca.v1.UploadService."""

    def __init__(self, core: ServiceCore) -> None:
        self._core = core
        self._writing: set[str] = set()
        # A few at a time: each is a process or a package in memory, on one of the threads all calls share.
        self._probes = asyncio.Semaphore(MAX_PROBES)

    def _message(self, row: UploadRow) -> pb.Upload:
        return upload_message(row, self._core.config.limits.upload_hours)

    async def CreateUpload(
        self, request: pb.CreateUploadRequest, context: grpc.aio.ServicerContext
    ) -> pb.Upload:
        """Reserve space; the id is ours, the file name is only remembered."""
        core, limits = self._core, self._core.config.limits
        names.check_request_id(request.request_id)
        if not 0 < request.size_bytes <= limits.upload_bytes:
            raise InvalidInputError(
                "The file is empty." if not request.size_bytes else
                f"The file has {request.size_bytes >> 20} MiB; the limit is {limits.upload_bytes >> 20} MiB.",
                reason="MEDIA_UNREADABLE" if not request.size_bytes else "UPLOAD_TOO_LARGE",
            )  # fmt: skip
        names.check_display_name(request.file_name)
        async with core.write_lock:
            key = request_key("CreateUpload", request)
            if (earlier := await core.once(key, core.store.upload)) is not None:
                return self._message(earlier)
            if request.sha256:
                check_sha256(request.sha256)
                if request.reuse_existing and (found := await asyncio.to_thread(self._same, request)):
                    return self._message(found)
            elif request.reuse_existing:
                raise InvalidInputError("reuse_existing needs the sha256 of the file.", reason="BAD_SHA256")
            await asyncio.to_thread(self._reserve, request.size_bytes)
            row = UploadRow(
                names.new_id("u"), request.size_bytes, file_name=request.file_name, sha256=request.sha256
            )
            return self._message(await asyncio.to_thread(core.store.add_upload, row, key))

    def _same(self, request: pb.CreateUploadRequest) -> UploadRow | None:
        """An upload of the same bytes that no job uses: a verified one, else the one that got furthest."""
        self._core.expire_uploads()
        same = [
            row
            for row in self._core.store.uploads()
            if row.sha256 == request.sha256 and row.size == request.size_bytes and not row.claimed_by
        ]
        return max(same, key=lambda row: (row.state == "VERIFIED", row.committed), default=None)

    def _reserve(self, size: int) -> None:
        core, limits = self._core, self._core.config.limits
        core.expire_uploads()
        if len(core.store.uploads()) >= limits.open_uploads:
            raise ExhaustedError("There are too many open uploads. Delete some.", reason="TOO_MANY_UPLOADS")
        core.reserve(size)

    async def WriteUpload(
        self, request_iterator: AsyncIterator[pb.WriteUploadRequest], context: grpc.aio.ServicerContext
    ) -> pb.Upload:
        """Append pieces at exactly the committed size; what was synced survives any crash."""
        writer: _Writer | None = None
        try:
            async for piece in request_iterator:
                if writer is None:
                    key = names.parse_name(piece.name, "uploads")
                    if key in self._writing:
                        raise AlreadyExistsError("Another call is writing this upload.", reason="UPLOAD_BUSY")
                    self._writing.add(key)
                    try:
                        writer = await asyncio.to_thread(_Writer, self._core, key)
                    except BaseException:
                        self._writing.discard(key)
                        raise
                await asyncio.to_thread(writer.append, piece)
            if writer is None:
                raise InvalidInputError("The upload stream was empty.", reason="MALFORMED_MESSAGE")
        finally:
            # also when the caller goes away in the middle: keep what arrived
            if writer is not None:
                await asyncio.shield(self._close(writer))
        return self._message(await asyncio.to_thread(self._core.store.upload, writer.row.id))

    async def _close(self, writer: _Writer) -> None:
        # Others may write only once the last byte of this call is synced: they start from what is committed.
        try:
            await asyncio.to_thread(writer.close)
        finally:
            self._writing.discard(writer.row.id)

    async def GetUpload(self, request: pb.GetUploadRequest, context: grpc.aio.ServicerContext) -> pb.Upload:
        """AIP-131."""
        key = names.parse_name(request.name, "uploads")
        return self._message(await asyncio.to_thread(self._core.store.upload, key))

    async def FinalizeUpload(
        self, request: pb.FinalizeUploadRequest, context: grpc.aio.ServicerContext
    ) -> pb.Upload:
        """Check length, hash and content; a bad file is removed at once."""
        key = names.parse_name(request.name, "uploads")
        check_sha256(request.sha256)
        if key in self._writing:
            raise PreconditionError("The upload is still being written.", reason="UPLOAD_BUSY")
        self._writing.add(key)
        try:
            async with self._probes:
                return self._message(await asyncio.to_thread(self._finalize, key, request.sha256))
        finally:
            self._writing.discard(key)

    def _finalize(self, key: str, sha256: str) -> UploadRow:
        store, path = self._core.store, self._core.blobs.upload_path(key)
        row = store.upload(key)
        if row.state == "VERIFIED":
            if row.sha256 == sha256:
                return row
            raise PreconditionError("The upload was finalized with another sha256.", reason="SHA256_MISMATCH")
        if row.sha256 and row.sha256 != sha256:
            raise PreconditionError(
                "The upload was created for bytes with another sha256.", reason="SHA256_MISMATCH"
            )
        if row.committed != row.size:
            raise PreconditionError(
                f"Only {row.committed} of {row.size} bytes have arrived. Send the rest first.",
                reason="UPLOAD_INCOMPLETE",
                metadata={"committed_size": str(row.committed)},
            )
        try:
            if hash_file(path) != sha256:
                raise PreconditionError(
                    "The bytes that arrived have another sha256. Upload the file again.",
                    reason="SHA256_MISMATCH",
                )
            probe = probe_file(path, self._core.config.limits.package_bytes)
        except LcaError:
            store.delete_upload(key)
            path.unlink(missing_ok=True)
            raise
        return store.change_upload(
            key,
            state="VERIFIED",
            sha256=sha256,
            content=probe.content,
            suffix=probe.suffix,
            media=probe.media,
        )

    async def DeleteUpload(self, request: pb.DeleteUploadRequest, context: grpc.aio.ServicerContext) -> Empty:
        """Free the space; an upload a job works on stays until the job ends."""
        key = names.parse_name(request.name, "uploads")

        def delete() -> None:
            row = self._core.store.upload(key)
            if row.claimed_by or key in self._writing:
                raise PreconditionError("The upload is in use. Cancel its job first.", reason="UPLOAD_IN_USE")
            self._core.store.delete_upload(key)
            self._core.blobs.upload_path(key).unlink(missing_ok=True)

        await asyncio.to_thread(delete)
        return Empty()


def check_sha256(value: str) -> None:
    """64 lower-case hex digits; InvalidInputError ``BAD_SHA256``."""
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise InvalidInputError("sha256 is 64 lower-case hex digits.", reason="BAD_SHA256")


class _Writer:
    """One WriteUpload call on one file."""

    def __init__(self, core: ServiceCore, key: str) -> None:
        self._core = core
        self.row = core.store.upload(key)
        if self.row.state != "OPEN":
            raise PreconditionError("The upload is already finalized.", reason="UPLOAD_FINAL")
        path: Path = core.blobs.upload_path(key)
        try:
            # A crash may have left bytes that were never promised: start from the promised length.
            # Unbuffered,
            # so that what a full disk refuses is known at once.
            self._file: IO[bytes] = path.open("r+b" if path.exists() else "w+b", buffering=0)
            self._file.truncate(self.row.committed)
            self._file.seek(self.row.committed)
        except OSError as error:
            raise storage_error(error) from error
        self._length = self._synced = self.row.committed
        self._broken = False
        # A caller that goes away closes us while the last piece may still be on its way to the disk.
        self._lock = threading.Lock()

    def append(self, piece: pb.WriteUploadRequest) -> None:
        with self._lock:
            self._append(piece)

    def _append(self, piece: pb.WriteUploadRequest) -> None:
        if self._broken:
            raise storage_error(OSError("an earlier sync failed"))
        if piece.name and names.parse_name(piece.name, "uploads") != self.row.id:
            raise InvalidInputError("One stream writes one upload.", reason="INVALID_NAME")
        if piece.offset != self._length:
            self._sync()
            raise OutOfRangeError(
                f"The next byte of this upload is {self._length}, not {piece.offset}.",
                metadata={"committed_size": str(self._length)},
            )
        if len(piece.data) > MAX_CHUNK_BYTES:
            raise InvalidInputError("A piece of an upload has at most 1 MiB.", reason="CHUNK_TOO_LARGE")
        if self._length + len(piece.data) > self.row.size:
            raise InvalidInputError(
                "There is more data than the upload was created for.", reason="UPLOAD_TOO_LARGE"
            )
        if zlib.crc32(piece.data) != piece.crc32:
            raise DataLossError("A piece arrived damaged; nothing of it was kept. Send it again.")
        try:
            left = memoryview(piece.data)
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            self._file.truncate(self._length)
            self._file.seek(self._length)
            raise storage_error(error) from error
        self._length += len(piece.data)
        if self._length - self._synced >= SYNC_BYTES:
            self._sync()

    def _sync(self) -> None:
        if self._length == self._synced or self._broken:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            # What a failed sync lost is unknown, and a second sync would lie: forget all since the last
            # good one.
            self._length = self._synced
            self._broken = True
            raise storage_error(error) from error
        self._core.store.change_upload(self.row.id, committed=self._length)
        self._synced = self._length

    def close(self) -> None:
        with self._lock:
            try:
                self._sync()
            finally:
                self._file.close()
