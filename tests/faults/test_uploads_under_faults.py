"""Faults 3 to 8: cut and wrong uploads, full and broken disks, names that would like to be paths."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from harness import ServerProcess, database_is_sound, files, until

from lca.errors import (
    DataLossError,
    ExhaustedError,
    InvalidInputError,
    LcaError,
    NotFoundError,
    OutOfRangeError,
    PreconditionError,
    UnavailableError,
)
from lca.v1 import job_pb2, upload_service_pb2
from lca_bridge.client.errors import translate

MIB = 1 << 20


def piece(
    name: str, offset: int, data: bytes, crc: int | None = None
) -> upload_service_pb2.WriteUploadRequest:
    return upload_service_pb2.WriteUploadRequest(
        name=name, offset=offset, data=data, crc32=zlib.crc32(data) if crc is None else crc
    )


def test_03_cut_at_every_boundary_and_inside_a_message(server, client, tmp_path):
    """A raw connection is closed after so many bytes, wherever that is."""
    data = random.Random(1).randbytes(3 * MIB + 4321)
    for cut in (0, MIB, 2 * MIB, 3 * MIB, MIB // 2, MIB + 777):
        name = client.create_upload(len(data)).name
        sent = 0

        def pieces(name: str = name, cut: int = cut) -> Iterator[upload_service_pb2.WriteUploadRequest]:
            nonlocal sent
            while sent < cut:
                block = data[sent : min(sent + MIB, cut)]
                yield piece(name, sent, block)
                sent += len(block)
            time.sleep(0.3)  # let it arrive; then the line dies in the middle of the stream
            raise ConnectionError

        with server.channel() as channel:
            call = channel.stream_unary(
                "/lca.v1.UploadService/WriteUpload",
                request_serializer=lambda m: m.SerializeToString(),
                response_deserializer=upload_service_pb2.Upload.FromString,
            )
            with pytest.raises(grpc.RpcError):
                call(pieces(), metadata=server.metadata)
        committed = until(lambda name=name: _settled(client, name))
        assert committed[0] <= sent
        rest = (piece(name, at, data[at : at + MIB]) for at in range(committed[0], len(data), MIB))
        assert client.write_upload(rest).committed_size == len(data)
        stored = server.data / "uploads" / name.removeprefix("uploads/")
        assert hashlib.sha256(stored.read_bytes()).digest() == hashlib.sha256(data).digest()
        client.delete_upload(name)


def _settled(client, name: str) -> tuple[int] | None:
    """The committed size once the broken call has been cleared away."""
    try:
        client.write_upload(iter([piece(name, 1 << 40, b"")]))
    except OutOfRangeError as error:
        return (int(error.metadata["committed_size"]),)
    except LcaError:  # the broken call still holds it
        return None
    raise AssertionError("a piece beyond the end was taken")


def test_04_wrong_offset_and_damaged_piece_store_nothing(server, client):
    name = client.create_upload(1000).name
    client.write_upload(iter([piece(name, 0, b"x" * 400)]))
    with pytest.raises(OutOfRangeError) as wrong:
        client.write_upload(iter([piece(name, 500, b"y" * 100)]))
    assert wrong.value.metadata["committed_size"] == "400"
    with pytest.raises(DataLossError) as damaged:
        client.write_upload(iter([piece(name, 400, b"y" * 100, crc=7)]))
    assert damaged.value.reason == "CHECKSUM_MISMATCH"
    assert client.get_upload(name).committed_size == 400
    assert files(server.data)[name] == 400
    client.delete_upload(name)


def test_05_wrong_sha256_frees_the_quota(server, client, photo):
    used = client.server_info().limits.storage_used_bytes
    data = photo.read_bytes()
    name = client.create_upload(len(data)).name
    client.write_upload(iter([piece(name, 0, data)]))
    assert client.server_info().limits.storage_used_bytes == used + len(data)
    with pytest.raises(PreconditionError) as caught:
        client.finalize_upload(name, "0" * 64)
    assert caught.value.reason == "SHA256_MISMATCH"
    assert client.server_info().limits.storage_used_bytes == used
    with pytest.raises(NotFoundError):
        client.get_upload(name)
    assert name not in files(server.data)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 96 MiB (64 MiB of which are the service's reserve)."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96m,mode=700", "tmpfs", str(folder)]
    if os.name != "posix" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(folder: Path) -> Path:
    """Take all the space there is."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as stream:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    stream.write(b"\0" * size)
            except OSError:
                continue
    return path


def test_06_a_full_disk_in_upload_store_and_database(small_disk, package, photo):
    server = ServerProcess(small_disk / "data", package)
    with server, server.client() as client:
        name = client.create_upload(8 * MIB).name
        client.write_upload(iter([piece(name, 0, bytes(MIB))]))
        ready = client.upload(photo).name
        job = client.create_avatar(ready, avatar_id="ada", parameters={"slow": "10"})
        until(lambda: client.get_job(job.name).progress.stage == "capture")
        filler = fill(small_disk)
        for call in (
            lambda: client.write_upload(iter([piece(name, MIB, bytes(MIB))])),
            lambda: client.create_upload(1000),
            lambda: client.upload(photo),
        ):
            with pytest.raises(ExhaustedError) as caught:
                call()
            assert caught.value.reason == "STORAGE_FULL" and str(small_disk) not in caught.value.message
        assert client.get_upload(name).committed_size == MIB and client.list_avatars() == []
        time.sleep(3.5)  # the job meets the full disk at its checkpoint or package
        filler.unlink()
        *_, last = client.watch_job(job.name)
        if last.state == job_pb2.JOB_STATE_FAILED:
            assert last.error.reason == "STORAGE_FULL" and last.error.resumable
            client.resume_job(job.name)
            *_, last = client.watch_job(job.name)
        assert last.state == job_pb2.JOB_STATE_SUCCEEDED
        client.write_upload(iter([piece(name, MIB, bytes(MIB))]))
        assert client.get_upload(name).committed_size == 2 * MIB
    assert database_is_sound(server.data)


def test_07_a_read_only_disk(small_disk, package, photo):
    server = ServerProcess(small_disk / "data", package)
    with server, server.client() as client:
        kept = client.import_avatar(client.upload(package).name, avatar_id="kept")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        with pytest.raises(RuntimeError, match="disk error or read-only"):
            server.start()
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    with server, server.client() as client:
        assert client.get_avatar("avatars/kept").revision == kept.revision
        assert client.create_upload(1000).name
    assert database_is_sound(server.data)


def test_07_failing_syncs_never_acknowledge(tmp_path, package, photo):
    flag = tmp_path / "broken"
    server = ServerProcess(tmp_path / "data", package, fsync_fails=str(flag))
    with server, server.client() as client:
        data = os.urandom(2 * MIB)
        name = client.create_upload(len(data)).name
        client.write_upload(iter([piece(name, 0, data[:MIB])]))
        clip = client.upload(photo).name
        job = client.create_avatar(clip, avatar_id="ada", parameters={"slow": "4"})
        flag.touch()
        with pytest.raises(UnavailableError) as caught:
            client.write_upload(iter([piece(name, MIB, data[MIB:])]))
        assert caught.value.reason == "STORAGE_FAILED"
        assert client.get_upload(name).committed_size == MIB
        *_, last = client.watch_job(job.name)
        assert last.state == job_pb2.JOB_STATE_FAILED and last.error.reason == "STORAGE_FAILED"
        assert last.error.code == grpc.StatusCode.UNAVAILABLE.value[0] and last.error.resumable
        assert client.list_avatars() == []
        flag.unlink()
        client.write_upload(iter([piece(name, MIB, data[MIB:])]))
        assert (server.data / name).read_bytes() == data
        client.resume_job(job.name)
        assert client.wait_job(job.name).state == job_pb2.JOB_STATE_SUCCEEDED


NAMES = [
    "avatars/../../etc/passwd", "avatars/%2e%2e", "avatars/%2e%2e%2fetc", "avatars/a\0b",
    "avatars/" + "a" * 10_000,
    "avatars/pers\u043en", "avatars/\uff0e\uff0e/etc", "avatars/..", "avatars/.",
    "avatars/a/../b", "avatars/A",
    "/etc/passwd", "file:///etc/passwd", "avatars/-a", "avatars/a\n", "avatars/ person", "jobs/person",
]  # fmt: skip


def test_08_names_never_reach_the_disk(tmp_path, package):
    """The service's own log of opened files shows that no such name was looked for."""
    audit = tmp_path / "audit.log"
    with ServerProcess(tmp_path / "data", package, audit=str(audit)) as server, server.client() as client:
        client.list_avatars()
        before = audit.stat().st_size
        for name in NAMES:
            for call in (
                client.get_avatar,
                client.rig,
                client.purge_avatar,
                client.get_job,
                client.get_upload,
            ):
                with pytest.raises(InvalidInputError) as caught:
                    call(name if call != client.get_job else name.replace("avatars/", "jobs/", 1).replace(
                        "jobs/person", "avatars/person"))  # fmt: skip
                assert caught.value.reason == "INVALID_NAME", (call, name)
        seen = audit.read_bytes()[before:].decode(errors="replace")
        assert "etc" not in seen and ".." not in seen, seen
        before = audit.stat().st_size
        client.upload(package)  # the log does see files
        assert "uploads" in audit.read_bytes()[before:].decode()
        with server.channel() as channel:
            raw = channel.unary_unary(
                "/lca.v1.AvatarService/GetAvatar", request_serializer=lambda b: b,
                response_deserializer=lambda b: b,
            )  # fmt: skip
            with pytest.raises(grpc.RpcError) as bad:
                raw(b"\x0a\x0aavatars/\xff\xfe", metadata=server.metadata)
            assert translate(bad.value).reason == "MALFORMED_MESSAGE"
