# SPDX-License-Identifier: GPL-3.0-or-later
"""Rest frames of the bones: SMPL-X joints are world-aligned at rest, Blender bones point along the limb.

Joint positions go in; one rotation B (columns = bone X, Y, Z in avatar space) and one length per joint come
out, so that ``R_bone = B^T R_smplx B``. Bone Y runs along the limb and turning about +X bends the joint the
natural way: fingers curl, elbows and hips bring the limb forward. Right is the mirror image of left, which is
what Blender's mirrored pasting expects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UP, FORWARD = np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0])
SIDES = ("left", "right")
_MIN_LENGTH = 0.012


@dataclass(frozen=True)
class Skeleton:
    """Names (J), parents (J, -1 = root) and rest positions (J, 3) in metres."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    joints: NDArray[np.float64]

    def at(self, name: str) -> NDArray[np.float64]:
        """Rest position of a joint."""
        return self.joints[self.names.index(name)]

    def children(self, joint: int) -> list[int]:
        """Indices of a joint's children."""
        return [i for i, parent in enumerate(self.parents) if parent == joint]


@dataclass(frozen=True)
class BoneFrames:
    """``rest`` (J, 3, 3) rotations B with bone axes as columns; ``lengths`` (J,) metres."""

    rest: NDArray[np.float64]
    lengths: NDArray[np.float64]


def eye_side(name: str) -> str | None:
    """``left`` or ``right`` for an eye joint, else None."""
    side, _, rest = name.partition("_")
    return side if side in SIDES and rest.startswith("eye") else None


def bone_frames(skeleton: Skeleton, curl_axes: Mapping[str, tuple[float, float, float]]) -> BoneFrames:
    """Rest rotation and length of every bone.

    Args:
        curl_axes: for finger joints, the axis (avatar space) about which they close; their bone X is the part
            of it across the bone.
    """
    directions = [_direction(skeleton, i) for i in range(len(skeleton.names))]
    rest = np.stack(
        [_frame(y, _hint(skeleton.names[i], y, curl_axes)) for i, (y, _) in enumerate(directions)]
    )
    return BoneFrames(rest, np.array([max(length, _MIN_LENGTH) for _, length in directions]))


def _direction(skeleton: Skeleton, joint: int) -> tuple[NDArray[np.float64], float]:
    """Unit direction and length of a bone: to the child that continues the limb, else onwards."""
    name, parent = skeleton.names[joint], skeleton.parents[joint]
    if eye_side(name):
        return FORWARD, 0.03
    if name == "jaw":
        return _unit(FORWARD - 0.5 * UP), 0.06
    here = skeleton.joints[joint]
    incoming = here - skeleton.joints[parent] if parent >= 0 else UP
    onwards = [
        c for c in skeleton.children(joint) if not eye_side(skeleton.names[c]) and skeleton.names[c] != "jaw"
    ]
    if onwards:
        reach = [skeleton.joints[c] - here for c in onwards]
        best = max(reach, key=lambda v: float(_unit(v) @ _unit(incoming)))
        if np.linalg.norm(best) > 1e-4:
            return _unit(best), float(np.linalg.norm(best))
    if name == "head":
        return UP, 0.18
    if name.endswith("_foot"):
        return FORWARD, 0.07
    return _unit(incoming), 0.8 * float(np.linalg.norm(incoming))


def _hint(
    name: str, y: NDArray[np.float64], curl_axes: Mapping[str, tuple[float, float, float]]
) -> NDArray[np.float64]:
    """Where bone Z should point: the side towards which +X turns the bone."""
    if name in curl_axes:
        return np.cross(np.asarray(curl_axes[name], np.float64), y)
    if name == "jaw":
        return -UP
    if abs(float(y @ FORWARD)) > 0.8:
        return UP
    return FORWARD


def _frame(y: NDArray[np.float64], hint: NDArray[np.float64]) -> NDArray[np.float64]:
    z = hint - y * float(hint @ y)
    if np.linalg.norm(z) < 1e-6:
        z = np.cross(y, np.array([1.0, 0.0, 0.0]))
    z = _unit(z)
    return np.stack([np.cross(y, z), y, z], -1)


def _unit(v: NDArray[np.float64]) -> NDArray[np.float64]:
    return v / max(float(np.linalg.norm(v)), 1e-12)
