# SPDX-License-Identifier: GPL-3.0-or-later
"""What the add-on asks of an avatar service, in three calls; the only module that knows the client's API."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .deps import client, errors

DEFAULT_ENDPOINT = "127.0.0.1:50061"


@dataclass(frozen=True)
class Target:
    """Address of a service and the file with its access token (empty: the client's default)."""

    endpoint: str
    token_file: str = ""


def open_client(target: Target) -> Any:
    """A connected ``LcaClient``; close it when done."""
    token = None
    if target.token_file:
        try:
            token = Path(target.token_file).read_text().strip()
        except OSError as error:
            raise errors.UnauthenticatedError(
                f"The token file cannot be read ({error.strerror}). Choose the file that the service wrote."
            ) from error
    return client().LcaClient(target.endpoint, token=token)


def describe_service(target: Target, timeout: float) -> str:
    """One line about the service that answers at ``target``."""
    with open_client(target) as service:
        info = service.server_info(timeout=timeout)
    devices = ", ".join(info.devices) or "no device"
    return f"Connected: service {info.version} on {devices}"
