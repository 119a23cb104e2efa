"""Views brought into one light: seams go, detail and what views rightly disagree about stay."""

from __future__ import annotations

import numpy as np

from lca_core.model.levels import levelled

SIDE, STEP = 60, 0.01


def _wall() -> tuple[np.ndarray, np.ndarray]:
    """A wall of 0.6 m: positions and normals [T,3]."""
    u, v = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    position = STEP * np.stack([u.ravel(), v.ravel(), 0 * u.ravel()], 1)
    return position, np.broadcast_to([0.0, 0, 1], position.shape)


def _two_views(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Trust and use [2,T]: the left view is used left of the middle, both see the middle third."""
    x = position[:, 0] / (SIDE * STEP)
    trust = np.stack([x < 2 / 3, x > 1 / 3]).astype(np.float32)
    weight = np.stack([x < 0.5, x >= 0.5]).astype(np.float32)
    return trust, weight


def _luma(color: np.ndarray) -> np.ndarray:
    return color.mean(-1)


def test_a_darker_view_meets_the_other_at_the_seam_without_losing_detail() -> None:
    position, normal = _wall()
    trust, weight = _two_views(position)
    rng = np.random.default_rng(5)
    pattern = 0.5 + 0.08 * rng.standard_normal((len(position), 3))
    color = np.stack([pattern, 0.8 * pattern]).astype(np.float32)
    out = levelled(position, normal, trust, weight, color)
    seam = np.abs(position[:, 0] - 0.3) < 0.03
    before, after = (np.abs(_luma(c[0] - c[1])[seam]).mean() for c in (color, out))
    assert after < 0.25 * before
    for view in range(2):
        used = weight[view] > 0
        assert np.corrcoef(_luma(out[view])[used], _luma(color[view])[used])[0, 1] > 0.9
    # Far from the other view it stays as it was photographed.
    assert np.abs(out - color)[0, position[:, 0] < 0.05].max() < 0.03


def test_views_that_agree_and_single_views_are_left_alone() -> None:
    position, normal = _wall()
    trust, weight = _two_views(position)
    color = np.random.default_rng(6).uniform(0.1, 0.9, (1, len(position), 3)).repeat(2, 0).astype(np.float32)
    np.testing.assert_allclose(levelled(position, normal, trust, weight, color), color, atol=1e-3)
    alone = trust.copy()
    alone[1] = 0
    np.testing.assert_array_equal(levelled(position, normal, alone, weight, 0.5 * color), 0.5 * color)


def test_views_that_see_different_things_do_not_tint_each_other() -> None:
    position, normal = _wall()
    trust, weight = _two_views(position)
    color = np.empty((2, len(position), 3), np.float32)
    color[0], color[1] = (0.7, 0.1, 0.1), (0.1, 0.2, 0.7)
    other = np.stack([color[0], 0.8 * color[0]])
    gap = np.abs(levelled(position, normal, trust, weight, color) - color).max()
    moved = np.abs(levelled(position, normal, trust, weight, other) - other).max()
    assert gap < 0.5 * moved
