"""The gap between two calves that a mask network has closed."""

from __future__ import annotations

import numpy as np
import pytest

from lca_core.capture.leg_gap import open_leg_gap

SKIN, GRASS = (220, 170, 150), (235, 210, 30)
KNEES, ANKLES = np.array([[70.0, 40.0], [50.0, 40.0]]), np.array([[72.0, 100.0], [48.0, 100.0]])


def _legs(leg=SKIN, floor=GRASS, noise: float = 6.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Picture, matte that fills the gap between two legs of 14 px, and the true legs."""
    rng = np.random.default_rng(2)
    picture = np.empty((130, 120, 3))
    picture[:] = floor
    truth = np.zeros((130, 120), bool)
    for middle in (49, 71):
        truth[20:110, middle - 7 : middle + 7] = True
    picture[truth] = leg
    matte = truth.astype(np.float32)
    matte[20:110, 42:78] = 1
    return (picture + noise * rng.standard_normal(picture.shape)).clip(0, 255).astype(np.uint8), matte, truth


def test_floor_between_the_legs_leaves_the_matte_and_the_legs_stay() -> None:
    picture, matte, truth = _legs()
    out = open_leg_gap(picture, matte, KNEES, ANKLES)
    gap = np.zeros_like(truth)
    gap[42:98, 57:63] = True
    assert matte[gap].min() == 1 and out[gap].max() < 0.05
    assert out[truth].min() > 0.95
    np.testing.assert_array_equal(out[:38], matte[:38])


@pytest.mark.parametrize(
    ("leg", "floor", "noise"),
    [((200, 200, 190), (210, 205, 200), 6.0), (SKIN, GRASS, 120.0)],
    ids=["trousers like the floor", "a floor of all colours"],
)
def test_where_colours_do_not_tell_the_matte_stays(leg, floor, noise) -> None:
    picture, matte, _ = _legs(leg, floor, noise)
    np.testing.assert_array_equal(open_leg_gap(picture, matte, KNEES, ANKLES), matte)


def test_crossed_small_or_missing_legs_are_left_alone() -> None:
    picture, matte, _ = _legs()
    below = np.array([0, 300])
    together = np.array([[60.0, 40.0], [60.0, 40.0]]), np.array([[62.0, 100.0], [58.0, 100.0]])
    for knees, ankles in (
        together,
        (KNEES, KNEES + 3),
        (KNEES + below, ANKLES + below),
        (np.full((2, 2), np.nan), ANKLES),
    ):
        np.testing.assert_array_equal(open_leg_gap(picture, matte, np.asarray(knees), ankles), matte)


def test_what_a_skirt_covers_is_no_gap() -> None:
    picture, matte, _ = _legs()
    skirt = np.zeros(matte.shape, bool)
    skirt[20:70, 38:82] = True
    picture[skirt] = SKIN
    matte[skirt] = 1
    np.testing.assert_array_equal(open_leg_gap(picture, matte, KNEES, ANKLES), matte)
