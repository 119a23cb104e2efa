"""The zip container of an avatar file, opened as if it came from an enemy.

A path or bytes go in; verified bytes of single entries come out. Names that leave their folder, links,
encryption, compression (so also zip bombs), duplicates and sizes beyond the caps are refused before anything
is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import stat
import struct
import zipfile
from collections.abc import Iterator
from typing import IO, Any

from lca.errors import DataLossError, InvalidInputError, MediaUnreadableError

MAX_ENTRIES = 256
MAX_DIRECTORY_BYTES = 1 << 20
MAX_ENTRY_BYTES = 2 << 30
MAX_PACKAGE_BYTES = 4 << 30
MAX_JSON_BYTES = 8 << 20

_END, _END_MAGIC = struct.Struct("<4s4H2LH"), b"PK\5\6"
_LOCATOR_BYTES, _LOCATOR_MAGIC = 20, b"PK\6\7"


def invalid_package(why: str) -> InvalidInputError:
    """The error for a file that breaks the schema; ``why`` completes "not usable: ..."."""
    return InvalidInputError(
        f"This is not a usable avatar file: {why}. Create or download it again.", reason="PACKAGE_INVALID"
    )


class Container:
    """The container: opens the zip afresh for every read, so a package holds no file handle."""

    def __init__(self, source: str | os.PathLike[str] | bytes, required: tuple[str, ...]) -> None:
        self._source = source
        self.files: dict[str, str] = {}
        with self._open() as archive:
            self.sizes = _safe_entries(archive, required)

    def _open(self) -> zipfile.ZipFile:
        handle = io.BytesIO(self._source) if isinstance(self._source, bytes) else self._source
        try:
            _check_directory(handle)
            return zipfile.ZipFile(handle)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError):
            raise invalid_package("it is not a zip container, or it is truncated") from None
        except OSError as error:
            raise MediaUnreadableError(f"The avatar file cannot be read ({error.strerror}).") from None

    def _stream(self, archive: zipfile.ZipFile, entry: str) -> IO[bytes]:
        try:
            return archive.open(entry)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, KeyError):
            raise invalid_package(f"entry {entry!r} cannot be read") from None

    def _blocks(self, entry: str) -> Iterator[bytes]:
        with self._open() as archive, self._stream(archive, entry) as stream:
            try:
                while block := stream.read(1 << 20):
                    yield block
            except (zipfile.BadZipFile, EOFError):
                raise _damaged(entry) from None

    def verify(self, entry: str) -> None:
        digest = hashlib.sha256()
        for block in self._blocks(entry):
            digest.update(block)
        if digest.hexdigest() != self.files[entry]:
            raise _damaged(entry)

    def read_verified(self, entry: str) -> bytes:
        data = b"".join(self._blocks(entry))
        if entry in self.files and hashlib.sha256(data).hexdigest() != self.files[entry]:
            raise _damaged(entry)
        return data

    def read_json(self, entry: str, *, hashed: bool) -> dict[str, Any]:
        if self.sizes[entry] > MAX_JSON_BYTES:
            raise invalid_package(f"{entry} is too large")
        data = self.read_verified(entry) if hashed else b"".join(self._blocks(entry))
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            raise invalid_package(f"{entry} is not JSON") from None
        if not isinstance(value, dict):
            raise invalid_package(f"{entry} is not a JSON object")
        return value


def _check_directory(source: io.BytesIO | str | os.PathLike[str]) -> None:
    """Refuse a huge directory of entries: zipfile would read all of it before anyone can count.

    Looks at the end record exactly where zipfile does (APPNOTE.TXT 4.3.16): at the very end, else the last
    one that a comment could follow.
    """
    with contextlib.ExitStack() as stack:
        stream = source if isinstance(source, io.BytesIO) else stack.enter_context(open(source, "rb"))
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(size - _END.size - 0xFFFF - _LOCATOR_BYTES, 0))
        tail = stream.read()
        stream.seek(0)
    at = len(tail) - _END.size
    if at < 0:
        raise zipfile.BadZipFile
    if tail[at : at + 4] != _END_MAGIC or tail[-2:] != b"\0\0":
        at = tail.rfind(_END_MAGIC)
    if at < 0 or len(tail) - at < _END.size:
        raise zipfile.BadZipFile
    _, _, _, _, entries, directory, _, _ = _END.unpack_from(tail, at)
    if tail[max(at - _LOCATOR_BYTES, 0) : at].startswith(_LOCATOR_MAGIC):
        raise invalid_package("it is a zip64 file, which avatar files are not")
    if entries > MAX_ENTRIES or directory > MAX_DIRECTORY_BYTES:
        raise invalid_package(f"it holds more than {MAX_ENTRIES} entries")


def _damaged(entry: str) -> DataLossError:
    return DataLossError(
        f"The avatar file is damaged: {entry!r} does not match its checksum. Copy or download it again."
    )


def _safe_entries(archive: zipfile.ZipFile, required: tuple[str, ...]) -> dict[str, int]:
    """Sizes by entry name, after every check that must come before reading one."""
    infos = archive.infolist()
    if len(infos) > MAX_ENTRIES:
        raise invalid_package(f"it holds more than {MAX_ENTRIES} entries")
    sizes: dict[str, int] = {}
    for info in infos:
        name = info.filename
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or "\\" in name or ":" in name or "\0" in name:
            raise invalid_package("an entry name leaves its folder")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise invalid_package("it contains a link")
        if info.flag_bits & 0x1:
            raise invalid_package("it is encrypted")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise invalid_package("an entry is compressed; avatar files store their entries")
        if info.file_size > MAX_ENTRY_BYTES:
            raise invalid_package("an entry is too large")
        if name in sizes:
            raise invalid_package("an entry appears twice")
        sizes[name] = info.file_size
    if sum(sizes.values()) > MAX_PACKAGE_BYTES:
        raise invalid_package("it is too large")
    for entry in required:
        if entry not in sizes:
            raise invalid_package(f"{entry} is missing")
    return sizes
