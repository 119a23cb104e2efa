"""One light for all views: photographs of a turning person differ in exposure and shade, and where one view
takes over from another a seam shows.

Each view gets a factor of its colours that changes slowly over the surface, such that views agree wherever
they see the same place; the view that a place is copied from moves least. The idea is the seam levelling of
Lempitsky & Ivanov (Seamless Mosaicing of Image-Based Texture Maps, CVPR 2007), with factors instead of
offsets, and robust against views that see different things. In: what every view reads at every point. Out:
the same colours, levelled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import cg

from lca_core.body.cage import mixing, one_per_cell, surface_laplacian

CELL = 0.02
"""Metres between the places whose factors are found."""
LINKS, LONGEST = 6, 0.045
"""Neighbours of a place, and metres beyond which they are none."""
SMOOTH, STAY, COPIED = 2.0, 0.01, 0.3
"""Weights of squared differences between neighbours, of squared factors, and of those of views in use, beside
1 for two views that disagree."""
DARK = 0.06
"""Added to sRGB before the logarithm: in the dark differences are noise."""
APART = 0.4
"""Difference of logarithms at which two views count a quarter: they see different things."""
ASKED = 40_000
"""Points that say by how much two views differ."""
PASSES, ACCURACY = 3, 1e-3


def levelled(
    position: NDArray[np.floating],
    normal: NDArray[np.floating],
    trust: NDArray[np.floating],
    weight: NDArray[np.floating],
    color: NDArray[np.floating],
) -> NDArray[np.float32]:
    """Colours [N,T,3] sRGB 0-1 of N views at T points in one light.

    Args:
        position, normal: [T,3] of the body at rest, m. trust: [N,T] 0-1. weight: [N,T] how far each view is
            used, sum 1 or all 0. color: [N,T,3] as read.
    """
    out = np.array(color, np.float32)
    views = np.flatnonzero(trust.max(1) > 0)
    if len(views) < 2:
        return out
    places = one_per_cell(position, CELL)
    spread = mixing(position[places], position)
    asked = slice(None, None, max(1, len(position) // ASKED))
    pairs = np.stack(np.triu_indices(len(views), 1), 1)
    both, gap = _differences(
        sparse.csr_matrix(spread[asked].T), pairs, trust[views][:, asked], color[views][:, asked]
    )
    used = (spread.T @ weight[views].T).T / np.maximum(np.asarray(spread.sum(0)).ravel(), 1e-6)
    smooth = SMOOTH * surface_laplacian(position[places], normal[places], LINKS, LONGEST)
    alone = sparse.block_diag([smooth] * len(views)) + sparse.diags((STAY + COPIED * used).ravel())
    factor = np.zeros((len(views), len(places), 3))
    for _ in range(PASSES):
        left = gap + factor[pairs[:, 0]] - factor[pairs[:, 1]]
        agree = both / np.square(1 + np.square(np.abs(left).max(-1) / APART))
        factor = _solved(alone, pairs, agree, gap, factor)
    for view, change in zip(views, factor, strict=True):
        out[view] = ((color[view] + DARK) * np.exp(spread @ change) - DARK).clip(0, 1)
    return out


def _differences(
    gather: sparse.csr_matrix, pairs: NDArray[np.integer], trust: NDArray, color: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far both views of each of P pairs see K places [P,K], and the mean difference of the logarithms of
    their colours over what both see [P,K,3]."""
    looks = np.log(color + DARK)
    both = np.zeros((len(pairs), gather.shape[0]))
    gap = np.zeros((*both.shape, 3))
    for pair, (a, b) in enumerate(pairs):
        common = trust[a] * trust[b]
        both[pair] = gather @ common
        gap[pair] = gather @ (common[:, None] * (looks[a] - looks[b])) / np.maximum(both[pair], 1e-6)[:, None]
    return both / np.maximum(np.asarray(gather.sum(1)).ravel(), 1e-6), gap


def _solved(
    alone: sparse.spmatrix,
    pairs: NDArray[np.integer],
    agree: NDArray[np.floating],
    gap: NDArray[np.floating],
    start: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Logarithms of the factors [N,K,3] that least offend ``alone`` and the gaps [P,K,3], by ``agree``."""
    number = np.arange(start.shape[0] * start.shape[1]).reshape(start.shape[:2])
    rows, cols = number[pairs[:, 0]].ravel(), number[pairs[:, 1]].ravel()
    link = sparse.csr_matrix((agree.ravel(), (rows, cols)), alone.shape)
    link = link + link.T
    system = sparse.csr_matrix(alone + sparse.diags(np.asarray(link.sum(1)).ravel()) - link)
    pull = (agree[..., None] * gap).reshape(-1, 3)
    right = np.zeros((number.size, 3))
    np.add.at(right, rows, -pull)
    np.add.at(right, cols, pull)
    scale = sparse.diags(1 / system.diagonal())
    first = start.reshape(-1, 3)
    found = [cg(system, right[:, c], first[:, c], rtol=ACCURACY, M=scale)[0] for c in range(3)]
    return np.stack(found, 1).reshape(start.shape)
