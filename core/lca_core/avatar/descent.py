"""Gradient descent for a fit that sees only a part of what it changes.

Adam divides by every parameter's own gradient, so that what photographs hardly show moves as fast as what
they show well, driven by noise. Here the divisor never falls below the typical gradient of its group:
unseen nodes stay where their neighbours hold them. Rows are steered as vectors (no preferred axes).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

MEMORY, SQUARES = 0.9, 0.98
"""Decay of the mean gradient and of its square."""


class SteadyAdam:
    """Adam (Kingma and Ba 2015) with one step size per row and a floor under it.

    Args:
        values: name -> leaf tensor (M,C) or (M,) whose rows are steered together.
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        self.values = dict(values)
        self._mean = {name: torch.zeros_like(v) for name, v in self.values.items()}
        self._square = {name: torch.zeros(len(v), 1) for name, v in self.values.items()}
        self._steps = dict.fromkeys(self.values, 0)

    def clear(self) -> None:
        """Forget the gradients of the last step."""
        for value in self.values.values():
            value.grad = None

    @torch.no_grad()
    def step(self, rates: Mapping[str, float]) -> None:
        """Move what has a rate above 0 and a gradient."""
        for name, rate in rates.items():
            value = self.values[name]
            if rate <= 0 or value.grad is None:
                continue
            self._steps[name] += 1
            mean, square = self._mean[name], self._square[name]
            mean.mul_(MEMORY).add_(value.grad, alpha=1 - MEMORY)
            rows = value.grad.view(len(value), -1)
            square.mul_(SQUARES).add_(rows.square().mean(1, keepdim=True), alpha=1 - SQUARES)
            now = square / (1 - SQUARES ** self._steps[name])
            floor = (now + now.mean()).sqrt().clamp(min=1e-20)
            moved = mean.view(len(value), -1) / floor / (1 - MEMORY ** self._steps[name])
            value.sub_(rate * moved.view_as(value))
