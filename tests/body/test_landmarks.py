"""Landmark tables: they sit where they say, agree with stock SMPL-X tools, and stay on the right side."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lca.errors import InvalidInputError
from lca_core.body.landmarks import STANDARD_VERTICES, face_links, surface_points
from lca_core.body.model import BODY_FILE
from lca_core.body.names import ARKIT_INDEX, JOINT_INDEX


@pytest.fixture(scope="module")
def links(body):
    return face_links(body)


def rest(body, **expression: float) -> torch.Tensor:
    weights = torch.zeros(1, 52)
    for name, value in expression.items():
        weights[0, ARKIT_INDEX[name]] = value
    return body.rest(torch.zeros(1, 50), weights)[0][0]


def test_standard_vertices_are_extremes_of_the_body(body):
    v, joints = body.v_template, body.joint_template
    at = {name: v[i] for name, i in STANDARD_VERTICES.items()}
    head = v[body.weights[:, JOINT_INDEX["head"]] > 0.9]
    assert at["nose"][2] > head[:, 2].max() - 2e-3 and abs(at["nose"][0]) < 2e-3
    assert body.part[STANDARD_VERTICES["leye"]] == 2 and body.part[STANDARD_VERTICES["reye"]] == 3
    for tag, side, s in (("l", "left", 1.0), ("r", "right", -1.0)):
        assert s * at[f"{tag}ear"][0] > 0.06
        for finger in ("thumb", "index", "middle", "ring", "pinky"):
            last = joints[JOINT_INDEX[f"{side}_{finger}3"]]
            assert 0.01 < (at[f"{tag}{finger}"] - last).norm() < 0.05
        ankle = joints[JOINT_INDEX[f"{side}_ankle"]]
        heel, big, small = (at[tag.upper() + n] for n in ("Heel", "BigToe", "SmallToe"))
        assert heel[2] < ankle[2] < small[2] < big[2]
        assert s * big[0] < s * small[0]
        assert max(heel[1], big[1], small[1]) < v[:, 1].min() + 0.06


def test_stock_smplx_finds_the_same_points(body, tmp_path):
    smplx = pytest.importorskip("smplx")
    (tmp_path / "smplx").mkdir()
    (tmp_path / "smplx" / "SMPLX_NEUTRAL.npz").write_bytes(BODY_FILE.read_bytes())
    model = smplx.create(str(tmp_path), model_type="smplx", use_pca=False, use_face_contour=True)
    joints = model().joints[0]
    order = [
        "nose", "reye", "leye", "rear", "lear", "LBigToe", "LSmallToe", "LHeel", "RBigToe", "RSmallToe",
        "RHeel", "lthumb", "lindex", "lmiddle", "lring", "lpinky", "rthumb",
        "rindex", "rmiddle", "rring", "rpinky",
    ]  # fmt: skip
    ours = body.v_template[[STANDARD_VERTICES[n] for n in order]]
    torch.testing.assert_close(joints[55:76], ours, atol=1e-5, rtol=0)
    face = joints[76:].detach().numpy()
    assert face.shape == (68, 3)
    # 51 inner points, brows first: from the person's right to the left, nose bridge downwards, mouth below
    # the nose.
    brows, bridge, mouth = face[:10], face[10:14], face[31:51]
    assert (np.diff(brows[:, 0]) > 0).all() and (np.diff(bridge[:, 1]) < 0).all()
    assert mouth[:, 1].max() < bridge[-1, 1] < brows[:, 1].min()


def test_links_lie_on_the_face_and_are_nearly_symmetric(body, links):
    points = surface_points(rest(body), links).numpy()
    np.testing.assert_allclose(links.bary.sum(axis=1), 1, atol=1e-5)
    assert (links.bary >= -1e-6).all()
    for right, left in ((33, 263), (133, 362), (61, 291), (105, 334), (234, 454), (468, 473), (98, 327)):
        np.testing.assert_allclose(
            points[right] * [-1, 1, 1], points[left], atol=9e-3 if right == 234 else 5e-3
        )
        assert points[right, 0] < 0 < points[left, 0]
    for middle in (10, 168, 1, 4, 0, 17, 152):
        assert abs(points[middle, 0]) < 2.5e-3
    column = points[[10, 168, 4, 0, 17, 152], 1]
    assert (np.diff(column) < 0).all()
    assert (
        np.linalg.norm(points[[1, 4]].mean(axis=0) - body.v_template[STANDARD_VERTICES["nose"]].numpy())
        < 8e-3
    )
    for iris, eye in ((468, "reye"), (473, "leye")):
        assert np.linalg.norm(points[iris] - body.v_template[STANDARD_VERTICES[eye]].numpy()) < 4e-3
    assert np.median(links.spread) < 2e-3


def test_links_follow_the_expressions(body, links):
    def gap(upper: int, lower: int, **expression: float) -> float:
        points = surface_points(rest(body, **expression), links)
        return float((points[upper] - points[lower]).norm())

    assert gap(13, 14, jawOpen=0.6) > gap(13, 14) + 0.015
    assert gap(159, 145, eyeBlinkRight=1.0) < 0.4 * gap(159, 145)
    assert abs(gap(386, 374, eyeBlinkRight=1.0) - gap(386, 374)) < 1e-3
    assert gap(61, 291, mouthSmileLeft=1.0, mouthSmileRight=1.0) > gap(61, 291) + 0.005
    assert gap(105, 159, browDownRight=1.0) < gap(105, 159) - 0.001


def test_surface_points_is_batched_and_differentiable(body, links):
    vertices = body.v_template.repeat(2, 3, 1, 1).requires_grad_()
    points = surface_points(vertices, links)
    assert points.shape == (2, 3, 478, 3)
    points.sum().backward()
    assert vertices.grad.sum().item() == pytest.approx(2 * 3 * 478 * 3, rel=1e-4)


def test_another_mesh_has_no_links(body):
    class Other:
        v_template = torch.zeros(100, 3)
        faces = torch.zeros(10, 3, dtype=torch.int64)

    with pytest.raises(InvalidInputError):
        face_links(Other())
