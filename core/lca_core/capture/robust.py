"""Residuals that outliers cannot pull: distances in, bounded penalties out."""

from __future__ import annotations

from torch import Tensor


def geman_mcclure(residual: Tensor, scale: float) -> Tensor:
    """r² s² / (r² + s²): quadratic near zero, at most s² for outliers."""
    square = residual * residual
    return square * scale**2 / (square + scale**2)
