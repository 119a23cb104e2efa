"""Laws of light: pictures read as written, energy, rotation, and what the wire carries."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from lca.errors import InvalidInputError
from lca_core.relight import environment as env
from lca_core.relight import estimate
from lca_core.relight.hdr import read_picture, write_rgbe
from lca_core.relight.light import BANDS, Illumination
from lca_core.relight.shade import CLOTH, EYE, SHEEN, SKIN, Relighter, quadratic
from lca_core.relight.transfer import occluded, seen_from, sphere, unoccluded
from lca_core.splat import GaussianSet
from lca_core.splat.harmonics import C0, sh_basis

IDENTITY = np.array([1.0, 0, 0, 0])


def facing(normals: np.ndarray) -> np.ndarray:
    """Unit quaternions (N,4) that turn +Z to the normals."""
    z = np.array([0, 0, 1.0])
    w = 1 + normals @ z
    quats = np.concatenate([w[:, None], np.cross(np.broadcast_to(z, normals.shape), normals)], 1)
    quats[w < 1e-6] = (0, 1, 0, 0)
    return quats / np.linalg.norm(quats, axis=1, keepdims=True)


def cloud(quats: np.ndarray, spread: float = 0.0) -> GaussianSet:
    n = len(quats)
    means = np.random.default_rng(0).normal(0, spread, (n, 3)) if spread else np.zeros((n, 3))
    as_tensor = [torch.from_numpy(np.asarray(a, np.float32)) for a in (means, quats)]
    return GaussianSet(*as_tensor, torch.full((n, 3), 0.01), torch.zeros(n), torch.zeros(n, 1, 3))


def leaving(gaussians: GaussianSet) -> np.ndarray:
    """Linear light (N,3) of a relit set."""
    shown = 0.5 + C0 * gaussians.sh[:, 0].double().numpy()
    return np.where(shown <= 0.04045, shown / 12.92, ((np.maximum(shown, 0.04045) + 0.055) / 1.055) ** 2.4)


def shaded(
    environment: env.Environment, normals: np.ndarray, eye: object = None, albedo: float = 1.0, **kw: object
):
    quats = facing(normals)
    relighter = Relighter(np.full((len(quats), 3), albedo), unoccluded(normals), quats, **kw)  # type: ignore[arg-type]
    return leaving(relighter.apply(cloud(quats), Illumination.of(environment), eye))  # type: ignore[arg-type]


def uniform(level: float = 1.0) -> env.Environment:
    return env.Environment(np.full((16, 32, 3), level))


def test_basis_is_the_renderers():
    d = sphere(50)
    assert np.allclose(env.sh_basis(d), sh_basis(2, torch.from_numpy(d)).numpy(), atol=1e-6)


def test_texels_cover_the_sphere_and_shrinking_keeps_a_constant():
    d, area = env.directions(16)
    assert area.sum() == pytest.approx(4 * np.pi) and np.allclose(np.linalg.norm(d, axis=-1), 1)
    assert np.allclose(env.shrink(np.full((50, 100, 3), 0.7), 16), 0.7)


@pytest.mark.parametrize("width", [4, 64])
def test_radiance_pictures_come_back(tmp_path, width):
    picture = np.random.default_rng(0).gamma(0.5, 3, (width // 2, width, 3))
    picture[0, 0] = 0
    write_rgbe(tmp_path / "a.hdr", picture)
    back = read_picture(tmp_path / "a.hdr")
    assert np.all(np.abs(back - picture) <= picture.max(-1, keepdims=True) / 100 + 1e-9)


def test_run_lengths_of_radiance_are_read(tmp_path):
    line = b"\x02\x02\x00\x08" + b"".join(
        bytes([136, v]) if c != 1 else bytes([3, 1, 2, 3, 133, v]) for c, v in enumerate((64, 128, 32, 129))
    )
    head = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\nEXPOSURE=1\n\n-Y 1 +X 8\n"
    (tmp_path / "a.hdr").write_bytes(head + line)
    got = read_picture(tmp_path / "a.hdr")
    assert np.allclose(got[0, :, 0], 0.5) and np.allclose(got[0, :, 2], 0.25)
    assert np.allclose(got[0, :, 1], np.array([1, 2, 3, 128, 128, 128, 128, 128]) / 128)


@pytest.mark.parametrize("content", [b"", b"#?RADIANCE\n\n-Y 4 +X 8\nxx", b"#?RADIANCE\n\n+X 8 -Y 4\n",
                                     b"#?RADIANCE\n\n-Y 999999 +X 999999\n"])  # fmt: skip
def test_damaged_light_is_refused(tmp_path, content):
    (tmp_path / "a.hdr").write_bytes(content)
    with pytest.raises(InvalidInputError) as caught:
        env.Environment.read(tmp_path / "a.hdr")
    assert caught.value.reason == "LIGHT_UNREADABLE"


def test_openexr_through_ffmpeg(tmp_path):
    av = pytest.importorskip("av")
    picture = np.random.default_rng(0).gamma(0.5, 3, (8, 16, 3)).astype(np.float32)
    try:
        encoder = av.CodecContext.create("exr", "w")
    except av.FFmpegError:
        pytest.skip("FFmpeg without OpenEXR")
    encoder.width, encoder.height, encoder.pix_fmt = 16, 8, "gbrpf32le"
    encoder.time_base = Fraction(1)
    frame = av.VideoFrame(16, 8, "gbrpf32le")
    for plane, channel in zip(frame.planes, (1, 2, 0), strict=True):
        rows = np.zeros((8, plane.line_size // 4), np.float32)
        rows[:, :16] = picture[..., channel]
        plane.update(rows.tobytes())
    data = b"".join(bytes(p) for p in encoder.encode(frame)) or b"".join(
        bytes(p) for p in encoder.encode(None)
    )
    (tmp_path / "a.exr").write_bytes(data)
    assert np.allclose(read_picture(tmp_path / "a.exr"), picture, rtol=2e-3)
    (tmp_path / "b.exr").write_bytes(data[:40])
    with pytest.raises(InvalidInputError):
        read_picture(tmp_path / "b.exr")


def test_white_furnace_neither_adds_nor_loses_diffuse_light():
    assert np.allclose(shaded(uniform(), sphere(40)), 1.0, atol=2e-3)


@pytest.mark.parametrize("row", [EYE, SKIN, CLOTH])
def test_no_more_light_leaves_than_arrives(row):
    normals = sphere(60)
    kind = np.full(60, row)
    for eye in (np.array([0, 0, 2.0]), np.array([1.5, 1, -1])):
        assert shaded(uniform(), normals, eye, gloss=kind).max() <= 1 + 2e-3
    for name in env.MADE:
        e = env.made(name)
        bare = env.Environment(e.radiance)
        most = Illumination.of(bare).ceiling
        assert np.all(shaded(bare, normals) <= most * 1.002 + 1e-4), name


@pytest.mark.parametrize("row", [EYE, SKIN, CLOTH])
@pytest.mark.parametrize("angle", [5, 40, 70, 85])
def test_a_lamp_is_not_amplified_over_all_views(row, angle):
    """Integral over the views of what a white surface returns of a lamp, against what falls on it."""
    a = np.radians(angle)
    lamp = env.directional((np.sin(a), 0, np.cos(a)), (1, 1, 1))
    light = Illumination.of(env.Environment(np.zeros((16, 32, 3)), (lamp,)))
    views = sphere(6000)
    views = views[views[:, 2] > 0.02]
    # One Gaussian per view: all look along +Z and stand where the camera is in the direction of the view.
    quats = np.tile(IDENTITY, (len(views), 1))
    relighter = Relighter(np.ones((len(views), 3)), unoccluded(np.tile([0, 0, 1.0], (len(views), 1))), quats,
                          np.full(len(views), row))  # fmt: skip
    placed = cloud(quats)
    placed.means[:] = torch.from_numpy(-5 * views.astype(np.float32))
    out = leaving(relighter.apply(placed, light, np.zeros(3)))[:, 0]
    # leaving = pi L_out / E for rgb 1; the mean over views of L cos must not exceed the lamp's own cos.
    total = (out * views[:, 2]).sum() * (4 * np.pi / 6000) / np.pi
    assert 0.3 * np.cos(a) < total <= np.cos(a) * 1.01


def test_sh_shading_agrees_with_integration():
    environment = env.made("overcast")
    normals = sphere(30)
    d, area = env.directions(len(environment.radiance))
    cosine = np.maximum(np.einsum("nk,hwk->nhw", normals, d), 0)
    exact = np.einsum("nhw,hwc,hw->nc", cosine, environment.radiance, area) / np.pi
    got = shaded(environment, normals, albedo=0.5)
    assert np.abs(got - 0.5 * exact).max() < 0.02 * exact.max()


def test_turning_body_and_light_together_changes_nothing():
    normals = sphere(80)
    rest = facing(normals)
    rng = np.random.default_rng(1)
    transfer = unoccluded(normals) + rng.normal(0, 0.05, (80, 9)).astype(np.float32)
    relighter = Relighter(rng.uniform(0.2, 0.8, (80, 3)), transfer, rest)
    environment = env.Environment(env.shrink(env.made("window").radiance, 64))
    before = leaving(relighter.apply(cloud(rest), Illumination.of(environment)))
    half = np.radians(90) / 2
    turn = np.array([np.cos(half), 0, np.sin(half), 0])
    w, v = turn[0], turn[1:]
    turned = np.concatenate(
        [(w * rest[:, 0] - rest[:, 1:] @ v)[:, None],
         w * rest[:, 1:] + rest[:, :1] * v + np.cross(v, rest[:, 1:])], 1
    )  # fmt: skip
    after = leaving(relighter.apply(cloud(turned), Illumination.of(environment.turned(90))))
    assert np.allclose(before, after, atol=2e-4)
    still = leaving(relighter.apply(cloud(rest), Illumination.of(environment.turned(90))))
    assert np.abs(still - before).max() > 0.05


def test_a_turning_light_is_smooth_and_closes():
    """No frame of a full turn steps more than its neighbours, and the last meets the first."""
    normals, eye = sphere(120), np.array([0, 0, 3.0])
    for name in ("studio", "sunset"):
        environment = env.made(name)
        frames = [shaded(environment.turned(angle), normals, eye, 0.6) for angle in range(0, 361, 5)]
        shown = np.stack(frames) / np.max(frames)
        steps = np.abs(np.diff(shown, axis=0)).max((1, 2))
        assert np.allclose(shown[0], shown[-1], atol=1e-5)
        assert steps.max() < 0.12, name
        assert np.abs(np.diff(shown, 2, axis=0)).mean() < 0.006, name


def test_the_inner_product_of_the_quadratic_form():
    a, b = np.random.default_rng(0).normal(size=(2, 9))
    weights = np.array([1] * 7 + [2] * 3)
    assert (quadratic(a) * quadratic(b) * weights).sum() == pytest.approx(a @ b, abs=1e-5)


def test_a_sun_becomes_a_lamp_and_no_light_is_lost():
    d, _ = env.directions(64)
    towards = np.array([0.6, 0.64, 0.48])
    picture = 0.2 + 400.0 * (d @ towards > np.cos(np.radians(3)))[..., None] * np.ones(3)
    whole = env.Environment(picture)
    split = whole.split()
    assert len(split.lamps) == 1 and split.lamps[0].at @ towards > 0.999
    assert np.allclose(split.mean(), whole.mean(), rtol=1e-3)
    assert np.allclose(split.turned(360).lamps[0].at, split.lamps[0].at)
    assert not uniform().split().lamps


def test_point_light_falls_off_with_the_square():
    def at(distance: float) -> float:
        lamp = env.point((0, 0, distance), (0.2, 0.2, 0.2))
        return float(shaded(env.Environment(np.zeros((8, 16, 3)), (lamp,)), np.array([[0, 0, 1.0]]))[0, 0])

    assert at(1) == pytest.approx(0.2, rel=2e-3) and at(1) / at(2) == pytest.approx(4, rel=0.02)
    with pytest.raises(InvalidInputError):
        env.point((0, 0, 1), (-1, 0, 0))


def wall(side: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """A floor of points and a lid 0.3 m above one half of it."""
    g = np.linspace(-0.5, 0.5, side)
    x, z = (a.ravel() for a in np.meshgrid(g, g))
    floor = np.stack([x, np.zeros_like(x), z], 1)
    lid = floor[x > 0] + [0, 0.3, 0]
    points = np.concatenate([floor, lid])
    normals = np.tile([0, 1.0, 0], (len(points), 1))
    return points, normals


def test_shadows_fall_under_what_is_above_only():
    points, normals = wall()
    seen = seen_from(points, normals, np.ones(len(points)), np.array([0, 1.0, 0]), 0.03)
    floor = points[:, 1] == 0
    assert seen[floor & (points[:, 0] > 0.06)].mean() < 0.05
    assert seen[floor & (points[:, 0] < -0.06)].min() > 0.95 and seen[~floor].min() > 0.95
    through = seen_from(points, normals, np.where(floor, 1, 0.1), np.array([0, 1.0, 0]), 0.03)
    assert through.min() > 0.95


def test_occlusion_agrees_with_integration():
    """Under a lid that covers x in [0, .5]: against 40,000 rays."""
    points, normals = wall(100)
    pick = np.array(
        [np.argmin(np.abs(points - p).sum(1)) for p in ([0.25, 0, 0], [-0.05, 0, 0], [-0.4, 0, 0])]
    )
    got = occluded(points, normals, np.ones(len(points)), 256)[pick]
    rays = sphere(40000)
    rays = rays[rays[:, 1] > 0.01]
    for at, transfer in zip(points[pick], got, strict=True):
        hit = at + rays * (0.3 / rays[:, 1:2])
        free = ~((hit[:, 0] > 0) & (hit[:, 0] < 0.5) & (np.abs(hit[:, 2]) < 0.5))
        want = (env.sh_basis(rays) * (rays[:, 1] * free)[:, None]).sum(0) * 4 * np.pi / 40000
        assert np.abs(transfer - want).max() < 0.1


def dressed(rng: np.random.Generator, light: np.ndarray) -> estimate.Cells:
    """A person of three plain colours in a light (9,3): every cell of the chart, normals all round."""
    index = np.arange(estimate.GRID**2)
    transfer = unoccluded(sphere(len(index))[rng.permutation(len(index))])
    palette = np.array([[0.45, 0.3, 0.22], [0.12, 0.14, 0.2], [0.35, 0.35, 0.33]])
    albedo = palette[index * 3 // len(index)]
    shown = np.clip(albedo * estimate.shading(transfer, light), 0, 1)
    return estimate.Cells(index, shown.astype(np.float32), transfer)


def tinted(kelvin_like: np.ndarray, side: float = 0.0) -> np.ndarray:
    light = estimate.usual_light().astype(np.float64) * kelvin_like
    light[3] = -side * light[0]
    return light


def test_the_estimate_follows_tint_strength_and_side_of_the_light():
    """Of two photographs of one person the redder, the brighter, the one lit from the left is told apart."""
    rng = np.random.default_rng(0)
    estimator = estimate.load_estimator()

    def found(light: np.ndarray) -> np.ndarray:
        return estimator(dressed(np.random.default_rng(0), light))

    warm, cold = found(tinted(np.array([1.2, 1, 0.7]))), found(tinted(np.array([0.85, 1, 1.2])))
    assert warm[0, 0] / warm[0, 2] > 1.25 * cold[0, 0] / cold[0, 2]
    assert found(tinted(np.ones(3) * 1.3))[0].mean() > 1.15 * found(tinted(np.ones(3) * 0.8))[0].mean()
    left, right = found(tinted(np.ones(3), 0.3)), found(tinted(np.ones(3), -0.3))
    assert left[3].mean() < right[3].mean() - 0.2 * left[0].mean()
    few = dressed(rng, tinted(np.ones(3)))
    few = estimate.Cells(few.index[:50], few.colors[:50], few.transfer[:50])
    assert np.array_equal(estimator(few), estimate.usual_light())


def test_cells_hold_weighted_means():
    texel = np.array([[0, 0], [1, 1], [200, 7]])
    colors = np.array([[0.2, 0.2, 0.2], [0.8, 0.8, 0.8], [0.5, 0.1, 0.3]])
    cells = estimate.by_cell(texel, 256, colors, np.ones((3, 9)), np.array([3.0, 1.0, 2.0]))
    assert cells.index.tolist() == [0, 50 * estimate.GRID + 1]
    assert np.allclose(cells.colors, [[0.35] * 3, colors[2]], atol=1e-6)


def test_other_weights_are_refused(tmp_path):
    with pytest.raises(InvalidInputError):
        estimate.LightEstimator({"cells": np.arange(4)})
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    with pytest.raises(InvalidInputError):
        estimate.load_estimator(tmp_path / "x.safetensors")


def test_lights_of_pose_frames():
    environment = env.made("club")
    full = Illumination.of(environment)
    sent = Illumination.of_frame(full.frame_light())
    assert np.allclose(sent.sh, full.sh) and sent.lobes is None
    white = np.zeros((9, 3))
    white[0] = 1 / C0
    assert np.allclose(Illumination.of_frame(white).ceiling, 1, atol=1e-5)
    assert BANDS[0] == np.pi and SHEEN.max() < 1
    with pytest.raises(InvalidInputError):
        Illumination.of_frame(np.full((9, 3), np.nan))
    with pytest.raises(InvalidInputError):
        env.made("nowhere")
