"""Starts and stops the gRPC service: ``await Service.start(config)``, or a :class:`ServiceThread`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from lca.errors import AlreadyExistsError, InvalidInputError, LcaError
from lca.v1 import (
    animation_service_pb2_grpc,
    avatar_service_pb2_grpc,
    job_service_pb2_grpc,
    render_service_pb2_grpc,
    system_service_pb2_grpc,
    upload_service_pb2_grpc,
)
from lca_bridge.server import tracing
from lca_bridge.server.access import Tokens, read_tokens
from lca_bridge.server.animation import AnimationService
from lca_bridge.server.avatars import AvatarService
from lca_bridge.server.config import MAX_MESSAGE_BYTES, ServerConfig, TlsFiles, ensure_token
from lca_bridge.server.core import ServiceCore
from lca_bridge.server.guard import Guard
from lca_bridge.server.jobs import JobService
from lca_bridge.server.memory import tune_malloc
from lca_bridge.server.privacy import PathHider
from lca_bridge.server.render import RenderService
from lca_bridge.server.system import SystemService
from lca_bridge.server.uploads import UploadService
from lca_bridge.wire.shared import sweep_regions

log = logging.getLogger("lca.server")

SERVICE_NAMES = tuple(
    f"lca.v1.{kind}Service" for kind in ("Avatar", "Upload", "Job", "Animation", "Render", "System")
)
DRAIN_SECONDS = 2.0
SWEEP_SECONDS = 3600.0

_OPTIONS = (
    ("grpc.so_reuseport", 0),  # on by default: a second server would silently take half the calls
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", 16 << 10),
    # Pings find frozen clients, which lose their place within ten seconds; gRPC needs all three (measured).
    ("grpc.keepalive_time_ms", 4_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


@dataclass
class Service:
    """A running service. ``target`` is what a client connects to, ``token`` what it must show."""

    core: ServiceCore
    target: str
    token: str | None
    _server: grpc.aio.Server
    _guard: Guard
    _health: health.aio.HealthServicer
    _sweeper: asyncio.Task[None]
    _end_metrics: Callable[[], None]

    @staticmethod
    async def start(config: ServerConfig) -> Service:
        """Open the data folder and listen.

        Raises:
            PreconditionError: ``TLS_REQUIRED`` or ``TOKEN_FILE_OPEN``.
            AlreadyExistsError: ``DATA_IN_USE`` or ``ADDRESS_IN_USE``.
        """
        config.check()
        tune_malloc()
        sweep_regions()
        core = await ServiceCore.open(config)
        try:
            return await _listen(core, config)
        except BaseException:
            await core.close()
            raise

    async def stop(self, grace: float = DRAIN_SECONDS) -> None:
        """Say NOT_SERVING, let calls end for ``grace`` seconds, stop the workers."""
        self._guard.draining = True
        await self._health.enter_graceful_shutdown()
        self._sweeper.cancel()
        await self._server.stop(grace)
        await asyncio.to_thread(self._end_metrics)
        await self.core.close()

    async def wait(self) -> None:
        """Until the server ends."""
        await self._server.wait_for_termination()


async def _listen(core: ServiceCore, config: ServerConfig) -> Service:
    tracing.configure()
    end_metrics = core.metrics.serve(config.metrics, core) if config.metrics else _nothing
    try:
        return await _listen_beside(core, config, end_metrics)
    except BaseException:
        end_metrics()
        raise


async def _listen_beside(core: ServiceCore, config: ServerConfig, end_metrics: Callable[[], None]) -> Service:
    token = None
    if not config.is_unix:
        token = config.token or ensure_token(config.data_dir / "token")
    named = read_tokens(config.tokens) if config.tokens is not None else {}
    mutual = config.tls is not None and config.tls.client_ca is not None
    guard = Guard(Tokens(token, named), mutual, core.metrics, PathHider(config.data_dir))
    server = grpc.aio.server(
        interceptors=(guard,), options=_OPTIONS, maximum_concurrent_rpcs=config.limits.concurrent_calls
    )
    avatar_service_pb2_grpc.add_AvatarServiceServicer_to_server(AvatarService(core), server)
    upload_service_pb2_grpc.add_UploadServiceServicer_to_server(UploadService(core), server)
    job_service_pb2_grpc.add_JobServiceServicer_to_server(JobService(core), server)
    animation_service_pb2_grpc.add_AnimationServiceServicer_to_server(AnimationService(core), server)
    render_service_pb2_grpc.add_RenderServiceServicer_to_server(RenderService(core), server)
    system_service_pb2_grpc.add_SystemServiceServicer_to_server(SystemService(core), server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    for name in ("", *SERVICE_NAMES):
        await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    if config.is_loopback:
        reflection.enable_server_reflection((*SERVICE_NAMES, reflection.SERVICE_NAME), server)
    target = _bind(server, config)
    await server.start()
    log.info("listening on %s", target)
    sweeper = asyncio.create_task(_sweep(core))
    if config.warm:
        core.evaluators.warm_soon()
    return Service(core, target, token, server, guard, checks, sweeper, end_metrics)


def _nothing() -> None:
    pass


def _bind(server: grpc.aio.Server, config: ServerConfig) -> str:
    address = config.address
    if config.is_unix:
        path = Path(address.removeprefix("unix:"))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = path.parent.stat()
        if os.name == "posix" and (folder.st_mode & 0o022 or folder.st_uid not in (0, os.geteuid())):
            raise InvalidInputError(
                "The folder of a unix socket must be yours, and writable by you only (chmod 700).",
                reason="SOCKET_FOLDER_OPEN",
            )
        _remove_stale_socket(path)
    try:
        if config.tls is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, _credentials(config.tls))
    except RuntimeError:
        port = 0
    if not port:
        raise AlreadyExistsError(
            f"Cannot listen on {address}. Another program may use it; choose another port.",
            reason="ADDRESS_IN_USE",
        )
    if config.is_unix:
        os.chmod(address.removeprefix("unix:"), 0o600)
        return address
    return f"{address.rpartition(':')[0]}:{port}"


def _remove_stale_socket(path: Path) -> None:
    """A crash leaves the socket file behind; a live one answers and is left alone."""
    if not path.exists():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise AlreadyExistsError(
        f"Another service listens on {path}. Stop it, or choose another socket.", reason="ADDRESS_IN_USE"
    )


def _credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
    if tls.client_ca is None:
        return grpc.ssl_server_credentials([pair])
    return grpc.ssl_server_credentials([pair], tls.client_ca.read_bytes(), require_client_auth=True)


async def _sweep(core: ServiceCore) -> None:
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        with contextlib.suppress(OSError, LcaError):
            async with core.write_lock:
                await asyncio.to_thread(core.expire)


class ServiceThread:
    """A service with an event loop on a thread of its own, for callers without one (CLI, tests).

    Use as a context manager; ``target`` and ``token`` are what a client needs.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lca-service", daemon=True)
        self.service: Service | None = None

    def __enter__(self) -> ServiceThread:
        self._thread.start()
        try:
            self.service = self.call(Service.start(self._config))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.service is not None:
                self.call(self.service.stop(0.5))
        finally:
            self._end()

    def call(self, work: Any) -> Any:
        """Run a coroutine on the service's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _drain(self) -> None:
        """Cancel what is pending, as ``asyncio.run`` does: a stopped server ends its calls a turn later."""
        pending = asyncio.all_tasks() - {asyncio.current_task()}
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await self._loop.shutdown_asyncgens()

    def _end(self) -> None:
        self.call(self._drain())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def target(self) -> str:
        """What a client connects to."""
        assert self.service is not None
        return self.service.target

    @property
    def token(self) -> str | None:
        """What a client must show."""
        assert self.service is not None
        return self.service.token
