"""From a model and references to the canonical Gaussians of one person: the creation pass.

Two passes: the first locates texels on the body and predicts the clothing; the second projects the
*dressed* surface
to copy colour where it really is. Geometry is predicted on the network's grid and up-sampled to
``texture_size``;
copied colour is sampled at ``texture_size`` from the original frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lca.errors import InvalidInputError, PreconditionError
from lca_core.body.rotation import matrix_to_quaternion, quaternion_multiply
from lca_core.model.inverse_texture import sample_views
from lca_core.model.network import CanonicalMaps, LCAModel
from lca_core.model.references import References
from lca_core.model.skinning import residual_weights
from lca_core.model.template import RestMaps, Template

TANGENTIAL = 0.62
"""Standard deviation of a Gaussian over the texel spacing: neighbours blend without gaps or blur."""
THICKNESS = 0.30
MIN_OPACITY = 0.08
SEEN = 0.05
"""Trust above which a texel of the second pass counts as seen."""


@dataclass
class CanonicalGaussians:
    """One person at rest (T-pose of these betas, neutral face), N Gaussians.

    Attributes:
        means (N,3) m; quats (N,4) wxyz; scales (N,3) m, standard deviations; opacities (N,) 0-1.
        colors, albedo (N,3) sRGB 0-1. texel (N,2) row, column on a grid of ``uv_size``.
        weights (N,55) skin weights including the learned residual, rows sum to 1. joints (55,3) rest
        joints m.
        blend (N,): share of predicted colour, 0 = copied from the photographs.
        identity_map (I,U,U): what the correction branch needs, with ``betas`` (50,).
    """

    means: NDArray[np.float32]
    quats: NDArray[np.float32]
    scales: NDArray[np.float32]
    opacities: NDArray[np.float32]
    colors: NDArray[np.float32]
    albedo: NDArray[np.float32]
    texel: NDArray[np.int32]
    uv_size: int
    weights: NDArray[np.float32]
    joints: NDArray[np.float32]
    blend: NDArray[np.float32]
    betas: NDArray[np.float32]
    identity_map: NDArray[np.float32]


def resize_valid(maps: Tensor, valid: Tensor, size: int) -> Tensor:
    """Bilinear up-sampling of [B,C,U,U] that averages only ``valid`` [B,1,U,U] texels, so charts do not
    bleed."""
    if maps.shape[-1] == size:
        return maps

    def up(x: Tensor) -> Tensor:
        return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)

    # Rim texels whose four neighbours are all invalid take the mean of a wider neighbourhood.
    weight = valid.to(maps)
    total = maps * weight
    wide_weight = F.avg_pool2d(weight, 5, 1, 2)
    wide = F.avg_pool2d(total, 5, 1, 2) / wide_weight.clamp(min=1e-6)
    filled = torch.where(weight > 0, maps, wide)
    known = ((weight > 0) | (wide_weight > 1e-4)).to(maps)
    return up(filled * known) / up(known).clamp(min=1e-3)


def canonical_gaussians(
    model: LCAModel,
    refs: References,
    texture_size: int = 256,
    passes: int = 2,
    report: Callable[[float, str], None] | None = None,
) -> CanonicalGaussians:
    """Create a person.

    Args:
        refs: B = 1 with the original frames in ``sources`` (see ``prepare_references``).
        texture_size: side of the Gaussian grid; 256 gives about 40,000 Gaussians.
        passes: 2 projects the dressed surface; 1 only the body.
        report: called with (fraction, message).

    Raises:
        InvalidInputError: several people, or a size smaller than the network's grid.
        PreconditionError: no view shows the body where the fit says it is.
    """
    if refs.images.shape[0] != 1:
        raise InvalidInputError("canonical_gaussians creates one person; pass references with B = 1.")
    if texture_size < model.config.uv_size:
        raise InvalidInputError(f"texture_size must be at least {model.config.uv_size}.")
    tell = report or (lambda fraction, message: None)
    coarse = model.template
    fine = coarse.at(texture_size)
    model.eval()
    with torch.no_grad():
        tell(0.0, "locating texels in the views")
        views = sample_views(coarse, refs, by_part=True)
        if float(views.hit.sum()) < 0.005 * coarse.count:
            raise PreconditionError(
                "Almost no texel of the body falls on the person in any view: the body fit does not match "
                "the frames.",
                reason="BODY_NOT_VISIBLE",
            )
        identity = model.encode(refs, views)
        maps = model.canonical(identity)
        if passes > 1:
            tell(0.4, "second pass on the dressed surface")
            visible = (maps.opacity > 0.5) * coarse.carries_map
            identity = model.encode(refs, sample_views(coarse, refs, maps.offset * visible, by_part=True))
            maps = model.canonical(identity)
        tell(0.7, "copying colour at full resolution")
        valid = coarse.carries_map
        offset = resize_valid(maps.offset, valid, texture_size)
        opacity = resize_valid(maps.opacity, valid, texture_size)
        sharp = sample_views(fine, refs, offset * (opacity > 0.5), depth_size=384, by_part=True)
        colors, albedo, blend = _colors(maps, valid, sharp.color, sharp.hit, fine, texture_size)
        rest = fine.rest(refs.betas)
        tell(0.9, "placing Gaussians")

        def texels(x: Tensor) -> Tensor:
            return fine.gather(x)[0]

        def upsampled(x: Tensor) -> Tensor:
            return texels(resize_valid(x, valid, texture_size))

        means, quats, scales = place(
            fine, rest, texels(offset)[None], upsampled(maps.quat)[None], upsampled(maps.log_scale)[None]
        )
        alpha = texels(opacity)[:, 0]
        keep = alpha > MIN_OPACITY
        weights = residual_weights(torch.from_numpy(fine.weights), upsampled(maps.skin))

        def out(x: Tensor) -> NDArray[np.float32]:
            return x[keep].float().cpu().numpy()

        grid = np.stack([fine.rows, fine.cols], 1).astype(np.int32)
        return CanonicalGaussians(
            means=out(means[0]),
            quats=out(quats[0]),
            scales=out(scales[0]),
            opacities=out(alpha),
            colors=out(texels(colors)),
            albedo=out(texels(albedo)),
            texel=grid[keep.cpu().numpy()],
            uv_size=texture_size,
            weights=out(weights),
            joints=rest.joints[0].cpu().numpy(),
            blend=out(texels(blend)[:, 0]),
            betas=refs.betas[0].cpu().numpy().astype(np.float32),
            identity_map=identity.identity_map[0].float().cpu().numpy(),
        )


def _colors(
    maps: CanonicalMaps, valid: Tensor, copied: Tensor, hit: Tensor, fine: Template, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Blend at the fine grid: predicted colour (up-sampled) under copied colour (sharp) -> colour, albedo,
    blend."""
    predicted = resize_valid(maps.predicted, valid, size)
    # The network's own trust, without the hit of its grid: the fine grid has its own.
    trust = (1 - maps.blend) / maps.opacity.new_ones(1)
    coarse_hit = resize_valid((trust > 0).float(), valid, size).clamp(min=1e-3)
    share = (resize_valid(trust, valid, size) / coarse_hit).clamp(0, 1)
    soft = (hit / 0.5).clamp(0, 1)
    seen = torch.where(hit > SEEN, torch.maximum(share, 0.85 * soft) * soft, torch.zeros_like(share))
    # Beside seen texels the predicted colour is pulled towards them, which hides the seam of the blend.
    residual = (copied - predicted) * seen
    near = seen
    for _ in range(3):
        residual = F.avg_pool2d(residual, 9, 1, 4)
        near = F.avg_pool2d(near, 9, 1, 4)
    pull = residual / near.clamp(min=1e-3) * (near / 0.25).clamp(0, 1)
    predicted = (predicted + pull * fine.carries_map).clamp(0, 1)
    colors = seen * copied + (1 - seen) * predicted
    ratio = resize_valid(maps.albedo / maps.color.clamp(min=0.02), valid, size).clamp(0.3, 3.0)
    return colors, (colors * ratio).clamp(0, 1), 1 - seen


def place(
    template: Template, rest: RestMaps, offset: Tensor, quat: Tensor, log_scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Texel values in the tangent frame -> Gaussians in the rest pose.

    Args:
        offset [B,T,3] m, quat [B,T,4] wxyz, log_scale [B,T,3] over the texel spacing.

    Returns:
        means [B,T,3], quats [B,T,4] wxyz unit, scales [B,T,3] m.
    """
    b = offset.shape[0]
    frame = rest.frame.flatten(1, 2)[:, template._flat]
    means = template.gather(rest.position) + (frame @ offset[..., None])[..., 0]
    base = matrix_to_quaternion(frame)
    quats = F.normalize(quaternion_multiply(base, F.normalize(quat, dim=-1)), dim=-1)
    spacing = template.gather(rest.spacing)
    thin = spacing.mean(-1, keepdim=True) * (THICKNESS / TANGENTIAL)
    size = torch.cat([spacing, thin], -1) * TANGENTIAL
    return means, quats, size * log_scale.clamp(-math.log(4), math.log(4)).exp().view(b, -1, 3)


@dataclass
class TexelCorrection:
    """Corrections of one frame at chosen texels, ready to add before skinning.

    means (N,3) m in rest space axes (not the tangent frame); quats (N,4) added to the canonical wxyz
    quaternions
    before normalising; log_scales (N,3); colors (N,3) added to sRGB.
    """

    means: NDArray[np.float32]
    quats: NDArray[np.float32]
    log_scales: NDArray[np.float32]
    colors: NDArray[np.float32]


class Corrector:
    """The correction branch for one stored avatar: identity map and betas in, corrections per frame out.

    Args:
        identity_map (I,U,U), betas (50,): from :class:`CanonicalGaussians`.
        texel (N,2): the avatar's Gaussians on its grid of ``uv_size``.
    """

    def __init__(
        self,
        model: LCAModel,
        identity_map: NDArray[np.floating],
        betas: NDArray[np.floating],
        texel: NDArray[np.integer],
        uv_size: int,
    ) -> None:
        self.model = model
        shape = torch.as_tensor(np.asarray(betas, np.float32))[None]
        features = torch.as_tensor(np.asarray(identity_map, np.float32))[None]
        if features.shape[1:] != (model.config.identity_channels, model.config.uv_size, model.config.uv_size):
            raise InvalidInputError(
                f"The identity map is {tuple(features.shape[1:])}; this model reads "
                f"{(model.config.identity_channels, model.config.uv_size, model.config.uv_size)}. "
                "Open the avatar with the weights it was made with."
            )
        self.identity = model.restore(features, shape)
        self.fine = model.template.at(uv_size)
        index = np.full((uv_size, uv_size), -1, np.int64)
        index[self.fine.rows, self.fine.cols] = np.arange(self.fine.count)
        chosen = index[texel[:, 0], texel[:, 1]]
        if (chosen < 0).any():
            raise InvalidInputError("The avatar has Gaussians on texels outside this body's atlas.")
        self.chosen = torch.from_numpy(chosen)
        self.frame = self.fine.rest(shape).frame.flatten(1, 2)[0, self.fine._flat][self.chosen]
        self.base = matrix_to_quaternion(self.frame)

    @torch.no_grad()
    def __call__(
        self, pose: NDArray[np.floating], expression: NDArray[np.floating], gaze: NDArray[np.floating]
    ) -> TexelCorrection:
        """One frame: pose (55,3) axis-angle, expression (52,) ARKit, gaze (2,2) yaw, pitch."""

        def batch(x: NDArray[np.floating]) -> Tensor:
            return torch.as_tensor(np.asarray(x, np.float32))[None]

        full_pose, weights, eyes = batch(pose), batch(expression), batch(gaze)
        code = self.model.expression_map(weights)
        maps = self.model.correct_code(self.identity, full_pose, code, eyes)
        packed = torch.cat([maps.offset, maps.quat, maps.log_scale, maps.color], 1)
        up = resize_valid(packed, self.model.template.carries_map, self.fine.size)
        offset, quat, log_scale, color = self.fine.gather(up)[0, self.chosen].split((3, 4, 3, 3), 1)
        # The template's own displacement is exact on the fine grid: only the learned part is up-sampled.
        exact = self.fine.rest_corrective(full_pose, weights)[0, self.chosen]
        means = exact + (self.frame @ offset[..., None])[..., 0]
        # Canonical quaternions are base * local; the correction adds to local, hence base * correction here.
        quats = quaternion_multiply(self.base, quat)
        return TexelCorrection(means.numpy(), quats.numpy(), log_scale.numpy(), color.numpy())
