"""A print gets more Gaussians than plain cloth, within the budget, and the cells still tile the atlas."""

from __future__ import annotations

import numpy as np
import pytest

from lca_core.model.config import PRESETS
from lca_core.model.density import FINEST, plan
from lca_core.model.detail import detailed, parents

TINY = PRESETS["tiny"]
SIZE = 64


def checked(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Plain cloth with a checked patch on the front (u = 0.5)."""
    patch = (np.abs(u - 0.5) < 0.12) & (np.abs(v - 0.6) < 0.12)
    check = (np.floor(u * 60) + np.floor(v * 60)) % 2
    return np.where(patch, check, 0.5)[..., None] * np.array([0.8, 0.7, 0.6])


@pytest.fixture(scope="module")
def scene(scenes):
    template = scenes.template(TINY.uv_size)
    ks, viewmats = scenes.cameras(4, 256)
    pictures = [scenes.render(checked, ks[i], viewmats[i], 256) for i in range(4)]
    return template, scenes.references(pictures, ks, viewmats, TINY, template)


def made(scene, budget: int):
    template, refs = scene
    return detailed(template, refs, np.zeros((3, TINY.uv_size, TINY.uv_size)), SIZE, budget)


def test_the_budget_goes_to_the_print(scene) -> None:
    base = plan(scene[0], SIZE)
    u, v = (base.cols + 0.5) / FINEST, 1 - (base.rows + 0.5) / FINEST
    inside = (np.abs(u - 0.5) < 0.12) & (np.abs(v - 0.6) < 0.12)
    budget = 3 * int(inside.sum())
    samples = made(scene, budget)
    assert 0.98 * budget < samples.count - base.count <= budget
    split = np.bincount(parents(base, samples), minlength=base.count) > 1
    assert split[inside].mean() > 0.85
    assert split[~inside].mean() < 0.05


def test_a_small_budget_is_kept_and_none_changes_nothing(scene) -> None:
    base = plan(scene[0], SIZE)
    assert made(scene, 0) is base
    assert 90 < made(scene, 100).count - base.count <= 100


def test_cells_still_tile_what_the_plan_tiles(scene) -> None:
    base, samples = plan(scene[0], SIZE), made(scene, 500)
    parent = parents(base, samples)
    assert (parent >= 0).all()
    area = np.bincount(parent, samples.step.astype(float) ** 2, base.count)
    full = area == base.step.astype(float) ** 2
    # A cell on the rim of the atlas may lose children whose middle lies outside.
    assert full.mean() > 0.95 and (area <= base.step.astype(float) ** 2).all()
    same = samples.step == base.step[parent]
    np.testing.assert_array_equal(samples.rows[same], base.rows[parent][same])
