# SPDX-License-Identifier: GPL-3.0-or-later
"""Which service addresses may be used (loopback always, others with online access), and the defaults."""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path

DEFAULT_ENDPOINT = "127.0.0.1:50551"


def is_loopback(endpoint: str) -> bool:
    """Whether ``host:port``, ``[::1]:port`` or ``unix:path`` stays on this machine."""
    if endpoint.startswith("unix:"):
        return True
    host = endpoint.rpartition(":")[0] if ":" in endpoint else endpoint
    host = host.strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refusal(endpoint: str, online_access: bool) -> str | None:
    """Why this endpoint may not be used, as text for the user; None when it may."""
    if not endpoint.strip():
        return f"Enter the address of an LCA service, for example {DEFAULT_ENDPOINT}"
    if is_loopback(endpoint) or online_access:
        return None
    return "This service is on another computer: allow online access in Preferences > System > Network"


def default_token_file() -> Path:
    """Where a service of this user on this computer leaves its access token."""
    override = os.environ.get("LCA_DATA")
    if override:
        return Path(override) / "token"
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", str(Path.home())))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", str(Path.home() / ".local" / "share")))
    return base / "lca-bridge" / "token"
