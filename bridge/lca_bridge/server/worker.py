"""The process that does one job: ``python -m lca_bridge.server.worker``, started by ``executor.py``.

It speaks JSON lines: one specification on standard input, then optionally ``cancel``; progress,
checkpoints and
signs of life, then one result or error on standard output. When its standard input closes, the service is
gone,
and it ends itself with everything it started. Libraries that print do so to standard error.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TextIO

from lca.errors import ExhaustedError, InvalidInputError, LcaError

EVENTS_PER_SECOND = 10.0
BEAT_SECONDS = 2.0


class Channel:
    """The JSON lines to the service."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._last = (0.0, "")

    def send(self, message: dict[str, Any]) -> None:
        """Write one message."""
        with self._lock:
            self._stream.write(json.dumps(message) + "\n")
            self._stream.flush()

    def fail(self, error: LcaError) -> None:
        """Report the error that ended the work."""
        facts = {
            "category": error.category.value,
            "reason": error.reason,
            "message": error.message,
            "metadata": error.metadata,
        }
        self.send({"error": facts})

    def checkpoint(self, stage: str, path: Path) -> None:
        """Hand over a file that a later attempt can go on from."""
        self.send({"checkpoint": {"stage": stage, "file": path.name}})

    def beat(self) -> None:
        """Show signs of life until the process ends; whoever is frozen shows none."""
        while True:
            time.sleep(BEAT_SECONDS)
            self.send({"beat": 1})

    def progress(self, event: Any) -> None:
        """Forward a ProgressEvent; within a stage at most ten a second."""
        now = time.monotonic()
        too_soon = now - self._last[0] < 1 / EVENTS_PER_SECOND
        if too_soon and event.stage == self._last[1] and event.fraction < 1:
            return
        self._last = (now, event.stage)
        self.send({"progress": asdict(event)})


def parse_options(kind: type, parameters: dict[str, str]) -> Any:
    """Build a flat options dataclass from text values.

    Raises:
        InvalidInputError: ``UNKNOWN_PARAMETER`` or ``BAD_PARAMETER``.
    """
    known = {f.name: f for f in fields(kind) if f.init}
    values: dict[str, Any] = {}
    defaults = kind()
    for name, text in parameters.items():
        if name not in known:
            raise InvalidInputError(
                f"There is no creation parameter {name!r}. Known: {', '.join(sorted(known)) or 'none'}.",
                reason="UNKNOWN_PARAMETER",
            )
        old = getattr(defaults, name)
        try:
            if isinstance(old, bool):
                values[name] = {"true": True, "false": False, "1": True, "0": False}[text.lower()]
            elif isinstance(old, int):
                values[name] = int(text)
            elif isinstance(old, float) or old is None:  # optional values of the pipeline are numbers
                values[name] = float(text)
            else:
                values[name] = text
        except (ValueError, KeyError):
            raise InvalidInputError(
                f"The creation parameter {name!r} cannot be {text!r}.", reason="BAD_PARAMETER"
            ) from None
    return kind(**values)


def create(spec: dict[str, Any], channel: Channel, cancelled: threading.Event) -> None:
    """Run the creation pipeline and write the package; or play a motion, for the other kinds of job.

    A creation saves its capture beside ``out``, and starts from the capture ``spec["checkpoint"]`` if given.
    """
    if spec.get("kind", "CREATE_AVATAR") != "CREATE_AVATAR":
        from lca_bridge.server.motion_worker import play

        play(spec, channel.progress, cancelled)
        return
    import lca_core.avatar.create as pipeline
    from lca_bridge.server.checkpoint import STAGE, load_capture, save_capture
    from lca_core.capture import capture_clip
    from lca_core.model.checkpoint import load_model
    from lca_core.progress import Progress

    options = parse_options(pipeline.CreateOptions, spec.get("parameters", {}))
    out, seed = Path(spec["out"]), int(spec.get("seed", 0))
    model = load_model(options.weights)
    steps = Progress(pipeline.CAPTURE_STAGES + options.stages(), channel.progress, cancelled)
    if spec.get("checkpoint"):
        capture = load_capture(Path(spec["checkpoint"]))
    else:
        capture = capture_clip(
            Path(spec["clip"]),
            max_references=options.max_references,
            report=steps.report,
            seed=seed,
            focal_px=options.focal_px,
            height_m=options.height_m,
        )
        saved = out.with_name("capture.npz")
        save_capture(saved, capture)
        channel.checkpoint(STAGE, saved)
    avatar = pipeline.create_avatar(
        capture, name=spec["name"], model=model, steps=steps, seed=seed, options=options
    )
    avatar.save(out)


def _watch_parent(cancelled: threading.Event) -> None:
    for line in sys.stdin:
        if line.strip() == "cancel":
            cancelled.set()
    # end of input: the service has died; take the decoders along
    if hasattr(os, "killpg"):
        with contextlib.suppress(OSError):
            os.killpg(os.getpgid(0), signal.SIGKILL)
    os._exit(1)


def main() -> int:
    """Entry point."""
    # The protocol keeps the real standard output; whatever libraries print goes to the log.
    channel = Channel(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    spec = json.loads(sys.stdin.readline())
    if hasattr(os, "nice"):
        os.nice(5)  # live streams and health checks go first
    cancelled = threading.Event()
    threading.Thread(target=_watch_parent, args=(cancelled,), daemon=True).start()
    threading.Thread(target=channel.beat, daemon=True).start()
    try:
        create(spec, channel, cancelled)
        channel.send({"done": {}})
    except Exception as error:
        channel.fail(as_reported(error))
    sys.stderr.flush()
    os._exit(0)  # skip slow interpreter shutdown of the heavy libraries; everything is written


def as_reported(error: BaseException) -> LcaError:
    """What the caller hears of an error inside the work: the log says where, the message does not."""
    if isinstance(error, LcaError):
        return error
    traceback.print_exc()
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        message = "Creating the avatar needs more memory than there is. Use a shorter or smaller clip."
        return ExhaustedError(message, reason="OUT_OF_MEMORY")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ExhaustedError("The service's disk is full. Free some space.", reason="STORAGE_FULL")
    message = "The job failed inside the service; its log says where."
    return LcaError(message, reason="CREATION_FAILED")


if __name__ == "__main__":
    raise SystemExit(main())
