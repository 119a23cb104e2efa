"""The proxy mesh: the body's own topology, moved onto the dressed surface and textured from the Gaussians.

Every Gaussian comes from a texel of a fine grid over the body's UV atlas: it rides on the triangle under that
texel, and the offset of the clothes and the texture are maps baked from all of them. Teeth are a part of
their own.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage, sparse

from lca_core.avatar.avatar import Canonical, Proxy
from lca_core.avatar.bake import bake
from lca_core.avatar.skinning import snap_weights
from lca_core.body.atlas import UvAtlas
from lca_core.body.model import BodyModel
from lca_core.body.names import NUM_ARKIT
from lca_core.body.points import locate
from lca_core.model.teeth import Teeth

SMOOTHING_STEPS = 6
OFFSET_MAP = 512
ARKIT_EPSILON_M = 2e-5


def build_proxy(
    body: BodyModel,
    rest_vertices: np.ndarray,
    canonical: Canonical,
    texture: np.ndarray,
    teeth: Teeth | None = None,
) -> Proxy:
    """Build the proxy of one person.

    Args:
        body: the body model, for topology, UVs, weights and ARKit shapes.
        rest_vertices: (V, 3) this person's undressed body in T-pose, metres.
        canonical: the person's Gaussians with their texels.
        texture: (S, S, 3) uint8 sRGB in the atlas layout, already filled outside the islands.
        teeth: those of the person when the last Gaussians are on them; they become part of the mesh.
    """
    on_body = len(canonical.means) - (0 if teeth is None else len(teeth.table.drawn))
    texel, means = canonical.texel[:on_body], canonical.means[:on_body]
    points = locate(body, texel[:, 0], texel[:, 1], canonical.uv_size)
    triangles, barycentric = points.tri, points.bary
    surface = np.einsum("nk,nkc->nc", barycentric, rest_vertices[triangles])
    offsets = bake(texel, canonical.uv_size, means - surface, OFFSET_MAP)
    atlas = UvAtlas.build(body, OFFSET_MAP)
    faces = np.asarray(body.faces)
    vertices = rest_vertices + _vertex_offsets(
        body, offsets, np.asarray(atlas.cavity) & np.asarray(atlas.mask)
    )
    mesh = {
        "vertices": vertices,
        "normals": vertex_normals(vertices, faces),
        "faces": faces,
        "uvs": np.asarray(body.vt),
        "face_uvs": np.asarray(body.ft),
        "weights": np.asarray(body.weights),
        "shapes": np.asarray(body.expr_dirs),
        "bind_tri": triangles,
        "bind_bary": barycentric,
    }
    if teeth is not None:
        own = _teeth_mesh(teeth, len(vertices), len(mesh["uvs"]))
        mesh = {name: np.concatenate([part, own[name]]) for name, part in mesh.items()}
    indices, weights = snap_weights(mesh["weights"])
    pointers, index, deltas = _sparse_arkit(mesh["shapes"])
    return Proxy(
        vertices=mesh["vertices"].astype(np.float32),
        normals=mesh["normals"].astype(np.float32),
        faces=mesh["faces"].astype(np.int32),
        uvs=mesh["uvs"].astype(np.float32),
        face_uvs=mesh["face_uvs"].astype(np.int32),
        joint_indices=indices,
        joint_weights=weights,
        arkit_ptr=pointers,
        arkit_index=index,
        arkit_vertices=deltas,
        bind_tri=mesh["bind_tri"].astype(np.int32),
        bind_bary=mesh["bind_bary"].astype(np.float32),
        texture=texture,
    )


def _teeth_mesh(teeth: Teeth, first: int, first_uv: int) -> dict[str, np.ndarray]:
    """What the teeth add to a mesh of ``first`` vertices and ``first_uv`` UVs, by the names in
    :func:`build_proxy`."""
    table = teeth.table
    faces = table.quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
    shapes = np.zeros((len(teeth.vertices), 3, NUM_ARKIT), np.float32)
    for shape, moved in teeth.moves.items():
        shapes[:, :, shape] = moved
    return {
        "vertices": teeth.vertices,
        "normals": vertex_normals(teeth.vertices, faces),
        "faces": faces + first,
        "uvs": table.uv,
        "face_uvs": faces + first_uv,
        "weights": teeth.weights,
        "shapes": shapes,
        "bind_tri": table.quads[table.drawn, :3] + first,
        # Each Gaussian sits in the middle of its quad's diagonal.
        "bind_bary": np.tile([0.5, 0.0, 0.5], (len(table.drawn), 1)),
    }


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
