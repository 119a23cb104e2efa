"""Driving frames and motion files."""

from pathlib import Path

import numpy as np
import pytest

from lca.errors import InvalidInputError
from lca_core.avatar.frame import Motion, PoseFrame


def _motion(count: int = 5) -> Motion:
    generator = np.random.default_rng(0)
    frames = [
        PoseFrame(
            generator.normal(size=3).astype(np.float32),
            generator.normal(size=(55, 3)).astype(np.float32),
            generator.uniform(size=52).astype(np.float32),
            generator.normal(size=(2, 2)).astype(np.float32),
        )
        for _ in range(count)
    ]
    return Motion.from_frames(frames, 24.0)


def test_motion_file_round_trip(tmp_path: Path) -> None:
    motion = _motion()
    motion.save(tmp_path / "m.npz")
    again = Motion.load(tmp_path / "m.npz")
    assert again.fps == motion.fps and len(again) == 5
    for name in ("translation", "joint_rotations", "arkit", "gaze"):
        assert np.array_equal(getattr(again, name), getattr(motion, name)), name
    assert np.array_equal(again[3].arkit, motion.arkit[3])


def test_smplx_layout_is_read_and_learned_expressions_are_ignored(tmp_path: Path) -> None:
    poses = np.random.default_rng(1).normal(size=(4, 165))
    np.savez(
        tmp_path / "a.npz",
        poses=poses,
        trans=np.ones((4, 3)),
        expression=np.ones((4, 10)),
        mocap_frame_rate=60,
    )
    motion = Motion.load(tmp_path / "a.npz")
    assert motion.fps == 60 and np.allclose(motion.joint_rotations.reshape(4, 165), poses)
    assert not motion.arkit.any() and np.allclose(motion.translation, 1)


@pytest.mark.parametrize("content", [b"", b"not an npz", b"PK\x03\x04broken"])
def test_broken_motion_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"bad\.npz"):
        Motion.load(tmp_path / "bad.npz")


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", poses=np.array([{"x": 1}], dtype=object))
    with pytest.raises(InvalidInputError):
        Motion.load(tmp_path / "p.npz")


@pytest.mark.parametrize("field,value", [("arkit", np.zeros(51)), ("translation", [np.nan, 0, 0])])
def test_bad_frames_are_refused(field: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=field):
        PoseFrame(**{field: value})  # type: ignore[arg-type]
