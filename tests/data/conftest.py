"""People, scenes and samples shared by the tests of the data room; small sizes, built once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("warp")

from lca_core.data import samples, uv_bake
from lca_core.data.people import Identity, Person, sample_identity
from lca_core.data.render import Light
from lca_core.data.wardrobe import Outfit

UV = 64


def plain(number: int = 3, *, suit: str = "", **changes: Any) -> Identity:
    """A training identity with some fields replaced; ``suit`` puts it into a whole pack suit."""
    if suit:
        changes["outfit"] = Outfit(suit, None, None, None, False)
    return replace(sample_identity("train", number), **changes)


@pytest.fixture(scope="session")
def white() -> Light:
    """Uniform white ambient light that leaves a white surface at 1; no key light."""
    sh = np.zeros((9, 3), np.float32)
    sh[0] = 1 / 0.282095
    return Light(sh, np.array([0, 1, 0], np.float32), np.zeros(3, np.float32))


@pytest.fixture(scope="session")
def person() -> Person:
    return Person(plain())


@pytest.fixture(scope="session")
def truth(person: Person, white: Light) -> uv_bake.UvTruth:
    return uv_bake.bake(person, uv_bake.layered_scene(person), white, UV)


@pytest.fixture(scope="session")
def sample() -> samples.Sample:
    return samples.make_sample("train", 7, size=128, views=3, uv_size=UV)
