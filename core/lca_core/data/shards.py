"""Samples on disk as WebDataset shards: plain ``.tar`` files with ``KEY.npz`` and ``KEY.json`` per sample.

In: a :class:`~lca_core.data.datasets.SyntheticSet`. Out: shard files whose bytes depend on set, split and
seed only, and samples read back equal. Shards appear under their final name when complete, so a run can be
continued.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from lca.errors import DataLossError, NotFoundError
from lca_core.data.datasets import Span, SyntheticSet
from lca_core.data.fields import Sample

PEOPLE_PER_SHARD = 4


def pack(sample: Sample) -> list[tuple[str, bytes]]:
    """File names and bytes of one sample; the same sample gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as pack_file:
        for name in sorted(k for k in sample if k not in ("__key__", "meta")):
            array = io.BytesIO()
            np.lib.format.write_array(array, np.asarray(sample[name], order="C"), allow_pickle=False)
            pack_file.writestr(zipfile.ZipInfo(f"{name}.npy"), array.getvalue(), zipfile.ZIP_DEFLATED, 1)
    meta = json.dumps(json.loads(sample["meta"]), sort_keys=True).encode()
    return [(f"{sample['__key__']}.json", meta), (f"{sample['__key__']}.npz", buffer.getvalue())]


def unpack(key: str, meta: bytes, arrays: bytes) -> Sample:
    """The sample of :func:`pack`.

    Raises:
        DataLossError: the bytes are no sample.
    """
    try:
        with np.load(io.BytesIO(arrays), allow_pickle=False) as data:
            found = {name: data[name] for name in data.files}
        return {"__key__": key, **found, "meta": json.dumps(json.loads(meta), sort_keys=True)}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataLossError(f"Sample {key} is damaged ({error}); write its shard again.") from error


def write_shard(path: Path, samples: Iterable[Sample]) -> int:
    """Write samples to one tar; returns how many. Time stamps and owners are left out, so bytes repeat."""
    part, count = path.with_suffix(".part"), 0
    with tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            for name, data in pack(sample):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            count += 1
    os.replace(part, path)
    return count


def shard_path(folder: Path, data: SyntheticSet, index: int) -> Path:
    """Name of shard ``index`` of a set."""
    return folder / f"{data.kind}-{data.split}-{data.seed:03d}-{index:05d}.tar"


def shard_spans(data: SyntheticSet, people: int = PEOPLE_PER_SHARD) -> list[tuple[int, Span]]:
    """(shard number, people) of a set; a shard always holds the same people, however many are written."""
    from lca_core.data.people import SPLITS

    low = data.numbers.start - SPLITS[data.split][0]
    high = low + len(data.numbers)
    out = []
    for index in range(low // people, -(-high // people)):
        first, last = max(low, index * people), min(high, (index + 1) * people)
        out.append((index, Span(first, last - first)))
    return out


def write_shards(
    folder: Path, data: SyntheticSet, *, people: int = PEOPLE_PER_SHARD, only: tuple[int, int] = (0, 1)
) -> Iterator[Path]:
    """Write a set shard by shard and yield every new path; existing shards are kept.

    Args:
        only: (worker, workers): every ``workers``-th shard from ``worker`` on, for several processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index, span in shard_spans(data, people)[only[0] :: only[1]]:
        path = shard_path(folder, data, index)
        if path.is_file():
            continue
        part = SyntheticSet(
            data.kind, data.split, seed=data.seed, span=span, per_person=data.per_person, config=data.config
        )
        write_shard(path, part)
        yield path


def read_shards(source: Path | Iterable[Path]) -> Iterator[Sample]:
    """Samples of shards: a folder (sorted by name), one ``.tar``, or several.

    Raises:
        NotFoundError: there are none.
        DataLossError: a shard is damaged.
    """
    if isinstance(source, Path):
        paths = sorted(source.glob("*.tar")) if source.is_dir() else [source]
    else:
        paths = list(source)
    if not paths or not all(p.is_file() for p in paths):
        raise NotFoundError("There are no shards (.tar) there; write some with `lca data shards`.")
    for path in paths:
        try:
            with tarfile.open(path, "r:") as tar:
                key, parts = "", dict[str, bytes]()
                for item in tar:
                    name, _, ending = item.name.rpartition(".")
                    file = tar.extractfile(item)
                    if file is None:
                        continue
                    if name != key:
                        key, parts = name, {}
                    parts[ending] = file.read()
                    if {"json", "npz"} <= set(parts):
                        yield unpack(key, parts["json"], parts["npz"])
        except (tarfile.TarError, OSError) as error:
            raise DataLossError(f"Shard {path.name} is damaged ({error}); write it again.") from error
