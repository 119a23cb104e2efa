"""Reads the asset pack: the extended MakeHuman body, garment and hair geometry, textures.

In: the files in ``assets/``. Out: plain frozen arrays, loaded once per process. Nothing here is random.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lca.errors import NotFoundError

ASSETS = Path(__file__).parent / "assets"
BASE_VERTICES = 19158


@dataclass(frozen=True)
class Proxy:
    """A mesh that follows the base body: v = sum_i weights_i V[refs_i] + R_v (scale * offset).

    Attributes:
        refs: (N,3) base vertices. weights: (N,3). offsets: (N,3) decimetres, in the A-pose.
        faces: (F,3). face_uvs: (F,3,2) v up. hidden: (19158,) bool, base vertices this item hides.
        face_region: (F,) 1 upper, 2 lower garment, for suits; zeros otherwise.
    """

    name: str
    kind: str
    refs: NDArray[np.int64]
    weights: NDArray[np.float32]
    offsets: NDArray[np.float32]
    faces: NDArray[np.int64]
    face_uvs: NDArray[np.float32]
    hidden: NDArray[np.bool_]
    face_region: NDArray[np.uint8]


@dataclass(frozen=True)
class ExtendedBody:
    """All 19158 base vertices in T-pose with shape and expression components.

    Attributes:
        template: (19158,3) m. shapes: (50,19158,3). expressions: (52,19158,3). weights: (19158,55).
        a_to_t: (19158,3,3) rotation of the A-pose offset at each vertex.
        body_ids: (13750,) base vertex of each vertex of the body model.
        scores: (P,50) betas of real samples of the shape space; gender: (P,) 0 male - 1 female; years: (P,).
    """

    template: NDArray[np.float32]
    shapes: NDArray[np.float32]
    expressions: NDArray[np.float32]
    weights: NDArray[np.float32]
    a_to_t: NDArray[np.float32]
    body_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    gender: NDArray[np.float32]
    years: NDArray[np.float32]


@cache
def _geometry() -> dict[str, NDArray]:
    with np.load(_asset("pack_geometry.npz"), allow_pickle=False) as data:
        return {k: data[k] for k in data.files}


def _asset(name: str) -> Path:
    path = ASSETS / name
    if not path.is_file():
        raise NotFoundError(
            f"The asset pack lacks {name}; "
            "reinstall lca-bridge or rebuild it with lca_core.data.build_assets."
        )
    return path


def array(key: str) -> NDArray:
    """One array of the pack by its key, e.g. ``"base/skin_faces"``."""
    return _geometry()[key]


def names(kind: str) -> tuple[str, ...]:
    """Names of all items of a kind: suit, shoes, hat, hair, brow, lash, teeth."""
    return tuple(sorted({k.split("/")[1] for k in _geometry() if k.startswith(f"{kind}/")}))


@cache
def proxy(kind: str, name: str) -> Proxy:
    """One item of the pack. Raises NotFoundError for an unknown name."""
    data, key = _geometry(), f"{kind}/{name}"
    if f"{key}/refs" not in data:
        raise NotFoundError(f"There is no {kind} called {name}; known are {', '.join(names(kind))}.")
    faces = data[f"{key}/faces"].astype(np.int64)
    uv = data[f"{key}/uv"].astype(np.float32) / 65535
    return Proxy(
        name,
        kind,
        data[f"{key}/refs"].astype(np.int64),
        data[f"{key}/weights"].astype(np.float32),
        data[f"{key}/offsets"].astype(np.float32),
        faces,
        uv[data[f"{key}/face_uv"].astype(np.int64)],
        np.unpackbits(data[f"{key}/hidden"], count=BASE_VERTICES).astype(bool),
        data.get(f"{key}/face_region", np.zeros(len(faces), np.uint8)),
    )


@cache
def base_mesh(part: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Faces (F,3) in base vertex ids and corner uvs (F,3,2) of "skin" or "tongue"."""
    data = _geometry()
    uv = data[f"base/{part}_uv"].astype(np.float32) / 65535
    return data[f"base/{part}_faces"].astype(np.int64), uv[data[f"base/{part}_face_uv"].astype(np.int64)]


@cache
def texture(name: str) -> NDArray[np.uint8]:
    """A texture of the pack, (512,512,3 or 4) uint8 sRGB, row 0 at v = 1."""
    return np.asarray(Image.open(_asset(f"textures/{name}.webp")))


def skins() -> tuple[str, ...]:
    """Names of all skin textures, e.g. ``skin_young_lightskinned_female``."""
    return tuple(sorted(p.stem for p in (ASSETS / "textures").glob("skin_*.webp")))


def quats_to_matrices(q: NDArray) -> NDArray:
    """Rotation matrices (...,3,3) of quaternions wxyz (...,4), normalised first."""
    w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return np.stack(rows, -1).reshape(*q.shape[:-1], 3, 3)


@cache
def extended_body() -> ExtendedBody:
    """The extended body, dequantised (about 40 MB)."""
    with np.load(_asset("extended_body.npz"), allow_pickle=False) as d:
        weights = np.zeros((len(d["v_template"]), 55), np.float32)
        for k in range(d["weight_joints"].shape[1]):
            rows = np.arange(len(weights))
            weights[rows, d["weight_joints"][:, k]] += d["weight_values"][:, k] / np.float32(65535)
        return ExtendedBody(
            d["v_template"].astype(np.float32),
            d["shape_q"].astype(np.float32) * d["step"],
            d["expr_q"].astype(np.float32) * d["step"],
            weights,
            quats_to_matrices(d["a_to_t_quats"].astype(np.float32)).astype(np.float32),
            d["body_base_ids"].astype(np.int64),
            d["people_scores"].astype(np.float32),
            d["people_gender"].astype(np.float32),
            d["people_years"].astype(np.float32),
        )
