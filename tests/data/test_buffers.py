"""Every buffer of a view agrees with every other: mask, depth, normal, uv, face, albedo and true geometry."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lca_core.data import motion
from lca_core.data.people import Person, sample_identity
from lca_core.data.procedural import SKIRTS
from lca_core.data.render import Frame, Light, linear_to_srgb, srgb_to_linear, vertex_normals
from lca_core.data.samples import fit_camera

from .conftest import plain

SIZE = 320


def first_skirt() -> int:
    worn = (sample_identity("train", i).outfit.bottom for i in range(60))
    return next(i for i, b in enumerate(worn) if b is not None and b.kind in SKIRTS)


@pytest.fixture(scope="module", params=["suit", "skirt"])
def view(
    request: pytest.FixtureRequest, white: Light
) -> tuple[Person, np.ndarray, Frame, np.ndarray, np.ndarray]:
    person = Person(plain(3, suit="male_casualsuit01") if request.param == "suit" else plain(first_skirt()))
    q = motion.random_pose(np.random.default_rng(4), "walk")
    posed = person.posed(q.joints, q.transl, q.expression, q.gaze)
    scene = person.scene()
    scene.pose(posed)
    used = np.unique(person.faces)
    K, viewmat = fit_camera(posed[used], 0.5, 0.15, 2.8, SIZE, SIZE, 0.9, np.array([7.0, -5.0]))
    return person, posed, scene.render(K, viewmat, SIZE, SIZE, white), K, viewmat


View = tuple[Person, np.ndarray, Frame, np.ndarray, np.ndarray]


def test_true_vertices_land_on_the_mask(view: View) -> None:
    person, posed, frame, K, viewmat = view
    opaque = np.unique(person.faces[~np.isin(person.face_part, (4, 5, 6))])
    camera = posed[opaque] @ viewmat[:3, :3].T + viewmat[:3, 3]
    x, y = np.floor(camera[:, :2] / camera[:, 2:] * np.diag(K)[:2] + K[:2, 2]).astype(int).T
    mask = frame.coverage > 0
    # A fingertip or a collar's corner may fall between pixel centres.
    assert ndimage.binary_dilation(mask, iterations=2)[y, x].mean() > 0.9995
    assert mask[y, x].mean() > 0.95
    # And nothing is seen far from a vertex: the mask is no larger than the person.
    grid = np.zeros_like(mask)
    grid[y, x] = True
    assert ndimage.binary_dilation(grid, iterations=9)[mask].mean() > 0.97


def test_buffers_share_one_silhouette(view: View) -> None:
    _, _, frame, _, _ = view
    mask = frame.coverage > 0
    for other in (
        frame.part > 0,
        frame.depth > 0,
        frame.face >= 0,
        np.linalg.norm(frame.normal, axis=-1) > 0.5,
    ):
        np.testing.assert_array_equal(mask, other)


def test_depth_and_normal_are_those_of_the_face_seen(view: View) -> None:
    person, posed, frame, K, viewmat = view
    y, x = np.nonzero(frame.face >= 0)
    corners = person.faces[frame.face[y, x]]
    bary = frame.bary[y, x]
    bary = np.concatenate([bary, 1 - bary.sum(1, keepdims=True)], 1)
    camera = (posed[corners] * bary[..., None]).sum(1) @ viewmat[:3, :3].T + viewmat[:3, 3]
    np.testing.assert_allclose(camera[:, 2], frame.depth[y, x], atol=2e-4)
    pixel = camera[:, :2] / camera[:, 2:] * np.diag(K)[:2] + K[:2, 2]
    np.testing.assert_allclose(pixel, np.stack([x, y], 1) + 0.5, atol=0.05)
    n = (vertex_normals(posed, person.faces)[corners] * bary[..., None]).sum(1)
    n /= np.linalg.norm(n, axis=1, keepdims=True)
    assert np.abs((n * frame.normal[y, x]).sum(1)).min() > 0.999
    towards = (viewmat[:3, 3] @ viewmat[:3, :3] * -1) - (posed[corners] * bary[..., None]).sum(1)
    assert ((frame.normal[y, x] * towards).sum(1) > -1e-4).all(), "normals face the camera"
    np.testing.assert_array_equal(person.face_part[frame.face[y, x]], frame.part[y, x])


def test_uv_looked_up_in_the_albedo_is_the_unlit_image(view: View) -> None:
    person, _, frame, _, _ = view
    y, x = np.nonzero(frame.face >= 0)
    uv = (person.face_uvs[frame.face[y, x]] * np.concatenate(
        [frame.bary[y, x], 1 - frame.bary[y, x].sum(1, keepdims=True)], 1)[..., None]).sum(1)  # fmt: skip
    np.testing.assert_allclose(uv, frame.uv[y, x], atol=1e-4)
    texture = person.face_texture[frame.face[y, x]]
    looked_up = np.zeros((len(x), 3))
    for k in np.unique(texture):
        image = person.textures[k][..., :3].astype(np.float64)
        mine = texture == k
        row = (1 - uv[mine, 1]) * image.shape[0] - 0.5
        col = uv[mine, 0] * image.shape[1] - 0.5
        looked_up[mine] = np.stack(
            [ndimage.map_coordinates(image[..., c], [row, col], order=1, mode="nearest") for c in range(3)],
            -1,
        )
    # White light of level 1 shows the albedo itself.
    error = np.abs(linear_to_srgb(frame.color[y, x]) * 255 - looked_up)
    assert error.max() < 1.0
    assert srgb_to_linear(looked_up / 255).mean() > 0.01
