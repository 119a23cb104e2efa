"""One ``render()`` for every place that needs a picture of Gaussians: gsplat on CUDA, numba on the CPU, a
torch oracle in tests.

In: Gaussians and cameras with leading batch dims. Out: images, alphas and ``meta``. This module checks
shapes once, evaluates spherical harmonics, composes render modes and backgrounds, and hands the rest to a
back end.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lca.errors import InvalidInputError, PreconditionError
from lca_core.splat._settings import Settings
from lca_core.splat.harmonics import sh_colors

RenderMode = Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"]
RasterizeMode = Literal["classic", "antialiased"]
Backend = Literal["auto", "gsplat", "numba", "torch"]
RENDER_MODES = ("RGB", "D", "ED", "RGB+D", "RGB+ED")
BACKENDS = ("auto", "gsplat", "numba", "torch")


def _fail(message: str) -> InvalidInputError:
    return InvalidInputError(message, reason="SPLAT_INPUT_INVALID")


def _expect(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if not isinstance(tensor, Tensor):
        raise _fail(f"{name} must be a torch tensor, not {type(tensor).__name__}.")
    if tuple(tensor.shape) != shape:
        raise _fail(f"{name} has shape {tuple(tensor.shape)}, expected {shape}.")
    if not tensor.is_floating_point():
        raise _fail(f"{name} has dtype {tensor.dtype}, expected floating point.")


def _choose(backend: Backend, device: torch.device) -> str:
    """The back end that runs; a CUDA scene without a working gsplat goes through the CPU."""
    from lca_core.splat import _cuda

    if backend == "auto":
        return "gsplat" if device.type == "cuda" and _cuda.load() is not None else "numba"
    if backend == "gsplat" and (device.type != "cuda" or _cuda.load() is None):
        raise PreconditionError(
            "backend='gsplat' needs CUDA tensors and a working gsplat (pip install 'lca-bridge[cuda]', "
            "docs/gpu.md); use backend='numba' on the CPU.",
            reason="GSPLAT_UNAVAILABLE",
        )
    return backend


def _check_shapes(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    sh_degree: int | None,
) -> None:
    """Raise InvalidInputError unless all tensors fit together."""
    if not isinstance(means, Tensor) or means.ndim < 2:
        raise _fail("means must be a torch tensor of shape [..., N, 3].")
    if not isinstance(viewmats, Tensor) or viewmats.ndim < 3:
        raise _fail("viewmats must be a torch tensor of shape [..., C, 4, 4].")
    lead, n, cams = tuple(means.shape[:-2]), means.shape[-2], viewmats.shape[-3]
    _expect("means", means, (*lead, n, 3))
    _expect("quats", quats, (*lead, n, 4))
    _expect("scales", scales, (*lead, n, 3))
    _expect("opacities", opacities, (*lead, n))
    _expect("viewmats", viewmats, (*lead, cams, 4, 4))
    _expect("Ks", Ks, (*lead, cams, 3, 3))
    if not isinstance(colors, Tensor) or not colors.is_floating_point():
        raise _fail("colors must be a floating point torch tensor.")
    tail = 1 if sh_degree is None else 2
    fits = tuple(colors.shape[:-tail]) in ((*lead, n), (*lead, cams, n))
    if not fits or (tail == 2 and colors.shape[-1] != 3):
        wanted = "[..., (C,) N, D]" if sh_degree is None else "[..., (C,) N, K, 3]"
        raise _fail(f"colors has shape {tuple(colors.shape)}, expected {wanted} with N = {n}, C = {cams}.")
    devices = {str(t.device) for t in (means, quats, scales, opacities, colors, viewmats, Ks)}
    if len(devices) > 1:
        raise _fail(f"All tensors must lie on one device, found {', '.join(sorted(devices))}.")


def _check_options(
    width: int,
    height: int,
    render_mode: str,
    rasterize_mode: str,
    near_plane: float,
    far_plane: float,
    backend: str,
) -> None:
    """Raise InvalidInputError for an unknown name or an impossible number."""
    if render_mode not in RENDER_MODES:
        raise _fail(f"render_mode {render_mode!r} is unknown; use one of {', '.join(RENDER_MODES)}.")
    if rasterize_mode not in ("classic", "antialiased"):
        raise _fail(f"rasterize_mode {rasterize_mode!r} is unknown; use 'classic' or 'antialiased'.")
    if backend not in BACKENDS:
        raise _fail(f"backend {backend!r} is unknown; use one of {', '.join(BACKENDS)}.")
    if width < 1 or height < 1:
        raise _fail(f"The image size {width} x {height} is not positive.")
    if not 0.0 < near_plane < far_plane:
        raise _fail(f"Need 0 < near_plane < far_plane, got {near_plane} and {far_plane}.")


def _sum(tensor: Tensor) -> float:
    if tensor.device.type != "cpu" or tensor.dtype not in (torch.float32, torch.float64):
        return float(tensor.sum())
    with np.errstate(all="ignore"):  # numpy: torch would wake its threads, which then spin beside ours
        return float(tensor.numpy().sum())


def _check_finite(*tensors: Tensor) -> None:
    """Raise InvalidInputError naming the first input that holds NaN or infinity."""
    names = ("means", "quats", "scales", "opacities", "colors", "viewmats", "Ks")
    for name, tensor in zip(names, tensors, strict=True):
        # one cheap sum finds nearly every good tensor; a sum that overflows is looked at closely
        if not math.isfinite(_sum(tensor.detach())) and not bool(tensor.detach().isfinite().all()):
            raise _fail(f"{name} holds NaN or infinity; every value must be finite.")


def render(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    *,
    sh_degree: int | None = None,
    backgrounds: Tensor | None = None,
    render_mode: RenderMode = "RGB",
    rasterize_mode: RasterizeMode = "classic",
    eps2d: float = 0.3,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    absgrad: bool = False,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Render Gaussians from cameras; signature and semantics of ``gsplat.rasterization`` (1.5.3,
    ``packed=False``).

    Differentiable in means, quats, scales, opacities, colors, viewmats and backgrounds (not in Ks).

    Args:
        means: [..., N, 3] centres, metres, world frame.
        quats: [..., N, 4] wxyz, normalised inside.
        scales: [..., N, 3] standard deviations, linear metres.
        opacities: [..., N] linear 0-1.
        colors: [..., N, D] or [..., C, N, D] features; with ``sh_degree``, [..., N, K, 3] or [..., C, N, K,
            3] SH coefficients.
        viewmats: [..., C, 4, 4] world to camera, OpenCV axes.
        Ks: [..., C, 3, 3] intrinsics, pixels; pixel centres lie at +0.5.
        width, height: image size, pixels.
        sh_degree: degree of the harmonics to use (0-4); None takes ``colors`` as they are.
        backgrounds: [..., C, D] features behind everything; depth has background 0.
        render_mode: RGB = the features; D = accumulated z depth (metres); ED = expected depth (D / alpha);
            or both, depth last.
        rasterize_mode: "antialiased" scales opacity by the energy lost to ``eps2d`` (Mip-Splatting).
        eps2d: added to the diagonal of 2D covariances, square pixels.
        near_plane, far_plane: Gaussians outside this z range are dropped.
        radius_clip: Gaussians whose radius is at most this many pixels are dropped.
        absgrad: after backward, ``meta["means2d"].absgrad`` holds sums of absolute pixel gradients (AbsGS).
        backend: "auto" = gsplat for CUDA tensors where it works, else numba; "torch" is the float64 oracle
            up to 64 px.

    Returns:
        colors [..., C, H, W, X], alphas [..., C, H, W, 1], and meta with at least ``radii`` [..., C, N, 2]
        int32 (0 = not visible), ``means2d`` [..., C, N, 2] (``.retain_grad()`` works) and ``depths`` [...,
        C, N]. float32, on the device of ``means``; float64 from the oracle.

    Raises:
        InvalidInputError: a shape, dtype, device or option does not fit; on the CPU also NaN or infinity in
            an input (on CUDA the look would stall the device: such Gaussians end up as gsplat treats them).
        PreconditionError: gsplat was asked for and cannot run.
        ExhaustedError: one view needs absurdly many tile entries (numba).
    """
    _check_options(width, height, render_mode, rasterize_mode, near_plane, far_plane, backend)
    _check_shapes(means, quats, scales, opacities, colors, viewmats, Ks, sh_degree)
    home = means.device
    chosen = _choose(backend, home)
    if chosen != "gsplat":
        _check_finite(means, quats, scales, opacities, colors, viewmats, Ks)
    dtype = torch.float64 if chosen == "torch" else torch.float32
    place = home if chosen == "gsplat" else torch.device("cpu")
    means, quats, scales, opacities, colors, viewmats, Ks = (
        t.to(place, dtype) for t in (means, quats, scales, opacities, colors, viewmats, Ks)
    )
    lead, n, cams = tuple(means.shape[:-2]), means.shape[-2], viewmats.shape[-3]
    with_depth = render_mode != "RGB"
    if render_mode in ("D", "ED"):
        colors, backgrounds = means.new_zeros(*lead, cams, n, 0), None
    else:
        colors = _evaluate_colors(means, colors, viewmats, sh_degree)
        if colors.shape[-1] == 0:
            raise _fail("colors has no channels.")
    if backgrounds is not None:
        _expect("backgrounds", backgrounds, (*lead, cams, colors.shape[-1]))
        backgrounds = backgrounds.to(place, dtype)
    settings = Settings(
        width, height, eps2d, near_plane, far_plane, radius_clip, antialiased=rasterize_mode == "antialiased"
    )
    if chosen == "gsplat":
        from lca_core.splat import _cuda

        image, alphas, meta = _cuda.run(
            means, quats, scales, opacities, colors, viewmats, Ks, settings, with_depth, absgrad
        )
    else:
        image, alphas, meta = _run_cpu(
            chosen, means, quats, scales, opacities, colors, viewmats, Ks, settings, with_depth, absgrad
        )
    if backgrounds is not None:
        behind = backgrounds[..., None, None, :]
        if with_depth:
            behind = torch.cat([behind, torch.zeros_like(behind[..., :1])], dim=-1)
        image = image + (1.0 - alphas) * behind
    if render_mode in ("ED", "RGB+ED"):
        image = torch.cat([image[..., :-1], image[..., -1:] / alphas.clamp(min=1e-10)], dim=-1)
    return image.to(home), alphas.to(home), meta


def _evaluate_colors(means: Tensor, colors: Tensor, viewmats: Tensor, sh_degree: int | None) -> Tensor:
    """Features per view [..., C, N, D] from features or SH coefficients, with or without a view dim."""
    lead, n, cams = means.shape[:-2], means.shape[-2], viewmats.shape[-3]
    if colors.ndim == len(lead) + (2 if sh_degree is None else 3):
        colors = colors.unsqueeze(len(lead))
    if sh_degree is not None:
        if sh_degree == 0:
            directions = means.unsqueeze(-3)  # not looked at
        else:
            centres = torch.linalg.inv(viewmats)[..., :3, 3]
            directions = means.unsqueeze(-3) - centres.unsqueeze(-2)
        colors = sh_colors(sh_degree, directions, colors)
    return colors.expand(*lead, cams, n, colors.shape[-1])


def _run_cpu(
    backend: str,
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    settings: Settings,
    with_depth: bool,
    absgrad: bool,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """numba and the oracle: flatten the batch, project, blend, restore the batch."""
    from lca_core.splat import _numba, _torch

    lead, n, cams = tuple(means.shape[:-2]), means.shape[-2], viewmats.shape[-3]
    batch = math.prod(lead)
    scene = (means.reshape(batch, n, 3), quats.reshape(batch, n, 4), scales.reshape(batch, n, 3))
    cameras = (viewmats.reshape(batch, cams, 4, 4), Ks.reshape(batch, cams, 3, 3))
    opaque = opacities.reshape(batch, n)
    project = _numba.Project.apply if backend == "numba" else _torch.project_batch
    projected = project(*scene, opaque, *cameras, settings)
    radii, means2d, depths, conics, factors = (t.view(*lead, cams, *t.shape[2:]) for t in projected)
    opaque = opacities.unsqueeze(-2).expand(*lead, cams, n)
    if settings.antialiased:
        opaque = opaque * factors
    features = torch.cat([colors, depths.unsqueeze(-1)], dim=-1) if with_depth else colors
    views = batch * cams
    inputs = [
        t.reshape(views, *t.shape[len(lead) + 1 :])
        for t in (means2d, conics, opaque, features, radii, depths)
    ]
    if backend == "numba":
        image, alphas = _numba.Rasterize.apply(*inputs, settings, means2d if absgrad else None)
    else:
        image, alphas = _torch.rasterize_batch(inputs, settings)
    meta = {"radii": radii, "means2d": means2d, "depths": depths, "conics": conics, "opacities": opaque}
    size = (settings.height, settings.width)
    return image.view(*lead, cams, *size, image.shape[-1]), alphas.view(*lead, cams, *size, 1), meta


def warmup() -> None:
    """Compile (or load from the cache) the CPU kernels: posing, and RGB and RGB + depth, both directions.

    About 10-20 s of CPU time the first time on a machine, under a second afterwards. Services call it at
    start.
    """
    from lca_core.splat.posing import warm_posing

    warm_posing()
    eye = torch.eye(4)[None]
    k = torch.tensor([[[8.0, 0.0, 8.0], [0.0, 8.0, 8.0], [0.0, 0.0, 1.0]]])
    modes: tuple[RenderMode, ...] = ("RGB", "RGB+D")
    for mode in modes:
        for training in (False, True):  # lists are kept for the backward pass, or not
            means = torch.tensor([[0.0, 0.0, 2.0]], requires_grad=training)
            scene = (means, torch.eye(4)[:1], torch.full((1, 3), 0.1), torch.tensor([0.5]), torch.ones(1, 3))
            image, alphas, _ = render(*scene, eye, k, 16, 16, render_mode=mode, backend="numba")
            if training:
                (image.sum() + alphas.sum()).backward()
