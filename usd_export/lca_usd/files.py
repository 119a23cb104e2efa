"""Files that appear complete or not at all, and the usdz container.

Work happens in a hidden folder beside the target and is renamed in. A usdz is a stored zip with 64-byte
aligned entries, the root layer first; its bytes depend on its content only.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pxr import Sdf, Tf, Usd

from lca.errors import ExhaustedError, InvalidInputError

MAX_BYTES = 2**32 - 1
"""USDZ knows no zip64."""


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """A temporary folder on the target's disk; on success everything in it moves beside ``target``, which
    comes last.

    Files in a folder inside it (side files) keep that folder. On any exception nothing is changed.

    Raises:
        InvalidInputError: the target is a folder, or its folder cannot be written.
        ExhaustedError: ``WRITE_FAILED``; the disk is full or went away meanwhile.
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
    except (OSError, Tf.ErrorException) as error:
        raise ExhaustedError(
            f"{target.name} could not be written ({_first_line(error)}). Free disk space and try again.",
            reason="WRITE_FAILED",
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _first_line(error: Exception) -> str:
    """What went wrong, without the library's source locations."""
    text = getattr(error, "strerror", None) or str(error).strip().splitlines()[-1]
    return text.rsplit(": ", 1)[-1].strip(" '")


def write_usdz(path: Path, folder: Path, parts: Sequence[str]) -> None:
    """Pack ``parts`` (names relative to ``folder``, also their names inside) into ``path``.

    Raises:
        InvalidInputError: the parts exceed 4 GiB.
        OSError: the library could not write.
    """
    total = sum((folder / part).stat().st_size for part in parts)
    if total > MAX_BYTES - (1 << 20):
        raise InvalidInputError(f"{total} bytes do not fit a usdz package (4 GiB); write .usdc instead.")
    # Zip entries carry local wall-clock time; one time everywhere keeps the bytes a function of the content.
    start_of_1980 = time.mktime((1980, 1, 1, 0, 0, 0, 0, 1, -1))
    for part in parts:
        os.utime(folder / part, (start_of_1980, start_of_1980))
    # The class moved from Usd to Sdf in OpenUSD 26.
    kind = getattr(Sdf, "ZipFileWriter", None) or Usd.ZipFileWriter
    writer = kind.CreateNew(str(path))
    for part in parts:
        if not writer.AddFile(str(folder / part), part):
            raise OSError(f"{part} could not be packed")
    if not writer.Save():
        raise OSError(f"{path.name} could not be written")
