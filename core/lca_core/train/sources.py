"""Where training people come from: folders, the generator itself, the sets ``studio`` and ``wild``, mixtures.

A source has a length and gives sample ``i`` (the dictionary of ``lca_core.data.samples``); the same index is
always the same person.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lca.errors import InvalidInputError
from lca_core.train.examples import Sample, SampleFolder
from lca_core.train.stream import StreamPeople

GENERATED = ("stream", "studio", "wild")
"""Names that stand for the generator instead of a folder."""


class People(Protocol):
    """A sequence of samples that may grow."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def refresh(self) -> int: ...


class Mixed:
    """Several sources as one in which each has the same share: index ``i`` is person ``i // k`` of source
    ``i % k``, smaller sources start again."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = list(parts)

    def __len__(self) -> int:
        return len(self.parts) * max(len(part) for part in self.parts)

    def __getitem__(self, index: int) -> Sample:
        part = self.parts[index % len(self.parts)]
        sample: Sample = part[index // len(self.parts) % len(part)]
        return sample

    def refresh(self) -> int:
        """Look for new people; the length."""
        for part in self.parts:
            part.refresh()
        return len(self)


class First:
    """The first ``count`` people of a source."""

    def __init__(self, people: Any, count: int) -> None:
        self.people, self.count = people, count

    def __len__(self) -> int:
        return min(self.count, len(self.people))

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        sample: Sample = self.people[index]
        return sample

    def refresh(self) -> int:
        """Look for new people; the length."""
        self.people.refresh()
        return len(self)


def open_people(specs: Sequence[str], split: str, seed: int, limit: int = 0) -> People:
    """The people named by ``specs``: folders of ``person_*.npz`` or names of ``GENERATED``.

    Args:
        split: ``train``, ``val`` or ``test``. limit: at most so many people per source (generated ones:
            200 by default).

    Raises:
        InvalidInputError: no source given, or a folder without people of this split.
    """
    if not specs:
        raise InvalidInputError("No training data given; use --data FOLDER, stream, studio or wild.")
    parts: list[Any] = []
    for spec in specs:
        if spec in GENERATED:
            parts.append(StreamPeople(split, seed, limit or 200, spec))
        else:
            folder = SampleFolder(Path(spec), split)
            parts.append(First(folder, limit) if limit else folder)
    people: People = parts[0] if len(parts) == 1 else Mixed(parts)
    return people


def people_seen(cursor: int, batch: int, people: int) -> float:
    """How often each person was drawn on average after ``cursor`` micro-batches."""
    return float(np.round(cursor * batch / max(people, 1), 2))
