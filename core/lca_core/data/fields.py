"""Pieces that the studio and the wild set share: random streams, people kept at hand, field names.

In: identities and poses. Out: arrays named as in docs/data.md. Every random draw comes from a stream named
after its purpose and keyed by (generator version, set, split, seed, identity, index), so changing one purpose
leaves the others alone and nothing depends on how many workers draw.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_core.data import uv_bake
from lca_core.data.people import GENERATOR_VERSION, SPLITS, Identity, Person
from lca_core.data.render import Frame, Light, Scene
from lca_core.data.tracking_noise import joints_of, project

Sample = dict[str, Any]
"""Arrays, ``meta`` (a JSON string) and ``__key__``; see docs/data.md."""

SETS = ("studio", "wild")
SETS_VERSION = 1
"""Raised when the same seed gives other bytes."""


def set_streams(
    kind: str, split: str, seed: int, number: int, index: int, *names: str
) -> tuple[np.random.Generator, ...]:
    """Independent generators of one sample, one per named purpose."""
    base = [
        GENERATOR_VERSION,
        SETS_VERSION,
        SETS.index(kind),
        sorted(SPLITS).index(split),
        seed,
        number,
        index,
    ]
    return tuple(
        np.random.default_rng(np.random.SeedSequence([*base, zlib.crc32(n.encode())])) for n in names
    )


@dataclass
class Actor:
    """A person with what is made once: the scene, its UV truth, and who is drawn at all."""

    identity: Identity
    split: str
    uv_size: int
    person: Person = field(init=False)
    scene: Scene = field(init=False)
    truth: uv_bake.UvTruth = field(init=False)

    def __post_init__(self) -> None:
        self.person = Person(self.identity)
        self.scene = uv_bake.layered_scene(self.person)
        white = Light(_uniform(), np.array([0, 1, 0], np.float32), np.zeros(3, np.float32))
        self.truth = uv_bake.bake(self.person, self.scene, white, self.uv_size)
        self.used = np.unique(self.person.faces)

    def part_of(self, first: int, last: int) -> NDArray[np.int64]:
        """Drawn vertices that mostly follow joints ``first`` to ``last`` - 1."""
        weight = self.person.weights[self.used][:, first:last].sum(1)
        return self.used[weight > 0.6]

    def seen_bits(self, seen: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Validity map (U,U) with the bit of texels that a reference shows."""
        t = uv_bake.texels(self.uv_size)
        return self.truth.validity | t.grid((seen * uv_bake.SEEN).astype(np.uint8))

    def uv_fields(self, seen: NDArray[np.bool_]) -> Sample:
        """The UV maps of a sample."""
        return {
            "uv_albedo": self.truth.albedo,
            "uv_offset": self.truth.offset,
            "uv_validity": self.seen_bits(seen),
        }

    def loose(self, posed: NDArray, skinned: NDArray) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        """Skirt vertices (n,3) as simulated and by diffused weights; n = 0 for people without a skirt."""
        if self.person.skirt is None:
            return np.zeros((0, 3), np.float16), np.zeros((0, 3), np.float16)
        where = self.person.skirt.where
        return posed[where].astype(np.float16), skinned[where].astype(np.float16)


def _uniform() -> NDArray[np.float32]:
    sh = np.zeros((9, 3), np.float32)
    sh[0] = 1 / 0.282095
    return sh


def view_fields(frame: Frame) -> Sample:
    """Buffers of one view that do not depend on how it is photographed."""
    return {"part": frame.part, "depth": frame.depth.astype(np.float16)}


def body_fields(
    person: Person,
    pose: NDArray,
    transl: NDArray,
    expression: NDArray,
    gaze: NDArray,
    K: NDArray,
    viewmat: NDArray,
) -> Sample:
    """Exact parameters of V views, with joints in space and in the pictures.

    Args:
        pose: (V,55,3). transl: (V,3). expression: (V,52). gaze: (V,2,2). K: (V,3,3). viewmat: (V,4,4).
    """
    joints, _ = joints_of(person.betas, pose, transl)
    return {
        "betas_true": person.betas.astype(np.float32),
        "pose_true": pose.astype(np.float32),
        "transl_true": transl.astype(np.float32),
        "expr_true": expression.astype(np.float32),
        "gaze_true": gaze.astype(np.float32),
        "Ks": K.astype(np.float32),
        "viewmats": viewmat.astype(np.float32),
        "joints3d": joints.astype(np.float32),
        "joints2d": project(joints, K, viewmat).astype(np.float32),
    }


def light_fields(lights: list[Light], of_view: list[int]) -> Sample:
    """Lights of a sample and which of them each view shows."""
    return {
        "light_sh": np.stack([x.sh for x in lights]).astype(np.float32),
        "light_direction": np.stack([x.direction for x in lights]).astype(np.float32),
        "light_rgb": np.stack([x.rgb for x in lights]).astype(np.float32),
        "light_of_view": np.array(of_view, np.uint8),
    }


def meta(kind: str, actor: Actor, seed: int, index: int, **extra: Any) -> str:
    """What the sample is, as JSON; attribution is generated from the asset list."""
    facts = {
        "set": f"synthetic {kind}",
        "generator": GENERATOR_VERSION,
        "sets": SETS_VERSION,
        "split": actor.split,
        "seed": seed,
        "identity": actor.identity.number,
        "index": index,
        "assets": actor.identity.assets(),
        "outfit": actor.identity.outfit.kind,
        "synthetic": True,
        **extra,
    }
    return json.dumps(facts, sort_keys=True)
