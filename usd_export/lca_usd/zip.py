"""USDZ packing: a stored zip with 64-byte aligned entries, the root layer first, and bytes that depend on
content only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pxr import Sdf, Usd

MAX_BYTES = 2**32 - 1
"""USDZ knows no zip64."""
EPOCH = 315532800 + 86400
"""1980-01-02: the zip format has no earlier date, and a day of slack covers every time zone."""


def write_usdz(path: Path, folder: Path, parts: Sequence[str]) -> None:
    """Pack ``parts`` (names relative to ``folder``, also their names inside) into ``path``.

    Raises:
        ValueError: the parts exceed 4 GiB, or the library refused to write.
    """
    total = sum((folder / part).stat().st_size for part in parts)
    if total > MAX_BYTES - (1 << 20):
        raise ValueError(f"{total} bytes do not fit a usdz package (4 GiB); write .usdc instead")
    for part in parts:
        os.utime(folder / part, (EPOCH, EPOCH))
    # The class moved from Usd to Sdf in OpenUSD 26.
    kind = getattr(Sdf, "ZipFileWriter", None) or Usd.ZipFileWriter
    writer = kind.CreateNew(str(path))
    for part in parts:
        if not writer.AddFile(str(folder / part), part):
            raise ValueError(f"{part} could not be packed")
    if not writer.Save():
        raise ValueError(f"{path.name} could not be written")
