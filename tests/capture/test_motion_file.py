"""`lca capture` on the shipped clip: the file drives avatars and agrees with the known motion."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from capture_synthetic import procrustes_error
from scipy.spatial.transform import Rotation

from lca_bridge.cli.main import main
from lca_core.avatar.frame import Motion
from lca_core.body.names import ARKIT_INDEX
from lca_core.capture.motion import smooth_rotations

FRAMES = 40


def test_file_loads_as_a_motion_with_its_camera(captured) -> None:
    _, out, _ = captured
    motion = Motion.load(out)
    assert len(motion) == FRAMES and 5 < motion.fps < 7
    assert motion[3].joint_rotations.shape == (55, 3)
    with np.load(out, allow_pickle=False) as data:
        assert data["camera_K"].shape == (3, 3) and data["betas"].shape == (50,)
        assert (data["conf"] > 0.5).mean() > 0.9
        np.testing.assert_allclose(np.diff(data["timestamps"]), 1 / motion.fps, rtol=1e-4)


def test_motion_agrees_with_the_truth(captured, body) -> None:
    clip, out, _ = captured
    motion = Motion.load(out)
    with np.load(clip.with_suffix(".npz")) as truth, np.load(out) as own:
        at = np.minimum(np.round(own["timestamps"] * truth["fps"]).astype(int), len(truth["pose"]) - 1)
        pose, betas, own_betas = truth["pose"][at], truth["betas"], own["betas"]
        expression = truth["expression"][at]
    zero = torch.zeros(FRAMES, 3)
    true = body(torch.tensor(betas)[None], torch.tensor(pose), zero).joints.numpy()
    mine = body(torch.tensor(own_betas)[None], torch.tensor(motion.joint_rotations), zero).joints.numpy()
    errors = [procrustes_error(a[:22], b[:22]) for a, b in zip(mine, true, strict=True)]
    assert np.median(errors) < 0.045
    for name in ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight"):
        k = ARKIT_INDEX[name]
        assert np.corrcoef(motion.arkit[:, k], expression[:, k])[0, 1] > 0.85


def test_preview_is_a_video_of_every_frame(captured) -> None:
    _, _, preview = captured
    with av.open(str(preview)) as container:
        pictures = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(pictures) == FRAMES
    red = (pictures[0][..., 0].astype(int) > 200) & (pictures[0][..., 2] < 110)
    assert red.sum() > 50  # left limbs


def test_wrong_name_is_a_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", "clip.mp4", "-o", str(tmp_path / "motion.bvh"), "--json"]) == 2
    assert "npz" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_smoothing_rotations_removes_noise_not_turns() -> None:
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 2.5 * np.pi, 100)  # past a half turn, where axis-angle jumps
    clean = Rotation.from_rotvec(np.outer(angle, [0, 1, 0]))
    noisy = Rotation.from_rotvec(rng.normal(0, 0.05, (100, 3))) * clean
    pose = noisy.as_rotvec().astype(np.float32)[:, None]
    calm = Rotation.from_rotvec(smooth_rotations(pose, 2.0)[:, 0])
    before, after = (r * clean.inv() for r in (noisy, calm))
    inner = slice(5, 95)
    assert after[inner].magnitude().mean() < 0.5 * before[inner].magnitude().mean()
    np.testing.assert_array_equal(smooth_rotations(pose, 0.0), pose)
