"""Gaussian rendering: one ``render()`` (gsplat on CUDA, numba on the CPU, a torch oracle), ``GaussianSet``
and cameras."""

from lca_core.splat.camera import intrinsics, look_at, orbit
from lca_core.splat.gaussians import GaussianSet, concatenate
from lca_core.splat.harmonics import rotate_sh, sh_colors
from lca_core.splat.image import render_image
from lca_core.splat.render import render, warmup
from lca_core.splat.skinning import skin_gaussians

__all__ = [
    "GaussianSet",
    "concatenate",
    "intrinsics",
    "look_at",
    "orbit",
    "render",
    "render_image",
    "rotate_sh",
    "sh_colors",
    "skin_gaussians",
    "warmup",
]
