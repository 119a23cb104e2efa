"""Fault 1: the service is killed at any moment of a creation; what it acknowledged is there afterwards,
once."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import threading
import time
import uuid
from pathlib import Path

import pytest
from harness import ServerProcess, database_is_sound, files, until

from lca.errors import LcaError
from lca.v1 import job_pb2
from lca_bridge.client import connect

FINAL = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)
CREATION_SECONDS = 1.6
LIMITS = {"job_attempts": 1000, "running_jobs": 1}


class Customer:
    """Makes one avatar after the other and remembers every acknowledged answer; asks again when the line
    breaks."""

    def __init__(self, photo: Path) -> None:
        self.photo = photo
        self.jobs: dict[str, str] = {}
        self.request_id, self.number = "", 0
        self.upload = ""
        self.broken_promises: list[AssertionError] = []

    def work(self, server: ServerProcess) -> None:
        """Until the service dies; every call notices that."""
        try:
            self._work(server.target, server.token)
        except AssertionError as error:
            self.broken_promises.append(error)

    def _work(self, target: str, token: str | None) -> None:
        with contextlib.suppress(LcaError, OSError), connect(target, token, wait_seconds=3) as client:
            while True:
                if not self.request_id:
                    self.number += 1
                    self.request_id = str(uuid.uuid4())
                    self.upload = ""
                if not self.upload:
                    self.upload = client.upload(self.photo).name
                job = client.create_avatar(
                    self.upload,
                    avatar_id=f"person-{self.number}",
                    seed=self.number,
                    request_id=self.request_id,
                )
                known = self.jobs.setdefault(self.request_id, job.name)
                assert known == job.name, "one request, one job"
                *_, seen = client.watch_job(job.name, patience=0.2)
                if seen.state in FINAL:
                    assert seen.state == job_pb2.JOB_STATE_SUCCEEDED, seen.error
                    self.request_id = ""


def kill_often(
    tmp_path: Path, package: Path, photo: Path, points: int, seed: int, place: Path | None = None
) -> tuple[int, int]:
    moments = random.Random(seed)
    about = {"limits": LIMITS, "blobs": f"file://{place}" if place else ""}
    customer, server = Customer(photo), ServerProcess(tmp_path / "data", package, **about)
    swept = 0
    for _ in range(points):
        server.start()
        thread = threading.Thread(target=customer.work, args=(server,), daemon=True)
        thread.start()
        time.sleep(moments.uniform(0.0, CREATION_SECONDS))
        server.kill()
        thread.join(30)  # an upload that broke off tries again for ten seconds
        assert not thread.is_alive(), "a call waits for a dead service"
        assert customer.broken_promises == []
        until(lambda: not server.workers(), 5)  # nobody works on for a dead service
        with contextlib.closing(sqlite3.connect(server.data / "lca.db")) as db:
            avatars = {row[0] for row in db.execute("SELECT revision FROM avatars")}
            kept = {r[0] for r in db.execute("SELECT json_extract(body,'$.checkpoint_blob') FROM jobs")}
            uploads = {row[0] for row in db.execute("SELECT id FROM uploads")}
        present = files(server.data)
        blobs = {name.rpartition("/")[2] for name in present if name.startswith("cas/")}
        assert avatars <= blobs and kept - {""} <= blobs, "a row never names bytes that are not there"
        orphans = len(blobs - avatars - kept) + sum(
            name.startswith("tmp/") or (name.startswith("uploads/") and name[8:] not in uploads)
            for name in present
        )
        swept += orphans
    with server, server.client() as client:
        jobs = {job.name: job for job in client.list_jobs(500)}
        assert set(customer.jobs.values()) <= set(jobs), "no acknowledged job is lost"
        for name in customer.jobs.values():
            last = client.wait_job(name)
            jobs[name] = last
        made = client.list_avatars()
        assert len({a.create_job for a in made}) == len(made) == len(customer.jobs), "no avatar twice"
        attempts = [job.attempt for job in jobs.values()]
        for avatar in made:
            client.download(avatar.name, tmp_path / "check.lca")  # verifies the sha256
        unused = [] if customer.request_id in customer.jobs else [customer.upload]
        for upload in filter(None, unused):
            with contextlib.suppress(LcaError):
                client.delete_upload(upload)
    with server, server.client() as client:  # the start sweeps; a cut-off upload may wait for its client
        left = files(server.data)
        cas = {name.rpartition("/")[2] for name in left if name.startswith("cas/")}
        assert cas == {avatar.revision for avatar in client.list_avatars()}, "the sweep leaves no orphan"
        assert not [name for name in left if name.startswith(("tmp/", "results/"))]
        if place is not None:
            assert {path.name for path in place.glob("*/*")} == cas
    assert database_is_sound(server.data)
    if points > 10:
        assert max(attempts) > 1 and swept > 0
    repeated = sum(attempts) - len(attempts)
    print(f"{points} kills: {len(made)} avatars, {repeated} attempts repeated, {swept} files swept")
    return len(made), max(attempts, default=1)


def test_killed_at_a_few_points(tmp_path, package, photo):
    kill_often(tmp_path, package, photo, points=3, seed=1, place=tmp_path / "blobs")


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_killed_at_sixty_random_points(tmp_path, package, photo):
    made, attempts = kill_often(tmp_path, package, photo, points=60, seed=2)
    assert made >= 5 and attempts > 1


def test_a_killed_creation_goes_on_from_its_checkpoint(tmp_path, package, photo):
    """The capture is made once: the avatar names the attempt that made it."""
    from lca_bridge.wire.package import read_package

    server = ServerProcess(tmp_path / "data", package, limits=LIMITS)
    with server, server.client() as client:
        job = client.create_avatar(client.upload(photo).name, avatar_id="ada", parameters={"slow": "8"})
        until(lambda: client.get_job(job.name).checkpoint == "capture")
        seen = max(event.progress.fraction for event in [client.get_job(job.name)])
    with server, server.client() as client:
        *_, last = client.watch_job(job.name)
        assert last.state == job_pb2.JOB_STATE_SUCCEEDED and last.attempt == 2 and seen < 1
        path = client.download("avatars/ada", tmp_path / "ada.lca")
        made = read_package(path).info["provenance"]
        assert made == {"capture_attempt": 1, "attempt": 2}
        assert len(client.list_avatars()) == 1
        left = [name for name in files(server.data) if not name.startswith("cas/")]
        assert left == [] and len(files(server.data)) == 1, "checkpoint and photo are gone"
