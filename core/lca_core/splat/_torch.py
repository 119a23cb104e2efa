"""The oracle: gsplat's formula written densely in float64 torch, every pixel against every Gaussian,
gradients by autograd.

It is what the fast back ends are tested against, and readable before anything else. Same inputs and outputs
as ``_numba``; images up to 64 x 64 only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lca.errors import InvalidInputError
from lca_core.splat._settings import Settings

MAX_SIZE = 64
ALPHA_MIN = 1.0 / 255.0


def rotation_matrices(quats: Tensor) -> Tensor:
    """(..., 4) wxyz, any length, to (..., 3, 3)."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def project(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    viewmat: Tensor,
    k: Tensor,
    settings: Settings,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """One camera: radii (N, 2) int32, means2d (N, 2), depths (N,), conics (N, 3), factors (N,)."""
    width, height, eps2d = settings.width, settings.height, settings.eps2d
    turn, shift = viewmat[:3, :3], viewmat[:3, 3]
    fx, fy, cx, cy = k[0, 0], k[1, 1], k[0, 2], k[1, 2]
    x, y, z = (means @ turn.T + shift).unbind(-1)
    visible = (z >= settings.near) & (z <= settings.far) & (opacities >= ALPHA_MIN)
    safe = torch.where(visible, z, torch.ones_like(z))
    margin_x, margin_y = 0.15 * width / fx, 0.15 * height / fy
    tx = torch.clamp(x / safe, -float(cx / fx + margin_x), float((width - cx) / fx + margin_x))
    ty = torch.clamp(y / safe, -float(cy / fy + margin_y), float((height - cy) / fy + margin_y))
    zero = torch.zeros_like(safe)
    jacobian = torch.stack(
        [fx / safe, zero, -fx * tx / safe, zero, fy / safe, -fy * ty / safe], -1
    ).unflatten(-1, (2, 3))
    half = jacobian @ turn @ (rotation_matrices(quats) * scales[:, None, :])
    cov = half @ half.transpose(-1, -2)
    before = torch.linalg.det(cov)
    c00, c01, c11 = cov[:, 0, 0] + eps2d, cov[:, 0, 1], cov[:, 1, 1] + eps2d
    det = c00 * c11 - c01 * c01
    factors = torch.sqrt(torch.clamp_min(before / det, 1e-30))
    conics = torch.stack([c11 / det, -c01 / det, c00 / det], dim=-1)
    means2d = torch.stack([fx * x / safe + cx, fy * y / safe + cy], dim=-1)
    with torch.no_grad():
        opacity = opacities * factors if settings.antialiased else opacities
        visible = visible & (opacity >= ALPHA_MIN)
        extent = torch.clamp_max(torch.sqrt(2 * torch.log(torch.clamp_min(opacity / ALPHA_MIN, 1.0))), 3.33)
        radii = torch.ceil(extent[:, None] * torch.stack([c00, c11], -1).sqrt())
        visible = visible & ((radii > settings.radius_clip).any(-1))
        size = means2d.new_tensor([width, height])
        visible = visible & (((means2d + radii > 0) & (means2d - radii < size)).all(-1))
        radii = (radii * visible[:, None]).to(torch.int32)
    return radii, means2d, safe * visible, conics, factors


def rasterize(
    means2d: Tensor,
    conics: Tensor,
    opacities: Tensor,
    features: Tensor,
    radii: Tensor,
    depths: Tensor,
    settings: Settings,
) -> tuple[Tensor, Tensor]:
    """One camera: image (H, W, D) and alpha (H, W, 1)."""
    width, height = settings.width, settings.height
    if max(width, height) > MAX_SIZE:
        raise InvalidInputError(
            f"The torch oracle renders up to {MAX_SIZE} x {MAX_SIZE} pixels, not {width} x {height}; "
            "use backend='numba'."
        )
    order = torch.argsort(depths.detach(), stable=True)
    order = order[(radii[order] > 0).any(-1)]
    means2d, conics, opacities, features = means2d[order], conics[order], opacities[order], features[order]
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([u, v], -1).reshape(-1, 1, 2).to(means2d) + 0.5
    dx, dy = (means2d[None] - pixels).unbind(-1)
    a, b, c = conics.unbind(-1)
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    alpha = torch.clamp_max(opacities * torch.exp(-sigma), 0.999)
    alpha = torch.where((alpha >= ALPHA_MIN) & (sigma >= 0), alpha, torch.zeros_like(alpha))
    alive = torch.cumprod(1 - alpha.detach(), dim=-1) > 1e-4  # the stop is exclusive
    alpha = torch.where(alive, alpha, torch.zeros_like(alpha))
    after = torch.cumprod(1 - alpha, dim=-1)
    before = torch.cat([torch.ones_like(after[:, :1]), after[:, :-1]], dim=-1)
    image = (alpha * before) @ features
    opaque = 1 - after[:, -1] if order.numel() else image.new_zeros(pixels.shape[0])
    return image.view(height, width, -1), opaque.view(height, width, 1)


def project_batch(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    settings: Settings,
) -> tuple[Tensor, ...]:
    """:func:`project` for scenes (B, N, ...) and cameras (B, C, ...); results (B, C, N, ...)."""
    batch, cams = viewmats.shape[:2]
    results = [
        project(means[b], quats[b], scales[b], opacities[b], viewmats[b, c], Ks[b, c], settings)
        for b in range(batch)
        for c in range(cams)
    ]
    return tuple(torch.stack(items).unflatten(0, (batch, cams)) for items in zip(*results, strict=True))


def rasterize_batch(views: list[Tensor], settings: Settings) -> tuple[Tensor, Tensor]:
    """:func:`rasterize` with V views in each tensor; images (V, H, W, D), alphas (V, H, W, 1)."""
    results = [rasterize(a, b, c, d, e, f, settings) for a, b, c, d, e, f in zip(*views, strict=True)]
    return torch.stack([image for image, _ in results]), torch.stack([alpha for _, alpha in results])
