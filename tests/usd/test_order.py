"""Laws of ordering and snapping."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lca_usd.order import MORTON_BITS, morton_codes, morton_order, snap_influences, snap_opacities


def naive_code(cell: tuple[int, int, int]) -> int:
    return sum(
        ((cell[axis] >> bit) & 1) << (3 * bit + axis) for bit in range(MORTON_BITS) for axis in range(3)
    )


def test_codes_interleave_the_bits_of_the_cells() -> None:
    cells = np.random.default_rng(0).integers(0, 2**MORTON_BITS, size=(200, 3))
    cells[0], cells[1] = (
        0,
        2**MORTON_BITS - 1,
    )  # these two pin the cube, so that cells are the points themselves
    codes = morton_codes(cells)
    assert [int(c) for c in codes] == [naive_code(tuple(int(v) for v in cell)) for cell in cells]


def test_order_is_a_stable_permutation_that_survives_a_shuffle() -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(500, 3))
    order = morton_order(points)
    assert sorted(order) == list(range(500))
    assert np.array_equal(morton_order(points[order]), np.arange(500))
    shuffle = rng.permutation(500)
    assert np.array_equal(points[shuffle][morton_order(points[shuffle])], points[order])


def test_order_makes_neighbours() -> None:
    points = np.random.default_rng(2).uniform(size=(4000, 3))
    steps = np.linalg.norm(np.diff(points[morton_order(points)], axis=0), axis=1)
    assert steps.mean() < 0.2 * np.linalg.norm(np.diff(points, axis=0), axis=1).mean()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(0, 1e3, width=32), min_size=4, max_size=4), min_size=1, max_size=8))
def test_snapped_rows_are_whole_255ths_heaviest_first(rows: list[list[float]]) -> None:
    weights = np.array(rows, np.float32)
    joints, snapped = snap_influences(np.tile(np.arange(4) + 7, (len(rows), 1)), weights)
    grid = np.rint(snapped * 255.0).astype(int)
    assert np.array_equal((grid / 255.0).astype(np.float32), snapped)
    assert (grid.sum(axis=1) == 255).all()
    assert (np.diff(grid, axis=1) <= 0).all()
    assert ((grid > 0) | (joints == 0)).all()
    total = weights.sum(axis=1, dtype=np.float64)
    for row in np.flatnonzero(total > 0):
        for joint, weight in zip(joints[row], snapped[row]):
            if weight > 0:
                assert abs(weight - weights[row, joint - 7] / total[row]) <= 1.01 / 255


def test_snapping_leaves_snapped_weights_alone() -> None:
    grid = -np.sort(-np.random.default_rng(4).multinomial(255, [0.25] * 4, size=500), axis=1)
    weights = (grid / 255).astype(np.float32)
    joints = np.tile([3, 1, 2, 9], (500, 1))
    again, snapped = snap_influences(joints, weights)
    assert np.array_equal(snapped, weights)
    assert np.array_equal(again[weights > 0], joints[weights > 0])


def test_opacities_snap_to_the_nearest_step() -> None:
    opacities = np.linspace(0, 1, 1001)
    snapped = snap_opacities(opacities)
    assert np.abs(snapped - opacities).max() <= 0.5 / 255 + 1e-7
    assert np.array_equal(snap_opacities(snapped), snapped)
