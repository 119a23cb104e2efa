"""The ray caster against closed forms: sphere depth, coverage, Lambert, cut-outs, shadows, camera shift."""

from __future__ import annotations

import numpy as np
import pytest

from lca.errors import InvalidInputError
from lca_core.data.render import Light, Scene, Textures, linear_to_srgb, sh_basis, srgb_to_linear

VIEW = np.diag([1.0, -1.0, -1.0, 1.0])
VIEW[2, 3] = 2.0
K = np.array([[150.0, 0, 64], [0, 150.0, 64], [0, 0, 1]])


def ball(rows: int = 48) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sphere of radius 0.5: vertices, outward faces, corner uvs (v = 1 at +Y)."""
    theta = np.linspace(0, np.pi, rows + 1)[:, None]
    phi = np.linspace(0, 2 * np.pi, 2 * rows + 1)[None]
    v = np.stack(
        np.broadcast_arrays(np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)), -1
    )
    uv = np.stack(np.broadcast_arrays(phi / (2 * np.pi), 1 - theta / np.pi), -1)
    n = 2 * rows + 1
    i = (np.arange(rows)[:, None] * n + np.arange(2 * rows)).ravel()
    faces = np.concatenate([np.stack([i, i + n, i + n + 1], 1), np.stack([i, i + n + 1, i + 1], 1)])
    return v.reshape(-1, 3) * 0.5, faces, uv.reshape(-1, 2)[faces]


def ball_scene(texture: np.ndarray) -> Scene:
    v, f, uv = ball()
    scene = Scene(f, uv, np.zeros(len(f)), np.full(len(f), 7), Textures([texture]))
    scene.pose(v)
    return scene


GREY = np.full((8, 8, 3), 180, np.uint8)


def test_sphere_depth_normal_and_coverage(white: Light) -> None:
    frame = ball_scene(GREY).render(K, VIEW, 128, 128, white, samples=3)
    assert frame.depth[64, 64] == pytest.approx(1.5, abs=2e-3)
    assert frame.normal[64, 64] @ [0, 0, 1] > 0.999
    radius = 150 * 0.5 / np.sqrt(4 - 0.25)
    assert frame.coverage.sum() == pytest.approx(np.pi * radius**2, rel=0.01)
    assert set(np.unique(frame.part)) == {0, 7}


def test_v_points_up(white: Light) -> None:
    texture = np.zeros((32, 32, 3), np.uint8)
    texture[:16] = (255, 0, 0)
    texture[16:] = (0, 0, 255)
    image = ball_scene(texture).render(K, VIEW, 128, 128, white).composite()
    assert image[44, 64, 0] > 250 and image[84, 64, 2] > 250


def test_shading_is_lambert() -> None:
    rng = np.random.default_rng(0)
    sh = np.zeros((9, 3), np.float32)
    sh[0], sh[1:] = 2.0, rng.normal(0, 0.1, (8, 3))
    direction = np.array([0.3, 0.4, 1.0])
    direction /= np.linalg.norm(direction)
    light = Light(sh, direction.astype(np.float32), np.array([0.3, 0.2, 0.1], np.float32))
    frame = ball_scene(GREY).render(K, VIEW, 128, 128, light)
    n = frame.normal[64, 40:88].astype(np.float64)
    expected = sh_basis(n) @ sh + np.clip(n @ direction, 0, None)[:, None] * light.rgb
    albedo = srgb_to_linear(np.array(180 / 255))
    np.testing.assert_allclose(frame.color[64, 40:88], albedo * expected, rtol=2e-3)


def test_shifting_the_principal_point_shifts_the_image(white: Light) -> None:
    scene = ball_scene(np.random.default_rng(1).integers(0, 255, (16, 16, 3), np.uint8))
    shifted = K.copy()
    shifted[0, 2] += 11
    shifted[1, 2] -= 7
    a = scene.render(K, VIEW, 128, 128, white).color
    b = scene.render(shifted, VIEW, 128, 128, white).color
    np.testing.assert_allclose(np.roll(a, (-7, 11), (0, 1)), b, atol=2e-3)


def test_transparent_texels_let_rays_pass(white: Light) -> None:
    texture = np.full((32, 32, 4), 255, np.uint8)
    texture[:16, :, 3] = 0
    frame = ball_scene(texture).render(K, VIEW, 128, 128, white)
    # Above the equator the near side is cut out and the ray goes on through the open top.
    assert frame.coverage[40, 64] == 0 and frame.coverage[90, 64] == 1


def test_a_ball_shadows_the_floor() -> None:
    v, f, uv = ball(16)
    floor = np.array([[-3, -0.6, -3], [3, -0.6, -3], [3, -0.6, 3], [-3, -0.6, 3.0]])
    faces = np.concatenate([f, np.array([[0, 2, 1], [0, 3, 2]]) + len(v)])
    scene = Scene(
        faces,
        np.concatenate([uv, np.zeros((2, 3, 2))]),
        np.zeros(len(faces)),
        np.ones(len(faces)),
        Textures([GREY]),
    )
    scene.pose(np.concatenate([v, floor]))
    light = Light(np.zeros((9, 3), np.float32), np.array([0, 1, 0], np.float32), np.ones(3, np.float32))
    down = np.full((2, 3), [0, -1.0, 0])
    hits = scene.cast(np.array([[0, -0.55, 0], [2, -0.55, 0.0]]), down, 1.0, light)
    assert hits.lit[0].max() == 0 and hits.lit[1].min() > 0.3


def test_errors_and_round_trip(white: Light) -> None:
    _, f, uv = ball(8)
    with pytest.raises(InvalidInputError, match="face_uvs"):
        Scene(f, uv[:-1], np.zeros(len(f)), np.ones(len(f)), Textures([GREY]))
    with pytest.raises(InvalidInputError, match="pose"):
        Scene(f, uv, np.zeros(len(f)), np.ones(len(f)), Textures([GREY])).render(K, VIEW, 8, 8, white)
    x = np.linspace(0, 1, 50)
    np.testing.assert_allclose(srgb_to_linear(linear_to_srgb(x)), x, atol=1e-6)
