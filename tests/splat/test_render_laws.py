"""Laws of render(): determinism, invariances, batches, modes, threads, empty input and refusals."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from lca.errors import ExhaustedError, InvalidInputError, PreconditionError
from lca_core.splat import GaussianSet, look_at, render, render_image
from lca_core.splat import _numba as back_end

Scene = dict[str, Tensor]
WIDTH, HEIGHT = 45, 38


def single(scene: Scene) -> Scene:
    return {name: t.float() for name, t in scene.items()}


def gradients(scene: Scene, **options: object) -> list[Tensor]:
    inputs = {k: v.clone().requires_grad_(k != "Ks") for k, v in scene.items()}
    image, alphas, _ = render(**inputs, width=WIDTH, height=HEIGHT, **options)
    (image.square().sum() + alphas.sum()).backward()
    return [image.detach(), alphas.detach(), *(t.grad for t in inputs.values() if t.grad is not None)]


def test_repeat_is_bit_identical(smooth_scene: Callable[..., Scene]) -> None:
    scene = single(smooth_scene(n=200))
    for first, second in zip(gradients(scene), gradients(scene), strict=True):
        assert torch.equal(first, second)


THREADS = """
import hashlib, os, sys, torch
from lca_core.splat import _numba, render

def digest(tensors):
    bits = hashlib.sha256()
    for t in tensors:
        bits.update(t.detach().numpy().tobytes())
    return bits.hexdigest()

n = 13000
g = torch.Generator().manual_seed(5)
rand = lambda *s: torch.rand(*s, generator=g)
means = (rand(n, 3) - 0.5) * torch.tensor([2.0, 1.8, 1.0]) + torch.tensor([0, 0, 2.5])
inputs = [means, rand(n, 4) - 0.5, rand(n, 3) * 0.03 + 0.01, rand(n), rand(n, 3), torch.eye(4)[None]]
inputs = [t.requires_grad_() for t in inputs]
k = torch.tensor([[[90., 0, 50], [0, 90., 45], [0, 0, 1]]])
image, alphas, meta = render(*inputs, k, 100, 90, render_mode="RGB+D")
(image.square().sum() + alphas.sum()).backward()
print(digest([image, alphas, *(t.grad for t in inputs)]))
print(_numba.worker_count(int((meta["radii"] > 0).any(-1).sum()), _numba.GRAIN))
if hasattr(os, "fork"):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        with torch.no_grad():
            again = render(*inputs, k, 100, 90, render_mode="RGB+D")[0]
        os._exit(0 if torch.equal(again, image) else 1)
    print(os.waitpid(child, 0)[1])
"""


def test_same_bits_on_any_number_of_threads() -> None:
    """One and three threads give the same images and gradients; a forked child can render too."""
    results = []
    for threads in ("1", "3"):
        env = {**os.environ, "NUMBA_NUM_THREADS": threads, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", THREADS], capture_output=True, text=True, check=True, env=env, timeout=120
        )
        results.append(done.stdout.split())
    assert results[0][0] == results[1][0]
    assert results[0][1] == "1" and results[1][1] in ("2", "3")  # otherwise nothing was shared
    assert all(status == "0" for result in results for status in result[2:])


def test_order_of_gaussians_does_not_matter(smooth_scene: Callable[..., Scene]) -> None:
    scene = single(smooth_scene(n=100))
    shuffle = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    mixed = {k: v if k in ("viewmats", "Ks") else v[shuffle] for k, v in scene.items()}
    before, after = gradients(scene), gradients(mixed)
    assert torch.equal(before[0], after[0])
    torch.testing.assert_close(before[2][shuffle], after[2], rtol=1e-5, atol=1e-5)


def test_equal_depths_keep_the_given_order() -> None:
    """Ties are broken by index, so the first of two coincident Gaussians lies in front."""
    k = torch.tensor([[[20.0, 0.0, 8.0], [0.0, 20.0, 8.0], [0.0, 0.0, 1.0]]])
    means, quats = (
        torch.tensor([[0.0, 0.0, 2.0]]).repeat(2, 1),
        torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(2, 1),
    )
    image, _, _ = render(
        means,
        quats,
        torch.full((2, 3), 0.2),
        torch.full((2,), 0.9),
        torch.eye(3)[:2],
        torch.eye(4)[None],
        k,
        16,
        16,
    )
    assert float(image[0, 8, 8, 0]) > 5 * float(image[0, 8, 8, 1])


def test_rigid_motion_of_scene_and_camera(smooth_scene: Callable[..., Scene]) -> None:
    """Moving Gaussians (harmonics included) and camera together leaves the picture unchanged."""
    s = single(smooth_scene(n=60))
    sh = 0.3 * torch.randn(60, 16, 3, generator=torch.Generator().manual_seed(1))
    before = GaussianSet(s["means"], s["quats"], s["scales"], s["opacities"], sh)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2))).Q
    turn = turn * torch.linalg.det(turn)
    shift = torch.tensor([0.3, -2.0, 1.0])
    after = before.transformed(turn, shift)
    motion = torch.eye(4)
    motion[:3, :3], motion[:3, 3] = turn, shift
    view = s["viewmats"] @ torch.linalg.inv(motion)
    images = []
    for g, camera in ((before, s["viewmats"]), (after, view)):
        images.append(
            render(
                g.means, g.quats, g.scales, g.opacities, g.sh, camera, s["Ks"], WIDTH, HEIGHT,
                sh_degree=3, render_mode="RGB+D",
            )[0]
        )  # fmt: skip
    torch.testing.assert_close(images[0], images[1], atol=5e-4, rtol=1e-3)


def test_shifted_principal_point_crops_the_picture(smooth_scene: Callable[..., Scene]) -> None:
    """A window of the image is the image of the camera whose principal point moved: tiles leave no trace.

    Only Gaussians centred in the window take part: outside the field of view the clamp of x/z depends on
    the window.
    """
    s = single(smooth_scene(n=150))
    centres = render(**s, width=WIDTH, height=HEIGHT)[2]["means2d"][0]
    inside = ((centres > torch.tensor([5.0, 3.0])) & (centres < torch.tensor([34.0, 33.0]))).all(-1)
    assert int(inside.sum()) > 40
    s = {k: v if k in ("viewmats", "Ks") else v[inside] for k, v in s.items()}
    whole = render(**s, width=WIDTH, height=HEIGHT)[0]
    crop = {**s, "Ks": s["Ks"] - torch.tensor([[[0.0, 0.0, 5.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]]])}
    part = render(**crop, width=29, height=30)[0]
    torch.testing.assert_close(part, whole[:, 3:33, 5:34], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_batches_equal_single_calls(smooth_scene: Callable[..., Scene], lead: tuple[int, ...]) -> None:
    """[B..., C] in one call = one call per scene and camera, gradients included."""
    scenes = [single(smooth_scene(first_seed=300 * i)) for i in range(int(np.prod(lead)))]
    shift = torch.eye(4)
    shift[2, 3] = 0.4
    for s in scenes:
        s["viewmats"] = torch.cat([s["viewmats"], shift @ s["viewmats"]])
        s["Ks"] = s["Ks"].repeat(2, 1, 1)
    names = list(scenes[0])
    batch = {k: torch.stack([s[k] for s in scenes]).view(*lead, *scenes[0][k].shape) for k in names}
    together = gradients(batch, render_mode="RGB+D", rasterize_mode="antialiased")
    for i, s in enumerate(scenes):
        alone = gradients(s, render_mode="RGB+D", rasterize_mode="antialiased")
        for all_of_them, one in zip(together, alone, strict=True):
            torch.testing.assert_close(all_of_them.reshape(-1, *one.shape)[i], one, atol=1e-6, rtol=1e-5)
        first = {**s, "viewmats": s["viewmats"][:1], "Ks": s["Ks"][:1]}
        image = render(
            **first, width=WIDTH, height=HEIGHT, render_mode="RGB+D", rasterize_mode="antialiased"
        )[0]
        assert torch.equal(image[0], together[0].reshape(-1, 2, *image.shape[1:])[i, 0])


def test_colors_per_view(smooth_scene: Callable[..., Scene]) -> None:
    """[C, N, D] gives every camera its own colours."""
    s = single(smooth_scene())
    s["viewmats"], s["Ks"] = s["viewmats"].repeat(2, 1, 1), s["Ks"].repeat(2, 1, 1)
    per_view = torch.stack([s["colors"], 1 - s["colors"]])
    image = render(**{**s, "colors": per_view}, width=WIDTH, height=HEIGHT)[0]
    for c in range(2):
        one = {**s, "colors": per_view[c], "viewmats": s["viewmats"][:1], "Ks": s["Ks"][:1]}
        assert torch.equal(image[c], render(**one, width=WIDTH, height=HEIGHT)[0][0])


def test_modes_are_parts_of_one_picture(smooth_scene: Callable[..., Scene]) -> None:
    s = single(smooth_scene())
    pictures = {
        m: render(**s, width=WIDTH, height=HEIGHT, render_mode=m)
        for m in ("RGB", "D", "ED", "RGB+D", "RGB+ED")
    }
    both, alphas, _ = pictures["RGB+D"]
    torch.testing.assert_close(pictures["RGB"][0], both[..., :3])
    torch.testing.assert_close(pictures["D"][0], both[..., 3:])
    torch.testing.assert_close(pictures["ED"][0], both[..., 3:] / alphas.clamp(min=1e-10))
    torch.testing.assert_close(pictures["RGB+ED"][0][..., 3:], pictures["ED"][0])
    seen = alphas[..., 0] > 0.5
    near, far = pictures["ED"][2]["depths"].min(), pictures["ED"][2]["depths"].max()
    expected = pictures["ED"][0][..., 0][seen]
    assert bool(seen.any()) and bool((expected >= near - 1e-4).all()) and bool((expected <= far + 1e-4).all())


def test_backgrounds_show_where_nothing_is(smooth_scene: Callable[..., Scene]) -> None:
    s = single(smooth_scene())
    behind = torch.tensor([[0.1, 0.7, 0.3]])
    image, alphas, _ = render(**s, width=WIDTH, height=HEIGHT, backgrounds=behind)
    plain = render(**s, width=WIDTH, height=HEIGHT)[0]
    torch.testing.assert_close(image, plain + (1 - alphas) * behind[0])


def test_concurrent_calls_do_not_meet(smooth_scene: Callable[..., Scene]) -> None:
    scenes = [single(smooth_scene(first_seed=300 * i, n=120)) for i in range(4)]
    alone = [gradients(s) for s in scenes]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: gradients(scenes[i % 4]), range(16)))
    for i, results in enumerate(together):
        assert all(torch.equal(a, b) for a, b in zip(results, alone[i % 4], strict=True))


def test_culled_gaussians_change_nothing(smooth_scene: Callable[..., Scene]) -> None:
    """Behind the camera, too near, out of view, transparent, no rotation, absurdly large: zero gradient."""
    s = single(smooth_scene())
    n = s["means"].shape[0]
    bad = {
        "means": [
            [0, 0, -3.0],
            [0, 0, -0.1999],
            [60.0, 0, 2],
            [0, 0, 2],
            [3e38, 0, 2],
            [0, 0, 2],
            [0, 0, 2],
        ],
        "quats": [[1.0, 0, 0, 0]] * 5 + [[0.0, 0, 0, 0], [1.0, 0, 0, 0]],
        "scales": [[0.1, 0.1, 0.1]] * 6 + [[3e38, 0.1, 0.1]],
        "opacities": [0.5, 0.5, 0.5, 0.003, 0.5, 0.5, 0.5],
        "colors": [[1.0, 1.0, 1.0]] * 7,
    }
    more = {k: torch.cat([v, torch.tensor(bad[k])]) if k in bad else v for k, v in s.items()}
    _, _, meta = render(**more, width=WIDTH, height=HEIGHT)
    assert int(meta["radii"][0, n:].abs().max()) == 0
    for k, (few, many) in enumerate(zip(gradients(s), gradients(more), strict=True)):
        if many.shape == few.shape:
            torch.testing.assert_close(few, many, rtol=1e-6, atol=1e-6)
        else:
            assert torch.equal(few, many[:n]), k
            assert float(many[n:].abs().max()) == 0, k


def test_opacity_zero_is_nothing(smooth_scene: Callable[..., Scene]) -> None:
    """A copy of the scene with opacity 0 inside it changes no bit and gets no gradient, in every back end."""
    s = single(smooth_scene())
    ghosts = {k: v if k in ("viewmats", "Ks") else torch.cat([v, v]) for k, v in s.items()}
    ghosts["opacities"] = torch.cat([s["opacities"], torch.zeros_like(s["opacities"])])
    n = s["means"].shape[0]
    for backend in ("numba", "torch"):
        for few, many in zip(gradients(s, backend=backend), gradients(ghosts, backend=backend), strict=True):
            assert torch.equal(few, many if many.shape == few.shape else many[:n])
            assert many.shape == few.shape or float(many[n:].abs().max()) == 0


def test_near_far_and_radius_clip(smooth_scene: Callable[..., Scene]) -> None:
    s = single(smooth_scene())
    _, _, meta = render(**s, width=WIDTH, height=HEIGHT)
    depths, radii = meta["depths"][0], meta["radii"][0]
    middle, size = float(depths.median()), float(radii.amax(-1).float().median())
    cut = render(**s, width=WIDTH, height=HEIGHT, near_plane=middle)[2]["radii"][0]
    assert torch.equal((cut > 0).any(-1), (radii > 0).any(-1) & (depths >= middle))
    cut = render(**s, width=WIDTH, height=HEIGHT, far_plane=middle)[2]["radii"][0]
    assert torch.equal((cut > 0).any(-1), (radii > 0).any(-1) & (depths <= middle))
    cut = render(**s, width=WIDTH, height=HEIGHT, radius_clip=size)[2]["radii"][0]
    assert torch.equal((cut > 0).any(-1), radii.amax(-1) > size)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_nothing_to_see(smooth_scene: Callable[..., Scene], backend: str) -> None:
    s = single(smooth_scene())
    empty = {k: v if k in ("viewmats", "Ks") else v[:0] for k, v in s.items()}
    behind = {**s, "means": s["means"] - torch.tensor([0.0, 0.0, 20.0])}
    for scene in (empty, behind):
        results = gradients(scene, backend=backend, render_mode="RGB+ED", backgrounds=torch.full((1, 3), 0.5))
        assert bool((results[0][..., :3] == 0.5).all()) and bool((results[0][..., 3] == 0).all())
        assert all(float(t.abs().sum()) == 0 for t in results[1:])


def test_one_huge_gaussian_fills_the_picture() -> None:
    k = torch.tensor([[[40.0, 0.0, 20.0], [0.0, 40.0, 20.0], [0.0, 0.0, 1.0]]])
    _, alphas, _ = render(
        torch.tensor([[0.0, 0.0, 2.0]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.full((1, 3), 1e6),
        torch.tensor([0.7]), torch.ones(1, 3), torch.eye(4)[None], k, 40, 40,
    )  # fmt: skip
    torch.testing.assert_close(alphas, torch.full_like(alphas, 0.7), atol=1e-4, rtol=0)


def test_double_input_is_accepted_and_keeps_its_gradient_dtype(smooth_scene: Callable[..., Scene]) -> None:
    scene = smooth_scene()
    means = scene["means"].clone().requires_grad_()
    image, _, _ = render(**{**scene, "means": means}, width=WIDTH, height=HEIGHT)
    image.sum().backward()
    assert image.dtype == torch.float32 and means.grad is not None and means.grad.dtype == torch.float64


def test_render_image_is_upright_and_coloured() -> None:
    """A red Gaussian up and to the person's left, seen from the front: upper right corner of the picture."""
    g = GaussianSet.from_colors(
        torch.tensor([[0.3, 0.3, 0.0]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.full((1, 3), 0.05),
        torch.tensor([0.999]), torch.tensor([[1.0, 0.0, 0.0]]),
    )  # fmt: skip
    k = torch.tensor([[64.0, 0.0, 32.0], [0.0, 64.0, 32.0], [0.0, 0.0, 1.0]])
    picture = render_image(g, look_at((0, 0, 2), (0, 0, 0)), k, 64, 64, background=(0.0, 0.0, 1.0))
    assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
    row, column = np.unravel_index(int(picture[..., 0].argmax()), (64, 64))
    assert row < 28 and column > 36 and picture[row, column, 0] > 240
    assert picture[60, 4].tolist() == [0, 0, 255]


BAD = {
    "means": lambda t: t[:, :2],
    "quats": lambda t: t[:, :3],
    "scales": lambda t: t[:-1],
    "opacities": lambda t: t[:, None],
    "colors": lambda t: t[:-1],
    "viewmats": lambda t: t[:, :3],
    "Ks": lambda t: t.repeat(2, 1, 1),
}


@pytest.mark.parametrize("name", list(BAD))
def test_wrong_shapes_are_refused_by_name(smooth_scene: Callable[..., Scene], name: str) -> None:
    scene = single(smooth_scene())
    with pytest.raises(InvalidInputError, match=name):
        render(**{**scene, name: BAD[name](scene[name])}, width=WIDTH, height=HEIGHT)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"render_mode": "XYZ"}, "render_mode"),
        ({"rasterize_mode": "soft"}, "rasterize_mode"),
        ({"backend": "cpu"}, "backend"),
        ({"width": 0}, "image size"),
        ({"near_plane": 0.0}, "near_plane"),
        ({"sh_degree": 2}, "colors"),
        ({"backgrounds": torch.zeros(3)}, "backgrounds"),
        ({"backend": "torch", "width": 65}, "oracle"),
    ],
)
def test_wrong_options_are_refused(
    smooth_scene: Callable[..., Scene], options: dict[str, object], words: str
) -> None:
    scene = single(smooth_scene())
    with pytest.raises(InvalidInputError, match=words):
        render(**{**scene, "width": WIDTH, "height": HEIGHT, **options})


def test_too_few_harmonics_and_integers_are_refused(smooth_scene: Callable[..., Scene]) -> None:
    scene = single(smooth_scene())
    with pytest.raises(InvalidInputError, match="16 SH coefficients"):
        render(**{**scene, "colors": torch.zeros(40, 4, 3)}, width=WIDTH, height=HEIGHT, sh_degree=3)
    with pytest.raises(InvalidInputError, match="opacities"):
        render(**{**scene, "opacities": torch.ones(40, dtype=torch.int64)}, width=WIDTH, height=HEIGHT)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["means", "quats", "scales", "opacities", "colors", "viewmats", "Ks"])
def test_what_is_not_finite_is_refused_by_name(
    smooth_scene: Callable[..., Scene], name: str, value: float
) -> None:
    scene = single(smooth_scene())
    scene[name] = scene[name].clone()
    scene[name].view(-1)[-1] = value
    for backend in ("numba", "torch"):
        with pytest.raises(InvalidInputError, match=f"{name} holds NaN"):
            render(**scene, width=WIDTH, height=HEIGHT, backend=backend)


def test_large_finite_values_are_not_taken_for_infinity(smooth_scene: Callable[..., Scene]) -> None:
    """Their sum overflows, they do not."""
    scene = single(smooth_scene())
    scene["colors"] = torch.full_like(scene["colors"], 3e38)
    image, alphas, _ = render(**scene, width=WIDTH, height=HEIGHT)
    torch.testing.assert_close(image, 3e38 * alphas.expand_as(image), rtol=1e-4, atol=0)


def test_gsplat_without_cuda_is_refused(smooth_scene: Callable[..., Scene]) -> None:
    with pytest.raises(PreconditionError, match="CUDA"):
        render(**single(smooth_scene()), width=WIDTH, height=HEIGHT, backend="gsplat")


def test_absurd_scenes_are_refused(
    smooth_scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(back_end, "MAX_ENTRIES", 10)
    with pytest.raises(ExhaustedError, match="metres"):
        render(**single(smooth_scene()), width=WIDTH, height=HEIGHT)
