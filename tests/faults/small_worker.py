"""The real worker process around a pipeline of half a second: same protocol, same files, same checkpoints.

Creation parameters choose a fault: ``fault`` = oom, error, segfault, freeze, exit or disk; ``at`` =
capture or model
(default: model); ``until`` = the last attempt that shows it, counted in a file beside this worker's package.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lca.errors import CancelledError
from lca_bridge.server import worker

STEPS, STEP_SECONDS = 8, 0.03


whole_create = worker.create


def fail(kind: str) -> None:
    match kind:
        case "oom":
            raise MemoryError
        case "error":
            raise RuntimeError("/secret/path/of/the/service.py went wrong")
        case "disk":
            raise OSError(errno.ENOSPC, "No space left on device", "/secret/path")
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(3)
        case "freeze":
            os.kill(os.getpid(), signal.SIGSTOP)


def create(spec: dict[str, Any], channel: worker.Channel, cancelled: Any) -> None:
    if spec.get("kind", "CREATE_AVATAR") != "CREATE_AVATAR":
        whole_create(spec, channel, cancelled)
        return
    out, options = Path(spec["out"]), spec.get("parameters", {})
    package = Path(sys.argv[1] if __name__ == "__main__" else os.environ["LCA_FAULT_PACKAGE"])
    tries = package.parent / f"tries-{spec['name']}"
    attempt = int(tries.read_text()) + 1 if tries.exists() else 1
    tries.write_text(str(attempt))
    faulty = "fault" in options and attempt <= int(options.get("until", 99))

    def stage(name: str, index: int) -> None:
        for step in range(STEPS):
            if cancelled.is_set():
                raise CancelledError("The job was cancelled on request.")
            if faulty and step == STEPS // 2 and options.get("at", "model") == name:
                fail(options["fault"])
            fraction = (index * STEPS + step) / (2 * STEPS)
            event = worker_event(name, index, fraction)
            channel.send({"progress": event})
            time.sleep(STEP_SECONDS * float(options.get("slow", 1)))

    clip = Path(spec["clip"])
    if spec["checkpoint"]:
        state = json.loads(Path(spec["checkpoint"]).read_text())
    else:
        assert clip.stat().st_size > 0
        stage("capture", 0)
        state = {"seed": spec["seed"], "made_by": attempt, "padding": "x" * 100_000}
        saved = out.with_name("capture.npz")
        saved.write_text(json.dumps(state))
        channel.checkpoint("capture", saved)
    stage("model", 1)
    with zipfile.ZipFile(package) as source, zipfile.ZipFile(out, "w") as target:
        for entry in source.namelist():
            data = source.read(entry)
            if entry == "avatar.json":
                header = json.loads(data)
                header["name"] = spec["name"]
                header["provenance"] = {"capture_attempt": state["made_by"], "attempt": attempt}
                data = json.dumps(header).encode()
            target.writestr(entry, data)


def worker_event(stage: str, index: int, fraction: float) -> dict[str, Any]:
    return vars(SimpleNamespace(stage=stage, stage_index=index, stage_count=2, fraction=fraction, message=""))


if __name__ == "__main__":
    worker.create = create
    worker.BEAT_SECONDS = 0.2
    raise SystemExit(worker.main())
