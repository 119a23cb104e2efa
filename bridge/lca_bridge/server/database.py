"""The SQLite file below the store: opening, migrating, transactions, and its troubles in plain words."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lca.errors import AbortedError, DataLossError, ExhaustedError, LcaError, UnavailableError

SCHEMA_VERSION = 2
_TABLES = """
CREATE TABLE IF NOT EXISTS avatars (id TEXT PRIMARY KEY, revision TEXT NOT NULL, created REAL NOT NULL,
    body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS uploads (id TEXT PRIMARY KEY, size INTEGER NOT NULL, created REAL NOT NULL,
    body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, state TEXT NOT NULL, attempt INTEGER NOT NULL,
    created REAL NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS requests (principal TEXT NOT NULL, method TEXT NOT NULL, request_id TEXT NOT NULL,
    body_hash TEXT NOT NULL, answer TEXT NOT NULL, created REAL NOT NULL,
    PRIMARY KEY (principal, method, request_id)) STRICT;
CREATE INDEX IF NOT EXISTS avatars_created ON avatars (created DESC, id);
CREATE INDEX IF NOT EXISTS jobs_created ON jobs (created DESC, id);
"""
# Version 1 kept requests without a principal; all of them were the service's own.
_FROM_1 = """
ALTER TABLE requests RENAME TO requests_1;
CREATE TABLE requests (principal TEXT NOT NULL, method TEXT NOT NULL, request_id TEXT NOT NULL,
    body_hash TEXT NOT NULL, answer TEXT NOT NULL, created REAL NOT NULL,
    PRIMARY KEY (principal, method, request_id)) STRICT;
INSERT INTO requests SELECT '', method, request_id, body_hash, answer, created FROM requests_1;
DROP TABLE requests_1;
"""
_FULL = {sqlite3.SQLITE_FULL}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class Database:
    """One connection, WAL and synchronous FULL, used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open and migrate.

        Raises:
            AbortedError: ``DATA_TOO_NEW``; a newer version wrote it. Nothing is changed.
            DataLossError: ``DATA_DAMAGED``.
        """
        self.lock = threading.RLock()
        if not path.exists():
            path.touch(mode=0o600)  # its log takes the mode over
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            self._open()
        except sqlite3.Error as error:
            self._db.close()
            raise storage_trouble(error) from error
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise AbortedError(
                "The data folder was written by a newer LCA Bridge. Update, or use another folder.",
                reason="DATA_TOO_NEW",
            )
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "secure_delete=ON"):
            self._db.execute(f"PRAGMA {pragma}")
        if self._db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise damaged()
        steps = _TABLES if version != 1 else _FROM_1 + _TABLES
        self._db.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")

    def close(self) -> None:
        """Close it."""
        with self.lock:
            self._db.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A statement or two that change nothing."""
        with self.lock:
            try:
                yield self._db
            except sqlite3.Error as error:
                raise storage_trouble(error) from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; on the disk when it ends.

        Raises:
            ExhaustedError: ``STORAGE_FULL``.
            UnavailableError: ``STORAGE_FAILED`` or ``STORAGE_BUSY``.
        """
        with self.lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                    self._db.execute("COMMIT")
                except BaseException:
                    with suppress(sqlite3.Error):  # a full disk may have rolled back already
                        if self._db.in_transaction:
                            self._db.execute("ROLLBACK")
                    raise
            except sqlite3.IntegrityError:
                raise
            except sqlite3.Error as error:
                raise storage_trouble(error) from error

    def erase_history(self) -> None:
        """Leave nothing of deleted rows in the write-ahead log (their pages are zeroed already)."""
        with self.lock, suppress(sqlite3.Error):  # a reader may hold it; the next one catches up
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def is_sound(self) -> bool:
        """Full integrity check."""
        with self.reading() as db:
            return db.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok"


def damaged() -> DataLossError:
    """What an unreadable database is called."""
    return DataLossError(
        "The service's database is damaged. Restore the data folder from a backup.", reason="DATA_DAMAGED"
    )


def storage_trouble(error: sqlite3.Error) -> LcaError:
    """A database error as callers may see it: no file names, no statements."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code in _FULL:
        return ExhaustedError(
            "The service's disk is full. Free some space and try again.", reason="STORAGE_FULL"
        )
    if code in _BUSY:
        return UnavailableError("The service's database is busy. Try again.", reason="STORAGE_BUSY")
    if code in _BROKEN:
        return damaged()
    return UnavailableError(
        "The service cannot write its data (disk error or read-only). Try again later.",
        reason="STORAGE_FAILED",
    )
