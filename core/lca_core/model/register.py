"""Registration of the views: small smooth shifts after which all photographs agree about the surface.

The fit of a body to a frame is a centimetre off, differently in every frame; copied as they are, a print
appears twice and a hem jumps where one view takes over from another. In: points of the body and where every
view shows them. Out: for each view a smooth field of shifts on the body, by which its pixels are then read.
All views move towards each other (colour map optimisation, Zhou & Koltun 2014, with a cage on the body in
place of an image lattice), so the mean of the fits stays where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from lca_core.body.cage import Cage, mixing
from lca_core.body.points import farthest_points

NODES = 220
PER_METRE = 170.0
"""Pixels per metre of the pictures that are compared: 6 mm."""
LEVELS = ((5.0, 40), (2.5, 30), (1.2, 30))
"""Blur in pixels, and steps: from what lies 3 cm apart to a centimetre."""
SURROUNDINGS = 4.0
"""Colours count by their difference from surroundings so many times as wide as the blur: light and exposure,
which differ between frames, do not move anything."""
ITSELF = 0.25
"""Weight of the colour itself beside that difference."""
ROUGH, STAY = 180.0, 200.0
"""Weights of squared differences between linked nodes and of squared shifts, m^2; the error is about 0.1."""
RATE = 0.0025
LIMIT = 0.04
"""Metres, the largest shift along an axis of the picture."""
SEEN = 0.05


@dataclass(frozen=True)
class View:
    """One photograph and where it shows T points.

    Attributes:
        rgb [H,W,3] 0-1; mask [H,W] 0-1. pixels [T,2]; per_metre [T] pixels at the point's depth; trust [T]
            0-1, 0 = unseen.
    """

    rgb: NDArray[np.float32]
    mask: NDArray[np.float32]
    pixels: NDArray[np.float32]
    per_metre: NDArray[np.float32]
    trust: NDArray[np.float32]


@dataclass(frozen=True)
class Registration:
    """Shifts [N,M,2] m, right and down in the picture, of the nodes at ``places`` [M,3] of the mean body."""

    places: NDArray[np.float32]
    shifts: NDArray[np.float32]

    def at(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Shifts [N,T,2] in metres of points [T,3] of the mean body at rest."""
        n, m, _ = self.shifts.shape
        spread = mixing(self.places, points) @ self.shifts.transpose(1, 0, 2).reshape(m, -1)
        return np.asarray(spread, np.float32).reshape(-1, n, 2).transpose(1, 0, 2)


def register(
    points: NDArray[np.floating],
    views: list[View | None],
    firm: NDArray[np.floating],
    start: Registration | None = None,
) -> Registration:
    """Find the shifts.

    Args:
        points: [T,3] on the mean body at rest, spread evenly. views: None is not used and gets no shift.
        firm: [T] 0-1, 1 where nothing may move (landmarks hold the face).
        start: what was found on a rougher surface; only fine shifts are then looked for.
    """
    nodes = farthest_points(points, NODES)
    places = np.asarray(points[nodes], np.float32)
    used = [(i, _shrunk(v)) for i, v in enumerate(views) if v is not None and (v.trust > SEEN).any()]
    shifts = np.zeros((len(views), len(nodes), 2), np.float32) if start is None else start.at(places)
    if len(used) > 1:
        which = [i for i, _ in used]
        levels = LEVELS if start is None else LEVELS[1:]
        with torch.enable_grad():
            shifts[which] = _descend(
                Cage(points, nodes), [v for _, v in used], firm[nodes], shifts[which], levels
            )
    return Registration(places, shifts)


def _descend(
    cage: Cage,
    views: list[View],
    firm: NDArray[np.floating],
    start: NDArray[np.float32],
    levels: Sequence[tuple[float, int]],
) -> NDArray[np.float32]:
    """Shifts [N,M,2] of the cage's nodes, from ``start`` [N,M,2]."""
    n, m = len(views), len(cage.nodes)
    count = len(views[0].trust)
    values = torch.tensor(start, requires_grad=True)
    free = 1 - torch.from_numpy(np.asarray(firm, np.float32))[None, :, None]
    rows = [torch.from_numpy(np.nonzero(v.trust > SEEN)[0]) for v in views]
    optimiser = torch.optim.Adam([values], betas=(0.8, 0.95))
    for blur, steps in levels:
        pictures = [_feature(v, blur) for v in views]
        for step in range(steps):
            late = 0.4 if step >= 0.6 * steps else 1.0
            optimiser.param_groups[0]["lr"] = RATE * late * min(1.0, blur / 2.5)
            optimiser.zero_grad()
            shifts = values * free
            moved = cage(shifts.transpose(0, 1).reshape(m, -1)).view(count, n, 2)
            read, weight = zip(
                *(
                    _read(p, v, r, moved[r, i])
                    for i, (p, v, r) in enumerate(zip(pictures, views, rows, strict=True))
                ),
                strict=True,
            )
            rough = torch.stack([cage.roughness(one) for one in shifts]).mean()
            loss = _disagreement(torch.stack(read), torch.stack(weight)) + ROUGH * rough
            loss = loss + STAY * shifts.square().sum(-1).mean()
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                values.clamp_(-LIMIT, LIMIT)
    return np.asarray((values.detach() * free).numpy(), np.float32)


def _read(picture: Tensor, view: View, rows: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
    """Features [T,6] and weights [T] of a view at its points ``rows`` [R], ``moved`` [R,2] metres."""
    at = torch.from_numpy(view.pixels)[rows] + moved * torch.from_numpy(view.per_metre)[rows, None]
    height, width = picture.shape[-2:]
    grid = at / torch.tensor([width, height]) * 2 - 1
    value = F.grid_sample(picture, grid[None, None], align_corners=False, padding_mode="border")[0, :, 0].T
    full = torch.zeros(len(view.trust), value.shape[1]).index_copy(0, rows, value)
    # Points that slide off the person say nothing; that must not be a way to agree.
    weight = torch.from_numpy(view.trust).square() * full[:, 6].detach().clamp(0, 1)
    return full[:, :6], weight


def _disagreement(colors: Tensor, weight: Tensor) -> Tensor:
    """Mean distance of what a view reads [N,T,C] from what the others read there, weighted [N,T]."""
    together = weight.sum(0)
    others = together - weight
    mean = ((weight[..., None] * colors).sum(0) - weight[..., None] * colors) / others[..., None].clamp(
        min=1e-3
    )
    share = weight * others / together.clamp(min=1e-3)
    return (share * (colors - mean.detach()).abs().sum(-1)).sum() / share.sum().clamp(min=1.0)


def _shrunk(view: View) -> View:
    """The part of a view that shows the points, at ``PER_METRE``."""
    seen = view.trust > SEEN
    h, w = view.mask.shape
    low = np.clip(np.floor(view.pixels[seen].min(0)).astype(int) - 8, 0, (w - 2, h - 2))
    high = np.clip(np.ceil(view.pixels[seen].max(0)).astype(int) + 9, low + 2, (w, h))
    cut = np.s_[low[1] : high[1], low[0] : high[0]]
    rgb, mask = view.rgb[cut], view.mask[cut]
    scale = min(1.0, PER_METRE / float(np.median(view.per_metre[seen])))
    size = tuple(max(4, round(side * scale)) for side in mask.shape)
    packed = np.concatenate([rgb * mask[..., None], mask[..., None]], 2).transpose(2, 0, 1)[None]
    small = F.interpolate(torch.from_numpy(packed), size, mode="area")[0].permute(1, 2, 0).numpy()
    ratio = np.array([size[1] / mask.shape[1], size[0] / mask.shape[0]], np.float32)
    return replace(
        view,
        rgb=small[..., :3] / np.maximum(small[..., 3:], 1e-3),
        mask=small[..., 3],
        pixels=((view.pixels - low) * ratio).astype(np.float32),
        per_metre=(view.per_metre * ratio.mean()).astype(np.float32),
    )


def _feature(view: View, blur: float) -> Tensor:
    """[1,7,H,W]: difference from the surroundings, the blurred colour itself, and the mask."""
    solid = view.mask * (view.mask > 0.5)

    def smooth(sigma: float) -> NDArray[np.float32]:
        weight = np.maximum(ndimage.gaussian_filter(solid, sigma), 1e-3)
        channels = [ndimage.gaussian_filter(c * solid, sigma) / weight for c in np.moveaxis(view.rgb, -1, 0)]
        return np.stack(channels)

    fine = smooth(blur)
    mask = ndimage.gaussian_filter(solid, 1.0)[None]
    out = np.concatenate([fine - smooth(SURROUNDINGS * blur), ITSELF * fine, mask])
    return torch.from_numpy(np.ascontiguousarray(out[None], np.float32))
