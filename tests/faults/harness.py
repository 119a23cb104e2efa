"""Starts, kills and looks into services that run as processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from lca_bridge.client import LcaClient, connect

sys.path.insert(0, str(Path(__file__).parents[1] / "bridge"))
from service_processes import resident, until, workers_below

__all__ = ["HERE", "ServerProcess", "database_is_sound", "files", "resident", "until"]

HERE = Path(__file__).parent


class ServerProcess:
    """One service process; use as a context manager (ends with SIGKILL)."""

    def __init__(self, data: Path, package: Path | None = None, **about: Any) -> None:
        self.data = data
        if package is not None:
            command = [sys.executable, str(HERE / "small_worker.py"), str(package)]
            about["worker"] = command
        self._about = {"data_dir": str(data), "address": "127.0.0.1:0", **about}
        self.process: subprocess.Popen[str] | None = None
        self.log: list[str] = []
        self.target = ""

    def start(self) -> ServerProcess:
        env = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "fault_server.py"), json.dumps(self._about)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
        )  # fmt: skip
        assert self.process.stderr is not None and self.process.stdout is not None
        stderr = self.process.stderr
        self._reader = threading.Thread(target=lambda: self.log.extend(stderr), daemon=True)
        self._reader.start()
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self._reader.join(5)
            raise RuntimeError("".join(self.log))
        self.target = json.loads(line)["target"]
        return self

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self._reader.join(5)
            assert self.process.stdout is not None and self.process.stderr is not None
            self.process.stdout.close()
            self.process.stderr.close()
            self.process = None

    def __enter__(self) -> ServerProcess:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def token(self) -> str | None:
        path = self.data / "token"
        return None if self.target.startswith("unix:") else path.read_text()

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    @contextlib.contextmanager
    def client(self, token: str | None = None) -> Iterator[LcaClient]:
        with connect(self.target, token or self.token, wait_seconds=20) as connected:
            yield connected

    @contextlib.contextmanager
    def channel(self, *options: tuple[str, Any]) -> Iterator[grpc.Channel]:
        """A channel of its own connection."""
        own = (("grpc.use_local_subchannel_pool", 1), *options)
        with grpc.insecure_channel(self.target, options=own) as opened:
            yield opened

    def rss(self) -> int:
        """Resident bytes of the service process."""
        assert self.process is not None
        return resident(self.process.pid)

    def workers(self) -> list[int]:
        """Living processes that work in this service's scratch folders."""
        return workers_below(self.data)


def files(data: Path) -> dict[str, int]:
    """Every file the service keeps for callers, with its size."""
    kept = ("cas", "uploads", "tmp", "results")
    return {
        str(path.relative_to(data)): path.stat().st_size
        for part in kept
        for path in (data / part).rglob("*")
        if path.is_file()
    }


def database_is_sound(data: Path) -> bool:
    """SQLite's own check; the service must be down or idle."""
    with contextlib.closing(sqlite3.connect(data / "lca.db")) as db:
        return db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
