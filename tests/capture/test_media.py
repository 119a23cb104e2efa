"""The whole path on real sample clips (skipped when the media folder is absent)."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lca.errors import CancelledError, InvalidInputError, NoPersonFoundError
from lca_core.body.names import JOINT_INDEX
from lca_core.body.rotation import axis_angle_to_matrix
from lca_core.capture import Capture, capture_clip, read_clip
from lca_core.capture.debug import LABEL_LINES, LINE, project_joints
from lca_core.capture.fit_prior import pose_prior
from lca_core.capture.pipeline import STAGES


@pytest.fixture(scope="module")
def demo(
    media: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Capture, list[tuple[str, float, str]], float, Path]:
    """Capture of the full-body sample clip, its progress events, CPU seconds, contact sheet."""
    sheet = tmp_path_factory.mktemp("sheet") / "frames.png"
    events: list[tuple[str, float, str]] = []
    start = time.process_time()
    capture = capture_clip(
        media / "real" / "demo.mp4", report=lambda *e: events.append(e), max_references=4, debug_sheet=sheet
    )
    return capture, events, time.process_time() - start, sheet


def test_demo_meets_the_bars(demo) -> None:
    capture, _, seconds, _ = demo
    assert capture.metrics["body_error_percent"] < 0.55
    assert capture.metrics["body_error_percent_median"] < 0.5
    # The bare body under loose clothes: a higher overlap would mean that it wears them as fat.
    assert 0.75 < capture.metrics["iou"] < 0.86
    turns = [abs(y) for y in capture.metrics["body_yaw_degrees"]]
    assert max(turns) > 25  # the standing start is not all there is
    assert 1.5 < capture.height_m < 1.9
    assert np.abs(capture.betas).max() < 4
    assert seconds < 40


def test_demo_values_are_consistent(demo, body) -> None:
    capture, _, _, _ = demo
    count = len(capture)
    assert 3 <= count <= 4 and capture.frames.dtype == np.uint8
    assert capture.masks.dtype == np.float32 and capture.masks.min() >= 0 and capture.masks.max() <= 1
    assert capture.expression.min() >= 0 and capture.expression.max() <= 1
    assert all(len(v) == count for v in capture.conf.values())
    joints = body(
        *(torch.tensor(v) for v in (capture.betas[None], capture.pose, capture.transl))
    ).joints.numpy()
    for j, k, view, mask in zip(joints, capture.Ks, capture.viewmats, capture.masks, strict=True):
        pixels = project_joints(j, k, view)[[0, 3, 6, 9, 12, 15, 1, 2, 4, 5]].astype(int)
        assert (mask[pixels[:, 1], pixels[:, 0]] > 0.5).all()  # spine and thighs lie inside the clothes


def test_demo_progress_is_complete_and_ordered(demo) -> None:
    _, events, _, _ = demo
    names = [name for name, _ in STAGES]
    order = [names.index(stage) for stage, _, _ in events]
    assert order == sorted(order) and set(order) == set(range(len(names)))
    assert all(0 <= fraction <= 1 for _, fraction, _ in events)


def test_sheet_and_table_say_which_frames_and_why(demo) -> None:
    capture, _, _, sheet = demo
    table = json.loads(sheet.with_suffix(".json").read_text(encoding="utf-8"))
    assert table["used"] == capture.frame_index.tolist()
    reasons = {row["frame"]: row["why"] for row in table["frames"]}
    for frame, note in zip(table["used"], capture.notes, strict=False):
        assert note.startswith(f"frame {frame} ") and note.endswith(reasons[frame])
    assert len(table["frames"]) > len(table["used"]) and all(reasons.values())
    with Image.open(sheet) as picture:  # four across; each frame 640 high under its label
        columns, rows = min(4, len(capture)), -(-len(capture) // 4)
        assert picture.size == (columns * 360, rows * (640 + LABEL_LINES * LINE + 4))
        bars = np.asarray(picture)[:20, : columns * 360]
    assert (bars.max((0, 2)) > 200).reshape(columns, 360).any(1).all()  # every frame has its words


def test_turnaround_photos_face_all_ways(media: Path) -> None:
    folder = media / "turnaround" / "skirt"
    if not folder.is_dir():
        pytest.skip("turnaround photos not present")
    views = [folder / f"{i:03d}.png" for i in (0, 4)]
    capture = capture_clip(list(views))
    forward = axis_angle_to_matrix(torch.tensor(capture.pose[:, 0])).numpy()[:, :, 2]
    assert len(capture) == 2
    assert forward[0, 2] > 0.8  # this photo is frontal
    assert forward[1, 2] < -0.5  # this one the back
    assert capture.metrics["body_error_percent"] < 1.1
    left, right = JOINT_INDEX["left_shoulder"], JOINT_INDEX["right_shoulder"]
    from lca_core.body.model import BodyModel

    joints = BodyModel.load()(
        *(torch.tensor(v) for v in (capture.betas[None], capture.pose, capture.transl))
    ).joints
    across = (joints[:, left, 0] - joints[:, right, 0]).numpy()
    assert across[0] > 0 > across[1]


def test_left_hand_is_the_subjects(media: Path) -> None:
    """In the last photo both open hands are stretched out to the sides."""
    from lca_core.capture.hands import HandTracker
    from lca_core.capture.pose import PoseTracker

    folder = media / "turnaround" / "tshirt"
    if not folder.is_dir():
        pytest.skip("turnaround photos not present")
    image = read_clip(folder).frames[7]
    pose = PoseTracker()(image)
    assert pose is not None
    left, right = HandTracker()(image, pose)
    assert left is not None and right is not None
    assert left.points[:, 0].min() > right.points[:, 0].max()  # facing the camera: left is image right
    assert left.left_probability > 0.5 > right.left_probability


def test_face_clip_degrades_to_head_and_shoulders(media: Path, tmp_path: Path) -> None:
    clip = media / "real" / "face_d0.mp4"
    if not clip.is_file():
        pytest.skip("face clip not present")
    for i, frame in enumerate(read_clip(clip, 1).frames):
        Image.fromarray(frame).save(tmp_path / f"{i}.png")
    capture = capture_clip(tmp_path)
    assert capture.conf["face"].min() > 0.5
    arms = [JOINT_INDEX[f"{s}_{p}"] for s in ("left", "right") for p in ("shoulder", "elbow")]
    assert np.abs(capture.pose[:, arms] - pose_prior()[0].numpy()[arms]).max() < 0.5  # unseen: they hang
    assert np.isfinite(capture.pose).all() and np.isfinite(capture.betas).all()
    assert any("legs were not seen" in note for note in capture.notes)


def test_nobody_is_an_error_and_cancel_works(tmp_path: Path) -> None:
    for i in range(3):
        Image.fromarray(np.full((120, 160, 3), 60 * i, np.uint8)).save(tmp_path / f"{i}.png")
    with pytest.raises(NoPersonFoundError, match="0 of 3"):
        capture_clip(tmp_path)

    def stop(stage: str, fraction: float, message: str) -> None:
        if stage == "detect":
            raise CancelledError("The operation was cancelled on request.")

    with pytest.raises(CancelledError):
        capture_clip(tmp_path, report=stop)
    with pytest.raises(InvalidInputError, match="height_m"):
        capture_clip(tmp_path, height_m=17.0)
