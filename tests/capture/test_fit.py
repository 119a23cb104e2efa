"""The body fit recovers known people from projected landmarks: place, pose, sides, shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from capture_synthetic import make_truth, procrustes_error

from lca_core.body.landmarks import face_links, surface_points
from lca_core.body.names import JOINT_INDEX, JOINT_NAMES
from lca_core.body.rotation import axis_angle_to_matrix
from lca_core.capture.fit import fit_body
from lca_core.capture.fit_body import BODY_LINKS, FACE_POINTS, FitBody, link_offsets
from lca_core.capture.fit_prior import pose_prior
from lca_core.capture.fit_targets import build_targets, point_confidence
from lca_core.capture.pose import POSE_INDEX
from lca_core.capture.quality import silhouette_iou
from lca_core.capture.robust import geman_mcclure
from lca_core.capture.types import CAMERA_FROM_WORLD, intrinsics

YAWS = [0.0, 0.7, -1.5, 3.1]


@pytest.fixture(scope="module")
def fitted(body):
    """A noisy four-sided person and its fit with known focal length."""
    truth = make_truth(body, YAWS, seed=3, noise_percent=0.8, world_noise=(0.02, 0.02, 0.05))
    targets = build_targets(truth.observations, truth.masks, np.array([truth.size] * len(YAWS)))
    return truth, targets, fit_body(FitBody(body), targets, focal_px=truth.focal)


def test_sparse_body_equals_the_full_body(body) -> None:
    sparse = FitBody(body)
    rng = torch.Generator().manual_seed(0)
    betas, pose = torch.randn(50, generator=rng), 0.3 * torch.randn(3, 55, 3, generator=rng)
    transl = torch.randn(3, 3, generator=rng)
    full = body(betas[None], pose, transl)
    expression = torch.rand(3, 52, generator=rng)
    pelvis = sparse.rest_joints(betas)[0] + transl
    posed = sparse(betas, axis_angle_to_matrix(pose), pelvis, expression)
    torch.testing.assert_close(posed.joints, full.joints, atol=1e-5, rtol=0)
    nose = [part for _, part in BODY_LINKS].index("nose")
    plain = FitBody(body, own_links=False)(betas, axis_angle_to_matrix(pose), pelvis, expression)
    torch.testing.assert_close(plain.landmarks[:, nose], full.vertices[:, 9120], atol=1e-5, rtol=0)
    carriers, offsets = link_offsets()
    own = torch.einsum("tij,j->ti", posed.rotations[:, carriers[nose]], offsets[nose])
    torch.testing.assert_close(posed.landmarks[:, nose], plain.landmarks[:, nose] + own, atol=1e-5, rtol=0)
    tips = full.vertices[:, [4933, 5361]]  # left index and thumb
    torch.testing.assert_close(posed.hands[:, 0, [8, 4]], tips, atol=1e-5, rtol=0)
    smiling = body(betas[None], pose, transl, expression).vertices
    face = surface_points(smiling, face_links(body))[:, FACE_POINTS]
    torch.testing.assert_close(posed.face, face, atol=2e-3, rtol=0)  # links that straddle joints blend
    assert float((posed.face - face).norm(dim=-1).median()) < 1e-5
    rest = body.rest(betas[None])[0][0]
    assert float(sparse.height(betas)) == pytest.approx(float(rest[:, 1].max() - rest[:, 1].min()), abs=0.03)


def test_link_offsets_mirror_and_stay_small() -> None:
    carriers, offsets = link_offsets()
    names = [image for image, _ in BODY_LINKS]
    assert offsets.norm(dim=1).max() < 0.05
    for i, name in enumerate(names):
        if name.startswith("left"):
            k = names.index(name.replace("left", "right"))
            torch.testing.assert_close(offsets[k], offsets[i] * torch.tensor([-1.0, 1.0, 1.0]))
            assert JOINT_NAMES[carriers[k]] == JOINT_NAMES[carriers[i]].replace("left", "right")


def test_close_up_grows_no_hands(body) -> None:
    """Guessed wrists inside the picture do not count once shoulders and elbows have left it."""
    truth = make_truth(body, [0.0], seed=1, hands=False, drawn=False)
    o = truth.observations[0]
    near = [POSE_INDEX[f"{s}_{p}"] for s in ("left", "right") for p in ("shoulder", "elbow")]
    wrists = [POSE_INDEX["left_wrist"], POSE_INDEX["right_wrist"]]
    size = np.array(truth.size)
    o.pose.visibility[wrists] = 0.04
    assert (point_confidence(o.pose, size)[wrists] > 0).all()  # hidden in the picture: a weak hint
    o.pose.points[near] += 5000
    assert (point_confidence(o.pose, size)[wrists] == 0).all()
    o.pose.visibility[wrists] = 0.9
    assert (point_confidence(o.pose, size)[wrists] > 0.5).all()  # a hand that reaches into the picture


def test_skin_samples_are_spread_and_outside(body) -> None:
    sparse = FitBody(body)
    skin = sparse.template[sparse._ends[1] :].numpy()
    assert len(skin) == 900
    assert (skin[:, 0] > 0.68).sum() > 10  # hands are covered
    np.testing.assert_allclose(skin.min(0), body.v_template.min(0).values.numpy(), atol=0.03)


def test_joints_come_back_within_centimetres(body, fitted) -> None:
    truth, _, fit = fitted
    core = slice(0, 22)
    relative = (fit.joints - fit.joints[:, :1]) - (truth.joints - truth.joints[:, :1])
    assert np.linalg.norm(relative[:, core], axis=-1).mean() < 0.085
    aligned = [procrustes_error(a[core], b[core]) for a, b in zip(fit.joints, truth.joints, strict=True)]
    assert np.mean(aligned) < 0.045
    fingers = [procrustes_error(a[25:40], b[25:40]) for a, b in zip(fit.joints, truth.joints, strict=True)]
    assert np.mean(fingers) < 0.006
    assert fit.body_error.mean() < 0.9  # the noise alone is 0.8 percent per axis


def test_left_stays_left_in_every_view(fitted) -> None:
    """The person's left hand is found on the left in the person's own frame, also from behind."""
    truth, _, fit = fitted
    for joints, rotvec in zip(fit.joints, fit.pose[:, 0], strict=True):
        own = (joints - joints[0]) @ axis_angle_to_matrix(torch.tensor(rotvec)).numpy()
        for part in ("shoulder", "hip", "knee", "ankle"):
            assert own[JOINT_INDEX[f"left_{part}"], 0] > own[JOINT_INDEX[f"right_{part}"], 0]
    gap = np.linalg.norm(fit.joints[:, [20, 21]] - truth.joints[:, [20, 21]], axis=-1)
    swapped = np.linalg.norm(fit.joints[:, [21, 20]] - truth.joints[:, [20, 21]], axis=-1)
    assert (gap.mean(1) < swapped.mean(1)).all()


def test_root_faces_the_right_way(fitted) -> None:
    _, _, fit = fitted
    forward = axis_angle_to_matrix(torch.tensor(fit.pose[:, 0])).numpy()[:, :, 2]
    yaw = np.arctan2(forward[:, 0], forward[:, 2])
    error = np.abs((yaw - np.array(YAWS) + np.pi) % (2 * np.pi) - np.pi)
    assert error.max() < np.radians(12)


def test_result_is_what_the_body_model_shows(body, fitted) -> None:
    truth, _, fit = fitted
    out = body(torch.tensor(fit.betas)[None], torch.tensor(fit.pose), torch.tensor(fit.transl))
    np.testing.assert_allclose(out.joints.numpy(), fit.joints, atol=1e-4)
    sizes = np.array([truth.size] * len(YAWS))
    iou = silhouette_iou(body, fit.betas, fit.pose, fit.transl, intrinsics(fit.focal, sizes), truth.masks)
    assert iou.min() > 0.85
    assert (out.joints.numpy()[..., 2] < 0).all()  # in front of the camera that looks along -Z
    camera = out.joints.numpy() @ CAMERA_FROM_WORLD[:3, :3].T
    assert (camera[..., 2] > 0).all()


def test_jaw_eyes_and_toes_are_left_alone(fitted) -> None:
    _, _, fit = fitted
    fixed = [
        JOINT_INDEX[n] for n in ("jaw", "left_eye_smplhf", "right_eye_smplhf", "left_foot", "right_foot")
    ]
    np.testing.assert_allclose(fit.pose[:, fixed], 0, atol=1e-6)


def test_known_height_is_met(body) -> None:
    truth = make_truth(body, [0.0, 1.0], seed=5, hands=False, drawn=False)
    targets = build_targets(truth.observations, truth.masks, np.array([truth.size] * 2))
    short = ((20, 0.03), (60, 0.04), (40, 0.02))
    for height in (1.60, 1.85):
        fit = fit_body(FitBody(body), targets, height_m=height, stages=short)
        assert fit.height == pytest.approx(height, abs=0.02)


def test_unseen_parts_keep_the_prior_and_stay_finite(body) -> None:
    """Head and shoulders only: legs hang straight, hands relax, nothing explodes."""
    truth = make_truth(body, [0.0, 0.4], seed=1, hands=False)
    low = ("knee", "ankle", "heel", "foot")
    hidden = [POSE_INDEX[n] for n, _ in BODY_LINKS if any(part in n for part in low)]
    for o in truth.observations:
        o.pose.visibility[hidden] = 0.0
        o.pose.points[hidden] += 2000  # invented below the frame
        assert (point_confidence(o.pose, np.array(truth.size))[hidden] == 0).all()
    masks = [m.copy() for m in truth.masks]
    targets = build_targets(truth.observations, masks, np.array([truth.size] * 2))
    fit = fit_body(FitBody(body), targets, stages=((20, 0.03), (60, 0.04), (40, 0.02)))
    assert np.isfinite(fit.pose).all() and np.isfinite(fit.transl).all() and np.isfinite(fit.betas).all()
    knees = fit.pose[:, [JOINT_INDEX["left_knee"], JOINT_INDEX["right_knee"]]]
    assert np.abs(knees).max() < 0.6
    assert np.isnan(fit.hand_error)


def test_prior_is_mirror_symmetric() -> None:
    centre, weight = pose_prior()
    for name, j in JOINT_INDEX.items():
        if name.startswith("left"):
            other = JOINT_INDEX[name.replace("left", "right")]
            torch.testing.assert_close(centre[j] * torch.tensor([1.0, -1.0, -1.0]), centre[other])
            torch.testing.assert_close(weight[j], weight[other])


def test_geman_mcclure_is_quadratic_then_flat() -> None:
    r = torch.tensor([0.01, 100.0])
    value = geman_mcclure(r, 2.0)
    assert float(value[0]) == pytest.approx(1e-4, rel=1e-3) and float(value[1]) == pytest.approx(
        4.0, rel=1e-2
    )


def test_same_seed_same_result(body) -> None:
    truth = make_truth(body, [0.2], seed=7)
    results = []
    for _ in range(2):
        targets = build_targets(truth.observations, truth.masks, np.array([truth.size]), seed=4)
        results.append(fit_body(FitBody(body, 4), targets, stages=((5, 0.03), (10, 0.04), (10, 0.02))))
    np.testing.assert_array_equal(results[0].pose, results[1].pose)
