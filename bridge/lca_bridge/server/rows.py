"""What the store keeps, as frozen dataclasses; a field that an older row lacks takes its default."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

FINAL_STATES = ("SUCCEEDED", "FAILED", "CANCELLED")


@dataclass(frozen=True)
class AvatarRow:
    """One avatar; ``stats`` holds the numbers of lca.v1.AvatarStats, times are seconds since 1970."""

    id: str
    display_name: str
    revision: str
    labels: dict[str, str] = field(default_factory=dict)
    create_job: str = ""
    stats: dict[str, float] = field(default_factory=dict)
    created: float = 0.0
    updated: float = 0.0
    owner: str = ""
    deleted: float = 0.0
    purge_at: float = 0.0

    @property
    def etag(self) -> str:
        """Changes with every change of the row."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class UploadRow:
    """One upload; ``committed`` bytes are durable, ``claimed_by`` is the job that uses it."""

    id: str
    size: int
    committed: int = 0
    state: str = "OPEN"
    file_name: str = ""
    sha256: str = ""
    content: str = ""
    suffix: str = ""
    media: dict[str, Any] = field(default_factory=dict)
    claimed_by: str = ""
    created: float = 0.0
    owner: str = ""


@dataclass(frozen=True)
class JobRow:
    """One job: ``spec`` is what to do, ``progress`` and ``error`` are shown, ``sequence`` grows.

    ``attempt`` is the fence: what an older attempt reports changes nothing. ``losses`` counts attempts that
    ended without a word since the last checkpoint or resume. ``checkpoint`` names the last durable point,
    ``checkpoint_blob`` its bytes. ``inputs_until``: a resumable job keeps its clips and checkpoint so long.
    """

    id: str
    kind: str
    spec: dict[str, Any]
    state: str = "QUEUED"
    attempt: int = 1
    sequence: int = 1
    progress: dict[str, Any] = field(default_factory=dict)
    result: str = ""
    error: dict[str, Any] | None = None
    result_file: dict[str, Any] = field(default_factory=dict)
    created: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    owner: str = ""
    request_id: str = ""
    losses: int = 0
    checkpoint: str = ""
    checkpoint_blob: str = ""
    inputs_until: float = 0.0

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more, unless somebody resumes it."""
        return self.state in FINAL_STATES

    @property
    def is_resumable(self) -> bool:
        """Whether its error may go away and its inputs are still kept."""
        return self.state in ("FAILED", "CANCELLED") and bool((self.error or {}).get("resumable"))


Row = AvatarRow | UploadRow | JobRow


def dump(row: Row) -> str:
    """The JSON text of a row."""
    return json.dumps(asdict(row), separators=(",", ":"))
