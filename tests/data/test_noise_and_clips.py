"""Tracking noise has the size of the real tracker's errors; clips are smooth, stand on their feet and cover
faces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lca.motion.rotation import axis_angles, matrices
from lca_core.body.names import ARKIT_INDEX
from lca_core.data import cameras, clips, face_tracks, tracking_noise
from lca_core.data.people import sample_identity
from lca_core.data.tracking_noise import Truth, sample_noise, statistics

KINDS = ("talk", "poses", "turn", "wave", "walk", "exercise")


def truth(number: int, frames: int = 24, fps: float = 15.0) -> Truth:
    rng = np.random.default_rng(number)
    motion = clips.make_clip(rng, frames, fps, KINDS[number % len(KINDS)])
    betas = np.array(sample_identity("train", number).betas)
    joints, _ = tracking_noise.joints_of(betas, motion.poses, motion.translation)
    K, viewmats = cameras.phone(
        rng, joints.min((0, 1)) - 0.17, joints.max((0, 1)) + 0.17, frames, fps, (480, 640)
    )
    return Truth(
        motion.poses, motion.translation, motion.arkit, motion.gaze, betas, np.repeat(K[None], frames, 0),
        viewmats, fps, np.ones((frames, 2), bool),
    )  # fmt: skip


@pytest.fixture(scope="module")
def drawn() -> dict[str, Any]:
    """Statistics of noise on clips that took no part in the calibration."""
    true = [truth(2000 + k) for k in range(36)]
    return statistics([(t, sample_noise(np.random.default_rng(k), t)) for k, t in enumerate(true)])


def test_noise_has_the_measured_sizes(drawn: dict[str, Any]) -> None:
    """Within 20 % of what the real tracker did, joint group by joint group."""
    want = tracking_noise.measured()
    for group, sizes in want["joints"].items():
        for name, value in sizes.items():
            assert drawn["joints"][group][name] == pytest.approx(value, rel=0.2), (group, name)
    for name in ("correlation_s", "betas_rms", "gaze_rms_rad", "hands_found", "reprojection_percent"):
        assert drawn[name] == pytest.approx(want[name], rel=0.2), name
    for name in ("rms", "gain"):
        assert drawn["expression"][name] == pytest.approx(want["expression"][name], rel=0.2), name
    assert drawn["beta0"]["sd"] == pytest.approx(want["beta0"]["sd"], rel=0.25)
    assert drawn["log_focal_by_side"]["mean"] == pytest.approx(want["log_focal_by_side"]["mean"], abs=0.02)
    assert drawn["log_depth_beyond_focal"]["sd"] == pytest.approx(
        want["log_depth_beyond_focal"]["sd"], rel=0.3
    )


def test_noise_repeats_and_lasts() -> None:
    true = truth(1, 60, 30.0)
    a, b = (sample_noise(np.random.default_rng(5), true) for _ in range(2))
    for name in ("pose", "transl", "betas", "K", "expression", "gaze", "hands"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    error = tracking_noise.rotation_errors(true, a)[:, 1:22]
    assert np.abs(np.diff(error, axis=0)).mean() < 0.4 * np.abs(error - error.mean(0)).mean()
    assert np.ptp(a.K[:, 0, 0]) == 0 and a.expression.min() >= 0 and a.expression.max() <= 1


def test_noise_agrees_with_the_picture() -> None:
    """Arms are off by many degrees, and yet their joints lie within two percent of the body's size."""
    true = truth(3)
    said = sample_noise(np.random.default_rng(1), true)
    exact = tracking_noise.project(
        tracking_noise.joints_of(true.betas, true.pose, true.transl)[0], true.K, true.viewmat
    )
    got = tracking_noise.project(
        tracking_noise.joints_of(said.betas, said.pose, said.transl)[0], said.K, said.viewmat
    )
    size = tracking_noise.body_size(exact)[:, None]
    error = np.linalg.norm((got - exact)[:, :22], axis=-1) / size
    turned = np.degrees(np.linalg.norm(tracking_noise.rotation_errors(true, said)[:, 16:20], axis=-1))
    assert error.mean() < 0.02 and turned.mean() > 5  # wrong in depth, right in the picture


def test_refit_finds_an_exact_answer() -> None:
    true = truth(4, 6)
    joints, _ = tracking_noise.joints_of(true.betas, true.pose, true.transl)
    wanted = tracking_noise.project(joints[:, :22], true.K, true.viewmat)
    rest, _ = tracking_noise.joints_of(true.betas, np.zeros((1, 55, 3)), np.zeros((1, 3)))
    off = np.random.default_rng(0).normal(0, 0.06, true.pose.shape)
    local = matrices(true.pose) @ matrices(off)
    soft = np.full(22, 0.3)
    fixed, shift = tracking_noise.refit(
        rest[0], local, true.transl + 0.02, true.K, true.viewmat, wanted, soft, steps=6
    )
    places, _ = tracking_noise._forward(rest[0], fixed, shift)
    error = np.linalg.norm(tracking_noise.project(places[:, :22], true.K, true.viewmat) - wanted, axis=-1)
    assert error.mean() < 0.6  # pixels of a picture of 640


@pytest.mark.parametrize("kind", clips.KINDS)
def test_clips_are_smooth_and_stand(kind: str) -> None:
    clip = clips.make_clip(np.random.default_rng(8), 120, 30.0, kind)
    turns = matrices(clip.poses)
    step = np.linalg.norm(axis_angles(np.swapaxes(turns[:-1], -1, -2) @ turns[1:]), axis=-1)
    assert np.degrees(step.max()) < 16
    joints = clip.joints()
    feet = joints[:, [7, 8, 10, 11]]
    low = feet[..., 1].argmin(1)
    slide = np.linalg.norm(np.diff(feet, axis=0)[np.arange(119), low[1:]][:, [0, 2]], axis=-1)
    # Who turns on the spot pivots on the standing foot.
    assert np.median(slide) < (0.02 if kind == "turn" else 0.008) and feet[..., 1].min() > -0.99
    assert clip.arkit.min() >= 0 and clip.arkit.max() <= 1
    again = clips.make_clip(np.random.default_rng(8), 120, 30.0, kind)
    assert np.array_equal(again.poses, clip.poses) and np.array_equal(again.arkit, clip.arkit)


def test_walks_go_somewhere_and_turns_turn() -> None:
    walked = [clips.make_clip(np.random.default_rng(k), 150, 30.0, "walk") for k in range(6)]
    far = [np.linalg.norm(np.diff(c.translation[:, [0, 2]], axis=0), axis=1).sum() for c in walked]
    assert max(far) > 2 and min(far) >= 0
    turned = clips.make_clip(np.random.default_rng(2), 150, 30.0, "turn")
    ahead = matrices(turned.poses[:, 0])[:, :, 2]
    assert np.ptp(np.unwrap(np.arctan2(ahead[:, 0], ahead[:, 2]))) > 3


def test_splines_pass_through_their_keys() -> None:
    keys = np.random.default_rng(0).normal(0, 0.7, (5, 4, 3))
    times = np.array([0.0, 0.5, 1.2, 1.9, 3.0])
    assert np.abs(matrices(clips.spline(keys, times, times)) - matrices(keys)).max() < 1e-9
    dense = matrices(clips.spline(keys, times, np.linspace(0, 3, 400)))
    assert np.abs(np.diff(dense, n=2, axis=0)).max() < 0.02  # no kinks


def test_faces_blink_speak_look_and_use_every_action() -> None:
    rng = np.random.default_rng(0)
    lids = face_tracks.blinks(rng, 900, 30.0)
    closed = np.flatnonzero((lids[1:] > 0.5) & (lids[:-1] <= 0.5))
    assert 5 <= len(closed) <= 30 and lids.mean() < 0.2
    said = face_tracks.speech(rng, 900, 30.0)
    jaw = said[:, ARKIT_INDEX["jawOpen"]]
    opens = ((jaw[1:] > jaw.mean()) & (jaw[:-1] <= jaw.mean())).sum() / 30
    assert 1 < opens < 6 and jaw.max() < 1  # syllables per second
    weights, gaze = face_tracks.face(rng, 900, 30.0, talking=True)
    assert np.abs(gaze[..., 0]).max() <= 0.5 and np.abs(gaze[..., 1]).max() <= 0.3
    down = weights[:, ARKIT_INDEX["eyeLookDownLeft"]]
    assert np.corrcoef(down, np.maximum(gaze[:, 0, 1], 0))[0, 1] > 0.95
    used = np.max(
        [face_tracks.face(np.random.default_rng(k), 900, 30.0, talking=True)[0].max(0) for k in range(8)], 0
    )
    assert (used > 0.15).all(), "an action that is never shown"
