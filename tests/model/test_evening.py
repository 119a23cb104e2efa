"""Evening of guessed colours: faint stains go, borders and far colours stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lca_core.model.evening import Evening, even
from lca_core.model.template import Template

CLOTH, SKIN = np.array([0.55, 0.53, 0.5], np.float32), np.array([0.75, 0.55, 0.45], np.float32)


@pytest.fixture(scope="module")
def sheet() -> np.ndarray:
    """Points of a flat piece of cloth, 60 by 60 cm, a centimetre apart."""
    x, y = np.meshgrid(np.arange(60) * 0.01, np.arange(60) * 0.01)
    return np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], 1)


def test_faint_bands_go_and_hems_stay(sheet: np.ndarray) -> None:
    band = 0.03 * np.sin(2 * np.pi * sheet[:, 1] / 0.12)[:, None].astype(np.float32)
    hem = sheet[:, 1] > 0.3
    clean = np.where(hem[:, None], CLOTH, SKIN).astype(np.float32)
    out = Evening.build(sheet)((clean + band).astype(np.float32))
    inner = np.abs(sheet[:, 1] - 0.3) > 0.03
    assert np.abs(out - clean)[inner].mean() < 0.35 * np.abs(band)[inner].mean()
    step = np.linalg.norm(CLOTH - SKIN)
    below, above = (out[np.isclose(sheet[:, 1], at)].mean(0) for at in (0.29, 0.32))
    assert np.linalg.norm(above - below) > 0.9 * step, "a hem stays as sharp as it was"


def test_plain_colours_stay_and_maps_keep_their_shape() -> None:
    template = Template.load(32)
    plain = torch.from_numpy(SKIN).view(1, 3, 1, 1) * template.carries_map
    torch.testing.assert_close(even(template, plain), plain, atol=1e-5, rtol=0)
