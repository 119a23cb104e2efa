"""The contract of an executor: the same tests for worker processes and for Ray (``make test-ray``)."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import HERE

from lca.errors import CancelledError, ExhaustedError, InvalidInputError, LcaError, UnavailableError
from lca_bridge.server.executor import Executor, Work
from lca_bridge.server.local_executor import LocalExecutor
from lca_bridge.wire.package import read_package

SILENCE = 3.0
HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed; make test-ray makes a place for it")


class Stage:
    """One executor on one event loop, for synchronous tests."""

    def __init__(self, executor: Executor, folder: Path) -> None:
        self.executor, self._folder, self._count = executor, folder, 0

    def work(self, photo: Path, **more: Any) -> Work:
        self._count += 1
        scratch = self._folder / f"work-{os.getpid()}-{self._count}"
        scratch.mkdir()
        spec = {"clip": str(photo), "out": str(scratch / "avatar.lca"), "name": scratch.name, "seed": 3,
                "parameters": {}, "checkpoint": "", **more}  # fmt: skip
        return Work(spec, scratch)

    def run(
        self, work: Work, then: Callable[[Any, list[dict[str, Any]]], Awaitable[None]] | None = None
    ) -> list[dict[str, Any]]:
        """All events; ``then`` runs beside."""
        events: list[dict[str, Any]] = []

        async def on_event(event: dict[str, Any]) -> None:
            events.append(event)

        async def both() -> None:
            run = self.executor.prepare(work)
            beside = asyncio.create_task(then(run, events)) if then else None
            try:
                await run.run(on_event)
            finally:
                if beside:
                    await beside

        LOOP.run_until_complete(both())
        return events


LOOP = asyncio.new_event_loop()


@pytest.fixture(scope="module", params=["local", pytest.param("ray", marks=needs_ray)])
def stage(request, tmp_path_factory, package) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp(request.param)
    executor: Executor
    if request.param == "local":
        command = [sys.executable, str(HERE / "small_worker.py"), str(package)]
        executor = LocalExecutor(2, SILENCE, worker=command)
    else:
        from lca_bridge.server.ray_executor import RayExecutor

        os.environ["LCA_FAULT_PACKAGE"] = str(package)
        executor = RayExecutor(2, SILENCE, cpus=0.5, entry=f"{HERE / 'small_worker.py'}:create")
    LOOP.run_until_complete(executor.start())
    yield Stage(executor, folder)
    LOOP.run_until_complete(executor.close())


def stages(events: list[dict[str, Any]]) -> list[str]:
    return [event["progress"]["stage"] for event in events if "progress" in event]


def test_work_is_done_and_followed(stage, photo):
    work = stage.work(photo)
    events = stage.run(work)
    assert read_package(work.scratch / "avatar.lca").info["name"] == work.spec["name"]
    assert stages(events)[0] == "capture" and stages(events)[-1] == "model"
    fractions = [event["progress"]["fraction"] for event in events if "progress" in event]
    assert fractions == sorted(fractions) and len(fractions) >= 4
    (kept,) = [event["checkpoint"] for event in events if "checkpoint" in event]
    assert kept["stage"] == "capture" and (work.scratch / kept["file"]).stat().st_size > 100_000
    assert stage.executor.capacity == 2


def test_it_goes_on_from_a_checkpoint_without_the_clip(stage, photo, tmp_path):
    saved = tmp_path / "blob"
    saved.write_text(json.dumps({"seed": 3, "made_by": 77}))
    work = stage.work(photo, checkpoint=str(saved))
    assert set(stages(stage.run(work))) == {"model"}
    assert read_package(work.scratch / "avatar.lca").info["provenance"]["capture_attempt"] == 77


@pytest.mark.parametrize("at", ["before", "capture"])
def test_cancelling_ends_it_soon(stage, photo, at):
    work = stage.work(photo, parameters={"slow": "30"})
    asked = 0.0

    async def cancel(run: Any, events: list[dict[str, Any]]) -> None:
        nonlocal asked
        while at != "before" and not stages(events):
            await asyncio.sleep(0.02)
        asked = time.monotonic()
        run.cancel()
        run.cancel()

    with pytest.raises(CancelledError):
        stage.run(work, cancel)
    assert time.monotonic() - asked < 4
    assert not (work.scratch / "avatar.lca").exists()


@pytest.mark.parametrize(
    "fault,kind,reason",
    [
        ("segfault", UnavailableError, "WORKER_LOST"),
        ("exit", UnavailableError, "WORKER_LOST"),
        ("freeze", UnavailableError, "WORKER_SILENT"),
        ("oom", ExhaustedError, "OUT_OF_MEMORY"),
        ("disk", ExhaustedError, "STORAGE_FULL"),
        ("error", LcaError, "CREATION_FAILED"),
    ],
)
def test_every_end_has_its_reason(stage, photo, fault, kind, reason):
    with pytest.raises(kind) as caught:
        stage.run(stage.work(photo, parameters={"fault": fault}))
    assert caught.value.reason == reason and "secret" not in caught.value.message
    stage.run(stage.work(photo))  # and the next attempt works


def test_attempts_run_beside_each_other(stage, photo):
    works = [stage.work(photo, parameters={"slow": "4"}) for _ in range(2)]
    spans: list[list[float]] = [[], []]

    async def one(index: int) -> None:
        async def on_event(event: dict[str, Any]) -> None:
            spans[index].append(time.monotonic())

        await stage.executor.prepare(works[index]).run(on_event)

    async def both() -> None:
        await asyncio.gather(one(0), one(1))

    LOOP.run_until_complete(both())
    assert spans[0][0] < spans[1][-1] and spans[1][0] < spans[0][-1]


@needs_ray
def test_a_whole_service_on_ray(tmp_path, package, photo):
    """Upload, creation on an actor, download; the job is killed once and goes on."""
    from lca_bridge.client import connect
    from lca_bridge.server.app import ServiceThread
    from lca_bridge.server.config import ServerConfig
    from lca_bridge.server.ray_executor import RayExecutor

    os.environ["LCA_FAULT_PACKAGE"] = str(package)
    import lca_bridge.server.ray_executor as module

    entry, module.RayExecutor.__init__.__kwdefaults__["entry"] = (
        module.ENTRY,
        f"{HERE / 'small_worker.py'}:create",
    )
    try:
        config = ServerConfig(data_dir=tmp_path / "data", address="127.0.0.1:0", executor="ray")
        with ServiceThread(config) as service, connect(service.target, service.token) as client:
            assert isinstance(service.service.core.runner._executor, RayExecutor)
            upload = client.upload(photo).name
            job = client.create_avatar(upload, avatar_id="ada", parameters={"fault": "exit", "until": "1"})
            done = client.wait_job(job.name)
            assert done.attempt == 2
            path = client.download("avatars/ada", tmp_path / "ada.lca")
            assert read_package(path).info["provenance"] == {"capture_attempt": 1, "attempt": 2}
    finally:
        module.RayExecutor.__init__.__kwdefaults__["entry"] = entry


@needs_ray
def test_streams_are_pinned_to_ray_actors(tmp_path, package):
    """The same frames as from the service itself; a stream whose actor dies says so, the next one lives."""
    import ray

    from lca_bridge.client import connect
    from lca_bridge.server.app import ServiceThread
    from lca_bridge.server.config import ServerConfig
    from lca_bridge.wire.frames import Encoding
    from lca_bridge.wire.messages import pose_to_proto

    bent = [pose_to_proto(i, joint_rotations=np.full((55, 3), 0.02 * i, np.float32)) for i in range(1, 41)]
    config = ServerConfig(tmp_path / "data", "127.0.0.1:0", executor="ray", animate="ray")
    with ServiceThread(config) as service, connect(service.target, service.token) as client:
        name = client.import_avatar(client.upload(package).name, avatar_id="ada").name
        core = service.service.core
        with client.animate(name, codec="f32", every=True) as stream:
            assert not stream.shares_memory
            frames = list(stream.play(bent))
        assert [frame.frame_id for frame in frames] == list(range(1, 41))
        assert not core.evaluators.loaded, "nothing was posed in the service"
        for index in (0, 39):  # the unary call stays in the service
            here = client.evaluate_pose(name, bent[index], encoding=Encoding.FLOAT32)
            np.testing.assert_allclose(frames[index].splats.means, here.means, atol=1e-6)
        with client.animate(name, codec="corrections", every=True) as stream:
            assert [frame.frame_id for frame in stream.play(bent)] == list(range(1, 41))
        (actor,) = core.animators._actors.values()
        with client.animate(name, every=True) as first, client.animate(name, every=True) as second:
            assert list(core.animators._actors.values()) == [actor], "streams of one avatar share an actor"
            for stream in (first, second):
                stream.push(bent[0])
                assert stream.take().frame_id == 1
            ray.kill(actor, no_restart=True)
            first.push(bent[1])
            with pytest.raises(UnavailableError) as caught:
                first.take()
            assert caught.value.reason == "WORKER_LOST"
        with client.animate(name, every=True) as stream:
            assert len(list(stream.play(bent[:3]))) == 3
        begun = time.monotonic()
        with client.animate(name, codec="q10", every=True) as stream:
            count = len(list(stream.play(bent)))
        print(f"{count / (time.monotonic() - begun):.0f} frames/s through an actor")
        client.purge_avatar(name)
        assert not core.animators._actors
    with pytest.raises(InvalidInputError):
        ServiceThread(ServerConfig(tmp_path / "other", "127.0.0.1:0", animate="ray")).__enter__()
