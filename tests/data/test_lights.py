"""Light: closed forms of SH light and transfer, occlusion against brute force, colours that stay natural."""

from __future__ import annotations

import numpy as np
import pytest

from lca.errors import InvalidInputError
from lca_core.data import lights, motion, uv_bake
from lca_core.data.people import Person
from lca_core.data.render import Light, Scene, Textures, linear_to_srgb, sh_basis, srgb_to_linear
from lca_core.data.samples import fit_camera
from lca_core.data.skinning import rotation_matrices

from .conftest import UV, plain
from .test_render import GREY, VIEW, K, ball, ball_scene


def test_the_projection_of_a_basis_function_is_that_function() -> None:
    d, area = lights.equirect_directions(64)
    assert area.sum() == pytest.approx(4 * np.pi, rel=1e-6)
    np.testing.assert_allclose(d[32, 64], [0, 0, 1], atol=0.05)
    values = sh_basis(d)
    for k in range(9):
        picture = np.repeat(values[..., k : k + 1], 3, -1).astype(np.float32)
        np.testing.assert_allclose(lights.Environment(picture).sh()[:, 1], np.eye(9)[k], atol=2e-3)
    with pytest.raises(InvalidInputError, match="twice as wide"):
        lights.Environment(np.ones((4, 4, 3), np.float32)).sh()


def test_a_uniform_environment_lights_every_normal_alike() -> None:
    light = lights.Environment(np.full((32, 64, 3), 0.7, np.float32)).light()
    frame = ball_scene(np.full((4, 4, 3), 255, np.uint8)).render(K, VIEW, 64, 64, light)
    seen = frame.coverage > 0
    np.testing.assert_allclose(frame.color[seen], 0.7, atol=0.01)


def test_turning_an_environment_turns_its_light() -> None:
    env = lights.sky(np.random.default_rng(5), height=64)
    turned = env.turned(np.pi / 2).sh()
    rotation = rotation_matrices(np.array([0, np.pi / 2, 0]))
    np.testing.assert_allclose(
        turned, lights.rotate_sh(env.sh().T, rotation).T, atol=0.03 * env.sh()[0].max()
    )


def test_rotated_coefficients_are_the_rotated_function() -> None:
    rng = np.random.default_rng(0)
    c, r = rng.normal(size=9), rotation_matrices(rng.normal(size=3))
    w = rng.normal(size=(20, 3))
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    np.testing.assert_allclose(sh_basis(w) @ lights.rotate_sh(c, r), sh_basis(w @ r) @ c, atol=1e-5)


def test_open_transfer_is_the_cosine_lobe() -> None:
    """Without blockers T_k = A_l Y_k(n); an upward point under a roof keeps the light from the sides only."""
    scene = ball_scene(GREY)
    n = lights.stage_directions(40)
    t = scene.transfer(n * 0.5, n, rays=256)
    np.testing.assert_allclose(t, lights.BANDS * sh_basis(n), atol=0.03)
    inside = scene.transfer(np.zeros((1, 3)), np.array([[0, 1.0, 0]]))
    assert np.abs(inside).max() == 0


def test_occlusion_darkens_the_floor_below_a_ball() -> None:
    v, f, uv = ball(16)
    floor = np.array([[-3, -0.6, -3], [3, -0.6, -3], [3, -0.6, 3], [-3, -0.6, 3.0]])
    faces = np.concatenate([f, np.array([[0, 2, 1], [0, 3, 2]]) + len(v)])
    uvs = np.concatenate([uv, np.zeros((2, 3, 2))])
    scene = Scene(faces, uvs, np.zeros(len(faces)), np.ones(len(faces)), Textures([GREY]))
    scene.pose(np.concatenate([v, floor]))
    up = np.tile([0.0, 1.0, 0.0], (2, 1))
    t = scene.transfer(np.array([[0, -0.6, 0], [2.5, -0.6, 0.0]]), up, rays=256)
    level = lights.relight(t, lights.Environment(np.ones((16, 32, 3), np.float32)).sh())
    # A sphere of radius r at distance d above a point takes (r/d)^2 of the cosine-weighted sky.
    assert level[0, 0] == pytest.approx(1 - (0.5 / 0.6) ** 2, abs=0.05)
    assert level[1, 0] > 0.93
    with pytest.raises(InvalidInputError, match="transfer must be"):
        scene.set_transfer(np.zeros((3, 9)))


Posed = tuple[Person, Scene, uv_bake.UvTruth]


@pytest.fixture(scope="module")
def posed_scene() -> tuple[Person, Scene, uv_bake.UvTruth]:
    person = Person(plain(3))
    scene = uv_bake.layered_scene(person)
    truth = uv_bake.bake(person, scene, lights.white(), UV)
    q = motion.random_pose(np.random.default_rng(5), "gesture")
    scene.pose(person.posed(q.joints, q.transl, q.expression, q.gaze))
    return person, scene, truth


def test_transfer_times_environment_is_the_lit_render(
    posed_scene: Posed,
) -> None:
    """UV albedo x (UV transfer . environment) against the pixels of the occluded render, on sRGB 0-255:
    median 2.5, mean 7 (a texel's albedo against a pixel's); with the pixel's own albedo, so for the light
    alone, median 1.5, mean 4.5. Without occlusion the mean is twice that."""
    person, scene, truth = posed_scene
    env = lights.room(np.random.default_rng(8))
    sh = env.sh() / env.sh()[0].mean() * 1.8
    light = Light((sh * (lights.BANDS / np.pi)[:, None]).astype(np.float32), np.array([0, 1, 0], np.float32),
                  np.zeros(3, np.float32))  # fmt: skip
    scene.set_transfer(scene.vertex_transfer(96))
    used = np.unique(person.faces)
    camera, viewmat = fit_camera(scene.vertices[used], 0.2, 0.1, 3.0, 384, 384, 0.95, np.zeros(2))
    frame = scene.render(camera, viewmat, 384, 384, light)
    map_t = uv_bake.transfer(person, truth, scene, UV, rays=96)
    t = uv_bake.texels(UV)
    seen = uv_bake.seen(truth, scene.vertices, frame, camera, viewmat, UV, tolerance=0.003)
    point = uv_bake.surface_points(truth, scene.vertices) @ viewmat[:3, :3].T + viewmat[:3, 3]
    x, y = np.floor(point[:, :2] / point[:, 2:] * np.diag(camera)[:2] + camera[:2, 2]).astype(int).T
    x, y = np.clip(x, 0, 383), np.clip(y, 0, 383)
    use = seen & (frame.coverage[y, x] == 1) & (frame.part[y, x] == truth.part)
    assert use.sum() > 400
    level = lights.relight(map_t[t.rows, t.cols], sh)
    albedo = srgb_to_linear(truth.albedo[t.rows, t.cols] / 255.0)
    made, shown = linear_to_srgb(albedo * level)[use], linear_to_srgb(frame.color[y, x])[use]
    error = np.abs(made - shown) * 255
    assert np.median(error) < 2.5 and error.mean() < 7
    # The same with the pixel's own albedo: what is left is the light.
    scene.set_transfer(None)
    plain_white = scene.render(camera, viewmat, 384, 384, lights.white()).color[y, x][use]
    error = np.abs(linear_to_srgb(plain_white * level[use]) - shown) * 255
    assert np.median(error) < 1.5 and error.mean() < 4.5
    # The occlusion matters: without it the same comparison fails clearly.
    n = frame.normal[y, x][use].astype(np.float64)
    naive = linear_to_srgb(plain_white * np.maximum(sh_basis(n) @ light.sh, 0))
    assert np.abs(naive - shown).mean() * 255 > 1.8 * error.mean()


def test_transfer_agrees_with_rays_into_the_picture(
    posed_scene: Posed,
) -> None:
    """Order 2 against brute force: 1,024 rays into the environment picture itself, 8 % of the level."""
    person, scene, truth = posed_scene
    rng = np.random.default_rng(2)
    env = lights.sky(rng, height=48)
    pick = rng.choice(np.flatnonzero(truth.part > 0), 40, replace=False)
    at = uv_bake.surface_points(truth, scene.vertices)[pick]
    normals = uv_bake.vertex_normals(scene.vertices, person.faces)
    n = (normals[truth.vertices[pick]] * truth.bary[pick][..., None]).sum(1)
    n /= np.linalg.norm(n, axis=1, keepdims=True)
    d = lights.stage_directions(2048)
    row = np.clip(np.arccos(d[:, 1]) / np.pi * 48, 0, 47).astype(int)
    col = ((np.arctan2(d[:, 0], d[:, 2]) / (2 * np.pi) + 0.5) * 96).astype(int) % 96
    radiance = env.radiance[row, col]
    truth_level = []
    for p, m in zip(at, n):
        front = d @ m > 0
        hits = scene.cast(np.repeat((p + 0.004 * m)[None], front.sum(), 0), d[front], 3.0, lights.white())
        open_sky = hits.face < 0
        truth_level.append((radiance[front] * (d[front] @ m * open_sky)[:, None]).sum(0) * 4 / len(d))
    made = lights.relight(scene.transfer(at, n, rays=256), env.sh())
    truth_level = np.array(truth_level)
    assert np.abs(made - truth_level).mean() < 0.08 * truth_level.mean()


def test_transfer_in_the_texel_frame_moves_with_the_body() -> None:
    """Turning the whole person leaves the transfer of open texels unchanged in their own frame."""
    person = Person(plain(3))
    scene = uv_bake.layered_scene(person)
    truth = uv_bake.bake(person, scene, lights.white(), UV)
    still, gaze = np.zeros(52, np.float32), np.zeros((2, 2))
    maps = []
    for turn in (0.0, 1.2):
        pose = np.zeros((55, 3))
        pose[0, 1] = turn
        scene.pose(person.posed(pose, np.zeros(3), still, gaze))
        rotations = uv_bake.texel_rotations(person, pose, gaze, UV)
        maps.append(uv_bake.transfer(person, truth, scene, UV, rays=256, rotations=rotations).astype(float))
    assert np.abs(maps[0] - maps[1]).mean() < 0.02
    assert np.abs(maps[0]).max() < 4


def test_point_lights_fall_off_and_cast_shadows() -> None:
    scene = ball_scene(np.full((4, 4, 3), 255, np.uint8))
    dark = np.zeros((9, 3), np.float32)
    levels = []
    for place in np.array([[0, 0, 1.5], [0, 0, 3.0], [0, 2.0, 0]], np.float32):
        off = np.zeros(3, np.float32)
        lamp = Light(dark, off, off, points=((place, np.ones(3, np.float32)),))
        frame = scene.render(K, VIEW, 128, 128, lamp)
        levels.append(frame.color[64, 64, 0])
    assert frame.color[frame.coverage > 0].min() == 0 and frame.color.max() > 0.2, "the far side stays dark"
    assert levels[0] == pytest.approx(1.0, rel=0.02) and levels[1] == pytest.approx(1 / 6.25, rel=0.02)


def test_one_light_at_a_time_adds_up() -> None:
    """Light is linear: a group of lamps is the sum of its lamps."""
    scene = ball_scene(GREY)
    group = lights.light_group(np.random.default_rng(3), lamps=4)
    together = scene.render(K, VIEW, 48, 48, group).color
    single = [(group.direction, group.rgb), *group.beams]
    parts = [scene.render(K, VIEW, 48, 48, Light(group.sh, d, c)).color for d, c in single]
    np.testing.assert_allclose(together, np.sum(parts, 0), atol=1e-5)
    assert np.abs(lights.stage_directions().mean(0)).max() < 0.02


def test_light_stays_natural() -> None:
    """Neither green nor purple, neither dark nor glowing, over many draws."""
    n = lights.stage_directions(100)
    for seed in range(120):
        light = lights.sample_light(np.random.default_rng(seed))
        level = (
            np.maximum(sh_basis(n) @ light.sh, 0) + np.clip(n @ light.direction, 0, None)[:, None] * light.rgb
        )
        mean = level.mean(0)
        tint = mean[1] / np.sqrt(mean[0] * mean[2])
        assert 0.75 < tint < 1.3, seed
        assert 0.15 < mean.mean() < 1.0 and level.max() < 2.5, seed
