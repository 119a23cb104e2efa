"""People made on demand instead of read from a folder: ``--data stream`` (also ``studio`` and ``wild``).

The generators of ``lca_core.data`` are drawn from lazily and their people are kept, so person ``i`` of
(split, seed) is always the same one and a step can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

MODULES = {"stream": "samples", "studio": "studio", "wild": "wild"}
"""Module of ``lca_core.data`` behind each name; every one has ``iter_samples(split, seed)``."""


class StreamPeople:
    """The first ``limit`` people of ``iter_samples(split, seed)`` of one generator, made when asked for."""

    def __init__(self, split: str, seed: int, limit: int = 200, kind: str = "stream") -> None:
        source = import_module(f"lca_core.data.{MODULES[kind]}")
        self._source: Iterator[tuple[int, dict[str, Any]]] = source.iter_samples(split, seed)
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
