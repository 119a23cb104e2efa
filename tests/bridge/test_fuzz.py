"""Every method against hostile messages: only documented codes, the service alive, memory bounded.

A sample runs always; ``-m faults`` sends 10,000 messages to each method.
"""

from __future__ import annotations

import logging
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from lca.errors import Category, LcaError
from lca.v1 import animation_service_pb2 as pb
from lca.v1 import image_pb2, motion_pb2, upload_service_pb2
from lca_bridge.client import LcaClient, connect
from lca_bridge.client.errors import translate
from lca_bridge.server.app import ServiceThread
from lca_bridge.server.config import Limits, ServerConfig

sys.path.insert(0, str(Path(__file__).parent))
from bridge_fuzzing import Fuzzer, Method, methods
from service_processes import resident

METHODS = methods()
DOCUMENTED = {category.value for category in Category} - {"INTERNAL"}
MANY = 10_000
AT_ONCE = 16
PER_STREAM = 20
SECONDS = 300.0
"""Deadline of a call: whoever reaches it hangs."""
GROWTH_BYTES = 200 << 20


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[ServiceThread]:
    limits = Limits(queued_jobs=2, open_uploads=8)
    folder = tmp_path_factory.mktemp("fuzz")
    with ServiceThread(ServerConfig(data_dir=folder, address="127.0.0.1:0", limits=limits)) as running:
        yield running


@pytest.fixture(scope="module")
def client(service, package) -> Iterator[LcaClient]:
    with connect(service.target, service.token, wait_seconds=10) as connected:
        # What evaluation and rendering load once is no growth.
        ensure_person(connected, package)
        connected.evaluate_pose("avatars/person", motion_pb2.PoseFrame())
        connected.render_still("avatars/person", output=image_pb2.ImageOutput(width=16, height=16))
        yield connected


@pytest.fixture(scope="module")
def channel(service) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(service.target) as opened:
        yield opened


@pytest.fixture(scope="module")
def package(tmp_path_factory, package_bytes) -> Path:
    path = tmp_path_factory.mktemp("package") / "person.lca"
    path.write_bytes(package_bytes)
    return path


def ensure_person(client: LcaClient, package: Path) -> None:
    """Deletions are fuzzed, too: put the avatar back."""
    if not any(avatar.name == "avatars/person" for avatar in client.list_avatars()):
        for job in client.list_jobs():
            client.cancel_job(job.name)
        try:
            client.undelete_avatar("avatars/person")
        except LcaError:
            client.import_avatar(client.upload(package).name, avatar_id="person")


def check(found: grpc.RpcError) -> str:
    """The reason of a failed call; fails on a code that is not documented or has no ErrorInfo."""
    code = found.code().name
    assert code in DOCUMENTED, f"{code}: {found.details()}"
    error = translate(found)
    assert error.reason != code or code in ("UNIMPLEMENTED", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"), error
    text = f"{error.message} {error.metadata}"
    assert "Traceback" not in text and "site-packages" not in text and ".py" not in text
    return error.reason


def send(channel: grpc.Channel, method: Method, token: str, messages: list[bytes]) -> Counter[str]:
    """One call per message, or streams of a few; how each ended, by reason."""
    same = {"request_serializer": lambda b: b, "response_deserializer": lambda b: b}
    keywords = {"metadata": (("authorization", f"Bearer {token}"),), "timeout": SECONDS}
    ends: Counter[str] = Counter()
    if method.streams_in:
        kind = channel.stream_stream if method.streams_out else channel.stream_unary
        call = kind(method.path, **same)
        for at in range(0, len(messages), PER_STREAM):
            batch = iter(messages[at : at + PER_STREAM])
            try:
                result = call(batch, **keywords)
                for _ in result if method.streams_out else ():
                    pass
                ends["OK"] += 1
            except grpc.RpcError as error:
                ends[check(error)] += 1
        return ends
    if method.streams_out:
        stream = channel.unary_stream(method.path, **same)
        for message in messages:
            try:
                for _ in stream(message, **keywords):
                    pass
                ends["OK"] += 1
            except grpc.RpcError as error:
                ends[check(error)] += 1
        return ends
    unary = channel.unary_unary(method.path, **same)
    for at in range(0, len(messages), AT_ONCE):
        flying = [unary.future(message, **keywords) for message in messages[at : at + AT_ONCE]]
        for future in flying:
            try:
                future.result()
                ends["OK"] += 1
            except grpc.RpcError as error:
                ends[check(error)] += 1
    return ends


def _final_job(client: LcaClient) -> str:
    done = client.list_jobs(states=[4, 5, 6])
    if done:
        return done[0].name
    job = client.bake_motion("avatars/person", [motion_pb2.PoseFrame()], fps=30)
    return client.wait_job(job.name).name


def _open_upload(client: LcaClient) -> str:
    return client.create_upload(1 << 20, sha256="ab" * 32, reuse=True).name


def _drop_uploads(service: ServiceThread, client: LcaClient) -> None:
    """What hostile messages left open would fill all places."""
    assert service.service is not None
    for row in service.service.core.store.uploads():
        client.delete_upload(f"uploads/{row.id}")


def _sound_pieces(messages: list[bytes], client: LcaClient, upload: str) -> None:
    """Most streams begin with a piece that continues the upload."""
    data = b"lca" * 11
    at = client.get_upload(upload).committed_size
    for first in range(0, len(messages), PER_STREAM):
        if first // PER_STREAM % 5:
            piece = upload_service_pb2.WriteUploadRequest(
                name=upload, offset=at, data=data, crc32=zlib.crc32(data)
            )
            messages[first] = piece.SerializeToString()
            at += len(data)


def make(fuzzer: Fuzzer, method: Method, count: int) -> list[bytes]:
    """Messages; streams mostly begin as they should and are whole, so that what follows is looked at."""
    if not method.streams_in:
        return list(fuzzer.messages(method.request, count))
    messages: list[bytes] = []
    while len(messages) < count:
        noise = fuzzer.random.choice([0.0, 0.0, 0.2])
        messages += fuzzer.messages(method.request, min(PER_STREAM, count - len(messages)), noise)
    if method.name != "Animate":
        return messages
    for at in range(0, len(messages), PER_STREAM):
        if fuzzer.random.random() < 0.8:
            start = pb.AnimateStart(avatar="avatars/person")
            start.delivery.mode = fuzzer.random.randrange(3)  # type: ignore[assignment]
            match fuzzer.random.randrange(3):
                case 0:
                    start.output.gaussians.encoding = fuzzer.random.randrange(4)  # type: ignore[assignment]
                    start.output.gaussians.codec = fuzzer.random.randrange(4)  # type: ignore[assignment]
                    start.output.gaussians.prefer_shared_memory = fuzzer.random.random() < 0.5
                case 1:
                    start.output.corrections.SetInParent()
                case _:
                    start.output.image.width = start.output.image.height = 16
            messages[at] = pb.AnimateRequest(start=start).SerializeToString()
    return messages


def fuzz(
    count: int,
    method: Method,
    service: ServiceThread,
    client: LcaClient,
    channel: grpc.Channel,
    package: Path,
) -> Counter[str]:
    ensure_person(client, package)
    before, ends = resident(), Counter[str]()
    step = 500
    for at in range(0, count, step):
        _drop_uploads(service, client)
        upload = _open_upload(client)
        names = ["avatars/person", _final_job(client), upload, client.upload(package, reuse=True).name]
        fuzzer = Fuzzer(sum(method.path.encode()) + at, names, COLLECTIONS.get(method.service, "avatars"))
        messages = make(fuzzer, method, min(step, count - at))
        if method.name == "WriteUpload":
            _sound_pieces(messages, client, upload)
        ends += send(channel, method, service.token or "", messages)
        ensure_person(client, package)
    assert client.server_info().api_version == "v1", "the service is alive"
    assert resident() - before < GROWTH_BYTES
    return ends


COLLECTIONS = {"JobService": "jobs", "UploadService": "uploads"}
IDS = [method.name for method in METHODS]


@pytest.fixture
def no_internal_errors(caplog) -> Iterator[None]:
    with caplog.at_level(logging.ERROR):
        yield
    assert not [r.getMessage() for r in caplog.records if r.name.startswith("lca")]


@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_a_sample_of_hostile_messages(method, service, client, channel, package, no_internal_errors):
    ends = fuzz(200, method, service, client, channel, package)
    assert sum(ends.values()) > 0
    if method.name != "GetServerInfo":
        assert len(ends) > 1, "messages reach more than one branch"


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_ten_thousand_hostile_messages(method, service, client, channel, package, no_internal_errors):
    print(method.path, dict(fuzz(MANY, method, service, client, channel, package).most_common()))
