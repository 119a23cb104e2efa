"""Fits pack items to one body and keeps cloth outside the skin.

In: a T-pose base body (19158 vertices) and pack items. Out: item vertices in the T-pose with their skin
weights and expression deltas, pushed out along the body normals; the visible faces of the skin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lca_core.data.library import Proxy, base_mesh, extended_body
from lca_core.data.render import vertex_normals

# Base vertex pairs whose distance scales offsets, per axis, with their distance on the original mesh
# (decimetres).
SCALE_PAIRS = ((5399, 11998, 1.4340), (791, 881, 2.4098), (962, 5320, 2.0001))
CLEARANCE_REST_M = 0.0025
CLEARANCE_POSED_M = 0.002
CLEARANCE_HAIR_M = 0.0012
_NEAR_M = 0.03
_COVERED_M = 0.02
_LAYER_M = 0.04


@dataclass(frozen=True)
class Fitted:
    """One item on one body, T-pose.

    Attributes:
        vertices: (N,3) m. weights: (N,55). expressions: (52,N,3) or None when the item ignores the face.
        nearest: (N,) base skin vertex that guards against penetration, -1 where none is near.
    """

    item: Proxy
    vertices: NDArray[np.float32]
    weights: NDArray[np.float32]
    expressions: NDArray[np.float32] | None
    nearest: NDArray[np.int64]


def fit(item: Proxy, body: NDArray[np.float32], *, facial: bool) -> Fitted:
    """Place ``item`` on ``body`` (19158,3). ``facial`` items (brows, lashes, teeth) follow expressions."""
    ext = extended_body()
    w, refs = item.weights[..., None], item.refs
    scale = np.array([np.abs(body[a, k] - body[b, k]) / d for k, (a, b, d) in enumerate(SCALE_PAIRS)])
    # The base is metres here: distance_m / reference_dm turns an offset in decimetres into metres.
    offset = item.offsets * scale.astype(np.float32)
    turn = ext.a_to_t[refs].mean(1)
    vertices = (w * body[refs]).sum(1) + np.einsum("nij,nj->ni", turn, offset)
    positive = np.clip(item.weights, 0.0, None) + 1e-6
    positive /= positive.sum(1, keepdims=True)
    weights = (positive[..., None] * ext.weights[refs]).sum(1)
    weights /= weights.sum(1, keepdims=True)
    deltas = (w * ext.expressions[:, refs]).sum(2) if facial else None
    none = np.full(len(vertices), -1, np.int64)
    return Fitted(item, vertices.astype(np.float32), weights.astype(np.float32), deltas, none)


def push_out(fitted: Fitted, body: NDArray[np.float32], clearance: float = CLEARANCE_REST_M) -> Fitted:
    """Move item vertices that lie less than ``clearance`` outside the T-pose skin; remembers the guarding
    vertices."""
    faces, _ = base_mesh("skin")
    normals = vertex_normals(body, faces)
    skin = np.unique(faces)
    distance, near = cKDTree(body[skin]).query(fitted.vertices)
    nearest = np.where(distance < _NEAR_M, skin[near], -1)
    vertices = clear(fitted.vertices, nearest, body, normals, clearance)
    return Fitted(fitted.item, vertices, fitted.weights, fitted.expressions, nearest)


def clear(
    vertices: NDArray[np.float32],
    nearest: NDArray[np.int64],
    body: NDArray,
    normals: NDArray,
    clearance: float,
) -> NDArray[np.float32]:
    """Vertices (N,3) moved along the guarding normals until they lie ``clearance`` metres outside."""
    guarded = nearest >= 0
    index = nearest[guarded]
    n = normals[index]
    lack = clearance - ((vertices[guarded] - body[index]) * n).sum(1)
    out = vertices.copy()
    out[guarded] += np.clip(lack, 0.0, _NEAR_M)[:, None] * n
    return out


def visible_skin(items: list[Fitted], body: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(F,) faces of the skin that stay.

    A face goes when all its vertices are hidden, either by an item's own list or because they lie within 2
    cm under an item and away from its edges, so that skin cannot poke through cloth when the person moves.
    """
    faces, _ = base_mesh("skin")
    hidden = np.zeros(len(body), bool)
    skin = np.unique(faces)
    for fitted in items:
        hidden |= fitted.item.hidden
        used = np.unique(fitted.item.faces)
        distance, near = cKDTree(fitted.vertices[used]).query(body[skin])
        hidden[skin[(distance < _COVERED_M) & ~_border(fitted.item)[used[near]]]] = True
    return ~hidden[faces].all(1)


def region_of(fitted: Fitted, region: int) -> Fitted:
    """Only the upper (1) or lower (2) garment of a suit, vertices compacted.

    The suit's own list of hidden skin covers both garments, so the part hides by distance alone.
    """
    item = fitted.item
    keep = item.face_region == region
    used, compact = np.unique(item.faces[keep], return_inverse=True)
    part = replace(
        item, refs=item.refs[used], weights=item.weights[used], offsets=item.offsets[used],
        faces=compact.reshape(-1, 3), face_uvs=item.face_uvs[keep], hidden=np.zeros_like(item.hidden),
        face_region=item.face_region[keep],
    )  # fmt: skip
    return Fitted(part, fitted.vertices[used], fitted.weights[used], fitted.expressions, fitted.nearest[used])


def layer(outer: Fitted, inner: Fitted, gap: float = 0.004, *, trim: bool = True) -> tuple[Fitted, Fitted]:
    """Two garments of which ``outer`` lies over ``inner``.

    Outer vertices closer than ``gap`` metres to the inner cloth, or inside it, move outwards. With ``trim``
    inner faces well under the outer cloth go, so that they cannot show through when the person moves.
    """
    normals = vertex_normals(inner.vertices, inner.item.faces)
    distance, near = cKDTree(inner.vertices).query(outer.vertices)
    nearest = np.where(distance < _LAYER_M, near, -1)
    pushed = replace(outer, vertices=clear(outer.vertices, nearest, inner.vertices, normals, gap))
    if not trim:
        return pushed, inner
    distance, near = cKDTree(pushed.vertices).query(inner.vertices)
    out = vertex_normals(pushed.vertices, outer.item.faces)
    under = ((pushed.vertices[near] - inner.vertices) * out[near]).sum(1) > 0
    covered = under & (distance < 1.5 * _LAYER_M) & ~_border(outer.item)[near]
    keep = ~covered[inner.item.faces].all(1)
    item = replace(
        inner.item, faces=inner.item.faces[keep], face_uvs=inner.item.face_uvs[keep],
        face_region=inner.item.face_region[keep],
    )  # fmt: skip
    return pushed, replace(inner, item=item)


def _border(item: Proxy) -> NDArray[np.bool_]:
    """(N,) vertices on an open edge of the item or next to one."""
    f = item.faces
    edges = np.sort(np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]]), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    out = np.zeros(len(item.refs), bool)
    out[unique[count == 1]] = True
    for _ in range(2):
        out[f[out[f].any(1)]] = True
    return out
