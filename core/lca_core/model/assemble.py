"""From a model and references to the canonical Gaussians of one person: the creation pass.

Two passes on the network's grid: the first locates texels on the body and predicts the clothing, the second
projects the *dressed* surface. After each the clothing is brought to the outline of the masks
(``silhouette``). Then the maps are read at the places of the Gaussians (``density``), and
colour is copied there from the original frames. Eyeballs are rigid balls of their own (``eyes``), and teeth
(``teeth``) come last.
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
from lca_core.model.coverage import covering, widening
from lca_core.model.density import Samples, plan
from lca_core.model.detail import detailed
from lca_core.model.dressing import Dressing, clean_hem, dress
from lca_core.model.evening import even
from lca_core.model.eyes import LUMA, EyeGuard, continue_skin, even_lids, lids, paint_eyes, skin_around_eyes
from lca_core.model.hand_skin import clean_hands
from lca_core.model.inverse_texture import PointViews, registration, sample_points, sample_views
from lca_core.model.mouth import inner_red, kept_within, paint_mouth
from lca_core.model.network import CanonicalMaps, LCAModel
from lca_core.model.references import References
from lca_core.model.resample import MapSampler
from lca_core.model.shoes import put_on
from lca_core.model.silhouette import reach_outline
from lca_core.model.skinning import residual_weights
from lca_core.model.skirt import find_skirt
from lca_core.model.strain import Strain
from lca_core.model.teeth import AmongTeeth, Teeth, with_teeth
from lca_core.model.tube import Wrapped

TANGENTIAL = 0.70
"""Standard deviation of a Gaussian over the spacing: between four neighbours 3 % of what lies behind shows
(5 % at 0.62, which draws a screen door on a bright forehead before dark hair)."""
COVERING = 0.64
"""The least of it where clothes, hair or noses have widened the surface: 5 % shows, the skin stays sharp."""
THICKNESS = 0.30
MIN_OPACITY = 0.08
SEEN = 0.05
"""Trust above which a Gaussian counts as seen."""
BARE_OPACITY = 0.98
CLOTH_OPACITY = 0.98
BROW = 0.6
"""Brightness over that of the skin around the eyes below which a place is hair and is not continued."""


@dataclass
class CanonicalGaussians:
    """One person at rest (T-pose of these betas, neutral face), N Gaussians.

    Attributes:
        means (N,3) m; quats (N,4) wxyz; scales (N,3) m, standard deviations; opacities (N,) 0-1.
        colors, albedo (N,3) sRGB 0-1. texel (N,2) row, column on a grid of ``uv_size`` (a very fine one).
        weights (N,55) skin weights including the learned residual, rows sum to 1. joints (55,3) rest
        joints m.
        blend (N,): share of predicted colour, 0 = copied from the photographs.
        identity_map (I,U,U): what the correction branch needs, with ``betas`` (50,).
        loose: the skirt or dress that was found, None for tight clothes; its Gaussians lie on it.
        teeth: the last rows, on a body that has a mouth; None on others.
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
    loose: Dressing | None = None
    teeth: Teeth | None = None


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
    loose: bool = True,
    outline: bool = True,
    detail: int = 40_000,
    agree: bool = True,
) -> CanonicalGaussians:
    """Create a person.

    Args:
        refs: B = 1 with the original frames in ``sources`` (see ``prepare_references``).
        texture_size: side of the body's Gaussian grid; face, hands and eyes are finer. 256 gives about
        60,000 before ``detail``, which is how many more there may be where the references show detail
        (``lca_core.model.detail``). passes: 2 projects the dressed surface; 1 only the body. report: called
        with (fraction, message). loose: look for a skirt or dress (``lca_core.model.skirt``).
        outline: bring the clothing to the outline of the masks (``lca_core.model.silhouette``).
        agree: register the views with each other before colour is copied (``lca_core.model.register``).

    Raises:
        InvalidInputError: several people, or a size smaller than half the network's grid.
        PreconditionError: no view shows the body where the fit says it is.
    """
    if refs.images.shape[0] != 1:
        raise InvalidInputError("canonical_gaussians creates one person; pass references with B = 1.")
    if 2 * texture_size < model.config.uv_size:
        raise InvalidInputError(f"texture_size must be at least {model.config.uv_size // 2}.")
    tell = report or (lambda fraction, message: None)
    coarse = model.template
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
        skirt = find_skirt(plan(coarse, texture_size), refs) if loose else None
        identity = model.encode(refs, views)
        maps = model.canonical(identity)
        if outline:
            reach_outline(coarse, refs, maps, skirt is not None)
        visible = maps.offset * (maps.opacity > 0.5) * coarse.carries_map
        agreed = None
        if agree:
            tell(0.3, "registering the views")
            agreed = registration(coarse, refs, coarse.gather(visible)[0].float().cpu().numpy())
        if passes > 1:
            tell(0.4, "second pass on the dressed surface")
            views = sample_views(coarse, refs, visible, by_part=True, agreed=agreed)
            identity = model.encode(refs, views)
            maps = model.canonical(identity)
            if outline:
                reach_outline(coarse, refs, maps, skirt is not None)
        tell(0.7, "copying colour at full resolution")
        maps.predicted = even(coarse, maps.predicted)
        worn_offset = (maps.offset * (maps.opacity > 0.5))[0].float().cpu().numpy()
        samples = detailed(coarse, refs, worn_offset, texture_size, detail, agreed, skirt)
        at = at_samples(maps, MapSampler(coarse, samples), samples)
        guard = EyeGuard(samples)
        solid = (at.offset * (at.opacity > 0.5)).numpy()
        shoes = put_on(samples, refs, coarse, views, solid)
        places = samples if shoes is None else shoes.samples
        worn = None if skirt is None else dress(places, refs, skirt, solid)
        places = places if worn is None else worn.samples
        if agreed is not None:
            # On a skirt views see different folds, and dots may agree with the dots beside them.
            still = None if worn is None else worn.points.where
            agreed = registration(places, refs, solid, agreed, still)
        seen = sample_points(places, refs, 0, solid, depth_size=384, by_part=True, guard=guard, agreed=agreed)
        colors, blend = blend_colors(at, seen, samples, texture_size)
        colors = torch.from_numpy(clean_hands(samples, colors.numpy(), seen.sure, (1 - blend[:, 0]).numpy()))
        colors, blend, white = _eyes(colors, blend, seen, samples, guard)
        tell(0.9, "placing Gaussians")
        position, frame, joints = samples._rest(refs.betas[0].detach().cpu().float())
        if worn is not None:
            colors = torch.from_numpy(clean_hem(worn, samples, position.numpy(), colors.numpy()))
        spacing = torch.from_numpy(samples.spacing(refs.betas[0].detach().cpu().float()))
        means, quats, scales = place(position, frame, spacing, at.offset, at.quat, at.log_scale)
        skin = (samples.part == 0) & ~samples.inside
        if outline:  # the network's scales fit its own offsets, not where the outline moved them
            wider = widening(position.numpy()[skin], means.numpy()[skin])
            least = COVERING * spacing.numpy()[skin]
            scales[skin] = torch.from_numpy(covering(scales.numpy()[skin], least, wider))
        scales = torch.from_numpy(kept_within(means.numpy(), scales.numpy(), samples.inside, skin))
        weights = residual_weights(torch.from_numpy(samples.weights), at.skin)
        for on in (None if shoes is None else shoes.points, None if worn is None else worn.points):
            if on is not None:
                where = torch.from_numpy(on.where)
                means[where], quats[where], scales[where] = _laid(on, spacing[where])
                at.opacity[where] = CLOTH_OPACITY
        if worn is not None:
            weights[torch.from_numpy(worn.points.where)] = torch.from_numpy(worn.weights)
        keep = at.opacity[:, 0] > MIN_OPACITY

        def out(x: Tensor) -> NDArray[np.float32]:
            return x[keep].float().cpu().numpy()

        grid = np.stack([samples.rows, samples.cols], 1).astype(np.int32)
        made = CanonicalGaussians(
            means=out(means),
            quats=out(quats),
            scales=out(scales),
            opacities=out(at.opacity[:, 0]),
            colors=out(colors),
            albedo=out((colors * at.albedo_ratio).clamp(0, 1)),
            texel=grid[keep.cpu().numpy()],
            uv_size=samples.size,
            weights=out(weights),
            joints=joints.cpu().numpy(),
            blend=out(blend[:, 0]),
            betas=refs.betas[0].cpu().numpy().astype(np.float32),
            identity_map=identity.identity_map[0].float().cpu().numpy(),
            loose=None if worn is None else worn.kept(keep.cpu().numpy()),
        )
        if white is None or not coarse.fitted:
            return made
        red = inner_red(samples, colors.numpy(), seen.hit)
        return with_teeth(made, white, red, *(x[keep.cpu().numpy()] for x in (skin, samples.part == 1)))


def _laid(on: Wrapped, spacing: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means, quats and scales [P,...] of Gaussians that lie flat on a surface of their own."""
    size = spacing.mean(1, keepdim=True)
    wider = torch.from_numpy(on.wider)[:, None]
    scales = torch.cat([size * wider, size, size * (THICKNESS / TANGENTIAL)], 1) * TANGENTIAL
    return torch.from_numpy(on.means), matrix_to_quaternion(torch.from_numpy(on.frames)), scales


@dataclass
class AtSamples:
    """Canonical maps at the samples; every tensor [T,C], named as in :class:`CanonicalMaps`. ``share``: how
    far the network trusts copied colour where its own grid saw the person."""

    offset: Tensor
    quat: Tensor
    log_scale: Tensor
    opacity: Tensor
    predicted: Tensor
    share: Tensor
    albedo_ratio: Tensor
    skin: Tensor


def at_samples(maps: CanonicalMaps, read: Callable[[Tensor], Tensor], samples: Samples) -> AtSamples:
    """Maps of one person at ``samples``; differentiable when ``read`` is (training passes such a reader)."""
    trust = 1 - maps.blend
    coarse_hit = read((trust > 0).float()).clamp(min=1e-3)
    quat = read(maps.quat)
    at = AtSamples(
        offset=read(maps.offset),
        quat=quat,
        log_scale=read(maps.log_scale),
        opacity=read(maps.opacity),
        predicted=read(maps.predicted),
        share=(read(trust) / coarse_hit).clamp(0, 1),
        albedo_ratio=read(maps.albedo / maps.color.clamp(min=0.02)).clamp(0.3, 3.0),
        skin=read(maps.skin),
    )
    # Eyeballs are rigid: a few texels of a map that also holds lids have nothing to say about them.
    bare = torch.from_numpy(samples.bare)[:, None]
    unit = torch.tensor([1.0, 0, 0, 0])
    at.offset, at.log_scale, at.skin = (x.masked_fill(bare, 0) for x in (at.offset, at.log_scale, at.skin))
    at.quat = torch.where(bare, unit, at.quat)
    at.opacity = at.opacity.masked_fill(bare, BARE_OPACITY)
    return at


def blend_colors(at: AtSamples, seen: PointViews, samples: Samples, size: int) -> tuple[Tensor, Tensor]:
    """Predicted colour under copied colour -> colour [T,3], share of predicted colour [T,1]; ``size`` is the
    side of the body's Gaussian grid. Differentiable in ``at``."""
    copied, hit = torch.from_numpy(seen.color), torch.from_numpy(seen.hit)[:, None]
    soft = (hit / 0.5).clamp(0, 1)
    trusted = torch.where(hit > SEEN, torch.maximum(at.share, 0.85 * soft) * soft, torch.zeros_like(hit))
    # Beside seen places the predicted colour is pulled towards them, which hides the seam of the blend.
    cell = torch.from_numpy(samples.rows * size // samples.size * size + samples.cols * size // samples.size)
    residual = torch.cat([(copied - at.predicted) * trusted, trusted, torch.ones_like(trusted)], 1)
    residual[torch.from_numpy(samples.bare)] = 0
    total = torch.zeros(size * size, 5).index_add_(0, cell, residual)
    spread = (total[:, :4] / total[:, 4:].clamp(min=1)).T.view(1, 4, size, size)
    for _ in range(3):
        spread = F.avg_pool2d(spread, 9, 1, 4)
    near = spread[0, 3:].flatten(1).T[cell]
    pull = spread[0, :3].flatten(1).T[cell] / near.clamp(min=1e-3) * (near / 0.25).clamp(0, 1)
    predicted = (at.predicted + pull).clamp(0, 1)
    return trusted * copied + (1 - trusted) * predicted, 1 - trusted


def _eyes(
    colors: Tensor, blend: Tensor, seen: PointViews, samples: Samples, guard: EyeGuard
) -> tuple[Tensor, Tensor, NDArray[np.floating] | None]:
    """Paint the eyeballs and continue the lids where the best view may have shown the eye instead; also the
    white of the eyes."""
    eyes = samples.eyes
    if not eyes.any():
        return colors, blend, None
    position = samples._rest(torch.zeros(50))[0].numpy()
    around = skin_around_eyes(samples, 0.05)
    # Folds of the lids, which no view sees, take the skin around them instead of the network's coarse guess.
    wrong = np.maximum(guard.mistaken(seen.head_ranks), (lids(samples) & (seen.hit < 0.3)).astype(np.float32))
    known = np.nonzero(around & (wrong == 0) & (seen.hit > 0.3))[0]
    out, share = colors.numpy().copy(), blend.numpy().copy()
    if len(known):
        bright = out[known] @ LUMA
        known = known[bright > BROW * np.median(bright)]
    holes = np.nonzero(wrong)[0]
    part = wrong[holes, None]
    out[holes] = part * continue_skin(position, out, seen.hit, holes, known) + (1 - part) * out[holes]
    share[holes] = np.maximum(share[holes], part)
    skin = np.median(out[known if len(known) else np.nonzero(around)[0]], 0)
    out = even_lids(samples, out, around, known)
    found = guard.colors(seen.head_ranks, skin)
    out = paint_mouth(samples, out, seen.hit)
    share[samples.inside | (samples.part == 1)] = 1.0
    out[eyes] = paint_eyes(samples, found)
    share[eyes] = 0.0 if found.measured else 1.0
    return torch.from_numpy(out), torch.from_numpy(share), found.white


def place(
    position: Tensor, frame: Tensor, spacing: Tensor, offset: Tensor, quat: Tensor, log_scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Values in the tangent frame -> Gaussians in the rest pose.

    Args:
        position [...,3] m, frame [...,3,3] columns tangent, bitangent, normal, spacing [...,2] m along the
            first two. offset [...,3] m, quat [...,4] wxyz, log_scale [...,3] over the spacing.

    Returns:
        means [...,3], quats [...,4] wxyz unit, scales [...,3] m.
    """
    means = position + (frame @ offset[..., None])[..., 0]
    base = matrix_to_quaternion(frame)
    quats = F.normalize(quaternion_multiply(base, F.normalize(quat, dim=-1)), dim=-1)
    thin = spacing.mean(-1, keepdim=True) * (THICKNESS / TANGENTIAL)
    size = torch.cat([spacing, thin], -1) * TANGENTIAL
    return means, quats, size * log_scale.clamp(-math.log(4), math.log(4)).exp()


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
        self._teeth = AmongTeeth(texel, uv_size if model.template.fitted else 0, betas)
        rows, cols = np.asarray(texel)[self._teeth.others].T
        self.samples = Samples(model.template, rows, cols, uv_size)
        self._read = MapSampler(model.template, self.samples)
        self._moves = torch.from_numpy(~self.samples.bare).float()[:, None]
        self.frame = self.samples._rest(shape[0])[1]
        self.base = matrix_to_quaternion(self.frame)
        self.strain = Strain(self.samples, shape[0])

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
        # Eyeballs turn and nothing else; the template's own displacement is exact at every sample.
        learned = self._read(packed) * self._moves
        offset, quat, log_scale, color = learned.split((3, 4, 3, 3), 1)
        exact = self.samples.rest_corrective(full_pose, weights)[0]
        means = exact + (self.frame @ offset[..., None])[..., 0]
        # Canonical quaternions are base * local; the correction adds to local, hence base * correction here.
        quats = quaternion_multiply(self.base, quat)
        if weights.any():
            where, turn, stretch = self.strain(weights[0].numpy())
            quats[where] += quaternion_multiply(turn, self.base[where]) - self.base[where]
            log_scale[where, :2] += stretch
        parts = [x.numpy() for x in (means, quats, log_scale, color)]
        return TexelCorrection(*self._teeth.added(parts, expression))

    def exact(self, pose: Tensor, expression: Tensor) -> Tensor:
        """What the body and its teeth alone add in rest space, [N,3] m: pose [55,3], expression [52]."""
        moved = self.samples.rest_corrective(pose[None], expression[None])[0].numpy()
        return torch.from_numpy(self._teeth.added([moved], expression.numpy())[0])
