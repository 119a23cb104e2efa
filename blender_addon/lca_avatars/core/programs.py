# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the ``lca`` program of this computer for what must not happen inside Blender: tracking a clip,
packing USD.

Runs in a job's thread; a cancel ends the program, a failure becomes its own last line.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

from .deps import errors
from .jobs import Report

_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 3.0
# Blender's own Python settings would send another Python to Blender's modules.
_OURS = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE")


def find_lca(program: str) -> str:
    """Path of the ``lca`` program: the one named, else PATH.

    Raises:
        PreconditionError: ``NO_SERVICE_PROGRAM``; it is not there.
    """
    found = shutil.which(program or "lca")
    if found is None:
        raise errors.PreconditionError(
            "The lca program was not found. Install LCA Bridge on this computer and name its lca program in "
            "the add-on's preferences.",
            reason="NO_SERVICE_PROGRAM",
        )
    return found


def run_lca(
    program: str, arguments: list[str | Path], what: str, report: Report, cancelled: threading.Event
) -> str:
    """Run ``lca ARGUMENTS`` and return its output; ``what`` is shown while it runs.

    Raises:
        CancelledError: asked for; the program was ended.
        PreconditionError: it cannot be started, or it failed; the message is its own.
    """
    command = [find_lca(program), *map(str, arguments)]
    environment = {key: value for key, value in os.environ.items() if key not in _OURS}
    report(0.0, what)
    # Files, because a full pipe would stop the program.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment
            )
        except OSError as error:
            raise errors.PreconditionError(f"{command[0]} cannot be started: {error.strerror}.") from None
        while True:
            try:
                code = process.wait(_POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if cancelled.is_set():
                    _end(process)
                    raise errors.CancelledError("Cancelled on request.") from None
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    if code != 0:
        lines = [line for line in texts[1].splitlines() if line.strip()]
        raise errors.PreconditionError(
            lines[-1] if lines else f"lca ended with code {code}.", reason="LCA_FAILED"
        )
    return texts[0]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
