"""The fused pose path against its clear twin (step by step in torch and numpy), its limits and refusals."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lca.errors import InvalidInputError
from lca_core.avatar.animate import Animator, Deltas, LinearCorrection, _baked
from lca_core.avatar.frame import PoseFrame
from lca_core.body.names import JOINT_PARENTS, NUM_ARKIT, NUM_JOINTS
from lca_core.splat import GaussianSet, _pose, posing


def rig(n: int = 700, components: int = 3, bands: int = 4, seed: int = 0) -> Any:
    """The parts of an avatar an Animator reads, random; half precision where the file has it."""
    g = np.random.default_rng(seed)

    def half(*shape: int, size: float = 0.05) -> np.ndarray:
        return g.normal(0, size, shape).astype(np.float16)

    lengths = g.integers(0, max(n // 8, 1), NUM_ARKIT) if n else np.zeros(NUM_ARKIT, int)
    index = [np.sort(g.permutation(n)[:size]) for size in lengths]
    m = int(lengths.sum())
    weights = np.sort(g.dirichlet(np.ones(4), n), axis=1)[:, ::-1].astype(np.float32)
    weights[: n // 3] = (1, 0, 0, 0)
    return SimpleNamespace(
        gaussian_count=n,
        canonical=SimpleNamespace(
            means=g.normal(0, 0.5, (n, 3)).astype(np.float32),
            quats=g.normal(0, 1, (n, 4)).astype(np.float32),
            scales=np.exp(g.normal(-5, 1, (n, 3))).astype(np.float32),
            opacities=g.random(n).astype(np.float32),
            sh=g.normal(0, 0.3, (n, bands, 3)).astype(np.float32),
        ),
        skinning=SimpleNamespace(
            joints=g.normal(0, 0.3, (NUM_JOINTS, 3)).astype(np.float32),
            parents=np.asarray(JOINT_PARENTS, np.int32),
            joint_indices=g.integers(0, NUM_JOINTS, (n, 4)).astype(np.uint8),
            joint_weights=weights,
        ),
        correctives=SimpleNamespace(
            arkit_ptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
            arkit_index=np.concatenate(index).astype(np.int32),
            arkit_means=half(m, 3), arkit_quats=half(m, 4), arkit_log_scales=half(m, 3, size=0.3),
            arkit_sh0=half(m, 3),
            pose_mean=g.normal(0, 0.1, 486).astype(np.float32),
            pose_basis=g.normal(0, 0.1, (components, 486)).astype(np.float32),
            pose_means=half(components, n, 3), pose_quats=half(components, n, 4),
            pose_log_scales=half(components, n, 3), pose_sh0=half(components, n, 3),
        ),
    )  # fmt: skip


def frame(seed: int, share: float = 0.3, turn: float = 0.5) -> PoseFrame:
    g = np.random.default_rng(seed)
    return PoseFrame(
        g.normal(0, 1, 3).astype(np.float32),
        g.normal(0, turn, (NUM_JOINTS, 3)).astype(np.float32),
        (g.random(NUM_ARKIT) * (g.random(NUM_ARKIT) < share)).astype(np.float32),
        g.normal(0, 0.3, (2, 2)).astype(np.float32),
    )


def same(a: GaussianSet, b: GaussianSet) -> None:
    for name in ("means", "quats", "opacities", "sh"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), atol=5e-6, rtol=5e-6)
    torch.testing.assert_close(a.scales, b.scales, atol=0, rtol=5e-6)


FRAMES = {
    "rest": PoseFrame(),
    "pose only": frame(1, share=0.0),
    "some shapes": frame(2),
    "all shapes": frame(3, share=1.0),
    "half turns": frame(4, turn=3.0),  # quaternions of either sign, where the sign rule matters
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("bands", [1, 4])
def test_fused_equals_step_by_step(name: str, bands: int) -> None:
    parts = rig(bands=bands)
    same(
        Animator(parts).evaluate(FRAMES[name]),
        Animator(parts, LinearCorrection(parts)).evaluate(FRAMES[name]),
    )


@pytest.mark.parametrize(("n", "components"), [(0, 2), (1, 2), (127, 0), (128, 1), (129, 6)])
def test_any_size(n: int, components: int) -> None:
    parts = rig(n, components)
    same(
        Animator(parts).evaluate(FRAMES["some shapes"]),
        Animator(parts, LinearCorrection(parts)).evaluate(FRAMES["some shapes"]),
    )


@pytest.mark.parametrize("name", FRAMES)
def test_device_rig_equals_step_by_step(name: str) -> None:
    """The torch path of CUDA, run here on the CPU."""
    parts, frame = rig(), FRAMES[name]
    device_rig = posing.DeviceRig(_baked(parts), torch.device("cpu"))
    means, quats, scales, sh = device_rig.pose(
        frame.joint_rotations, frame.gaze, frame.arkit, frame.translation
    )
    same(
        GaussianSet(means, quats, scales, torch.from_numpy(parts.canonical.opacities), sh),
        Animator(parts, LinearCorrection(parts)).evaluate(frame),
    )


def test_wrong_frames_are_refused() -> None:
    fused = posing.FusedRig(_baked(rig()))
    good = [FRAMES["rest"].joint_rotations, FRAMES["rest"].gaze, FRAMES["rest"].arkit]
    for i in range(3):
        bad = [part[:-1] if i == k else part for k, part in enumerate(good)]
        with pytest.raises(InvalidInputError, match="needs rotations"):
            fused.pose(*bad, np.zeros(3, np.float32))


def test_rest_keeps_canonical_scales_and_colours_exactly() -> None:
    parts = rig()
    parts.correctives.pose_mean[:] = 0  # else the rest pose has a correction
    posed = Animator(parts).evaluate(PoseFrame())
    assert np.array_equal(posed.scales.numpy(), parts.canonical.scales)
    assert np.array_equal(posed.sh.numpy(), parts.canonical.sh)
    assert np.abs(posed.means.numpy() - parts.canonical.means).max() < 1e-6


def test_same_bits_on_any_number_of_threads_and_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    animator = Animator(rig(3000))
    alone = [animator.evaluate(f) for f in FRAMES.values()]
    monkeypatch.setattr(posing, "worker_count", lambda items, grain: 3)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(animator.evaluate, list(FRAMES.values()) * 3))
    for i, posed in enumerate(together):
        for name in ("means", "quats", "scales", "sh"):
            assert torch.equal(getattr(posed, name), getattr(alone[i % len(alone)], name))


def test_a_frame_does_not_write_into_the_last_one() -> None:
    animator = Animator(rig())
    first = animator.evaluate(FRAMES["some shapes"])
    kept = first.means.clone()
    animator.evaluate(FRAMES["all shapes"])
    assert torch.equal(first.means, kept)


def test_any_correction_still_drives_the_avatar() -> None:
    parts = rig()
    n = parts.gaussian_count

    def lift(frame: PoseFrame, rotations: np.ndarray) -> Deltas:
        assert rotations.shape == (NUM_JOINTS, 3, 3)
        zeros = np.zeros((n, 3), np.float32)
        return Deltas(zeros + np.float32([0, 0.5, 0]), np.zeros((n, 4), np.float32), zeros, zeros)

    lifted = Animator(parts, lift).evaluate(PoseFrame()).means.numpy()
    assert np.abs(lifted - parts.canonical.means - [0, 0.5, 0]).max() < 1e-6


@pytest.mark.parametrize(
    ("group", "field", "words"),
    [
        ("skinning", "joint_indices", "joint_indices"),
        ("correctives", "arkit_index", "arkit_index"),
        ("correctives", "arkit_ptr", "arkit_ptr"),
        ("skinning", "parents", "parents"),
    ],
)
def test_damaged_tables_are_refused(group: str, field: str, words: str) -> None:
    """An index out of its table must not reach the kernel, which would read foreign memory."""
    parts = rig()
    values = getattr(getattr(parts, group), field)
    values[7] = 200 if values.dtype == np.uint8 else 10**6
    with pytest.raises(InvalidInputError, match=words):
        Animator(parts)


def test_exponential() -> None:
    x = np.linspace(-20, 20, 4001, dtype=np.float32)
    ours = np.array([_pose.exponential(v) for v in x])
    assert np.abs(ours / np.exp(x.astype(np.float64)) - 1).max() < 1e-5
    small = np.abs(x) < 2
    assert np.abs(ours[small] / np.exp(x[small].astype(np.float64)) - 1).max() < 5e-7
    assert _pose.exponential(np.float32(0)) == 1
