"""The avatar as the USD writers want it: one plain value made from a package, in export order.

`load_asset` reads a package through `lca_bridge.wire.package`, sorts the splats along a Morton curve, snaps
weights and opacities to k/255, normalises quaternions, and carries skin and shapes through the same
permutation, so nothing behind this door ever reorders again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lca_bridge.wire.package import AvatarPackage, Correctives, ProxyMesh, read_package
from lca_usd.order import morton_order, snap_influences, snap_opacities
from lca_usd.rig import Rig, read_rig

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]

MIN_SCALE = 1e-6
"""Metres. Smaller sigmas would become zero, thus invalid, as halfs."""


@dataclass(frozen=True)
class SplatShape:
    """One sparse shape of the splats: S rows of offsets at weight 1.

    Attributes:
        index: (S,) splat numbers, ascending.
        offsets: (S,3) metres, bind space.
        quats: (S,4) wxyz, added to the quaternion before normalising; log_scales: (S,3); dc: (S,3) added to
            SH band 0.
    """

    name: str
    index: I32
    offsets: F32
    quats: F32
    log_scales: F32
    dc: F32


@dataclass(frozen=True)
class MeshShape:
    """One sparse shape of the proxy mesh: (S,) vertex numbers and (S,3) offsets in metres."""

    name: str
    index: I32
    offsets: F32


@dataclass(frozen=True)
class Splats:
    """N canonical splats in export order.

    Attributes:
        means: (N,3) m; quats: (N,4) wxyz, unit, w >= 0; scales: (N,3) linear m; opacities: (N,) linear,
            k/255.
        sh: (N,K,3), K = (degree + 1)^2, Inria convention.
        joint_indices: (N,4); joint_weights: (N,4) k/255, heaviest first, rows sum to 1.
        shapes: the 52 ARKit shapes, then the pose shapes if they were asked for.
        source: (N,) row of each splat in the package.
    """

    means: F32
    quats: F32
    scales: F32
    opacities: F32
    sh: F32
    joint_indices: I32
    joint_weights: F32
    shapes: tuple[SplatShape, ...]
    source: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.means)

    @property
    def degree(self) -> int:
        """Spherical-harmonic degree, 0 to 3."""
        return round(self.sh.shape[1] ** 0.5) - 1


@dataclass(frozen=True)
class Mesh:
    """The proxy mesh: V vertices, F triangles, T texture points (v up), the 52 shapes, PNG bytes of its
    texture."""

    vertices: F32
    normals: F32
    faces: I32
    uvs: F32
    face_uvs: I32
    joint_indices: I32
    joint_weights: F32
    shapes: tuple[MeshShape, ...]
    texture: bytes | None


@dataclass(frozen=True)
class PoseMap:
    """The linear map from a pose to the weights of the pose shapes: c = basis (feature - mean).

    The feature is (R_j - 1) flattened row-major for joints 1..54 (docs/avatar-file.md). mean (P,), basis
    (C,P).
    """

    mean: F32
    basis: F32
    names: tuple[str, ...]

    def weights(self, matrices: npt.NDArray[Any]) -> F32:
        """(..., 55, 3, 3) local joint rotations -> (..., C) weights."""
        m = np.asarray(matrices, np.float64)
        feature = (m[..., 1:, :, :] - np.eye(3)).reshape(*m.shape[:-3], -1)
        return ((feature - self.mean) @ self.basis.T.astype(np.float64)).astype(np.float32)


@dataclass(frozen=True)
class Levels:
    """Levels of detail as prefixes of the splat arrays: level k draws the first ``counts[k]`` splats, sizes
    times ``factors[k]``. Level 0 is all of them."""

    counts: tuple[int, ...]
    factors: tuple[float, ...]


@dataclass(frozen=True)
class Asset:
    """Everything one export writes; ``levels`` is None while the splats are in plain Morton order."""

    name: str
    info: Mapping[str, Any]
    rig: Rig
    joints: F32
    splats: Splats
    mesh: Mesh | None
    pose_map: PoseMap | None
    package: AvatarPackage = field(repr=False)
    levels: Levels | None = None

    @property
    def local_joints(self) -> F32:
        """(55,3) rest joint positions relative to their parents; row 0 is the pelvis itself."""
        parents = np.asarray(self.rig.joint_parents)
        local = self.joints.astype(np.float64).copy()
        local[1:] -= self.joints[parents[1:]]
        return local.astype(np.float32)


def open_package(package: str | os.PathLike[str] | AvatarPackage) -> AvatarPackage:
    """A path becomes an opened package; an opened package passes through."""
    return package if isinstance(package, AvatarPackage) else read_package(os.fspath(package))


def load_asset(
    package: str | os.PathLike[str] | AvatarPackage, *, snap: bool = True, pose_shapes: bool = False
) -> Asset:
    """Read an avatar file into export order.

    Args:
        package: path of an ``.lca`` file, or an opened one.
        snap: put opacities on the k/255 grid (weights always are).
        pose_shapes: also carry the dense pose correctives, as shapes ``pose_pca_NN``.

    Raises:
        LcaError: what the package reader raises; `InvalidInputError` when ``rig.json`` does not fit the
            arrays.
    """
    opened = open_package(package)
    skin, canonical = opened.skinning, opened.canonical
    rig = read_rig(opened.rig, skin.parents)
    order = morton_order(canonical.means)
    # Normalising a quaternion or flipping its sign must scale its additive deltas alike.
    length = np.linalg.norm(canonical.quats.astype(np.float64), axis=1)
    factor = np.where(canonical.quats[:, 0] < 0, -1.0, 1.0) / length
    indices, weights = snap_influences(skin.joint_indices, skin.joint_weights)
    correctives = opened.correctives
    shapes: list[SplatShape] = []
    pose_map = None
    if correctives is not None:
        shapes += _arkit_shapes(correctives, rig.arkit_names, order, factor)
        if pose_shapes and len(correctives.pose_basis):
            extra = _pose_shapes(correctives, order, factor)
            shapes += extra
            pose_map = PoseMap(
                correctives.pose_mean, correctives.pose_basis, tuple(shape.name for shape in extra)
            )
    splats = Splats(
        means=np.ascontiguousarray(canonical.means[order]),
        quats=(canonical.quats * factor[:, None]).astype(np.float32)[order],
        scales=np.maximum(canonical.scales[order], MIN_SCALE),
        opacities=snap_opacities(canonical.opacities[order]) if snap else canonical.opacities[order],
        sh=np.ascontiguousarray(canonical.sh[order]),
        joint_indices=indices[order],
        joint_weights=weights[order],
        shapes=tuple(shapes),
        source=order,
    )
    mesh = None if opened.proxy is None else _mesh(opened.proxy, rig.arkit_names, opened.proxy_texture)
    return Asset(opened.name, opened.info, rig, skin.joints, splats, mesh, pose_map, opened)


def without_splats(asset: Asset) -> Asset:
    """The asset without pose shapes, for exports that carry the proxy mesh alone."""
    kept = tuple(shape for shape in asset.splats.shapes if shape.name in asset.rig.arkit_names)
    return replace(asset, splats=replace(asset.splats, shapes=kept), pose_map=None)


def _arkit_shapes(
    c: Correctives, names: tuple[str, ...], order: npt.NDArray[np.int64], factor: npt.NDArray[np.float64]
) -> list[SplatShape]:
    position = np.empty(len(order), np.int64)
    position[order] = np.arange(len(order))
    shapes = []
    for k, name in enumerate(names):
        rows = c.arkit_rows(k)
        source = c.arkit_index[rows]
        index = position[source]
        by_index = np.argsort(index, kind="stable")
        shapes.append(
            SplatShape(
                name,
                index[by_index].astype(np.int32),
                c.arkit_means[rows][by_index].astype(np.float32),
                (c.arkit_quats[rows] * factor[source][:, None])[by_index].astype(np.float32),
                c.arkit_log_scales[rows][by_index].astype(np.float32),
                c.arkit_sh0[rows][by_index].astype(np.float32),
            )
        )
    return shapes


def _pose_shapes(
    c: Correctives, order: npt.NDArray[np.int64], factor: npt.NDArray[np.float64]
) -> list[SplatShape]:
    shapes = []
    for k in range(len(c.pose_basis)):
        quats = c.pose_quats[k] * factor[:, None]
        moved = (
            c.pose_means[k].any(axis=1)
            | c.pose_quats[k].any(axis=1)
            | c.pose_log_scales[k].any(axis=1)
            | c.pose_sh0[k].any(axis=1)
        )[order]
        index = np.flatnonzero(moved).astype(np.int32)
        rows = order[index]
        shapes.append(
            SplatShape(
                f"pose_pca_{k:02d}",
                index,
                c.pose_means[k][rows].astype(np.float32),
                quats[rows].astype(np.float32),
                c.pose_log_scales[k][rows].astype(np.float32),
                c.pose_sh0[k][rows].astype(np.float32),
            )
        )
    return shapes


def _mesh(proxy: ProxyMesh, names: tuple[str, ...], texture: bytes | None) -> Mesh:
    indices, weights = snap_influences(proxy.joint_indices, proxy.joint_weights)
    shapes = []
    for k, name in enumerate(names):
        rows = proxy.arkit_rows(k)
        by_index = np.argsort(proxy.arkit_index[rows], kind="stable")
        shapes.append(
            MeshShape(name, proxy.arkit_index[rows][by_index], proxy.arkit_vertices[rows][by_index])
        )
    return Mesh(
        proxy.vertices,
        proxy.normals,
        proxy.faces,
        proxy.uvs,
        proxy.face_uvs,
        indices,
        weights,
        tuple(shapes),
        texture,
    )
