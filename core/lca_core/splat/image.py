"""Pictures for people: one Gaussian set, one camera, 8-bit RGB out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lca_core.splat.gaussians import GaussianSet
from lca_core.splat.render import Backend, RasterizeMode, render


@torch.no_grad()
def render_image(
    gaussians: GaussianSet,
    viewmat: Tensor,
    K: Tensor,
    width: int,
    height: int,
    background: Sequence[float] | Tensor = (1.0, 1.0, 1.0),
    *,
    rasterize_mode: RasterizeMode = "classic",
    backend: Backend = "auto",
) -> np.ndarray:
    """Render one view.

    Args:
        viewmat, K: (4, 4) and (3, 3); moved to the device of the Gaussians.
        background: (3,) colour, 0-1, in the same colour space as the Gaussians (sRGB for avatars).

    Returns:
        (height, width, 3) uint8.
    """
    g = gaussians
    behind = torch.as_tensor(background, dtype=torch.float32).to(g.device)
    image, _, _ = render(
        g.means, g.quats, g.scales, g.opacities, g.sh, viewmat.to(g.device)[None], K.to(g.device)[None],
        width, height, sh_degree=g.sh_degree, backgrounds=behind[None], rasterize_mode=rasterize_mode,
        backend=backend,
    )  # fmt: skip
    return (image[0].clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8).cpu().numpy()
