"""Network maps at the places of Gaussians: a bilinear look-up that reads only texels of the body.

Equal to up-sampling a whole map with :func:`lca_core.model.assemble.resize_valid` and picking texels, but as
one sparse matrix made once per avatar, so that a frame costs one small product. Where the body's charts
meet, only texels of the point's own chart are read.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from lca_core.model.density import Samples
from lca_core.model.template import Template

REACH = 2
"""A tap off the body takes the mean of the body's texels this far around it."""


class MapSampler:
    """Reads maps [B,C,U,U] of ``template`` at N samples.

    Attributes:
        matrix: (N,T) sparse, rows sum to 1.
    """

    def __init__(self, template: Template, samples: Samples) -> None:
        self._template = template
        self.matrix = _matrix(template, samples)

    def __call__(self, maps: Tensor) -> Tensor:
        """Maps [1,C,U,U] -> values [N,C]."""
        return self.values(self._template.gather(maps)[0])

    def values(self, texels: Tensor) -> Tensor:
        """Texel values [T,C] -> values [N,C]."""
        return torch.from_numpy(self.matrix @ np.ascontiguousarray(texels.detach().cpu().float().numpy()))


def _matrix(template: Template, samples: Samples) -> sparse.csr_matrix:
    u, n = template.size, samples.count
    index = np.full((u + 2 * REACH, u + 2 * REACH), -1, np.int64)
    index[template.rows + REACH, template.cols + REACH] = np.arange(template.count)
    island = template.island[0, 0].numpy()[template.rows, template.cols]

    y = (samples.rows + 0.5) / samples.size * u - 0.5
    x = (samples.cols + 0.5) / samples.size * u - 0.5
    y0, x0 = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    fy, fx = y - y0, x - x0
    tap_r = np.clip(np.stack([y0, y0, y0 + 1, y0 + 1], 1), 0, u - 1) + REACH
    tap_c = np.clip(np.stack([x0, x0 + 1, x0, x0 + 1], 1), 0, u - 1) + REACH
    tap_w = np.stack([(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx], 1)

    direct = index[tap_r, tap_c]
    own = (direct >= 0) & (island[direct] == samples.island[:, None])
    whole = own.all(1)
    parts = [_entries(np.nonzero(whole)[0], direct[whole], tap_w[whole])]
    # At the rim a tap stands for the mean of what is known around it, on this chart if anything is.
    rim = np.nonzero(~whole)[0]
    shifts = np.arange(-REACH, REACH + 1)
    around = index[
        tap_r[rim, :, None, None] + shifts[:, None], tap_c[rim, :, None, None] + shifts[None, :]
    ].reshape(len(rim), 4, -1)
    for same in (True, False):
        known = around >= 0
        ours = own[rim] if same else direct[rim] >= 0
        if same:
            known &= island[around] == samples.island[rim][:, None, None]
        share = known / np.maximum(known.sum(2, keepdims=True), 1)
        weights = np.where(ours[..., None], around == direct[rim][..., None], share) * tap_w[rim][..., None]
        weights *= known
        served = weights.sum((1, 2)) > 1e-6
        flat = around[served].reshape(-1, 4 * shifts.size**2)
        parts.append(_entries(rim[served], flat, weights[served].reshape(flat.shape)))
        rim, around = rim[~served], around[~served]
    if len(rim):
        known_at = np.stack([template.rows + 0.5, template.cols + 0.5], 1) / u
        at = np.stack([samples.rows[rim] + 0.5, samples.cols[rim] + 0.5], 1) / samples.size
        nearest = np.array([np.square(known_at - p).sum(1).argmin() for p in at])
        parts.append(_entries(rim, nearest[:, None], np.ones((len(rim), 1))))
    rows, cols, values = (np.concatenate(x) for x in zip(*parts, strict=True))
    matrix = sparse.csr_matrix((values, (rows, cols)), (n, template.count), dtype=np.float64)
    total = np.asarray(matrix.sum(1)).ravel()
    return (sparse.diags(1.0 / total) @ matrix).astype(np.float32).tocsr()


def _entries(
    rows: NDArray[np.int64], texels: NDArray[np.int64], weights: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Rows (R,), texels and weights (R,K) -> coordinate entries without zeros."""
    where, k = np.nonzero(weights > 0)
    return rows[where], texels[where, k], weights[where, k].astype(np.float64)
