"""A stored file in pieces, for downloads that can be taken up again at any offset."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from lca_bridge.server.config import MAX_CHUNK_BYTES

MIN_CHUNK_BYTES = 4096
"""Smaller ones would be a cheap way to keep a service busy."""


async def pieces(path: Path, offset: int, max_chunk: int = 0) -> AsyncIterator[tuple[int, bytes]]:
    """(offset, bytes) of at most ``max_chunk`` (0: 1 MiB, never more) up to the end; reads off the loop."""
    size = max(min(max_chunk or MAX_CHUNK_BYTES, MAX_CHUNK_BYTES), MIN_CHUNK_BYTES)
    with path.open("rb") as stream:
        stream.seek(offset)
        while data := await asyncio.to_thread(stream.read, size):
            yield offset, data
            offset += len(data)
