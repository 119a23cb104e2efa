"""The service's memory: one SQLite database (WAL, synchronous FULL) for what is true, files for the bytes.

Every change is one transaction. Blob first, then the row that names it; deletion in reverse. A job's result
and its SUCCEEDED state are one transaction, fenced by the attempt number, so a worker that comes late changes
nothing. Rows of other principals do not exist for a caller (``access.py``).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lca.errors import AbortedError, AlreadyExistsError, NotFoundError, PreconditionError
from lca_bridge.server.access import caller, may_see
from lca_bridge.server.database import Database
from lca_bridge.server.rows import FINAL_STATES, AvatarRow, JobRow, UploadRow, dump

__all__ = ["FINAL_STATES", "AvatarRow", "Erased", "JobRow", "Store", "UploadRow"]

REQUEST_SECONDS = 48 * 3600.0


@dataclass(frozen=True)
class Erased:
    """What a purge or sweep took out of the database, so that the bytes can follow."""

    blobs: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    uploads: tuple[str, ...] = ()


class Store:
    """Thread-safe; every method is one transaction and blocks for at most one disk sync.

    All methods may raise what :meth:`Database.transaction` names.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        self._transaction, self._reading = self._database.transaction, self._database.reading

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def is_sound(self) -> bool:
        """Full integrity check of the file."""
        return self._database.is_sound()

    def _body(self, table: str, key: str) -> dict[str, Any]:
        with self._reading() as db:
            found = db.execute(f"SELECT body FROM {table} WHERE id=?", (key,)).fetchone()
        body: dict[str, Any] = {} if found is None else json.loads(found[0])
        if found is None or not may_see(body.get("owner", "")):
            raise NotFoundError(f"There is no {table[:-1]} {key!r}.")
        return body

    # -- idempotent requests -------------------------------------------------------------------------------

    def earlier_answer(self, method: str, request_id: str, body: bytes) -> str | None:
        """What the same request answered before; AlreadyExistsError if the id came with another body."""
        with self._reading() as db:
            found = db.execute(
                "SELECT body_hash, answer FROM requests WHERE principal=? AND method=? AND request_id=?",
                (caller.get().name, method, request_id),
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
                "INSERT INTO requests VALUES (?,?,?,?,?,?)",
                (caller.get().name, method, request_id, digest, answer, time.time()),
            )

    # -- uploads -------------------------------------------------------------------------------------------

    def add_upload(self, row: UploadRow, request: tuple[str, str, bytes] | None = None) -> UploadRow:
        """Store a new upload."""
        row = replace(row, created=time.time(), owner=caller.get().name)
        with self._transaction() as db:
            db.execute("INSERT INTO uploads VALUES (?,?,?,?)", (row.id, row.size, row.created, dump(row)))
            self._remember(db, request, row.id)
        return row

    def upload(self, key: str) -> UploadRow:
        """One upload, or NotFoundError."""
        return UploadRow(**self._body("uploads", key))

    def uploads(self) -> list[UploadRow]:
        """All uploads the caller may see."""
        with self._reading() as db:
            rows = db.execute("SELECT body FROM uploads").fetchall()
        found = [UploadRow(**json.loads(r[0])) for r in rows]
        return [row for row in found if may_see(row.owner)]

    def change_upload(self, key: str, **changes: Any) -> UploadRow:
        """Replace fields of an upload."""
        with self._transaction() as db:
            row = replace(self.upload(key), **changes)
            db.execute("UPDATE uploads SET body=? WHERE id=?", (dump(row), key))
        return row

    def delete_upload(self, key: str) -> None:
        """Forget an upload; missing is fine."""
        with self._transaction() as db:
            db.execute("DELETE FROM uploads WHERE id=?", (key,))

    # -- avatars -------------------------------------------------------------------------------------------

    def avatar(self, key: str, deleted: bool = False) -> AvatarRow:
        """One avatar; NotFoundError, also for a deleted one unless ``deleted`` allows it."""
        row = AvatarRow(**self._body("avatars", key))
        if row.deleted and not deleted:
            raise NotFoundError(
                f"The avatar {key!r} is deleted. Undelete it, or choose another.", reason="AVATAR_DELETED"
            )
        return row

    def avatar_exists(self, key: str) -> bool:
        """Whether the id is taken, by an avatar or by a job that is making it."""
        with self._reading() as db:
            if db.execute("SELECT 1 FROM avatars WHERE id=?", (key,)).fetchone():
                return True
            jobs = db.execute(
                "SELECT body FROM jobs WHERE state IN ('QUEUED','RUNNING','CANCELLING')"
            ).fetchall()
        return any(json.loads(row[0])["spec"].get("avatar_id") == key for row in jobs)

    def add_avatar(
        self, row: AvatarRow, drop_uploads: list[str], request: tuple[str, str, bytes] | None = None
    ) -> AvatarRow:
        """Store a new avatar and forget the uploads it was made from."""
        row = replace(row, created=time.time(), updated=time.time(), owner=caller.get().name)
        with self._transaction() as db:
            self._insert_avatar(db, row, drop_uploads)
            self._remember(db, request, row.id)
        return row

    @staticmethod
    def _insert_avatar(db: sqlite3.Connection, row: AvatarRow, drop_uploads: list[str]) -> None:
        try:
            db.execute("INSERT INTO avatars VALUES (?,?,?,?)", (row.id, row.revision, row.created, dump(row)))
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
            db.execute("UPDATE avatars SET body=? WHERE id=?", (dump(row), key))
        return row

    def delete_avatar(self, key: str, etag: str, keep_seconds: float) -> AvatarRow:
        """Hide an avatar until its purge time; one that is hidden already stays as it is."""
        with self._transaction() as db:
            old = self.avatar(key, deleted=True)
            _check_etag(old, etag)
            if old.deleted:
                return old
            now = time.time()
            row = replace(old, updated=now, deleted=now, purge_at=now + keep_seconds)
            db.execute("UPDATE avatars SET body=? WHERE id=?", (dump(row), key))
        return row

    def undelete_avatar(self, key: str, etag: str = "") -> AvatarRow:
        """Show a deleted avatar again; PreconditionError ``NOT_DELETED``."""
        with self._transaction() as db:
            old = self.avatar(key, deleted=True)
            _check_etag(old, etag)
            if not old.deleted:
                raise PreconditionError("The avatar is not deleted.", reason="NOT_DELETED")
            row = replace(old, updated=time.time(), deleted=0.0, purge_at=0.0)
            db.execute("UPDATE avatars SET body=? WHERE id=?", (dump(row), key))
        return row

    def purge_avatar(self, key: str, etag: str = "") -> Erased:
        """Erase an avatar and every job that made it or shows it, with what was remembered of their requests.

        Jobs must be final; :meth:`jobs_of` names them.
        """
        with self._transaction() as db:
            row = self.avatar(key, deleted=True)
            _check_etag(row, etag)
            jobs = self.jobs_of(row)
            db.execute("DELETE FROM avatars WHERE id=?", (key,))
            erased = self._erase_jobs(db, jobs)
            db.execute("DELETE FROM requests WHERE answer=?", (key,))
            used = db.execute("SELECT 1 FROM avatars WHERE revision=?", (row.revision,)).fetchone()
        self._database.erase_history()
        blobs = erased.blobs if used else (*erased.blobs, row.revision)
        return replace(erased, blobs=blobs)

    def jobs_of(self, avatar: AvatarRow) -> list[JobRow]:
        """The job that made an avatar and the jobs that show it."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT body FROM jobs WHERE id=? OR json_extract(body, '$.spec.avatar')=?",
                (avatar.create_job, avatar.id),
            ).fetchall()
        return [JobRow(**json.loads(row[0])) for row in rows]

    @staticmethod
    def _erase_jobs(db: sqlite3.Connection, jobs: list[JobRow]) -> Erased:
        uploads = [upload for job in jobs for upload in job.spec.get("uploads", [])]
        for job in jobs:
            db.execute("DELETE FROM jobs WHERE id=?", (job.id,))
            db.execute("DELETE FROM requests WHERE answer=?", (job.id,))
        for upload in uploads:
            db.execute("DELETE FROM uploads WHERE id=?", (upload,))
        blobs = tuple(job.checkpoint_blob for job in jobs if job.checkpoint_blob)
        return Erased(blobs, tuple(job.id for job in jobs), tuple(uploads))

    def avatars_to_purge(self) -> list[str]:
        """Deleted avatars whose time is over."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT id FROM avatars WHERE json_extract(body, '$.purge_at') BETWEEN 1 AND ?",
                (time.time(),),
            ).fetchall()
        return [row[0] for row in rows]

    def needed_blobs(self, avatar: AvatarRow | None = None) -> set[str]:
        """Blobs some avatar or unfinished work needs; with ``avatar``: others than it and its jobs."""
        but_avatar = avatar.id if avatar is not None else ""
        but_jobs = {job.id for job in self.jobs_of(avatar)} if avatar is not None else set()
        with self._reading() as db:
            found = db.execute("SELECT revision FROM avatars WHERE id!=?", (but_avatar,)).fetchall()
            rows = db.execute("SELECT id, json_extract(body, '$.checkpoint_blob') FROM jobs").fetchall()
        return {row[0] for row in found} | {blob for job, blob in rows if blob and job not in but_jobs}

    def page(
        self,
        table: str,
        size: int,
        after: tuple[float, str] | None,
        *,
        states: Collection[str] = (),
        kinds: Collection[str] = (),
        labels: Mapping[str, str] | None = None,
        deleted: bool = True,
    ) -> list[dict[str, Any]]:
        """Up to ``size`` rows of ``avatars`` or ``jobs``, newest first, after a (created, id) cursor: jobs of
        these states and kinds (none: any), avatars that carry all ``labels``; only what the caller may
        see."""
        terms: list[str] = []
        values: list[float | str] = []
        if not caller.get().sees_all:
            terms.append("COALESCE(json_extract(body, '$.owner'), '')=?")
            values.append(caller.get().name)
        if not deleted:
            terms.append("COALESCE(json_extract(body, '$.deleted'), 0)=0")
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
        with self._reading() as db:
            rows = db.execute(
                f"SELECT body FROM {table} {where} ORDER BY -created, id LIMIT ?", (*values, size)
            ).fetchall()
        return [json.loads(r[0]) for r in rows]

    # -- jobs ----------------------------------------------------------------------------------------------

    def add_job(self, row: JobRow, claim: list[str], request: tuple[str, str, bytes] | None = None) -> JobRow:
        """Store a new job and mark its uploads as used by it."""
        row = replace(row, created=time.time(), owner=caller.get().name)
        with self._transaction() as db:
            for key in claim:
                upload = self.upload(key)
                if upload.claimed_by:
                    raise AlreadyExistsError(
                        "This upload is already used by another job. Upload the clip again.",
                        reason="UPLOAD_IN_USE",
                    )
                claimed = dump(replace(upload, claimed_by=row.id))
                db.execute("UPDATE uploads SET body=? WHERE id=?", (claimed, key))
            self._write_job(db, row, insert=True)
            self._remember(db, request, row.id)
        return row

    @staticmethod
    def _write_job(db: sqlite3.Connection, row: JobRow, insert: bool = False) -> None:
        if insert:
            values = (row.id, row.state, row.attempt, row.created, dump(row))
            db.execute("INSERT INTO jobs VALUES (?,?,?,?,?)", values)
        else:
            db.execute(
                "UPDATE jobs SET state=?, attempt=?, body=? WHERE id=?",
                (row.state, row.attempt, dump(row), row.id),
            )

    def job(self, key: str) -> JobRow:
        """One job, or NotFoundError."""
        return JobRow(**self._body("jobs", key))

    def unfinished_jobs(self) -> list[JobRow]:
        """Jobs not in a final state, oldest first."""
        with self._reading() as db:
            rows = db.execute(
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
        """Final state and result in one transaction; fenced by ``attempt``.

        The job's uploads and checkpoint go with it, unless ``inputs_until`` keeps them for a resume.
        """
        with self._transaction() as db:
            row = self.job(key)
            if row.is_final or row.attempt != attempt:
                return row
            if avatar is not None:
                now = time.time()
                self._insert_avatar(db, replace(avatar, created=now, updated=now, owner=row.owner), [])
                changes["result"] = f"avatars/{avatar.id}"
            if not changes.get("inputs_until"):
                changes["checkpoint_blob"] = ""
                for upload in row.spec.get("uploads", []):
                    db.execute("DELETE FROM uploads WHERE id=?", (upload,))
            row = replace(row, state=state, ended=time.time(), sequence=row.sequence + 1, **changes)
            self._write_job(db, row)
        return row

    def resume_job(self, key: str, request: tuple[str, str, bytes]) -> JobRow:
        """Queue a failed or cancelled job again; PreconditionError ``NOT_RESUMABLE``."""
        with self._transaction() as db:
            row = self.job(key)
            if not row.is_resumable:
                raise PreconditionError(
                    "The job cannot go on: it is not failed or cancelled, its error would come again, or its "
                    "inputs are gone. Start a new one.",
                    reason="NOT_RESUMABLE",
                )
            if "avatar_id" in row.spec and self.avatar_exists(row.spec["avatar_id"]):
                raise AlreadyExistsError(
                    f"There is an avatar {row.spec['avatar_id']!r} by now.", reason="AVATAR_EXISTS"
                )
            row = replace(
                row, state="QUEUED", attempt=row.attempt + 1, sequence=row.sequence + 1, error=None,
                ended=0.0, inputs_until=0.0, losses=0, progress={},
            )  # fmt: skip
            self._write_job(db, row)
            self._remember(db, request, row.id)
        return row

    def expire_jobs(self, keep_seconds: float) -> Erased:
        """Drop inputs kept for a resume past their time, and final jobs older than ``keep_seconds``."""
        now, erased = time.time(), Erased()
        with self._transaction() as db:
            rows = db.execute(
                "SELECT body FROM jobs WHERE state IN ('SUCCEEDED','FAILED','CANCELLED')"
            ).fetchall()
            old: list[JobRow] = []
            for job in (JobRow(**json.loads(row[0])) for row in rows):
                if job.ended + keep_seconds < now:
                    old.append(job)
                elif job.inputs_until and job.inputs_until < now:
                    uploads = job.spec.get("uploads", [])
                    for upload in uploads:
                        db.execute("DELETE FROM uploads WHERE id=?", (upload,))
                    error = {**(job.error or {}), "resumable": False}
                    self._write_job(
                        db, replace(job, inputs_until=0.0, checkpoint="", checkpoint_blob="", error=error)
                    )
                    blobs = (job.checkpoint_blob,) if job.checkpoint_blob else ()
                    erased = Erased(erased.blobs + blobs, erased.jobs, erased.uploads + tuple(uploads))
            gone = self._erase_jobs(db, old)
        return Erased(erased.blobs + gone.blobs, gone.jobs, erased.uploads + gone.uploads)

    def job_ids(self) -> list[str]:
        """Ids of all jobs."""
        with self._reading() as db:
            return [row[0] for row in db.execute("SELECT id FROM jobs").fetchall()]

    def job_counts(self) -> dict[tuple[str, str], int]:
        """(kind, state) -> number of jobs."""
        with self._reading() as db:
            rows = db.execute(
                "SELECT json_extract(body, '$.kind'), state, COUNT(*) FROM jobs GROUP BY 1, 2"
            ).fetchall()
        return {(kind, state): count for kind, state, count in rows}

    def waiting_jobs(self, owner: str) -> int:
        """Unfinished jobs of one principal."""
        return sum(job.owner == owner for job in self.unfinished_jobs())

    def delete_job(self, key: str) -> Erased:
        """Forget a final job with all it kept; PreconditionError ``JOB_NOT_FINAL``."""
        with self._transaction() as db:
            row = self.job(key)
            if not row.is_final:
                raise PreconditionError("The job is not final. Cancel it first.", reason="JOB_NOT_FINAL")
            return self._erase_jobs(db, [row])

    def promised_bytes(self, owner: str | None = None) -> int:
        """Full size of every upload (of ``owner``)."""
        with self._reading() as db:
            where, values = ("", ()) if owner is None else ("WHERE json_extract(body,'$.owner')=?", (owner,))
            total = db.execute(f"SELECT COALESCE(SUM(size), 0) FROM uploads {where}", values).fetchone()[0]
        return int(total)

    def owned_bytes(self, owner: str) -> int:
        """Bytes of packages and results that belong to one principal, and of its uploads."""
        with self._reading() as db:
            packages, results = (
                db.execute(
                    f"SELECT COALESCE(SUM(json_extract(body, '{field}')), 0) FROM {table} "
                    "WHERE json_extract(body, '$.owner')=?",
                    (owner,),
                ).fetchone()[0]
                for table, field in (
                    ("avatars", "$.stats.package_size_bytes"),
                    ("jobs", "$.result_file.size_bytes"),
                )
            )
        return int(packages) + int(results) + self.promised_bytes(owner)

    def forget_old_requests(self) -> None:
        """Drop idempotency records past their time (48 h)."""
        with self._transaction() as db:
            db.execute("DELETE FROM requests WHERE created < ?", (time.time() - REQUEST_SECONDS,))


def _check_etag(row: AvatarRow, etag: str) -> None:
    if etag and etag != row.etag:
        raise AbortedError("The avatar was changed in between. Read it again and redo the change.")
