"""Laws of snapped skinning weights."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lca_core.avatar.skinning import snap_weights


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_snapped_rows_are_exact_sorted_and_close(seed: int, used: int) -> None:
    generator = np.random.default_rng(seed)
    weights = np.zeros((16, 55))
    for row in weights:
        joints = generator.choice(55, used, replace=False)
        row[joints] = generator.dirichlet(np.ones(used))
    indices, snapped = snap_weights(weights)
    counts = np.rint(snapped * 255).astype(int)
    assert np.array_equal(counts.sum(axis=1), np.full(16, 255))
    assert np.allclose(snapped * 255, counts, atol=1e-4)
    assert (np.diff(snapped, axis=1) <= 0).all()
    top = np.sort(weights, axis=1)[:, ::-1][:, :4]
    top /= top.sum(axis=1, keepdims=True)
    assert np.abs(snapped - top).max() <= 1.01 / 255
    assert (indices[snapped == 0] == 0).all()


def _dense(indices: np.ndarray, weights: np.ndarray) -> np.ndarray:
    dense = np.zeros((len(indices), 55))
    np.add.at(dense, (np.arange(len(indices))[:, None], indices.astype(int)), weights)
    return dense


def test_snapping_twice_changes_nothing() -> None:
    once = _dense(*snap_weights(np.random.default_rng(3).dirichlet(np.ones(55) * 0.1, 40)))
    assert np.allclose(_dense(*snap_weights(once)), once, atol=1e-6)
