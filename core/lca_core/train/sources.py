"""Where training people come from: folders, the generators of ``lca_core.data``, mixtures, degraded views.

A source has a length and gives sample ``i`` (the dictionary of ``lca_core.data.samples``); the same index is
always the same person.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lca.errors import InvalidInputError
from lca_core.train.examples import Sample, SampleFolder
from lca_core.train.stream import StreamPeople

GENERATED = ("stream", "studio", "wild")
"""Names that stand for a generator instead of a folder."""
DEGRADED = "degraded:"
"""Prefix of a source that is read as a phone and a tracker would have seen it (:class:`Degraded`)."""


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


class Degraded:
    """People of another source with photographs as phones make them and parameters as trackers find them.

    Every picture is blurred, exposed, noised and quantised a little; pose, place, shape and expression of
    every frame carry errors, for references and targets alike, because a clip from the wild has no other
    truth. UV truth stays exact. Person ``i`` always gets the same errors.
    """

    def __init__(self, people: Any, seed: int = 0) -> None:
        self.people, self.seed = people, seed

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, index: int) -> Sample:
        sample: Sample = dict(self.people[index])
        rng = np.random.default_rng([self.seed, index, 11])
        count = len(sample["images"])
        sample["images"] = np.stack([_photograph(image, rng) for image in sample["images"]])
        sample["masks"] = (
            np.stack(
                [
                    ndimage.gaussian_filter(m.astype(np.float32), rng.uniform(0.4, 1.5))
                    for m in sample["masks"]
                ]
            )
            .round()
            .astype(np.uint8)
        )
        pose = np.array(sample["pose"], np.float32)
        spread = np.full((1, pose.shape[1], 1), np.deg2rad(5.0))
        spread[:, 0], spread[:, 22:] = np.deg2rad(1.5), np.deg2rad(8.0)
        # A tracker errs the same way in a whole clip, and a little differently in each frame.
        common = rng.standard_normal((1, *pose.shape[1:]))
        sample["pose"] = pose + (spread * (0.7 * common + 0.7 * rng.standard_normal(pose.shape))).astype(
            np.float32
        )
        transl = np.array(sample["transl"], np.float32)
        sample["transl"] = transl + rng.normal(0, 0.012, transl.shape).astype(np.float32)
        betas = np.array(sample["betas"], np.float32)
        sample["betas"] = betas + (0.15 * rng.standard_normal(betas.shape) * np.abs(betas)).astype(np.float32)
        weights = np.array(sample["expression"], np.float32)
        noise = rng.normal(0, 0.08, weights.shape) * (weights > 0.02)
        sample["expression"] = np.clip(0.85 * weights + noise, 0, 1).astype(np.float32)
        gaze = np.array(sample["gaze"], np.float32)
        sample["gaze"] = gaze + rng.normal(0, 0.08, (count, 1, 2)).astype(np.float32)
        return sample

    def refresh(self) -> int:
        """Look for new people; the length."""
        self.people.refresh()
        return len(self)


def _photograph(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """One picture [H,W,3] as a phone would have it."""
    soft = ndimage.gaussian_filter(image.astype(np.float32), (s := float(rng.uniform(0.2, 1.1)), s, 0))
    gain = np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.04, 3))
    noisy = soft * gain + rng.normal(0, rng.uniform(1, 5), image.shape)
    step = rng.uniform(2, 8)
    return np.clip(np.round(noisy / step) * step, 0, 255).astype(np.uint8)


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
    """The people named by ``specs``: folders of ``person_*.npz`` or names of ``GENERATED``, each with
    ``degraded:`` in front if wanted.

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
        name = spec.removeprefix(DEGRADED)
        part: Any
        if name == "stream":
            part = StreamPeople(split, seed, limit or 200)
        elif name in GENERATED:
            from lca_core.train.sets import SetPeople

            part = SetPeople(name, split, seed, limit or 200)
        else:
            part = SampleFolder(Path(name), split)
            part = First(part, limit) if limit else part
        parts.append(Degraded(part) if spec.startswith(DEGRADED) else part)
    people: People = parts[0] if len(parts) == 1 else Mixed(parts)
    return people
