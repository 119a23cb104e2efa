"""The CUDA back end: a thin call of ``gsplat.rasterization``. Colours arrive evaluated (SH is shared), backgrounds and expected
depth are composed by ``render``, so all back ends differ only in projection and blending.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor


def run(
    gsplat: Any, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor,
    ks: Tensor, width: int, height: int, options: dict[str, float], antialiased: bool, with_depth: bool, absgrad: bool,
) -> tuple[Tensor, Tensor, dict[str, Any]]:  # fmt: skip
    """Images [..., C, H, W, D (+1)], alphas [..., C, H, W, 1] and gsplat's meta."""
    mode = "RGB" if not with_depth else "RGB+D" if colors.shape[-1] else "D"
    if mode == "D":
        colors = means.new_zeros(*colors.shape[:-1], 3)  # not used, but gsplat checks its shape
    return gsplat.rasterization(
        means, quats, scales, opacities, colors, viewmats, ks, width, height,
        near_plane=options["near"], far_plane=options["far"], radius_clip=options["radius_clip"], eps2d=options["eps2d"],
        packed=False, render_mode=mode, absgrad=absgrad,
        rasterize_mode="antialiased" if antialiased else "classic",
    )  # fmt: skip
