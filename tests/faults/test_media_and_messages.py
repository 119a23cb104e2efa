"""Faults 9 to 13: hostile media, compressed bombs, packages, messages and poses."""

from __future__ import annotations

import io
import random
import stat
import struct
import time
import zipfile
import zlib
from pathlib import Path

import grpc
import numpy as np
import pytest
import zstandard
from harness import resident

from lca.errors import DataLossError, InvalidInputError, LcaError
from lca.v1 import animation_service_pb2 as pb
from lca.v1 import animation_service_pb2_grpc, avatar_service_pb2, avatar_service_pb2_grpc
from lca_bridge.client.errors import translate
from lca_bridge.wire.frames import decompress_exactly
from lca_bridge.wire.messages import pose_to_proto

MEDIA_REASONS = {"MEDIA_UNREADABLE", "PACKAGE_INVALID", "CHECKSUM_MISMATCH", "SCHEMA_UNSUPPORTED"}
GROWTH_BYTES = 64 << 20


def atom(data: bytes, name: bytes) -> int:
    return data.index(name) + 4


def movie(path: Path, *, seconds: int = 0, sound_only: bool = False) -> bytes:
    """A small real movie; ``seconds`` puts its one frame that far into the future."""
    import av

    with av.open(str(path), "w") as container:
        if sound_only:
            stream = container.add_stream("aac", rate=16000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 16000
            packets = [*stream.encode(frame), *stream.encode()]
        else:
            stream = container.add_stream("mpeg4", rate=1)
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            packets = []
            for at in (0, seconds):
                frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                frame.pts = at
                packets += stream.encode(frame)
            packets += stream.encode()
        for packet in packets:
            container.mux(packet)
    return path.read_bytes()


def huge(data: bytes) -> bytes:
    """The movie says it has 100,000 x 100,000 pixels (track header and sample entry)."""
    out = bytearray(data)
    entry = data.index(b"avc1", data.index(b"stsd"))
    struct.pack_into(">HH", out, entry + 28, 65535, 65535)
    header = atom(data, b"tkhd")
    struct.pack_into(">II", out, header + 76, 0xFFFFFFFF, 0xFFFFFFFF)
    return bytes(out)


def huge_png() -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 20))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def no_rate(data: bytes) -> bytes:
    """A time scale of 0 in the media header."""
    out = bytearray(data)
    struct.pack_into(">I", out, atom(data, b"mdhd") + 12, 0)
    return bytes(out)


def test_09_hostile_media(server, client, clip, tmp_path):
    good = clip.read_bytes()
    cases = {
        "zero bytes": b"",
        "zeros": bytes(5000),
        "cut off": good[: len(good) // 3],
        "text": b"this is no video\n" * 100,
        "100k x 100k png": huge_png(),
        "ten hours": movie(tmp_path / "long.mp4", seconds=36_000),
        "sound only": movie(tmp_path / "sound.mp4", sound_only=True),
        "playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    }
    before = server.rss()
    for what, data in cases.items():
        path = tmp_path / f"{what}.mp4"
        path.write_bytes(data)
        with pytest.raises(LcaError) as caught:
            client.upload(path)
        assert caught.value.reason == "MEDIA_UNREADABLE", (what, caught.value)
        assert "/" not in caught.value.message.replace("video/", ""), caught.value.message
    (tmp_path / "huge.mp4").write_bytes(huge(good))  # the container lies, the pictures inside do not
    try:
        done = client.upload(tmp_path / "huge.mp4")
        assert (done.media_info.width, done.media_info.height) == (160, 240)
        client.delete_upload(done.name)
    except LcaError as error:
        assert error.reason == "MEDIA_UNREADABLE"
    (tmp_path / "rate.mp4").write_bytes(no_rate(good))
    try:  # FFmpeg repairs it, or it is refused
        done = client.upload(tmp_path / "rate.mp4")
        assert done.media_info.frame_count > 0
        client.delete_upload(done.name)
    except LcaError as error:
        assert error.reason == "MEDIA_UNREADABLE"
    assert server.rss() - before < GROWTH_BYTES


def mutated(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 3, 10, 100])):
        at = rng.randrange(len(out))
        match rng.randrange(4):
            case 0:
                out[at] = rng.randrange(256)
            case 1:
                out[at : at + 4] = rng.choice(
                    [b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff", b"\x80\0\0\0"]
                )
            case 2:
                del out[at : at + rng.randrange(1, 64)]
            case _:
                out[at:at] = rng.randbytes(rng.randrange(1, 64))
    return bytes(out)


def fuzz_media(server, client, clip: Path, tmp_path: Path, count: int) -> dict[str, int]:
    """How mutated clips end, by reason; all documented, the service's memory flat, its children gone."""
    rng, good, ends = random.Random(9), clip.read_bytes(), {}
    before = server.rss()
    slowest = 0.0
    for i in range(count):
        path = tmp_path / "mutated.mp4"
        path.write_bytes(mutated(good, rng))
        begun = time.monotonic()
        try:
            client.delete_upload(client.upload(path).name)
            reason = "OK"
        except LcaError as error:
            reason = error.reason
            assert reason in MEDIA_REASONS, (i, error)
        slowest = max(slowest, time.monotonic() - begun)
        ends[reason] = ends.get(reason, 0) + 1
    growth = server.rss() - before
    assert growth < GROWTH_BYTES and client.server_info().api_version == "v1"
    print(f"{count} mutated clips: {ends}, service grew {growth >> 20} MiB, slowest {slowest:.1f} s")
    return ends


def test_09_a_few_mutated_clips(server, client, clip, tmp_path):
    assert sum(fuzz_media(server, client, clip, tmp_path, 5).values()) == 5


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_09_a_thousand_mutated_clips(server, client, clip, tmp_path):
    ends = fuzz_media(server, client, clip, tmp_path, 1000)
    assert ends.get("MEDIA_UNREADABLE", 0) > 50


def test_10_compressed_bombs():
    gigabyte = zstandard.ZstdCompressor(level=19)
    sized = gigabyte.compress(bytes(256 << 20))
    whole = gigabyte.compressobj()
    unsized = whole.compress(bytes(256 << 20)) + whole.flush()
    window = zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    ).compressobj()
    wide = window.compress(bytes(4096)) + window.flush()
    good = zstandard.compress(bytes(4096))
    before = resident()
    for bomb in (sized, unsized, wide, good[:-3], b"", b"\x28\xb5\x2f\xfd", good + good):
        begun = time.monotonic()
        with pytest.raises((InvalidInputError, DataLossError)):
            decompress_exactly(bomb, 4095 if bomb is wide else 8192 if bomb == good + good else 4096)
        assert time.monotonic() - begun < 0.25
    assert resident() - before < 16 << 20
    assert decompress_exactly(good, 4096) == bytes(4096)


def archive(edit) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        edit(target)
    return out.getvalue()


def link(target: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("avatar.json")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    target.writestr(info, "/etc/passwd")


def many(target: zipfile.ZipFile) -> None:
    for i in range(20_000):
        target.writestr(zipfile.ZipInfo(str(i)), b"")


def forged(count: int) -> bytes:
    """An end record that speaks of a million entries."""
    data = bytearray(archive(lambda z: z.writestr("avatar.json", "{}")))
    end = data.rindex(b"PK\x05\x06")
    struct.pack_into("<HH", data, end + 8, min(count, 65535), min(count, 65535))
    return bytes(data)


def crowded(entries: int, zip64: bool) -> bytes:
    """A directory of so many entries, whatever its end record says about their number."""
    name = b"a"
    one = (
        struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0, 0, 0, 0, 0, 0) + name
    )
    directory = one * entries
    said = 47 if zip64 else len(directory)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, said, 0, 0)
    if not zip64:
        return b"PK\3\4" + directory + end
    start = 4 + len(directory)
    real = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, entries, entries, len(directory), 4)
    return b"PK\3\4" + directory + real + struct.pack("<4sLQL", b"PK\6\7", 0, start, 1) + end


@pytest.mark.parametrize("zip64", [False, True])
def test_11_a_million_entries_are_not_even_read(zip64, tmp_path):
    from lca_bridge.wire.package import read_package

    data = crowded(1_000_000, zip64)
    small = tmp_path / "small.zip"
    small.write_bytes(crowded(1000, zip64))
    with zipfile.ZipFile(small) as known:
        assert len(known.infolist()) == 1000, "zipfile reads what the directory holds"
    before, begun = resident(), time.monotonic()
    with pytest.raises(InvalidInputError) as caught:
        read_package(data)
    assert caught.value.reason == "PACKAGE_INVALID"
    assert time.monotonic() - begun < 0.5 and resident() - before < 16 << 20


def test_11_packages_that_climb_out(server, client, tmp_path):
    cases = {
        "up": archive(lambda z: z.writestr("../evil", b"x")),
        "absolute": archive(lambda z: z.writestr("/etc/evil", b"x")),
        "backslash": archive(lambda z: z.writestr("..\\evil", b"x")),
        "link": archive(link),
        "many": archive(many),
        "a million": forged(1_000_000),
    }
    before = server.rss()
    for what, data in cases.items():
        path = tmp_path / "bad.lca"
        path.write_bytes(data)
        begun = time.monotonic()
        with pytest.raises(InvalidInputError) as caught:
            client.upload(path)
        assert caught.value.reason in MEDIA_REASONS, (what, caught.value)
        assert time.monotonic() - begun < 5
    assert server.rss() - before < GROWTH_BYTES
    assert not list(server.data.parent.rglob("evil"))


def test_12_messages_beyond_all_limits(server, client):
    with server.channel(("grpc.max_send_message_length", -1)) as channel:
        get = channel.unary_unary(
            "/lca.v1.AvatarService/GetAvatar",
            request_serializer=lambda b: b,
            response_deserializer=lambda b: b,
        )
        unknown = b"".join(
            bytes([0x80 | (n << 3 & 0x78), n >> 4 & 0x7F or 1]) + b"\x01" for n in range(2, 1002)
        )
        nested = b"\x13" * 100_000 + b"\x14" * 100_000
        bodies = {
            "garbage": b"\xff" * 50,
            "nested groups": nested,
            "unknown fields": unknown,
            "too large": bytes(33 << 20),
        }
        for what, body in bodies.items():
            with pytest.raises(grpc.RpcError) as caught:
                get(body, metadata=server.metadata)
            assert caught.value.code().name in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"), what
        with pytest.raises(grpc.RpcError) as caught:
            get(b"", metadata=(*server.metadata, ("x-large", "v" * (20 << 10))))
        assert caught.value.code().name in ("RESOURCE_EXHAUSTED", "INTERNAL", "UNAVAILABLE")
        stub = avatar_service_pb2_grpc.AvatarServiceStub(channel)  # the same connection goes on
        stub.ListAvatars(avatar_service_pb2.ListAvatarsRequest(), metadata=server.metadata)


def animate(
    server, requests: list[pb.AnimateRequest]
) -> tuple[list[pb.AnimateResponse], grpc.RpcError | None]:
    with server.channel() as channel:
        call = animation_service_pb2_grpc.AnimationServiceStub(channel).Animate(
            iter(requests), metadata=server.metadata, timeout=60
        )
        got: list[pb.AnimateResponse] = []
        try:
            got.extend(call)
        except grpc.RpcError as error:
            return got, error
        return got, None


def test_13_bad_poses_are_warnings_until_there_are_too_many(server, person):
    start = pb.AnimateRequest(start=pb.AnimateStart(avatar=person))
    start.start.delivery.mode = pb.DELIVERY_MODE_EVERY
    start.start.delivery.initial_credit = 8
    start.start.output.gaussians.SetInParent()

    def pose(frame: int, **change) -> pb.AnimateRequest:
        message = pose_to_proto(frame, joint_rotations=np.zeros((55, 3)))
        for name, value in change.items():
            del getattr(message, name)[:]
            getattr(message, name).extend(value)
        return pb.AnimateRequest(pose=message)

    bad = [
        pose(2, joint_rotations=[float("nan")] * 165),
        pose(3, joint_rotations=[float("inf")] * 165),
        pose(4, joint_rotations=[0.0] * 12),
        pose(5, translation=[1e30, float("-inf"), 0]),
        pose(1),  # frame_id goes back
    ]
    got, error = animate(server, [start, pose(1), *bad, pose(10, arkit_weights=[1e30] * 52), pose(11)])
    kinds = [message.WhichOneof("message") for message in got]
    assert error is None and kinds[0] == "started" and kinds[-1] == "finished"
    assert kinds.count("warning") >= 4 and kinds.count("frame") >= 2
    finished = got[-1].finished
    received = finished.frames_received
    assert received == finished.frames_sent + finished.frames_dropped + finished.frames_rejected

    hundred = [pose(i + 2, joint_rotations=[float("nan")] * 165) for i in range(100)]
    got, error = animate(server, [start, pose(1), *hundred, pose(300)])
    assert error is not None and error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert translate(error).reason == "TOO_MANY_BAD_POSES"
