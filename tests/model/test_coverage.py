"""Growth of Gaussians where a person's surface is wider than the body's."""

from __future__ import annotations

import numpy as np

from lca_core.model.coverage import MOST, covering, widening


def _sheet(side: float) -> np.ndarray:
    u, v = np.meshgrid(np.arange(20), np.arange(20))
    return side * np.stack([u.ravel(), v.ravel(), 0 * u.ravel()], 1)


def test_widening_is_the_growth_of_distances_and_never_less_than_one():
    sheet = _sheet(0.002)
    np.testing.assert_allclose(widening(sheet, 1.3 * sheet), 1.3, atol=1e-6)
    np.testing.assert_allclose(widening(sheet, 0.5 * sheet), 1)
    np.testing.assert_allclose(widening(sheet, sheet + np.array([0, 0, 0.05])), 1, atol=1e-6)
    np.testing.assert_allclose(widening(sheet, 9 * sheet), MOST, atol=1e-6)
    assert widening(sheet[:1], sheet[:1]).tolist() == [1]


def test_one_stray_point_does_not_swell_its_neighbours():
    sheet = _sheet(0.002)
    moved = sheet.copy()
    moved[210, 2] += 0.1
    others = np.delete(np.arange(len(sheet)), 210)
    assert widening(sheet, moved)[others].max() < 1.01


def test_covering_only_ever_enlarges_along_the_surface():
    scales = np.array([[0.001, 0.003, 0.0005], [0.004, 0.004, 0.0005]], np.float32)
    least = np.full((2, 2), 0.002)
    out = covering(scales, least, np.array([1.5, 1.0], np.float32))
    np.testing.assert_allclose(out, [[0.003, 0.003, 0.0005], [0.004, 0.004, 0.0005]], rtol=1e-6)
