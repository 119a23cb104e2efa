"""AvatarService: creation jobs, imports, listing, erasure, rigs and package downloads."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty

from lca.errors import (
    AbortedError,
    AlreadyExistsError,
    InvalidInputError,
    LcaError,
    NotFoundError,
    OutOfRangeError,
    PreconditionError,
)
from lca.v1 import avatar_pb2, job_pb2
from lca.v1 import avatar_service_pb2 as pb
from lca.v1 import avatar_service_pb2_grpc as rpc
from lca_bridge.server import names
from lca_bridge.server.core import ServiceCore, request_key
from lca_bridge.server.messages import avatar_message, job_message, rig_message
from lca_bridge.server.pieces import pieces
from lca_bridge.server.runner import check_parameters, package_stats
from lca_bridge.server.store import AvatarRow, JobRow, UploadRow
from lca_bridge.wire.package import read_package

MAX_PHOTOS = 64


class AvatarService(rpc.AvatarServiceServicer):
    """lca.v1.AvatarService."""

    def __init__(self, core: ServiceCore) -> None:
        self._core = core

    async def CreateAvatar(
        self, request: pb.CreateAvatarRequest, context: grpc.aio.ServicerContext
    ) -> job_pb2.Job:
        """Check everything that can be checked now, then queue a durable job."""
        core, store = self._core, self._core.store
        names.check_request_id(request.request_id)
        names.check_display_name(request.display_name)
        names.check_labels(dict(request.labels))
        parameters = dict(request.options.parameters)
        check_parameters(parameters)
        async with core.write_lock:
            key = request_key("CreateAvatar", request)
            if (earlier := await core.once(key, store.job)) is not None:
                return job_message(earlier)
            uploads = await asyncio.to_thread(self._clips, list(request.clips))
            avatar_id = await asyncio.to_thread(self._free_id, request.avatar_id, request.display_name)
            row = JobRow(
                id=names.new_id("j"),
                kind="CREATE_AVATAR",
                request_id=request.request_id,
                spec={
                    "avatar_id": avatar_id,
                    "display_name": request.display_name or avatar_id,
                    "labels": dict(request.labels),
                    "uploads": [upload.id for upload in uploads],
                    "seed": request.options.seed,
                    "parameters": parameters,
                },
            )
            if request.validate_only:
                message = job_message(row)
                message.ClearField("name")
                return message
            return job_message(await core.runner.submit(row, row.spec["uploads"], key))

    def _clips(self, clips: list[str]) -> list[UploadRow]:
        if not 0 < len(clips) <= MAX_PHOTOS or len(set(clips)) != len(clips):
            raise InvalidInputError(
                f"Give one video, or 1 to {MAX_PHOTOS} photos, each once.", reason="BAD_CLIPS"
            )
        uploads = [self._upload(name, "CLIP") for name in clips]
        if len(uploads) > 1 and any(upload.media.get("kind") != "photo" for upload in uploads):
            raise InvalidInputError("Give one video, or only photos.", reason="BAD_CLIPS")
        return uploads

    def _upload(self, name: str, content: str) -> UploadRow:
        row = self._core.store.upload(names.parse_name(name, "uploads"))
        if row.state != "VERIFIED":
            raise PreconditionError("Finalize the upload first.", reason="UPLOAD_NOT_FINAL")
        if row.content != content:
            wanted = "a clip or photo" if content == "CLIP" else "an .lca avatar file"
            raise InvalidInputError(f"This upload is not {wanted}.", reason="WRONG_CONTENT")
        if row.claimed_by:
            raise AlreadyExistsError("The upload is already used by a job.", reason="UPLOAD_IN_USE")
        return row

    def _free_id(self, wanted: str, display_name: str) -> str:
        avatar_id = names.check_id(wanted) if wanted else names.id_from(display_name or "avatar")
        if self._core.store.avatar_exists(avatar_id):
            raise AlreadyExistsError(
                f"There is already an avatar {avatar_id!r}, or a job is making it. Choose another id.",
                reason="AVATAR_EXISTS",
            )
        return avatar_id

    async def ImportAvatar(
        self, request: pb.ImportAvatarRequest, context: grpc.aio.ServicerContext
    ) -> avatar_pb2.Avatar:
        """Take a verified package over as it is."""
        core, store = self._core, self._core.store
        names.check_request_id(request.request_id)
        names.check_labels(dict(request.labels))
        names.check_display_name(request.display_name)
        async with core.write_lock:
            key = request_key("ImportAvatar", request)
            if (earlier := await core.once(key, store.avatar)) is not None:
                return avatar_message(earlier)

            def take() -> AvatarRow:
                upload = self._upload(request.package, "PACKAGE")
                path = core.blobs.upload_path(upload.id)
                package = read_package(path)
                title = request.display_name or package.name[:200]
                avatar_id = self._free_id(request.avatar_id, title)
                names.check_display_name(title)
                stats = package_stats(package, upload.size)
                revision, _ = core.blobs.put_file(path, upload.sha256)
                row = AvatarRow(
                    avatar_id, title or avatar_id, revision, labels=dict(request.labels), stats=stats
                )
                try:
                    row = store.add_avatar(row, [upload.id], key)
                except LcaError:  # the upload is still there, for another try
                    if revision not in store.needed_blobs():
                        core.blobs.delete_blob(revision)
                    raise
                path.unlink(missing_ok=True)
                return row

            return avatar_message(await asyncio.to_thread(take))

    async def GetAvatar(
        self, request: pb.GetAvatarRequest, context: grpc.aio.ServicerContext
    ) -> avatar_pb2.Avatar:
        """AIP-131."""
        key = names.parse_name(request.name, "avatars")
        return avatar_message(await asyncio.to_thread(self._core.store.avatar, key, True))

    async def _row(self, name: str) -> AvatarRow:
        return await asyncio.to_thread(self._core.store.avatar, names.parse_name(name, "avatars"))

    async def ListAvatars(
        self, request: pb.ListAvatarsRequest, context: grpc.aio.ServicerContext
    ) -> pb.ListAvatarsResponse:
        """Newest first."""
        size = names.page_size(request.page_size)
        cursor = names.parse_page_token(request.page_token)
        labels = names.check_labels(dict(request.labels))
        found = await asyncio.to_thread(
            lambda: self._core.store.page(
                "avatars", size + 1, cursor, labels=labels, deleted=request.show_deleted
            )
        )
        rows = [AvatarRow(**body) for body in found]
        token = names.page_token(rows[size - 1].created, rows[size - 1].id) if len(rows) > size else ""
        return pb.ListAvatarsResponse(avatars=map(avatar_message, rows[:size]), next_page_token=token)

    async def UpdateAvatar(
        self, request: pb.UpdateAvatarRequest, context: grpc.aio.ServicerContext
    ) -> avatar_pb2.Avatar:
        """Name and labels."""
        key = names.parse_name(request.avatar.name, "avatars")
        paths = set(request.update_mask.paths) or {"display_name", "labels"}
        if not paths <= {"display_name", "labels"}:
            raise InvalidInputError("Only display_name and labels can change.", reason="BAD_UPDATE_MASK")
        changes: dict[str, Any] = {}
        if "display_name" in paths:
            changes["display_name"] = names.check_display_name(request.avatar.display_name)
        if "labels" in paths:
            changes["labels"] = names.check_labels(dict(request.avatar.labels))
        row = await asyncio.to_thread(
            lambda: self._core.store.change_avatar(key, request.avatar.etag, **changes)
        )
        return avatar_message(row)

    async def DeleteAvatar(
        self, request: pb.DeleteAvatarRequest, context: grpc.aio.ServicerContext
    ) -> avatar_pb2.Avatar:
        """Hide it until its purge time."""
        key = names.parse_name(request.name, "avatars")
        seconds = self._core.config.limits.undelete_days * 86400
        async with self._core.write_lock:
            try:
                row = await asyncio.to_thread(self._core.store.delete_avatar, key, request.etag, seconds)
            except NotFoundError:
                if not request.allow_missing:
                    raise
                return avatar_pb2.Avatar()
        self._core.evaluators.forget(row.revision)
        return avatar_message(row)

    async def UndeleteAvatar(
        self, request: pb.UndeleteAvatarRequest, context: grpc.aio.ServicerContext
    ) -> avatar_pb2.Avatar:
        """Take a deletion back."""
        key = names.parse_name(request.name, "avatars")
        async with self._core.write_lock:
            row = await asyncio.to_thread(self._core.store.undelete_avatar, key, request.etag)
        return avatar_message(row)

    async def PurgeAvatar(self, request: pb.PurgeAvatarRequest, context: grpc.aio.ServicerContext) -> Empty:
        """Erase the avatar and what was made of it: what lies elsewhere first, then rows, then files. So the
        answer is true, and a call that failed half-way can be repeated.
        """
        core, key = self._core, names.parse_name(request.name, "avatars")
        row = await asyncio.to_thread(core.store.avatar, key, True)
        if request.etag and request.etag != row.etag:
            raise AbortedError("The avatar was changed in between. Read it again and redo the change.")
        for job in await asyncio.to_thread(core.store.jobs_of, row):
            await core.runner.end(job.id)
        async with core.write_lock:
            await asyncio.to_thread(self._erase_elsewhere, row)
            erased = await asyncio.to_thread(core.store.purge_avatar, key, request.etag)
            await asyncio.to_thread(core.forget, erased)
        return Empty()

    def _erase_elsewhere(self, row: AvatarRow) -> None:
        store = self._core.store
        blobs = {row.revision, *(job.checkpoint_blob for job in store.jobs_of(row))} - {""}
        for sha256 in blobs - store.needed_blobs(row):
            self._core.blobs.erase_object(sha256)

    async def GetRig(self, request: pb.GetRigRequest, context: grpc.aio.ServicerContext) -> avatar_pb2.Rig:
        """From ``avatars/{avatar}`` or ``avatars/{avatar}/rig``."""
        row = await self._row(request.name.removesuffix("/rig"))
        return await asyncio.to_thread(load_rig, self._core, row)

    async def DownloadPackage(
        self, request: pb.DownloadPackageRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.DownloadPackageResponse]:
        """Header first, then pieces of at most 1 MiB from the offset."""
        row = await self._row(request.name)
        path = await asyncio.to_thread(self._core.package_path, row, request.revision)
        size = path.stat().st_size
        if request.offset > size:
            raise OutOfRangeError(
                f"The package has {size} bytes; {request.offset} lies beyond.", reason="BAD_OFFSET"
            )
        yield pb.DownloadPackageResponse(
            header=pb.PackageHeader(revision=row.revision, size_bytes=size, sha256=row.revision),
            offset=request.offset,
        )
        async for offset, data in pieces(path, request.offset, request.max_chunk_bytes):
            yield pb.DownloadPackageResponse(offset=offset, data=data, crc32=zlib.crc32(data))


def load_rig(core: ServiceCore, row: AvatarRow) -> avatar_pb2.Rig:
    """The rig message of a stored avatar."""
    package = read_package(core.package_path(row, ""), verify=False)
    return rig_message(row.id, package, package.read("rig.json").decode())
