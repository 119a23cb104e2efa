"""The UV atlas: conventions, agreement with a brute-force point-in-triangle search, and frame laws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lca.errors import InvalidInputError
from lca_core.body.atlas import Region, UvAtlas, vertex_normals
from lca_core.body.names import JOINT_INDEX
from lca_core.body.raster import rasterize
from lca_core.body.rotation import axis_angle_to_matrix


@pytest.fixture(scope="module")
def atlas(body):
    return UvAtlas.build(body, 128)


def test_texels_lie_where_their_uv_says(body, atlas):
    corners = body.uvs.numpy()[atlas.tri_uv]
    uv = (corners * atlas.bary[..., None]).sum(axis=2)
    np.testing.assert_allclose(uv[atlas.mask], atlas.centres()[atlas.mask], atol=2e-6)
    assert atlas.centres()[0, 0].tolist() == pytest.approx([0.5 / 128, 1 - 0.5 / 128])


def test_rasteriser_agrees_with_a_point_in_triangle_search():
    rng = np.random.default_rng(0)
    corners = rng.uniform(-4, 24, (40, 3, 2))
    depth = rng.uniform(1, 2, (40, 3))
    face, bary = rasterize(corners, 20, 16, depth)
    for row in range(16):
        for column in range(20):
            point = np.array([column + 0.5, row + 0.5])
            best, at = -1, np.inf
            for f, (a, b, c) in enumerate(corners):
                weights = np.linalg.solve(np.array([[*a, 1], [*b, 1], [*c, 1]]).T, [*point, 1])
                z = weights @ depth[f]
                if weights.min() >= 0 and z < at:
                    best, at = f, z
            assert face[row, column] == best
            if best >= 0:
                np.testing.assert_allclose(bary[row, column] @ corners[best], point, atol=1e-4)


def test_sampling_is_affine_and_the_same_in_numpy_and_torch(body, atlas):
    values = np.random.default_rng(1).normal(size=(2, 13750, 5)).astype(np.float32)
    mine = atlas.sample(values)
    assert mine.shape == (2, 128, 128, 5)
    np.testing.assert_array_equal(mine, atlas.sample(torch.from_numpy(values)).numpy())
    np.testing.assert_array_equal(mine[1], atlas.sample(values[1]))
    np.testing.assert_allclose(atlas.sample(np.ones((13750, 1), np.float32))[atlas.mask], 1, atol=1e-6)
    assert (mine[:, ~atlas.mask] == 0).all()
    four = atlas.sample(torch.from_numpy(values)[:, None].expand(2, 3, -1, -1))
    np.testing.assert_array_equal(four[1, 2].numpy(), mine[1])


def test_frames_are_rotations_that_turn_with_the_body(body, atlas):
    vertices = body.v_template
    frames = atlas.frames(vertices)
    eye = torch.eye(3).expand_as(frames)
    torch.testing.assert_close(frames.transpose(-1, -2) @ frames, eye, atol=2e-6, rtol=0)
    assert torch.linalg.det(frames).min() > 0.999
    turn = axis_angle_to_matrix(torch.tensor([0.4, -0.7, 1.1]))
    turned = atlas.frames(vertices @ turn.T)
    mask = torch.from_numpy(atlas.mask)
    torch.testing.assert_close(turned[mask], (turn @ frames)[mask], atol=1e-4, rtol=0)
    np.testing.assert_array_equal(atlas.frames(vertices.numpy()), frames.numpy())


def test_tangents_follow_u_and_normals_point_outwards(body, atlas):
    position = atlas.sample(body.v_template)
    frames = atlas.frames(body.v_template)
    both = torch.from_numpy(atlas.mask[:, :-1] & atlas.mask[:, 1:])
    step = torch.nn.functional.normalize((position[:, 1:] - position[:, :-1])[both], dim=-1)
    along = (step * frames[:, :-1][both][..., 0]).sum(-1)
    assert along.quantile(0.05) > 0.8
    head = torch.from_numpy((atlas.region == Region.HEAD) & ~atlas.cavity)
    centre = body.joint_template[JOINT_INDEX["head"]] + torch.tensor([0.0, 0.06, 0.02])
    outwards = torch.nn.functional.normalize(position[head] - centre, dim=-1)
    assert ((outwards * frames[head][..., 2]).sum(-1) > 0).float().mean() > 0.9


def test_frames_carry_gradients(body, atlas):
    vertices = body.v_template.clone().requires_grad_()
    atlas.frames(vertices)[..., 0].sum().backward()
    assert torch.isfinite(vertices.grad).all() and vertices.grad.abs().sum() > 0


def test_vertex_normals_of_a_tetrahedron():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    expected = -torch.ones(3) / 3**0.5
    torch.testing.assert_close(vertex_normals(vertices, faces)[0], expected)


def test_regions_and_cavities(body, atlas):
    position = atlas.sample(body.v_template.numpy())
    joints = body.joint_template.numpy()
    x, y = position[..., 0], position[..., 1]
    outer = atlas.splat_mask
    assert (y[(atlas.region == Region.HEAD) & outer] > joints[JOINT_INDEX["neck"], 1] - 0.05).all()
    assert (
        np.abs(x[atlas.region == Region.HANDS]) > np.abs(joints[JOINT_INDEX["left_wrist"], 0]) - 0.06
    ).all()
    assert (y[atlas.region == Region.FEET] < joints[JOINT_INDEX["left_ankle"], 1] + 0.08).all()
    assert (atlas.region[~atlas.mask] == Region.NONE).all() and (
        atlas.region[atlas.mask] != Region.NONE
    ).all()
    counts = {r: (atlas.region == r).mean() for r in Region}
    assert counts[Region.HEAD] > counts[Region.HANDS] > counts[Region.EYES] > 0
    assert 0.02 < atlas.cavity.sum() / atlas.mask.sum() < 0.06
    assert np.isin(atlas.region[atlas.cavity], [Region.HEAD, Region.TORSO, Region.LEGS]).all()


def test_neighbours_are_close_on_the_body(body, atlas):
    pairs = atlas.neighbours()
    position = atlas.sample(body.v_template.numpy()).reshape(-1, 3)
    assert np.linalg.norm(position[pairs[:, 0]] - position[pairs[:, 1]], axis=1).max() < 0.06
    assert atlas.mask.reshape(-1)[pairs].all()
    assert len(np.unique(pairs, axis=0)) == len(pairs)


def test_atlas_is_kept_and_size_is_checked(body, atlas):
    assert UvAtlas.build(body, 128) is atlas
    with pytest.raises(InvalidInputError):
        UvAtlas.build(body, 4)
