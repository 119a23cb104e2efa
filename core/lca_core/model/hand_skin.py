"""Stains on hands, continued from the skin beside them.

A hand is small and fitted a finger's width off: rims of its fingers take a little of the trousers, sleeves
or floor behind them. In: the colours of the samples and how sure the photographs are of each. Out: the same,
where a colour that is unlike its surroundings on the hand, and that hardly a view vouches for, has become
like them. A ring or a tattoo that views see well stays; a glove is its own surroundings.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lca_core.body.cage import one_per_cell
from lca_core.body.names import JOINT_INDEX
from lca_core.model.surface import BodyPoints
from lca_core.model.view_choice import hand_points

CELL_M, NEIGHBOURS = 0.004, 96
"""Metres between the places that are asked and how many of them: about three centimetres around."""
TURNED_M = 0.025
"""Metres that a normal at a right angle counts as: back and palm of a hand are lit differently."""
GUESS = 0.08
"""What a place says that no view vouches for, where 1 is one that is surely seen."""
HUE, BRIGHT = 0.022, 0.11
"""Distances of (r, g, b) / sum and of the logarithm of brightness that count as one."""
SLEEVE_M = (0.02, 0.04)
"""Metres from the wrist up to which a sleeve may reach, and from which colours are surely the hand's."""
UNLIKE = (0.8, 1.6)
"""Distances, in natural spreads of the hand but at least in the units above, from which a colour begins to be
taken for a stain and is one."""


def clean_hands(
    points: BodyPoints,
    color: NDArray[np.floating],
    sure: NDArray[np.floating],
    copied: NDArray[np.floating],
) -> NDArray[np.float32]:
    """Colours [T,3] without stains on the hands.

    Args:
        color: [T,3] sRGB 0-1. sure: [T] 0-1, how much the views vouch for each. copied: [T] 0-1, its share
            that comes from photographs; the rest is a guess, which has no stains of its own.
    """
    out = np.asarray(color, np.float32).copy()
    rest = points._rest(torch.zeros(50))[0].numpy()
    places = np.concatenate([rest, TURNED_M / np.sqrt(2) * points.rest_normals()], 1)
    hands = hand_points(points)
    wrist = float(points.body.rest(torch.zeros(1, 50), None)[1][0, JOINT_INDEX["left_wrist"], 0])
    for side in (rest[:, 0] > 0, rest[:, 0] <= 0):
        mine = np.flatnonzero(hands & side)
        if len(mine) > NEIGHBOURS:
            bare = (np.abs(rest[mine, 0]) - wrist - SLEEVE_M[0]) / (SLEEVE_M[1] - SLEEVE_M[0])
            doubt = np.clip(bare, 0, 1) * (1 - sure[mine]) * copied[mine]
            out[mine] = _cleaned(places[mine], out[mine], sure[mine].astype(np.float64), doubt)
    return out


def _cleaned(
    places: NDArray[np.floating],
    color: NDArray[np.float32],
    sure: NDArray[np.float64],
    doubt: NDArray[np.floating],
) -> NDArray[np.float32]:
    asked = one_per_cell(places[:, :3], CELL_M)
    if len(asked) < NEIGHBOURS:
        return color
    near = asked[cKDTree(places[asked]).query(places, NEIGHBOURS)[1]]
    says = GUESS + sure
    looks = _looks(color)
    usual = _weighted_median(looks[near], says[near])
    away = looks - usual
    spread = np.maximum(1.0, 1.5 * _weighted_median(np.abs(away)[None], says[None])[0])
    unlike = np.linalg.norm(away / spread, axis=1)
    least, most = UNLIKE
    strange = np.clip((unlike - least) / (most - least), 0, 1)
    # Continued from neighbours that are like their own surroundings.
    says = says * (1 - strange) + 1e-4
    beside = np.einsum("tk,tkc->tc", says[near], color[near]) / says[near].sum(1)[:, None]
    return np.asarray(color + (doubt * strange)[:, None] * (beside - color), np.float32)


def _looks(color: NDArray[np.floating]) -> NDArray[np.float64]:
    """Hue and brightness [T,4] in units that count as one."""
    total = color.sum(1, keepdims=True)
    return np.concatenate([color / (total + 0.1) / HUE, np.log(total / 3 + 0.05) / BRIGHT], 1)


def _weighted_median(values: NDArray[np.floating], weight: NDArray[np.floating]) -> NDArray[np.float64]:
    """Median of values [T,K,C] over K, weights [T,K] -> [T,C]."""
    order = np.argsort(values, axis=1)
    passed = np.cumsum(np.take_along_axis(weight[..., None], order, 1), 1)
    middle = (passed < 0.5 * passed[:, -1:]).sum(1, keepdims=True)
    at = np.take_along_axis(order, np.minimum(middle, values.shape[1] - 1), 1)
    return np.asarray(np.take_along_axis(values, at, 1)[:, 0], np.float64)
