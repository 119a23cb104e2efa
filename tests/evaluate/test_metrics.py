"""Laws of the metrics: equal pictures, known values, the mask decides, FLIP orders what eyes order."""

from __future__ import annotations

import numpy as np
import pytest

from lca_core.evaluate import metrics


@pytest.fixture
def truth() -> np.ndarray:
    y, x = np.mgrid[:64, :48]
    return np.stack([x / 48, y / 64, 0.5 + 0.3 * np.sin(x / 5) * np.cos(y / 7)], -1)


def test_equal_pictures_are_perfect(truth: np.ndarray) -> None:
    mask = np.ones(truth.shape[:2])
    pytest.importorskip("flip_evaluator")
    got = metrics.scores(truth, mask, truth, mask)
    assert got["psnr"] == metrics.MAX_PSNR and got["iou"] == 1.0
    assert got["ssim"] == pytest.approx(1.0) and got["flip"] == pytest.approx(0.0, abs=1e-6)


def test_psnr_of_a_known_error(truth: np.ndarray) -> None:
    mask = np.ones(truth.shape[:2])
    assert metrics.psnr(truth + 0.1, truth, mask) == pytest.approx(20.0, abs=1e-6)


def test_only_the_mask_counts(truth: np.ndarray) -> None:
    mask = np.zeros(truth.shape[:2])
    mask[10:30, 10:30] = 1
    wrong = truth.copy()
    wrong[40:] = 0
    assert metrics.psnr(wrong, truth, mask) == metrics.MAX_PSNR
    wrong[15, 15] += 0.5
    assert metrics.psnr(wrong, truth, mask) < 40


def test_ssim_agrees_with_the_formula_on_constant_pictures() -> None:
    # Without structure SSIM is its luminance term (2ab + c1) / (a² + b² + c1).
    a, b = np.full((32, 32, 3), 0.4), np.full((32, 32, 3), 0.6)
    wanted = (2 * 0.4 * 0.6 + 1e-4) / (0.4**2 + 0.6**2 + 1e-4)
    assert metrics.ssim(a, b, np.ones((32, 32))) == pytest.approx(wanted, abs=1e-9)


def test_flip_orders_errors_and_knows_black_from_white(truth: np.ndarray) -> None:
    pytest.importorskip("flip_evaluator")
    mask = np.ones(truth.shape[:2])
    small, large = (metrics.flip((truth + e).clip(0, 1), truth, mask) for e in (0.02, 0.2))
    assert 0 < small < large < 1
    black, white = np.zeros_like(truth), np.ones_like(truth)
    assert metrics.flip(black, white, mask) > 0.9


def test_overlap_of_two_half_shifted_squares() -> None:
    a, b = np.zeros((20, 20)), np.zeros((20, 20))
    a[5:15, 0:10], b[5:15, 5:15] = 1, 1
    assert metrics.iou(a, b) == pytest.approx(1 / 3)


def test_boxes_stay_inside_the_picture() -> None:
    box = metrics.box_around(np.array([[-10.0, 5.0], [40.0, 70.0]]), (64, 48))
    assert box is not None and (box.y0, box.x0) == (0, 0) and box.y1 <= 64 and box.x1 <= 48
    assert metrics.box_around(np.array([[100.0, 100.0], [120.0, 120.0]]), (64, 48)) is None
