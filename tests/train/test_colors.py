"""Learning how colours vary together."""

from __future__ import annotations

import numpy as np
import torch
from safetensors.torch import load_file

from lca_core.model.config import PRESETS
from lca_core.model.template import Template
from lca_core.train.colors import learn, person_colors, write


def test_people_become_maps_and_a_card(scenes, tmp_path) -> None:
    template = scenes.template(PRESETS["tiny"].uv_size)
    colors = np.random.default_rng(0).uniform(0, 1, (3, template.count, 3)).astype(np.float32)
    write(colors, template, tmp_path / "colors.safetensors")
    maps = load_file(tmp_path / "colors.safetensors")
    size = template.size
    assert maps["mean"].shape == (3, size, size) and maps["noise"].shape == (1, size, size)
    assert maps["ways"].shape[1:] == (size, size) and bool(torch.isfinite(maps["ways"]).all())
    assert float(maps["mean"].min()) >= 0 and float(maps["mean"].max()) <= 1
    assert "3 synthetic people" in (tmp_path / "colors.md").read_text()


def test_a_generated_person_has_colours_on_every_part() -> None:
    template = Template.load(128)
    first, again = (person_colors(0, template) for _ in range(2))
    assert first.shape == (template.count, 3) and np.array_equal(first, again)
    assert first.std() > 10 and (first.max(1) > 0).mean() > 0.99


def test_ways_and_noise_are_the_covariance() -> None:
    """Of colours that vary in three ways, with fewer people than texels and with more."""
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
