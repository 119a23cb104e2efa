"""Divides the photographs' light out of copied colours, so that new light does not come on top of old.

In: linear colours of the Gaussians, their transfer turned into the pose of the photographs, weights. Out: the
order-2 light that explains the colours' shading, and the shading to divide by.

Colour = albedo x shading cannot be split without an assumption. Ours: albedo takes few values (clothes, skin,
hair: clusters of hue), shading is order 2 and the same for all of them, and its mean over the person is
white at level one. So the tint and the strength of the light stay in the albedo: a white balance and an
exposure are not decided here, only where the light came from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CLUSTERS = 8
ROUNDS = 12
DARK, BRIGHT = 0.45, 2.0
"""Bounds of the shading that is divided out: beyond them the estimate is not trusted."""
RIDGE = 0.02
"""Pull of the directional part to zero, as a share of the data's weight."""
SAMPLES = 12000


@dataclass(frozen=True)
class InputLight:
    """``light`` (9,3): coefficients relative to the mean; ``shading`` (N,3): what to divide by;
    ``explained``: share of the variance within clusters that the shading explains, 0-1."""

    light: NDArray[np.float32]
    shading: NDArray[np.float32]
    explained: float


def input_light(colors: NDArray, transfer: NDArray, weights: NDArray, *, seed: int = 0) -> InputLight:
    """Estimate the light in ``colors``.

    Args:
        colors: (N,3) linear. transfer: (N,9) in the frame of the light. weights: (N,) trust, >= 0; colours
            the network made up and covered places get 0.
    """
    colors, transfer = np.asarray(colors, np.float64), np.asarray(transfer, np.float64) / np.pi
    level = colors.mean(1)
    usable = (np.asarray(weights) > 0) & (level > 0.01) & (colors.max(1) < 0.97)
    light = np.zeros((9, 3))
    light[0] = 1 / 0.28209479177387814
    if usable.sum() < 200:
        return InputLight(light.astype(np.float32), np.ones_like(colors, np.float32), 0.0)
    rng = np.random.default_rng(seed)
    pick = rng.choice(np.flatnonzero(usable), min(SAMPLES, int(usable.sum())), replace=False)
    c, t, w = colors[pick], transfer[pick], np.asarray(weights, np.float64)[pick]
    labels = _clusters(c, rng)
    # Mean shading is one: work with the transfer of a unit ambient divided out of its first column.
    ambient = t @ light[:, 0]
    one = np.eye(CLUSTERS)[labels]
    tone = np.zeros((9, 3))
    explained = 0.0
    robust = w.copy()
    grey = c.mean(1)
    coefficients = np.zeros(8)
    for _ in range(ROUNDS):
        shading = np.maximum(ambient + t[:, 1:] @ coefficients, 0.2)
        weight = (robust[:, None] * one).sum(0) + 1e-9
        mean = (robust[:, None] * one * (grey / shading)[:, None]).sum(0) / weight
        base = (one @ mean).clip(1e-3)
        ratio = grey / base
        rows = t[:, 1:]
        a = rows.T @ (robust[:, None] * rows)
        a += RIDGE * robust.sum() * np.eye(8) * np.mean(rows**2)
        coefficients = np.linalg.solve(a, rows.T @ (robust * (ratio - ambient)))
        error = ratio - ambient - rows @ coefficients
        spread = 1.4826 * np.median(np.abs(error)) + 1e-3
        robust = w / (1 + (error / (2 * spread)) ** 2) ** 2  # Geman-McClure: patterns are no shading
        before = np.sum(robust * (ratio - np.average(ratio, weights=robust)) ** 2)
        explained = float(np.clip(1 - np.sum(robust * error**2) / max(before, 1e-9), 0, 1))
    tone[1:] = coefficients[:, None]
    total = light + tone
    shading = transfer @ total
    shading = shading / np.average(shading[usable], axis=0, weights=np.asarray(weights)[usable])
    return InputLight(total.astype(np.float32), np.clip(shading, DARK, BRIGHT).astype(np.float32), explained)


def _clusters(colors: NDArray, rng: np.random.Generator) -> NDArray[np.int64]:
    """Labels (M,) by hue and, more weakly, brightness: k-means from spread seeds."""
    level = colors.mean(1, keepdims=True)
    feature = np.concatenate([colors / (level + 0.02) * 1.5, 0.4 * np.log(level + 0.02)], 1)
    centres = feature[rng.integers(len(feature))][None]
    for _ in range(CLUSTERS - 1):
        far = ((feature[:, None] - centres) ** 2).sum(-1).min(1)
        centres = np.concatenate([centres, feature[rng.choice(len(feature), p=far / far.sum())][None]])
    labels = np.zeros(len(feature), np.int64)
    for _ in range(8):
        labels = ((feature[:, None] - centres) ** 2).sum(-1).argmin(1)
        for k in range(CLUSTERS):
            if (labels == k).any():
                centres[k] = feature[labels == k].mean(0)
    return labels
