"""The proxy mesh: the body's own topology, moved onto the dressed surface and textured from the Gaussians.

Every Gaussian comes from a texel of a fine grid over the body's UV atlas: it rides on the triangle under that
texel, and the offset of the clothes and the texture are maps baked from all of them.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage, sparse

from lca_core.avatar.avatar import Canonical, Proxy
from lca_core.avatar.bake import bake
from lca_core.avatar.skinning import snap_weights
from lca_core.body.atlas import UvAtlas
from lca_core.body.model import BodyModel
from lca_core.body.points import locate

SMOOTHING_STEPS = 6
OFFSET_MAP = 512
ARKIT_EPSILON_M = 2e-5


def build_proxy(
    body: BodyModel,
    rest_vertices: np.ndarray,
    canonical: Canonical,
    texture: np.ndarray,
) -> Proxy:
    """Build the proxy of one person.

    Args:
        body: the body model, for topology, UVs, weights and ARKit shapes.
        rest_vertices: (V, 3) this person's undressed body in T-pose, metres.
        canonical: the person's Gaussians with their texels.
        texture: (S, S, 3) uint8 sRGB in the atlas layout, already filled outside the islands.
    """
    points = locate(body, canonical.texel[:, 0], canonical.texel[:, 1], canonical.uv_size)
    triangles, barycentric = points.tri, points.bary
    surface = np.einsum("nk,nkc->nc", barycentric, rest_vertices[triangles])
    offsets = bake(canonical.texel, canonical.uv_size, canonical.means - surface, OFFSET_MAP)
    atlas = UvAtlas.build(body, OFFSET_MAP)
    faces = np.asarray(body.faces)
    vertices = rest_vertices + _vertex_offsets(
        body, offsets, np.asarray(atlas.cavity) & np.asarray(atlas.mask)
    )
    indices, weights = snap_weights(np.asarray(body.weights))
    pointers, index, deltas = _sparse_arkit(np.asarray(body.expr_dirs))
    return Proxy(
        vertices=vertices.astype(np.float32),
        normals=vertex_normals(vertices, faces).astype(np.float32),
        faces=faces.astype(np.int32),
        uvs=np.asarray(body.vt, np.float32),
        face_uvs=np.asarray(body.ft, np.int32),
        joint_indices=indices,
        joint_weights=weights,
        arkit_ptr=pointers,
        arkit_index=index,
        arkit_vertices=deltas,
        bind_tri=triangles.astype(np.int32),
        bind_bary=barycentric.astype(np.float32),
        texture=texture,
    )


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals (V, 3)."""
    corners = vertices[faces]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], face)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 1e-12, normals / np.maximum(length, 1e-12), np.array([0.0, 1.0, 0.0]))


def _vertex_offsets(body: BodyModel, offsets: np.ndarray, cavity: np.ndarray) -> np.ndarray:
    size = len(offsets)
    uv = np.asarray(body.vt, np.float64)
    grid = np.stack([(1.0 - uv[:, 1]) * size - 0.5, uv[:, 0] * size - 0.5])
    per_uv = np.stack(
        [ndimage.map_coordinates(offsets[..., c], grid, order=1, mode="nearest") for c in range(3)], axis=1
    )
    in_cavity = ndimage.map_coordinates(cavity.astype(np.float32), grid, order=1, mode="nearest")
    per_uv *= 1.0 - np.clip(in_cavity, 0.0, 1.0)[:, None]
    faces, face_uvs = np.asarray(body.faces).ravel(), np.asarray(body.ft).ravel()
    vertex_count = len(body.v_template)
    total, count = np.zeros((vertex_count, 3)), np.zeros(vertex_count)
    np.add.at(total, faces, per_uv[face_uvs])
    np.add.at(count, faces, 1.0)
    moved = total / np.maximum(count, 1.0)[:, None]
    average = _neighbour_average(np.asarray(body.faces), vertex_count)
    for _ in range(SMOOTHING_STEPS):
        moved = 0.5 * moved + 0.5 * (average @ moved)
    return moved


def _neighbour_average(faces: np.ndarray, vertex_count: int) -> sparse.csr_matrix:
    a = np.concatenate([faces[:, 0], faces[:, 1], faces[:, 2]])
    b = np.concatenate([faces[:, 1], faces[:, 2], faces[:, 0]])
    adjacency = sparse.coo_matrix((np.ones(len(a)), (a, b)), (vertex_count, vertex_count)).tocsr()
    adjacency = ((adjacency + adjacency.T) > 0).astype(np.float64)
    degree = np.maximum(np.asarray(adjacency.sum(axis=1)).ravel(), 1.0)
    return sparse.diags(1.0 / degree) @ adjacency


def _sparse_arkit(directions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pointers, index, deltas = [0], [], []
    for shape in range(directions.shape[2]):
        moved = np.flatnonzero(np.abs(directions[:, :, shape]).max(axis=1) > ARKIT_EPSILON_M)
        index.append(moved)
        deltas.append(directions[moved, :, shape])
        pointers.append(pointers[-1] + len(moved))
    return (
        np.asarray(pointers, np.int32),
        np.concatenate(index).astype(np.int32),
        np.concatenate(deltas).astype(np.float32),
    )
