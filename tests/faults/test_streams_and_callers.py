"""Faults 14, 15, 18 to 20, 22 and 23: slow and dead readers, crowds, strangers, old data, second servers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import ServerProcess, until

from lca.errors import ExhaustedError, NotFoundError, UnauthenticatedError
from lca.v1 import animation_service_pb2 as pb
from lca.v1 import animation_service_pb2_grpc
from lca_bridge.client import connect
from lca_bridge.wire.messages import pose_to_proto


def slow_reader(server, person, seconds: float) -> tuple[float, int]:
    """A 60 fps stream read at 10 fps: (oldest frame in seconds, growth of the service in bytes)."""
    stop, sent_at = threading.Event(), {}
    with server.client() as client, client.animate(person) as stream:

        def feed() -> None:
            frame = 0
            while not stop.is_set():
                frame += 1
                sent_at[frame] = time.monotonic()
                stream.push(pose_to_proto(frame))
                time.sleep(1 / 60)
            stream.finish()

        feeder = threading.Thread(target=feed)
        ages: list[float] = []
        feeder.start()
        begun, before = time.monotonic(), None
        for frame in stream.frames():
            ages.append(time.monotonic() - sent_at[frame.frame_id])
            if before is None and time.monotonic() - begun > 1:
                before = server.rss()
            if time.monotonic() - begun > seconds:
                stop.set()
            time.sleep(0.1)
        feeder.join()
        last = stream.counts.finished
        assert last.frames_received == last.frames_sent + last.frames_dropped + last.frames_rejected
        assert last.frames_dropped > last.frames_sent, "most poses are never evaluated"
        ages.sort()
        return ages[int(0.95 * (len(ages) - 1))], server.rss() - (before or 0)


def test_14_a_slow_reader_sees_fresh_frames(server, person):
    age, _ = slow_reader(server, person, 4)
    assert age < 1.0


@pytest.mark.faults
def test_14_a_slow_reader_for_a_minute(server, person):
    age, growth = slow_reader(server, person, 60)
    print(f"slow reader: 95 % of frames are younger than {age * 1e3:.0f} ms, growth {growth >> 10} KiB")
    assert age < 0.5 and growth < 16 << 20


CLIENT = """
import sys, time
from lca_bridge.client import connect
from lca_bridge.wire.messages import pose_to_proto
with connect(sys.argv[1], sys.argv[2], wait_seconds=20) as client, client.animate(sys.argv[3]) as stream:
    for i in range(1, 1 << 30):
        stream.push(pose_to_proto(i))
        frame = stream.take()
        if i == 3:
            print("streaming", flush=True)
        stream.release(frame)
"""


@pytest.fixture(scope="module")
def one_stream(tmp_path_factory, package) -> Iterator[ServerProcess]:
    """A service with room for one stream."""
    folder = tmp_path_factory.mktemp("one") / "data"
    with ServerProcess(folder, package, limits={"streams": 1}) as server, server.client() as client:
        client.import_avatar(client.upload(package).name, avatar_id="person")
        client.evaluate_pose("avatars/person", pose_to_proto(1))
        yield server


def place_is_free(server: ServerProcess) -> bool:
    with server.client() as client:
        try:
            with client.animate("avatars/person"):
                return True
        except ExhaustedError as error:
            assert error.reason == "TOO_MANY_STREAMS"
            return False


def started_client(server: ServerProcess, target: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CLIENT, target or server.target, server.token, "avatars/person"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "streaming\n"
    return child


def test_15_a_killed_client_frees_its_place(one_stream):
    child = started_client(one_stream)
    assert not place_is_free(one_stream)
    child.kill()
    begun = time.monotonic()
    until(lambda: place_is_free(one_stream), 10)
    assert time.monotonic() - begun < 10
    child.wait()


@pytest.mark.faults
@pytest.mark.parametrize("how", ["frozen", "half-open"])
def test_15_a_client_that_falls_silent_frees_its_place(one_stream, how):
    """A frozen process, and a line that swallows everything: found by pings."""
    with Proxy(one_stream.target) as proxy:
        child = started_client(one_stream, proxy.target)
        try:
            if how == "frozen":
                child.send_signal(signal.SIGSTOP)
            else:
                proxy.swallow.set()
            begun = time.monotonic()
            until(lambda: place_is_free(one_stream), 20)
            free_after = time.monotonic() - begun
            print(f"{how}: free after {free_after:.1f} s")
            assert free_after < 10
        finally:
            child.send_signal(signal.SIGCONT)
            child.kill()
            child.wait()


class Proxy:
    """A TCP line that can swallow everything without closing."""

    def __init__(self, target: str) -> None:
        self._there = (target.rpartition(":")[0], int(target.rpartition(":")[2]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.swallow = threading.Event()

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._there)
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if not self.swallow.is_set():
                    sink.sendall(data)
            if not self.swallow.is_set():
                sink.shutdown(socket.SHUT_WR)


def crowd(server: ServerProcess, connections: int, each: int) -> tuple[int, int, float]:
    """(streams granted, refused, slowest of 50 health checks in seconds) with raw slow connections beside."""
    host, _, port = server.target.rpartition(":")
    slow = [socket.create_connection((host, int(port))) for _ in range(20)]
    for line in slow:
        line.sendall(b"PRI * HTTP/2.0\r\n")  # slowloris: never finishes its preface
    start = pb.AnimateRequest(start=pb.AnimateStart(avatar="avatars/person"))
    start.start.output.corrections.SetInParent()
    granted, refused, hold = 0, 0, threading.Event()
    with contextlib.ExitStack() as stack:
        stack.callback(hold.set)

        def requests() -> Iterator[pb.AnimateRequest]:
            yield start
            hold.wait(60)

        calls = []
        for _ in range(connections):
            channel = stack.enter_context(server.channel())
            stub = animation_service_pb2_grpc.AnimationServiceStub(channel)
            calls += [stub.Animate(requests(), metadata=server.metadata) for _ in range(each)]
        for call in calls:
            try:
                granted += next(call).WhichOneof("message") == "started"
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, error
                refused += 1
        slowest = 0.0
        with server.channel() as channel:
            health = health_pb2_grpc.HealthStub(channel)
            health.Check(health_pb2.HealthCheckRequest(), timeout=10)
            for _ in range(50):
                begun = time.monotonic()
                health.Check(health_pb2.HealthCheckRequest(), timeout=10)
                slowest = max(slowest, time.monotonic() - begun)
        hold.set()
        for call in calls:
            call.cancel()
    for line in slow:
        line.close()
    return granted, refused, slowest


def test_18_a_small_crowd(one_stream):
    granted, refused, slowest = crowd(one_stream, 4, 5)
    assert granted == 1 and refused == 19 and slowest < 1.0
    until(lambda: place_is_free(one_stream), 10)


@pytest.mark.faults
def test_18_two_hundred_connections_of_ten_streams(one_stream):
    granted, refused, slowest = crowd(one_stream, 200, 10)
    print(f"2000 streams: {granted} granted, {refused} refused, slowest health check {slowest * 1e3:.0f} ms")
    assert granted >= 1 and granted + refused == 2000
    until(lambda: place_is_free(one_stream), 10)


@pytest.fixture
def tokens(tmp_path) -> Path:
    path = tmp_path / "tokens"
    path.write_text("ada ada-has-a-long-token\ngrace grace-has-a-long-token  # a comment\n")
    path.chmod(0o600)
    return path


def test_19_nobody_sees_what_others_made(tmp_path, package, photo, tokens):
    limits = {"principal_bytes": 3 * package.stat().st_size, "principal_jobs": 1}
    server = ServerProcess(tmp_path / "data", package, tokens=str(tokens), limits=limits)
    with (
        server,
        server.client("ada-has-a-long-token") as ada,
        server.client("grace-has-a-long-token") as grace,
        server.client() as owner,
    ):
        avatar = ada.import_avatar(ada.upload(package).name, avatar_id="hers")
        job = ada.create_avatar(ada.upload(photo).name, parameters={"slow": "8"})
        upload = ada.create_upload(10)
        for call, name in (
            (grace.get_avatar, avatar.name), (grace.rig, avatar.name), (grace.delete_avatar, avatar.name),
            (grace.purge_avatar, avatar.name), (grace.get_job, job.name), (grace.cancel_job, job.name),
            (grace.get_upload, upload.name), (grace.delete_upload, upload.name), (grace.delete_job, job.name),
            (grace.resume_job, job.name), (grace.undelete_avatar, avatar.name),
            (lambda n: grace.evaluate_pose(n, pose_to_proto(1)), avatar.name),
            (lambda n: grace.download(n, tmp_path / "stolen.lca"), avatar.name),
            (lambda n: grace.create_avatar(n), upload.name),
            (lambda n: list(grace.watch_job(n)), job.name),
            (lambda n: grace.bake_motion(n, [pose_to_proto(1)], fps=30), avatar.name),
        ):  # fmt: skip
            with pytest.raises(NotFoundError):
                call(name)
        assert grace.list_avatars() == [] and grace.list_jobs() == []
        assert [a.name for a in owner.list_avatars()] == [avatar.name]
        with pytest.raises(ExhaustedError) as caught:
            ada.create_avatar(ada.upload(photo).name)
        assert caught.value.reason == "TOO_MANY_JOBS"
        with pytest.raises(ExhaustedError) as caught:
            ada.create_upload(2 * package.stat().st_size)
        assert caught.value.reason == "QUOTA_EXCEEDED"
        assert grace.create_upload(package.stat().st_size).name  # her own quota is untouched
        for token in ("wrong-token-wrong-token", "ada-has-a-long-toke", "ada-has-a-long-token ", "é" * 20):
            with server.channel() as channel:
                call = channel.unary_unary("/lca.v1.SystemService/GetServerInfo")
                with pytest.raises(grpc.RpcError) as refused:
                    call(b"", metadata=(("authorization-bin", token.encode()),))
                assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with connect(server.target, "wrong-token-wrong-token") as stranger:
            with pytest.raises(UnauthenticatedError) as caught:
                stranger.list_avatars()
            assert caught.value.reason == "TOKEN_INVALID"
        log = "".join(server.log)
        assert "long-token" not in log and str(server.token) not in log
        ada.cancel_job(job.name)
    tokens.chmod(0o644)
    with pytest.raises(RuntimeError, match="can be read by other users"):
        server.start()


def make_certificates(folder: Path) -> None:
    def openssl(command: str) -> None:
        subprocess.run(["openssl", *command.split()], check=True, capture_output=True, cwd=folder)

    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    openssl(f"req -x509 {key} -days 2 -subj /CN=ca -keyout ca.key -out ca.pem")
    for name, days in (("server", 2), ("ada", 2), ("late", -1)):
        openssl(f"req -new {key} -subj /CN={'localhost' if name == 'server' else name} -keyout {name}.key "
                f"-out {name}.csr")  # fmt: skip
        (folder / "ext").write_text("subjectAltName=DNS:localhost")
        openssl(f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} "
                f"-extfile ext -out {name}.pem")  # fmt: skip


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_19_certificates(tmp_path, package):
    make_certificates(tmp_path)
    tls = [str(tmp_path / name) for name in ("server.pem", "server.key", "ca.pem")]
    server = ServerProcess(tmp_path / "data", package, address="localhost:0", tls=tls)
    ca = (tmp_path / "ca.pem").read_bytes()
    with server:

        def call(name: str) -> bytes:
            pair = ((tmp_path / f"{name}.key").read_bytes(), (tmp_path / f"{name}.pem").read_bytes())
            credentials = grpc.ssl_channel_credentials(ca, *pair)
            with grpc.secure_channel(server.target, credentials) as channel:
                return channel.unary_unary("/lca.v1.AvatarService/ListAvatars")(b"", timeout=3)

        assert call("ada") == b""  # the certificate stands for its holder, no token needed
        with pytest.raises(grpc.RpcError) as late:
            call("late")
        with pytest.raises(grpc.RpcError) as plain, grpc.insecure_channel(server.target) as channel:
            channel.unary_unary("/lca.v1.AvatarService/ListAvatars")(b"", timeout=3)
        for caught in (late, plain):
            assert caught.value.code().name in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


VERSION_1 = """
CREATE TABLE avatars (id TEXT PRIMARY KEY, revision TEXT NOT NULL, created REAL NOT NULL,
    body TEXT NOT NULL) STRICT;
CREATE TABLE uploads (id TEXT PRIMARY KEY, size INTEGER NOT NULL, created REAL NOT NULL,
    body TEXT NOT NULL) STRICT;
CREATE TABLE jobs (id TEXT PRIMARY KEY, state TEXT NOT NULL, attempt INTEGER NOT NULL, created REAL NOT NULL,
    body TEXT NOT NULL) STRICT;
CREATE TABLE requests (method TEXT NOT NULL, request_id TEXT NOT NULL, body_hash TEXT NOT NULL,
    answer TEXT NOT NULL, created REAL NOT NULL, PRIMARY KEY (method, request_id)) STRICT;
CREATE INDEX avatars_created ON avatars (created DESC, id);
CREATE INDEX jobs_created ON jobs (created DESC, id);
PRAGMA user_version=1;
"""


def test_20_data_of_the_version_before_and_after(tmp_path, package):
    import hashlib

    data = tmp_path / "data"
    revision = hashlib.sha256(package.read_bytes()).hexdigest()
    blob = data / "cas" / revision[:2] / revision
    blob.parent.mkdir(parents=True)
    shutil.copy(package, blob)
    row = {"id": "old", "display_name": "Old", "revision": revision, "labels": {}, "create_job": "",
           "stats": {"gaussian_count": 200}, "created": 1e9, "updated": 1e9}  # fmt: skip
    with contextlib.closing(sqlite3.connect(data / "lca.db")) as db:
        db.executescript(VERSION_1)
        db.execute("INSERT INTO avatars VALUES (?,?,?,?)", ("old", revision, 1e9, json.dumps(row)))
        request = "5a6b3b0e-7a2f-4f57-9d56-0123456789ab"
        db.execute("INSERT INTO requests VALUES ('CreateUpload',?,'hash','u1',?)", (request, time.time()))
        db.commit()
    server = ServerProcess(data, package)
    with server, server.client() as client:
        assert client.get_avatar("avatars/old").display_name == "Old"
        assert client.evaluate_pose("avatars/old", pose_to_proto(1)).means.shape == (200, 3)
        client.delete_avatar("avatars/old")
        client.undelete_avatar("avatars/old")
    with contextlib.closing(sqlite3.connect(data / "lca.db")) as db:
        assert db.execute("SELECT principal, request_id FROM requests").fetchall() == [("", request)]
        db.execute("PRAGMA user_version=99")
    before = (data / "lca.db").read_bytes()
    with pytest.raises(RuntimeError, match="newer LCA Bridge"):
        server.start()
    assert (data / "lca.db").read_bytes() == before


def test_23_a_second_server_refuses_to_start(server, package, tmp_path):
    with pytest.raises(RuntimeError, match="Another LCA service is using this data folder"):
        ServerProcess(server.data, package).start()
    with pytest.raises(RuntimeError, match="Another program may use it"):
        ServerProcess(tmp_path / "other", package, address=server.target).start()


def test_22_a_shared_memory_client_that_exits_leaves_the_segment(one_stream):
    """Its exit must not unlink what the service writes to: the next stream works, nothing is left over."""
    before = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    for _ in range(2):
        child = started_client(one_stream)
        child.send_signal(signal.SIGTERM)
        child.wait()
        until(lambda: place_is_free(one_stream), 10)
    if before:
        assert {name for name in os.listdir("/dev/shm") if name.startswith("lca")} <= before


def test_drain_says_not_serving_first(tmp_path, package):
    with ServerProcess(tmp_path / "data", package) as server, server.channel() as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(grpc.RpcError):
            assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert server.process.wait(15) == 0
