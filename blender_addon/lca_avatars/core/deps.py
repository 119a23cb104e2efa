# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that decides where our package reader and service client come from.

The shipped extension carries them under ``vendor/`` (no ``sys.path`` edits, nothing to install); a checkout
imports the same modules from its environment. Everything else in the add-on takes them from here.
The client needs grpcio, so it is imported only when somebody talks to a service.
"""

from __future__ import annotations

import errno
import importlib
from importlib.util import find_spec
from types import ModuleType

_VENDOR = __package__.rpartition(".")[0] + ".vendor"
VENDORED: bool = find_spec(_VENDOR) is not None
"""Whether this copy of the add-on carries its own client and reader, as a built extension does."""


def _load(name: str) -> ModuleType:
    return importlib.import_module(f"{_VENDOR}.{name}" if VENDORED else name)


errors = _load("lca.errors")
hand_poses = _load("lca.hand_poses")
motion = _load("lca.motion")
package = _load("lca_bridge.wire.package")
skin = _load("lca_bridge.wire.skin")


def client() -> ModuleType:
    """The package ``lca_bridge.client``; raises ImportError when grpcio or protobuf is missing."""
    return _load("lca_bridge.client")


def client_part(name: str) -> ModuleType:
    """A module that comes with the client, for example ``lca_bridge.wire.messages`` (needs protobuf)."""
    return _load(name)


def describe_error(error: BaseException) -> str:
    """One line for a human: our own errors speak for themselves, anything else gets its type named."""
    if isinstance(error, errors.LcaError):
        return str(error)
    if isinstance(error, ImportError):
        return f"The service client cannot be loaded ({error}). Reinstall the extension zip for your system."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk is full. Free some space, then try again."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
    return f"{type(error).__name__}: {error}"
