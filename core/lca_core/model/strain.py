"""How expressions turn and stretch the skin: what keeps Gaussians flat on a lid that slides over the eye.

A shape that moves the mesh also tilts its triangles and makes them longer. Gaussians that only followed
their centre would stand edge-on and apart; here each gets the rotation and the stretch of the triangle it
sits on.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lca_core.body.rotation import matrix_to_quaternion
from lca_core.model.density import Samples
from lca_core.model.surface import array

LARGEST_STRETCH = math.log(8.0)
MOVED = 1e-5
"""Metres per unit of a shape's weight below which a vertex counts as still."""


class Strain:
    """Rotation and stretch of the samples on the body of ``betas`` [50] under expressions.

    Attributes:
        where: [M] samples on triangles that some shape moves; only these are computed.
    """

    def __init__(self, samples: Samples, betas: Tensor) -> None:
        body = samples.body
        one = torch.zeros(1, 50)
        neutral = array(body.rest(one, None)[0])[0]
        units = array(body.rest(one.expand(52, -1), torch.eye(52))[0]) - neutral
        moved = np.abs(units).max((0, 2)) > MOVED
        still_eyes = ~samples.eyes
        where = np.nonzero(moved[samples.corners].any(1) & still_eyes)[0]
        self.where = torch.from_numpy(where)
        used, corners = np.unique(samples.corners[where], return_inverse=True)
        self._corners = torch.from_numpy(corners.reshape(-1, 3))
        # [52, vertices*3]: a frame sums the few rows of its active shapes.
        self._units = np.ascontiguousarray(units[:, used].reshape(52, -1), np.float32)
        self._rest = array(body.rest(betas[None], None)[0])[0][used].astype(np.float32)
        self._along = torch.from_numpy(samples.derivatives()[where])
        self._frame0, self._length0 = self._frames(torch.from_numpy(self._rest))

    def __call__(self, expression: NDArray[np.floating]) -> tuple[Tensor, Tensor, Tensor]:
        """expression [52] -> (where [M], turn [M,4] wxyz with w >= 0, log stretch [M,2] along u and across
        it)."""
        active = np.nonzero(expression)[0]
        moved = self._rest + (expression[active].astype(np.float32) @ self._units[active]).reshape(-1, 3)
        frame, length = self._frames(torch.from_numpy(moved))
        turn = matrix_to_quaternion(frame @ self._frame0.transpose(1, 2))
        turn = torch.where(turn[:, :1] < 0, -turn, turn)
        stretch = (length / self._length0).log().clamp(-LARGEST_STRETCH, LARGEST_STRETCH)
        return self.where, turn, stretch

    def _frames(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """Triangle frames [M,3,3] (columns along u, across, normal) and metres per unit UV [M,2]."""
        corner = vertices[self._corners]
        du = (self._along[:, 0, :, None] * corner).sum(1)
        dv = (self._along[:, 1, :, None] * corner).sum(1)
        normal = torch.linalg.cross(du, dv, dim=-1)
        area = normal.norm(dim=-1, keepdim=True).clamp(min=1e-9)
        length = du.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        t, n = du / length, normal / area
        frame = torch.stack([t, torch.linalg.cross(n, t, dim=-1), n], -1)
        return frame, torch.cat([length, area / length], 1)
