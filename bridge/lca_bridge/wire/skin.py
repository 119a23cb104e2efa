"""The baked rig: poses an avatar package without the network, exactly as docs/avatar-file.md states it.

An :class:`~lca_bridge.wire.package.AvatarPackage` and one frame (55 local axis-angle rotations, root
translation, 52 ARKit weights, gaze) go in; posed Gaussians come out. Numpy only, so Blender and the USD
exporter run it as it is.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from lca.errors import InvalidInputError
from lca_bridge.wire.package import NUM_ARKIT, NUM_JOINTS, AvatarPackage, ProxyMesh

LEFT_EYE, RIGHT_EYE = 23, 24


@dataclass(frozen=True)
class PosedSplats:
    """One frame: means (N, 3) m, quats (N, 4) unit wxyz, scales (N, 3), opacities (N,), sh (N, K, 3)."""

    means: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    sh: np.ndarray


def rotation_matrices(axis_angle: np.ndarray) -> np.ndarray:
    """Rodrigues' formula: (..., 3) axis-angle in radians -> (..., 3, 3), float64."""
    v = np.asarray(axis_angle, np.float64)
    angle = np.linalg.norm(v, axis=-1)[..., None, None]
    k = np.zeros((*v.shape[:-1], 3, 3))
    k[..., 0, 1], k[..., 0, 2], k[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    k -= np.swapaxes(k, -1, -2)
    # sin(t)/t and (1 - cos t)/t^2 in forms that stay exact near zero
    s = np.sinc(angle / np.pi)
    c = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    return np.eye(3) + s * k + c * (k @ k)


def gaze_rotation(yaw: float, pitch: float) -> np.ndarray:
    """(3, 3) eye rotation: pitch about X (positive = down), then yaw about +Y (positive = towards +X)."""
    return rotation_matrices(np.array([0.0, yaw, 0.0])) @ rotation_matrices(np.array([pitch, 0.0, 0.0]))


def local_rotations(joint_rotations: np.ndarray, gaze: np.ndarray | None = None) -> np.ndarray:
    """(55, 3, 3) local rotations of a frame; the gaze turns each eye inside its joint (R_joint R_gaze)."""
    rotations = rotation_matrices(_checked("joint_rotations", joint_rotations, (NUM_JOINTS, 3)))
    if gaze is not None:
        for joint, (yaw, pitch) in zip((LEFT_EYE, RIGHT_EYE), _checked("gaze", gaze, (2, 2))):
            rotations[joint] = rotations[joint] @ gaze_rotation(yaw, pitch)
    return rotations


def quaternions(matrices: np.ndarray) -> np.ndarray:
    """(..., 3, 3) rotations -> (..., 4) unit wxyz, w >= 0 (Shepperd: divide by the largest component)."""
    m = np.asarray(matrices, np.float64)
    d = np.stack([m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]], -1)
    trace = d.sum(-1)
    # rows of 4 q q^T; the row of the largest component is the stable one
    q = np.empty((*m.shape[:-2], 4, 4))
    q[..., 0, 0] = 1 + trace
    for i, (j, k) in enumerate(((1, 2), (2, 0), (0, 1))):
        q[..., i + 1, i + 1] = 1 - trace + 2 * d[..., i]
        q[..., 0, i + 1] = q[..., i + 1, 0] = m[..., k, j] - m[..., j, k]
        q[..., j + 1, k + 1] = q[..., k + 1, j + 1] = m[..., k, j] + m[..., j, k]
    best = np.argmax(np.diagonal(q, axis1=-2, axis2=-1), -1)
    row = np.take_along_axis(q, best[..., None, None], -2)[..., 0, :]
    row = row / np.linalg.norm(row, axis=-1, keepdims=True)
    return np.where(row[..., :1] < 0, -row, row)


def multiply_quaternions(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton product of (..., 4) wxyz arrays: first ``b``, then ``a``."""
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        -1,
    )


@functools.lru_cache(maxsize=8)
def _generations(parents: tuple[int, ...]) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """(joints, their parents) of every depth below the roots: one tree level at a time can be vectorised."""
    depth: list[int] = []
    for parent in parents:
        depth.append(0 if parent < 0 else depth[parent] + 1)
    levels = np.array(depth)
    rows = (np.flatnonzero(levels == level) for level in range(1, max(depth, default=0) + 1))
    return tuple((joints, np.array(parents)[joints]) for joints in rows)


def joint_transforms(
    joints: np.ndarray, parents: np.ndarray, rotations: np.ndarray, translation: np.ndarray
) -> np.ndarray:
    """Skinning matrices of a kinematic tree, of one frame or of many at once.

    Args:
        joints: (J, 3) rest positions.
        parents: (J,) parent indices, -1 for the root, parents first.
        rotations: (..., J, 3, 3) local rotations.
        translation: (..., 3) added last.

    Returns:
        (..., J, 4, 4) float64 ``A`` with ``x_posed = A_j x_rest``; identity for the rest pose.
    """
    rest, local = np.asarray(joints, np.float64), np.asarray(rotations, np.float64)
    up = np.asarray(parents)
    world = np.zeros((*local.shape[:-2], 4, 4))
    world[..., 3, 3] = 1
    turns, places = world[..., :3, :3], world[..., :3, 3]
    roots = np.flatnonzero(up < 0)
    turns[..., roots, :, :], places[..., roots, :] = local[..., roots, :, :], rest[roots]
    for rows, above in _generations(tuple(up.tolist())):
        turn = turns[..., above, :, :]
        turns[..., rows, :, :] = turn @ local[..., rows, :, :]
        reach = (turn @ (rest[rows] - rest[above])[..., None])[..., 0]
        places[..., rows, :] = reach + places[..., above, :]
    places += np.asarray(translation, np.float64)[..., None, :] - (turns @ rest[..., None])[..., 0]
    return world


class BakedRig:
    """A package prepared for posing many frames.

    Values are kept as planes, (components, N), because numpy is several times faster on long rows: one matrix
    product blends the joint matrices of all Gaussians, the rest is element by element.
    """

    def __init__(self, package: AvatarPackage) -> None:
        self.package = package
        base, skin = package.canonical, package.skinning
        dense = _dense_weights(skin.joint_indices, skin.joint_weights, len(skin.joints))
        self._weights = np.ascontiguousarray(dense.T)
        heaviest = np.argmax(skin.joint_weights, 1)[:, None]
        self._heaviest = np.take_along_axis(skin.joint_indices, heaviest, 1)[:, 0].astype(np.intp)
        self._joints = np.ascontiguousarray(skin.joint_indices.T, np.intp)
        self._shares = np.ascontiguousarray(skin.joint_weights.T, np.float32)
        self._rest = _planes(base.means, base.quats, base.scales, base.sh[:, 0])
        self._correctives = package.correctives
        self._pose_deltas = np.zeros((0, 13 * package.gaussian_count), np.float32)
        self._basis = np.zeros((0, 9 * (NUM_JOINTS - 1)))
        if (c := self._correctives) is not None:
            self._shapes = _planes(c.arkit_means, c.arkit_quats, c.arkit_log_scales, c.arkit_sh0)
            self._basis = c.pose_basis.astype(np.float64)
            parts = zip(c.pose_means, c.pose_quats, c.pose_log_scales, c.pose_sh0)
            flat = [_planes(*part).ravel() for part in parts]
            self._pose_deltas = np.stack(flat) if flat else self._pose_deltas

    def coefficients(self, rotations: np.ndarray) -> np.ndarray:
        """(..., C) float32 weights of the pose components for local ``rotations`` (..., J, 3, 3)."""
        c = self._correctives
        if c is None or not len(c.pose_basis):
            return np.zeros((*rotations.shape[:-3], 0), np.float32)
        feature = (rotations[..., 1:, :, :] - np.eye(3)).reshape(*rotations.shape[:-3], -1)
        return ((feature - c.pose_mean) @ self._basis.T).astype(np.float32)

    def canonical(self, rotations: np.ndarray, arkit: np.ndarray) -> PosedSplats:
        """Gaussians at rest with the correctives of ``rotations`` (J, 3, 3) and ``arkit`` (52,) added."""
        values = self._corrected(self.coefficients(rotations), arkit)
        return self._splats(values[:3], values[3:7], values)

    def _corrected(self, coefficients: np.ndarray, arkit: np.ndarray) -> np.ndarray:
        """(13, N) planes at rest: means, unit quats, scales, sh0."""
        values, c = self._rest.copy(), self._correctives
        if c is not None:
            change = (coefficients @ self._pose_deltas).reshape(values.shape)
            for k in np.flatnonzero(arkit):
                rows = c.arkit_rows(int(k))
                # an index is unique inside a shape (checked on read), so a plain += adds every entry
                change[:, c.arkit_index[rows]] += np.float32(arkit[k]) * self._shapes[:, rows]
            values[:7] += change[:7]
            values[7:10] *= np.exp(change[7:10])
            values[10:] += change[10:]
        _normalise(values[3:7])
        return values

    def _splats(self, means: np.ndarray, quats: np.ndarray, values: np.ndarray) -> PosedSplats:
        """Planes back to arrays of Gaussians; scales and colour from ``values`` (13, N)."""
        base = self.package.canonical
        sh = np.array(base.sh, np.float32)
        sh[:, 0] = values[10:].T
        return PosedSplats(_rows(means), _rows(quats), _rows(values[7:10]), base.opacities, sh)

    def pose(
        self,
        joint_rotations: np.ndarray,
        translation: np.ndarray | None = None,
        arkit: np.ndarray | None = None,
        gaze: np.ndarray | None = None,
    ) -> PosedSplats:
        """Pose the avatar.

        Args:
            joint_rotations: (55, 3) local axis-angle, radians, SMPL-X order.
            translation: (3,) metres, default zero.
            arkit: (52,) weights in Apple's order, default zero.
            gaze: (2, 2) yaw and pitch of the left and right eye in radians, default straight ahead.

        Raises:
            InvalidInputError: reason ``BAD_POSE``; wrong shape or not finite.
        """
        rotations = local_rotations(joint_rotations, gaze)
        weights = np.zeros(NUM_ARKIT) if arkit is None else _checked("arkit", arkit, (NUM_ARKIT,))
        shift = np.zeros(3) if translation is None else _checked("translation", translation, (3,))
        skin = self.package.skinning
        transforms = joint_transforms(skin.joints, skin.parents, rotations, shift)
        return self.apply(transforms, self.coefficients(rotations), weights)

    def apply(self, transforms: np.ndarray, coefficients: np.ndarray, arkit: np.ndarray) -> PosedSplats:
        """Skin with given joint matrices: what a service's correction frames hold.

        Args:
            transforms: (55, 3 or 4, 4), ``x_posed = A_j x_rest``, root translation included.
            coefficients: (C,) of the pose components.
            arkit: (52,) weights.

        Raises:
            InvalidInputError: ``BAD_POSE``; they are not of this avatar.
        """
        matrices = _checked("transforms", transforms[:, :3], (NUM_JOINTS, 3, 4))
        count = 0 if self._correctives is None else len(self._correctives.pose_basis)
        values = self._corrected(
            _checked("coefficients", coefficients, (count,)).astype(np.float32),
            _checked("arkit", arkit, (NUM_ARKIT,)),
        )
        return self._splats(self._moved(values[:3], matrices), self._turned(values[3:7], matrices), values)

    def _moved(self, means: np.ndarray, matrices: np.ndarray) -> np.ndarray:
        """(3, N) blended matrix times position."""
        flat = matrices.reshape(len(matrices), 12).astype(np.float32)
        blended = (flat.T @ self._weights).reshape(3, 4, -1)
        moved = blended[:, 3]
        for axis in range(3):
            moved += blended[:, axis] * means[axis]
        return moved

    def _turned(self, quats: np.ndarray, matrices: np.ndarray) -> np.ndarray:
        """(4, N) sign-aligned blend of the joint quaternions, times the Gaussians' own."""
        turns = quaternions(matrices[:, :, :3])
        same_side = np.where(turns @ turns.T < 0, -1.0, 1.0).astype(np.float32)
        planes = np.ascontiguousarray(turns.T, np.float32)
        blend = np.zeros_like(quats)
        for joints, shares in zip(self._joints, self._shares):
            blend += (shares * same_side[self._heaviest, joints]) * planes[:, joints]
        _normalise(blend)
        aw, ax, ay, az = blend
        bw, bx, by, bz = quats
        out = np.empty_like(quats)
        out[0] = aw * bw - ax * bx - ay * by - az * bz
        out[1] = aw * bx + ax * bw + ay * bz - az * by
        out[2] = aw * by - ax * bz + ay * bw + az * bx
        out[3] = aw * bz + ax * by - ay * bx + az * bw
        return _normalise(out)


def _planes(*parts: np.ndarray) -> np.ndarray:
    """(sum of K, N) float32 of (N, K) arrays."""
    return np.concatenate([np.ascontiguousarray(part.T, np.float32) for part in parts])


def _rows(planes: np.ndarray) -> np.ndarray:
    """(N, K) of (K, N); plane by plane, which is faster than numpy's transposing copy."""
    out = np.empty(planes.shape[::-1], np.float32)
    for k, plane in enumerate(planes):
        out[:, k] = plane
    return out


def _normalise(planes: np.ndarray) -> np.ndarray:
    """(4, N) quaternions to unit length, in place."""
    planes /= np.maximum(np.sqrt(np.einsum("kn,kn->n", planes, planes)), np.float32(1e-12))
    return planes


def pose_package(
    package: AvatarPackage,
    joint_rotations: np.ndarray,
    translation: np.ndarray | None = None,
    arkit: np.ndarray | None = None,
    gaze: np.ndarray | None = None,
) -> PosedSplats:
    """Pose one frame; see :meth:`BakedRig.pose`. For many frames keep a :class:`BakedRig`."""
    return BakedRig(package).pose(joint_rotations, translation, arkit, gaze)


def pose_proxy(
    package: AvatarPackage,
    joint_rotations: np.ndarray,
    translation: np.ndarray | None = None,
    arkit: np.ndarray | None = None,
    gaze: np.ndarray | None = None,
) -> np.ndarray:
    """(V, 3) f32 vertices of the posed proxy mesh: face shapes, then LBS. Arguments as BakedRig.pose."""
    proxy: ProxyMesh | None = package.proxy
    if proxy is None:
        raise InvalidInputError("This avatar file holds no proxy mesh.", reason="NO_PROXY")
    skin = package.skinning
    rotations = local_rotations(joint_rotations, gaze)
    vertices = proxy.vertices.astype(np.float32, copy=True)
    weights = np.zeros(NUM_ARKIT) if arkit is None else _checked("arkit", arkit, (NUM_ARKIT,))
    for k in np.flatnonzero(weights):
        rows = proxy.arkit_rows(int(k))
        vertices[proxy.arkit_index[rows]] += np.float32(weights[k]) * proxy.arkit_vertices[rows]
    shift = np.zeros(3) if translation is None else _checked("translation", translation, (3,))
    dense = _dense_weights(proxy.joint_indices, proxy.joint_weights, len(skin.joints))
    return _transform_points(vertices, dense, joint_transforms(skin.joints, skin.parents, rotations, shift))


def _dense_weights(indices: np.ndarray, weights: np.ndarray, joints: int) -> np.ndarray:
    dense = np.zeros((len(indices), joints), np.float32)
    rows = np.arange(len(indices))
    for influence in range(
        indices.shape[1]
    ):  # a padded influence may repeat a joint with weight 0: add, not set
        dense[rows, indices[:, influence]] += weights[:, influence]
    return dense


def _transform_points(points: np.ndarray, weights: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    blended = (weights @ transforms[:, :3, :].reshape(len(transforms), 12).astype(np.float32)).reshape(
        -1, 3, 4
    )
    moved = np.matmul(blended[:, :, :3], points[:, :, None].astype(np.float32, copy=False))
    return moved[:, :, 0] + blended[:, :, 3]


def _unit(q: np.ndarray) -> np.ndarray:
    return q / np.maximum(np.linalg.norm(q, axis=-1, keepdims=True), 1e-12)


def _checked(name: str, value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(value, np.float64)
    if array.shape != shape:
        raise InvalidInputError(
            f"{name} has shape {list(array.shape)}; it must be {list(shape)}.", reason="BAD_POSE"
        )
    if not np.isfinite(array).all():
        raise InvalidInputError(f"{name} holds a number that is not finite.", reason="BAD_POSE")
    return array
