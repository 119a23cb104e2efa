"""Clothing that reaches the outline of the masks: a closed-form fit of offsets, nothing learned.

The network guesses how far clothes stand off the body; the masks know it wherever a view sees the surface
edge-on. In: references and predicted offsets. Out: offsets along the body normal that bring the outline of
the dressed body to that of the masks, spread between the observed outlines as a membrane. Hands, neck and
face, whose shape the body model knows better, stay as they are; hair does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from lca_core.body.cage import surface_laplacian
from lca_core.body.names import HAND_JOINTS, HEAD_JOINTS, JOINT_INDEX, JOINT_NAMES
from lca_core.model.dressed import dressed_shape
from lca_core.model.inverse_texture import to_pixels
from lca_core.model.network import CanonicalMaps
from lca_core.model.raster import depth_buffer, sample_bilinear
from lca_core.model.references import References, Source
from lca_core.model.surface import BodyPoints, PosedTexels
from lca_core.model.template import Template

ROUNDS = 3
EDGE_ON = 0.30
"""Cosine to the view below which a point may lie on the outline."""
INWARD_M, OUTWARD_M, STEP_M = 0.06, 0.14, 0.002
"""Reach of the search for the outline along the normal, and its step."""
INSET_M = 0.002
"""Gaussians have a thickness: their surface stays this far inside the outline."""
LOWEST_M, HIGHEST_M = -0.02, 0.15
"""Bounds of the offset along the normal (the training truth ends at 15 cm)."""
MEMBRANE, HOLD = 2.0, 0.002
"""Tension of the membrane against one observation, and the pull to the prediction: its effect reaches
sqrt(MEMBRANE / HOLD) points, about 40 cm."""
UNSURE = 0.3
"""Weight where cloth fills the gap to another limb, or goes on beyond the reach."""
STILL = 100.0
"""Pull to the prediction where the outline must not move a point."""
ABOVE_EYES_M, TO_EARS_M = 0.02, 0.085
"""How far above and behind the eyes' centres the face reaches."""
BUFFER = 512
"""Side of the picture of the body, pixels of the crop around it."""
_LEGS = ("hip", "knee", "ankle", "foot")


@dataclass(frozen=True)
class Graph:
    """Neighbours on the body's surface. laplacian (T,T) of edges with weight 1; still (T,) points of hands,
    neck and face, legs (T,) those that hips and legs move."""

    laplacian: sparse.csc_matrix
    still: NDArray[np.bool_]
    legs: NDArray[np.bool_]


@lru_cache(maxsize=4)
def surface_graph(points: BodyPoints) -> Graph:
    """Edges to the eight nearest points of the mean body that face the same way (the other leg does not)."""
    position, frames, joints = (x.numpy() for x in points._rest(torch.zeros(50)))
    normal = frames[:, :, 2]
    laplacian = surface_laplacian(position, normal, 8, 0.06)
    hands = points.weights[:, [*HAND_JOINTS["left"], *HAND_JOINTS["right"]]].sum(1) > 0.5
    eye = joints[JOINT_INDEX["left_eye_smplhf"]]
    # Cheeks and jaw to the ears; what stands off above and behind them is hair.
    cheeks = (position[:, 1] < eye[1] + ABOVE_EYES_M) & (position[:, 2] > eye[2] - TO_EARS_M)
    face = (points.weights[:, HEAD_JOINTS].sum(1) > 0.5) & ((normal[:, 2] > 0.3) | cheeks)
    neck = points.weights[:, JOINT_INDEX["neck"]] > 0.5
    below = [n.partition("_")[2] in _LEGS or n == "pelvis" for n in JOINT_NAMES]
    return Graph(laplacian.tocsc(), hands | face | neck, points.weights[:, below].sum(1) > 0.3)


def fit_outline(
    points: BodyPoints,
    refs: References,
    offset: NDArray[np.floating],
    person: int = 0,
    skirt: bool = False,
) -> NDArray[np.float32]:
    """Offsets whose outline agrees with the masks.

    Args:
        offset: [T,3] metres in the tangent frames of ``points``, the prediction.
        skirt: hips and legs are under one: the outline says nothing about them.

    Returns:
        [T,3]; tangential parts are those of ``offset``.
    """
    graph = surface_graph(points)
    still = graph.still | graph.legs if skirt else graph.still
    keep = np.nonzero(refs.view_valid[person].cpu().numpy())[0]
    out = np.array(offset, np.float32)
    anchor = HOLD + STILL * still
    for _ in range(ROUNDS):
        posed = points.posed(
            refs.betas[person],
            refs.pose[person, keep],
            refs.transl[person, keep],
            refs.expression[person, keep],
            out,
        )
        weight, pull = np.zeros(points.count), np.zeros(points.count)
        for view, texels in zip(keep, posed, strict=True):
            source = refs.sources[person][view] if refs.sources else None
            if source is None:
                continue
            where, found, sure = outline(
                points.faces,
                texels,
                source,
                refs.viewmats[person, view].cpu().numpy().astype(np.float64),
                refs.Ks[person, view].cpu().numpy().astype(np.float64),
                refs.images.shape[-1],
            )
            np.add.at(weight, where, sure)
            np.add.at(pull, where, sure * found)
        weight[still], pull[still] = 0, 0
        moved = (out[:, 2] - offset[:, 2]).astype(np.float64)
        # Unknown is the whole change against the prediction: tension and hold act on that, not on a round.
        system = sparse.diags(weight + anchor) + MEMBRANE * graph.laplacian
        change = splu(system.tocsc()).solve(weight * moved + pull) * ~still
        out[:, 2] = np.clip(offset[:, 2] + change, LOWEST_M, np.maximum(HIGHEST_M, offset[:, 2]))
    return out


def reach_outline(template: Template, refs: References, maps: CanonicalMaps, skirt: bool) -> None:
    """Offsets of ``maps`` (B = 1) out to the masks, and the sizes of Gaussians that follow from it."""
    before = maps.offset
    fitted = fit_outline(template, refs, template.gather(before)[0].float().cpu().numpy(), skirt=skirt)
    maps.offset = template.scatter(torch.from_numpy(fitted)[None]).to(before)
    rest, carries = template.rest(refs.betas), template.carries_map[0].to(before)
    was, now = (
        dressed_shape(rest.position[0], rest.frame[0], one[0], carries)[0] for one in (before, maps.offset)
    )
    maps.log_scale = maps.log_scale + (now - was)[None]


def outline(
    faces: NDArray[np.int32],
    texels: PosedTexels,
    source: Source,
    viewmat: NDArray[np.float64],
    crop_k: NDArray[np.float64],
    side: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Points on the outline of one view: their numbers (P,), how many metres the mask's outline lies beyond
    that of the body along the normal (P,), and the weight of that (P,)."""
    rotation, shift = viewmat[:3, :3], viewmat[:3, 3]
    camera = texels.position @ rotation.T + shift
    normal = texels.normal @ rotation.T
    towards = -camera / np.maximum(np.linalg.norm(camera, axis=1, keepdims=True), 1e-6)
    edge = np.abs(np.einsum("ti,ti->t", normal, towards)) < EDGE_ON
    where = np.nonzero(edge & (camera[:, 2] > 0.1))[0]
    buffer_k = crop_k * np.array([[BUFFER / side], [BUFFER / side], [1.0]])
    depth = depth_buffer(to_pixels(texels.vertices @ rotation.T + shift, buffer_k), faces, BUFFER, BUFFER)
    body = np.isfinite(depth).astype(np.float32)[..., None]
    mask = (source.mask.astype(np.float32) / 255)[..., None]
    steps = np.arange(-INWARD_M, OUTWARD_M + STEP_M / 2, STEP_M)
    # Outwards in the picture: the part of the normal across the ray to the camera.
    across = normal[where] - np.einsum("ti,ti->t", normal[where], towards[where])[:, None] * towards[where]
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)
    rays = camera[where, None] + steps[None, :, None] * across[:, None]
    shape = rays.shape[:2]
    on_body = sample_bilinear(body, to_pixels(rays.reshape(-1, 3), buffer_k))[:, 0].reshape(shape)
    pixels = to_pixels(rays.reshape(-1, 3), source.K)
    on_mask = sample_bilinear(mask, pixels)[:, 0].reshape(shape)
    h, w = source.mask.shape
    inside = ((pixels[:, :2] > 1) & (pixels[:, :2] < (w - 1, h - 1))).all(1).reshape(shape).all(1)
    found, sure = _gaps(on_body, on_mask)
    good = inside & (sure > 0)
    return where[good], found[good] - INSET_M, sure[good]


def _gaps(on_body: NDArray, on_mask: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rays (P,K) of coverage by body and mask -> metres from the body's outline to the mask's (P,), weight
    (P,), 0 where the ray does not leave the body near its point."""
    count, length = on_body.shape
    zero = round(INWARD_M / STEP_M)
    index = np.arange(length)
    near = round(0.012 / STEP_M)
    leaves = (on_body[:, :-1] >= 0.5) & (on_body[:, 1:] < 0.5)
    at_start = leaves & (index[:-1] >= zero - near) & (index[:-1] <= zero + 2 * near)
    sure = at_start.any(1).astype(np.float64)
    edge = at_start.argmax(1)
    beyond = index[None] > edge[:, None]
    again = beyond & (index[None] > edge[:, None] + 1) & (on_body >= 0.5)
    limit = np.where(again.any(1), again.argmax(1), length)
    body_edge = _crossing(on_body, edge)
    rows = np.arange(count)
    solid = on_mask >= 0.5
    starts_on = solid[rows, edge]
    ends = beyond & ~solid & (index[None] < limit[:, None])
    closes = ends.any(1)
    last_on = np.maximum(ends.argmax(1) - 1, 0)
    outer = _crossing(on_mask, last_on)
    before = ~beyond & solid
    has_inner = before.any(1)
    inner = _crossing(on_mask, length - 1 - before[:, ::-1].argmax(1))
    gap = np.where(starts_on, outer, inner) - body_edge
    # Cloth up to another limb: each side takes half. Cloth beyond the reach: at least that far.
    filled = starts_on & ~closes
    blocked = limit < length
    gap = np.where(filled, np.where(blocked, (limit - body_edge) / 2, length - 1 - body_edge), gap)
    sure = np.where(filled, sure * UNSURE, sure)
    sure = np.where(~starts_on & ~has_inner, 0.0, sure)
    return gap * STEP_M, sure


def _crossing(values: NDArray, last: NDArray[np.int64]) -> NDArray[np.float64]:
    """Where coverage (P,K) falls through one half after index ``last`` (P,), as a fraction of an index."""
    rows = np.arange(len(values))
    a = values[rows, last].astype(np.float64)
    b = values[rows, np.minimum(last + 1, values.shape[1] - 1)].astype(np.float64)
    drop = np.maximum(a - b, 1e-6)
    step: NDArray[np.float64] = last + np.clip((a - 0.5) / drop, 0, 1)
    return step
