"""A guess for the colours that no picture shows, from those that one does.

How clothes, hair and skin are coloured is a Gaussian over the texels of the body: a mean person and ``R``
ways in which people's colours vary together (``weights/colors.safetensors``, principal components of the
training people, :mod:`lca_core.train.colors`). The seen texels say how far this person goes each way, and
the rest follows: a plain back behind a plain front, one colour for both shoes, hair at the back like hair
at the temples, a back a little darker than a front that faces the light. A print or a hand that the ways
cannot explain is an outlier and hardly counts. Close to seen texels, what the guess misses there is added.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

WEIGHTS = Path(__file__).parent / "weights" / "colors.safetensors"
ANCHORS = 512
"""Places at which the misses of the guess are summed before they spread."""
NEAR_M = 0.03
"""How far a miss spreads, standard deviation in metres; 0.3 of it also to the mirrored place."""
MIRRORED = 0.3
STAY = 0.1
"""Weight, in seen texels at the place itself, with which a miss is taken for zero."""
ALIKE = 7.5 / 128**2
"""Share of a grid's texels that miss alike and count as one witness: light and cloth change slowly."""
FLOOR = 0.002
"""Variance that every seen colour has at least: light, creases, the fit being a centimetre off."""
OUTLIER = 2.0
"""Degrees of freedom of the misses (Student's t): fewer = what does not fit counts less."""
PASSES = 2
HEARD = 0.03
"""Share of a seen head's trust when the rest of the body is guessed. All of it costs nothing on average, but
draws half of the long hair that hangs down some backs on everybody with dark hair."""


@dataclass(frozen=True)
class ColorPrior:
    """Colours of people at T texels, sRGB 0-1: mean [T,3], ways [T,R] scaled to unit variance (the same for
    the three channels), noise [T] variance beside them; grid: side of the grid the texels are from;
    head [T] bool: texels of the head."""

    mean: Tensor
    ways: Tensor
    noise: Tensor
    grid: int
    head: Tensor

    def guess(self, color: Tensor, trust: Tensor) -> Tensor:
        """Most likely colours [B,T,3] of people of whom color [B,T,3] is seen with trust [B,T,1] 0-1."""
        head = self.head.to(color.device)[:, None]
        below = self._solve(color, torch.where(head, HEARD * trust, trust))
        return torch.where(head, self._solve(color, trust), below)

    def _solve(self, color: Tensor, trust: Tensor) -> Tensor:
        mean, ways, noise = (x.to(color) for x in (self.mean, self.ways, self.noise))
        exact = trust / ((noise[:, None] + FLOOR) * max(ALIKE * self.grid**2, 1.0))
        prior = torch.eye(ways.shape[1]).to(color)
        miss = color - mean
        weight, out = exact, mean
        for step in range(PASSES):
            if step:
                odd = (color - out).square().mean(2, keepdim=True) / (noise[:, None] + FLOOR)
                weight = exact * (OUTLIER + 1) / (OUTLIER + odd)
            weighted = (ways * weight).transpose(1, 2)
            how = torch.linalg.solve(weighted @ ways + prior, weighted @ miss)
            out = mean + ways @ how
        return out


@lru_cache(maxsize=1)
def _maps() -> dict[str, Tensor]:
    return {k: v.float() for k, v in load_file(WEIGHTS).items()}


def load_prior(rows: Tensor, cols: Tensor, size: int, head: Tensor) -> ColorPrior:
    """The shipped prior at texels rows, cols [T] of a grid of ``size``; head [T] bool."""
    maps = _maps()
    packed = torch.cat([maps["mean"], maps["ways"], maps["noise"]])[None]
    if size != packed.shape[-1]:
        packed = F.interpolate(packed, size=(size, size), mode="bilinear", antialias=True)
    values = packed[0][:, rows, cols].T.contiguous()
    return ColorPrior(values[:, :3], values[:, 3:-1], values[:, -1], size, head)


@dataclass(frozen=True)
class Spread:
    """Where misses go: nearest [T] anchor of each texel, kernel [T,A] how much it hears from each anchor."""

    nearest: Tensor
    kernel: Tensor

    @staticmethod
    def build(points: Tensor, anchors: Tensor) -> Spread:
        """For points [T,3] m of the rest body and anchors [A,3] among them."""
        mirror = torch.tensor([-1.0, 1.0, 1.0], dtype=points.dtype)

        def bump(centres: Tensor) -> Tensor:
            return torch.exp(-torch.cdist(points, centres).square() / (2 * NEAR_M**2))

        kernel = bump(anchors) + MIRRORED * bump(anchors * mirror)
        return Spread(torch.cdist(points, anchors).argmin(1), kernel.float())

    def __call__(self, miss: Tensor, trust: Tensor) -> Tensor:
        """miss [B,T,3] where trust [B,T,1] -> what to add everywhere [B,T,3]."""
        nearest, kernel = self.nearest.to(miss.device), self.kernel.to(miss.device)
        packed = torch.cat([miss * trust, trust], 2)
        # Anchors hold means, so that the density of texels (a face has many) does not count as certainty.
        texels = torch.bincount(nearest, minlength=kernel.shape[1]).clamp(min=1).to(miss)[:, None]
        anchors = packed.new_zeros(len(packed), kernel.shape[1], 4).index_add_(1, nearest, packed) / texels
        heard = kernel @ anchors
        return heard[..., :3] / (heard[..., 3:] + STAY)


@torch.no_grad()
def fill(color: Tensor, trust: Tensor, prior: ColorPrior | None, spread: Spread) -> Tensor:
    """A guess for every texel [B,T,3], 0-1; without a prior it starts from the mean of the seen colours.

    Args:
        color: [B,T,3] sRGB 0-1. trust: [B,T,1] 0-1, 0 where unseen.
    """
    if prior is None:
        seen = trust.sum(1, keepdim=True)
        guess = (color * trust).sum(1, keepdim=True) / seen.clamp(min=1e-6)
        guess = torch.where(seen > 0, guess, torch.full_like(guess, 0.5)).expand_as(color)
    else:
        guess = prior.guess(color, trust)
    return (guess + spread(color - guess, trust)).clamp(0, 1)
