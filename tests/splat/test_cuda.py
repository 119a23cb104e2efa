"""The CUDA path: gsplat behind ``render()``, and an avatar that lives on the device. No GPU: skipped."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lca_core.splat import render

Scene = dict[str, Tensor]
WIDTH, HEIGHT = 45, 38

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
needs_gsplat = pytest.mark.skipif(
    importlib.util.find_spec("gsplat") is None, reason="gsplat is not installed (docs/gpu.md)"
)


def outputs(scene: Scene, device: str, backend: str, **options: object) -> dict[str, Tensor]:
    """Image, alphas and every gradient, float64 on the CPU."""
    live = {k: v.detach().clone().to(device).requires_grad_(k != "Ks") for k, v in scene.items()}
    image, alphas, _ = render(**live, width=WIDTH, height=HEIGHT, backend=backend, **options)
    (image.square().sum() + alphas.sum()).backward()
    slopes = {k: v.grad for k, v in live.items() if v.grad is not None}
    return {k: t.detach().double().cpu() for k, t in {"image": image, "alphas": alphas, **slopes}.items()}


@needs_cuda
@needs_gsplat
@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
@pytest.mark.parametrize("render_mode", ["RGB", "D", "ED", "RGB+D", "RGB+ED"])
def test_gsplat_agrees_with_the_oracle(
    smooth_scene: Callable[..., Scene], render_mode: str, rasterize_mode: str
) -> None:
    scene = smooth_scene(antialiased=rasterize_mode == "antialiased")
    single = {k: v.float() for k, v in scene.items()}
    options = {"render_mode": render_mode, "rasterize_mode": rasterize_mode}
    fast = outputs(single, "cuda", "gsplat", **options)
    slow = outputs(scene, "cpu", "torch", **options)
    assert fast.keys() == slow.keys()
    for name, exact in slow.items():
        assert float((fast[name] - exact).norm()) <= 1e-3 * float(exact.norm()) + 1e-9, name


@needs_cuda
@needs_gsplat
def test_auto_picks_gsplat_and_batches(smooth_scene: Callable[..., Scene]) -> None:
    scene = {k: v.float().cuda() for k, v in smooth_scene().items()}
    two = {k: torch.stack([v, v]) for k, v in scene.items()}
    image, _, meta = render(**two, width=WIDTH, height=HEIGHT)
    alone = render(**scene, width=WIDTH, height=HEIGHT)[0]
    assert image.is_cuda and "radii" in meta and "means2d" in meta
    torch.testing.assert_close(image[0], alone)
    torch.testing.assert_close(image[1], alone)


@needs_cuda
def test_cuda_tensors_render_without_gsplat_too(smooth_scene: Callable[..., Scene]) -> None:
    """``backend="numba"`` takes tensors of any device and gives the picture back there."""
    scene = {k: v.float() for k, v in smooth_scene().items()}
    there = render(**{k: v.cuda() for k, v in scene.items()}, width=WIDTH, height=HEIGHT, backend="numba")[0]
    assert there.is_cuda
    assert torch.equal(there.cpu(), render(**scene, width=WIDTH, height=HEIGHT)[0])


@needs_cuda
def test_a_recorded_frame_is_the_frame_launched_step_by_step(sample_avatar_file: Path) -> None:
    """CUDA graph and single launches give the same Gaussians; later frames leave earlier results alone."""
    from lca_core.avatar import Avatar, PoseFrame
    from lca_core.avatar.animate import _baked
    from lca_core.splat.posing import DeviceRig

    baked, device = _baked(Avatar.load(sample_avatar_file)), torch.device("cuda")
    recorded, plain = DeviceRig(baked, device), DeviceRig(baked, device, graph=False)
    assert recorded._graph is not None and plain._graph is None
    frames = [
        PoseFrame.posed({"left_hip": (-0.1 * i, 0.0, 0.1)}, {"jawOpen": 0.2 * i}, (0.2, 0.1))
        for i in range(4)
    ]
    results = [
        [rig.pose(f.joint_rotations, f.gaze, f.arkit, f.translation) for f in frames]
        for rig in (recorded, plain)
    ]
    for found, wanted in zip(*results, strict=True):
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@needs_cuda
def test_an_avatar_lives_on_the_device(sample_avatar_file: Path) -> None:
    from lca_core.avatar import Avatar, PoseFrame
    from lca_core.avatar.animate import Animator

    avatar = Avatar.load(sample_avatar_file)
    frame = PoseFrame.posed({"left_hip": (-0.5, 0.0, 0.1)}, {"jawOpen": 0.7}, (0.2, 0.1))
    here, there = (Animator(avatar, device=device).evaluate(frame) for device in ("cpu", "cuda"))
    for name in ("means", "quats", "scales", "opacities", "sh"):
        assert getattr(there, name).is_cuda
        torch.testing.assert_close(getattr(there, name).cpu(), getattr(here, name), atol=1e-5, rtol=1e-5)
