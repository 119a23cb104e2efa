"""``lca serve --check``: can a service start with these settings on this machine?"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lca.errors import LcaError
from lca_bridge.server.access import read_tokens
from lca_bridge.server.config import ServerConfig
from lca_bridge.server.core import ServiceCore, refuse_network_folder, refuse_open_folder

MIN_FREE_BYTES = 2 << 30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    detail: str


def check(config: ServerConfig) -> list[Finding]:
    """Settings, TLS files, tokens, data folder and database, disk space, packages, weights, decoder child."""
    found: list[Finding] = []

    def look(what: str, work: Callable[[], str]) -> None:
        try:
            found.append(Finding(what, True, work()))
        except LcaError as error:
            found.append(Finding(what, False, f"{error.message} ({error.reason})"))
        except Exception as error:  # a check says what is wrong, it does not fail
            found.append(Finding(what, False, f"{type(error).__name__}: {error}"))

    look("address", lambda: _address(config))
    if config.tls is not None:
        look("TLS files", lambda: _tls(config))
    if config.tokens is not None:
        tokens = config.tokens
        look("token file", lambda: f"{len(read_tokens(tokens))} callers")
    look("data folder", lambda: _data(config))
    if config.blobs:
        look("blobs", lambda: _blobs(config.blobs))
    look("disk", lambda: _disk(config.data_dir))
    look("packages", _packages)
    look("weights", _weights)
    look("decoder", _decoder)
    return found


def _address(config: ServerConfig) -> str:
    config.check()
    return config.address


def _tls(config: ServerConfig) -> str:
    import ssl

    assert config.tls is not None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(config.tls.certificate, config.tls.key)
    if config.tls.client_ca is not None:
        context.load_verify_locations(config.tls.client_ca)
    return "certificate and key belong together"


def _data(config: ServerConfig) -> str:
    import asyncio

    if config.data_dir.exists():
        refuse_open_folder(config.data_dir)
    else:
        refuse_network_folder(config.data_dir)
        return "will be made"

    async def opened() -> str:
        core = await ServiceCore.open(config, work=False)
        try:
            if not await asyncio.to_thread(core.store.is_sound):
                raise ValueError("the database is damaged; restore it from a backup")
            jobs = len(core.store.unfinished_jobs())
            return f"database sound, {len(core.blobs.all_blobs())} files, {jobs} unfinished jobs"
        finally:
            await core.close()

    return asyncio.run(opened())


def _blobs(url: str) -> str:
    from lca_bridge.server.objects import open_place

    system, root = open_place(url)
    probe = f"{root}/check"
    system.makedirs(root, exist_ok=True)
    system.pipe_file(probe, b"lca")
    try:
        if system.cat_file(probe) != b"lca":
            raise ValueError("the object store does not give back what it was given")
    finally:
        system.rm_file(probe)
    return "can be written, read and erased"


def _disk(folder: Path) -> str:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise ValueError(f"only {free >> 20} MiB are free; a clip and its avatar need about 1 GiB")
    return f"{free >> 30} GiB free"


def _packages() -> str:
    missing = [n for n in ("torch", "numba", "av", "grpc_health") if importlib.util.find_spec(n) is None]
    if missing:
        raise ValueError(f"missing: {', '.join(missing)}; install lca-bridge[server]")
    return "all there"


def _weights() -> str:
    from lca_core.avatar.create import CreateOptions
    from lca_core.model.checkpoint import load_model

    name = CreateOptions().weights
    load_model(name)
    return name


def _decoder() -> str:
    worker = Path(__file__).with_name("probe_worker.py")
    done = subprocess.run(
        [sys.executable, "-P", str(worker), "video", str(worker)],
        capture_output=True,
        timeout=30,
        check=False,
    )
    if b"error" not in done.stdout:
        raise ValueError("the decoder child does not answer; is PyAV installed?")
    return "its child process answers"
