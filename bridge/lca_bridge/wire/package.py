"""Reads the ``.lca`` avatar file (schema ``lca.avatar/1``, docs/avatar-file.md) with numpy and the stdlib.

A path or the bytes of a package go in, an :class:`AvatarPackage` comes out. Every entry is checked against
its sha256, the container against zip tricks, every array against the shape and range the schema promises, so
code behind this door indexes without fear. Array groups load when first asked for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from lca.avatar_arrays import CanonicalSplats, Correctives, ProxyMesh, Relight, Skinning
from lca.errors import NotFoundError, PreconditionError
from lca_bridge.wire.container import Container, invalid_package
from lca_bridge.wire.safetensors import read_safetensors

__all__ = [
    "AvatarPackage",
    "CanonicalSplats",
    "Correctives",
    "ProxyMesh",
    "Relight",
    "Skinning",
    "read_package",
]

SCHEMA_NAME = "lca.avatar"
SCHEMA_MAJOR = 1
NUM_JOINTS = 55
NUM_ARKIT = 52

REQUIRED_ENTRIES = ("avatar.json", "rig.json", "canonical.safetensors", "skinning.safetensors")


@dataclass(frozen=True)
class AvatarPackage:
    """One avatar file, opened and verified.

    ``info`` is ``avatar.json``, ``rig`` is ``rig.json`` (the ``RigDescription``). The properties below load
    their entry on first use and verify it again then; optional ones are ``None`` when the file lacks them.
    """

    info: dict[str, Any]
    rig: dict[str, Any]
    entries: tuple[str, ...]
    _source: Container = field(repr=False)

    @property
    def name(self) -> str:
        """Display name."""
        return str(self.info.get("name", ""))

    @property
    def gaussian_count(self) -> int:
        """N, as the manifest states it (checked against the arrays when they load)."""
        return int(self.info["gaussian_count"])

    @property
    def height_m(self) -> float:
        """Body height in metres."""
        return float(self.info.get("height_m", 0.0))

    @property
    def betas(self) -> np.ndarray:
        """(50,) f32 body shape."""
        return np.asarray(self.info.get("betas", []), np.float32)

    def read(self, entry: str) -> bytes:
        """Bytes of one entry, verified against its sha256; NotFoundError if there is none."""
        if entry not in self.entries:
            raise NotFoundError(f"The avatar file has no entry {entry!r}.", reason="ENTRY_NOT_FOUND")
        return self._source.read_verified(entry)

    def tensors(self, entry: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """Arrays and metadata of one ``.safetensors`` entry, unchecked against the schema."""
        return read_safetensors(self.read(entry))

    @cached_property
    def canonical(self) -> CanonicalSplats:
        """The Gaussians at rest."""
        t, meta = self.tensors("canonical.safetensors")
        n, take = self.gaussian_count, _Taker("canonical", t)
        splats = CanonicalSplats(
            means=take("means", "f4", (n, 3)),
            quats=take("quats", "f4", (n, 4)),
            scales=take("scales", "f4", (n, 3)),
            opacities=take("opacities", "f4", (n,)),
            sh=take("sh", "f4", (n, None, 3)),
            texel=take("texel", "i4", (n, 2)),
            uv_size=int(meta["uv_size"]) if meta.get("uv_size", "").isdigit() else 0,
        )
        if splats.sh.shape[1] not in (1, 4, 9, 16):
            raise invalid_package("the colour bands are not a full spherical-harmonic degree")
        if np.any(splats.scales <= 0):
            raise invalid_package("a Gaussian has a size of zero or less")
        if np.any(splats.opacities < 0) or np.any(splats.opacities > 1):
            raise invalid_package("an opacity lies outside 0..1")
        if np.any(np.einsum("ij,ij->i", splats.quats, splats.quats) < 1e-12):
            raise invalid_package("a Gaussian has no orientation")
        return splats

    @cached_property
    def skinning(self) -> Skinning:
        """Skeleton at rest and the four influences of every Gaussian."""
        t, _ = self.tensors("skinning.safetensors")
        n, take = self.gaussian_count, _Taker("skinning", t)
        j = NUM_JOINTS
        joints = take("joints", "f4", (j, 3))
        parents = take("parents", "i4", (j,))
        if parents[0] != -1 or np.any(parents[1:] < 0) or np.any(parents[1:] >= np.arange(1, j)):
            raise invalid_package("the skeleton is not a tree with parents before children")
        indices, weights = _influences(take, n, j)
        return Skinning(joints, parents, indices, weights)

    @cached_property
    def correctives(self) -> Correctives | None:
        """Linear face and pose correctives."""
        if "correctives.safetensors" not in self.entries:
            return None
        t, _ = self.tensors("correctives.safetensors")
        n, take = self.gaussian_count, _Taker("correctives", t)
        p = 9 * (NUM_JOINTS - 1)
        ptr, index = _sparse_rows(take, n)
        m = len(index)
        basis = take("pose_basis", "f4", (None, p))
        c = len(basis)
        return Correctives(
            arkit_ptr=ptr,
            arkit_index=index,
            arkit_means=take("arkit_means", "f2", (m, 3)),
            arkit_quats=take("arkit_quats", "f2", (m, 4)),
            arkit_log_scales=take("arkit_log_scales", "f2", (m, 3)),
            arkit_sh0=take("arkit_sh0", "f2", (m, 3)),
            pose_mean=take("pose_mean", "f4", (p,)),
            pose_basis=basis,
            pose_means=take("pose_means", "f2", (c, n, 3)),
            pose_quats=take("pose_quats", "f2", (c, n, 4)),
            pose_log_scales=take("pose_log_scales", "f2", (c, n, 3)),
            pose_sh0=take("pose_sh0", "f2", (c, n, 3)),
        )

    @cached_property
    def relight(self) -> Relight | None:
        """Albedo and light transfer."""
        if "relight.safetensors" not in self.entries:
            return None
        t, _ = self.tensors("relight.safetensors")
        take, n = _Taker("relight", t), self.gaussian_count
        return Relight(take("albedo", "f4", (n, 3)), take("transfer", "f4", (n, 9)))

    @cached_property
    def proxy(self) -> ProxyMesh | None:
        """The proxy mesh."""
        if "proxy.safetensors" not in self.entries:
            return None
        t, _ = self.tensors("proxy.safetensors")
        take = _Taker("proxy", t)
        vertices = take("vertices", "f4", (None, 3))
        v = len(vertices)
        faces = take("faces", "i4", (None, 3))
        uvs = take("uvs", "f4", (None, 2))
        face_uvs = take("face_uvs", "i4", (len(faces), 3))
        bind_tri = take("bind_tri", "i4", (self.gaussian_count, 3))
        for what, index, limit in (
            ("face", faces, v),
            ("face_uv", face_uvs, len(uvs)),
            ("bind", bind_tri, v),
        ):
            _in_range(f"proxy {what} indices", index, limit)
        indices, weights = _influences(take, v, len(self.skinning.joints))
        ptr, rows = _sparse_rows(take, v)
        return ProxyMesh(
            vertices=vertices,
            normals=take("normals", "f4", (v, 3)),
            faces=faces,
            uvs=uvs,
            face_uvs=face_uvs,
            joint_indices=indices,
            joint_weights=weights,
            arkit_ptr=ptr,
            arkit_index=rows,
            arkit_vertices=take("arkit_vertices", "f4", (len(rows), 3)),
            bind_tri=bind_tri,
            bind_bary=take("bind_bary", "f4", (self.gaussian_count, 3)),
        )

    @cached_property
    def network(self) -> dict[str, np.ndarray] | None:
        """Identity features for live correction, as the model wrote them."""
        return self.tensors("network.safetensors")[0] if "network.safetensors" in self.entries else None

    @cached_property
    def proxy_texture(self) -> bytes | None:
        """PNG bytes, sRGB."""
        return self.read("proxy.png") if "proxy.png" in self.entries else None

    @cached_property
    def thumbnail(self) -> bytes | None:
        """PNG bytes, 256 x 256 sRGB."""
        return self.read("thumbnail.png") if "thumbnail.png" in self.entries else None


def read_package(source: str | os.PathLike[str] | bytes, *, verify: bool = True) -> AvatarPackage:
    """Open an avatar file.

    Args:
        source: path, or the whole file as bytes.
        verify: hash every entry now. With ``False`` an entry is hashed when it is first read.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: ``PACKAGE_INVALID``; not a zip, an unsafe zip, or not what the schema promises.
        PreconditionError: ``SCHEMA_UNSUPPORTED``; written by a newer major version.
        DataLossError: ``CHECKSUM_MISMATCH``; an entry was changed or damaged.
    """
    if not isinstance(source, bytes):
        if os.path.isdir(source):
            raise invalid_package("it is a folder")
        if not os.path.exists(source):
            raise NotFoundError(f"There is no avatar file {os.fspath(source)!r}.", reason="FILE_NOT_FOUND")
    opened = Container(source, REQUIRED_ENTRIES)
    info = opened.read_json("avatar.json", hashed=False)
    _check_schema(info)
    opened.files = _check_files(info, opened.sizes)
    if verify:
        for entry in opened.files:
            opened.verify(entry)
    rig = opened.read_json("rig.json", hashed=True)
    count = info.get("gaussian_count")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise invalid_package("avatar.json states no gaussian_count")
    return AvatarPackage(info, rig, ("avatar.json", *opened.files), opened)


def _check_schema(info: dict[str, Any]) -> None:
    name, _, version = str(info.get("schema", "")).partition("/")
    major = version.split(".")[0]
    if name != SCHEMA_NAME or not major.isdigit():
        raise invalid_package("avatar.json names no known schema")
    if int(major) != SCHEMA_MAJOR:
        raise PreconditionError(
            f"This avatar file has schema version {major}; this software reads version {SCHEMA_MAJOR}. "
            "Update the software.",
            reason="SCHEMA_UNSUPPORTED",
        )


def _check_files(info: dict[str, Any], sizes: dict[str, int]) -> dict[str, str]:
    """sha256 by entry; the list in avatar.json must cover exactly what the schema needs and the zip holds."""
    listed = info.get("files")
    if not isinstance(listed, dict):
        raise invalid_package("avatar.json lists no files")
    files: dict[str, str] = {}
    for entry, about in listed.items():
        if not isinstance(about, dict) or not isinstance(about.get("sha256"), str):
            raise invalid_package(f"avatar.json has no checksum for {entry!r}")
        if entry not in sizes or about.get("bytes", sizes[entry]) != sizes[entry]:
            raise invalid_package(f"entry {entry!r} is missing or cut short")
        files[entry] = about["sha256"].lower()
    for entry in REQUIRED_ENTRIES[1:]:
        if entry not in files:
            raise invalid_package(f"avatar.json does not list {entry}")
    return files


class _Taker:
    """Takes one array out of a group and holds it to its number type, shape and finiteness."""

    def __init__(self, group: str, tensors: dict[str, np.ndarray]) -> None:
        self._group, self._tensors = group, tensors

    def __call__(self, name: str, kind: str, shape: tuple[int | None, ...]) -> np.ndarray:
        array = self._tensors.get(name)
        if array is None:
            raise invalid_package(f"{self._group}: {name} is missing")
        wanted = tuple("any" if n is None else n for n in shape)
        fits = len(array.shape) == len(shape) and all(n is None or n == m for n, m in zip(shape, array.shape))
        if array.dtype.str[1:] != kind or not fits:
            raise invalid_package(
                f"{self._group}: {name} is {array.dtype}{list(array.shape)}, not {kind}{list(wanted)}"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise invalid_package(f"{self._group}: {name} holds a number that is not finite")
        return array


def _in_range(what: str, index: np.ndarray, limit: int) -> None:
    if index.size and (int(index.min()) < 0 or int(index.max()) >= limit):
        raise invalid_package(f"{what} point outside")


def _influences(take: _Taker, count: int, joints: int) -> tuple[np.ndarray, np.ndarray]:
    indices = take("joint_indices", "u1", (count, 4))
    weights = take("joint_weights", "f4", (count, 4))
    _in_range("joint indices", indices, joints)
    if np.any(weights < 0) or np.any(np.abs(weights.sum(1) - 1) > 1e-3):
        raise invalid_package("skinning weights do not sum to 1")
    return indices, weights


def _sparse_rows(take: _Taker, limit: int) -> tuple[np.ndarray, np.ndarray]:
    ptr = take("arkit_ptr", "i4", (NUM_ARKIT + 1,))
    index = take("arkit_index", "i4", (None,))
    if ptr[0] != 0 or ptr[-1] != len(index) or np.any(np.diff(ptr) < 0):
        raise invalid_package("the face shapes are not in order")
    _in_range("face shape indices", index, limit)
    shape_of_entry = np.repeat(np.arange(NUM_ARKIT, dtype=np.int64), np.diff(ptr))
    if len(np.unique(shape_of_entry * limit + index)) != len(index):
        raise invalid_package("a face shape names a Gaussian twice")
    return ptr, index
