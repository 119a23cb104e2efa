"""Resource names and page tokens: parsed strictly, because a name must never become a path."""

from __future__ import annotations

import base64
import json
import re
import secrets
import unicodedata
import uuid
from collections.abc import Iterable
from typing import Any

from lca.errors import InvalidInputError

_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


def _bad(what: str) -> InvalidInputError:
    return InvalidInputError(what, reason="INVALID_NAME")


def parse_name(name: str, collection: str) -> str:
    """The id in ``collection/id``; InvalidInputError ``INVALID_NAME`` for anything else."""
    prefix = f"{collection}/"
    if not name.startswith(prefix) or not _ID.fullmatch(name[len(prefix) :]):
        raise _bad(f"A name here looks like {collection}/my-id (a-z, 0-9 and -, at most 63 characters).")
    return name[len(prefix) :]


def check_id(value: str) -> str:
    """A client-chosen avatar id."""
    if not _ID.fullmatch(value):
        raise _bad("An avatar id uses a-z, 0-9 and -, starts with a letter and has at most 63 characters.")
    return value


def new_id(prefix: str) -> str:
    """A random server-made id, e.g. ``j0f3...``."""
    return prefix + secrets.token_hex(10)


def id_from(display_name: str) -> str:
    """A readable id made from a display name, with a random tail so that it is free."""
    ascii_name = unicodedata.normalize("NFKD", display_name).encode("ascii", "ignore").decode().lower()
    stem = re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:40].strip("-")
    stem = stem if stem[:1].isalpha() else f"avatar-{stem}".strip("-")
    return f"{stem}-{secrets.token_hex(3)}"


def check_display_name(value: str) -> str:
    """At most 200 printable characters."""
    if len(value) > 200 or any(unicodedata.category(c) == "Cc" for c in value):
        raise _bad("A display name has at most 200 characters and no control characters.")
    return value


def check_labels(labels: dict[str, str]) -> dict[str, str]:
    """At most 64 labels of at most 63 / 256 characters."""
    if len(labels) > 64 or any(not 0 < len(k) <= 63 or len(v) > 256 for k, v in labels.items()):
        raise _bad("At most 64 labels; a key has at most 63 characters, a value 256.")
    return labels


def check_request_id(value: str) -> str:
    """Empty, or a UUID."""
    if value:
        try:
            uuid.UUID(value)
        except ValueError:
            raise InvalidInputError("request_id must be a UUID.", reason="INVALID_REQUEST_ID") from None
    return value


def enum_names(kind: Any, values: Iterable[int], prefix: str) -> set[str]:
    """Names of enum values, without ``prefix``; InvalidInputError ``UNKNOWN_VALUE`` for others."""
    if unknown := [value for value in values if value not in kind.values()]:
        raise InvalidInputError(f"There is no value {unknown[0]} here.", reason="UNKNOWN_VALUE")
    return {kind.Name(value).removeprefix(prefix) for value in values}


def page_size(value: int) -> int:
    """0 means 50, at most 500, negative is refused."""
    if value < 0:
        raise InvalidInputError("page_size cannot be negative.", reason="INVALID_PAGE")
    return min(value or 50, 500)


def page_token(created: float, key: str) -> str:
    """An opaque cursor after one row."""
    return base64.urlsafe_b64encode(json.dumps([created, key]).encode()).decode()


def parse_page_token(token: str) -> tuple[float, str] | None:
    """The cursor of a token, ``None`` for the first page."""
    if not token:
        return None
    try:
        created, key = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
        return float(created), str(key)
    except (ValueError, TypeError, RecursionError):
        raise InvalidInputError("page_token is not one this service gave.", reason="INVALID_PAGE") from None
