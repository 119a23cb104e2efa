"""Writes a valid ``.lca`` avatar without any network: the shipped template body in a painted bodysuit and
shoes.

Geometry, skin weights and the 52 ARKit shapes are the real ones of ``lca_body_v1.npz``; torso and feet are
inflated and smoothed into clothes, colours are flat, Gaussians are sampled at UV texels and bound to the
triangles under them. The zip is written here by hand from docs/avatar-file.md, so readers are tested against
the document.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save

from lca_core.body.names import ARKIT_NAMES, JOINT_INDEX, JOINT_PARENTS
from lca_core.body.rig import default_rig

BODY_FILE = Path(__file__).parents[1] / "core" / "lca_core" / "body" / "assets" / "lca_body_v1.npz"
SH_C0 = 0.28209479177387814
EXPRESSION_START = 300  # shapedirs: 300 shape slots, then 100 expression slots of which 52 are ARKit's

SKIN, SUIT, STRIPE, SHOE, HAIR, EYE, IRIS, MOUTH = range(8)
PALETTE = np.array(
    [
        (205, 160, 132),
        (52, 86, 140),
        (226, 164, 58),
        (46, 44, 48),
        (74, 52, 40),
        (236, 236, 232),
        (60, 84, 96),
        (120, 50, 52),
    ],
    np.uint8,
)


@dataclass(frozen=True)
class Template:
    """The dressed template person, T-pose, metres: everything the avatar file says about its proxy.

    ``vertices`` (V,3), ``faces`` (F,3), ``uvs`` (T,2), ``face_uvs`` (F,3), ``joints`` (55,3), ``weights``
    (V,55), ``shapes`` (52,V,3) ARKit offsets, ``paint`` (F,) index into ``PALETTE``, ``cavity`` (F,) bool.
    """

    vertices: np.ndarray
    faces: np.ndarray
    uvs: np.ndarray
    face_uvs: np.ndarray
    joints: np.ndarray
    weights: np.ndarray
    shapes: np.ndarray
    paint: np.ndarray
    cavity: np.ndarray


@lru_cache(maxsize=1)
def template() -> Template:
    """Load the body file and dress it."""
    with np.load(BODY_FILE) as body:
        bare = body["v_template"].astype(np.float64)
        faces, uvs, face_uvs = body["f"], body["vt"], body["ft"]
        joints = body["J_regressor"] @ bare
        weights, part, cavity = body["weights"], body["part"], body["cavity"]
        first = EXPRESSION_START
        shapes = np.moveaxis(body["shapedirs"][:, :, first : first + len(ARKIT_NAMES)], -1, 0)
    suit, shoes = _clothing_masks(weights)
    dressed = _inflate(bare, faces, suit, smoothing=30, offset=0.008)
    dressed = _inflate(dressed, faces, shoes, smoothing=40, offset=0.010)
    paint = _paint(bare, faces, weights, part, joints, suit, shoes)
    inner = cavity[faces].all(1)
    paint[inner & (part[faces[:, 0]] <= 1)] = MOUTH
    return Template(
        dressed.astype(np.float32),
        faces.astype(np.int32),
        uvs.astype(np.float32),
        face_uvs.astype(np.int32),
        joints.astype(np.float32),
        weights,
        np.ascontiguousarray(shapes, np.float32),
        paint,
        inner,
    )


def write_template_lca(
    path: str | Path,
    gaussians: int = 4000,
    *,
    seed: int = 0,
    texture_size: int = 512,
    name: str = "Template",
    grid: int = 256,
) -> Path:
    """Write a valid avatar file with about ``gaussians`` splats and return its path.

    Splats lie on the texels of a UV grid of side ``grid``; 256 has room for 39,000, 512 for 150,000.
    """
    person = template()
    rng = np.random.default_rng(seed)
    tri, bary = rasterise_uv(person, grid)
    texel, area = _choose_texels(person, tri, gaussians, rng)
    face = tri[texel[:, 0], texel[:, 1]]
    corner_bary = bary[texel[:, 0], texel[:, 1]]
    entries = {
        "rig.json": _rig_json(),
        "canonical.safetensors": _canonical(person, face, corner_bary, texel, area, grid),
        "skinning.safetensors": _skinning(person, face, corner_bary),
        "correctives.safetensors": _correctives(person, face, corner_bary),
        "network.safetensors": save({"identity_map": np.zeros((8, 16, 16), np.float16)}),
        "relight.safetensors": _relight(person, face),
        "proxy.safetensors": _proxy(person, face, corner_bary),
        "proxy.png": _png(texture(person, texture_size)),
        "thumbnail.png": _png(np.full((256, 256, 3), PALETTE[SUIT], np.uint8)),
    }
    info = {
        "schema": "lca.avatar/1",
        "name": name,
        "created": "2026-01-01T00:00:00Z",
        "generator": "lca fixture",
        "weights": {"config": "none", "sha256": "", "licence": "CC0-1.0"},
        "inputs_licence": "CC0-1.0",
        "height_m": float(np.ptp(person.vertices[:, 1])),
        "gaussian_count": len(face),
        "betas": [0.0] * 50,
        "provenance": {"kind": "template body, no person"},
        "files": {k: {"sha256": hashlib.sha256(v).hexdigest(), "bytes": len(v)} for k, v in entries.items()},
    }
    path = Path(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("avatar.json", json.dumps(info))
        for entry, payload in entries.items():
            archive.writestr(entry, payload)
    return path


def rasterise_uv(person: Template, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Which face covers each texel centre of a (size, size) grid, row 0 at v = 1.

    Returns:
        tri (S, S) int32, -1 where nothing; bary (S, S, 3) f32.
    """
    corners = person.uvs[person.face_uvs].astype(np.float64)
    xy = np.stack([corners[..., 0] * size, (1.0 - corners[..., 1]) * size], -1)
    tri = np.full((size, size), -1, np.int32)
    bary = np.zeros((size, size, 3), np.float32)
    low = np.maximum(np.ceil(xy.min(1) - 0.5).astype(int), 0)
    high = np.minimum(np.floor(xy.max(1) - 0.5).astype(int), size - 1)
    edges = np.stack([xy[:, 1] - xy[:, 0], xy[:, 2] - xy[:, 0]], -1)
    determinants = np.linalg.det(edges)
    for f in np.flatnonzero((high >= low).all(1) & (np.abs(determinants) > 1e-12)):
        columns, rows = np.meshgrid(
            np.arange(low[f, 0], high[f, 0] + 1), np.arange(low[f, 1], high[f, 1] + 1)
        )
        (ux, vx), (uy, vy) = edges[f]
        dx, dy = columns + 0.5 - xy[f, 0, 0], rows + 0.5 - xy[f, 0, 1]
        b1 = (dx * vy - dy * vx) / determinants[f]
        b2 = (ux * dy - uy * dx) / determinants[f]
        inside = (b1 >= 0) & (b2 >= 0) & (b1 + b2 <= 1)
        r, c = rows[inside], columns[inside]
        tri[r, c] = f
        bary[r, c] = np.stack([1 - b1 - b2, b1, b2], -1)[inside]
    return tri, bary


def texture(person: Template, size: int) -> np.ndarray:
    """(S, S, 3) uint8 sRGB; background painted like the suit so that seams never show through."""
    tri, _ = rasterise_uv(person, size)
    colours = PALETTE[person.paint]
    return np.where((tri >= 0)[..., None], colours[np.maximum(tri, 0)], PALETTE[SUIT]).astype(np.uint8)


def _clothing_masks(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices under the suit (everything but head, neck, hands) and under the shoes."""

    def share(*names: str) -> np.ndarray:
        return weights[:, [i for n, i in JOINT_INDEX.items() if any(part in n for part in names)]].sum(1)

    fingers = ("index", "middle", "ring", "pinky", "thumb")
    bare = share("head", "jaw", "eye", "neck", "wrist", *fingers) > 0.6
    shoes = share("ankle", "foot") > 0.55
    return ~bare & ~shoes, shoes


def _neighbours(faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    return pairs[:, 0], pairs[:, 1], np.maximum(np.bincount(pairs[:, 0], minlength=count), 1)


def _inflate(
    vertices: np.ndarray, faces: np.ndarray, mask: np.ndarray, smoothing: int, offset: float
) -> np.ndarray:
    """Smooth the masked vertices (Taubin steps keep their volume), then push them out along the normals."""
    source, target, degree = _neighbours(faces, len(vertices))
    out = vertices.copy()
    for step in range(smoothing):
        mean = (
            np.stack([np.bincount(source, out[target, k], len(out)) for k in range(3)], 1) / degree[:, None]
        )
        factor = 0.6 if step % 2 == 0 else -0.5
        out[mask] += factor * (mean - out)[mask]
    corners = out[faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(out)
    for k in range(3):
        np.add.at(normals, faces[:, k], face_normals)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    out[mask] += offset * normals[mask]
    return out


def _paint(
    bare: np.ndarray,
    faces: np.ndarray,
    weights: np.ndarray,
    part: np.ndarray,
    joints: np.ndarray,
    suit: np.ndarray,
    shoes: np.ndarray,
) -> np.ndarray:
    centre = bare[faces].mean(1)
    paint = np.full(len(faces), SKIN)
    paint[suit[faces].any(1)] = SUIT
    paint[(paint == SUIT) & (np.abs(centre[:, 1] - joints[JOINT_INDEX["spine1"], 1]) < 0.03)] = STRIPE
    paint[shoes[faces].any(1)] = SHOE
    head, eye = joints[JOINT_INDEX["head"]], joints[JOINT_INDEX["left_eye_smplhf"]]
    on_head = weights[faces[:, 0]][:, JOINT_INDEX["head"]] > 0.5
    crown = (centre[:, 1] > eye[1] + 0.065) | (
        (centre[:, 2] < head[2] + 0.01) & (centre[:, 1] > head[1] + 0.02)
    )
    paint[on_head & crown & (part[faces[:, 0]] == 0)] = HAIR
    for number, joint in ((2, "left_eye_smplhf"), (3, "right_eye_smplhf")):
        on_eye = part[faces[:, 0]] == number
        paint[on_eye] = EYE
        ahead = centre[on_eye] - joints[JOINT_INDEX[joint]]
        facing = ahead[:, 2] / np.maximum(np.linalg.norm(ahead, axis=1), 1e-9)
        paint[np.flatnonzero(on_eye)[facing > 0.88]] = IRIS
    return paint


def _choose_texels(
    person: Template, tri: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Texels drawn by the surface they stand for, head and hands four times denser.

    Returns:
        (N, 2) rows and columns; (N,) the surface each texel covers, square metres.
    """
    rows, columns = np.nonzero(tri >= 0)
    face = tri[rows, columns]
    keep = ~person.cavity[face]
    rows, columns, face = rows[keep], columns[keep], face[keep]
    corners = person.vertices[person.faces[face]]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    texels_of_face = np.bincount(face, minlength=len(person.faces))
    area = area / texels_of_face[face]
    chance = area * np.where(person.paint[face] == SUIT, 1.0, 4.0)
    chosen = rng.choice(len(rows), min(count, len(rows)), replace=False, p=chance / chance.sum())
    chosen.sort()
    return np.stack([rows[chosen], columns[chosen]], 1).astype(np.int32), area[chosen]


def _canonical(
    person: Template, face: np.ndarray, bary: np.ndarray, texel: np.ndarray, area: np.ndarray, grid: int
) -> bytes:
    corners = person.vertices[person.faces[face]].astype(np.float64)
    means = np.einsum("nk,nkc->nc", bary, corners)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    # Shortest turn from +Z to the normal; the two long axes lie in the surface.
    quats = np.stack([1 + normal[:, 2], -normal[:, 1], normal[:, 0], np.zeros(len(normal))], 1)
    quats[quats[:, 0] < 1e-6] = (0.0, 1.0, 0.0, 0.0)
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    dense = np.where(person.paint[face] == SUIT, 1.0, 0.5)
    sigma = 0.75 * dense * np.sqrt(1.9 / (0.6 * len(face)))
    sigma = np.maximum(sigma, 0.75 * np.sqrt(area))  # where the atlas has few texels, each covers more
    scales = np.stack([sigma, sigma, 0.25 * sigma], 1)
    colour = PALETTE[person.paint[face]] / 255.0
    return save(
        {
            "means": means.astype(np.float32),
            "quats": quats.astype(np.float32),
            "scales": scales.astype(np.float32),
            "opacities": np.full(len(face), 0.92, np.float32),
            "sh": ((colour - 0.5) / SH_C0)[:, None].astype(np.float32),
            "texel": texel,
        },
        metadata={"uv_size": str(grid)},
    )


def _influences(dense: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Four heaviest influences, weights snapped to k/255 with rows that sum to 1."""
    order = np.argsort(-dense, 1, kind="stable")[:, :4]
    weights = np.take_along_axis(dense, order, 1)
    counts = np.floor(weights / weights.sum(1, keepdims=True) * 255 + 0.5).astype(np.int64)
    counts[:, 0] += 255 - counts.sum(1)
    return order.astype(np.uint8), (counts / 255.0).astype(np.float32)


def _skinning(person: Template, face: np.ndarray, bary: np.ndarray) -> bytes:
    indices, weights = _influences(np.einsum("nk,nkj->nj", bary, person.weights[person.faces[face]]))
    return save(
        {
            "joints": person.joints,
            "parents": np.array(JOINT_PARENTS, np.int32),
            "joint_indices": indices,
            "joint_weights": weights,
        }
    )


def _sparse(deltas: np.ndarray, epsilon: float = 2e-5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(52, N, 3) -> CSR pointers (53,), rows (M,), values (M, 3)."""
    rows = [np.flatnonzero(np.linalg.norm(d, axis=1) > epsilon) for d in deltas]
    pointers = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int32)
    values = np.concatenate([d[r] for d, r in zip(deltas, rows, strict=True)])
    return pointers, np.concatenate(rows).astype(np.int32), values.astype(np.float32)


def _correctives(person: Template, face: np.ndarray, bary: np.ndarray) -> bytes:
    shapes = np.einsum("nk,snkc->snc", bary, person.shapes[:, person.faces[face]])
    pointers, rows, values = _sparse(shapes)
    n, m = len(face), len(rows)
    zeros = {"quats": 4, "log_scales": 3, "sh0": 3}
    return save(
        {
            "arkit_ptr": pointers,
            "arkit_index": rows,
            "arkit_means": values.astype(np.float16),
            **{f"arkit_{k}": np.zeros((m, d), np.float16) for k, d in zeros.items()},
            "pose_mean": np.zeros(486, np.float32),
            "pose_basis": np.zeros((1, 486), np.float32),
            "pose_means": np.zeros((1, n, 3), np.float16),
            **{f"pose_{k}": np.zeros((1, n, d), np.float16) for k, d in zeros.items()},
        }
    )


def _relight(person: Template, face: np.ndarray) -> bytes:
    albedo = (PALETTE[person.paint[face]] / 255.0) ** 2.2
    transfer = np.zeros((len(face), 9), np.float32)
    transfer[:, 0] = 1.0
    return save({"albedo": albedo.astype(np.float32), "transfer": transfer})


def _proxy(person: Template, face: np.ndarray, bary: np.ndarray) -> bytes:
    indices, weights = _influences(person.weights)
    pointers, rows, values = _sparse(person.shapes)
    corners = person.vertices[person.faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(person.vertices)
    for k in range(3):
        np.add.at(normals, person.faces[:, k], face_normals)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return save(
        {
            "vertices": person.vertices,
            "normals": normals.astype(np.float32),
            "faces": person.faces,
            "uvs": person.uvs,
            "face_uvs": person.face_uvs,
            "joint_indices": indices,
            "joint_weights": weights,
            "arkit_ptr": pointers,
            "arkit_index": rows,
            "arkit_vertices": values,
            "bind_tri": person.faces[face],
            "bind_bary": bary.astype(np.float32),
        }
    )


def _rig_json() -> bytes:
    return default_rig().to_json().encode()


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
