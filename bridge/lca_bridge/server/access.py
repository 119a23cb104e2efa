"""Who is calling: every RPC runs as one principal, and rows of others do not exist for it.

The guard sets :data:`caller` for the length of a call; the store asks :func:`may_see`. Work that no caller
started (the job runner, sweeps) runs as :data:`SYSTEM`, which sees everything.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from lca.errors import InvalidInputError, PreconditionError, UnauthenticatedError

_NAME = re.compile(r"[a-z0-9]([a-z0-9_.-]{0,62}[a-z0-9])?")
MIN_TOKEN = 16


@dataclass(frozen=True)
class Principal:
    """``name`` owns what it makes; one that ``sees_all`` also reaches what others made."""

    name: str
    sees_all: bool = False


SYSTEM = Principal("", sees_all=True)
"""The service itself, and whoever can read its data folder anyway (its unix socket or its own token)."""

caller: ContextVar[Principal] = ContextVar("lca_caller", default=SYSTEM)


def may_see(owner: str) -> bool:
    """Whether the current caller may know that a row of ``owner`` exists."""
    principal = caller.get()
    return principal.sees_all or principal.name == owner


class Tokens:
    """Bearer tokens and whom they stand for; only hashes are kept.

    Args:
        own: the service's own token, which sees everything; ``None`` when there is none (a unix socket).
        named: principal -> token.
    """

    def __init__(self, own: str | None, named: dict[str, str] | None = None) -> None:
        self._known: list[tuple[bytes, Principal]] = []
        if own is not None:
            self._known.append((_digest(own), SYSTEM))
        self._known += [(_digest(token), Principal(name)) for name, token in (named or {}).items()]

    def __bool__(self) -> bool:
        return bool(self._known)

    def principal(self, authorization: str) -> Principal:
        """Whom an ``authorization`` header stands for; UnauthenticatedError ``TOKEN_INVALID``."""
        scheme, _, token = authorization.partition(" ")
        found = None
        digest = _digest(token)
        for known, principal in self._known:  # all of them, so that time tells nothing
            if hmac.compare_digest(known, digest):
                found = principal
        if found is None or scheme.lower() != "bearer":
            raise UnauthenticatedError("The token is not one of this service.", reason="TOKEN_INVALID")
        return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()


def read_tokens(path: Path) -> dict[str, str]:
    """Principal -> token from a file of ``NAME TOKEN`` lines (``#`` begins a comment).

    Raises:
        PreconditionError: ``TOKEN_FILE_OPEN``; other users can read the file.
        InvalidInputError: ``BAD_TOKEN_FILE``.
    """
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise PreconditionError(
            "The token file can be read by other users. Run chmod 600 on it.", reason="TOKEN_FILE_OPEN"
        )
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or not _NAME.fullmatch(words[0]) or len(words[1]) < MIN_TOKEN:
            raise InvalidInputError(
                f"Line {number} of the token file is not: name token (a-z, 0-9; at least {MIN_TOKEN} "
                "characters of token).",
                reason="BAD_TOKEN_FILE",
            )
        if words[0] in found or words[1] in found.values():
            raise InvalidInputError(
                f"Line {number} of the token file repeats a name or token.", reason="BAD_TOKEN_FILE"
            )
        found[words[0]] = words[1]
    return found
