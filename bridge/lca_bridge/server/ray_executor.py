"""Attempts as Ray actors, so that creations use the GPUs of a cluster: ``lca serve --executor ray``.

Inputs travel to the actor and files come back as bytes, so the machines share no folder. An actor may take
a share of a GPU. Ray keeps nothing that matters: queue, attempts, checkpoints and results stay with the
service, and an actor that is lost is an attempt that is lost. Ray runs whatever it is sent: never expose its
ports; without ``RAY_ADDRESS`` a private cluster on this machine is started.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

from lca.errors import Category, UnavailableError
from lca_bridge.server.executor import EventSink, Run, Work, cancelled, error_facts, lost, reported, silent

log = logging.getLogger("lca.executor")

ENTRY = "lca_bridge.server.worker:create"
POLL_SECONDS = 0.1
START_SECONDS = 120.0
CANCEL_GRACE_SECONDS = 1.0
OBJECT_STORE_BYTES = 256 << 20
INPUTS = ("clip", "package", "request", "checkpoint")


class RayExecutor:
    """Creations and other jobs on Ray.

    Args:
        capacity: attempts at a time; the cluster may make them wait for room.
        silence_seconds: an actor that does not answer for so long is ended.
        address: of a cluster; empty: ``RAY_ADDRESS``, else a private one on this machine's loopback.
        cpus, gpu_share: what one attempt takes; the share counts only where the cluster has GPUs.
        entry: ``module:function`` or ``file.py:function`` with the signature of ``worker.create``.
    """

    def __init__(
        self,
        capacity: int = 1,
        silence_seconds: float = 60.0,
        *,
        address: str = "",
        cpus: float = 1.0,
        gpu_share: float = 0.5,
        entry: str = ENTRY,
    ) -> None:
        self._capacity, self._silence, self._address = capacity, silence_seconds, address
        self._cpus, self._gpu_share, self._entry = cpus, gpu_share, entry
        self._ours = False
        self._actor: Any = None

    @property
    def capacity(self) -> int:
        """Attempts at a time."""
        return self._capacity

    async def start(self) -> None:
        """Join or start the cluster."""
        try:
            import ray
        except ImportError:
            raise UnavailableError(
                "The Ray executor needs Ray: install lca-bridge[ray].", reason="RAY_MISSING"
            ) from None
        if not ray.is_initialized():
            address = self._address or os.environ.get("RAY_ADDRESS", "")
            private: dict[str, Any] = {
                "num_cpus": max(self._capacity, os.cpu_count() or 1),
                "include_dashboard": False,
                "object_store_memory": OBJECT_STORE_BYTES,
                "_node_ip_address": "127.0.0.1",
            }
            more = {"address": address} if address else private
            try:
                await asyncio.to_thread(ray.init, log_to_driver=False, configure_logging=False, **more)
            except Exception as error:
                raise UnavailableError(
                    "The Ray cluster cannot be reached or started.", reason="RAY_UNAVAILABLE"
                ) from error
            self._ours = True
        gpus = self._gpu_share if ray.cluster_resources().get("GPU") else 0.0
        remote = ray.remote(num_cpus=self._cpus, num_gpus=gpus, max_restarts=0, max_concurrency=4)
        self._actor = remote(Attempt)

    async def close(self) -> None:
        """Leave the cluster; a private one ends."""
        if self._ours:
            import ray

            self._ours = False
            await asyncio.to_thread(ray.shutdown)

    def prepare(self, work: Work) -> Run:
        """An actor that does not exist yet."""
        return RayRun(work, self._actor, self._entry, self._silence)


class Attempt:
    """What runs on a cluster machine: one attempt in one process, its own."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._cancelled = threading.Event()

    def send(self, message: dict[str, Any]) -> None:
        """One message for the service."""
        with self._lock:
            self._events.append(message)

    def progress(self, event: Any) -> None:
        """A ProgressEvent; the service fetches what has gathered, the last of a stage counts."""
        message = {"progress": dict(vars(event))}
        with self._lock:
            if self._events and "progress" in self._events[-1]:
                self._events[-1] = message
            else:
                self._events.append(message)

    def checkpoint(self, stage: str, path: Path) -> None:
        """A file a later attempt can go on from."""
        self.send({"checkpoint": {"stage": stage, "file": path.name, "data": path.read_bytes()}})

    def events(self) -> list[dict[str, Any]]:
        """What was sent since the last call; answering is the sign of life."""
        with self._lock:
            gathered, self._events = self._events, []
        return gathered

    def cancel(self) -> None:
        """Ask for the end."""
        self._cancelled.set()

    def work(self, spec: dict[str, Any], files: dict[str, bytes], entry: str) -> dict[str, Any]:
        """Do it; ``{"file": bytes}``, or ``{"error": facts}``."""
        with tempfile.TemporaryDirectory(prefix="lca-") as folder:
            root = Path(folder)
            for name, data in files.items():
                path = root / "in" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            out = root / Path(spec["out"]).name
            placed = {key: str(root / "in" / spec[key]) for key in INPUTS if spec.get(key)}
            try:
                _load(entry)({**spec, **placed, "out": str(out)}, self, self._cancelled)
                return {"file": out.read_bytes()}
            except BaseException as error:
                return {"error": error_facts(error)}


def _load(entry: str) -> Any:
    where, _, name = entry.rpartition(":")
    if where.endswith(".py"):
        found = importlib.util.spec_from_file_location("lca_ray_entry", where)
        assert found is not None and found.loader is not None
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
    else:
        module = importlib.import_module(where)
    return getattr(module, name)


def pack_inputs(spec: dict[str, Any]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A specification with relative input names, and the bytes of those files."""
    packed, files = dict(spec), {}
    for key in INPUTS:
        if not spec.get(key):
            continue
        path = Path(spec[key])
        packed[key] = f"{key}/{path.name}"
        for item in sorted(path.iterdir()) if path.is_dir() else [path]:
            name = f"{packed[key]}/{item.name}" if path.is_dir() else packed[key]
            files[name] = item.read_bytes()
    return packed, files


class RayRun:
    """One attempt on one actor."""

    def __init__(self, work: Work, actor: Any, entry: str, silence_seconds: float) -> None:
        self._work, self._actor, self._entry, self._silence = work, actor, entry, silence_seconds
        self._cancelled = asyncio.Event()

    def cancel(self) -> None:
        """Ask for the end; idempotent."""
        self._cancelled.set()

    async def run(self, on_event: EventSink) -> None:
        """Start the actor and follow it; see :class:`~lca_bridge.server.executor.Run`."""
        import ray

        if self._cancelled.is_set():
            raise cancelled()
        spec, files = await asyncio.to_thread(pack_inputs, self._work.spec)
        actor = self._actor.remote()
        try:
            inputs = await asyncio.to_thread(ray.put, files)
            done = asyncio.wrap_future(actor.work.remote(spec, inputs, self._entry).future())
            await self._follow(actor, done, on_event)
        except (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError):
            raise (cancelled() if self._cancelled.is_set() else lost()) from None
        finally:
            ray.kill(actor, no_restart=True)

    async def _follow(self, actor: Any, done: asyncio.Future[Any], on_event: EventSink) -> None:
        patience, asked_at = START_SECONDS, 0.0
        clock = asyncio.get_running_loop().time
        while True:
            if self._cancelled.is_set():
                if not asked_at:
                    asked_at = clock()
                    actor.cancel.remote()
                elif clock() - asked_at > CANCEL_GRACE_SECONDS:
                    raise cancelled()
            ended = done.done()
            poll = asyncio.wrap_future(actor.events.remote().future())
            stop = asyncio.create_task(self._cancelled.wait()) if not asked_at else None
            waiting = {poll} | ({stop} if stop else set())
            limit = CANCEL_GRACE_SECONDS if asked_at else patience
            await asyncio.wait(waiting, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if stop is not None:
                stop.cancel()
            if not poll.done():
                poll.cancel()
                if self._cancelled.is_set():
                    continue
                raise silent(patience)
            patience = self._silence
            for event in poll.result():
                await self._take(event, on_event)
            if ended:
                break
            await asyncio.wait({done}, timeout=POLL_SECONDS)
        result = done.result()
        if "error" in result:
            if result["error"]["category"] == Category.INTERNAL.value:
                log.error("A job failed on Ray:\n%s", result["error"]["log"])
            raise reported(result["error"])
        await asyncio.to_thread(Path(self._work.spec["out"]).write_bytes, result["file"])

    async def _take(self, event: dict[str, Any], on_event: EventSink) -> None:
        if "checkpoint" in event:
            about = event["checkpoint"]
            path = self._work.scratch / Path(about["file"]).name
            await asyncio.to_thread(path.write_bytes, about.pop("data"))
        await on_event(event)
