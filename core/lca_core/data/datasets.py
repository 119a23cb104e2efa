"""The studio and wild sets as streams: people made on the fly, nothing on disk.

In: set, split, seed, how many people. Out: an iterable of samples that torch's ``DataLoader`` can share among
workers (``batch_size=None``), random access for tests and evaluation, and the four evaluation cells. A
sample is the same whatever worker makes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch.utils.data import IterableDataset, get_worker_info

from lca.errors import InvalidInputError
from lca_core.data.fields import SETS, Actor, Sample
from lca_core.data.people import SPLITS, sample_identity
from lca_core.data.splits import CELL_SIZE, CELLS, cell_identity, check_split
from lca_core.data.studio import StudioConfig, studio_sample
from lca_core.data.wild import WildConfig, wild_sample

Config = StudioConfig | WildConfig
WILD_PER_PERSON = 4
"""Samples of one person in a row in the wild stream."""


def default_config(kind: str, size: int | None = None, uv_size: int | None = None) -> Config:
    """The sizes of DATA's tables, or a smaller picture and UV side."""
    if kind not in SETS:
        raise InvalidInputError(f"There is no data set {kind!r}; use {' or '.join(SETS)}.")
    uv = uv_size or 512
    if kind == "studio":
        return StudioConfig(size=size or 512, uv_size=uv)
    return WildConfig(long_side=size or 512, uv_size=uv)


def make(kind: str, actor: Actor, seed: int, index: int, config: Config) -> Sample:
    """Sample ``index`` of a person: a pose of the studio set, a pair of clips of the wild set."""
    if kind == "studio" and isinstance(config, StudioConfig):
        return studio_sample(actor, seed, index, config)
    if kind == "wild" and isinstance(config, WildConfig):
        return wild_sample(actor, seed, index, config)
    raise InvalidInputError(f"There is no data set {kind!r} with a {type(config).__name__}.")


def sample_of(
    kind: str, split: str, number: int, index: int = 0, *, seed: int = 0, config: Config | None = None
) -> Sample:
    """One sample by identity number (within the split's range) and index."""
    check_split(split, number)
    config = config or default_config(kind)
    return make(kind, Actor(sample_identity(split, number), split, config.uv_size), seed, index, config)


@dataclass(frozen=True)
class Span:
    """Which people: the first and how many, from the start of the split; all after ``first`` if None."""

    first: int = 0
    count: int | None = None


class SyntheticSet(IterableDataset):
    """People ``span`` of a split, ``per_person`` samples each, endlessly when ``repeat`` (the seed grows).

    Args:
        kind: "studio" or "wild". split: "train", "val" or "test". seed: another one gives other poses, lights
            and clips of the same people.

    Raises:
        InvalidInputError: unknown set or split, or more people than it has.
    """

    def __init__(
        self,
        kind: str,
        split: str,
        *,
        seed: int = 0,
        span: Span | None = None,
        per_person: int | None = None,
        config: Config | None = None,
        repeat: bool = False,
    ) -> None:
        super().__init__()
        check_split(split)
        self.kind, self.split, self.seed, self.repeat = kind, split, seed, repeat
        self.config = config or default_config(kind)
        self.per_person = per_person or (
            self.config.poses if isinstance(self.config, StudioConfig) else WILD_PER_PERSON
        )
        span = span or Span()
        low, high = SPLITS[split]
        last = high if span.count is None else low + span.first + span.count
        if not low <= low + span.first < last <= high:
            raise InvalidInputError(
                f"Split {split} has {high - low} people; {span.count} from {span.first} on are not there."
            )
        self.numbers = range(low + span.first, last)

    def __len__(self) -> int:
        return len(self.numbers) * self.per_person

    def __iter__(self) -> Iterator[Sample]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info is not None else (0, 1)
        seed = self.seed
        while True:
            for number in self.numbers[worker::workers]:
                actor = Actor(sample_identity(self.split, number), self.split, self.config.uv_size)
                for index in range(self.per_person):
                    yield make(self.kind, actor, seed, index, self.config)
            if not self.repeat:
                return
            seed += 1


def cell_samples(
    kind: str, cell: str, count: int, *, per_person: int = 1, seed: int = 0, config: Config | None = None
) -> Iterator[Sample]:
    """Samples of the first ``count`` people of an evaluation cell (``splits.CELLS``)."""
    if not 0 < count <= CELL_SIZE:
        raise InvalidInputError(f"A cell has 1 to {CELL_SIZE} people, not {count}.")
    config = config or default_config(kind)
    for k in range(count):
        identity = cell_identity(cell, k)
        actor = Actor(identity, "test" if CELLS[cell].new_identity else "train", config.uv_size)
        for index in range(per_person):
            out = make(kind, actor, seed, index, config)
            yield {**out, "__key__": f"{cell}-{out['__key__']}"}
