"""Laws of a real avatar: file round trips, zero pose, baked rig against live, agreement with the client's
reader.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lca.errors import DataLossError, InvalidInputError, LcaError, NotFoundError
from lca.hand_poses import HAND_POSES
from lca_bridge.wire.package import read_package
from lca_bridge.wire.skin import pose_package
from lca_core.avatar import Avatar, PoseFrame
from lca_core.avatar.animate import Animator, LinearCorrection, local_rotations
from lca_core.avatar.live import NetworkCorrection
from lca_core.avatar.pictures import STANDING, body_view, head_view, picture
from lca_core.body.hand_pose import hand_rotations


@pytest.fixture(scope="module")
def avatar(sample_avatar_file: Path) -> Avatar:
    return Avatar.load(sample_avatar_file)


FRAMES = {
    "rest": PoseFrame(),
    "standing": PoseFrame.posed(STANDING),
    "talking": PoseFrame.posed(
        STANDING, {"jawOpen": 0.7, "mouthSmileLeft": 0.5, "eyeBlinkRight": 1.0}, (0.3, -0.1)
    ),
    "stride": PoseFrame.posed(
        {**STANDING, "left_hip": (-0.6, 0, 0), "right_hip": (0.4, 0, 0), "left_knee": (0.5, 0, 0)}
    ),
    "fist": PoseFrame.posed(hand_rotations("left", HAND_POSES["Fist"].curl)),
}


def test_saving_and_loading_keeps_every_array(avatar: Avatar, tmp_path: Path) -> None:
    avatar.save(tmp_path / "again.lca")
    again = Avatar.load(tmp_path / "again.lca")
    for group in ("canonical", "skinning", "correctives", "relight", "proxy"):
        for name, value in vars(getattr(avatar, group)).items():
            assert np.array_equal(getattr(getattr(again, group), name), value), f"{group}.{name}"
    assert again.rig == avatar.rig and again.weights == avatar.weights
    assert not list(tmp_path.glob(".again*"))


def test_zero_pose_is_the_canonical_set(avatar: Avatar) -> None:
    posed = Animator(avatar).evaluate(PoseFrame())
    assert np.abs(posed.means.numpy() - avatar.canonical.means).max() < 1e-5
    assert np.array_equal(posed.opacities.numpy(), avatar.canonical.opacities)


def test_opacity_never_changes(avatar: Avatar) -> None:
    animator = Animator(avatar)
    for frame in FRAMES.values():
        assert np.array_equal(animator.evaluate(frame).opacities.numpy(), avatar.canonical.opacities)


def test_root_motion_moves_everything_rigidly(avatar: Avatar) -> None:
    animator = Animator(avatar)
    still = FRAMES["talking"]
    rotations = still.joint_rotations.copy()
    rotations[0] = (0.0, 0.7, 0.0)
    moved = PoseFrame(np.array([0.3, -0.2, 1.0], np.float32), rotations, still.arkit, still.gaze)
    pelvis = avatar.skinning.joints[0]
    turn = local_rotations(moved)[0].numpy()
    expected = (animator.evaluate(still).means.numpy() - pelvis) @ turn.T + pelvis + moved.translation
    assert np.abs(animator.evaluate(moved).means.numpy() - expected).max() < 1e-4


@pytest.mark.parametrize("name", FRAMES)
def test_baked_rig_stays_close_to_the_live_network(avatar: Avatar, name: str) -> None:
    """Bounds of the linear correctives in plain poses: mean 1.5 mm, 99 % within 8 mm."""
    frame = FRAMES[name]
    live = Animator(avatar, NetworkCorrection.of(avatar)).evaluate(frame).means
    baked = Animator(avatar, LinearCorrection(avatar)).evaluate(frame).means
    distance = (live - baked).norm(dim=1)
    assert distance.mean() < 1.5e-3 and torch.quantile(distance, 0.99) < 8e-3


@pytest.mark.parametrize("name", FRAMES)
def test_the_clients_reader_and_skinning_agree_with_the_core(
    avatar: Avatar, sample_avatar_file: Path, name: str
) -> None:
    frame = FRAMES[name]
    ours = Animator(avatar).evaluate(frame)
    theirs = pose_package(
        read_package(sample_avatar_file), frame.joint_rotations, frame.translation, frame.arkit, frame.gaze
    )
    assert np.abs(ours.means.numpy() - theirs.means).max() < 1e-4
    assert np.abs(ours.scales.numpy() / theirs.scales - 1).max() < 1e-3
    assert np.abs(ours.sh.numpy() - theirs.sh).max() < 1e-3
    dot = np.abs((ours.quats.numpy() * theirs.quats).sum(axis=1))
    assert dot.min() > 1 - 1e-4


def test_jaw_and_eyelids_move_and_fingers_bend(avatar: Avatar) -> None:
    animator = Animator(avatar)
    neutral = PoseFrame.posed(STANDING)
    face = head_view(animator, neutral, 0.0, 160)
    base = picture(animator.evaluate(neutral), face).astype(int)
    for weights in ({"jawOpen": 1.0}, {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0}):
        moved = picture(animator.evaluate(PoseFrame.posed(STANDING, weights)), face).astype(int)
        changed = np.abs(moved - base).max(axis=2) > 12
        assert 20 < changed.sum() < 0.25 * changed.size, weights
    fist = animator.joints(FRAMES["fist"])
    flat = animator.joints(PoseFrame())
    assert np.linalg.norm(fist[27] - flat[27]) > 0.02


def test_the_person_is_dressed_in_the_clips_colours_front_and_back(avatar: Avatar) -> None:
    """The sample's top is strongly coloured; torso pixels front and back must not look like skin or grey."""
    animator = Animator(avatar)
    frame = PoseFrame.posed(STANDING)
    gaussians = animator.evaluate(frame)
    chest = []
    for yaw in (0.0, np.pi):
        image = picture(gaussians, body_view(animator, frame, yaw, 256)).astype(float)
        h, w = image.shape[:2]
        chest.append(
            image[int(0.30 * h) : int(0.40 * h), int(0.45 * w) : int(0.55 * w)].reshape(-1, 3).mean(axis=0)
        )
    for colour in chest:
        assert np.ptp(colour) > 25, chest


@pytest.mark.parametrize("damage", ["flip", "missing", "schema", "text", "truncated"])
def test_damaged_files_are_refused_with_a_reason(
    sample_avatar_file: Path, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / f"{damage}.lca"
    with zipfile.ZipFile(sample_avatar_file) as source:
        entries = {info.filename: source.read(info) for info in source.infolist()}
    if damage == "text":
        path.write_text("hello")
    elif damage == "truncated":
        path.write_bytes(sample_avatar_file.read_bytes()[:5000])
    else:
        if damage == "flip":
            data = bytearray(entries["canonical.safetensors"])
            data[-1] ^= 1
            entries["canonical.safetensors"] = bytes(data)
        elif damage == "missing":
            del entries["skinning.safetensors"]
        else:
            header = json.loads(entries["avatar.json"])
            header["schema"] = "lca.avatar/9"
            entries["avatar.json"] = json.dumps(header).encode()
        with zipfile.ZipFile(path, "w") as target:
            for name, data in entries.items():
                target.writestr(name, data)
    expected: type[LcaError] = DataLossError if damage in ("flip", "missing") else InvalidInputError
    with pytest.raises(expected):
        Avatar.load(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"nobody\.lca"):
        Avatar.load(tmp_path / "nobody.lca")
