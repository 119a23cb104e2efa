# SPDX-License-Identifier: GPL-3.0-or-later
"""Which service addresses the add-on may talk to: loopback always, anything else only with online access."""

from __future__ import annotations

import ipaddress


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
        return "Enter the address of an LCA service, for example 127.0.0.1:50061"
    if is_loopback(endpoint) or online_access:
        return None
    return "This service is on another computer: allow online access in Preferences > System > Network"
