"""Motion: bridging, smoothing, fixed shape and temporal calm on constructed and real frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from capture_synthetic import make_truth
from scipy.spatial.transform import Rotation

from lca_core.capture import capture_motion
from lca_core.capture.fit import FitWeights, fit_body
from lca_core.capture.fit_body import FitBody
from lca_core.capture.fit_targets import build_targets
from lca_core.capture.motion import bridge_rotations, face_shown, fill, same_shape, smooth

SHORT = ((20, 0.03), (60, 0.05), (30, 0.02))


def test_gaps_are_bridged_and_ends_held() -> None:
    times, known = np.arange(6.0), np.array([1.0, 3.0])
    values = np.array([[1.0], [3.0]], np.float32)
    np.testing.assert_allclose(fill(times, known, values, np.ones(2))[:, 0], [1, 1, 2, 3, 3, 3])
    np.testing.assert_allclose(fill(times, known, values, np.array([1.0, 0.0])), 1)
    np.testing.assert_allclose(fill(times, known, values, np.zeros(2)), 0)
    pose = np.zeros((2, 55, 3), np.float32)
    pose[0, 3], pose[1, 3] = (0, 3.0, 0), (0, -3.0, 0)  # the short way leads over the back
    middle = bridge_rotations(times, known, pose)[2, 3]
    assert abs(abs(middle[1]) - np.pi) < 1e-3
    np.testing.assert_allclose(bridge_rotations(times, known[:1], pose[:1]), np.repeat(pose[:1], 6, 0))


def test_smoothing_keeps_constants_and_the_mean_of_peaks() -> None:
    flat = np.full((20, 2), 0.3, np.float32)
    np.testing.assert_allclose(smooth(flat, 1.0), flat, atol=1e-6)
    peak = np.zeros((21, 1), np.float32)
    peak[10] = 1
    out = smooth(peak, 1.0)
    assert out.sum() == pytest.approx(1, abs=1e-3) and out.argmax() == 10
    np.testing.assert_array_equal(smooth(peak, 0.0), peak)
    assert same_shape((1080, 1920), (540, 960)) and not same_shape((1080, 1920), (1920, 1080))


def test_known_shape_is_kept_and_neighbours_calm_the_noise(body) -> None:
    """A still person under landmark noise: linked frames shake less than frames fitted one by one."""
    truth = make_truth(body, [0.3], seed=2, hands=False, drawn=False)
    still = make_truth(body, [0.3] * 6, seed=2, hands=False, drawn=False)
    rng = np.random.default_rng(0)
    for o in still.observations:
        o.pose.points[:] = truth.observations[0].pose.points + rng.normal(0, 4, (33, 2))
        o.pose.world[:] = truth.observations[0].pose.world + rng.normal(0, 0.03, (33, 3))
    targets = build_targets(
        still.observations, [np.zeros((1, 1), np.float32)] * 6, np.array([truth.size] * 6)
    )
    off = FitWeights(outside=0.0, contour=0.0)
    common = {"focal_px": truth.focal, "betas": truth.betas, "weights": off, "stages": SHORT}
    free = fit_body(FitBody(body), targets, **common)
    calm = fit_body(FitBody(body), targets, times=np.arange(6) / 30, **common)
    np.testing.assert_array_equal(calm.betas, truth.betas)

    def shake(joints: np.ndarray) -> float:
        return float(np.linalg.norm(np.diff(joints, axis=0), axis=-1).mean())

    assert shake(calm.joints) < 0.5 * shake(free.joints)


def test_motion_of_the_sample_clip(media: Path, body) -> None:
    motion = capture_motion(media / "real" / "demo.mp4", max_frames=6)
    assert motion.pose.shape == (6, 55, 3) and motion.expression.shape == (6, 52)
    assert motion.fps == pytest.approx(0.6, abs=0.06) and motion.conf.min() > 0.5
    facing = Rotation.from_rotvec(motion.pose[:, 0]).apply([0, 0, 1])
    assert facing[[0, 1], 2].min() > 0.9  # he stands still and frontal at first
    joints = body(torch.zeros(1, 50), torch.tensor(motion.pose), torch.tensor(motion.transl)).joints
    assert (joints[:, 15, 1] > joints[:, 0, 1]).all() and (joints[:, 0, 1] > joints[:, 7, 1]).all()


def test_a_face_out_of_sight_relaxes_and_short_gaps_hold() -> None:
    times = np.arange(0, 4, 0.1)
    seen = np.array([0.0, 0.1, 0.2, 0.6, 2.0, 2.1])
    shown = face_shown(times, seen)
    at = {round(float(t), 1): float(v) for t, v in zip(times, shown, strict=True)}
    assert at[0.4] == 1 and at[0.2] == 1  # 0.4 s without a face
    assert at[0.7] == pytest.approx(0.6) and at[0.9] == 0 and at[1.3] == 0 and at[1.9] == pytest.approx(0.6)
    assert at[2.2] == pytest.approx(0.6) and at[3.9] == 0  # never seen again
    np.testing.assert_array_equal(face_shown(times, np.zeros(0)), 0)
