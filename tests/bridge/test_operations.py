"""Metrics, traces, self-check, limits on the command line, token files, checkpoints."""

from __future__ import annotations

import socket
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from lca.errors import (
    AlreadyExistsError,
    DataLossError,
    ExhaustedError,
    InvalidInputError,
    PreconditionError,
)
from lca_bridge.cli.serve import parse_limits
from lca_bridge.client import connect
from lca_bridge.server.access import SYSTEM, Principal, Tokens, caller, may_see, read_tokens
from lca_bridge.server.app import ServiceThread
from lca_bridge.server.checkpoint import load_capture, save_capture
from lca_bridge.server.config import Limits, ServerConfig
from lca_bridge.server.core import refuse_network_folder
from lca_bridge.server.local_executor import LocalExecutor, visible_gpus
from lca_bridge.server.privacy import PathHider
from lca_bridge.server.selfcheck import check


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_metrics_count_calls_frames_and_jobs(tmp_path, package_file):
    from lca_bridge.wire.messages import pose_to_proto

    address = f"127.0.0.1:{free_port()}"
    config = ServerConfig(data_dir=tmp_path / "d", address="127.0.0.1:0", metrics=address)
    with ServiceThread(config) as service, connect(service.target, service.token) as client:
        name = client.import_avatar(client.upload(package_file).name, avatar_id="ada").name
        with client.animate(name, every=True) as stream:
            assert len(list(stream.play(pose_to_proto(i) for i in range(1, 4)))) == 3
        with client.animate(name, codec="corrections", every=True) as stream:  # many frames to a message
            assert len(list(stream.play(pose_to_proto(i) for i in range(1, 41)))) == 40
        with pytest.raises(Exception, match="avatar"):
            client.get_avatar("avatars/none")
        client.wait_job(client.bake_motion(name, [pose_to_proto(1)], fps=30).name)
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        service_label = 'grpc_server_handled_total{grpc_code="%s",grpc_method="%s",grpc_service="lca.v1.%s"}'
        assert float(lines[service_label % ("NOT_FOUND", "GetAvatar", "AvatarService")]) == 1
        assert float(lines['lca_animate_frames_total{result="sent"}']) == 43
        assert 4 <= float(lines["lca_animate_frame_age_seconds_count"]) < 43
        assert 0 < float(lines["lca_encode_seconds_sum"]) < float(lines["lca_animate_frame_age_seconds_sum"])
        assert float(lines['lca_jobs{kind="BAKE_MOTION",state="SUCCEEDED"}']) == 1
        assert float(lines['lca_job_stage_seconds_count{stage="frames"}']) == 1
        assert float(lines["lca_storage_bytes"]) >= package_file.stat().st_size
        assert "ada" not in text and name not in text, "no ids as labels"
        second = ServerConfig(data_dir=tmp_path / "e", address="127.0.0.1:0", metrics=address)
        with pytest.raises(AlreadyExistsError), ServiceThread(second):
            pass
    with pytest.raises(PreconditionError) as caught:
        ServerConfig(metrics="0.0.0.0:9464").check()
    assert caught.value.reason == "METRICS_EXPOSED"


def test_calls_are_spans_below_the_callers(tmp_path):
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    from opentelemetry import trace
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from lca_bridge.server.tracing import call

    exporter, provider = InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    parent = "0af7651916cd43dd8448eb211c80319c"
    metadata = (("traceparent", f"00-{parent}-b7ad6b7169203331-01"), ("authorization", "Bearer secret"))
    with call("/lca.v1.JobService/GetJob", metadata) as ids:
        assert ids["trace_id"] == parent
    (span,) = exporter.get_finished_spans()
    assert span.name == "lca.v1.JobService/GetJob" and f"{span.context.trace_id:032x}" == parent
    assert "secret" not in span.to_json()


def test_the_self_check_finds_what_is_wrong(tmp_path):
    config = ServerConfig(data_dir=tmp_path / "d", address="127.0.0.1:0")
    findings = {finding.what: finding for finding in check(config)}
    assert findings["address"].ok and findings["decoder"].ok and findings["data folder"].ok
    with ServiceThread(config):
        busy = {finding.what: finding for finding in check(config)}
        assert not busy["data folder"].ok and "DATA_IN_USE" in busy["data folder"].detail
    after = {finding.what: finding for finding in check(config)}
    assert "database sound" in after["data folder"].detail
    exposed = ServerConfig(data_dir=tmp_path / "d", address="0.0.0.0:1")
    assert not next(f for f in check(exposed) if f.what == "address").ok
    (tmp_path / "d" / "lca.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    broken = {finding.what: finding for finding in check(config)}
    assert not broken["data folder"].ok


def test_limits_are_parsed_by_name_and_kind():
    assert parse_limits(["storage_bytes=5", "resume_hours=1.5"], running_jobs=2) == Limits(
        storage_bytes=5, resume_hours=1.5, running_jobs=2
    )
    for bad in ("nope=1", "storage_bytes=x", "storage_bytes", "streams=0", "resume_hours=-1"):
        with pytest.raises(InvalidInputError):
            parse_limits([bad])


@pytest.mark.parametrize("text", ["ada", "ada short", "A long-enough-token-1", "ada t0k3n-t0k3n-t0k3n x"])
def test_token_files_are_read_strictly(tmp_path, text):
    path = tmp_path / "tokens"
    path.write_text(f"# callers\n\nok long-enough-token-0\n{text}\n")
    path.chmod(0o600)
    with pytest.raises(InvalidInputError) as caught:
        read_tokens(path)
    assert "Line 4" in caught.value.message and "long-enough" not in caught.value.message
    path.write_text("ada long-enough-token-0\nbob long-enough-token-0\n")
    with pytest.raises(InvalidInputError):
        read_tokens(path)


def test_tokens_stand_for_principals():
    tokens = Tokens("own-token", {"ada": "adas-token"})
    assert tokens.principal("Bearer own-token") == SYSTEM
    assert tokens.principal("bearer adas-token") == Principal("ada")
    reset = caller.set(Principal("ada"))
    try:
        assert may_see("ada") and not may_see("bob") and not may_see("")
    finally:
        caller.reset(reset)
    assert may_see("bob")


def test_captures_come_back_bit_for_bit(tmp_path):
    from lca_core.capture import Capture

    rng = np.random.default_rng(0)
    f4 = np.float32
    capture = Capture(
        frames=rng.integers(0, 255, (2, 6, 4, 3), np.uint8),
        masks=rng.random((2, 6, 4)).astype(f4),
        Ks=rng.random((2, 3, 3)).astype(f4),
        viewmats=rng.random((2, 4, 4)).astype(f4),
        betas=rng.random(50).astype(f4),
        pose=rng.random((2, 55, 3)).astype(f4),
        transl=rng.random((2, 3)).astype(f4),
        expression=rng.random((2, 52)).astype(f4),
        gaze=rng.random((2, 2, 2)).astype(f4),
        conf={"body": rng.random(2).astype(f4), "joints": rng.random((2, 55)).astype(f4)},
        frame_index=np.array([3, 9]),
        timestamps=np.array([0.1, 0.3]),
        image_size=(4, 6),
        sizes=np.array([[4, 6], [4, 6]]),
        height_m=1.71,
        notes=["dark"],
        metrics={"iou": np.float32(0.5), "list": np.arange(3)},
    )
    path = tmp_path / "capture.npz"
    save_capture(path, capture)
    got = load_capture(path)
    for name, value in vars(capture).items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(got, name), value, strict=True)
    assert got.image_size == (4, 6) and got.height_m == 1.71 and got.notes == ["dark"]
    assert got.metrics == {"iou": 0.5, "list": [0, 1, 2]}
    np.testing.assert_array_equal(got.conf["joints"], capture.conf["joints"])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataLossError):
        load_capture(path)


def test_network_folders_are_refused(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(
        f"dev / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\nd {tmp_path}/local ext4 rw 0 0\n"
    )
    with pytest.raises(PreconditionError) as caught:
        refuse_network_folder(tmp_path / "data", mounts)
    assert caught.value.reason == "NETWORK_FOLDER"
    refuse_network_folder(tmp_path / "local" / "data", mounts)
    refuse_network_folder(Path("/"), mounts)


def test_attempts_take_turns_on_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert visible_gpus() == ("2", "5")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert visible_gpus() == (), "one GPU needs no turns"
    assert LocalExecutor(3, gpus=("2", "5")).capacity == 3


def test_folders_that_others_can_write_to_are_refused(tmp_path):
    folder = tmp_path / "d"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(PreconditionError) as caught, ServiceThread(ServerConfig(data_dir=folder)):
        pass
    assert caught.value.reason == "DATA_FOLDER_OPEN"
    assert not next(f for f in check(ServerConfig(data_dir=folder)) if f.what == "data folder").ok
    folder.chmod(0o700)
    sockets = tmp_path / "s"
    sockets.mkdir()
    sockets.chmod(0o770)
    config = ServerConfig(data_dir=folder, address=f"unix:{sockets / 'lca.sock'}")
    with pytest.raises(InvalidInputError) as open_folder, ServiceThread(config):
        pass
    assert open_folder.value.reason == "SOCKET_FOLDER_OPEN"
    sockets.chmod(0o700)
    with ServiceThread(config):
        modes = {path.name: path.stat().st_mode & 0o777 for path in (sockets / "lca.sock", folder / "lca.db")}
        assert modes == {"lca.sock": 0o600, "lca.db": 0o600}


def test_messages_hide_where_the_service_keeps_its_files(tmp_path):
    hide = PathHider(tmp_path)
    text = f"There is no avatar file '{tmp_path}/cas/ab/abc'. See {tmp_path}, or mine/clip.mp4."
    assert hide(text) == (
        "There is no avatar file 'a file of the service'. See a file of the service, or mine/clip.mp4."
    )


def test_a_bake_that_cannot_fit_is_refused_at_once(tmp_path, package_file):
    from lca_bridge.wire.messages import pose_to_proto

    limits = Limits(storage_bytes=package_file.stat().st_size * 2)
    config = ServerConfig(data_dir=tmp_path / "d", address="127.0.0.1:0", limits=limits)
    with ServiceThread(config) as service, connect(service.target, service.token) as client:
        name = client.import_avatar(client.upload(package_file).name).name
        with pytest.raises(ExhaustedError) as caught:
            client.bake_motion(name, [pose_to_proto(1)] * 200, fps=30)
        assert caught.value.reason == "QUOTA_EXCEEDED" and client.list_jobs() == []


def test_packages_beyond_the_limit_are_not_taken_in(tmp_path, package_file):
    limits = Limits(package_bytes=package_file.stat().st_size - 1)
    config = ServerConfig(data_dir=tmp_path / "d", address="127.0.0.1:0", limits=limits)
    with ServiceThread(config) as service, connect(service.target, service.token) as client:
        with pytest.raises(InvalidInputError) as caught:
            client.upload(package_file)
        assert caught.value.reason == "PACKAGE_INVALID"
