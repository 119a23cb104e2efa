"""A real service in a process of its own, with switches for trouble; ``harness.py`` starts it.

``fault_server.py JSON``: fields of ServerConfig and Limits, plus ``fsync_fails`` (a file: while it is
there every
sync fails), ``clock`` (a file with seconds to add to the wall clock) and ``audit`` (a log of opened files).
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import sys
import time
from pathlib import Path

from lca_bridge.cli.serve import _serve
from lca_bridge.server.config import Limits, ServerConfig, TlsFiles
from lca_bridge.server.logs import log_to_stderr


def main() -> None:
    about = json.loads(sys.argv[1])
    if flag := about.pop("fsync_fails", None):
        sync = os.fsync

        def fsync(handle: int) -> None:
            if os.path.exists(flag):
                raise OSError(errno.EIO, "Input/output error")
            sync(handle)

        os.fsync = fsync
    if clock := about.pop("clock", None):
        real = time.time
        time.time = lambda: real() + float(Path(clock).read_text() or 0)
    if audit := about.pop("audit", None):
        log = os.open(audit, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def hook(event: str, args: tuple) -> None:
            if event in ("open", "os.listdir", "os.scandir", "os.remove", "os.rename"):
                os.write(log, f"{event} {args[0]!r}\n".encode(errors="replace"))

        sys.addaudithook(hook)
    tls = about.pop("tls", None)
    tokens = about.pop("tokens", None)
    config = ServerConfig(
        data_dir=Path(about.pop("data_dir")),
        limits=Limits(**about.pop("limits", {})),
        worker=tuple(about.pop("worker", ())),
        tokens=Path(tokens) if tokens else None,
        tls=TlsFiles(*(Path(p) if p else None for p in tls)) if tls else None,  # type: ignore[arg-type]
        **about,
    )
    log_to_stderr(logging.INFO)
    asyncio.run(_serve(config, True))


if __name__ == "__main__":
    main()
