# SPDX-License-Identifier: GPL-3.0-or-later
"""What the add-on asks of an avatar service; the only module that knows the client's calls.

All functions block and belong into a :class:`~.jobs.Job`; progress and cancellation go through its arguments.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .deps import client, errors
from .endpoint import DEFAULT_ENDPOINT, default_token_file, is_loopback
from .jobs import Report

PATIENCE_SECONDS = 30.0
"""How long a job is waited for while its service does not answer: it may be restarting."""
_UPLOADED, _CREATED = 0.05, 0.95  # shares of the progress bar


@dataclass(frozen=True)
class Target:
    """A service: address, file with its access token, CA certificate for services on other computers.

    Empty files mean: the token that a service on this computer wrote, and no TLS.
    """

    endpoint: str = DEFAULT_ENDPOINT
    token_file: str = ""
    ca_file: str = ""


@dataclass(frozen=True)
class RemoteAvatar:
    """An avatar that the service holds: resource name (``avatars/...``), title and number of splats."""

    resource: str
    title: str
    gaussians: int


@dataclass(frozen=True)
class ServiceInfo:
    """Who answered: one line for the panel, and its avatars, newest first."""

    line: str
    avatars: tuple[RemoteAvatar, ...]


def open_client(target: Target, wait_seconds: float = 10.0) -> Any:
    """A connected client, to be used in a ``with`` statement.

    Raises:
        LcaError: nobody answers in ``wait_seconds``, a file cannot be read, or TLS is needed.
    """
    api = client()
    token = None
    if target.token_file:
        token = api.read_token(target.token_file)
    elif is_loopback(target.endpoint) and not target.endpoint.startswith("unix:"):
        found = default_token_file()
        token = api.read_token(found) if found.is_file() else None
    authority = None
    if target.ca_file:
        try:
            authority = Path(target.ca_file).read_bytes()
        except OSError as error:
            raise errors.NotFoundError(f"The CA certificate cannot be read: {error.strerror}.") from None
    return api.connect(target.endpoint, token, tls_ca=authority, wait_seconds=wait_seconds)


def describe_service(target: Target, timeout: float) -> ServiceInfo:
    """Version, devices and avatars of the service at ``target``."""
    with open_client(target, timeout) as service:
        info = service.server_info(timeout=timeout)
        avatars = tuple(
            RemoteAvatar(a.name, a.display_name or a.name, a.stats.gaussian_count)
            for a in service.list_avatars()
        )
    devices = ", ".join(info.devices) or "no device"
    return ServiceInfo(f"Service {info.version} on {devices}", avatars)


def create_avatar(
    target: Target,
    sources: Sequence[Path],
    title: str,
    folder: Path,
    report: Report,
    cancelled: threading.Event,
) -> Path:
    """Upload one video or photos, wait for the avatar and download it into ``folder``; returns the ``.lca``
    file.

    Raises:
        CancelledError: asked for; the uploads or the job on the service are cancelled as well.
        LcaError: whatever the service says about the clip.
    """
    with open_client(target) as service:
        uploaded: list[str] = []
        try:
            for file in sources:
                uploaded.append(_upload(service, file, (len(uploaded), len(sources)), report, cancelled))
            job = service.create_avatar(uploaded, display_name=title)
        except Exception:
            # Only a job that started takes care of its uploads.
            for name in uploaded:
                with contextlib.suppress(errors.LcaError):
                    service.delete_upload(name)
            raise
        resource = _follow(service, job.name, report, cancelled)
        return _download(service, resource, folder, report, _CREATED)


def fetch_avatar(
    target: Target, resource: str, folder: Path, report: Report, cancelled: threading.Event
) -> Path:
    """Download an avatar that the service holds; returns the ``.lca`` file."""
    with open_client(target) as service:
        return _download(service, resource, folder, report, 0.0)


def _upload(
    service: Any, file: Path, place: tuple[int, int], report: Report, cancelled: threading.Event
) -> str:
    """Send one file, the ``place``-th (index, of how many); returns the upload's name."""
    index, count = place
    what = "Sending the clip" if count == 1 else f"Sending photo {index + 1} of {count}"

    def progress(done: int, total: int) -> None:
        report(_UPLOADED * (index + done / max(total, 1)) / count, what)

    progress(0, 1)
    name = service.create_upload(file.stat().st_size, file.name).name
    try:
        service.upload(file, progress, resume=name)
        progress(1, 1)
    except errors.LcaError:
        # Cancelling breaks the upload in gRPC's own thread, so it arrives as some transport error.
        if not cancelled.is_set():
            raise
        service.delete_upload(name)
        raise errors.CancelledError("Cancelled on request.") from None
    return str(name)


def _follow(service: Any, job: str, report: Report, cancelled: threading.Event) -> str:
    """Relay a job's progress until it ends; returns the avatar's resource name."""
    over = threading.Event()
    watcher = threading.Thread(target=_cancel_when_asked, args=(service, job, cancelled, over), daemon=True)
    watcher.start()
    last = None
    try:
        for last in service.watch_job(job, patience=PATIENCE_SECONDS):
            if not cancelled.is_set():
                share = _UPLOADED + (_CREATED - _UPLOADED) * last.progress.fraction
                report(share, last.progress.message or last.progress.stage or "Waiting")
    finally:
        over.set()
        watcher.join()
    if last is None or not last.result_resource:
        return str(service.wait_job(job).result_resource)  # raises the job's own error
    return str(last.result_resource)


def _cancel_when_asked(service: Any, job: str, cancelled: threading.Event, over: threading.Event) -> None:
    """The watch only speaks when the job changes; this notices a cancel in between."""
    while not over.wait(0.1):
        if cancelled.is_set():
            try:
                service.cancel_job(job)
            except errors.LcaError:
                continue  # the connection may be down; try again while the watch lasts
            return


def _download(service: Any, resource: str, folder: Path, report: Report, start: float) -> Path:
    name = resource.rpartition("/")[2]

    def progress(done: int, total: int) -> None:
        report(start + (1.0 - start) * done / max(total, 1), "Receiving the avatar")

    fetch: Callable[..., Path] = service.download
    return fetch(resource, folder / f"{name}.lca", progress)
