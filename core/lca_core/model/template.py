"""The body as the network sees it: texels of the UV atlas on the rest body, and where they go when it poses.

The points of :mod:`lca_core.model.surface` on a UV grid, as per-texel tensors. "Texel" always means one that
can carry a Gaussian: inside the atlas and not on a cavity (mouth bag, eye sockets).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lca.errors import InvalidInputError
from lca_core.body.atlas import UvAtlas
from lca_core.body.model import BodyModel
from lca_core.body.names import HEAD_JOINTS
from lca_core.body.points import farthest_points
from lca_core.body.points import locate as locate_on_body
from lca_core.model.fill import ANCHORS, ColorPrior, Spread, fill, load_prior
from lca_core.model.surface import BodyPoints, LocatedPoints, TemplateBody, array

Locate = Callable[[NDArray[np.int64], NDArray[np.int64], int], LocatedPoints]
"""Texels of a grid of any size -> points of the body: rows (N,), columns (N,), size."""


class TemplateAtlas(Protocol):
    """What is asked of a UV atlas (``lca_core.body.UvAtlas`` is one)."""

    @property
    def mask(self) -> Any: ...

    @property
    def tri(self) -> Any: ...

    @property
    def bary(self) -> Any: ...

    @property
    def cavity(self) -> Any: ...

    @property
    def island(self) -> Any: ...

    def frames(self, vertices: Any) -> Any: ...


@dataclass
class RestMaps:
    """The undressed body in T-pose on the UV grid.

    position [B,3,U,U] m; normal [B,3,U,U] unit; frame [B,U,U,3,3] columns tangent, bitangent, normal; spacing
    [B,2,U,U] m between neighbouring texels along the two grid axes (columns, rows); joints [B,55,3] m.
    """

    position: Tensor
    normal: Tensor
    frame: Tensor
    spacing: Tensor
    joints: Tensor


class Template(BodyPoints):
    """Per-texel constants of a body and an atlas, see :class:`BodyPoints` for what every point has.

    Attributes:
        size: U. rows, cols: [T] int64 grid indices of the texels. carries: [U,U] bool.
        locate: finds single texels of finer grids; None where that is not supported. fitted: see
            below.

    Args:
        fitted: body and atlas are the shipped ones, for which colours have been learned (``fill``) and teeth
            made (``teeth``).
    """

    def __init__(
        self,
        body: TemplateBody,
        atlas: TemplateAtlas,
        build: Callable[[int], TemplateAtlas] | None = None,
        locate: Locate | None = None,
        fitted: bool = False,
    ) -> None:
        mask, cavity = array(atlas.mask).astype(bool), array(atlas.cavity).astype(bool)
        self.atlas = atlas
        self.locate = locate
        self._build = build
        self.size = int(mask.shape[0])
        self.carries = mask & ~cavity
        self.rows, self.cols = np.nonzero(self.carries)
        super().__init__(
            body, array(atlas.tri)[self.rows, self.cols], array(atlas.bary)[self.rows, self.cols]
        )
        self.island = torch.from_numpy(array(atlas.island).astype(np.int64))[None, None]
        self.carries_map = torch.from_numpy(self.carries.astype(np.float32))[None, None]
        self._flat = torch.from_numpy(self.rows * self.size + self.cols)
        self._sizes: dict[int, Template] = {}
        self._spacing: NDArray[np.float32] | None = None
        self.fitted = fitted
        self._prior: ColorPrior | None = None
        self._spread: Spread | None = None

    @staticmethod
    def load(size: int) -> Template:
        """The shipped body with its atlas at ``size`` x ``size``; built once per process."""
        return _load(size)

    def at(self, size: int) -> Template:
        """The same body on a grid of another ``size``."""
        if size == self.size:
            return self
        if self._build is None:
            raise InvalidInputError("This template was made for one grid size only.")
        if size not in self._sizes:
            self._sizes[size] = Template(self.body, self._build(size), self._build, self.locate, self.fitted)
        return self._sizes[size]

    def gather(self, maps: Tensor) -> Tensor:
        """[B,C,U,U] -> [B,T,C]."""
        return maps.flatten(2)[:, :, self._flat.to(maps.device)].transpose(1, 2)

    def scatter(self, values: Tensor) -> Tensor:
        """[B,T,C] -> [B,C,U,U], zero elsewhere."""
        b, _, c = values.shape
        out = values.new_zeros(b, c, self.size * self.size)
        out[:, :, self._flat.to(values.device)] = values.transpose(1, 2)
        return out.view(b, c, self.size, self.size)

    def rest(self, betas: Tensor) -> RestMaps:
        """Rest bodies of betas [B,50]; constant in training, so there is no gradient to betas."""
        entries = [self._rest(b) for b in betas.detach().cpu()]
        stacked = [torch.stack(parts).to(betas.device) for parts in zip(*entries, strict=True)]
        position, frame, joints = stacked
        position, frame = self.scatter(position), self.scatter(frame.flatten(2))
        frame = frame.permute(0, 2, 3, 1).unflatten(-1, (3, 3))
        normal = frame[..., 2].permute(0, 3, 1, 2)
        return RestMaps(position, normal, frame, self.spacing(position), joints)

    def _frames(self, vertices: NDArray[np.float32]) -> NDArray[np.float32]:
        frames = array(self.atlas.frames(torch.from_numpy(vertices)))
        return frames.reshape(self.size, self.size, 3, 3)[self.rows, self.cols].astype(np.float32)

    def following(self) -> NDArray[np.int64]:
        """The next texel along the row [T], -1 where there is none."""
        index = np.full((self.size, self.size + 1), -1, np.int64)
        index[self.rows, self.cols] = np.arange(self.count)
        return index[self.rows, self.cols + 1]

    def spacing(self, position: Tensor) -> Tensor:
        """Distance of neighbouring texels: position [B,3,U,U] -> [B,2,U,U] (along columns, along rows).

        The smaller of the two neighbours on each axis; neighbours on another UV island do not count.
        """
        carries = self.carries_map.to(position)
        far = 1.0
        out = []
        for axis in (3, 2):
            step = torch.roll(position, -1, axis) - position
            same = (torch.roll(self.island, -1, axis) == self.island).to(position)
            both = carries * torch.roll(carries, -1, axis) * same
            length = torch.where(
                both > 0, step.square().sum(1, keepdim=True).sqrt(), torch.full_like(both, far)
            )
            out.append(torch.minimum(length, torch.roll(length, 1, axis)))
        width, height = out
        # A texel without neighbour on one axis takes the other axis; a lonely texel a typical 5 mm.
        width, height = torch.where(width >= far, height, width), torch.where(height >= far, width, height)
        both = torch.cat([width, height], 1)
        return torch.where(both >= far, torch.full_like(both, 0.005), both).clamp(5e-4, 0.03)

    def corrective(self, betas: Tensor, pose: Tensor, expression: Tensor) -> Tensor:
        """Displacement that the template itself adds before skinning: [B,3,U,U] metres, tangent frame.

        Expression shapes and the pose corrective of the body (forearm twist). pose [B,55,3], expression
        [B,52].
        """
        shapes = betas.detach().cpu()
        frames = torch.stack([self._rest(shape)[1] for shape in shapes])
        moved = self.rest_corrective(pose.detach().cpu(), expression.detach().cpu())
        local = (frames.transpose(2, 3) @ moved[..., None])[..., 0]
        return self.scatter(local).to(betas.device)

    def typical_spacing(self) -> NDArray[np.float32]:
        """Texel size [T] in metres on the mean body."""
        if self._spacing is None:
            self._spacing = self.gather(self.rest(torch.zeros(1, 50)).spacing)[0].mean(1).numpy()
        return self._spacing

    def fill(self, color: Tensor, hit: Tensor) -> Tensor:
        """A guess for every texel from the seen ones (``fill``): color [B,3,U,U] 0-1, hit [B,1,U,U] ->
        [B,3,U,U].

        The start of the predicted colour and the stronger of the two baselines in the model card.
        """
        if self._spread is None:
            points = self._rest(torch.zeros(50))[0].double()
            anchors = farthest_points(points.numpy(), ANCHORS)
            self._spread = Spread.build(points, points[torch.from_numpy(anchors)])
            if self.fitted:
                rows, cols = torch.from_numpy(self.rows), torch.from_numpy(self.cols)
                self._prior = load_prior(rows, cols, self.size, self._head_texels())
        return self.scatter(fill(self.gather(color), self.gather(hit), self._prior, self._spread))

    def _head_texels(self) -> Tensor:
        return torch.from_numpy(self.weights[:, HEAD_JOINTS].sum(1) > 0.5)


@lru_cache(maxsize=4)
def _load(size: int) -> Template:
    body = _body()

    def build(grid: int) -> TemplateAtlas:
        return UvAtlas.build(body, grid)

    def locate(rows: NDArray[np.int64], cols: NDArray[np.int64], grid: int) -> LocatedPoints:
        return locate_on_body(body, rows, cols, grid)

    return Template(body, build(size), build, locate, fitted=True)


@lru_cache(maxsize=1)
def _body() -> BodyModel:
    return BodyModel.load()
