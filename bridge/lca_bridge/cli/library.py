"""``lca library export|import URL``: a whole avatar library as files, in a folder or an object store.

One ``library.json`` (names, labels, hashes), written last, and one ``HASH.lca`` per package, so an export
that is repeated sends only what is new, and an import can be repeated safely. URLs are fsspec's: ``file://``,
``s3://``, ...
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from pathlib import Path

from lca.errors import AlreadyExistsError, DataLossError, InvalidInputError, NotFoundError
from lca_bridge.cli.output import print_json
from lca_bridge.cli.serve import client_for
from lca_bridge.client import LcaClient
from lca_bridge.server.objects import open_place

SCHEMA = "lca.library/1"


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
        AlreadyExistsError: an id belongs to another avatar here; nothing after it was read.
        DataLossError: a package has other bytes than the library says.
    """
    system, root = open_place(url)
    try:
        about = json.loads(system.cat_file(f"{root}/library.json"))
        entries = about["avatars"] if about["schema"] == SCHEMA else None
    except (OSError, ValueError, KeyError, TypeError):
        entries = None
    if entries is None:
        raise NotFoundError("There is no library of this version here.", reason="NO_LIBRARY")
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
            if not all(c in "0123456789abcdef" for c in revision):
                raise InvalidInputError("The library names a file that is no hash.", reason="NO_LIBRARY")
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
