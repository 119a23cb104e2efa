"""An avatar built again from its geometry alone, as it comes back from a scene file of another tool.

Arrays of the canonical Gaussians, skin, shapes and proxy mesh go in; an :class:`Avatar` comes out. What scene
files do not carry is made honestly plain: no network features (so no live correction), no texels, and the
light transfer of unoccluded normals with the colour as albedo.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.spatial import cKDTree

from lca.errors import InvalidInputError
from lca_core.avatar.avatar import (
    Avatar,
    Canonical,
    Correctives,
    Proxy,
    Relight,
    Skinning,
    WeightsInfo,
)
from lca_core.avatar.pictures import thumbnail
from lca_core.body.names import JOINT_NAMES, JOINT_PARENTS
from lca_core.body.rig import RigDescription
from lca_core.splat.harmonics import C0, sh_basis

MAX_TEXTURE_SIDE = 8192
NEAREST = 8
"""Triangles tried per Gaussian when it is bound to the proxy."""


def lambert_transfer(albedo_srgb: np.ndarray, quats: np.ndarray) -> Relight:
    """Linear albedo and the unoccluded Lambert transfer of each Gaussian's z axis (Ramamoorthi and Hanrahan
    2001).

    Args:
        albedo_srgb: (N,3) 0..1, gamma-encoded.
        quats: (N,4) unit wxyz.
    """
    srgb = albedo_srgb.astype(np.float64)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    w, x, y, z = quats.T
    normals = np.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], axis=1)
    basis = sh_basis(2, torch.from_numpy(normals.astype(np.float32))).numpy()
    lobes = np.array([np.pi] + [2 * np.pi / 3] * 3 + [np.pi / 4] * 5, np.float32)
    return Relight(linear.astype(np.float32), (basis * lobes).astype(np.float32))


def rebuild_avatar(
    info: Mapping[str, Any],
    canonical: Mapping[str, np.ndarray],
    skinning: Mapping[str, np.ndarray],
    correctives: Mapping[str, np.ndarray],
    proxy: Mapping[str, np.ndarray],
    texture: bytes | None,
) -> Avatar:
    """Put an avatar together.

    Args:
        info: ``name``, ``generator``, ``inputsLicence`` and ``weights`` as the scene file states them.
        canonical: means, quats, scales, opacities, sh. skinning: joints, joint_indices, joint_weights.
        correctives: the fields of :class:`Correctives`. proxy: those of :class:`Proxy` without the binding.
        texture: PNG bytes of the proxy texture; None becomes plain grey.

    Raises:
        InvalidInputError: ``TEXTURE_INVALID``; the texture is no picture, or larger than 8192 pixels.
    """
    sh = canonical["sh"].astype(np.float32)
    quats = canonical["quats"] / np.linalg.norm(canonical["quats"], axis=1, keepdims=True)
    gaussians = Canonical(
        means=canonical["means"].astype(np.float32),
        quats=quats.astype(np.float32),
        scales=canonical["scales"].astype(np.float32),
        opacities=canonical["opacities"].astype(np.float32),
        sh=sh,
        texel=np.zeros((len(sh), 2), np.int32),
        uv_size=0,
    )
    tri, bary = bind(gaussians.means, proxy["vertices"], proxy["faces"])
    weights = dict(info.get("weights") or {})
    avatar = Avatar(
        name=str(info.get("name", "")) or "imported",
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        generator=str(info.get("generator", "")),
        weights=WeightsInfo(*(str(weights.get(key, "")) for key in ("config", "sha256", "licence"))),
        inputs_licence=str(info.get("inputsLicence", "")),
        height_m=float(np.ptp(proxy["vertices"][:, 1])),
        betas=np.zeros(50, np.float32),
        rig=RigDescription.default(),
        canonical=gaussians,
        skinning=Skinning(
            skinning["joints"].astype(np.float32),
            np.asarray(JOINT_PARENTS, np.int32),
            skinning["joint_indices"].astype(np.uint8),
            skinning["joint_weights"].astype(np.float32),
        ),
        correctives=Correctives(**{k: _stored(k, v) for k, v in correctives.items()}),
        network={},
        relight=lambert_transfer(np.clip(0.5 + C0 * sh[:, 0], 0, 1), quats),
        proxy=Proxy(**proxy, bind_tri=tri, bind_bary=bary, texture=_pixels(texture)),
        thumbnail=np.zeros((1, 1, 3), np.uint8),
        provenance={"imported": "rebuilt from a scene file; no network features, texels or light transfer"},
    )
    avatar.thumbnail = thumbnail(avatar)
    return avatar


def same_joints(names: tuple[str, ...]) -> bool:
    """Are these the SMPL-X joints in SMPL-X order?"""
    return tuple(names) == tuple(JOINT_NAMES)


def bind(means: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest proxy triangle of each Gaussian: (N,3) i32 vertices and (N,3) f32 barycentric weights."""
    corners = vertices[faces].astype(np.float64)
    _, found = cKDTree(corners.mean(axis=1)).query(means, k=min(NEAREST, len(faces)))
    found = found.reshape(len(means), -1)
    best_tri = np.zeros(len(means), np.int64)
    best_bary = np.zeros((len(means), 3))
    best = np.full(len(means), np.inf)
    for column in range(found.shape[1]):
        tri = found[:, column]
        a, b, c = corners[tri].transpose(1, 0, 2)
        e1, e2, p = b - a, c - a, means - a
        d11, d12, d22 = (np.einsum("ij,ij->i", *pair) for pair in ((e1, e1), (e1, e2), (e2, e2)))
        d1, d2 = np.einsum("ij,ij->i", p, e1), np.einsum("ij,ij->i", p, e2)
        area = np.maximum(d11 * d22 - d12 * d12, 1e-20)
        v, w = (d22 * d1 - d12 * d2) / area, (d11 * d2 - d12 * d1) / area
        bary = np.clip(np.stack([1 - v - w, v, w], axis=1), 0, None)
        bary /= bary.sum(axis=1, keepdims=True)
        distance = np.linalg.norm(np.einsum("ij,ijk->ik", bary, corners[tri]) - means, axis=1)
        closer = distance < best
        best_tri[closer], best_bary[closer], best[closer] = tri[closer], bary[closer], distance[closer]
    return faces[best_tri].astype(np.int32), best_bary.astype(np.float32)


def _stored(name: str, value: np.ndarray) -> np.ndarray:
    """The file keeps offsets as halfs, indices and the pose map as they are."""
    offsets = name.startswith(("arkit_", "pose_")) and name not in (
        "arkit_ptr",
        "arkit_index",
        "pose_mean",
        "pose_basis",
    )
    return value.astype(np.float16) if offsets else value


def _pixels(texture: bytes | None) -> np.ndarray:
    if texture is None:
        return np.full((4, 4, 3), 128, np.uint8)
    try:
        with Image.open(io.BytesIO(texture), formats=["PNG"]) as image:
            if max(image.size) > MAX_TEXTURE_SIDE:
                raise InvalidInputError(
                    f"The proxy texture is {image.size[0]} pixels wide; at most {MAX_TEXTURE_SIDE} are read.",
                    reason="TEXTURE_INVALID",
                )
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidInputError(
            f"The proxy texture is no readable PNG ({error}). Export the asset again.",
            reason="TEXTURE_INVALID",
        ) from error
