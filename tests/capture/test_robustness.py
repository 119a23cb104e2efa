"""Difficult footage: the right person and pose, or a clear reason; never garbage without a word."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from capture_synthetic import make_truth, procrustes_error
from PIL import Image
from scipy import ndimage

from lca.errors import NoPersonFoundError
from lca_core.capture import read_clip
from lca_core.capture.decode import Clip
from lca_core.capture.exposure import brightened
from lca_core.capture.fit import FitWeights, fit_body
from lca_core.capture.fit_body import FitBody
from lca_core.capture.fit_targets import build_targets
from lca_core.capture.pipeline import observe_clip
from lca_core.capture.pose import POSE_INDEX, PoseTracker
from lca_core.capture.select import choose, missing_views

MAIN = [POSE_INDEX[f"{s}_{p}"] for s in ("left", "right") for p in ("shoulder", "hip", "knee", "ankle")]


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    """A sharp frontal frame of the shipped clip."""
    from lca_core.data.sample_clip import sample_clip_path

    return read_clip(sample_clip_path(), 3, max_side=960).frames[0]


@pytest.fixture(scope="module")
def tracker() -> PoseTracker:
    return PoseTracker()


def test_one_wrong_frame_among_eight(body) -> None:
    """A frame of garbage landmarks hardly moves the shape and the poses of the other seven."""
    yaws = [0.0, 0.4, -0.4, 0.8, -0.8, 1.2, -1.2, 0.2]
    truth = make_truth(body, yaws, seed=6, noise_percent=0.5, hands=False, drawn=False)
    rng = np.random.default_rng(0)
    spoilt = list(truth.observations)
    o = spoilt[3]
    points = o.pose.points + rng.normal(0, 80, o.pose.points.shape).astype(np.float32)
    spoilt[3] = replace(o, pose=replace(o.pose, points=points, world=rng.normal(0, 0.4, (33, 3))))
    short, landmarks = ((20, 0.03), (80, 0.04), (60, 0.03)), FitWeights(outside=0.0, contour=0.0)
    good = [i for i in range(8) if i != 3]
    errors, heights = [], []
    for seen in (truth.observations, spoilt):
        targets = build_targets(seen, truth.masks, np.array([truth.size] * 8))
        fit = fit_body(FitBody(body), targets, focal_px=truth.focal, stages=short, weights=landmarks)
        errors.append(np.mean([procrustes_error(fit.joints[i, :22], truth.joints[i, :22]) for i in good]))
        heights.append(fit.height)
    assert errors[1] < errors[0] + 0.008
    assert abs(heights[1] - heights[0]) < 0.05


def test_the_larger_more_central_of_two_people_wins(frame, tracker) -> None:
    alone = tracker(frame)
    assert alone is not None and alone.others == 0
    small = np.asarray(Image.fromarray(frame).resize((frame.shape[1] * 3 // 4, frame.shape[0] * 3 // 4)))
    wide = np.full((frame.shape[0], 9 * frame.shape[1] // 4, 3), frame[5, 5], np.uint8)
    x = 3 * frame.shape[1] // 4
    wide[:, x : x + frame.shape[1]] = frame
    wide[-small.shape[0] :, : small.shape[1]] = small
    both = tracker(wide)
    assert both is not None
    gap = np.linalg.norm(both.points[MAIN] - (alone.points[MAIN] + [x, 0]), axis=1)
    assert gap.max() < 0.04 * alone.body_size
    assert both.others == 1
    clip = Clip(
        wide[None], np.zeros(1), 25.0, (wide.shape[1], wide.shape[0]),
        np.array([[wide.shape[1], wide.shape[0]]]), np.zeros(1, np.int64), 1, (0, 0), None, "images",
    )  # fmt: skip
    assert any("Another person" in note for note in missing_views(observe_clip(clip)))


def test_motion_blur_keeps_the_pose_and_loses_the_choice(frame, tracker) -> None:
    sharp = tracker(frame)
    smeared = ndimage.uniform_filter1d(frame.astype(np.float32), 17, axis=1).astype(np.uint8)
    blurred = tracker(smeared)
    assert sharp is not None and blurred is not None
    gap = np.linalg.norm(blurred.points[MAIN] - sharp.points[MAIN], axis=1)
    assert np.median(gap) < 0.03 * sharp.body_size
    stack = np.stack([frame, smeared, frame, smeared, frame, frame, frame, frame])
    size = (frame.shape[1], frame.shape[0])
    clip = Clip(stack, np.arange(8.0), 1.0, size, np.array([size] * 8), np.arange(8), 8, size, None, "video")
    seen = observe_clip(clip)
    choice = choose(seen, 8)
    assert {1, 3}.isdisjoint(choice.taken)
    assert choice.reasons[1] == "the person is blurred" or "face" in choice.reasons[1]


def test_night_clip_is_found_and_noise_is_not(frame, tracker) -> None:
    day = tracker(frame)
    rng = np.random.default_rng(1)
    night = np.clip(0.1 * frame + rng.normal(0, 3, frame.shape), 0, 255).astype(np.uint8)
    dark = tracker(brightened(night))
    assert brightened(frame) is frame and brightened(night).mean() > 3 * night.mean()
    assert day is not None and dark is not None
    gap = np.linalg.norm(dark.points[MAIN] - day.points[MAIN], axis=1)
    assert np.median(gap) < 0.04 * day.body_size
    size = (frame.shape[1], frame.shape[0])
    noise = rng.integers(0, 8, (2, *frame.shape)).astype(np.uint8)
    clip = Clip(noise, np.arange(2.0), 1.0, size, np.array([size] * 2), np.arange(2), 2, size, None, "video")
    with pytest.raises(NoPersonFoundError, match=r"0 of 2 .*good light"):
        observe_clip(clip)


def test_half_a_body_is_taken_without_inventing_legs(frame, tracker) -> None:
    half = np.ascontiguousarray(frame[: int(0.5 * frame.shape[0])])
    size = (half.shape[1], half.shape[0])
    clip = Clip(
        half[None], np.zeros(1), 1.0, size, np.array([size]), np.zeros(1, np.int64), 1, size, None, "images"
    )
    seen = observe_clip(clip)
    assert any("legs were not seen" in note for note in missing_views(seen))
    assert seen[0].coverage < 0.8
