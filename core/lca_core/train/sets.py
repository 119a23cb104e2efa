"""The sets ``studio`` and ``wild`` as training people: one kind of light per person, UV truth lit by it.

In: a set of ``lca_core.data``, split, seed. Out: samples in the format of ``lca_core.data.samples``. The
network copies lit colour, so of every person only frames under one light are kept (studio: the uniform one;
wild: that of the first clip) and the UV maps are baked again under that light. Wild people carry what the
tracker says: a clip has no other parameters; their UV truth and corrections stay exact.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_core.data import uv_bake
from lca_core.data.datasets import make
from lca_core.data.fields import Actor
from lca_core.data.people import SPLITS, sample_identity
from lca_core.data.render import Light
from lca_core.data.studio import StudioConfig
from lca_core.data.wild import WildConfig
from lca_core.train.examples import Sample

KEPT = 200
"""People kept in memory (about 1 MB each at 256 px)."""
POSES = 2
RING = 10
"""Poses and ring cameras of a studio person; one camera in five sees the uniform light."""


class SetPeople:
    """The first ``limit`` people of a split of one set, made when asked for; an index is always the same
    sample."""

    def __init__(
        self, kind: str, split: str, seed: int, limit: int = 200, size: int = 256, uv_size: int = 128
    ) -> None:
        low, high = SPLITS[split]
        self.kind, self.split, self.seed = kind, split, seed
        self._numbers = range(low, min(low + limit, high))
        self.config: StudioConfig | WildConfig = (
            StudioConfig(size=size, uv_size=uv_size, ring=RING, faces=0, hands=0, poses=POSES)
            if kind == "studio"
            else WildConfig(long_side=size, uv_size=uv_size)
        )
        self._made: OrderedDict[int, Sample] = OrderedDict()

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Sample:
        number = self._numbers[index]
        if number not in self._made:
            self._made[number] = training_sample(self.kind, self.split, number, self.seed, self.config)
            while len(self._made) > KEPT:
                self._made.popitem(last=False)
        self._made.move_to_end(number)
        return self._made[number]

    def refresh(self) -> int:
        """Nothing to look for; the number of people."""
        return len(self)


def training_sample(
    kind: str, split: str, number: int, seed: int, config: StudioConfig | WildConfig
) -> Sample:
    """One person of a set as a training sample; studio people in ``config.poses`` poses."""
    actor = Actor(sample_identity(split, number), split, config.uv_size)
    count = config.poses if isinstance(config, StudioConfig) else 1
    parts = [make(kind, actor, seed, index, config) for index in range(count)]
    kept = [_views(part, exact=kind == "studio") for part in parts]
    first = parts[0]
    light = Light(first["light_sh"][0], first["light_direction"][0], first["light_rgb"][0])
    truth = uv_bake.bake(actor.person, actor.scene, light, config.uv_size)
    corrections = [_corrections(actor, truth, part, config.uv_size) for part in parts]
    betas = first["betas_true"] if kind == "studio" else first["betas_noisy"][0]
    return {
        **{k: np.concatenate([view[k] for view in kept]) for k in kept[0]},
        "betas": np.asarray(betas, np.float32),
        "uv_albedo": truth.albedo,
        "uv_color": truth.color,
        "uv_offset": truth.offset,
        "uv_validity": first["uv_validity"],
        "uv_correction": np.concatenate(corrections),
        "meta": first["meta"],
    }


def _lit_alike(part: Sample) -> NDArray[np.int64]:
    return np.nonzero(np.asarray(part["light_of_view"]) == 0)[0]


def _views(part: Sample, exact: bool) -> dict[str, NDArray[Any]]:
    where, who = _lit_alike(part), "true" if exact else "noisy"
    masks = part["mask"] if exact else part["mask_degraded"]
    names = {"pose": "pose", "transl": "transl", "expression": "expr", "gaze": "gaze"}
    return {
        "images": part["image"][where],
        "masks": np.asarray(masks)[where],
        "Ks": np.asarray(part["Ks"] if exact else part["Ks_noisy"], np.float32)[where],
        "viewmats": np.asarray(part["viewmats"], np.float32)[where],
        **{k: np.asarray(part[f"{v}_{who}"], np.float32)[where] for k, v in names.items()},
    }


def _corrections(actor: Actor, truth: uv_bake.UvTruth, part: Sample, uv_size: int) -> NDArray[np.float16]:
    """[views,U,U,3]; equal frames (a studio pose) are computed once."""
    out: list[NDArray[np.float16]] = []
    last: tuple[bytes, NDArray[np.float16]] | None = None
    for v in _lit_alike(part):
        pose, transl, expression, gaze = (part[f"{k}_true"][v] for k in ("pose", "transl", "expr", "gaze"))
        key = b"".join(np.ascontiguousarray(x).tobytes() for x in (pose, transl, expression, gaze))
        if last is None or last[0] != key:
            posed = actor.person.posed(pose, transl, expression, gaze)
            made = uv_bake.correction(actor.person, truth, posed, pose, transl, gaze, uv_size)
            last = (key, made)
        out.append(last[1])
    return np.stack(out)
