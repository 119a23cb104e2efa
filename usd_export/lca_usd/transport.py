"""The transport wrapping ``.usdz.zst``: a whole package as one zstd frame, about a tenth smaller on the wire.

No USD tool opens it as it is; `unwrapped` gives validators and importers the package inside, within limits.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zstandard

from lca.errors import MediaUnreadableError, NotFoundError

SUFFIX = ".usdz.zst"
LEVEL = 3
"""Higher levels gain nothing: mantissas are noise."""
MAX_BYTES = 2 * 2**30
_CHUNK = 1 << 20


def wrap(package: Path, target: Path) -> int:
    """Compress a ``.usdz`` to ``target``; returns the bytes written."""
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    with package.open("rb") as source, target.open("wb") as sink:
        compressor.copy_stream(source, sink, size=package.stat().st_size)
    return target.stat().st_size


@contextmanager
def unwrapped(path: Path, limit: int = MAX_BYTES) -> Iterator[Path]:
    """The file itself, or for a ``.usdz.zst`` the package inside it in a temporary folder.

    Raises:
        NotFoundError: no such file.
        MediaUnreadableError: no zstd frame, damaged, or larger than ``limit`` bytes unpacked.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no USD file {path.name!r}.", reason="FILE_NOT_FOUND")
    if not path.name.lower().endswith(SUFFIX):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="lca-usdz-") as folder:
        inner = Path(folder) / path.name[: -len(".zst")]
        written = 0
        try:
            with path.open("rb") as source, inner.open("wb") as sink:
                for chunk in zstandard.ZstdDecompressor().read_to_iter(source, write_size=_CHUNK):
                    written += len(chunk)
                    if written > limit:
                        raise MediaUnreadableError(
                            f"{path.name} unpacks to more than {limit} bytes and was not opened."
                        )
                    sink.write(chunk)
        except zstandard.ZstdError as error:
            raise MediaUnreadableError(
                f"{path.name} is damaged or no zstd file ({error}). Export it again."
            ) from error
        if written == 0:
            raise MediaUnreadableError(f"{path.name} is empty or cut off. Export it again.")
        yield inner
