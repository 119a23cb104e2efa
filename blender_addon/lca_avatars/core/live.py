# SPDX-License-Identifier: GPL-3.0-or-later
"""The network side of live mode: poses out, newest frame in, on threads of its own; never waits, never sees
bpy.

:class:`LiveLink` connects, finds the avatar on the service (by the hash of its file; sends the file if it is
not there) and drives it with the newest pose. :func:`stream_every` takes every pose in order, for baking.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from .deps import client_part, describe_error, errors
from .jobs import Report
from .service import Target, open_client

CONNECTING, LIVE, FAILED, CLOSED = "connecting", "live", "failed", "closed"
FIRST_FRAME_SECONDS = 60.0
"""Before its first frame a service may have to read a large avatar and warm its network up."""
SILENCE_SECONDS = 8.0
"""A pose that stays without a frame this long means that the service is gone, even if the socket is not."""
CONNECT_SECONDS = 10.0


class LiveLink:
    """Drives one avatar live. All methods return at once; the main thread owns them.

    Args:
        target: the service. package: the avatar's ``.lca`` file.
        corrected: ask for the correction network; a service or avatar without it gives the linear correctives
            and ``note`` says so.
        codec: a way to send frames (docs/streaming.md); ``shm`` falls back by itself.
    """

    def __init__(self, target: Target, package: Path, corrected: bool = True, codec: str = "shm") -> None:
        self.note, self.problem = "", ""
        self._target, self._package, self._codec, self._corrected = target, package, codec, corrected
        self._closed = threading.Event()
        self._driver: Any = None
        self._state = CONNECTING
        self._waiting = self._seen = False
        self._since = 0.0
        self._over = threading.Event()
        threading.Thread(target=self._run, name="lca-live-link", daemon=True).start()

    @property
    def state(self) -> str:
        """``connecting``, ``live``, ``failed`` (see ``problem``) or ``closed``."""
        return self._state

    def push(self, pose: Any) -> bool:
        """Send a pose (an object with ``joint_rotations``, ``translation``, ``arkit``, ``light``); False
        while the connection is being made, and then it must be pushed again."""
        driver = self._driver
        if driver is None or self._state != LIVE:
            return False
        driver.push(**_arrays(pose))
        if not self._waiting:
            self._waiting, self._since = True, time.monotonic()
        return True

    def latest(self, wait: float = 0.0) -> Any | None:
        """Splats of the newest frame since the last call, or None; a failure shows in ``state``. The arrays
        are valid until the next call."""
        driver = self._driver
        if driver is None or self._state != LIVE:
            return None
        try:
            frame = driver.latest(wait)
        except Exception as error:
            self._fail(error)
            return None
        if frame is None:
            patience = SILENCE_SECONDS if self._seen else FIRST_FRAME_SECONDS
            if self._waiting and time.monotonic() - self._since > patience:
                self._fail(errors.UnavailableError("The service has stopped answering."))
            return None
        self._waiting, self._seen = False, True
        return frame.splats

    def close(self) -> None:
        """End the stream; the threads wind down by themselves."""
        if self._state != FAILED:
            self._state = CLOSED
        self._closed.set()

    def wait_closed(self, seconds: float) -> bool:
        """Wait until the threads have ended; for tests and for leaving."""
        return self._over.wait(seconds)

    def _fail(self, error: BaseException) -> None:
        self.problem = describe_error(error)
        self._state = FAILED
        self._closed.set()

    def _run(self) -> None:
        try:
            with open_client(self._target, CONNECT_SECONDS) as service:
                name, revision = find_or_send(service, self._package)
                if self._closed.is_set():
                    return
                driver = self._drive(service, name, revision)
                self._driver = driver
                if self._state == CONNECTING:
                    self._state = LIVE
                self._closed.wait()
                driver.close()
        except Exception as error:
            if self._state in (CONNECTING, LIVE):
                self._fail(error)
        finally:
            self._over.set()

    def _drive(self, service: Any, name: str, revision: str) -> Any:
        if self._corrected:
            try:
                return service.drive(name, codec=self._codec, live=True, revision=revision)
            except errors.LcaError as error:
                if error.reason != "LIVE_UNAVAILABLE":
                    raise
                self.note = "without network corrections: this avatar or service has none"
        return service.drive(name, codec=self._codec, revision=revision)


def find_or_send(service: Any, package: Path, report: Report | None = None) -> tuple[str, str]:
    """Resource name and revision of ``package`` on the service; sent there if the service lacks it.

    Raises:
        NotFoundError: the file is gone.
    """
    try:
        with package.open("rb") as file:
            revision = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise errors.NotFoundError(
            f"The avatar file {package} cannot be read ({error.strerror}). Import the avatar again.",
            reason="FILE_NOT_FOUND",
        ) from None
    for avatar in service.list_avatars():
        if avatar.revision == revision:
            return str(avatar.name), revision

    def progress(done: int, total: int) -> None:
        if report is not None:
            report(0.0, f"Sending the avatar, {done / max(total, 1):.0%}")

    upload = service.upload(package, progress, reuse=True)
    return str(service.import_avatar(upload.name, display_name=package.stem).name), revision


def stream_every(
    target: Target,
    package: Path,
    poses: Iterable[Any],
    sink: Callable[[int, Any], None],
    total: int,
    report: Report,
    cancelled: threading.Event,
    corrected: bool = True,
) -> str:
    """Send every pose and hand each frame's splats to ``sink(index, splats)`` in order; returns a note.

    Raises:
        CancelledError: asked for.
        UnavailableError: the service went away before the last frame.
        LcaError: whatever the service says; a pose it refuses counts as one.
    """
    messages = client_part("lca_bridge.wire.messages")

    def sent() -> Iterator[Any]:
        for i, pose in enumerate(poses):
            yield messages.pose_to_proto(i + 1, **_arrays(pose))

    note = ""
    with open_client(target, CONNECT_SECONDS) as service:
        name, revision = find_or_send(service, package, report)
        try:
            stream = service.animate(name, codec="shm", every=True, live=corrected, revision=revision)
        except errors.LcaError as error:
            if not corrected or error.reason != "LIVE_UNAVAILABLE":
                raise
            note = "without network corrections: this avatar or service has none"
            stream = service.animate(name, codec="shm", every=True, revision=revision)
        done = 0
        with stream, contextlib.closing(_Watch(stream, cancelled)):
            try:
                for frame in stream.play(sent()):
                    sink(frame.frame_id - 1, frame.splats)
                    done += 1
                    report(done / max(total, 1), f"Frame {done} of {total}")
            except errors.LcaError:
                if cancelled.is_set():
                    raise errors.CancelledError("Cancelled on request.") from None
                raise
            if stream.counts.warnings:
                raise errors.InvalidInputError(
                    f"The service refused a pose: {stream.counts.warnings[0].message}"
                )
        if cancelled.is_set():
            raise errors.CancelledError("Cancelled on request.")
        if done < total:
            raise errors.UnavailableError(f"The service ended after {done} of {total} frames.")
    return note


def _arrays(pose: Any) -> dict[str, Any]:
    return {name: getattr(pose, name) for name in ("joint_rotations", "translation", "arkit", "light")}


class _Watch:
    """Closes a blocking stream when the job is cancelled."""

    def __init__(self, stream: Any, cancelled: threading.Event) -> None:
        self._over = threading.Event()
        self._stream, self._cancelled = stream, cancelled
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        """The stream has ended by itself."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(0.1):
            if self._cancelled.is_set():
                self._stream.close()
                return
