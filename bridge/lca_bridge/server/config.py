"""How a service runs: where it listens, where it keeps its data, what it allows. Safe by default.

Command line and environment are read at the edge (``lca serve``); everything inside takes a
:class:`ServerConfig`.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path

from lca.errors import PreconditionError

MAX_CHUNK_BYTES = 1 << 20
MAX_MESSAGE_BYTES = 32 << 20


def default_data_dir() -> Path:
    """Where a service keeps its data by default: ``LCA_DATA``, else the user data folder."""
    if override := os.environ.get("LCA_DATA"):
        return Path(override)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "lca-bridge"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "lca-bridge"
    return Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share")) / "lca-bridge"


@dataclass(frozen=True)
class Limits:
    """What one service accepts.

    Attributes:
        job_attempts: a job whose worker is lost so often in a row, without a new checkpoint, fails.
        worker_silence_seconds: a worker that shows no sign of life for so long is ended.
        resume_hours: a failed or cancelled job that may be resumed keeps its clips so long.
        job_days: records and result files of final jobs are kept so long.
        undelete_days: a deleted avatar is erased after so long.
        principal_bytes, principal_jobs: what one named caller may keep, and have unfinished, at a time.
        package_bytes: a larger avatar file is not taken in; the service has to hold one in memory.
        cache_bytes: local copies of packages an object store keeps.
    """

    upload_bytes: int = 4 << 30
    storage_bytes: int = 64 << 30
    running_jobs: int = 1
    queued_jobs: int = 32
    streams: int = 32
    open_uploads: int = 128
    job_attempts: int = 3
    upload_hours: float = 24.0
    worker_silence_seconds: float = 60.0
    resume_hours: float = 24.0
    job_days: float = 30.0
    undelete_days: float = 30.0
    principal_bytes: int = 16 << 30
    principal_jobs: int = 8
    concurrent_calls: int = 256
    package_bytes: int = 1 << 30
    cache_bytes: int = 16 << 30


@dataclass(frozen=True)
class TlsFiles:
    """PEM files; ``client_ca`` turns on mutual TLS."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True)
class ServerConfig:
    """Everything a service needs to start.

    Attributes:
        data_dir: one folder for everything it keeps; only one service may use it at a time.
        address: ``unix:PATH``, or ``HOST:PORT`` (port 0 picks a free one).
        tls: required beyond loopback, unless ``insecure`` says otherwise.
        token: bearer token of TCP callers; ``None`` makes one and writes it to ``data_dir/token`` (0600).
        threads: evaluation threads for live animation.
        tokens: a file of ``NAME TOKEN`` lines: more callers, each of whom sees only what it made.
        warm: import torch and compile the renderer in the background right after the start.
        executor: "local" or "ray".
        animate: where live streams are posed: "local", or "ray" with that executor.
        worker: command of a local worker process; empty: the shipped one.
        metrics: ``HOST:PORT`` for Prometheus; loopback only, empty: none.
        blobs: fsspec URL of an object store for packages; empty: they stay in ``data_dir``.
    """

    data_dir: Path = field(default_factory=default_data_dir)
    address: str = "127.0.0.1:50551"
    tls: TlsFiles | None = None
    insecure: bool = False
    token: str | None = None
    threads: int = 1
    tokens: Path | None = None
    warm: bool = False
    executor: str = "local"
    animate: str = "local"
    worker: tuple[str, ...] = ()
    metrics: str = ""
    blobs: str = ""
    limits: Limits = field(default_factory=Limits)

    @property
    def is_unix(self) -> bool:
        """Whether the service listens on a unix socket."""
        return self.address.startswith("unix:")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.is_unix:
            return True
        return is_loopback(self.address)

    def check(self) -> None:
        """Refuse to expose a service without encryption; raises PreconditionError ``TLS_REQUIRED``."""
        if not self.is_loopback and self.tls is None and not self.insecure:
            raise PreconditionError(
                f"{self.address} can be reached from other machines and has no TLS. Give a certificate and "
                "key, listen on 127.0.0.1, or accept the risk with --insecure-i-know.",
                reason="TLS_REQUIRED",
            )
        if self.metrics and not is_loopback(self.metrics):
            raise PreconditionError(
                "Metrics have no access control: serve them on 127.0.0.1 and let a collector fetch them "
                "there.",
                reason="METRICS_EXPOSED",
            )


def is_loopback(address: str) -> bool:
    """Whether ``HOST:PORT`` can be reached from this machine only."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def ensure_token(path: Path) -> str:
    """Read the bearer token of ``path``, or make one; the file is readable by its owner only."""
    if path.exists():
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise PreconditionError(
                "The token file can be read by other users. Run chmod 600 on it, or delete it for a new one.",
                reason="TOKEN_FILE_OPEN",
            )
        token = path.read_text(encoding="ascii").strip()
        if token:
            return token
    token = secrets.token_hex(32)  # no leading dash, which a command line would read as an option
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(token)
    return token
