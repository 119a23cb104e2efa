"""Laws of mixed densities on the real body: a partition, exact places, maps as if up-sampled, living eyes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lca_core.avatar.bake import bake
from lca_core.avatar.proxy import build_proxy
from lca_core.body.atlas import UvAtlas
from lca_core.body.names import ARKIT_INDEX, JOINT_INDEX
from lca_core.body.points import locate
from lca_core.body.rotation import quaternion_to_matrix
from lca_core.model.assemble import Corrector, place, resize_valid
from lca_core.model.config import PRESETS
from lca_core.model.density import FINEST, Samples, _cells, plan
from lca_core.model.eyes import LUMA, EyeColors, even_lids, lids, paint_eyes, skin_around_eyes
from lca_core.model.network import LCAModel
from lca_core.model.resample import MapSampler
from lca_core.model.strain import Strain
from lca_core.model.template import Template

ZERO = torch.zeros(50)
EYES = {2: JOINT_INDEX["left_eye_smplhf"], 3: JOINT_INDEX["right_eye_smplhf"]}


@pytest.fixture(scope="module")
def template() -> Template:
    return Template.load(128)


@pytest.fixture(scope="module")
def samples(template: Template) -> Samples:
    return plan(template, 256)


def test_points_agree_with_the_atlas(template: Template) -> None:
    atlas = UvAtlas.build(template.body, 128)
    rows, cols = (x.ravel() for x in np.indices((128, 128)))
    points = locate(template.body, rows, cols, 128)
    on = points.face >= 0
    assert np.array_equal(points.face, atlas.face.ravel())
    assert np.array_equal(points.cavity, atlas.cavity.ravel())
    np.testing.assert_allclose(points.bary, atlas.bary.reshape(-1, 3), atol=1e-6)
    vertices = template.body.rest(ZERO[None], None)[0][0]
    ours, theirs = points.frames(vertices), atlas.frames(vertices).reshape(-1, 3, 3)
    torch.testing.assert_close(ours[on], theirs[on], atol=1e-5, rtol=0)


def test_cells_tile_the_atlas(template: Template) -> None:
    """Every texel of a grid belongs to exactly one Gaussian's square, whatever the densities."""
    rows, cols, step = _cells(template, 256)
    assert (rows % step == 0).all() and (cols % step == 0).all()
    covered = np.zeros((FINEST // 4, FINEST // 4), np.int32)
    for side in np.unique(step):
        of = step == side
        n = max(side // 4, 1)
        area = min(side, 4) ** 2
        for dr in range(n):
            for dc in range(n):
                np.add.at(covered, (rows[of] // 4 + dr, cols[of] // 4 + dc), area)
    assert (covered == 16).all()


def test_gaussians_are_dense_where_people_look(samples: Samples) -> None:
    assert 50_000 < samples.count < 90_000
    position, axes, joints = (x.numpy() for x in samples._rest(ZERO))
    spacing = samples.typical_spacing()
    for part, joint in EYES.items():
        ball = samples.part == part
        away = position[ball] - joints[joint]
        angle = np.arccos(away[:, 2] / np.linalg.norm(away, axis=1))
        assert (angle < 1.0).sum() >= 100
        assert (angle < 0.4).sum() >= 60
    head = samples.weights[:, [JOINT_INDEX["head"], JOINT_INDEX["jaw"]]].sum(1) > 0.5
    face = head & (axes[:, 2, 2] > 0.5)
    assert np.median(spacing[face]) < 0.0022
    assert np.median(spacing) > 0.003


def test_spacing_is_the_distance_of_neighbours(samples: Samples) -> None:
    following = samples.following()
    has = np.nonzero(following >= 0)[0]
    position = samples._rest(ZERO)[0].numpy()
    same = samples._points.face[has] == samples._points.face[following[has]]
    has = has[same]
    distance = np.linalg.norm(position[following[has]] - position[has], axis=1)
    spacing = samples.spacing(ZERO)[has, 0]
    plain = (spacing > 3.1e-4) & (spacing < 0.0299) & (samples.spacing(ZERO)[has].min(1) * 2.5 > spacing)
    assert plain.mean() > 0.8
    np.testing.assert_allclose(spacing[plain], distance[plain], rtol=0.02)


def test_maps_are_read_as_if_up_sampled(template: Template, samples: Samples) -> None:
    """The sparse read equals up-sampling the whole grid, up to half a texel of the finest grid."""
    g = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.randn(1, 3, 16, 16, generator=g), size=128, mode="bicubic")
    maps = smooth * template.carries_map
    read = MapSampler(template, samples)
    ours = read(maps)
    full = resize_valid(maps, template.carries_map, 256)[0]
    body = np.nonzero((samples.step == 16) & ~samples.inside)[0]
    theirs = full[:, samples.rows[body] // 16, samples.cols[body] // 16].T
    error = (ours[body] - theirs).abs()
    assert float(error.mean()) < 0.01 * float(maps.std())
    assert float(error.quantile(0.99)) < 0.15 * float(maps.std())
    constant = read(template.carries_map * 0.7)
    torch.testing.assert_close(constant, torch.full_like(constant, 0.7))


def test_binding_is_exact(template: Template, samples: Samples) -> None:
    """The bound point of the body plus the offset in its frame is the Gaussian's centre."""
    from lca_core.avatar.avatar import Canonical

    g = torch.Generator().manual_seed(1)
    betas = torch.randn(50, generator=g) * 0.7
    position, axes, _ = samples._rest(betas)
    offset = torch.rand(samples.count, 3, generator=g) * 0.02
    n = samples.count
    unit = torch.tensor([1.0, 0, 0, 0]).expand(n, 4)
    spacing = torch.from_numpy(samples.spacing(betas))
    means, quats, scales = place(position, axes, spacing, offset, unit, torch.zeros(n, 3))
    texel = np.stack([samples.rows, samples.cols], 1).astype(np.int32)
    canonical = Canonical(
        means=means.numpy(),
        quats=quats.numpy(),
        scales=scales.numpy(),
        opacities=np.ones(n, np.float32),
        sh=np.zeros((n, 1, 3), np.float32),
        texel=texel,
        uv_size=samples.size,
    )
    vertices = template.body.rest(betas[None], None)[0][0].numpy()
    proxy = build_proxy(template.body, vertices, canonical, np.zeros((8, 8, 3), np.uint8))
    bound = np.einsum("nk,nkc->nc", proxy.bind_bary, vertices[proxy.bind_tri])
    moved = (axes @ offset[..., None])[..., 0].numpy()
    assert np.abs(bound - (means.numpy() - moved)).max() < 1e-5
    again = Samples(template, texel[:, 0], texel[:, 1], samples.size)
    assert np.abs(again._rest(betas)[0].numpy() - bound).max() < 1e-5


def test_baking_keeps_smooth_colours_at_every_density(template: Template, samples: Samples) -> None:
    texel = np.stack([samples.rows, samples.cols], 1)
    at = (texel + 0.5) / samples.size
    values = np.stack([at[:, 0], at[:, 1], 0.5 + 0.0 * at[:, 0]], 1)
    image = bake(texel, samples.size, values, 1024)
    mask = locate(template.body, *(x.ravel() for x in np.indices((1024, 1024))), 1024)
    on = ((mask.face >= 0) & ~mask.cavity).reshape(1024, 1024)
    rows, cols = np.nonzero(on)
    error = np.abs(image[rows, cols, :2] - np.stack([rows + 0.5, cols + 0.5], 1) / 1024).max(1)
    assert np.quantile(error, 0.99) < 1.2 / 256
    np.testing.assert_allclose(image[..., 2], 0.5, atol=1e-6)


def test_skin_turns_and_stretches_with_the_mesh(samples: Samples) -> None:
    """Turned by the strain, a lid's normal is that of the closed lid; still skin keeps its frame exactly."""
    strain = Strain(samples, ZERO)
    where, turn, stretch = strain(np.zeros(52, np.float32))
    torch.testing.assert_close(turn[:, 0], torch.ones(len(turn)), atol=1e-5, rtol=0)
    assert float(stretch.abs().max()) < 1e-4
    closed = np.zeros(52, np.float32)
    closed[[ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]] = 1
    where, turn, stretch = strain(closed)
    assert not samples.eyes[where.numpy()].any()
    body = samples.body
    shut = body.rest(ZERO[None], torch.from_numpy(closed)[None])[0][0].numpy()
    still = body.rest(ZERO[None], None)[0][0].numpy()

    def normals(vertices: np.ndarray) -> np.ndarray:
        p = vertices[samples.corners[where.numpy()]]
        n = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
        return n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-12)

    turned = np.einsum("nab,nb->na", quaternion_to_matrix(turn).numpy(), normals(still))
    assert (np.einsum("na,na->n", turned, normals(shut)) > 0.999).mean() > 0.999
    assert float(stretch.max()) > np.log(1.5)


def test_eyeballs_stay_rigid_and_lids_do_not(template: Template, samples: Samples) -> None:
    torch.manual_seed(0)
    config = PRESETS["lca-xs"]
    net = LCAModel(config, template).eval()
    with torch.no_grad():
        for p in net.correction.heads.parameters():
            p.add_(torch.randn_like(p) * 0.05)
    around = np.linalg.norm(samples._rest(ZERO)[0].numpy() - samples._rest(ZERO)[2].numpy()[EYES[2]], axis=1)
    near = np.nonzero(around < 0.03)[0]
    texel = np.stack([samples.rows, samples.cols], 1)[near]
    features = np.random.default_rng(0).normal(0, 0.5, (config.identity_channels, 128, 128))
    corrector = Corrector(net, features.astype(np.float32), np.zeros(50), texel, samples.size)
    blink = np.zeros(52, np.float32)
    blink[ARKIT_INDEX["eyeBlinkLeft"]] = 1
    out = corrector(np.zeros((55, 3)), blink, np.array([[0.4, 0.0], [0.4, 0.0]]))
    ball = samples.eyes[near]
    assert ball.sum() > 300
    for value in (out.means, out.quats, out.log_scales, out.colors):
        assert np.abs(value[ball]).max() == 0
    assert np.abs(out.means[~ball]).max() > 0.004
    assert np.abs(out.log_scales[~ball]).max() > np.log(2)


def test_painted_eyes_have_white_iris_and_pupil(samples: Samples) -> None:
    white, iris = np.array([0.8, 0.78, 0.76]), np.array([0.2, 0.3, 0.5])
    painted = paint_eyes(samples, EyeColors(white, iris, 20))
    position, _, joints = (x.numpy() for x in samples._rest(ZERO))
    eyes = samples.eyes
    for part, joint in EYES.items():
        ball = samples.part[eyes] == part
        away = position[eyes][ball] - joints[joint]
        across = np.hypot(away[:, 0], away[:, 1])
        front = away[:, 2] > 0
        colour = painted[ball]
        assert colour[front & (across < 0.0012)].max() < 0.18
        ring = front & (across > 0.0035) & (across < 0.0048)
        np.testing.assert_allclose(colour[ring].mean(0), iris, atol=0.08)
        outside = front & (across > 0.008) & (across < 0.010)
        np.testing.assert_allclose(colour[outside].mean(0), white, atol=0.08)


def test_specks_on_lids_take_the_skin_beside_them_and_a_shaded_lid_stays(samples: Samples) -> None:
    rng = np.random.default_rng(3)
    skin = np.array([0.75, 0.58, 0.48], np.float32)
    color = np.repeat(skin[None], samples.count, 0)
    lid = np.nonzero(lids(samples))[0]
    color[lid] *= 0.85
    specks = rng.choice(lid, len(lid) // 8, replace=False)
    spoiled = color.copy()
    spoiled[specks] = np.where(rng.random((len(specks), 1)) < 0.5, 0.1, 0.95)
    around = skin_around_eyes(samples, 0.05)
    nothing = np.zeros(0, np.int64)
    out = even_lids(samples, spoiled, around, nothing)
    assert np.abs(out - color)[specks].mean() < 0.15 * np.abs(spoiled - color)[specks].mean()
    kept = np.abs(even_lids(samples, color, around, nothing) - color).max(1)[lid] < 0.01
    assert kept.mean() > 0.95, "only the rim of a lid may take its neighbours' brightness"
    away = np.setdiff1d(np.arange(samples.count), lid)
    np.testing.assert_array_equal(out[away], spoiled[away])


def test_a_lid_folded_away_closes_in_the_colour_of_the_skin_with_lashes_on_its_edge(samples: Samples) -> None:
    skin = np.array([0.75, 0.58, 0.48], np.float32)
    color = np.repeat(skin[None], samples.count, 0)
    lid, around = lids(samples), skin_around_eyes(samples, 0.05)
    color[lid] = 0.2
    known = np.nonzero(around & ~lid)[0]
    out = even_lids(samples, color, around, known)
    closed = torch.zeros(1, 52)
    closed[0, [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]] = 1
    move = samples.rest_corrective(torch.zeros(1, 55, 3), closed)[0].numpy()
    upper = lid & (np.linalg.norm(move, axis=1) > 0.004)
    place = samples._rest(torch.zeros(50))[0].numpy() + move
    left = upper & (place[:, 0] > 0)
    middle = left & (np.abs(place[:, 0] - place[left, 0].mean()) < 0.003)
    high = middle & (place[:, 1] > np.quantile(place[middle, 1], 0.6))
    edge = middle & (place[:, 1] < place[middle, 1].min() + 0.0005)
    np.testing.assert_allclose(out[high], np.broadcast_to(skin, out[high].shape), atol=0.02)
    assert edge.any() and (out[edge] @ LUMA).max() < 0.75 * skin @ LUMA
    np.testing.assert_array_equal(out[~lid], color[~lid])


def test_lashes_are_one_thin_line_without_gaps(samples: Samples) -> None:
    """Of a closed upper lid only the lowest 3 mm are darkened, in every column of 3 mm across it."""
    color = np.full((samples.count, 3), 0.6, np.float32)
    lid, around = lids(samples), skin_around_eyes(samples, 0.05)
    bright = even_lids(samples, color, around, np.nonzero(around & ~lid)[0]) @ LUMA / 0.6
    closed = torch.zeros(1, 52)
    closed[0, [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]] = 1
    move = samples.rest_corrective(torch.zeros(1, 55, 3), closed)[0].numpy()
    place = samples._rest(torch.zeros(50))[0].numpy() + move
    upper = lid & (move[:, 1] < -0.004)
    for side in (1, -1):
        mine = np.nonzero(upper & (side * place[:, 0] > 0))[0]
        low, high = np.quantile(place[mine, 0], (0.15, 0.85))
        for start in np.arange(low, high - 0.003, 0.003):
            column = mine[(place[mine, 0] >= start) & (place[mine, 0] < start + 0.003)]
            above = place[column, 1] - place[column, 1].min()
            assert bright[column][above < 0.001].min() < 0.8
            assert bright[column][above > 0.003].min() > 0.95
