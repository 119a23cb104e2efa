"""Learning how colours vary together, from a folder of analytic people."""

from __future__ import annotations

import numpy as np
import torch
from safetensors.torch import load_file

from lca_core.model.config import PRESETS
from lca_core.train.colors import learn, train


def test_a_folder_becomes_maps_and_a_card(scenes, tmp_path) -> None:
    data = tmp_path / "people"
    data.mkdir()
    for i in range(3):
        np.savez(data / f"person_{i:06d}.npz", **scenes.person(i))
    template = scenes.template(PRESETS["tiny"].uv_size)
    assert train([str(data)], tmp_path / "colors.safetensors", template) == 3
    maps = load_file(tmp_path / "colors.safetensors")
    size = template.size
    assert maps["mean"].shape == (3, size, size) and maps["noise"].shape == (1, size, size)
    assert maps["ways"].shape[1:] == (size, size) and bool(torch.isfinite(maps["ways"]).all())
    assert float(maps["mean"].min()) >= 0 and float(maps["mean"].max()) <= 1
    assert "3 synthetic people" in (tmp_path / "colors.md").read_text()


def test_both_ways_to_the_components_agree() -> None:
    """Fewer people than texels or more: the same covariance, and noise is what the ways leave over."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(0, 0.1, (3, 50))
    colors = 0.5 + np.einsum("pcr,rt->ptc", rng.normal(size=(40, 3, 3)), mixing)
    many = learn(colors, np.arange(50), ways=3)
    few = learn(colors[:8], np.arange(50), ways=3)
    for learned, people in ((many, colors), (few, colors[:8])):
        rows = (people - people.mean(0)).transpose(0, 2, 1).reshape(-1, 50)
        truth = torch.from_numpy(rows.T @ rows / len(rows)).float()
        torch.testing.assert_close(learned["ways"] @ learned["ways"].T, truth, atol=1e-4, rtol=1e-3)
        assert float(learned["noise"].max()) < 2e-3
