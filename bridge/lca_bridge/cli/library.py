"""``lca library export|import URL``: a whole avatar library as files, in a folder or an object store.

One ``library.json`` (names, labels, hashes), written last, and one ``HASH.lca`` per package, so an export
that is repeated sends only what is new, and an import can be repeated safely. URLs are fsspec's: ``file://``,
``s3://``, ...
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from lca.errors import AlreadyExistsError, DataLossError, InvalidInputError, NotFoundError
from lca_bridge.cli.output import print_json
from lca_bridge.cli.serve import client_for
from lca_bridge.client import LcaClient
from lca_bridge.server.objects import open_place

SCHEMA = "lca.library/1"
MAX_LIST_BYTES = 64 << 20
_SHA256 = re.compile("[0-9a-f]{64}")


def export_library(client: LcaClient, url: str) -> list[str]:
    """Write every avatar the caller may see; returns their names."""
    system, root = open_place(url)
    system.makedirs(root, exist_ok=True)
    avatars = client.list_avatars()
    with tempfile.TemporaryDirectory() as folder:
        for avatar in avatars:
            target = f"{root}/{avatar.revision}.lca"
            if system.exists(target) and system.size(target) == avatar.stats.package_size_bytes:
                continue
            path = client.download(avatar.name, Path(folder) / "package.lca")
            system.put_file(str(path), target)
            path.unlink()
    entries = [
        {"id": a.name.partition("/")[2], "display_name": a.display_name, "labels": dict(a.labels),
         "revision": a.revision, "size": a.stats.package_size_bytes}
        for a in avatars
    ]  # fmt: skip
    system.pipe_file(f"{root}/library.json", json.dumps({"schema": SCHEMA, "avatars": entries}).encode())
    return [avatar.name for avatar in avatars]


def import_library(client: LcaClient, url: str) -> tuple[list[str], list[str]]:
    """Read a library; (names that are new, names that were there already with the same bytes).

    Raises:
        NotFoundError: ``NO_LIBRARY``.
        InvalidInputError: ``BAD_LIBRARY``; the list is not what an export writes.
        AlreadyExistsError: an id belongs to another avatar here; nothing after it was read.
        DataLossError: a package has other bytes than the library says.
    """
    system, root = open_place(url)
    entries = _entries(system, root)
    largest = client.server_info().limits.max_upload_bytes
    known = {avatar.name: avatar.revision for avatar in client.list_avatars()}
    new: list[str] = []
    same: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for entry in entries:
            name, revision = f"avatars/{entry['id']}", str(entry["revision"])
            if known.get(name) == revision:
                same.append(name)
                continue
            if name in known:
                raise AlreadyExistsError(
                    f"There is another avatar {entry['id']!r} here. Delete or rename one.",
                    reason="AVATAR_EXISTS",
                )
            path = Path(folder) / "package.lca"
            if system.size(f"{root}/{revision}.lca") > largest:
                raise DataLossError(f"The package of {entry['id']!r} is larger than this service takes.")
            system.get_file(f"{root}/{revision}.lca", str(path))
            with path.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != revision:
                    raise DataLossError(f"The package of {entry['id']!r} is damaged in the library.")
            made = client.import_avatar(
                client.upload(path).name, display_name=entry["display_name"], avatar_id=entry["id"],
                labels=entry["labels"],
            )  # fmt: skip
            new.append(made.name)
    return new, same


def _entries(system: Any, root: str) -> list[dict[str, Any]]:
    """What ``library.json`` lists, checked: it may come from anywhere."""
    try:
        note = f"{root}/library.json"
        about = json.loads(system.cat_file(note)) if system.size(note) <= MAX_LIST_BYTES else {}
        found = about["avatars"] if about["schema"] == SCHEMA else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise NotFoundError("There is no library of this version here.", reason="NO_LIBRARY")
    for entry in found:
        about = entry if isinstance(entry, dict) else {}
        labels = about.get("labels")
        texts = [about.get("id"), about.get("display_name")]
        texts += [*labels.keys(), *labels.values()] if isinstance(labels, dict) else [None]
        if not all(isinstance(text, str) for text in texts):
            raise InvalidInputError("An entry of the library is damaged.", reason="BAD_LIBRARY")
        if not _SHA256.fullmatch(str(about.get("revision"))):
            raise InvalidInputError("The library names a file that is no hash.", reason="BAD_LIBRARY")
    return found


def library(args: argparse.Namespace) -> int:
    """``lca library export|import URL``."""
    with client_for(args) as client:
        if args.action == "export":
            names = export_library(client, args.url)
            print_json({"exported": names}) if args.json else print(f"{len(names)} avatars exported.")
        else:
            new, same = import_library(client, args.url)
            if args.json:
                print_json({"imported": new, "present": same})
            else:
                print(f"{len(new)} avatars imported, {len(same)} were here already.")
    return 0
