"""The light in which photographs were taken, judged by what they show of a person: a small trained network.

In: copied colours by cell of the body's texture chart, and how each cell sees the sky. Out: order-2
coefficients of the light, tint and strength included, and the shading to divide the colours by. Trained by
``lca train relight`` on synthetic people, whose albedo is known; plain numpy here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from lca.errors import InvalidInputError

GRID = 64
"""Side of the texture chart in cells."""
WEIGHTS = Path(__file__).parent / "weights" / "light.safetensors"
FEWEST = 100
"""Cells below which nothing can be said about the light."""
USUAL = 0.53
"""What photographs show of white then (the mean of the generator's lights)."""
C0 = 0.28209479177387814
DARKEST, SHARPNESS = 0.03, 20.0
"""Least shading, and how sharply order-2 light bends away from below it."""
LOG_MEAN, LOG_SPREAD = -1.8, 1.2
SEES = np.array([3.5] + [3.0] * 8) / np.pi
SEES_MEAN = np.array([2.5] + [0.0] * 8)
"""Scales of the network's inputs."""


@dataclass(frozen=True)
class Cells:
    """``index`` (M,) row x GRID + column; ``colors`` (M,3) linear; ``transfer`` (M,9) in the frame of the
    light."""

    index: NDArray[np.int64]
    colors: NDArray[np.float32]
    transfer: NDArray[np.float32]


def by_cell(texel: NDArray, side: int, colors: NDArray, transfer: NDArray, weights: NDArray) -> Cells:
    """Weighted means over cells.

    Args:
        texel: (N,2) row and column on a chart of ``side``. colors: (N,3) linear. transfer: (N,9).
        weights: (N,) trust, >= 0; cells without any are left out.
    """
    at = np.asarray(texel, np.int64) * GRID // side
    cell = at[:, 0] * GRID + at[:, 1]
    total = np.bincount(cell, weights, GRID * GRID)
    index = np.flatnonzero(total > 1e-3 * total.mean())

    def mean(values: NDArray) -> NDArray[np.float32]:
        sums = [np.bincount(cell, weights * column, GRID * GRID)[index] for column in values.T]
        return np.asarray(np.stack(sums, 1) / total[index, None], np.float32)

    return Cells(index, mean(np.asarray(colors, np.float64)), mean(np.asarray(transfer, np.float64)))


def shading(transfer: NDArray, light: NDArray) -> NDArray[np.float32]:
    """What white shows (N,3) of a light (9,3): order 2, bent away from zero."""
    soft = np.asarray(transfer, np.float64) @ light / np.pi
    return np.asarray(np.logaddexp(0, SHARPNESS * soft - 1) / SHARPNESS + DARKEST, np.float32)


def usual_light() -> NDArray[np.float32]:
    """White light (9,3) of the usual strength."""
    light = np.zeros((9, 3), np.float32)
    light[0] = USUAL / C0
    return light


class LightEstimator:
    """The trained network: every cell is read by itself, attention says which of them tell about the light.

    Args:
        weights: tensors of ``lca_core.train.relight.LightNet``.

    Raises:
        InvalidInputError: tensors are missing or do not fit each other.
    """

    def __init__(self, weights: dict[str, NDArray]) -> None:
        try:
            self._row = np.full(GRID * GRID, -1)
            self._row[weights["cells"]] = np.arange(len(weights["cells"]))
            self._place = weights["place"]
            self._layers = {
                name: (weights[f"{name}.weight"].T, weights[f"{name}.bias"])
                for name in ("first", "second", "attention", "value", "third", "fourth", "out")
            }
            self._layers["out"][0].reshape(-1, 9, 3)
        except (KeyError, IndexError, ValueError) as error:
            raise InvalidInputError(f"These are no weights of a light estimator: {error}.") from error

    def __call__(self, cells: Cells) -> NDArray[np.float32]:
        """The light (9,3) of the photographs; the usual one when fewer than ``FEWEST`` cells are known."""
        row = self._row[cells.index]
        known = row >= 0
        if known.sum() < FEWEST:
            return usual_light()
        tone = (np.log(np.maximum(cells.colors[known], 0.004)) - LOG_MEAN) / LOG_SPREAD
        sees = cells.transfer[known] * SEES - SEES_MEAN
        x = np.concatenate([self._place[row[known]], tone, sees], 1)
        h = self._relu("second", self._relu("first", x))
        score = self._linear("attention", h)
        share = np.exp(score - score.max(0))
        share /= share.sum(0)
        value = self._linear("value", h)
        pooled = np.concatenate([(share.T @ value).ravel(), value.mean(0)])
        out = self._linear("out", self._relu("fourth", self._relu("third", pooled))).reshape(9, 3)
        level = np.exp(out[:1]) * 0.5 / C0
        return np.asarray(np.concatenate([level, 0.5 * out[1:] * level]), np.float32)

    def _linear(self, name: str, x: NDArray) -> NDArray:
        weight, bias = self._layers[name]
        return np.asarray(x @ weight + bias)

    def _relu(self, name: str, x: NDArray) -> NDArray:
        return np.maximum(self._linear(name, x), 0)


@lru_cache(maxsize=2)
def load_estimator(path: Path = WEIGHTS) -> LightEstimator:
    """The shipped estimator, or another one.

    Raises:
        InvalidInputError: no such file, or other weights.
    """
    try:
        return LightEstimator(load_file(path))
    except (OSError, ValueError, SafetensorError) as error:
        raise InvalidInputError(f"{path.name} is no file of weights: {error}.") from error
