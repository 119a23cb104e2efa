"""Foreign trackers: files round-trip, bad ones are refused with the reason, the fit gains from good ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from capture_synthetic import Truth, make_truth, procrustes_error
from scipy.spatial.transform import Rotation

from lca.errors import InvalidInputError, LcaError, PreconditionError
from lca_core.body.names import JOINT_PARENTS
from lca_core.capture import capture_clip
from lca_core.capture.decode import Clip
from lca_core.capture.fit import TRACKED_WEIGHTS, fit_body
from lca_core.capture.fit_body import FitBody
from lca_core.capture.fit_targets import build_targets
from lca_core.capture.importers import MHR70, MHR_HANDS, from_sam3d_body, from_smplx
from lca_core.capture.plugins import TrackSource, installed_trackers
from lca_core.capture.pose import POSE_INDEX
from lca_core.capture.tracks import apply_tracks, load_tracks, tracks_focal

TO_CAMERA = np.array([1.0, -1.0, -1.0], np.float32)


@pytest.fixture(scope="module")
def truth(body) -> Truth:
    return make_truth(body, [0.0, 0.8, -1.2], seed=2)


def sam_people(truth: Truth, body) -> list[dict]:
    """The clip as SAM 3D Body would return it: 70 keypoints about a root, a camera offset, a focal length."""
    people = []
    clean = make_truth(body, [0.0, 0.8, -1.2], seed=2, noise_percent=0.0, drawn=False)
    for t, o in enumerate(clean.observations):
        pelvis = clean.joints[t, 0] * TO_CAMERA
        points = np.zeros((70, 3), np.float32)
        world = o.pose.world + (0.5 * (clean.joints[t, 1] + clean.joints[t, 2]) * TO_CAMERA)
        for name, i in MHR70.items():
            points[i] = world[POSE_INDEX[name]]
        for side, order in enumerate(MHR_HANDS):
            hand = o.hands[side]
            assert hand is not None
            points[list(order)] = hand.world + clean.joints[t, 20 + side] * TO_CAMERA
        pixels = points[:, :2] / np.maximum(points[:, 2:], 1e-6) * clean.focal + np.array(clean.size) / 2
        people.append(
            {
                "pred_keypoints_3d": points - pelvis,
                "pred_keypoints_2d": pixels,
                "pred_cam_t": pelvis,
                "focal_length": clean.focal,
                "expression_params": np.zeros(72),
            }
        )
    return people


def test_sam3d_file_round_trips_and_feeds_the_fit(truth, body, tmp_path: Path) -> None:
    made = from_sam3d_body(sam_people(truth, body), truth.size)
    made.save(tmp_path / "tracks.npz")
    tracks = load_tracks(tmp_path / "tracks.npz")
    assert tracks.capabilities == ("body", "hands") and tracks.header["tool"] == "SAM 3D Body"
    np.testing.assert_array_equal(tracks.joints3d, made.joints3d)
    assert tracks_focal(tracks, truth.size) == pytest.approx(truth.focal, rel=1e-5)
    spoilt = {"noise_percent": 2.0, "world_noise": (0.05, 0.05, 0.15)}
    bad = make_truth(body, [0.0, 0.8, -1.2], seed=2, drawn=False, **spoilt)
    better = apply_tracks(bad.observations, tracks, np.arange(3), truth.size)
    errors = []
    sizes = np.array([truth.size] * 3)
    for seen, weights in ((bad.observations, None), (better, TRACKED_WEIGHTS)):
        targets = build_targets(seen, truth.masks, sizes)
        short = ((20, 0.03), (80, 0.04), (40, 0.02))
        fit = fit_body(FitBody(body), targets, focal_px=truth.focal, stages=short, weights=weights)
        pairs = zip(fit.joints, truth.joints, strict=True)
        errors.append(np.mean([procrustes_error(a[:22], b[:22]) for a, b in pairs]))
    assert errors[1] < 0.8 * errors[0] and errors[1] < 0.035


def smplx_values(truth: Truth) -> dict:
    """The same people as SMPL-X parameters in camera axes."""
    turn = Rotation.from_matrix(np.diag(TO_CAMERA.astype(float)))
    orient = (turn * Rotation.from_rotvec(truth.pose[:, 0])).as_rotvec()
    rest = truth.joints[:, 0] - truth.transl  # the pelvis before it is moved
    return {
        "global_orient": orient,
        "body_pose": truth.pose[:, 1:22].reshape(3, -1),
        "left_hand_pose": truth.pose[:, 25:40].reshape(3, -1),
        "right_hand_pose": truth.pose[:, 40:55].reshape(3, -1),
        "transl": truth.joints[:, 0] * TO_CAMERA - rest,
        "betas": np.ones(10),  # somebody else's shape space: must not matter
        "expression": np.ones((3, 10)),
        "focal": truth.focal,
        "frame_index": np.array([4, 9, 12]),
    }


def test_smplx_parameters_give_the_joints(truth, body) -> None:
    tracks = from_smplx(smplx_values(truth), truth.size)
    assert tracks.frame_index.tolist() == [4, 9, 12] and tracks.capabilities == ("body",)
    names = ("left_wrist", "right_knee", "left_shoulder", "right_ankle")
    own = tracks.joints3d[:, [tracks.joint_names.index(n) for n in names]]
    want = truth.joints[:, [20, 5, 16, 8]] * TO_CAMERA
    for a, b in zip(own, want, strict=True):
        assert procrustes_error(a, b) < 0.03  # mean-sized skeleton, same directions
    moved = apply_tracks(truth.observations, tracks, np.array([4, 5, 12]), truth.size)
    assert moved[1] is truth.observations[1]  # frames without tracks stay ours
    assert moved[0].yaw == pytest.approx(truth.observations[0].yaw, abs=0.15)
    with pytest.raises(InvalidInputError, match="body_pose"):
        from_smplx({**smplx_values(truth), "body_pose": np.zeros((3, 60))}, truth.size)
    with pytest.raises(PreconditionError, match=r"SMPL-X|smplx"):
        from_smplx(smplx_values(truth), truth.size, model_path="/nonexistent")


def spoil(tracks, what: str):
    joints, pixels, names = tracks.joints3d.copy(), tracks.joints2d.copy(), list(tracks.joint_names)
    if what == "metres":
        return replace(tracks, joints3d=1000 * joints)
    if what == "behind":
        return replace(tracks, joints3d=-joints)
    if what == "miss joints2d":
        return replace(tracks, joints2d=pixels + 200)
    if what == "swapped":
        for i, n in enumerate(names):
            side = {"left": "right", "right": "left"}.get(n.split("_")[0])
            names[i] = n if side is None else side + n[n.index("_") :]
        return replace(tracks, joint_names=tuple(names))
    if what == "Unknown joint":
        return replace(tracks, joint_names=("tail", *names[1:]))
    if what == "increasing":
        return replace(tracks, frame_index=tracks.frame_index[::-1])
    if what == "schema":
        return replace(tracks, header={"schema": 99})
    return replace(tracks, conf=tracks.conf[:, :-1])


@pytest.mark.parametrize(
    "what",
    ["metres", "behind", "miss joints2d", "swapped", "Unknown joint", "increasing", "schema", "conf has"],
)
def test_wrong_files_are_refused_with_the_reason(truth, body, tmp_path: Path, what: str) -> None:
    spoil(from_sam3d_body(sam_people(truth, body), truth.size), what).save(tmp_path / "t.npz")
    with pytest.raises(InvalidInputError, match=what):
        load_tracks(tmp_path / "t.npz")


def test_other_files_are_not_tracks(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"nothing")
    np.savez(tmp_path / "b.npz", frame_index=np.arange(3))
    np.savez(tmp_path / "c.npz", header=np.array([{"pickled": 1}], object))
    for name, match in (("a.npz", "not a readable"), ("b.npz", "lacks header"), ("c.npz", "not a readable")):
        with pytest.raises(InvalidInputError, match=match):
            load_tracks(tmp_path / name)
    with pytest.raises(InvalidInputError, match="pred_cam_t"):
        from_sam3d_body([{"pred_keypoints_3d": 0, "pred_keypoints_2d": 0, "focal_length": 1}], (10, 10))


TRACKERS = {"good": "Good", "skewed": "Skewed", "bad": "Bad", "dumb": "DUMB"}


@pytest.fixture
def trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution that offers trackers: metadata and module on the path, as pip leaves them."""
    info = tmp_path / "site" / "fancy_tracker-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fancy-tracker\nVersion: 1.0\n")
    lines = [f"{n} = fancy_tracker:{v}" for n, v in TRACKERS.items()]
    (info / "entry_points.txt").write_text("[lca.trackers]\n" + "\n".join(lines) + "\nlost = nowhere:X\n")
    (tmp_path / "site" / "fancy_tracker.py").write_text(
        "from dataclasses import replace\n"
        "import numpy as np\n"
        "from lca_core.capture.tracks import load_tracks\n"
        f"FILE = {str(tmp_path / 'own.npz')!r}\n"
        "class Good:\n"
        "    def track(self, frames, hints):\n"
        "        assert frames.dtype == np.uint8 and len(frames) == len(hints['frame_index'])\n"
        "        return load_tracks(FILE)\n"
        "class Skewed:\n"
        "    def track(self, frames, hints):\n"
        "        found = load_tracks(FILE)\n"
        "        return replace(found, joints2d=found.joints2d + 200)\n"
        "class Bad:\n"
        "    def track(self, frames, hints):\n"
        "        raise RuntimeError('no graphics card')\n"
        "DUMB = object\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


def test_installed_tracker_is_found_run_and_checked(truth, tmp_path: Path, trackers) -> None:
    from_smplx(smplx_values(truth), truth.size).save(tmp_path / "own.npz")
    assert {"good", "bad", "dumb", "lost"} <= set(installed_trackers())
    width, height = truth.size
    clip = Clip(
        np.zeros((3, height, width, 3), np.uint8), np.arange(3.0), 1.0, truth.size,
        np.array([truth.size] * 3), np.array([4, 9, 12]), 3, truth.size, None, "video",
    )  # fmt: skip
    found = TrackSource("tracker:good").read(clip)
    assert found is not None and found.frame_index.tolist() == [4, 9, 12]
    assert TrackSource(None).read(clip) is None
    assert TrackSource(tmp_path / "own.npz").read(clip) is not None
    with pytest.raises(PreconditionError, match="no graphics card"):
        TrackSource("tracker:bad").read(clip)
    # What a plug-in returns passes the checks of a file.
    with pytest.raises(InvalidInputError, match="crop camera"):
        TrackSource("tracker:skewed").read(clip)


@pytest.mark.parametrize(
    ("name", "why"), [("none", "installed:.*good"), ("dumb", "track"), ("lost", "nowhere")]
)
def test_trackers_that_cannot_start_say_so_before_decoding(trackers, name: str, why: str) -> None:
    with pytest.raises(LcaError, match=why):
        capture_clip("no such clip.mp4", tracks=f"tracker:{name}")


def write_smplx_model(folder: Path, joints: np.ndarray) -> None:
    """A model file with the official keys and sizes whose joints at rest are ``joints`` [55,3]."""
    count, faces = 10475, np.zeros((20908, 3), np.uint32)
    template = np.zeros((count, 3), np.float32)
    template[:55] = joints
    regressor = np.zeros((55, count), np.float32)
    regressor[np.arange(55), np.arange(55)] = 1
    weights = np.zeros((count, 55), np.float32)
    weights[:, 0] = 1
    (folder / "smplx").mkdir()
    np.savez(
        folder / "smplx" / "SMPLX_NEUTRAL.npz",
        v_template=template,
        shapedirs=np.zeros((count, 3, 20), np.float32),
        posedirs=np.zeros((count, 3, 486), np.float32),
        J_regressor=regressor,
        weights=weights,
        kintree_table=np.array([JOINT_PARENTS, range(55)], np.int64),
        f=faces,
        lmk_faces_idx=np.zeros(51, np.int64),
        lmk_bary_coords=np.full((51, 3), 1 / 3),
        **{f"hands_components{s}": np.eye(45) for s in "lr"},
        **{f"hands_mean{s}": np.zeros(45) for s in "lr"},
    )


def test_official_model_files_load_through_the_extra(truth, body, tmp_path: Path) -> None:
    """With our own rest skeleton in a file of that shape, the package's joints equal ours."""
    pytest.importorskip("smplx")
    write_smplx_model(tmp_path, body.joint_template.numpy())
    own = from_smplx(smplx_values(truth), truth.size)
    official = from_smplx(smplx_values(truth), truth.size, model_path=tmp_path)
    np.testing.assert_allclose(official.joints3d, own.joints3d, atol=2e-3)
    assert official.joint_names == own.joint_names
