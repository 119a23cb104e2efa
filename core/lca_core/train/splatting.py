"""From the network's maps to a posed, rendered avatar with gradients: creation and animation as training
needs them.

The same functions as creation (``lca_core.model.assemble``) place the Gaussians and blend copied colour; only
the map look-up and skinning are differentiable twins. One person at a time, on the CPU or wherever the maps
lie.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lca_core.body.rotation import matrix_to_quaternion, quaternion_multiply
from lca_core.model.assemble import AtSamples, at_samples, blend_colors, place
from lca_core.model.density import Samples, plan
from lca_core.model.inverse_texture import sample_points
from lca_core.model.network import CanonicalMaps, CorrectionMaps
from lca_core.model.references import References
from lca_core.model.resample import MapSampler
from lca_core.model.skinning import residual_weights
from lca_core.model.template import Template
from lca_core.splat import render


def _precise(function: Any) -> Any:
    """Geometry and rendering stay in fp32, whatever the network computes in."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cuda", enabled=False):
            return function(*args, **kwargs)

    return wrapped


class _SparseProduct(torch.autograd.Function):
    """matrix @ values with a constant scipy matrix; the gradient is its transpose."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, matrix: Any, transposed: Any) -> Tensor:
        ctx.transposed = transposed
        product = matrix @ np.ascontiguousarray(values.detach().cpu().numpy())
        return torch.from_numpy(product).to(values.device)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        grad = grads[0]
        product = ctx.transposed @ np.ascontiguousarray(grad.detach().cpu().numpy())
        return torch.from_numpy(product).to(grad.device), None, None


class Reader:
    """:class:`MapSampler` with a gradient: maps [1,C,U,U] of the template -> values [N,C]."""

    def __init__(self, template: Template, samples: Samples) -> None:
        self._template = template
        self._matrix = MapSampler(template, samples).matrix
        self._transposed = self._matrix.T.tocsr()

    def __call__(self, maps: Tensor) -> Tensor:
        values = self._template.gather(maps)[0].float()
        out: Tensor = _SparseProduct.apply(values, self._matrix, self._transposed)  # type: ignore[no-untyped-call]
        return out


@dataclass
class Splats:
    """N Gaussians: means [N,3] m, quats [N,4] wxyz, scales [N,3] m, opacities [N], colors [N,3] sRGB."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor


@dataclass
class RestAvatar:
    """One person at rest and what posing needs: frame [N,3,3], base [N,4] its quaternion, weights [N,55],
    ``at`` the raw canonical values."""

    splats: Splats
    frame: Tensor
    base: Tensor
    weights: Tensor
    at: AtSamples


class Splatter:
    """Makes and poses avatars on the Gaussian grid of ``texture_size`` (see ``density.plan``)."""

    def __init__(self, template: Template, texture_size: int = 128) -> None:
        self.template = template
        self.texture_size = texture_size
        self.samples = plan(template, texture_size)
        self.read = Reader(template, self.samples)
        self.moves = torch.from_numpy(~self.samples.eyes).float()[:, None]
        self.weights = torch.from_numpy(self.samples.weights)
        self.heaviest = self.weights.argmax(1)

    @_precise
    def rest(self, maps: CanonicalMaps, refs: References, person: int) -> RestAvatar:
        """The avatar of ``person`` of a batch; colours are copied from the frames of its references."""
        device = maps.offset.device
        own = CanonicalMaps(**{k: v[person : person + 1].float() for k, v in vars(maps).items()})
        at = at_samples(own, _on_cpu(self.read), self.samples)
        solid = (at.offset * (at.opacity > 0.5)).detach().numpy()
        seen = sample_points(self.samples, refs, person, solid)
        colors, _ = blend_colors(at, seen, self.samples, self.texture_size)
        betas = refs.betas[person].detach().cpu().float()
        position, frame, _ = self.samples._rest(betas)
        spacing = torch.from_numpy(self.samples.spacing(betas))
        means, quats, scales = place(position, frame, spacing, at.offset, at.quat, at.log_scale)
        weights = residual_weights(self.weights, at.skin)
        splats = Splats(*(x.to(device) for x in (means, quats, scales, at.opacity[:, 0], colors)))
        base = matrix_to_quaternion(frame)
        return RestAvatar(splats, frame.to(device), base.to(device), weights.to(device), at)

    def shaped(self, avatar: RestAvatar, pose: Tensor, expression: Tensor) -> RestAvatar:
        """With the body's own displacement by expression [52] and pose correctives [55,3], which is exact."""
        moved = self.samples.rest_corrective(pose[None].cpu(), expression[None].cpu())[0]
        means = avatar.splats.means + moved.to(avatar.splats.means)
        return replace(avatar, splats=replace(avatar.splats, means=means))

    @_precise
    def corrected(self, avatar: RestAvatar, correction: CorrectionMaps, row: int = 0) -> RestAvatar:
        """With the learned correction (row ``row`` of the maps, template displacement left out) added."""
        learned = correction.offset - correction.template_offset
        packed = torch.cat([learned, correction.quat, correction.log_scale, correction.color], 1).float()
        values = self.read(packed[row : row + 1]) * self.moves.to(packed.device)
        offset, quat, log_scale, color = values.split((3, 4, 3, 3), 1)
        s = avatar.splats
        return replace(
            avatar,
            splats=Splats(
                s.means + (avatar.frame @ offset[..., None])[..., 0],
                s.quats + quaternion_multiply(avatar.base, quat),
                s.scales * log_scale.exp(),
                s.opacities,
                s.colors + color,
            ),
        )

    def posed(self, avatar: RestAvatar, transforms: Tensor) -> Splats:
        """The avatar in world space, see :func:`skin`."""
        return skin(avatar.splats, avatar.weights, transforms, self.heaviest.to(avatar.weights.device))


@_precise
def skin(splats: Splats, weights: Tensor, transforms: Tensor, heaviest: Tensor | None = None) -> Splats:
    """Linear blend skinning (docs/avatar-file.md step 3) with all joints: weights [N,55], transforms [55,4,4]
    rest -> world, ``heaviest`` [N] joints that give the sign of quaternions (default: by weight)."""
    blended = (weights @ transforms[:, :3].reshape(-1, 12)).view(-1, 3, 4)
    means = (blended[:, :, :3] @ splats.means[..., None])[..., 0] + blended[:, :, 3]
    turns = matrix_to_quaternion(transforms[:, :3, :3])
    signs = torch.where(turns @ turns.T < 0, -1.0, 1.0)
    first = weights.argmax(1) if heaviest is None else heaviest
    turn = F.normalize((weights * signs[first]) @ turns, dim=-1)
    quats = quaternion_multiply(turn, F.normalize(splats.quats, dim=-1))
    return replace(splats, means=means, quats=quats)


def _on_cpu(read: Reader) -> Any:
    """Placement and copying are CPU code; the gradient flows back to the maps' device."""
    return lambda maps: read(maps.cpu())


@_precise
def draw(
    splats: Splats, viewmat: Tensor, K: Tensor, width: int, height: int, finer: int = 2
) -> tuple[Tensor, Tensor]:
    """One picture on black: colours [3,H,W] (premultiplied sRGB) and alpha [1,H,W].

    It is drawn ``finer`` times as large and averaged: the renderer widens every Gaussian by half a pixel,
    which at 7 mm per pixel would teach the network to make people thinner than they are.
    """
    scale = K.new_tensor([[finer], [finer], [1.0]])
    image, alpha, _ = render(
        splats.means,
        splats.quats,
        splats.scales,
        splats.opacities,
        splats.colors.clamp(min=0),
        viewmat[None],
        (K * scale)[None],
        width * finer,
        height * finer,
    )
    both = torch.cat([image, alpha], -1).permute(0, 3, 1, 2)
    if finer > 1:
        both = F.avg_pool2d(both, finer)
    return both[0, :3], both[0, 3:]
