"""Motion files other than skeletons: ours and SMPL-X npz, ARKit JSON, Live Link CSV; laws of the clip."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from lca.errors import InvalidInputError, NotFoundError
from lca.motion import MotionClip, read_motion
from lca.motion.rotation import axis_angles, matrices
from lca.motion.skeleton import ARKIT, ARKIT_INDEX, INDEX

MEDIA = Path(os.environ.get("LCA_MEDIA", Path(__file__).parents[3] / "shared" / "media")) / "motion"
RNG = np.random.default_rng(0)


def clip_of(count: int = 12, fps: float = 24.0) -> MotionClip:
    rng = np.random.default_rng(4)
    slow = np.linspace(0, 1, count)[:, None, None]
    return MotionClip.of(
        fps,
        poses=0.3 * rng.normal(size=(1, 55, 3)) + 0.4 * slow * rng.normal(size=(1, 55, 3)),
        translation=rng.normal(size=(count, 3)),
        arkit=rng.random((count, 52)),
        gaze=0.1 * rng.normal(size=(count, 2, 2)),
    )


def test_our_file_is_read_as_the_avatar_reads_it(tmp_path: Path) -> None:
    from lca_core.avatar import Motion

    clip = clip_of()
    Motion(clip.fps, clip.translation, clip.poses, clip.arkit, clip.gaze).save(tmp_path / "m.npz")
    again, theirs = read_motion(tmp_path / "m.npz"), Motion.load(tmp_path / "m.npz")
    assert again.fps == theirs.fps == clip.fps
    assert np.array_equal(again.poses, theirs.joint_rotations) and np.array_equal(again.poses, clip.poses)
    for name in ("translation", "arkit", "gaze"):
        assert np.array_equal(getattr(again, name), getattr(clip, name))
        assert np.array_equal(getattr(theirs, name), getattr(clip, name))


def test_resampling_laws() -> None:
    clip = clip_of(13, 24.0)
    same = clip.resampled(24.0)
    assert np.array_equal(same.poses, clip.poses)
    twice = clip.resampled(48.0)
    assert len(twice) == 25
    back = twice.resampled(24.0)
    assert np.abs(matrices(back.poses) - matrices(clip.poses)).max() < 1e-5
    assert np.abs(back.arkit - clip.arkit).max() < 1e-5
    middle = matrices(twice.poses[1]) - matrices(twice.poses[0])
    assert np.abs(middle).max() < np.abs(matrices(clip.poses[1]) - matrices(clip.poses[0])).max()
    assert clip.resampled(7.0).seconds == pytest.approx(clip.seconds, abs=1 / 7)
    with pytest.raises(InvalidInputError):
        clip.resampled(0)


def test_turning_moves_everything_rigidly() -> None:
    clip = clip_of()
    turned = clip.turned(0.7)
    a, b = clip.joints(), turned.joints()
    assert np.allclose(
        np.linalg.norm(a[:, 3] - a[0, 20], axis=-1), np.linalg.norm(b[:, 3] - b[0, 20], axis=-1), atol=1e-5
    )
    assert np.allclose(a[..., 1], b[..., 1], atol=1e-5)
    ahead = matrices(clip.facing_forward().poses[0, 0])[:, 2]
    assert abs(ahead[0]) < 1e-6 and ahead[2] > 0


@pytest.mark.parametrize("world", ["z up", "y down", "y up"])
def test_smplx_files_stand_upright_in_any_world(tmp_path: Path, world: str) -> None:
    clip = clip_of(20)
    poses = clip.poses.copy()
    poses[:, 0] *= 0.2
    x = np.array([1.0, 0, 0])
    r = matrices(x * {"z up": np.pi / 2, "y down": np.pi, "y up": 0.0}[world])
    shifted = poses.copy()
    shifted[:, 0] = axis_angles(r @ matrices(poses[:, 0]))
    path = np.linspace(0, 1, 20)[:, None] * np.array([0.5, 0.0, 1.0])
    np.savez(tmp_path / "a.npz", poses=poses.reshape(20, 165), trans=path, mocap_frame_rate=30)
    np.savez(tmp_path / "b.npz", poses=shifted.reshape(20, 165), trans=path @ r.T, mocap_frame_rate=30)
    a, b = read_motion(tmp_path / "a.npz"), read_motion(tmp_path / "b.npz")
    assert a.fps == 30 and np.abs(a.joints() - b.joints()).max() < 1e-4
    assert np.abs(a.poses[:, 1:] - poses[:, 1:]).max() < 1e-6
    assert np.allclose(np.diff(a.translation[:, [0, 2]], axis=0), np.diff(path[:, [0, 2]], axis=0), atol=1e-5)


def test_smplx_parts_are_put_together(tmp_path: Path) -> None:
    parts = {"global_orient": 3, "body_pose": 63, "left_hand_pose": 45, "right_hand_pose": 45}
    arrays = {k: 0.1 * RNG.normal(size=(4, n)) for k, n in parts.items()}
    np.savez(tmp_path / "a.npz", **arrays, transl=np.zeros((4, 3)), expression=np.ones((4, 10)))
    clip = read_motion(tmp_path / "a.npz")
    assert np.allclose(clip.poses[:, 1:22].reshape(4, -1), arrays["body_pose"], atol=1e-6)
    assert np.allclose(clip.poses[:, 40:].reshape(4, -1), arrays["right_hand_pose"], atol=1e-6)
    assert not clip.arkit.any()


def test_arkit_json_in_any_order_of_names(tmp_path: Path) -> None:
    weights = RNG.random((10, 52))
    order = RNG.permutation(52)
    data = {
        "names": [ARKIT[i] for i in order],
        "frames": [
            {"weights": weights[t, order].tolist(), "time": t / 30, "rotation": []} for t in range(10)
        ],
        "head_pose": [[0.0, 0.2, 0.0]] * 10,
    }
    (tmp_path / "a.json").write_text(json.dumps(data))
    clip = read_motion(tmp_path / "a.json")
    assert clip.fps == 30 and np.allclose(clip.arkit, weights, atol=1e-6)
    assert np.allclose(clip.poses[:, [INDEX["neck"], INDEX["head"]], 1], 0.1)
    left = clip.gaze[:, 0]
    out = weights[:, ARKIT_INDEX["eyeLookOutLeft"]] - weights[:, ARKIT_INDEX["eyeLookInLeft"]]
    assert np.all(np.sign(left[:, 0]) == np.sign(out))


LIVE_LINK = [n[0].upper() + n[1:] for n in ARKIT]
# The app writes some pairs the other way round.
for _a, _b in (("JawLeft", "JawRight"), ("MouthLeft", "MouthRight")):
    i, j = LIVE_LINK.index(_a), LIVE_LINK.index(_b)
    LIVE_LINK[i], LIVE_LINK[j] = LIVE_LINK[j], LIVE_LINK[i]
EXTRA = [f"{p}{k}" for p in ("Head", "LeftEye", "RightEye") for k in ("Yaw", "Pitch", "Roll")]


def live_link(path: Path, weights: np.ndarray, extra: np.ndarray, codes: list[str]) -> None:
    rows = [",".join(["Timecode", "BlendShapeCount", *LIVE_LINK, *EXTRA])]
    for t, code in enumerate(codes):
        shown = [weights[t, ARKIT_INDEX[n[0].lower() + n[1:]]] for n in LIVE_LINK]
        rows.append(",".join([code, "61", *(f"{v:.9f}" for v in [*shown, *extra[t]])]))
    path.write_text("\n".join(rows) + "\n")


def test_live_link_columns_go_by_name_and_eyes_by_their_meaning(tmp_path: Path) -> None:
    count = 90
    weights = RNG.random((count, 52))
    side = np.sin(np.arange(count) / 9)
    for eye, name, sign in (("Left", "Out", 1), ("Left", "In", -1), ("Right", "In", 1), ("Right", "Out", -1)):
        weights[:, ARKIT_INDEX[f"eyeLook{name}{eye}"]] = np.clip(sign * side, 0, 1)
    extra = np.zeros((count, 9))
    extra[:, 0], extra[:, 3], extra[:, 6] = 0.3, -0.4 * side, -0.4 * side  # an app with the other sign
    codes = [f"12:05:{t // 30:02d}:{t % 30:02d}.000" for t in range(count)]
    live_link(tmp_path / "a.csv", weights, extra, codes)
    clip = read_motion(tmp_path / "a.csv")
    assert clip.fps == 30 and len(clip) == count
    assert np.allclose(clip.arkit, weights, atol=1e-6)
    assert np.allclose(clip.gaze[:, :, 0], 0.4 * side[:, None], atol=1e-5)
    assert np.allclose(clip.poses[:, INDEX["head"], 1], 0.15, atol=1e-6)


def test_live_link_gaps_are_filled(tmp_path: Path) -> None:
    stamps = [t for t in range(90) if not 40 <= t < 50]
    weights = np.zeros((len(stamps), 52))
    weights[:, ARKIT_INDEX["jawOpen"]] = np.array(stamps) / 90
    live_link(
        tmp_path / "a.csv", weights, np.zeros((len(stamps), 9)),
        [f"01:02:{t // 30:02d}:{t % 30:02d}.000" for t in stamps],
    )  # fmt: skip
    clip = read_motion(tmp_path / "a.csv")
    assert len(clip) == 90
    assert np.allclose(clip.arkit[:, ARKIT_INDEX["jawOpen"]], np.arange(90) / 90, atol=1e-5)


@pytest.mark.parametrize(
    "name,content",
    [
        ("a.npz", b""), ("a.npz", b"PK\x03\x04broken"), ("a.json", b"{"),
        ("a.json", b'{"names": [], "frames": []}'),
        ("a.json", b'{"names": ["jawOpen"], "frames": [{"weights": [1, 2]}]}'), ("a.json", b"[[[["),
        ("a.json", b'{"names": ["snout"], "frames": [{"weights": [1]}]}'), ("a.csv", b""),
        ("a.csv", b"a,b\n1,2\n"),
        ("a.csv", b"Timecode,JawOpen\n00:00:00:00.0,x\n"), ("a.csv", b"JawOpen\nnan\n"), ("a.fbx", b"x"),
        ("a.bvh", b"\xff\xfe"),
    ],
)  # fmt: skip
def test_broken_files_are_refused_clearly(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInputError) as caught:
        read_motion(tmp_path / name)
    assert caught.value.message.endswith(".") and name in caught.value.message


def test_pickles_are_never_loaded_and_missing_files_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", poses=np.array([{"x": 1}], dtype=object))
    with pytest.raises(InvalidInputError, match="poses"):
        read_motion(tmp_path / "p.npz")
    with pytest.raises(NotFoundError, match=r"none\.bvh"):
        read_motion(tmp_path / "none.bvh")


def test_import_needs_numpy_only() -> None:
    import subprocess
    import sys

    code = (
        "import sys, lca.motion\n"
        "bad = [m for m in ('torch', 'scipy', 'lca_core', 'lca_bridge', 'grpc') if m in sys.modules]\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_real_face_and_body_recordings() -> None:
    if not (MEDIA / "arkit_expression.json").is_file():
        pytest.skip("no sample media")
    face = read_motion(MEDIA / "arkit_expression.json")
    assert (len(face), face.fps) == (973, 30) and face.arkit[:, ARKIT_INDEX["jawOpen"]].max() > 0.2
    body = read_motion(MEDIA / "smplx_pose.npz")
    joints = body.joints()
    assert (len(body), body.fps) == (161, 30)
    assert (joints[:, INDEX["head"], 1] - joints[:, 0, 1]).mean() > 0.5
