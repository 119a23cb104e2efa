"""Files that appear complete or not at all: work happens in a hidden folder beside the target, then is
renamed in."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lca.errors import InvalidInputError


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """A temporary folder on the target's disk; on success everything in it moves beside ``target``, which
    comes last.

    Files in a folder inside it (side files) keep that folder. On any exception nothing is changed.

    Raises:
        InvalidInputError: the target is a folder, or its folder cannot be written.
    """
    if target.is_dir():
        raise InvalidInputError(f"{target.name} is a folder; give the name of a file to write.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise InvalidInputError(
            f"Nothing can be written beside {target.name} ({error.strerror}). Choose another folder."
        ) from error
    try:
        yield work
        made = [path.relative_to(work) for path in work.rglob("*") if path.is_file()]
        for part in sorted(made, key=lambda path: (path.name == target.name, path)):
            (target.parent / part).parent.mkdir(exist_ok=True)
            os.replace(work / part, target.parent / part)
    finally:
        shutil.rmtree(work, ignore_errors=True)
