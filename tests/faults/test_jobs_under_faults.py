"""Faults 2, 16, 17 and 21: equal requests, cancellation at every stage, workers that die or freeze, wrong
clocks."""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid

import grpc
import pytest
from harness import ServerProcess, files, until

from lca.errors import NotFoundError, PreconditionError
from lca.v1 import avatar_service_pb2, avatar_service_pb2_grpc, job_pb2, job_service_pb2, job_service_pb2_grpc
from lca_bridge.client.errors import translate

SUCCEEDED, FAILED = job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED


def create(client, photo, **parameters: str) -> job_pb2.Job:
    return client.create_avatar(client.upload(photo).name, parameters=parameters)


def clean_up(client) -> None:
    for job in client.list_jobs():
        client.cancel_job(job.name)
        list(client.watch_job(job.name))
        client.delete_job(job.name)
    for avatar in client.list_avatars(show_deleted=True):
        if avatar.name != "avatars/person":
            client.purge_avatar(avatar.name)


def test_02_one_request_twenty_times_is_one_job(server, client, photo):
    upload = client.upload(photo).name
    request = avatar_service_pb2.CreateAvatarRequest(clips=[upload], request_id=str(uuid.uuid4()))
    answers: list[str] = []
    with server.channel() as channel:
        stub = avatar_service_pb2_grpc.AvatarServiceStub(channel)

        def call() -> None:
            answers.append(stub.CreateAvatar(request, metadata=server.metadata).name)

        threads = [threading.Thread(target=call) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 20 and len(set(answers)) == 1
        request.display_name = "somebody else"
        with pytest.raises(grpc.RpcError) as caught:
            stub.CreateAvatar(request, metadata=server.metadata)
        assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
        assert translate(caught.value).reason == "REQUEST_ID_REUSED"
    assert [job.name for job in client.list_jobs()] == answers[:1]
    clean_up(client)


@pytest.mark.parametrize("stage", ["queued", "capture", "model"])
def test_16_cancel_at_each_stage(server, client, photo, stage):
    blocker = create(client, photo, slow="4") if stage == "queued" else None
    job = create(client, photo, slow="8")
    if stage != "queued":
        until(lambda: client.get_job(job.name).progress.stage == stage)
    asked = time.monotonic()
    first, second = client.cancel_job(job.name), client.cancel_job(job.name)
    assert {first.state, second.state} <= {job_pb2.JOB_STATE_CANCELLING, job_pb2.JOB_STATE_CANCELLED}
    *_, last = client.watch_job(job.name)
    assert last.state == job_pb2.JOB_STATE_CANCELLED and last.error.resumable
    assert time.monotonic() - asked < 3
    assert client.cancel_job(job.name).state == job_pb2.JOB_STATE_CANCELLED
    if stage == "model":  # what was captured is kept
        assert last.checkpoint == "capture"
        client.resume_job(job.name)
        *_, last = client.watch_job(job.name)
        assert last.state == SUCCEEDED and last.attempt == 2
        with pytest.raises(PreconditionError) as caught:
            client.resume_job(job.name)
        assert caught.value.reason == "NOT_RESUMABLE"
    if blocker:
        client.cancel_job(blocker.name)
    clean_up(client)
    assert {name.partition("/")[0] for name in files(server.data)} <= {"cas"}


def test_16_a_deadline_ends_the_call_not_the_job(server, client, photo):
    job = create(client, photo, slow="3")
    with server.channel() as channel:
        stub = job_service_pb2_grpc.JobServiceStub(channel)
        started = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            stub.WaitJob(job_service_pb2.WaitJobRequest(name=job.name), timeout=0.3, metadata=server.metadata)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - started < 1.5
    assert client.wait_job(job.name).state == SUCCEEDED
    clean_up(client)


@pytest.mark.parametrize(
    "fault,reason",
    [
        ("oom", "OUT_OF_MEMORY"),
        ("segfault", "WORKER_LOST"),
        ("exit", "WORKER_LOST"),
        ("freeze", "WORKER_SILENT"),
    ],
)
def test_17_a_lost_worker_is_replaced(server, client, photo, fault, reason):
    job = create(client, photo, fault=fault, until="1")
    *_, last = client.watch_job(job.name)
    assert last.state == SUCCEEDED and last.attempt == 2
    if fault == "segfault":  # again and again: it ends, and says that it can be resumed
        job = create(client, photo, fault=fault, at="capture")
        *_, last = client.watch_job(job.name)
        assert last.state == FAILED and last.attempt == 3
        assert last.error.reason == reason and last.error.resumable
        assert "/" not in last.error.message
    clean_up(client)
    assert not server.workers()


def test_17_other_calls_do_not_notice_a_frozen_worker(server, client, photo, person):
    from lca_bridge.wire.messages import pose_to_proto

    client.evaluate_pose(person, pose_to_proto(1))
    job = create(client, photo, fault="freeze", until="1")
    until(lambda: client.get_job(job.name).progress.stage == "model")
    slowest = 0.0
    for i in range(20):
        begun = time.monotonic()
        client.evaluate_pose(person, pose_to_proto(i + 1))
        slowest = max(slowest, time.monotonic() - begun)
    assert slowest < 2.0
    assert client.wait_job(job.name).attempt == 2
    clean_up(client)


def test_17_errors_tell_nothing_of_the_inside(server, client, photo):
    job = create(client, photo, fault="error")
    *_, last = client.watch_job(job.name)
    assert last.state == FAILED and last.error.reason == "CREATION_FAILED" and not last.error.resumable
    assert "secret" not in last.error.message and ".py" not in last.error.message
    with pytest.raises(PreconditionError):
        client.resume_job(job.name)
    job = create(client, photo, fault="disk", until="1")
    *_, last = client.watch_job(job.name)
    assert last.error.reason == "STORAGE_FULL" and last.error.resumable
    client.resume_job(job.name)
    assert client.wait_job(job.name).state == SUCCEEDED
    clean_up(client)


def test_purge_erases_the_person_and_what_was_made_of_it(server, client, photo):
    from lca_bridge.wire.messages import pose_to_proto

    job = client.create_avatar(
        client.upload(photo).name, avatar_id="gone", display_name="Grace Unforgettable"
    )
    client.wait_job(job.name)
    bake = client.bake_motion("avatars/gone", [pose_to_proto(1)], fps=30)
    client.wait_job(bake.name)
    running = client.bake_motion("avatars/gone", [pose_to_proto(1)] * 200, fps=30)
    client.delete_avatar("avatars/gone")
    assert [a.name for a in client.list_avatars() if a.name == "avatars/gone"] == []
    with pytest.raises(NotFoundError) as caught:
        client.evaluate_pose("avatars/gone", pose_to_proto(1))
    assert caught.value.reason == "AVATAR_DELETED"
    assert client.undelete_avatar("avatars/gone").name == "avatars/gone"
    client.purge_avatar("avatars/gone")
    for name in (job.name, bake.name, running.name):
        with pytest.raises(NotFoundError):
            client.get_job(name)
    assert not server.workers()
    for path in server.data.rglob("*"):
        if path.is_file():
            assert b"Unforgettable" not in path.read_bytes(), path.name
    assert not [name for name in files(server.data) if name.startswith(("results/", "uploads/", "tmp/"))]


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_21_a_clock_that_jumps_loses_and_doubles_nothing(tmp_path, package, photo, jump):
    clock = tmp_path / "clock"
    clock.write_text("0")
    server = ServerProcess(tmp_path / "data", package, clock=str(clock))
    with server, server.client() as client:
        client.import_avatar(client.upload(package).name, avatar_id="old")
        job = create(client, photo, slow="4")
        until(lambda: client.get_job(job.name).progress.stage == "capture")
        clock.write_text(str(jump))
        *_, last = client.watch_job(job.name)
        assert last.state == SUCCEEDED and last.attempt == 1
        waiting = create(client, photo, slow="8")
        until(lambda: client.get_job(waiting.name).progress.stage == "capture")
        server.process.send_signal(signal.SIGKILL)
    clock.write_text("0")
    with server, server.client() as client:
        *_, last = client.watch_job(waiting.name)
        assert last.state == SUCCEEDED and last.attempt == 2
        assert len(client.list_avatars()) == 3


def test_a_stopped_service_requeues_without_counting_a_loss(tmp_path, package, photo):
    server = ServerProcess(tmp_path / "data", package, limits={"job_attempts": 2})
    with server, server.client() as client:
        job = create(client, photo, slow="8")
    for _ in range(2):
        with server, server.client() as client:
            until(lambda: client.get_job(job.name).state == job_pb2.JOB_STATE_RUNNING)
            os.kill(server.process.pid, signal.SIGTERM)
            server.process.wait(15)
    with server, server.client() as client:
        assert client.wait_job(job.name).state == SUCCEEDED
