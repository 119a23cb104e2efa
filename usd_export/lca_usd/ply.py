"""3DGS PLY: the splat file every viewer reads, at rest or in one pose.

The layout is that of the 3DGS reference: x y z, nx ny nz, f_dc_*, f_rest_* (channel by channel), logit
opacity, log scales, wxyz rotation, little-endian floats.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lca.errors import InvalidInputError
from lca_bridge.wire.package import AvatarPackage
from lca_bridge.wire.skin import BakedRig, PosedSplats, local_rotations, multiply_quaternions
from lca_usd.asset import open_package
from lca_usd.files import staging
from lca_usd.sh import rotate_sh


class PoseLike(Protocol):
    """One frame: translation (3,) m, joint_rotations (55,3) axis-angle, arkit (52,), gaze (2,2) radians."""

    @property
    def translation(self) -> npt.NDArray[Any]: ...
    @property
    def joint_rotations(self) -> npt.NDArray[Any]: ...
    @property
    def arkit(self) -> npt.NDArray[Any]: ...
    @property
    def gaze(self) -> npt.NDArray[Any]: ...


def export_ply(
    package: str | os.PathLike[str] | AvatarPackage,
    out_path: str | os.PathLike[str],
    pose: PoseLike | None = None,
) -> Path:
    """Write the avatar as one 3DGS PLY, in the package's splat order.

    Args:
        pose: None is the canonical avatar; otherwise any object with the fields of :class:`PoseLike`.

    Raises:
        InvalidInputError: the name does not end in ``.ply``, or the pose has wrong shapes.
        LcaError: what the package reader raises.
    """
    target = Path(out_path)
    if target.suffix.lower() != ".ply":
        raise InvalidInputError(f"{target.name} is not a .ply name; give the file that ending.")
    opened = open_package(package)
    posed = _at_rest(opened) if pose is None else _posed(opened, pose)
    with staging(target) as folder:
        (folder / target.name).write_bytes(ply_bytes(posed))
    return target


def ply_bytes(splats: PosedSplats) -> bytes:
    """Posed splats -> the whole PLY file."""
    n, k = splats.sh.shape[:2]
    opacity = np.clip(splats.opacities.astype(np.float64), 1e-6, 1 - 1e-6)
    columns = [
        splats.means,
        np.zeros((n, 3)),
        splats.sh[:, 0],
        splats.sh[:, 1:].transpose(0, 2, 1).reshape(n, 3 * (k - 1)),
        np.log(opacity / (1 - opacity))[:, None],
        np.log(splats.scales),
        splats.quats,
    ]
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    names += [f"f_rest_{i}" for i in range(3 * (k - 1))]
    names += ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {n}"]
    header += [f"property float {name}" for name in names] + ["end_header", ""]
    return "\n".join(header).encode() + np.concatenate(columns, axis=1).astype("<f4").tobytes()


def _at_rest(package: AvatarPackage) -> PosedSplats:
    c = package.canonical
    quats = c.quats / np.linalg.norm(c.quats, axis=1, keepdims=True)
    return PosedSplats(c.means, quats, c.scales, c.opacities, c.sh)


def _posed(package: AvatarPackage, pose: PoseLike) -> PosedSplats:
    rig = BakedRig(package)
    posed = rig.pose(pose.joint_rotations, pose.translation, pose.arkit, pose.gaze)
    if posed.sh.shape[1] == 1:
        return posed
    # The rotation of each splat's skin is what turned its quaternion since the corrected rest state.
    rest = rig.canonical(
        local_rotations(pose.joint_rotations, pose.gaze), np.asarray(pose.arkit, np.float64)
    ).quats
    turn = multiply_quaternions(posed.quats, rest * np.array([1, -1, -1, -1], rest.dtype))
    sh = rotate_sh(posed.sh, quaternion_matrices(turn))
    return PosedSplats(posed.means, posed.quats, posed.scales, posed.opacities, sh)


def quaternion_matrices(quats: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(N,4) unit wxyz -> (N,3,3)."""
    w, x, y, z = np.asarray(quats, np.float64).T
    return np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
            np.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
            np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
        ],
        1,
    )
