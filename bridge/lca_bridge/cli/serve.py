"""`lca serve`, and finding or starting the service other commands talk to."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lca.errors import InvalidInputError, LcaError, PreconditionError
from lca_bridge.client import LcaClient, connect
from lca_bridge.server.config import Limits, ServerConfig, TlsFiles, default_data_dir
from lca_bridge.server.logs import log_to_stderr

if TYPE_CHECKING:
    from lca_bridge.server.selfcheck import Finding

MAX_SOCKET_PATH = 100


def serve(args: argparse.Namespace) -> int:
    """Run until interrupted; the target is left in ``data/endpoint`` for other commands."""
    if bool(args.tls_cert) != bool(args.tls_key):
        raise PreconditionError("Give both --tls-cert and --tls-key.", reason="TLS_REQUIRED")
    tls = None
    if args.tls_cert:
        ca = Path(args.tls_client_ca) if args.tls_client_ca else None
        tls = TlsFiles(Path(args.tls_cert), Path(args.tls_key), ca)
    config = ServerConfig(
        data_dir=data_dir(args),
        address=args.listen,
        tls=tls,
        insecure=args.insecure_i_know,
        warm=True,
        tokens=Path(args.tokens) if args.tokens else None,
        executor=args.executor,
        animate=args.animate,
        metrics=args.metrics,
        blobs=args.blobs,
        limits=parse_limits(args.limit, running_jobs=max(args.jobs, 1)),
    )
    if args.check:
        from lca_bridge.server.selfcheck import check

        return report(check(config), args.json)
    os.umask(0o077)  # faces and tokens are for their owner only, whatever the folder's own mode
    log_to_stderr(logging.INFO if args.debug or args.log else logging.WARNING)
    asyncio.run(_serve(config, args.json))
    return 0


def parse_limits(settings: list[str], **more: int) -> Limits:
    """Limits from ``NAME=VALUE`` texts; InvalidInputError ``BAD_LIMIT``."""
    standard = Limits()
    kinds: dict[str, type[int] | type[float]] = {
        f.name: type(getattr(standard, f.name)) for f in fields(Limits)
    }
    values: dict[str, Any] = dict(more)
    for setting in settings:
        name, _, text = setting.partition("=")
        try:
            values[name] = kinds[name](text)
        except (KeyError, ValueError):
            known = ", ".join(f"{limit}={kind.__name__}" for limit, kind in kinds.items())
            raise InvalidInputError(f"--limit {setting} is not one of {known}.", reason="BAD_LIMIT") from None
        if values[name] <= 0:
            raise InvalidInputError(f"--limit {name} must be positive.", reason="BAD_LIMIT")
    return Limits(**values)


def report(findings: list[Finding], as_json: bool) -> int:
    """Print what a check found; 0 if the service can run."""
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.ok else 'BAD '} {finding.what}: {finding.detail}")
    return 0 if all(finding.ok for finding in findings) else 1


async def _serve(config: ServerConfig, as_json: bool) -> None:
    from lca_bridge.server.app import Service

    service = await Service.start(config)
    endpoint = config.data_dir / "endpoint"
    endpoint.write_text(
        json.dumps({"target": service.target, "tls": config.tls is not None}), encoding="utf-8"
    )
    facts = {"target": service.target, "data": str(config.data_dir), "pid": os.getpid()}
    if as_json:
        print(json.dumps(facts), flush=True)
    else:
        token = "" if service.token is None else f", token in {config.data_dir / 'token'}"
        print(f"LCA service on {service.target}{token}. Ctrl-C stops it.", flush=True)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows: Ctrl-C arrives as KeyboardInterrupt
            break
    try:
        await stop.wait()
    finally:
        endpoint.unlink(missing_ok=True)
        await service.stop()
        if not as_json:
            print("Stopped.", file=sys.stderr)


def data_dir(args: argparse.Namespace) -> Path:
    """The data folder the command means."""
    return Path(args.data) if getattr(args, "data", None) else default_data_dir()


@contextlib.contextmanager
def client_for(args: argparse.Namespace) -> Iterator[LcaClient]:
    """A client of ``--server``, of the data folder's running service, or of a private one."""
    if args.server:
        ca = Path(args.tls_ca).read_bytes() if args.tls_ca else None
        with connect(args.server, args.token or _stored_token(args), tls_ca=ca, wait_seconds=5) as client:
            yield client
        return
    running = _running(args)
    if running is not None:
        with running:
            yield running
        return
    from lca_bridge.server.app import ServiceThread

    folder = data_dir(args)
    socket = f"unix:{folder.absolute() / 'private' / 'lca.sock'}"
    usable = os.name == "posix" and len(socket) < MAX_SOCKET_PATH
    with (
        ServiceThread(ServerConfig(data_dir=folder, address=socket if usable else "127.0.0.1:0")) as service,
        connect(service.target, service.token, wait_seconds=10) as client,
    ):
        yield client


def _stored_token(args: argparse.Namespace) -> str | None:
    path = data_dir(args) / "token"
    return path.read_text(encoding="ascii").strip() if path.is_file() else None


def _running(args: argparse.Namespace) -> LcaClient | None:
    endpoint = data_dir(args) / "endpoint"
    try:
        facts = json.loads(endpoint.read_text(encoding="utf-8"))
        ca = Path(args.tls_ca).read_bytes() if args.tls_ca else None
        if facts.get("tls") and ca is None:
            raise PreconditionError("The running service uses TLS: pass --tls-ca.", reason="TLS_REQUIRED")
        client = connect(facts["target"], args.token or _stored_token(args), tls_ca=ca, wait_seconds=2)
    except (OSError, ValueError, KeyError):
        return None
    except LcaError as error:
        if error.reason == "TLS_REQUIRED":
            raise
        return None  # a stale note of a service that is gone
    return client
