"""Side-cars: the splats once more, compressed for engines, beside the USD file and in its splat order.

The USD asset stays complete without them. Its ``assetInfo`` names each with sha256, so a loader can tell
whether skin arrays (in the USD) and splats (in the side-car) belong together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lca.errors import DataLossError, InvalidInputError, NotFoundError
from lca_bridge.wire.skin import PosedSplats
from lca_usd.asset import Splats
from lca_usd.planar import decode_planar, encode_planar
from lca_usd.spz import decode_spz, encode_spz

SUFFIXES = {"spz": ".spz", "zstd": ".splats.zst", "deflate": ".splats.deflate"}
"""Kinds of side-car and their file endings."""


@dataclass(frozen=True)
class SideCar:
    """One side-car as written: kind, file name, sha256 and bytes."""

    kind: str
    name: str
    sha256: str
    size: int

    def as_info(self) -> dict[str, Any]:
        """The entry under ``assetInfo:lca:sidecars:<kind>``."""
        return {"file": self.name, "sha256": self.sha256, "bytes": self.size, "splatOrder": "same"}


def encode(splats: Splats, kind: str) -> bytes:
    """Splats at rest -> the bytes of a side-car of this kind."""
    if kind not in SUFFIXES:
        raise InvalidInputError(f"There is no side-car {kind!r}; choose one of {', '.join(SUFFIXES)}.")
    rest = PosedSplats(splats.means, splats.quats, splats.scales, splats.opacities, splats.sh)
    return encode_spz(rest) if kind == "spz" else encode_planar(rest, kind)


def write_sidecars(splats: Splats, kinds: Sequence[str], folder: Path, stem: str) -> tuple[SideCar, ...]:
    """Write ``<stem><suffix>`` for each kind into ``folder``."""
    written = []
    for kind in kinds:
        data = encode(splats, kind)
        name = stem + SUFFIXES[kind]
        (folder / name).write_bytes(data)
        written.append(SideCar(kind, name, hashlib.sha256(data).hexdigest(), len(data)))
    return tuple(written)


def read_sidecar(path: Path, sha256: str | None = None) -> PosedSplats:
    """Read a side-car of any kind.

    Args:
        sha256: what the asset says it must be, or None to skip that check.

    Raises:
        NotFoundError: no such file; DataLossError: another file than the asset names; MediaUnreadableError:
            damaged; InvalidInputError: unknown ending.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no side-car {path.name!r}.", reason="FILE_NOT_FOUND")
    data = path.read_bytes()
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise DataLossError(f"{path.name} is not the side-car this asset was exported with. Export again.")
    if path.name.endswith(SUFFIXES["spz"]):
        return decode_spz(data)
    if path.name.endswith((SUFFIXES["zstd"], SUFFIXES["deflate"])):
        return decode_planar(data)
    raise InvalidInputError(f"{path.name} is no side-car; they end in {', '.join(SUFFIXES.values())}.")
