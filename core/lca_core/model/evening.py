"""Evens out what the guess of unseen colours cannot know.

The guess (``fill`` and the network's residual) carries faint bands, seams and shade of the training people:
right on the mean, but on a plain jacket they look like stains, and like the body under it. In: guessed
colours on the body. Out: the same without contrasts too faint to be another garment (a bilateral filter on
the surface, Tomasi & Manduchi 1998); hems, prints and skin beside cloth stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree
from torch import Tensor

from lca_core.body.cage import one_per_cell
from lca_core.model.template import Template

REACH_M, CELL_M, NEIGHBOURS = 0.08, 0.008, 160
"""Standard deviation of the filter on the surface; spacing of the places that speak; how many are heard."""
BRIGHT, HUE = 0.05, 0.012
"""Standard deviations of its ranges: brightness, and (r, g) / sum."""
PASSES = 2
"""One leaves traces, three make blots. Two cost guessed colours of synthetic people 0.03 to 0.1 dB."""


@dataclass(frozen=True)
class Evening:
    """Which places hear each other: point numbers ``rows`` and ``cols`` (P,), ``near`` (P,) by distance."""

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    near: NDArray[np.float32]

    @staticmethod
    def build(points: NDArray[np.floating]) -> Evening:
        """For points (T,3) m of the body at rest."""
        speak = one_per_cell(points, CELL_M)
        count = min(NEIGHBOURS, len(speak))
        distance, index = cKDTree(points[speak]).query(points, count, distance_upper_bound=2.2 * REACH_M)
        distance, index = distance.reshape(len(points), count), index.reshape(len(points), count)
        heard = np.isfinite(distance)
        return Evening(
            np.repeat(np.arange(len(points)), heard.sum(1)),
            speak[index[heard]],
            np.exp(-np.square(distance[heard] / REACH_M) / 2).astype(np.float32),
        )

    def __call__(self, color: NDArray[np.float32]) -> NDArray[np.float32]:
        """Colours (T,3) sRGB 0-1 without faint contrasts."""
        for _ in range(PASSES):
            looks = np.concatenate(
                [
                    color.mean(1, keepdims=True) / BRIGHT,
                    color[:, :2] / (color.sum(1, keepdims=True) + 0.15) / HUE,
                ],
                1,
            )
            apart = np.square(looks[self.rows] - looks[self.cols]).sum(1)
            weight = self.near * np.exp(-apart / 2)
            heard = sparse.csr_matrix((weight, (self.rows, self.cols)), shape=(len(color), len(color)))
            total = np.asarray(heard.sum(1))
            color = np.where(total > 1e-6, (heard @ color) / np.maximum(total, 1e-6), color).astype(
                np.float32
            )
        return color


@lru_cache(maxsize=4)
def _evening(template: Template) -> Evening:
    return Evening.build(template._rest(torch.zeros(50))[0].numpy())


def even(template: Template, predicted: Tensor) -> Tensor:
    """Guessed colours [1,3,U,U] on the grid of ``template``, evened."""
    color = template.gather(predicted.detach())[0].float().cpu().numpy()
    return template.scatter(torch.from_numpy(_evening(template)(color))[None]).to(predicted)
