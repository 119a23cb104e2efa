"""Uploads, avatars and errors over real sockets: what is promised is kept, what is hostile is refused."""

from __future__ import annotations

import hashlib
import stat
import threading
import time
import uuid
import zlib

import grpc
import pytest

from lca.errors import (
    AbortedError,
    AlreadyExistsError,
    DataLossError,
    ExhaustedError,
    InvalidInputError,
    MediaUnreadableError,
    NotFoundError,
    OutOfRangeError,
    PreconditionError,
    UnauthenticatedError,
)
from lca.v1 import (
    animation_service_pb2,
    avatar_service_pb2,
    avatar_service_pb2_grpc,
    upload_service_pb2,
    upload_service_pb2_grpc,
)
from lca_bridge.client import connect
from lca_bridge.client.errors import translate
from lca_bridge.server.app import ServiceThread
from lca_bridge.server.config import Limits, ServerConfig

MIB = 1 << 20


def piece(
    name: str, offset: int, data: bytes, crc: int | None = None
) -> upload_service_pb2.WriteUploadRequest:
    return upload_service_pb2.WriteUploadRequest(
        name=name, offset=offset, data=data, crc32=zlib.crc32(data) if crc is None else crc
    )


def files_below(folder) -> set[str]:
    kept = ("uploads", "cas", "tmp")
    return {str(p.relative_to(folder)) for part in kept for p in (folder / part).rglob("*") if p.is_file()}


# -- who may call -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token,reason", [(None, "TOKEN_MISSING"), ("wrong", "TOKEN_INVALID")])
def test_calls_without_the_token_are_refused(shared_service, token, reason):
    with connect(shared_service.target, token) as stranger:
        for call in (stranger.list_avatars, lambda: next(stranger.watch_job("jobs/x"))):
            with pytest.raises(UnauthenticatedError) as caught:
                call()
            assert caught.value.reason == reason


def test_health_is_open_and_reflection_lists_our_services(shared_service):
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    with grpc.insecure_channel(shared_service.target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service="lca.v1.AnimationService"))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        metadata = (("authorization", f"Bearer {shared_service.token}"),)
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
        listed = {
            s.name for s in next(reflect(iter([ask]), metadata=metadata)).list_services_response.service
        }
        assert "lca.v1.AvatarService" in listed
        with pytest.raises(grpc.RpcError):
            next(reflect(iter([ask])))


def test_token_file_is_private_and_reused(tmp_path):
    config = ServerConfig(data_dir=tmp_path, address="127.0.0.1:0")
    with ServiceThread(config) as first:
        token = first.token
        assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    with ServiceThread(config) as second:
        assert second.token == token
    (tmp_path / "token").chmod(0o644)
    with pytest.raises(PreconditionError) as caught, ServiceThread(config):
        pass
    assert caught.value.reason == "TOKEN_FILE_OPEN"


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.168.1.5:0", "example.org:0"])
def test_no_plain_text_beyond_this_machine(tmp_path, address):
    with (
        pytest.raises(PreconditionError) as caught,
        ServiceThread(ServerConfig(data_dir=tmp_path, address=address)),
    ):
        pass
    assert caught.value.reason == "TLS_REQUIRED"
    with pytest.raises(PreconditionError):
        connect(address)


def test_unix_socket_needs_no_token_but_is_private(tmp_path):
    socket = tmp_path / "s" / "lca.sock"
    with (
        ServiceThread(ServerConfig(data_dir=tmp_path / "d", address=f"unix:{socket}")) as service,
        connect(service.target, wait_seconds=5) as client,
    ):
        assert service.token is None and client.list_avatars() == []
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700


def test_second_service_on_the_same_folder_or_port_is_refused(tmp_path, shared_service):
    folder = shared_service.service.core.config.data_dir
    with (
        pytest.raises(AlreadyExistsError) as caught,
        ServiceThread(ServerConfig(data_dir=folder, address="127.0.0.1:0")),
    ):
        pass
    assert caught.value.reason == "DATA_IN_USE"
    taken = ServerConfig(data_dir=tmp_path, address=shared_service.target)
    with pytest.raises(AlreadyExistsError) as caught, ServiceThread(taken):
        pass
    assert caught.value.reason == "ADDRESS_IN_USE"


# -- uploads ------------------------------------------------------------------------------------------------


def test_upload_in_pieces_resume_and_offsets(client, service, clip):
    data = clip.read_bytes()
    name = client.create_upload(len(data), "a.mp4").name
    half = len(data) // 2
    assert client.write_upload(iter([piece(name, 0, data[:half])])).committed_size == half
    for wrong in (0, half + 1, half - 1):
        with pytest.raises(OutOfRangeError) as caught:
            client.write_upload(iter([piece(name, wrong, data[half:])]))
        assert caught.value.metadata["committed_size"] == str(half)
    with pytest.raises(DataLossError) as lost:
        client.write_upload(iter([piece(name, half, data[half:], crc=1)]))
    assert lost.value.reason == "CHECKSUM_MISMATCH"
    assert client.get_upload(name).committed_size == half
    with pytest.raises(PreconditionError) as early:
        client.finalize_upload(name, hashlib.sha256(data).hexdigest())
    assert early.value.reason == "UPLOAD_INCOMPLETE"
    done = client.upload(clip, resume=name)
    assert done.state == upload_service_pb2.UPLOAD_STATE_VERIFIED
    assert done.content == upload_service_pb2.UPLOAD_CONTENT_CLIP
    assert (done.media_info.width, done.media_info.height, done.media_info.frame_count) == (160, 240, 12)
    stored = service.service.core.blobs.upload_path(name.removeprefix("uploads/"))
    assert stored.read_bytes() == data
    client.delete_upload(name)
    assert not stored.exists()
    with pytest.raises(NotFoundError):
        client.get_upload(name)


def test_broken_off_stream_keeps_what_arrived(client):
    data = bytes(range(256)) * 4096 * 3
    name = client.create_upload(len(data), "x").name

    def breaks_off():
        yield piece(name, 0, data[:MIB])
        yield piece(name, MIB, data[MIB : 2 * MIB])
        time.sleep(0.5)  # an iterator that fails at once cancels the call before anything is sent
        raise RuntimeError("the line went dead")

    with pytest.raises(Exception, match=r".*"):
        client.write_upload(breaks_off())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        committed = client.get_upload(name).committed_size
        if committed:
            break
        time.sleep(0.02)
    assert committed in (MIB, 2 * MIB)
    rest = (piece(name, at, data[at : at + MIB]) for at in range(committed, len(data), MIB))
    assert client.write_upload(rest).committed_size == len(data)


def test_uploads_survive_a_restart(tmp_path, clip):
    config = ServerConfig(data_dir=tmp_path, address="127.0.0.1:0")
    data = clip.read_bytes()
    with ServiceThread(config) as service, connect(service.target, service.token) as client:
        name = client.create_upload(len(data)).name
        client.write_upload(iter([piece(name, 0, data[:1000])]))
    # bytes that were never promised (a crash between write and sync) must not shift the file
    with (tmp_path / "uploads" / name.removeprefix("uploads/")).open("ab") as stream:
        stream.write(b"garbage")
    with ServiceThread(config) as service, connect(service.target, service.token) as client:
        assert client.get_upload(name).committed_size == 1000
        assert client.upload(clip, resume=name).sha256 == hashlib.sha256(data).hexdigest()


def test_wrong_sha256_removes_the_upload(client, service, clip):
    data = clip.read_bytes()
    name = client.create_upload(len(data)).name
    client.write_upload(iter([piece(name, 0, data)]))
    with pytest.raises(PreconditionError) as caught:
        client.finalize_upload(name, "0" * 64)
    assert caught.value.reason == "SHA256_MISMATCH"
    assert files_below(service.service.core.config.data_dir) == set()


def bad_media(clip, groups_bytes) -> dict[str, bytes]:
    good = clip.read_bytes()
    return {
        "text": b"this is not a video, whatever its name says\n" * 50,
        "truncated mp4": good[: len(good) // 3],
        "zeros": bytes(5000),
        "header only": good[:48],
        "broken png": b"\x89PNG\r\n\x1a\n" + b"junk" * 100,
        "truncated package": groups_bytes[: len(groups_bytes) // 2],
        "zip bomb name": b"PK\x03\x04" + bytes(200),
        "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n",
        "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
    }


def test_bad_media_is_refused_in_time_and_leaves_nothing(client, service, clip, package_bytes, tmp_path):
    for what, data in bad_media(clip, package_bytes).items():
        path = tmp_path / f"{what}.mp4"
        path.write_bytes(data)
        started = time.monotonic()
        with pytest.raises(InvalidInputError) as caught:
            client.upload(path)
        assert caught.value.reason in ("MEDIA_UNREADABLE", "PACKAGE_INVALID"), what
        assert time.monotonic() - started < 10, what
        assert files_below(service.service.core.config.data_dir) == set(), what
        assert service.service.core.store.uploads() == []


def test_empty_file_is_media_unreadable(shared_client, tmp_path):
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(MediaUnreadableError):
        shared_client.upload(tmp_path / "empty.mp4")


def test_sound_without_picture_is_refused(shared_client, tmp_path):
    import av
    import numpy as np

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    with pytest.raises(MediaUnreadableError, match="no video"):
        shared_client.upload(path)


def test_quotas(tmp_path):
    limits = Limits(upload_bytes=1000, storage_bytes=1500, open_uploads=3)
    config = ServerConfig(data_dir=tmp_path, address="127.0.0.1:0", limits=limits)
    with ServiceThread(config) as service, connect(service.target, service.token) as client:
        with pytest.raises(InvalidInputError):
            client.create_upload(1001)
        first = client.create_upload(900)
        with pytest.raises(ExhaustedError) as caught:
            client.create_upload(900)
        assert caught.value.reason == "QUOTA_EXCEEDED"
        client.delete_upload(first.name)
        for _ in range(3):
            client.create_upload(10)
        with pytest.raises(ExhaustedError) as caught:
            client.create_upload(10)
        assert caught.value.reason == "TOO_MANY_UPLOADS"
        with pytest.raises(MediaUnreadableError):
            client.create_upload(0)


def test_more_bytes_than_promised_are_refused(shared_client):
    name = shared_client.create_upload(10).name
    with pytest.raises(InvalidInputError):
        shared_client.write_upload(iter([piece(name, 0, bytes(11))]))
    with pytest.raises(InvalidInputError):
        shared_client.write_upload(iter([piece(name, 0, bytes(MIB + 1))]))
    shared_client.delete_upload(name)


# -- idempotency --------------------------------------------------------------------------------------------


def test_same_request_id_twenty_times_in_parallel(service, clip):
    stub_metadata = (("authorization", f"Bearer {service.token}"),)
    request = upload_service_pb2.CreateUploadRequest(size_bytes=10, request_id=str(uuid.uuid4()))
    answers: list[str] = []
    with grpc.insecure_channel(service.target) as channel:
        stub = upload_service_pb2_grpc.UploadServiceStub(channel)

        def call() -> None:
            answers.append(stub.CreateUpload(request, metadata=stub_metadata).name)

        threads = [threading.Thread(target=call) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 20 and len(set(answers)) == 1
        request.size_bytes = 11
        with pytest.raises(grpc.RpcError) as caught:
            stub.CreateUpload(request, metadata=stub_metadata)
        assert translate(caught.value).reason == "REQUEST_ID_REUSED"
        request.request_id = "not-a-uuid"
        with pytest.raises(grpc.RpcError) as caught:
            stub.CreateUpload(request, metadata=stub_metadata)
        assert translate(caught.value).reason == "INVALID_REQUEST_ID"
    assert len(service.service.core.store.uploads()) == 1


# -- avatars ------------------------------------------------------------------------------------------------


def test_import_list_update_download_erase(client, service, package_file, tmp_path):
    first = client.import_avatar(client.upload(package_file).name, avatar_id="ada", labels={"set": "a"})
    assert (first.name, first.display_name, first.stats.gaussian_count) == ("avatars/ada", "Test person", 200)
    assert first.revision == hashlib.sha256(package_file.read_bytes()).hexdigest()
    second = client.import_avatar(client.upload(package_file).name, display_name="Grace Höpper")
    assert second.name.startswith("avatars/grace-hopper-")
    assert {a.name for a in client.list_avatars(page_size=1)} == {first.name, second.name}

    with pytest.raises(AlreadyExistsError):
        client.import_avatar(client.upload(package_file).name, avatar_id="ada")

    changed = client.get_avatar("avatars/ada")
    changed.display_name = "Ada L."
    updated = client.update_avatar(changed)
    assert updated.display_name == "Ada L." and updated.etag != first.etag
    with pytest.raises(AbortedError):
        client.update_avatar(changed)  # its etag is stale now
    with pytest.raises(AbortedError):
        client.delete_avatar("avatars/ada", etag=first.etag)

    target = tmp_path / "again.lca"
    assert client.download("avatars/ada", target).read_bytes() == package_file.read_bytes()

    client.purge_avatar("avatars/ada")
    blob = service.service.core.blobs.blob_path(first.revision)
    assert blob.exists(), "the other avatar has the same bytes"
    client.purge_avatar(second.name)
    assert not blob.exists() and client.list_avatars(show_deleted=True) == []
    for call in (client.get_avatar, client.rig, client.delete_avatar):
        with pytest.raises(NotFoundError):
            call("avatars/ada")


def test_download_resumes_where_it_stopped(client, package_file, tmp_path):
    avatar = client.import_avatar(client.upload(package_file).name)
    data = package_file.read_bytes()
    target, part = tmp_path / "x.lca", tmp_path / "x.lca.part"
    part.write_bytes(data[:5000])
    (tmp_path / "x.lca.part.revision").write_text(avatar.revision)
    seen: list[int] = []
    client.download(avatar.name, target, lambda done, size: seen.append(done))
    assert target.read_bytes() == data and not part.exists()
    # a piece of something else is not continued
    part.write_bytes(b"other" * 100)
    (tmp_path / "x.lca.part.revision").write_text("0" * 64)
    assert client.download(avatar.name, target).read_bytes() == data


def test_download_from_every_offset(shared_service, avatar, package_bytes):
    metadata = (("authorization", f"Bearer {shared_service.token}"),)
    with grpc.insecure_channel(shared_service.target) as channel:
        stub = avatar_service_pb2_grpc.AvatarServiceStub(channel)
        for offset in (0, 1, 70_000, len(package_bytes)):
            request = avatar_service_pb2.DownloadPackageRequest(name=avatar.name, offset=offset)
            messages = list(stub.DownloadPackage(request, metadata=metadata))
            assert messages[0].header.size_bytes == len(package_bytes)
            assert b"".join(m.data for m in messages[1:]) == package_bytes[offset:]
        for request, reason in (
            (avatar_service_pb2.DownloadPackageRequest(name=avatar.name, offset=1 << 40), "BAD_OFFSET"),
            (
                avatar_service_pb2.DownloadPackageRequest(name=avatar.name, revision="0" * 64),
                "REVISION_CHANGED",
            ),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                list(stub.DownloadPackage(request, metadata=metadata))
            assert translate(caught.value).reason == reason


def test_rig_says_what_the_arrays_mean(shared_client, avatar):
    from lca_core.body.names import ARKIT_NAMES, JOINT_NAMES, JOINT_PARENTS

    rig = shared_client.rig(avatar.name)
    assert tuple(j.joint_name for j in rig.joints) == JOINT_NAMES
    assert tuple(j.parent_index for j in rig.joints) == JOINT_PARENTS
    assert tuple(e.channel_name for e in rig.expressions) == ARKIT_NAMES
    assert '"name_maps"' in rig.description_json


BAD_NAMES = [
    "", "avatars/", "person", "avatars/../../etc/passwd", "avatars/%2e%2e", "avatars/a\0b", "avatars/A",
    "avatars/" + "a" * 10_000, "avatars/pers\u043en", "avatars/a/b", "avatars/-a", "avatars/a-",
    "jobs/person", "avatars/a\n",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES, ids=range(len(BAD_NAMES)))
def test_names_are_never_paths(shared_client, name):
    for call in (shared_client.get_avatar, shared_client.delete_avatar):
        with pytest.raises(InvalidInputError) as caught:
            call(name)
        assert caught.value.reason == "INVALID_NAME"


def test_page_tokens_and_sizes_are_checked(shared_service):
    metadata = (("authorization", f"Bearer {shared_service.token}"),)
    with grpc.insecure_channel(shared_service.target) as channel:
        stub = avatar_service_pb2_grpc.AvatarServiceStub(channel)
        for request in (
            avatar_service_pb2.ListAvatarsRequest(page_size=-1),
            avatar_service_pb2.ListAvatarsRequest(page_token="bm9uc2Vuc2U="),
            avatar_service_pb2.ListAvatarsRequest(page_token="***"),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                stub.ListAvatars(request, metadata=metadata)
            assert translate(caught.value).reason == "INVALID_PAGE"


# -- garbage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method,stream", [
    ("/lca.v1.AvatarService/GetAvatar", False),
    ("/lca.v1.JobService/WatchJob", False),
    ("/lca.v1.UploadService/WriteUpload", True),
    ("/lca.v1.AnimationService/Animate", True),
])  # fmt: skip
def test_garbage_bytes_are_the_callers_mistake(shared_service, shared_client, method, stream):
    metadata = (("authorization", f"Bearer {shared_service.token}"),)
    garbage = b"\xff" * 40
    with grpc.insecure_channel(shared_service.target) as channel:
        kind = channel.stream_stream if stream else channel.unary_stream
        call = kind(method, request_serializer=lambda b: b, response_deserializer=lambda b: b)
        with pytest.raises(grpc.RpcError) as caught:
            list(call(iter([garbage]) if stream else garbage, metadata=metadata))
        error = translate(caught.value)
        assert isinstance(error, InvalidInputError) and error.reason == "MALFORMED_MESSAGE"
        assert "Traceback" not in caught.value.details()
    assert shared_client.server_info().api_version == "v1"  # the service lives


def test_too_large_messages_and_unknown_methods(shared_service):
    metadata = (("authorization", f"Bearer {shared_service.token}"),)
    with grpc.insecure_channel(
        shared_service.target, options=[("grpc.max_send_message_length", -1)]
    ) as channel:
        stub = upload_service_pb2_grpc.UploadServiceStub(channel)
        huge = upload_service_pb2.WriteUploadRequest(name="uploads/x", data=bytes(33 << 20))
        with pytest.raises(grpc.RpcError) as caught:
            stub.WriteUpload(iter([huge]), metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        unknown = channel.unary_unary("/lca.v1.AvatarService/Nope")
        with pytest.raises(grpc.RpcError) as caught:
            unknown(b"", metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_service_that_is_not_there(tmp_path):
    from lca.errors import UnavailableError

    with pytest.raises(UnavailableError):
        connect(f"unix:{tmp_path}/none.sock", wait_seconds=0.2)


def test_limits_are_announced(shared_client):
    info = shared_client.server_info()
    assert info.limits.max_chunk_bytes == MIB and info.limits.storage_quota_bytes > 0
    assert "GAUSSIAN_ENCODING_Q10" in info.features and info.devices[-1] == "cpu"
    assert animation_service_pb2.DESCRIPTOR.package == "lca.v1"
