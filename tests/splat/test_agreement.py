"""The numba back end against the float64 oracle: images and every gradient, without cut crossings."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lca_core.splat import render
from lca_core.splat._torch import rotation_matrices

Scene = dict[str, Tensor]
WIDTH, HEIGHT = 45, 38


def run(scene: Scene, backend: str, **options: object) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Outputs and gradients (of a fixed random linear functional of image and alpha), all float64."""
    inputs = {name: t.clone().requires_grad_() for name, t in scene.items()}
    ks = inputs.pop("Ks").detach()
    image, alphas, meta = render(**inputs, Ks=ks, width=WIDTH, height=HEIGHT, backend=backend, **options)
    g = torch.Generator().manual_seed(9)
    weights = [torch.randn(t.shape, generator=g, dtype=torch.float64).to(t.dtype) for t in (image, alphas)]
    ((image * weights[0]).sum() + (alphas * weights[1]).sum()).backward()
    outputs = {"image": image, "alphas": alphas, "means2d": meta["means2d"], "depths": meta["depths"]}
    visible = (meta["radii"] > 0).any(-1)
    for name in ("means2d", "depths"):
        outputs[name] = outputs[name][visible]
    gradients = {name: t.grad for name, t in inputs.items() if t.grad is not None}
    return tuple({k: v.detach().double() for k, v in d.items()} for d in (outputs, gradients))  # type: ignore


def hold(scene: Scene, **options: object) -> None:
    outputs, gradients = run(scene, "numba", **options)
    expected, slopes = run(scene, "torch", **options)
    for name, value in expected.items():
        assert outputs[name].shape == value.shape
        torch.testing.assert_close(
            outputs[name], value, atol=2e-5, rtol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert gradients.keys() == slopes.keys()
    for name, slope in slopes.items():
        ours = gradients[name].flatten()
        norm = slope.norm()
        if norm == 0:
            assert ours.norm() == 0, name
            continue
        assert float((ours - slope.flatten()).norm() / norm) <= 1e-3, name
        assert float(torch.nn.functional.cosine_similarity(ours, slope.flatten(), dim=0)) >= 0.99999, name


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("render_mode", ["RGB", "D", "ED", "RGB+D", "RGB+ED"])
def test_every_mode(smooth_scene: Callable[..., Scene], render_mode: str, rasterize_mode: str) -> None:
    scene = smooth_scene(antialiased=rasterize_mode == "antialiased")
    hold(scene, render_mode=render_mode, rasterize_mode=rasterize_mode)


def test_every_gradient_exists(smooth_scene: Callable[..., Scene]) -> None:
    _, gradients = run(smooth_scene(), "numba", render_mode="RGB+D")
    assert set(gradients) == {"means", "quats", "scales", "opacities", "colors", "viewmats"}
    assert all(float(g.norm()) > 0 for g in gradients.values())


@pytest.mark.parametrize("features", [1, 2, 4, 7])
def test_any_number_of_features(smooth_scene: Callable[..., Scene], features: int) -> None:
    hold(smooth_scene(features=features), render_mode="RGB+D")


@pytest.mark.parametrize("degree", [0, 1, 3, 4])
def test_spherical_harmonics(smooth_scene: Callable[..., Scene], degree: int) -> None:
    scene = smooth_scene()
    g = torch.Generator().manual_seed(degree)
    count = scene["means"].shape[0]
    scene["colors"] = 0.2 * torch.randn(count, (degree + 1) ** 2, 3, generator=g, dtype=torch.float64)
    hold(scene, sh_degree=degree)


def test_pixels_stop_before_the_last_gaussians(smooth_scene: Callable[..., Scene]) -> None:
    """Opaque scene: the exclusive stop at 1e-4 is reached, later Gaussians get no gradient there."""
    scene = smooth_scene(n=120, opacity=(0.9, 0.998))
    outputs, _ = run(scene, "torch")
    assert float(outputs["alphas"].max()) > 0.999
    hold(scene, render_mode="RGB+D")


def test_alpha_is_clamped(smooth_scene: Callable[..., Scene]) -> None:
    """Opacity 1 runs into the 0.999 clamp near centres; no gradient flows through it."""
    hold(smooth_scene(n=12, opacity=(1.0, 1.0)))


def test_backgrounds(smooth_scene: Callable[..., Scene]) -> None:
    hold(smooth_scene(), backgrounds=torch.tensor([[0.2, 0.9, 0.4]]), render_mode="RGB+D")


def test_gaussians_beyond_the_field_of_view(smooth_scene: Callable[..., Scene]) -> None:
    """Big Gaussians next to the image: the x/z and y/z clamp is active and passes no gradient."""
    scene = smooth_scene(n=6)
    scene["means"][:3, 0] = torch.tensor([2.6, -2.7, 2.9])
    scene["means"][:3, 1] = torch.tensor([1.9, 0.3, -2.1])
    scene["scales"][:3] = 0.7
    hold(scene, render_mode="RGB+D")


def test_thin_gaussians(smooth_scene: Callable[..., Scene]) -> None:
    """Needles 500 times longer than thick, where a determinant as a difference would lose its digits."""
    scene = smooth_scene(n=10)
    scene["scales"][:] = torch.tensor([0.5, 0.001, 0.001])
    hold(scene)
    hold(scene, rasterize_mode="antialiased")


def test_absolute_gradients(smooth_scene: Callable[..., Scene]) -> None:
    """absgrad = sum over pixels of the absolute gradient; the oracle takes it pixel by pixel."""
    scene = {k: v.clone() for k, v in smooth_scene(n=8).items()}
    size = 12
    scene["Ks"] = torch.tensor([[[11.0, 0.0, 6.0], [0.0, 11.0, 6.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    means = scene["means"].clone().requires_grad_()
    image, _, meta = render(
        **{**scene, "means": means}, width=size, height=size, absgrad=True, backend="numba"
    )
    meta["means2d"].retain_grad()
    image.sum().backward()
    exact = scene["means"].clone().requires_grad_()
    image, _, slow = render(**{**scene, "means": exact}, width=size, height=size, backend="torch")
    slow["means2d"].retain_grad()
    total, absolute = torch.zeros(1, 8, 2, dtype=torch.float64), torch.zeros(1, 8, 2, dtype=torch.float64)
    for pixel in image.sum(-1).flatten():
        slow["means2d"].grad = None
        pixel.backward(retain_graph=True)
        total += slow["means2d"].grad
        absolute += slow["means2d"].grad.abs()
    torch.testing.assert_close(meta["means2d"].grad.double(), total, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(meta["means2d"].absgrad.double(), absolute, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(means.grad.double(), exact.grad, atol=1e-3, rtol=1e-3)


STEP = 1e-7


@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("name", ["means", "quats", "scales", "opacities", "colors", "viewmats"])
def test_gradients_are_finite_differences(
    smooth_scene: Callable[..., Scene], name: str, rasterize_mode: str
) -> None:
    """Independent of autograd: central differences of the float64 image, in random directions, in a scene
    where no pixel crosses a cut between the two ends; they hold oracle and numba alike."""
    scene = smooth_scene(antialiased=rasterize_mode == "antialiased", n=15)
    _, exact = run(scene, "torch", rasterize_mode=rasterize_mode)
    _, ours = run(scene, "numba", rasterize_mode=rasterize_mode)

    def functional(shifted: Scene) -> float:
        """What ``run`` differentiates."""
        image, alphas, _ = render(
            **shifted, width=WIDTH, height=HEIGHT, backend="torch", rasterize_mode=rasterize_mode
        )
        g = torch.Generator().manual_seed(9)
        weights = [torch.randn(t.shape, generator=g, dtype=torch.float64) for t in (image, alphas)]
        return float((image * weights[0]).sum() + (alphas * weights[1]).sum())

    g = torch.Generator().manual_seed(1)
    for _ in range(3):
        along = torch.randn(scene[name].shape, generator=g, dtype=torch.float64)
        if name == "viewmats":
            along[:, 3] = 0
        ends = [functional({**scene, name: scene[name] + sign * STEP * along}) for sign in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * STEP)
        size = float(exact[name].norm() * along.norm())
        assert abs(slope - float((exact[name] * along).sum())) < 1e-5 * size
        assert abs(slope - float((ours[name] * along).sum())) < 1e-3 * size


@pytest.mark.parametrize("n", [1, 2])
def test_very_few_gaussians(smooth_scene: Callable[..., Scene], n: int) -> None:
    hold(smooth_scene(n=n), render_mode="RGB+ED")
    hold(smooth_scene(n=n, antialiased=True), render_mode="RGB", rasterize_mode="antialiased")


def test_a_crowded_picture_keeps_the_error_bounds() -> None:
    """No choice of scene: 2,000 Gaussians, pixels on the cuts included. Maximum 2e-3, mean 1e-6."""
    g = torch.Generator().manual_seed(3)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g)

    n = 2000
    means = (rand(n, 3) - 0.5) * torch.tensor([1.4, 1.4, 1.0]) + torch.tensor([0.0, 0.0, 2.0])
    args = (means, rand(n, 4) * 2 - 1, 0.01 + 0.03 * rand(n, 3), 0.1 + 0.85 * rand(n), rand(n, 3))
    k = torch.tensor([[[64.0, 0.0, 32.0], [0.0, 64.0, 32.0], [0.0, 0.0, 1.0]]])
    for mode in ("classic", "antialiased"):
        ours, exact = (
            render(*args, torch.eye(4)[None], k, 64, 64, rasterize_mode=mode, backend=backend)[0].double()
            for backend in ("numba", "torch")
        )
        error = (ours - exact).abs()
        assert float(error.max()) <= 2e-3 and float(error.mean()) <= 1e-6, mode


def test_one_round_gaussian_in_closed_form() -> None:
    """Independent of the oracle: on the optical axis alpha = o exp(-d^2 / 2 (f^2 s^2 / z^2 + eps))."""
    f, z, s, o, eps = 30.0, 2.5, 0.2, 0.8, 0.3
    k = torch.tensor([[[f, 0.0, 10.0], [0.0, f, 10.0], [0.0, 0.0, 1.0]]])
    args = (torch.tensor([[0.0, 0.0, z]]), torch.tensor([[0.3, 0.1, -0.9, 0.2]]), torch.full((1, 3), s))
    for backend in ("numba", "torch"):
        image, alphas, meta = render(
            *args, torch.tensor([o]), torch.tensor([[0.25, 0.5, 1.0]]), torch.eye(4)[None], k, 20, 20,
            render_mode="RGB+ED", backend=backend,
        )  # fmt: skip
        variance = (f * s / z) ** 2 + eps
        for v, u in [(9, 9), (10, 12), (4, 13)]:
            alpha = o * math.exp(-((u + 0.5 - 10) ** 2 + (v + 0.5 - 10) ** 2) / (2 * variance))
            assert float(alphas[0, v, u, 0]) == pytest.approx(alpha, rel=1e-5)
            expected = [0.25 * alpha, 0.5 * alpha, alpha, z]
            assert image[0, v, u].tolist() == pytest.approx(expected, rel=1e-5)
        assert meta["means2d"][0, 0].tolist() == pytest.approx([10.0, 10.0])
        reach = math.ceil(math.sqrt(2 * math.log(255 * o)) * math.sqrt(variance))
        assert meta["radii"][0, 0].tolist() == [reach, reach]


def test_antialiasing_keeps_energy_of_a_tiny_gaussian() -> None:
    """A Gaussian much smaller than a pixel keeps the opacity-weighted area 2 pi o s_x s_y f^2 / z^2."""
    f, z, s = 30.0, 3.0, 0.012
    k = torch.tensor([[[f, 0.0, 8.0], [0.0, f, 8.0], [0.0, 0.0, 1.0]]])
    _, alphas, _ = render(
        torch.tensor([[0.0, 0.0, z]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.full((1, 3), s),
        torch.ones(1), torch.ones(1, 3), torch.eye(4)[None], k, 16, 16,
        rasterize_mode="antialiased", backend="numba",
    )  # fmt: skip
    assert float(alphas.sum()) == pytest.approx(2 * math.pi * (f * s / z) ** 2, rel=0.1)


def test_oracle_rotation_matches_quaternion_product() -> None:
    g = torch.Generator().manual_seed(0)
    q = torch.nn.functional.normalize(torch.randn(20, 4, generator=g, dtype=torch.float64), dim=-1)
    turn = rotation_matrices(q)
    eye = torch.eye(3, dtype=torch.float64).expand(20, 3, 3)
    torch.testing.assert_close(turn @ turn.transpose(-1, -2), eye)
    assert bool((torch.linalg.det(turn) > 0).all())
    torch.testing.assert_close(turn @ q[:, 1:, None], q[:, 1:, None])  # the axis stays
