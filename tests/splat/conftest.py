"""Scenes for the splat tests: seeded Gaussians that keep clear of the formula's cuts, and cameras."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lca_core.splat import _torch, warmup
from lca_core.splat._settings import Settings

Scene = dict[str, Tensor]
WIDTH, HEIGHT = 45, 38  # neither is a multiple of the tile size


@pytest.fixture(scope="session", autouse=True)
def _compiled() -> None:
    warmup()


def random_scene(
    seed: int, n: int = 40, features: int = 3, opacity: tuple[float, float] = (0.2, 0.8)
) -> Scene:
    """N Gaussians around z = 2 with one camera whose principal point is off-centre, float64."""
    g = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g, dtype=torch.float64)

    means = (rand(n, 3) - 0.5) * torch.tensor([1.6, 1.4, 1.0], dtype=torch.float64)
    means[:, 2] += 2.0
    turn = torch.tensor([[0.98, -0.17, 0.05], [0.17, 0.98, -0.04], [-0.05, 0.04, 1.0]], dtype=torch.float64)
    viewmat = torch.eye(4, dtype=torch.float64)
    viewmat[:3, :3] = torch.linalg.qr(turn).Q * torch.linalg.qr(turn).R.diagonal().sign()
    viewmat[:3, 3] = torch.tensor([0.05, -0.1, 0.2])
    k = torch.tensor([[40.0, 0.0, 21.0], [0.0, 42.0, 20.5], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return {
        "means": means,
        "quats": rand(n, 4) * 2 - 1,
        "scales": 0.03 + 0.12 * rand(n, 3),
        "opacities": opacity[0] + (opacity[1] - opacity[0]) * rand(n),
        "colors": rand(n, features),
        "viewmats": viewmat[None],
        "Ks": k[None],
    }


def margin(scene: Scene, antialiased: bool) -> float:
    """Smallest relative distance of any pixel to the 1/255 cut, the 1e-4 stop or the 0.999 clamp."""
    settings = Settings(WIDTH, HEIGHT, antialiased=antialiased)
    s = scene
    radii, means2d, depths, conics, factors = _torch.project(
        s["means"], s["quats"], s["scales"], s["opacities"], s["viewmats"][0], s["Ks"][0], settings
    )
    opacity = s["opacities"] * factors if antialiased else s["opacities"]
    v, u = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    order = torch.argsort(depths)
    dx = means2d[order, 0] - u.reshape(-1, 1) - 0.5
    dy = means2d[order, 1] - v.reshape(-1, 1) - 0.5
    a, b, c = conics[order].unbind(-1)
    alpha = opacity[order] * torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
    seen = torch.where((alpha >= 1 / 255) & (radii[order] > 0).any(-1), alpha.clamp(max=0.999), 0.0)
    after = torch.cumprod(1 - seen, dim=1)
    distances = [
        (alpha * 255 - 1).abs().min(),
        (after / 1e-4 - 1).abs().min(),
        (alpha / 0.999 - 1).abs().min(),
    ]
    return float(torch.stack(distances).min())


@pytest.fixture(scope="session")
def smooth_scene() -> Callable[..., Scene]:
    """First seeded scene in which no pixel lies within 2e-5 of a cut: float32 and float64 branch alike."""

    def make(first_seed: int = 0, antialiased: bool = False, **options: object) -> Scene:
        for seed in range(first_seed, first_seed + 200):
            scene = random_scene(seed, **options)  # type: ignore[arg-type]
            if margin(scene, antialiased) > 2e-5:
                return scene
        raise AssertionError("no scene keeps clear of the cuts")

    return make
