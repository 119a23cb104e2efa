"""People made on demand instead of read from a folder: ``--data stream``.

The generator of ``lca_core.data`` is drawn from lazily and its people are kept, so person ``i`` of (split,
seed) is always the same one and a step can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class StreamPeople:
    """The first ``limit`` people of ``lca_core.data.samples.iter_samples(split, seed)``, made when asked
    for."""

    def __init__(self, split: str, seed: int, limit: int = 200) -> None:
        from lca_core.data.samples import iter_samples

        self._source: Iterator[tuple[int, dict[str, Any]]] = iter_samples(split, seed)
        self._people: list[dict[str, Any]] = []
        self._limit = limit

    def __len__(self) -> int:
        return self._limit

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < self._limit:
            raise IndexError(index)
        while len(self._people) <= index:
            self._people.append(next(self._source)[1])
        return self._people[index]

    def refresh(self) -> int:
        """Nothing to look for; the number of people."""
        return self._limit
