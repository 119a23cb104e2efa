"""The CUDA back end: a thin call of ``gsplat.rasterization``.

Colours arrive evaluated (SH is shared), backgrounds and expected depth are composed by ``render``, so back
ends differ only in projection and blending.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

from torch import Tensor

from lca_core.splat._settings import Settings

log = logging.getLogger(__name__)


@functools.cache
def load() -> Any:
    """The gsplat module if its CUDA extension works, else None (the reason is logged once)."""
    try:
        import gsplat
        from gsplat.cuda._backend import _C
    except Exception as error:  # a failed just-in-time build raises anything
        log.warning("gsplat is not usable: %s. See docs/gpu.md.", error)
        return None
    if _C is None:
        log.warning("gsplat is installed without its CUDA extension. See docs/gpu.md.")
        return None
    return gsplat


def run(
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
    """Images [..., C, H, W, D (+1)], alphas [..., C, H, W, 1] and gsplat's meta."""
    mode = "RGB" if not with_depth else "RGB+D" if colors.shape[-1] else "D"
    if mode == "D":
        colors = means.new_zeros(*colors.shape[:-1], 3)  # not used, but gsplat checks its shape
    return load().rasterization(
        means,
        quats,
        scales,
        opacities,
        colors,
        viewmats,
        Ks,
        settings.width,
        settings.height,
        near_plane=settings.near,
        far_plane=settings.far,
        radius_clip=settings.radius_clip,
        eps2d=settings.eps2d,
        packed=False,
        render_mode=mode,
        absgrad=absgrad,
        rasterize_mode="antialiased" if settings.antialiased else "classic",
    )
