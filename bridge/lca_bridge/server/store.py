"""The service's memory: one SQLite database (WAL, synchronous FULL) for what is true, files for the bytes.

Rows are frozen dataclasses; every change is one transaction. Blob first, then the row that names it;
deletion in reverse. A job's result and its SUCCEEDED state are one transaction, fenced by the attempt
number, so a worker that comes late changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lca.errors import AbortedError, AlreadyExistsError, NotFoundError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS avatars (id TEXT PRIMARY KEY, revision TEXT NOT NULL, created REAL NOT NULL,
    body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS uploads (id TEXT PRIMARY KEY, size INTEGER NOT NULL, created REAL NOT NULL,
    body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, state TEXT NOT NULL, attempt INTEGER NOT NULL,
    created REAL NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS requests (method TEXT NOT NULL, request_id TEXT NOT NULL, body_hash TEXT NOT NULL,
    answer TEXT NOT NULL, created REAL NOT NULL, PRIMARY KEY (method, request_id)) STRICT;
CREATE INDEX IF NOT EXISTS avatars_created ON avatars (created DESC, id);
CREATE INDEX IF NOT EXISTS jobs_created ON jobs (created DESC, id);
"""
SCHEMA_VERSION = 1
REQUEST_SECONDS = 48 * 3600.0


@dataclass(frozen=True)
class AvatarRow:
    """One avatar; ``stats`` holds the numbers of lca.v1.AvatarStats."""

    id: str
    display_name: str
    revision: str
    labels: dict[str, str] = field(default_factory=dict)
    create_job: str = ""
    stats: dict[str, float] = field(default_factory=dict)
    created: float = 0.0
    updated: float = 0.0

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


@dataclass(frozen=True)
class JobRow:
    """One job: ``spec`` is what to do, ``progress`` and ``error`` are shown, ``sequence`` grows."""

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

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in FINAL_STATES


FINAL_STATES = ("SUCCEEDED", "FAILED", "CANCELLED")


def _dump(row: AvatarRow | UploadRow | JobRow) -> str:
    return json.dumps(asdict(row), separators=(",", ":"))


class Store:
    """Thread-safe; every method is one transaction and blocks for at most one disk sync."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000"):
            self._db.execute(f"PRAGMA {pragma}")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            self._db.close()
            raise AbortedError(
                "The data folder was written by a newer LCA Bridge. Update, or use another folder.",
                reason="DATA_TOO_NEW",
            )
        self._db.executescript(_SCHEMA)
        self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _body(self, table: str, key: str) -> dict[str, Any]:
        with self._lock:
            found = self._db.execute(f"SELECT body FROM {table} WHERE id=?", (key,)).fetchone()
        if found is None:
            raise NotFoundError(f"There is no {table[:-1]} {key!r}.")
        return json.loads(found[0])

    # -- idempotent requests -------------------------------------------------------------------------------

    def earlier_answer(self, method: str, request_id: str, body: bytes) -> str | None:
        """What the same request answered before; AlreadyExistsError if the id came with another body."""
        with self._lock:
            found = self._db.execute(
                "SELECT body_hash, answer FROM requests WHERE method=? AND request_id=?", (method, request_id)
            ).fetchone()
        if found is None:
            return None
        if found[0] != hashlib.sha256(body).hexdigest():
            raise AlreadyExistsError(
                "This request_id was used with another request. Make a new one.", reason="REQUEST_ID_REUSED"
            )
        return found[1]

    @staticmethod
    def _remember(db: sqlite3.Connection, request: tuple[str, str, bytes] | None, answer: str) -> None:
        if request is not None and request[1]:
            method, request_id, body = request
            digest = hashlib.sha256(body).hexdigest()
            db.execute(
                "INSERT INTO requests VALUES (?,?,?,?,?)", (method, request_id, digest, answer, time.time())
            )

    # -- uploads -------------------------------------------------------------------------------------------

    def add_upload(self, row: UploadRow, request: tuple[str, str, bytes] | None = None) -> UploadRow:
        """Store a new upload."""
        row = replace(row, created=time.time())
        with self._transaction() as db:
            db.execute("INSERT INTO uploads VALUES (?,?,?,?)", (row.id, row.size, row.created, _dump(row)))
            self._remember(db, request, row.id)
        return row

    def upload(self, key: str) -> UploadRow:
        """One upload, or NotFoundError."""
        return UploadRow(**self._body("uploads", key))

    def uploads(self) -> list[UploadRow]:
        """All uploads."""
        with self._lock:
            rows = self._db.execute("SELECT body FROM uploads").fetchall()
        return [UploadRow(**json.loads(r[0])) for r in rows]

    def change_upload(self, key: str, **changes: Any) -> UploadRow:
        """Replace fields of an upload."""
        with self._transaction() as db:
            row = replace(self.upload(key), **changes)
            db.execute("UPDATE uploads SET body=? WHERE id=?", (_dump(row), key))
        return row

    def delete_upload(self, key: str) -> None:
        """Forget an upload; missing is fine."""
        with self._transaction() as db:
            db.execute("DELETE FROM uploads WHERE id=?", (key,))

    # -- avatars -------------------------------------------------------------------------------------------

    def avatar(self, key: str) -> AvatarRow:
        """One avatar, or NotFoundError."""
        return AvatarRow(**self._body("avatars", key))

    def avatar_exists(self, key: str) -> bool:
        """Whether the id is taken, by an avatar or by a job that is making it."""
        with self._lock:
            if self._db.execute("SELECT 1 FROM avatars WHERE id=?", (key,)).fetchone():
                return True
            jobs = self._db.execute(
                "SELECT body FROM jobs WHERE state IN ('QUEUED','RUNNING','CANCELLING')"
            ).fetchall()
        return any(json.loads(row[0])["spec"].get("avatar_id") == key for row in jobs)

    def add_avatar(
        self, row: AvatarRow, drop_uploads: list[str], request: tuple[str, str, bytes] | None = None
    ) -> AvatarRow:
        """Store a new avatar and forget the uploads it was made from."""
        row = replace(row, created=time.time(), updated=time.time())
        with self._transaction() as db:
            self._insert_avatar(db, row, drop_uploads)
            self._remember(db, request, row.id)
        return row

    @staticmethod
    def _insert_avatar(db: sqlite3.Connection, row: AvatarRow, drop_uploads: list[str]) -> None:
        try:
            db.execute(
                "INSERT INTO avatars VALUES (?,?,?,?)", (row.id, row.revision, row.created, _dump(row))
            )
        except sqlite3.IntegrityError:
            raise AlreadyExistsError(
                f"There is already an avatar {row.id!r}. Choose another id.", reason="AVATAR_EXISTS"
            ) from None
        for upload in drop_uploads:
            db.execute("DELETE FROM uploads WHERE id=?", (upload,))

    def change_avatar(self, key: str, etag: str = "", **changes: Any) -> AvatarRow:
        """Replace fields; AbortedError if ``etag`` is given and no longer true."""
        with self._transaction() as db:
            old = self.avatar(key)
            _check_etag(old, etag)
            row = replace(old, updated=time.time(), **changes)
            db.execute("UPDATE avatars SET body=? WHERE id=?", (_dump(row), key))
        return row

    def delete_avatar(self, key: str, etag: str = "") -> str | None:
        """Forget an avatar; returns the blob to delete, or ``None`` if another avatar still uses it."""
        with self._transaction() as db:
            row = self.avatar(key)
            _check_etag(row, etag)
            db.execute("DELETE FROM avatars WHERE id=?", (key,))
            used = db.execute("SELECT 1 FROM avatars WHERE revision=?", (row.revision,)).fetchone()
        return None if used else row.revision

    def revisions(self) -> set[str]:
        """Blobs some avatar needs."""
        with self._lock:
            return {r[0] for r in self._db.execute("SELECT revision FROM avatars").fetchall()}

    def page(
        self,
        table: str,
        size: int,
        after: tuple[float, str] | None,
        *,
        states: Collection[str] = (),
        kinds: Collection[str] = (),
        labels: Mapping[str, str] | None = None,
    ) -> list[dict[str, Any]]:
        """Up to ``size`` rows of ``avatars`` or ``jobs``, newest first, after a (created, id) cursor: jobs of
        these states and kinds (none: any), avatars that carry all ``labels``."""
        terms: list[str] = []
        values: list[float | str] = []
        if after is not None:
            terms.append("(-created, id) > (?, ?)")
            values += [-after[0], after[1]]
        for column, wanted in (("state", states), ("json_extract(body, '$.kind')", kinds)):
            if wanted:
                terms.append(f"{column} IN ({','.join('?' * len(wanted))})")
                values += wanted
        for key, value in (labels or {}).items():
            terms.append("EXISTS (SELECT 1 FROM json_each(body, '$.labels') WHERE key=? AND value=?)")
            values += [key, value]
        where = f"WHERE {' AND '.join(terms)}" if terms else ""
        with self._lock:
            rows = self._db.execute(
                f"SELECT body FROM {table} {where} ORDER BY -created, id LIMIT ?", (*values, size)
            ).fetchall()
        return [json.loads(r[0]) for r in rows]

    # -- jobs ----------------------------------------------------------------------------------------------

    def add_job(self, row: JobRow, claim: list[str], request: tuple[str, str, bytes] | None = None) -> JobRow:
        """Store a new job and mark its uploads as used by it."""
        row = replace(row, created=time.time())
        with self._transaction() as db:
            for key in claim:
                upload = self.upload(key)
                if upload.claimed_by:
                    raise AlreadyExistsError(
                        "This upload is already used by another job. Upload the clip again.",
                        reason="UPLOAD_IN_USE",
                    )
                claimed = _dump(replace(upload, claimed_by=row.id))
                db.execute("UPDATE uploads SET body=? WHERE id=?", (claimed, key))
            self._write_job(db, row, insert=True)
            self._remember(db, request, row.id)
        return row

    @staticmethod
    def _write_job(db: sqlite3.Connection, row: JobRow, insert: bool = False) -> None:
        if insert:
            values = (row.id, row.state, row.attempt, row.created, _dump(row))
            db.execute("INSERT INTO jobs VALUES (?,?,?,?,?)", values)
        else:
            db.execute(
                "UPDATE jobs SET state=?, attempt=?, body=? WHERE id=?",
                (row.state, row.attempt, _dump(row), row.id),
            )

    def job(self, key: str) -> JobRow:
        """One job, or NotFoundError."""
        return JobRow(**self._body("jobs", key))

    def unfinished_jobs(self) -> list[JobRow]:
        """Jobs not in a final state, oldest first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT body FROM jobs WHERE state NOT IN ('SUCCEEDED','FAILED','CANCELLED') ORDER BY created"
            ).fetchall()
        return [JobRow(**json.loads(r[0])) for r in rows]

    def change_job(self, key: str, fence: int | None = None, **changes: Any) -> JobRow:
        """Replace fields and raise the sequence; a final job, or one not at attempt ``fence``, stays."""
        with self._transaction() as db:
            row = self.job(key)
            if row.is_final or (fence is not None and row.attempt != fence):
                return row
            row = replace(row, sequence=row.sequence + 1, **changes)
            self._write_job(db, row)
        return row

    def finish_job(
        self, key: str, attempt: int, state: str, *, avatar: AvatarRow | None = None, **changes: Any
    ) -> JobRow:
        """Final state, result and removal of the job's uploads in one transaction; fenced by ``attempt``."""
        with self._transaction() as db:
            row = self.job(key)
            if row.is_final or row.attempt != attempt:
                return row
            uploads = list(row.spec.get("uploads", []))
            if avatar is not None:
                stamped = replace(avatar, created=time.time(), updated=time.time())
                self._insert_avatar(db, stamped, uploads)
                changes["result"] = f"avatars/{avatar.id}"
            else:
                for upload in uploads:
                    db.execute("DELETE FROM uploads WHERE id=?", (upload,))
            row = replace(row, state=state, ended=time.time(), sequence=row.sequence + 1, **changes)
            self._write_job(db, row)
        return row

    def job_ids(self) -> list[str]:
        """Ids of all jobs."""
        with self._lock:
            return [row[0] for row in self._db.execute("SELECT id FROM jobs").fetchall()]

    def delete_job(self, key: str) -> None:
        """Forget a job."""
        with self._transaction() as db:
            db.execute("DELETE FROM jobs WHERE id=?", (key,))

    def used_bytes(self, blob_sizes: int) -> int:
        """Bytes kept or promised: ``blob_sizes`` plus the full size of every upload."""
        with self._lock:
            promised = self._db.execute("SELECT COALESCE(SUM(size), 0) FROM uploads").fetchone()[0]
        return blob_sizes + int(promised)

    def forget_old_requests(self) -> None:
        """Drop idempotency records past their time (48 h)."""
        with self._transaction() as db:
            db.execute("DELETE FROM requests WHERE created < ?", (time.time() - REQUEST_SECONDS,))


def _check_etag(row: AvatarRow, etag: str) -> None:
    if etag and etag != row.etag:
        raise AbortedError("The avatar was changed in between. Read it again and redo the change.")
