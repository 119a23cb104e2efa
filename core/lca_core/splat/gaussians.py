"""``GaussianSet``: the value that flows between avatar, renderer and exporters. Linear scales and
opacities, wxyz quaternions, metres; file formats that store logarithms or logits convert at their own
border.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from lca.errors import InvalidInputError
from lca_core.splat.harmonics import C0, rotate_sh


def quaternion_multiply(left: Tensor, right: Tensor) -> Tensor:
    """Hamilton product of wxyz quaternions (..., 4): first ``right``, then ``left``."""
    aw, ax, ay, az = left.unbind(-1)
    bw, bx, by, bz = right.unbind(-1)
    product = [
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    ]
    return torch.stack(product, dim=-1)


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) to unit wxyz quaternions (..., 4) with w >= 0.

    Of the four equivalent formulas the one with the largest divisor is taken (Shepperd 1978).
    """
    m = matrix
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    four = torch.stack([1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz], dim=-1)
    x2, y2, z2 = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    rows = [
        torch.stack([four[..., 0], x2, y2, z2], dim=-1),
        torch.stack([x2, four[..., 1], xy, xz], dim=-1),
        torch.stack([y2, xy, four[..., 2], yz], dim=-1),
        torch.stack([z2, xz, yz, four[..., 3]], dim=-1),
    ]
    best = four.argmax(dim=-1)[..., None, None].expand(*four.shape[:-1], 1, 4)
    q = torch.stack(rows, dim=-2).gather(-2, best).squeeze(-2)
    q = torch.nn.functional.normalize(q, dim=-1)
    return torch.where(q[..., :1] < 0, -q, q)


@dataclass(frozen=True)
class GaussianSet:
    """N Gaussians.

    Attributes:
        means: (N, 3) centres, metres.
        quats: (N, 4) wxyz; the renderer normalises.
        scales: (N, 3) standard deviations, linear metres.
        opacities: (N,) linear 0-1.
        sh: (N, K, 3) spherical harmonics, K = 1, 4, 9, 16 or 25; colour = 0.5 + 0.28209479 * sh[:, 0] +
            view-dependent bands.

    Raises:
        InvalidInputError: shapes, dtypes or devices do not fit together.
    """

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    sh: Tensor

    def __post_init__(self) -> None:
        for field in fields(self):
            if not isinstance(getattr(self, field.name), Tensor):
                raise InvalidInputError(f"GaussianSet.{field.name} must be a torch tensor.")
        n = self.means.shape[0] if self.means.ndim else 0
        k = self.sh.shape[1] if self.sh.ndim == 3 else -1
        expected = {"means": (n, 3), "quats": (n, 4), "scales": (n, 3), "opacities": (n,), "sh": (n, k, 3)}
        for name, shape in expected.items():
            tensor: Tensor = getattr(self, name)
            if tuple(tensor.shape) != shape:
                wanted = "(N, K, 3)" if name == "sh" else str(shape)
                raise InvalidInputError(
                    f"GaussianSet.{name} has shape {tuple(tensor.shape)}, expected {wanted}."
                )
            if not tensor.is_floating_point():
                raise InvalidInputError(
                    f"GaussianSet.{name} has dtype {tensor.dtype}, expected floating point."
                )
            if tensor.device != self.means.device:
                raise InvalidInputError(
                    f"GaussianSet.{name} lies on {tensor.device}, means on {self.means.device}."
                )
        if k not in (1, 4, 9, 16, 25):
            raise InvalidInputError(
                f"GaussianSet.sh has {k} coefficients; full bands have 1, 4, 9, 16 or 25."
            )

    @classmethod
    def from_colors(
        cls, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, colors: Tensor
    ) -> GaussianSet:
        """Gaussians of view-independent colours (N, 3), 0-1."""
        return cls(means, quats, scales, opacities, ((colors - 0.5) / C0)[:, None, :])

    def __len__(self) -> int:
        return int(self.means.shape[0])

    @property
    def sh_degree(self) -> int:
        """Highest band in ``sh``."""
        return round(self.sh.shape[1] ** 0.5) - 1

    @property
    def device(self) -> torch.device:
        return self.means.device

    def colors(self) -> Tensor:
        """(N, 3) view-independent colour (constant band), not below 0."""
        return torch.clamp_min(0.5 + C0 * self.sh[:, 0], 0.0)

    def to(self, *args: Any, **kwargs: Any) -> GaussianSet:
        """Every tensor through ``Tensor.to`` (device and/or floating dtype)."""
        return GaussianSet(*(getattr(self, f.name).to(*args, **kwargs) for f in fields(self)))

    def detach(self) -> GaussianSet:
        """The same values outside the autograd graph."""
        return GaussianSet(*(getattr(self, f.name).detach() for f in fields(self)))

    def subset(self, index: Tensor | slice) -> GaussianSet:
        """The Gaussians selected by an integer index, boolean mask (N,) or slice."""
        return GaussianSet(*(getattr(self, f.name)[index] for f in fields(self)))

    def transformed(self, rotation: Tensor, translation: Tensor) -> GaussianSet:
        """The set moved rigidly: x' = R x + t.

        View-dependent colour turns with the object: the SH bands are rotated exactly
        (``harmonics.rotate_sh``), so rendering the moved set from an equally moved camera gives the same
        picture.

        Args:
            rotation: (3, 3) proper rotation.
            translation: (3,) metres.
        """
        rotation, translation = rotation.to(self.means), translation.to(self.means)
        if tuple(rotation.shape) != (3, 3) or tuple(translation.shape) != (3,):
            raise InvalidInputError("transformed() needs a rotation (3, 3) and a translation (3,).")
        return replace(
            self,
            means=self.means @ rotation.T + translation,
            quats=quaternion_multiply(matrix_to_quaternion(rotation), self.quats),
            sh=rotate_sh(self.sh, rotation),
        )


def concatenate(sets: list[GaussianSet]) -> GaussianSet:
    """All Gaussians of several sets, in order; missing higher SH bands are filled with zeros."""
    if not sets:
        raise InvalidInputError("concatenate() needs at least one GaussianSet.")
    k = max(s.sh.shape[1] for s in sets)
    padded = [replace(s, sh=torch.nn.functional.pad(s.sh, (0, 0, 0, k - s.sh.shape[1]))) for s in sets]
    return GaussianSet(*(torch.cat([getattr(s, f.name) for s in padded]) for f in fields(GaussianSet)))
