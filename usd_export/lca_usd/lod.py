"""Levels of detail: which splats a coarser level keeps, and how much larger they become there.

Along the Morton curve every 16 neighbours keep the most important one in level 2 and every 4 in level 1, so
a coarse level is thinned evenly. Sorted by level, each level is a prefix of the arrays: an engine draws the
first ``counts[k]`` splats, scaled by ``factors[k]``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lca_usd.asset import Asset, Levels, Splats, SplatShape

GROUPS = (4, 16)
"""Neighbours that share one splat in level 1 and in level 2."""


def importance(scales: npt.NDArray[Any], opacities: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(N,3) m, (N,) -> (N,) what a splat adds to a picture: opacity times its largest cross-section."""
    ordered = np.sort(np.asarray(scales, np.float64), axis=1)
    return np.asarray(opacities, np.float64) * ordered[:, 1] * ordered[:, 2]


def level_of(scales: npt.NDArray[Any], opacities: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Splats in Morton order -> (N,) the coarsest level that keeps each."""
    value = importance(scales, opacities)
    level = np.zeros(len(value), np.int64)
    for number, size in enumerate(GROUPS, 1):
        # A coarser level chooses among what the finer one kept, so that levels nest.
        worth = np.where(level == number - 1, value, -1.0)
        padded = np.pad(worth, (0, -len(worth) % size), constant_values=-2.0).reshape(-1, size)
        level[np.arange(len(padded)) * size + padded.argmax(axis=1)] = number
    return level


def with_levels(asset: Asset) -> Asset:
    """The asset with its splats sorted by level and its levels described."""
    splats, levels = by_level(asset.splats)
    return replace(asset, splats=splats, levels=levels)


def by_level(splats: Splats) -> tuple[Splats, Levels]:
    """Sort splats (Morton order inside a level, coarsest level first) and describe the levels.

    The factors keep the summed importance of what a level draws equal to that of all splats.
    """
    level = level_of(splats.scales, splats.opacities)
    order = np.argsort(-level, kind="stable")
    value = importance(splats.scales, splats.opacities)
    tops = range(len(GROUPS) + 1)
    counts = tuple(int((level >= k).sum()) for k in tops)
    factors = tuple(float(np.sqrt(value.sum() / max(value[level >= k].sum(), 1e-30))) for k in tops)
    return permuted(splats, order), Levels(counts, factors)


def permuted(splats: Splats, order: npt.NDArray[np.int64]) -> Splats:
    """The splats ``order`` names, in that order; shapes lose the rows that are not named."""
    position = np.full(len(splats), -1, np.int64)
    position[order] = np.arange(len(order))
    return replace(
        splats,
        **{
            name: np.ascontiguousarray(getattr(splats, name)[order])
            for name in (
                "means", "quats", "scales", "opacities", "sh", "joint_indices", "joint_weights", "source"
            )
        },
        shapes=tuple(_permuted_shape(shape, position) for shape in splats.shapes),
    )  # fmt: skip


def _permuted_shape(shape: SplatShape, position: npt.NDArray[np.int64]) -> SplatShape:
    index = position[shape.index]
    rows = np.flatnonzero(index >= 0)
    rows = rows[np.argsort(index[rows], kind="stable")]
    return SplatShape(
        shape.name,
        index[rows].astype(np.int32),
        shape.offsets[rows],
        shape.quats[rows],
        shape.log_scales[rows],
        shape.dc[rows],
    )


def level(splats: Splats, levels: Levels, number: int) -> Splats:
    """One level as splats of its own, enlarged; ``splats`` are those of :func:`by_level`."""
    kept = permuted(splats, np.arange(levels.counts[number]))
    return replace(kept, scales=(kept.scales * levels.factors[number]).astype(np.float32))
