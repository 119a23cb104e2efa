# SPDX-License-Identifier: GPL-3.0-or-later
"""The avatar service of this computer, started by the user's button and ended with Blender."""

from __future__ import annotations

import atexit
import shutil
import subprocess
from dataclasses import dataclass

from .deps import errors

_PATIENCE_SECONDS = 5.0


@dataclass
class _State:
    process: subprocess.Popen[bytes] | None = None


_state = _State()


def running() -> bool:
    """Whether a service that was started here is alive."""
    return _state.process is not None and _state.process.poll() is None


def start(program: str, endpoint: str) -> None:
    """Start ``lca serve`` at ``endpoint``; ``program`` is the path of ``lca``, empty looks in PATH.

    Raises:
        PreconditionError: there is no such program, or one is running.
    """
    if running():
        raise errors.PreconditionError("The service that Blender started is still running.")
    found = shutil.which(program or "lca")
    if found is None:
        raise errors.PreconditionError(
            "The lca program was not found. Install LCA Bridge on this computer and name its lca program in "
            "the add-on's preferences.",
            reason="NO_SERVICE_PROGRAM",
        )
    _state.process = subprocess.Popen(
        [found, "serve", "--listen", endpoint],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    atexit.register(stop)


def stop() -> None:
    """End the service that was started here, if there is one."""
    process, _state.process = _state.process, None
    atexit.unregister(stop)
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
