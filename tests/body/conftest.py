"""Shared body fixtures: the shipped body file, loaded once, and random but human parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lca_core.body.model import BODY_FILE, BodyModel


@pytest.fixture(scope="session")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="session")
def raw() -> dict[str, np.ndarray]:
    with np.load(BODY_FILE, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.fixture
def people() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "betas": randn(4, 50),
        "pose": 0.4 * randn(4, 55, 3),
        "transl": randn(4, 3),
        "expression": torch.rand(4, 52, generator=generator),
    }
