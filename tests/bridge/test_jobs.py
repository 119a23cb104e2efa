"""Jobs run in real worker processes: they fail with a reason, end when told to, and outlive the service."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from lca.errors import AlreadyExistsError, InvalidInputError, LcaError, NotFoundError, PreconditionError
from lca.v1 import job_pb2
from lca_bridge.client import connect
from lca_bridge.client.client import job_error
from lca_bridge.server.app import ServiceThread
from lca_bridge.server.config import ServerConfig

sys.path.insert(0, str(Path(__file__).parent))
from service_processes import until, workers_below

FINAL = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)


def data_folder(service: ServiceThread) -> Path:
    return service.service.core.config.data_dir


def assert_nothing_left(service: ServiceThread) -> None:
    folder = data_folder(service)
    left = [p for part in ("tmp", "uploads", "cas") for p in (folder / part).rglob("*") if p.is_file()]
    assert left == [] and workers_below(folder) == [] and service.service.core.store.uploads() == []


def test_a_clip_with_nobody_fails_with_a_reason_and_leaves_nothing(client, service, clip):
    started = time.monotonic()
    job = client.create_avatar(client.upload(clip).name, display_name="Nobody")
    assert job.state == job_pb2.JOB_STATE_QUEUED and job.attempt == 1
    states, sequence = [], 0
    for seen in client.watch_job(job.name):
        states.append(seen.state)
    assert states[-1] == job_pb2.JOB_STATE_FAILED and sequence == 0
    error = job_error(seen)
    assert isinstance(error, LcaError) and error.message
    # NO_PERSON_FOUND; a checkout without trained weights says so instead
    assert error.reason in ("NO_PERSON_FOUND", "WEIGHTS_MISSING", "RESOURCE_NOT_FOUND"), error.message
    assert time.monotonic() - started < 60
    assert_nothing_left(service)
    assert client.list_avatars() == []
    with pytest.raises(type(error)):
        client.wait_job(job.name)


def test_cancel_kills_the_worker_within_two_seconds(client, service, clip):
    job = client.create_avatar(client.upload(clip).name, avatar_id="stopped")
    until(lambda: workers_below(data_folder(service)))
    asked = time.monotonic()
    assert client.cancel_job(job.name).state in (job_pb2.JOB_STATE_CANCELLING, job_pb2.JOB_STATE_CANCELLED)
    *_, last = client.watch_job(job.name)
    assert time.monotonic() - asked < 2.5  # 2 s and the watcher's 0.2 s interval
    assert last.state == job_pb2.JOB_STATE_CANCELLED and last.error.reason == "CANCELLED"
    again = client.cancel_job(job.name)
    assert again.state == job_pb2.JOB_STATE_CANCELLED
    until(lambda: not workers_below(data_folder(service)))
    until(lambda: not any((data_folder(service) / "tmp").iterdir()))
    assert last.error.resumable and service.service.core.store.uploads(), "the clip is kept for a resume"
    client.delete_job(job.name)
    assert_nothing_left(service)
    with pytest.raises(NotFoundError):
        client.get_job(job.name)


def test_queued_jobs_wait_can_be_cancelled_and_block_their_name(client, service, clip):
    first = client.create_avatar(client.upload(clip).name)
    upload = client.upload(clip).name
    request_id = str(uuid.uuid4())
    second = client.create_avatar(upload, avatar_id="waiting", request_id=request_id)
    assert client.create_avatar(upload, avatar_id="waiting", request_id=request_id).name == second.name
    with pytest.raises(AlreadyExistsError) as caught:
        client.create_avatar(client.upload(clip).name, avatar_id="waiting")
    assert caught.value.reason == "AVATAR_EXISTS"
    with pytest.raises(AlreadyExistsError) as caught:
        client.create_avatar(upload, avatar_id="other")
    assert caught.value.reason == "UPLOAD_IN_USE"
    with pytest.raises(PreconditionError):
        client.delete_upload(upload)
    with pytest.raises(PreconditionError):
        client.delete_job(second.name)
    assert client.get_job(second.name).state == job_pb2.JOB_STATE_QUEUED
    assert client.cancel_job(second.name).state == job_pb2.JOB_STATE_CANCELLED
    client.delete_job(second.name)
    with pytest.raises(NotFoundError):
        client.get_upload(upload)
    client.cancel_job(first.name)
    assert {job.name for job in client.list_jobs()} == {first.name}


def test_a_killed_worker_is_replaced_and_in_the_end_reported(client, service, clip):
    job = client.create_avatar(client.upload(clip).name)
    for attempt in (1, 2, 3):
        (worker, *_) = until(lambda: workers_below(data_folder(service)))
        assert client.get_job(job.name).attempt == attempt
        os.kill(worker, signal.SIGKILL)
        until(lambda gone=worker: gone not in workers_below(data_folder(service)))
    *_, last = client.watch_job(job.name)
    assert last.state == job_pb2.JOB_STATE_FAILED and last.error.reason == "WORKER_LOST"
    assert last.error.resumable and last.attempt == 3
    request_id = str(uuid.uuid4())
    again = client.resume_job(job.name, request_id)
    assert again.attempt == 4 and client.resume_job(job.name, request_id).attempt == 4
    assert again.state == job_pb2.JOB_STATE_QUEUED and not again.HasField("error")
    client.cancel_job(job.name)
    *_, last = client.watch_job(job.name)
    client.delete_job(job.name)
    assert_nothing_left(service)


def test_an_interrupted_job_starts_again_with_the_next_service(tmp_path, clip):
    config = ServerConfig(data_dir=tmp_path, address="127.0.0.1:0")
    with ServiceThread(config) as service, connect(service.target, service.token) as client:
        job = client.create_avatar(client.upload(clip).name)
        until(lambda: workers_below(tmp_path))
    assert workers_below(tmp_path) == []
    with ServiceThread(config) as service, connect(service.target, service.token) as client:
        again = client.get_job(job.name)
        assert again.attempt == 2 and again.state not in FINAL
        client.cancel_job(job.name)
        *_, last = client.watch_job(job.name)
        assert last.state == job_pb2.JOB_STATE_CANCELLED
        client.delete_job(job.name)
        assert_nothing_left(service)


def test_a_watcher_that_comes_late_or_reconnects_gets_one_snapshot(client, clip):
    job = client.create_avatar(client.upload(clip).name)
    seen: list[job_pb2.Job] = []
    watcher = threading.Thread(target=lambda: seen.extend(client.watch_job(job.name)))
    watcher.start()
    client.cancel_job(job.name)
    watcher.join(timeout=20)
    assert seen and seen[-1].state in FINAL
    assert [j.state for j in client.watch_job(job.name)] == [seen[-1].state]
    fractions = [j.progress.fraction for j in seen if j.attempt == 1]
    assert fractions == sorted(fractions)


def test_what_can_be_checked_is_checked_before_a_job_starts(client, service, clip, package_file):
    upload = client.upload(clip).name
    package = client.upload(package_file).name
    photo_less = [upload, client.upload(clip).name]
    with pytest.raises(InvalidInputError) as caught:
        client.create_avatar(package)
    assert caught.value.reason == "WRONG_CONTENT"
    for clips, reason in (([], "BAD_CLIPS"), ([upload, upload], "BAD_CLIPS"), (photo_less, "BAD_CLIPS")):
        with pytest.raises(InvalidInputError) as caught:
            client.create_avatar(clips)
        assert caught.value.reason == reason
    with pytest.raises(NotFoundError):
        client.create_avatar("uploads/nothing")
    for parameters in ({"weights": "../../etc/passwd"}, {"a": "x" * 1000}, {str(i): "1" for i in range(100)}):
        with pytest.raises(InvalidInputError) as caught:
            client.create_avatar(upload, parameters=parameters)
        assert caught.value.reason == "BAD_PARAMETER"
    for name in ("UPPER", "a_b", "-x"):
        with pytest.raises(InvalidInputError):
            client.create_avatar(upload, avatar_id=name)
    checked = client.create_avatar(upload, avatar_id="fine", validate_only=True)
    assert checked.name == "" and client.list_jobs() == []


def test_creation_parameters_are_named_and_typed():
    from dataclasses import dataclass

    from lca_bridge.server.worker import parse_options

    @dataclass(frozen=True)
    class Options:
        count: int = 3
        scale: float = 1.0
        fast: bool = False
        name: str = "x"
        height: float | None = None

    parsed = parse_options(
        Options, {"count": "5", "scale": "0.5", "fast": "true", "name": "y", "height": "1.8"}
    )
    assert parsed == Options(5, 0.5, True, "y", 1.8)
    for bad in ({"nope": "1"}, {"count": "1.5"}, {"fast": "maybe"}, {"height": "tall"}):
        with pytest.raises(InvalidInputError):
            parse_options(Options, bad)
