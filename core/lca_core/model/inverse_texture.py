"""Photographs to UV: for each texel, find it in every view, test that the view sees it, and fuse what is
seen.

Visible colour is copied, not learned. Each view gets a score per texel (frontal, in focus, away from
silhouettes);
a sharp softmax over the views picks the best one or two instead of averaging them into blur. With
``offset`` the
dressed surface is projected instead of the body, which is what the second pass of creation does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from lca_core.body.cage import one_per_cell
from lca_core.body.names import HEAD_JOINTS
from lca_core.model.consensus import believed, rings
from lca_core.model.levels import levelled
from lca_core.model.raster import depth_buffer, sample_bilinear, visible
from lca_core.model.references import References, Source
from lca_core.model.register import Registration, View, register
from lca_core.model.surface import BodyPoints, PosedTexels
from lca_core.model.template import Template
from lca_core.model.view_choice import HEAD_FRONT, hand_before_face, hand_trust, part_ranks, rank_bias

UV_LAYOUT = "features,color3,hit1,position3,normal3,cosine1,variance1,fill3"
SHARPNESS = 14.0
"""Inverse temperature of the fusion: a view whose score is 0.2 better gets 16 x the weight."""
DEPTH_TOLERANCE = 0.02
DEPTH_GAP = 0.05
OCCLUDER_MARGIN = 0.03
"""A fitted hand is a centimetre or two off: the jacket right beside or under it would take the hand's
colour. What lies behind a forearm or hand, or within this distance of its outline, is not trusted."""
ARM_DEPTH = 0.2
"""A fit sees the depth of an arm worst: one on the hip may be fitted inside the body. What lies up to so many
metres before a forearm or hand counts as behind it; upper arms do so only where they do."""
GRAZING = (0.12, 0.40)
"""Cosines between which a texel goes from unseen to fully trusted."""
BESIDE = ((0.008, 1.0), (0.016, 0.8), (0.024, 0.6), (0.035, 0.4))
"""Metres from the outline of another part of the body in a view, and how near to it that is, 0-1."""
APART = 0.06
"""Metres of depth from which that part is another surface."""
ALIKE, RIM_DOUBT = 0.08, 0.7
"""Distance (sRGB) at which a view speaks half-heartedly for a colour, and the share of its word that it loses
right beside the outline of another surface."""
REGISTERED = 0.012
"""Metres between the points by which views are registered."""


@dataclass
class TexelViews:
    """Every texel in every view.

    grid [B,N,U,U,2] position in the body crop, -1..1; weight [B,N,U,U] fusion weights, sum 1 or all 0;
    color [B,3,U,U] fused sRGB 0-1 (0 where unseen); hit [B,1,U,U] trust 0-1; cosine [B,1,U,U] of the best
    view;
    variance [B,1,U,U] of the colours the views disagree about.
    """

    grid: Tensor
    weight: Tensor
    color: Tensor
    hit: Tensor
    cosine: Tensor
    variance: Tensor


def sample_views(
    template: Template,
    refs: References,
    offset: Tensor | None = None,
    depth_size: int = 256,
    by_part: bool = False,
    agreed: Registration | None = None,
) -> TexelViews:
    """Locate and fuse every texel of ``template`` (any size) in every reference.

    Args:
        offset: [B,3,U,U] clothing offset in metres (tangent frame), U the size of ``template``.
        depth_size: side of the z-buffer over the body crop.
        by_part: choose one view per body part (creation from real clips) instead of texel by texel.
        agreed: the registration of the views (B = 1 then), with ``by_part``.
    """
    b, n = refs.images.shape[:2]
    t, u = template.count, template.size
    offsets = None if offset is None else template.gather(offset.detach().cpu().float()).numpy()
    people = [
        sample_points(
            template, refs, i, None if offsets is None else offsets[i], depth_size, by_part, agreed=agreed
        )
        for i in range(b)
    ]

    def to_map(name: str, channels: int, leading: int = 1) -> Tensor:
        values = np.stack([getattr(person, name) for person in people])
        flat = torch.from_numpy(np.ascontiguousarray(values, np.float32)).view(b * leading, t, channels)
        return template.scatter(flat).to(refs.images.device)

    return TexelViews(
        grid=to_map("grid", 2, n).view(b, n, 2, u, u).permute(0, 1, 3, 4, 2),
        weight=to_map("weight", 1, n).view(b, n, u, u),
        color=to_map("color", 3),
        hit=to_map("hit", 1),
        cosine=to_map("cosine", 1),
        variance=to_map("variance", 1) * 20,
    )


@dataclass
class PointViews:
    """T points of one person in every view, fused.

    grid [N,T,2] position in the body crop, -1..1; weight [N,T] sum 1 or all 0; color [T,3] sRGB 0-1, 0 where
    unseen; hit [T] trust 0-1; cosine [T] of the best view; variance [T] of colours; head_ranks [N] of the
    views for the front of the head, 0 = best (all 0 unless chosen by part). sure [T] 0-1: how much the views
    vouch for the fused colour, those that see it beside another surface less (0 unless chosen by part).
    """

    grid: NDArray[np.float32]
    weight: NDArray[np.float32]
    color: NDArray[np.float32]
    hit: NDArray[np.float32]
    cosine: NDArray[np.float32]
    variance: NDArray[np.float32]
    head_ranks: NDArray[np.int64]
    sure: NDArray[np.float32]


Guard = Callable[[int, NDArray[np.floating], NDArray[np.floating], Source], NDArray[np.float32]]
"""View number, mesh vertices [V,3] and points [T,3] in its camera, its frame -> factor of the trust [T]."""


def sample_points(
    points: BodyPoints,
    refs: References,
    person: int = 0,
    offset: NDArray[np.floating] | None = None,
    depth_size: int = 256,
    by_part: bool = False,
    guard: Guard | None = None,
    agreed: Registration | None = None,
) -> PointViews:
    """Locate and fuse points of one person in its references; see :func:`sample_views`.

    Args:
        offset: [T,3] clothing offset in metres (tangent frame).
        guard: lowers the trust of points that a view is known to mistake for others.
        agreed: the registration of the views (:func:`registration`); they are then read where they agree, and
            arms and legs keep only what is common around them (``lca_core.model.consensus``).
    """
    n, t = refs.images.shape[1], points.count
    grid = np.zeros((n, t, 2), np.float32)
    score = np.full((n, t), -np.inf, np.float32)
    trust = np.zeros((n, t), np.float32)
    cosine = np.zeros((n, t), np.float32)
    color = np.zeros((n, t, 3), np.float32)
    beside = np.zeros((n, t), np.float32)
    covered = np.zeros(n, bool)
    for view, mesh, position, source, seen in _looks(
        points, refs, person, offset, depth_size, by_part, agreed
    ):
        covered[view] = hand_before_face(points, mesh)
        grid[view], color[view], beside[view] = seen.grid, seen.color, seen.beside
        score[view], trust[view], cosine[view] = seen.score, seen.trust, seen.cosine
        if guard is not None:
            trust[view] *= guard(view, mesh, position, source)
    if agreed is not None:
        trust *= believed(rings(points), trust, color, beside)
    head_ranks = np.zeros(n, np.int64)
    if by_part:
        trust *= hand_trust(points, trust, color)
        expression = refs.expression[person].cpu().numpy()
        ranks = part_ranks(points, trust, score, color, expression, covered)
        score += rank_bias(points, ranks)
        head_ranks = ranks.get(HEAD_FRONT, head_ranks)
    seen_any = trust > 0
    best = np.where(seen_any, score, -np.inf).max(0, keepdims=True)
    with np.errstate(invalid="ignore"):
        weight = np.where(seen_any, np.exp(SHARPNESS * (score - best)), 0.0)
    if by_part:
        # A chosen view fades out where it grazes, so that the next one takes over without a seam.
        weight = weight * np.square(trust)
    weight = weight / np.maximum(weight.sum(0, keepdims=True), 1e-9)
    if agreed is not None:
        rest = points._rest(torch.zeros(50))[0].numpy()
        color = levelled(rest, points.rest_normals(), trust, weight, color)
    fused = (weight[..., None] * color).sum(0)
    return PointViews(
        grid=grid,
        weight=weight.astype(np.float32),
        color=fused.astype(np.float32),
        hit=np.where(seen_any, trust, 0).max(0),
        cosine=np.where(seen_any, cosine, 0).max(0),
        variance=(weight * np.square(color - fused).mean(-1)).sum(0).astype(np.float32),
        head_ranks=head_ranks,
        sure=_vouched(trust, color, fused, beside) if by_part else np.zeros(t, np.float32),
    )


def _vouched(
    trust: NDArray[np.float32],
    color: NDArray[np.float32],
    fused: NDArray[np.floating],
    beside: NDArray[np.float32],
) -> NDArray[np.float32]:
    """How much views of trust [N,T] that read color [N,T,3] vouch for the fused one [T,3]: [T] 0-1."""
    alike = np.exp(-np.square(color - fused).sum(-1) / (2 * ALIKE**2))
    return np.asarray(1 - np.prod(1 - trust * alike * (1 - RIM_DOUBT * beside), axis=0), np.float32)


def registration(
    points: BodyPoints,
    refs: References,
    offset: NDArray[np.floating],
    start: Registration | None = None,
    still: NDArray[np.integer] | None = None,
) -> Registration:
    """How the views of one person (B = 1) are shifted so that they agree (``lca_core.model.register``).

    Args:
        offset: [T,3] clothing offset in metres (tangent frame).
        start: what was found on a rougher surface. still: points that keep their place.
    """
    rest = points._rest(torch.zeros(50))[0].numpy()
    some = one_per_cell(rest, REGISTERED)
    views: list[View | None] = [None] * refs.images.shape[1]
    for view, _, _, source, seen in _looks(points, refs, 0, offset, 256, True, None):
        views[view] = View(
            source.image.astype(np.float32) / 255,
            source.mask.astype(np.float32) / 255,
            seen.pixels[some],
            seen.per_metre[some],
            seen.trust[some],
        )
    # Landmarks hold the face, and painted eyes stay where the body has them.
    firm = points.weights[:, HEAD_JOINTS].sum(1)
    if still is not None:
        firm[still] = 1.0
    return register(rest[some], views, firm[some], start)


def _looks(
    points: BodyPoints,
    refs: References,
    person: int,
    offset: NDArray[np.floating] | None,
    depth_size: int,
    by_part: bool,
    agreed: Registration | None,
) -> Iterator[tuple[int, NDArray[np.floating], NDArray[np.floating], Source, _Look]]:
    """Every view of a person: number, mesh [V,3] and points [T,3] in its camera, frame, what is seen."""
    side = refs.images.shape[-1]
    keep = np.nonzero(refs.view_valid[person].cpu().numpy())[0]
    posed = points.posed(
        refs.betas[person],
        refs.pose[person, keep],
        refs.transl[person, keep],
        refs.expression[person, keep],
        offset,
    )
    moves = None if agreed is None else agreed.at(points._rest(torch.zeros(50))[0].numpy())
    margin = OCCLUDER_MARGIN if by_part else 0.0
    for view, texels in zip(keep.tolist(), posed, strict=True):
        source = refs.sources[person][view] if refs.sources else None
        if source is None:
            source = crop_source(refs, person, view)
        crop_k = refs.Ks[person, view].cpu().numpy().astype(np.float64)
        viewmat = refs.viewmats[person, view].cpu().numpy().astype(np.float64)
        rotation, shift = viewmat[:3, :3], viewmat[:3, 3]
        move = None if moves is None else moves[view]
        seen = look(points, texels, source, viewmat, crop_k, side, depth_size, margin, move)
        yield view, texels.vertices @ rotation.T + shift, texels.position @ rotation.T + shift, source, seen


def crop_source(refs: References, person: int, view: int) -> Source:
    """The crop itself as a source, when the original frame was not kept."""
    image = refs.images[person, view].permute(1, 2, 0).cpu().numpy()
    mask = refs.masks[person, view, 0].cpu().numpy()
    k = refs.Ks[person, view].cpu().numpy().astype(np.float64)
    return Source((image * 255 + 0.5).astype(np.uint8), (mask * 255 + 0.5).astype(np.uint8), k)


@dataclass
class _Look:
    grid: NDArray[np.float32]
    color: NDArray[np.float32]
    score: NDArray[np.float32]
    trust: NDArray[np.float32]
    cosine: NDArray[np.float32]
    pixels: NDArray[np.float32]
    per_metre: NDArray[np.float32]
    beside: NDArray[np.float32]


def look(
    template: BodyPoints,
    texels: PosedTexels,
    source: Source,
    viewmat: NDArray[np.float64],
    crop_k: NDArray[np.float64],
    side: int,
    depth_size: int,
    occluder_margin: float = 0.0,
    move: NDArray[np.floating] | None = None,
) -> _Look:
    """All texels of one person in one view; lower arms hide ``occluder_margin`` metres around them.

    move: [T,2] metres in the picture's plane by which texels are read elsewhere than they project to.
    """
    rotation, shift = viewmat[:3, :3], viewmat[:3, 3]
    camera = texels.position @ rotation.T + shift
    mesh = texels.vertices @ rotation.T + shift
    towards = -camera / np.maximum(np.linalg.norm(camera, axis=1, keepdims=True), 1e-6)
    cosine = np.einsum("ti,ti->t", texels.normal @ rotation.T, towards).astype(np.float32)
    zoom = depth_size / side
    buffer_k = crop_k * np.array([[zoom], [zoom], [1.0]])
    depth = depth_buffer(to_pixels(mesh, buffer_k), template.faces, depth_size, depth_size)
    seen = visible(to_pixels(camera, buffer_k), depth, DEPTH_TOLERANCE, DEPTH_GAP)
    if occluder_margin:
        reach = occluder_margin * float(buffer_k[0, 0]) / max(float(np.median(camera[:, 2])), 0.05)
        arms = depth_buffer(to_pixels(mesh, buffer_k), template.arm_faces, depth_size, depth_size)
        nearest = ndimage.minimum_filter(arms, size=2 * max(1, round(reach)) + 1)
        deeper = to_pixels(camera, buffer_k)
        deeper[:, 2] += ARM_DEPTH * (1 - template.upper_arm_texels)
        seen = seen * np.maximum(template.arm_texels, visible(deeper, nearest, 0.0, 0.0))
    grid = to_pixels(camera, crop_k)[:, :2] / side * 2 - 1
    pixels = to_pixels(camera, source.K)
    per_metre = source.K[0, 0] / np.maximum(camera[:, 2], 0.05)
    beside = np.zeros(len(camera), np.float32)
    if move is not None:
        pixels[:, :2] += move * per_metre[:, None]
        trunk = depth_buffer(to_pixels(mesh, buffer_k), template.trunk_faces, depth_size, depth_size)
        beside = _beside(camera, depth, trunk, template.arm_texels > 0, buffer_k)
    color, inside = _sample_source(source, pixels, per_metre * template.typical_spacing(), mesh)
    low, high = GRAZING
    frontal = np.clip((cosine - low) / (high - low), 0, 1)
    trust = seen * inside * frontal * frontal * (3 - 2 * frontal)
    # Resolution in pixels per metre against 200 (a person of 1.7 m in 340 px), with diminishing returns.
    resolution = np.clip(per_metre / 200, 0.05, 4) ** 0.5
    score = cosine * (0.4 + 0.6 * inside) * (0.5 + 0.5 * np.minimum(resolution, 1.5))
    return _Look(
        grid,
        color,
        score.astype(np.float32),
        trust.astype(np.float32),
        cosine,
        pixels[:, :2],
        per_metre.astype(np.float32),
        beside,
    )


def _beside(
    camera: NDArray[np.floating],
    depth: NDArray[np.float32],
    trunk: NDArray[np.float32],
    arm: NDArray[np.bool_],
    K: NDArray[np.float64],
) -> NDArray[np.float32]:
    """How near [T] 0-1 points [T,3] lie to the outline of another part of the body.

    Points of a lower ``arm`` [T] are that near wherever the rest of the body lies behind or before them: fits
    know the depth of an arm too badly to tell an arm on the hip from one behind the back.

    Args:
        depth, trunk: depth buffers of the whole body and of all but the lower arms, with the camera K.
    """
    at = to_pixels(camera, K)
    side = len(depth)
    col, row = (at[:, k].astype(int).clip(0, side - 1) for k in (0, 1))
    metre = float(K[0, 0]) / max(float(np.median(camera[:, 2])), 0.05)
    behind, on_trunk = np.where(np.isfinite(depth), depth, 0), np.isfinite(trunk)
    out = np.zeros(len(camera), np.float32)
    for distance, how in BESIDE:
        size = 2 * max(1, round(distance * metre)) + 1
        far = ndimage.maximum_filter(behind, size)[row, col]
        near = ndimage.minimum_filter(depth, size)[row, col]
        other = (far > at[:, 2] + APART) | (near < at[:, 2] - APART)
        other |= arm & ndimage.maximum_filter(on_trunk, size)[row, col]
        out = np.maximum(out, how * other)
    return out.astype(np.float32)


def to_pixels(camera: NDArray[np.floating], K: NDArray[np.floating]) -> NDArray[np.float32]:
    """Points [P,3] in a camera's space, m -> pixel x, pixel y, depth [P,3]."""
    z = camera[:, 2]
    safe = np.where(np.abs(z) < 1e-3, 1e-3, z)
    x = camera[:, 0] / safe * K[0, 0] + K[0, 2]
    y = camera[:, 1] / safe * K[1, 1] + K[1, 2]
    # Points far outside would overflow the integer pixel index of the kernels.
    return np.stack([np.clip(x, -1e6, 1e6), np.clip(y, -1e6, 1e6), z], 1).astype(np.float32)


def _sample_source(
    source: Source,
    pixels: NDArray[np.float32],
    footprint: NDArray[np.floating],
    mesh: NDArray[np.floating],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colour [T,3] and how far inside the mask 0-1 [T].

    Texels larger than a pixel read a smaller mip level of the frame, averaged inside the mask only, so
    that neither
    aliasing nor background enters.
    """
    body = to_pixels(mesh, source.K)
    h, w = source.mask.shape
    x0, y0 = np.clip(np.floor(body[:, :2].min(0)).astype(int) - 4, 0, (w - 2, h - 2))
    x1, y1 = np.clip(np.ceil(body[:, :2].max(0)).astype(int) + 5, (x0 + 2, y0 + 2), (w, h))
    # Body height in pixels decides how wide the untrusted rim is: about 1 cm.
    rim = max(1, round((y1 - y0) / 200))
    hard = torch.from_numpy(source.mask[y0:y1, x0:x1].astype(np.float32) / 255)[None, None]
    eroded = -F.max_pool2d(-(hard > 0.6).float(), 2 * rim + 1, 1, rim)
    soft = F.avg_pool2d(eroded, 2 * rim + 1, 1, rim, count_include_pad=False)
    rgb = torch.from_numpy(source.image[y0:y1, x0:x1].astype(np.float32) / 255).permute(2, 0, 1)[None]
    # Half-covered rim pixels hold background: they count for next to nothing where inner pixels are near.
    inner = hard * (1e-3 + (-F.max_pool2d(-hard, 3, 1, 1) > 0.9).float())
    level = torch.cat([rgb * inner, inner], 1)
    local = pixels[:, :2] - np.array([x0, y0], np.float32)
    inside = sample_bilinear(np.ascontiguousarray(soft[0].permute(1, 2, 0).numpy()), local)[:, 0]
    in_frame = (local > 0).all(1) & (local < (x1 - x0, y1 - y0)).all(1)
    wanted = np.clip(np.round(np.log2(np.maximum(footprint, 1e-3))), 0, 5).astype(int)
    color = np.zeros((len(pixels), 3), np.float32)
    for index in range(int(wanted.max()) + 1):
        chosen = np.nonzero(wanted == index)[0]
        if index:
            if min(level.shape[-2:]) < 4:
                chosen = np.nonzero(wanted >= index)[0]
            else:
                level = F.avg_pool2d(level, 2, ceil_mode=True, count_include_pad=False)
        points = np.ascontiguousarray(local[chosen] / 2**index, np.float32)
        read = sample_bilinear(np.ascontiguousarray(level[0].permute(1, 2, 0).numpy()), points)
        color[chosen] = read[:, :3] / np.maximum(read[:, 3:], 1e-6)
    return np.clip(color, 0, 1), (inside * in_frame).astype(np.float32)


def fuse(features: Tensor, views: TexelViews) -> Tensor:
    """Image features [B,N,C,h,w] -> UV features [B,C,U,U], weighted like the colours."""
    b, n, c = features.shape[:3]
    u = views.weight.shape[-1]
    sampled = F.grid_sample(
        features.flatten(0, 1), views.grid.flatten(0, 1).to(features), mode="bilinear", align_corners=False
    )
    return (sampled.view(b, n, c, u, u) * views.weight[:, :, None].to(features)).sum(1)
