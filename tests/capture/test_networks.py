"""Networks: hashes guard the files, crops and boxes are exact geometry, scores land on the right ARKit
slots."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lca.errors import DataLossError
from lca_core.body.names import ARKIT_INDEX, ARKIT_NAMES
from lca_core.capture import networks
from lca_core.capture.face import BLENDSHAPE_LANDMARKS, NETWORK_SCORES, FaceTracker, to_arkit_order
from lca_core.capture.hands import HandTracker
from lca_core.capture.models.extract_models import WHEELS, read_sums
from lca_core.capture.networks import Roi, decode_detections, letterbox, ssd_anchors, verified_model_path
from lca_core.capture.pose import POSE_INDEX, PoseTracker

rois = st.builds(Roi, st.floats(-50, 150), st.floats(-50, 150), st.floats(10, 300), st.floats(-np.pi, np.pi))


def test_every_vendored_file_is_listed_and_intact() -> None:
    listed = read_sums(networks.MODEL_DIR / "SHA256SUMS")
    files = {p.name for p in networks.MODEL_DIR.glob("*.tflite")}
    assert files == set(listed) == {name for members in WHEELS.values() for name in members}
    for name in files:
        assert verified_model_path(name).is_file()
    for text in ("LICENSE", "NOTICE"):
        assert "Apache License" in (networks.MODEL_DIR / text).read_text()


def test_damaged_or_missing_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "face_detection_short_range.tflite"
    shutil.copy(networks.MODEL_DIR / "SHA256SUMS", tmp_path)
    data = bytearray((networks.MODEL_DIR / name).read_bytes())
    data[1000] ^= 1
    (tmp_path / name).write_bytes(data)
    monkeypatch.setattr(networks, "MODEL_DIR", tmp_path)
    verified_model_path.cache_clear()
    try:
        with pytest.raises(DataLossError, match="checksum"):
            verified_model_path(name)
        with pytest.raises(DataLossError, match="missing"):
            verified_model_path("face_blendshapes.tflite")
    finally:
        verified_model_path.cache_clear()


@given(rois, st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_roi_maps_are_inverse(roi: Roi, seed: int) -> None:
    points = np.random.default_rng(seed).uniform(0, 1, (20, 2)).astype(np.float32)
    np.testing.assert_allclose(roi.to_unit(roi.to_image(points)), points, atol=2e-4)


def test_roi_rotation_is_clockwise_in_the_image() -> None:
    right = Roi(10, 10, 4, np.pi / 2).to_image(np.array([[1.0, 0.5]], np.float32))
    np.testing.assert_allclose(right[0], [10, 12], atol=1e-5)  # the crop's right points down


def ramp(height: int, width: int) -> np.ndarray:
    """Image whose red is the column and green the row."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.zeros_like(x)], -1).astype(np.uint8)


@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0, np.pi / 2])
def test_crop_samples_where_to_image_points(angle: float) -> None:
    image, roi = ramp(200, 200), Roi(100, 90, 60, angle)
    crop = roi.crop(image, 30).astype(float)
    ys, xs = np.mgrid[3:27:4, 3:27:4]
    unit = np.stack([(xs.ravel() + 0.5) / 30, (ys.ravel() + 0.5) / 30], 1).astype(np.float32)
    expected = roi.to_image(unit) - 0.5  # pixel n is centred at n + 0.5
    np.testing.assert_allclose(crop[ys.ravel(), xs.ravel(), :2], expected, atol=1.1)


def test_minified_crop_keeps_place() -> None:
    image, roi = ramp(240, 240), Roi(120, 120, 240, 0.3)
    crop = roi.crop(image, 32).astype(float)
    expected = roi.to_image(np.array([[16.5 / 32, 10.5 / 32]], np.float32))[0] - 0.5
    np.testing.assert_allclose(crop[10, 16, :2], expected, atol=1.5)


def test_crop_is_black_outside() -> None:
    crop = Roi(0, 0, 40).crop(np.full((20, 20, 3), 200, np.uint8), 40)
    assert crop[:18, :18].max() == 0 and crop[25:, 25:].min() > 150


@pytest.mark.parametrize("angle", [0.0, 0.7, -1.9])
def test_paste_undoes_crop(angle: float) -> None:
    y, x = np.mgrid[:120, :100]
    smooth = np.exp(-((x - 50) ** 2 + (y - 60) ** 2) / 300)
    roi = Roi(50, 60, 80, angle)
    crop = roi.crop((np.repeat(smooth[..., None], 3, 2) * 255).astype(np.uint8), 128)[..., 0] / 255.0
    back = roi.paste(crop.astype(np.float32), 120, 100)
    np.testing.assert_allclose(back[45:75, 35:65], smooth[45:75, 35:65], atol=0.03)


@pytest.mark.parametrize(
    ("size", "strides", "count"),
    [(224, (8, 16, 32, 32, 32), 2254), (192, (8, 16, 16, 16), 2016), (128, (8, 16, 16, 16), 896)],
)
def test_anchor_counts_fit_the_networks(size: int, strides: tuple[int, ...], count: int) -> None:
    anchors = ssd_anchors(size, strides)
    assert anchors.shape == (count, 2) and anchors.min() > 0 and anchors.max() < 1
    np.testing.assert_allclose(anchors.mean(0), 0.5, atol=1e-6)
    np.testing.assert_allclose(anchors[0], 4 / size, atol=1e-6)


def test_overlapping_detections_are_blended_and_mapped() -> None:
    anchors = np.array([[0.5, 0.5], [0.5, 0.5], [0.1, 0.1]], np.float32)
    raw = np.array([[0, 0, 40, 40, 0, 0], [8, 0, 40, 40, 8, 0], [0, 0, 10, 10, 0, 0]], np.float32)
    logits = np.array([2.0, 2.0, -9.0], np.float32)
    hits = decode_detections(raw, logits, anchors, 100, Roi(50, 50, 200), 0.5)
    assert len(hits) == 1
    np.testing.assert_allclose(hits[0].box, [18, 10, 98, 90], atol=1e-4)  # mean of the two, twice as large
    np.testing.assert_allclose(hits[0].keypoints, [[58, 50]], atol=1e-4)
    assert letterbox(40, 20) == Roi(20, 10, 40.0)


def test_scores_are_permuted_to_arkit() -> None:
    assert len(NETWORK_SCORES) == 52 and NETWORK_SCORES[0] == "_neutral"
    assert list(NETWORK_SCORES[1:]) == sorted(set(ARKIT_NAMES) - {"tongueOut"})
    out = to_arkit_order(np.arange(52, dtype=np.float32))
    for slot, name in enumerate(NETWORK_SCORES):
        if name != "_neutral":
            assert out[ARKIT_INDEX[name]] == slot
    assert out[ARKIT_INDEX["tongueOut"]] == 0
    assert out[ARKIT_INDEX["eyeBlinkLeft"]] == 9 and out[ARKIT_INDEX["jawOpen"]] == 25
    assert len(set(BLENDSHAPE_LANDMARKS)) == 146 and max(BLENDSHAPE_LANDMARKS) == 477


def test_networks_run_and_see_nobody_in_noise() -> None:
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    tracker = PoseTracker()
    assert tracker(image) is None
    result, again = tracker.landmarks(image, letterbox(160, 120))
    assert result.points.shape == (33, 2) and result.mask.shape == (120, 160)
    assert np.isfinite(result.world).all() and again.size > 0 and len(POSE_INDEX) == 33
    assert FaceTracker()(image) is None
    assert HandTracker().detect(image, letterbox(160, 120)) == []
