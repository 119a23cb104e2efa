"""Shoes: where the photographs show no bare foot, the toes of the body vanish under one smooth surface.

The network's grid has a few texels per toe, far too coarse to grow a shoe over them. In: the samples of an
avatar, its references and what the views show. Out: the samples and body vertices of the forefoot laid on
the convex hull of their foot, or None for bare feet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from lca_core.body.names import JOINT_INDEX
from lca_core.model.density import Samples
from lca_core.model.dressing import DressedSamples
from lca_core.model.inverse_texture import TexelViews
from lca_core.model.references import References
from lca_core.model.surface import array
from lca_core.model.template import Template
from lca_core.model.tube import Wrapped

THINNEST_M, THICKEST_M = 0.006, 0.014
"""Limits of a shoe's thickness; between them it has that of the network's clothing on the foot."""
BLEND_M = (0.0, 0.05)
"""Metres in front of the ankle between which the body's own surface gives way to the hull."""
SOFT_M = 0.004
"""How far the hull's edges are rounded."""
SEEN, FEWEST = 0.3, 20
"""Trust and number of texels below which the views say nothing about the feet."""
SKIN_CHROMA, SKIN_STEPS, BARE = 0.025, 0.5, 0.6
"""Distance from the skin's colour in r, g chromaticity and in ln brightness that skin in other light has, and
the share of a foot that must be within to be called bare."""
_FEET = tuple(tuple(JOINT_INDEX[f"{s}_{n}"] for n in ("ankle", "foot")) for s in ("left", "right"))
_HANDS = tuple(JOINT_INDEX[n] for n in ("left_wrist", "right_wrist"))


@dataclass(frozen=True)
class Shoes:
    """Both shoes of one person: their points among the samples; ``samples`` is posed with the shoes on."""

    points: Wrapped
    samples: Samples


def put_on(
    samples: Samples, refs: References, template: Template, views: TexelViews, offset: NDArray[np.floating]
) -> Shoes | None:
    """Shoes over the toes of the person of ``refs`` (B = 1), or None when the ``views`` show bare feet.

    offset: [T,3] clothing offset of the samples in metres, tangent frame.
    """
    on_foot = samples.weights[:, [j for foot in _FEET for j in foot]].sum(1) > 0.8
    if barefoot(template, views) or not on_foot.any():
        return None
    betas = refs.betas[0].detach().cpu().float()
    rest, frames, joints = (array(x) for x in samples._rest(betas))
    vertices = array(samples.body.rest(betas[None], None)[0]).reshape(-1, 3)
    hulls = [_Hull(vertices, samples.vertex_weights, joints, foot) for foot in _FEET]
    ease = float(np.clip(np.median(offset[on_foot, 2]), THINNEST_M, THICKEST_M))
    dressed = rest + np.einsum("tij,tj->ti", frames, offset)
    points = _lay(hulls, rest, dressed, samples.weights, frames, ease)
    mesh = _lay(hulls, vertices, vertices, samples.vertex_weights, None, ease)
    if not len(points.where):
        return None
    return Shoes(
        points,
        DressedSamples(
            samples,
            points,
            samples.weights[points.where],
            mesh,
            samples.vertex_weights[mesh.where],
        ),
    )


def barefoot(template: Template, views: TexelViews) -> bool:
    """Whether the feet have the colour of the hands and the face; unseen feet are taken to be shod."""
    color, hit = template.gather(views.color)[0].numpy(), template.gather(views.hit)[0, :, 0].numpy()
    weights, normal = template.weights, template.rest_normals()
    face = template._head_texels().numpy() & (normal[:, 2] > 0.6)
    skin = (face | (weights[:, _HANDS].sum(1) > 0.5)) & (hit > SEEN)
    feet = (weights[:, [j for foot in _FEET for j in foot]].sum(1) > 0.8) & (hit > SEEN)
    if skin.sum() < FEWEST or feet.sum() < FEWEST:
        return False
    typical = np.median(color[skin], 0)
    chroma = np.linalg.norm(_chroma(color[feet]) - _chroma(typical[None]), axis=1)
    bright = np.log((color[feet].sum(1) + 0.03) / (typical.sum() + 0.03))
    return bool(((chroma < SKIN_CHROMA) & (np.abs(bright) < SKIN_STEPS)).mean() > BARE)


def _chroma(color: NDArray[np.floating]) -> NDArray[np.floating]:
    return (color / np.maximum(color.sum(-1, keepdims=True), 1e-3))[..., :2]


class _Hull:
    """The rounded convex hull of one forefoot at rest."""

    def __init__(
        self,
        vertices: NDArray[np.floating],
        weights: NDArray[np.floating],
        joints: NDArray[np.floating],
        foot: tuple[int, ...],
    ) -> None:
        self.foot, self.ankle = foot, joints[foot[0]]
        own = (weights[:, list(foot)].sum(1) > 0.5) & (vertices[:, 1] < self.ankle[1])
        hull = ConvexHull(vertices[own].astype(np.float64))
        self.normals, self.shift = hull.equations[:, :3], hull.equations[:, 3]

    def share(self, points: NDArray[np.floating], weights: NDArray[np.floating]) -> NDArray[np.floating]:
        """How far each point [P,3] lies on the shoe, 0-1."""
        ahead = np.clip((points[:, 2] - self.ankle[2] - BLEND_M[0]) / (BLEND_M[1] - BLEND_M[0]), 0, 1)
        of = np.clip(weights[:, list(self.foot)].sum(1) * 4 - 2, 0, 1)
        low = np.clip((self.ankle[1] - points[:, 1]) / 0.02, 0, 1)
        return ahead**2 * (3 - 2 * ahead) * of * low

    def project(self, points: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Points [P,3] inside -> the places on the hull above them and its smooth normals there."""
        depth = points @ self.normals.T + self.shift
        weight = np.exp((depth - depth.max(1, keepdims=True)) / SOFT_M)
        normal = weight @ self.normals
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        along = normal @ self.normals.T
        steps = np.where(along > 1e-3, -depth / np.maximum(along, 1e-3), np.inf)
        return points + np.maximum(steps.min(1), 0)[:, None] * normal, normal


def _lay(
    hulls: list[_Hull],
    points: NDArray[np.floating],
    dressed: NDArray[np.floating],
    weights: NDArray[np.floating],
    frames: NDArray[np.floating] | None,
    ease: float,
) -> Wrapped:
    """Points [P,3] of the forefeet, and the same with the network's clothing, on hulls ``ease`` metres wider;
    frames [P,3,3] give the tangents (None: any)."""
    where, means, axes = [], [], []
    for hull in hulls:
        share = hull.share(points, weights)
        own = np.flatnonzero(share > 0)
        at, part = points[own].astype(np.float64), share[own, None]
        on, out = hull.project(at)
        start = out if frames is None else frames[own][:, :, 2].astype(np.float64)
        normal = part * out + (1 - part) * start
        normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
        guide = np.tile([1.0, 0, 0], (len(own), 1)) if frames is None else frames[own][:, :, 0]
        tangent = guide - (guide * normal).sum(1, keepdims=True) * normal
        weak = np.linalg.norm(tangent, axis=1) < 0.2
        tangent[weak] = np.cross(
            normal[weak], np.where(np.abs(normal[weak, :1]) < 0.7, [[1.0, 0, 0]], [[0, 1.0, 0]])
        )
        tangent = tangent / np.linalg.norm(tangent, axis=1, keepdims=True)
        where.append(own)
        means.append((1 - part) * dressed[own] + part * (on + ease * out))
        axes.append(np.stack([tangent, np.cross(normal, tangent), normal], -1))
    index = np.concatenate(where)
    return Wrapped(
        index,
        np.concatenate(means).astype(np.float32),
        np.concatenate(axes).astype(np.float32),
        np.ones(len(index), np.float32),
    )
