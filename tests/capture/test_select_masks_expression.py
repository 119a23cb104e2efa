"""Reference choice, mattes and expressions on constructed inputs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lca_core.body.names import ARKIT_INDEX
from lca_core.capture.expression import (
    closed_lips,
    expression_weights,
    eye_rotations,
    gaze_angles,
    personal_neutral,
)
from lca_core.capture.face import FaceResult
from lca_core.capture.masks import before_plain_backdrop, clean_foreground, refine_mask, trimap
from lca_core.capture.networks import Roi
from lca_core.capture.pose import POSE_INDEX, PoseResult
from lca_core.capture.select import (
    Observation,
    arms_clear,
    body_yaw,
    choose,
    choose_frames,
    frame_report,
    sharpness,
)


def turned_pose(yaw: float) -> PoseResult:
    """A standing person turned by ``yaw`` (positive: to the own left), 33 points."""
    points, world = np.zeros((33, 2)), np.zeros((33, 3))
    for name, i in POSE_INDEX.items():
        side = 1.0 if "left" in name else -1.0 if "right" in name else 0.0
        down = {"shoulder": -0.5, "hip": 0.0, "knee": 0.45, "ankle": 0.9}.get(name.split("_")[-1], -0.3)
        # The left side points to image right when facing the camera, away from it when turned left.
        world[i] = (0.2 * side * np.cos(yaw), down, 0.2 * side * np.sin(yaw))
        points[i] = (100 + 100 * world[i, 0], 100 + 80 * world[i, 1])
    mask = np.zeros((200, 200), np.float32)
    mask[30:190, 60:140] = 1
    return PoseResult(points, np.zeros(33), np.ones(33), world, 1.0, mask, Roi(100, 100, 200))


def face_with(yaw: float = 0.0, iris: tuple[float, float] = (0.0, 0.0), **scores: float) -> FaceResult:
    """A schematic 3D face turned by ``yaw``, irises shifted by (to the own left, up) pixels, named scores."""
    local = np.zeros((478, 3))  # subject's left, down, back
    local[[33, 133, 362, 263]] = [[-45, 0, 0], [-15, 0, 0], [15, 0, 0], [45, 0, 0]]
    local[[159, 145, 386, 374]] = [[-30, -5, 0], [-30, 5, 0], [30, -5, 0], [30, 5, 0]]
    local[[10, 152]] = [[0, -80, 0], [0, 100, 0]]
    local[[234, 454]] = [[-70, 20, 0], [70, 20, 0]]
    local[[468, 473]] = np.array([[-30, 0, 0], [30, 0, 0]]) + np.array([iris[0], -iris[1], 0])
    c, s = np.cos(yaw), np.sin(yaw)
    points = local @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) + [200, 200, 0]
    values = np.zeros(52, np.float32)
    for name, value in scores.items():
        values[ARKIT_INDEX[name]] = value
    return FaceResult(points.astype(np.float32), values, 1.0)


@pytest.mark.parametrize("yaw", [-3.0, -1.5, -0.4, 0.0, 0.7, 2.0, 3.1])
def test_body_yaw_is_recovered_on_all_sides(yaw: float) -> None:
    assert body_yaw(turned_pose(yaw)) == pytest.approx(yaw, abs=1e-6)


@pytest.mark.parametrize("yaw", [-0.8, 0.0, 0.5])
def test_face_axes_follow_the_head(yaw: float) -> None:
    face = face_with(yaw)
    assert face.yaw == pytest.approx(yaw, abs=1e-5)
    np.testing.assert_allclose(face.rotation @ face.rotation.T, np.eye(3), atol=1e-5)
    assert np.linalg.det(face.rotation) == pytest.approx(1, abs=1e-5)


def observation(
    i: int, yaw: float, sharp: float = 100.0, coverage: float = 1.0, face: bool = False
) -> Observation:
    return Observation(
        i, turned_pose(yaw), (None, None), face_with(0.0) if face else None, yaw, coverage, sharp
    )


def test_turnaround_picks_all_sides_and_a_face() -> None:
    seen = [observation(i, y, face=abs(y) < 0.5) for i, y in enumerate(np.linspace(-np.pi, 2.8, 24))]
    chosen, notes = choose_frames(seen, 8)
    yaws = np.sort([o.yaw for o in chosen])
    gaps = np.diff(np.append(yaws, yaws[0] + 2 * np.pi))
    assert len(chosen) == 8 and gaps.max() < np.radians(100)
    assert any(o.face is not None for o in chosen)
    assert [o.index for o in chosen] == sorted(o.index for o in chosen)
    assert not any("back was not seen" in n for n in notes)


def test_blur_and_cut_off_bodies_are_left_out() -> None:
    seen = [observation(i, 0.1 * i, sharp=5.0 if i % 2 else 100.0) for i in range(16)]
    seen += [observation(16 + i, 0.1, coverage=0.4) for i in range(4)]
    chosen, notes = choose_frames(seen, 6)
    assert all(o.sharpness > 50 and o.coverage == 1.0 for o in chosen)
    assert any("back was not seen" in n for n in notes) and any("left hand" in n for n in notes)


def test_standing_still_is_not_taken_again_and_again() -> None:
    """Sixteen frames of the same stance and two with raised arms: both arms frames, few of the others."""
    seen = [observation(i, 0.0, face=True) for i in range(18)]
    for i in (7, 12):
        for part, x in (("left_wrist", 100), ("right_wrist", -100), ("left_elbow", 60), ("right_elbow", -60)):
            j = POSE_INDEX[part]
            seen[i].pose.points[j] = (100 + x, 60 - i)
            seen[i].pose.world[j] = (x / 100, -0.4 - 0.1 * i, 0.0)
    choice = choose(seen, 8)
    assert {7, 12} <= set(choice.taken) and len(choice.taken) == 6  # the least number, though eight fit
    assert arms_clear(seen[7].pose) > 0.9 > 0.1 > arms_clear(seen[0].pose)
    table = frame_report(seen, choice, list(range(0, 36, 2)), [0.1 * i for i in range(18)])
    assert table["used"] == [2 * i for i in choice.taken]
    assert len(table["frames"]) == 18 and all(r["why"] for r in table["frames"])
    assert json.loads(json.dumps(table)) == table


def test_photos_are_all_kept() -> None:
    seen = [observation(i, 0.0, sharp=s) for i, s in enumerate((100.0, 1.0, 50.0))]
    assert len(choose_frames(seen, 8, kind="images")[0]) == 3
    assert choose_frames([], 8) == ([], [])


def test_sharpness_ignores_the_background() -> None:
    rng = np.random.default_rng(0)
    pose = turned_pose(0.0)
    texture = rng.integers(0, 255, (200, 200, 3)).astype(np.uint8)
    flat = np.full_like(texture, 128)
    solid = pose.mask[..., None] > 0
    sharp_person = sharpness(np.where(solid, texture, flat), pose)
    assert sharp_person > 20 * sharpness(np.where(solid, flat, texture), pose)


def halo_scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A striped disk on a differently striped ground, its true mask, and a soft mask with a 6 px halo."""
    y, x = np.mgrid[:160, :120]
    radius = np.hypot(x - 60, y - 80)
    truth = np.clip(40.5 - radius, 0, 1)
    person = np.stack([200 + 20 * np.sin(x / 3), 60 + 0 * x, 60 + 0 * x], -1)
    ground = np.stack([40 + 0 * x, 80 + 0 * x, 160 + 20 * np.sin(y / 3)], -1)
    frame = truth[..., None] * person + (1 - truth[..., None]) * ground
    soft = 1 / (1 + np.exp((radius - 45) / 1.5))
    return frame.astype(np.uint8), truth.astype(np.float32), soft.astype(np.float32)


def test_matting_removes_the_halo() -> None:
    frame, truth, soft = halo_scene()
    alpha = refine_mask(frame, soft)
    assert alpha.dtype == np.float32 and alpha.min() >= 0 and alpha.max() <= 1
    error = np.abs(alpha - truth).mean()
    assert error < 0.15 * np.abs(soft - truth).mean() and error < 0.006


def test_matting_of_nothing_changes_nothing() -> None:
    frame, _, soft = halo_scene()
    np.testing.assert_array_equal(refine_mask(frame, np.zeros_like(soft)), 0)
    np.testing.assert_array_equal(refine_mask(frame, np.ones_like(soft)), 1)


def test_trimap_opens_around_hands_only_at_the_edge() -> None:
    _, _, soft = halo_scene()
    hand = np.random.default_rng(0).uniform(-6, 6, (21, 2)) + np.array([100, 80])
    plain, with_hand = trimap(soft, [], radius=3), trimap(soft, [hand], radius=3)
    assert (with_hand == 0.5).sum() > (plain == 0.5).sum()
    assert with_hand[80, 60] == 1 and plain[5, 5] == 0 == with_hand[5, 5]


def test_plain_backdrop_corrects_the_mask_and_others_do_not() -> None:
    """A mask with a halo that forgot the shoes, before studio white and before a wall of noise."""
    picture = np.full((360, 240, 3), 0.97)
    picture[60:300, 90:150] = (0.8, 0.1, 0.1)
    picture[300:312, 84:156] = (0.2, 0.2, 0.2)  # shoes
    soft = np.zeros((360, 240), np.float32)
    soft[48:300, 72:168] = 0.95
    known = trimap(soft, [], radius=3)
    out = before_plain_backdrop(picture, known)
    assert (known[180, 70:75] == 0.5).all() and (out[180, 70:75] == 0).all()  # halo
    assert (known[305, 90:150] == 0).all() and (out[305, 90:150] == 0.5).all()  # shoes
    assert (out[90:270, 105:135] == 1).all() and (out[:30] == 0).all()
    rng = np.random.default_rng(0)
    noisy = np.clip(picture + rng.normal(0, 0.1, picture.shape), 0, 1)
    np.testing.assert_array_equal(before_plain_backdrop(noisy, known), known)


def test_clean_foreground_takes_the_ground_colour_out() -> None:
    frame, truth, _ = halo_scene()
    edge = (truth > 0.3) & (truth < 0.7)
    blue_before = frame[edge][:, 2].mean()
    assert clean_foreground(frame, truth)[edge][:, 2].mean() < blue_before - 20


def test_neutral_needs_five_calm_frontal_frames() -> None:
    calm = [face_with(0.02 * i, eyeBlinkLeft=0.4, browInnerUp=0.7) for i in range(5)]
    wild = [face_with(0.0, jawOpen=0.9, eyeBlinkLeft=0.9)] * 2 + [face_with(1.0, mouthPucker=1.0), None]
    assert personal_neutral(calm[:4] + wild[2:]).max() == 0
    neutral = personal_neutral(calm + wild)
    assert neutral[ARKIT_INDEX["eyeBlinkLeft"]] == pytest.approx(0.4)
    assert neutral[ARKIT_INDEX["jawOpen"]] == 0 and neutral[ARKIT_INDEX["mouthPucker"]] == 0


def test_weights_are_above_neutral_full_range_and_blinks_symmetric() -> None:
    neutral = np.zeros(52, np.float32)
    neutral[ARKIT_INDEX["eyeBlinkLeft"]] = 0.4
    rest = expression_weights(face_with(eyeBlinkLeft=0.4), neutral)
    assert rest.max() == 0
    full = expression_weights(face_with(eyeBlinkLeft=1.0, eyeBlinkRight=1.0, jawOpen=0.5), neutral)
    left, right = full[ARKIT_INDEX["eyeBlinkLeft"]], full[ARKIT_INDEX["eyeBlinkRight"]]
    assert left == right == 1.0 and full[ARKIT_INDEX["jawOpen"]] == 0.5
    wink = expression_weights(face_with(0.6, eyeBlinkLeft=1.0), np.zeros(52, np.float32))
    assert wink[ARKIT_INDEX["eyeBlinkRight"]] == 0 and wink[ARKIT_INDEX["eyeBlinkLeft"]] == 1


def test_parted_lips_open_the_jaw_beyond_the_own_rest_but_a_broad_smile_does_not() -> None:
    def parted(gap: float, **scores: float) -> FaceResult:
        face = face_with(**scores)
        face.points[[13, 14], 1] += [-0.5 * gap * face.width, 0.5 * gap * face.width]
        return face

    jaw, zero = ARKIT_INDEX["jawOpen"], np.zeros(52, np.float32)
    closed = closed_lips([parted(0.05)] * 4 + [parted(0.2)] * 2)
    assert closed == pytest.approx(0.05, abs=1e-5)
    assert expression_weights(parted(0.05), zero, closed)[jaw] == pytest.approx(0, abs=1e-5)
    assert expression_weights(parted(0.2, jawOpen=0.3), zero, closed)[jaw] == pytest.approx(0.45, abs=1e-5)
    grin = {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0}
    assert expression_weights(parted(0.2, jawOpen=0.3, **grin), zero, closed)[jaw] == pytest.approx(0.3)


@pytest.mark.parametrize("yaw", [0.0, 0.4, -0.4])
def test_gaze_signs(yaw: float) -> None:
    rest = [face_with(yaw)] * 6
    left, up = gaze_angles([*rest, face_with(yaw, iris=(4, 0)), face_with(yaw, iris=(0, 3)), None])[6:8]
    assert left[0, 0] > 0.2 and abs(left[0, 1]) < 0.05
    assert up[0, 1] < -0.1 and abs(up[0, 0]) < 0.05
    np.testing.assert_array_equal(gaze_angles([None, face_with()])[0], 0)


def test_eye_rotation_turns_the_view_direction() -> None:
    left, up = Rotation.from_rotvec(eye_rotations(np.array([[0.3, 0.0], [0.0, -0.3]]))).apply([0, 0, 1])
    np.testing.assert_allclose(left, [np.sin(0.3), 0, np.cos(0.3)], atol=1e-6)
    np.testing.assert_allclose(up, [0, np.sin(0.3), np.cos(0.3)], atol=1e-6)
