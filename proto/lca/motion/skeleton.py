"""The 55 SMPL-X joints with their rest places, and the 52 ARKit names, as plain tables.

The light clients may not import the core, so the names stand here again; a test holds them equal to
``lca_core.body.names`` and the rest places to the mean of our body.
"""

from __future__ import annotations

import numpy as np

from lca.motion.rotation import F64

JOINTS: tuple[str, ...] = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "jaw", "left_eye_smplhf", "right_eye_smplhf",
    *(f"left_{f}{k}" for f in ("index", "middle", "pinky", "ring", "thumb") for k in (1, 2, 3)),
    *(f"right_{f}{k}" for f in ("index", "middle", "pinky", "ring", "thumb") for k in (1, 2, 3)),
)  # fmt: skip
PARENTS: tuple[int, ...] = (
    -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 15, 15, 15,
    20, 25, 26, 20, 28, 29, 20, 31, 32, 20, 34, 35, 20, 37, 38,
    21, 40, 41, 21, 43, 44, 21, 46, 47, 21, 49, 50, 21, 52, 53,
)  # fmt: skip
INDEX: dict[str, int] = {name: i for i, name in enumerate(JOINTS)}

ARKIT: tuple[str, ...] = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeSquintLeft",
    "eyeWideLeft", "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight",
    "eyeLookUpRight", "eyeSquintRight", "eyeWideRight", "jawForward", "jawLeft", "jawRight", "jawOpen",
    "mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight", "mouthSmileLeft",
    "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight", "mouthDimpleLeft", "mouthDimpleRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower",
    "mouthShrugUpper", "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft", "mouthLowerDownRight",
    "mouthUpperUpLeft", "mouthUpperUpRight", "browDownLeft", "browDownRight", "browInnerUp",
    "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
ARKIT_INDEX: dict[str, int] = {name: i for i, name in enumerate(ARKIT)}

# Left half and middle of the rest skeleton, metres, pelvis at the origin; the right half mirrors x.
_LEFT_REST: dict[str, tuple[float, float, float]] = {
    "pelvis": (0, 0, 0), "hip": (0.1130, -0.0164, -0.0086), "spine1": (0, 0.0804, -0.0392),
    "knee": (0.1278, -0.3946, 0.0223), "spine2": (0, 0.1501, -0.0252), "ankle": (0.1557, -0.8297, -0.0086),
    "spine3": (0, 0.2325, -0.0282), "foot": (0.1557, -0.8797, 0.1331), "neck": (0, 0.5447, 0.0015),
    "collar": (0.0233, 0.4687, 0.0156), "head": (0, 0.6416, 0.0349), "shoulder": (0.1774, 0.4694, 0.0112),
    "elbow": (0.4369, 0.4694, 0.0112), "wrist": (0.6691, 0.4694, 0.0112), "jaw": (0, 0.6514, 0.0497),
    "eye_smplhf": (0.0299, 0.6841, 0.1151),
    "index1": (0.7759, 0.4648, 0.0379), "index2": (0.8024, 0.4648, 0.0419),
    "index3": (0.8261, 0.4648, 0.0455),
    "middle1": (0.7750, 0.4694, 0.0112), "middle2": (0.8095, 0.4694, 0.0063),
    "middle3": (0.8377, 0.4694, 0.0023), "pinky1": (0.7592, 0.4648, -0.0278),
    "pinky2": (0.7792, 0.4648, -0.0373), "pinky3": (0.7938, 0.4648, -0.0441),
    "ring1": (0.7690, 0.4697, -0.0088), "ring2": (0.7982, 0.4697, -0.0184),
    "ring3": (0.8224, 0.4697, -0.0264),
    "thumb1": (0.7080, 0.4651, 0.0362), "thumb2": (0.7198, 0.4440, 0.0563),
    "thumb3": (0.7339, 0.4189, 0.0804),
}  # fmt: skip


def _rest(name: str) -> tuple[float, float, float]:
    side, _, part = name.partition("_")
    x, y, z = _LEFT_REST[part if side in ("left", "right") else name]
    return (-x if side == "right" else x, y, z)


REST: F64 = np.array([_rest(name) for name in JOINTS])
"""(55,3) rest joints of the mean body in metres, T-pose, pelvis at the origin."""

SOLE_M = 0.05
"""Height of the foot joints (balls) above the ground at rest, metres."""
FLOOR_Y = float(REST[INDEX["left_foot"], 1]) - SOLE_M
"""Height of the ground under the resting body; the pelvis of the rest pose lies at 0."""


def forward(rotations: F64, translation: F64) -> F64:
    """World joints (T,55,3) of the mean body for local matrices (T,55,3,3) and root shifts (T,3)."""
    places, turns = np.zeros((*rotations.shape[:2], 3)), np.empty_like(rotations)
    for j, parent in enumerate(PARENTS):
        if parent < 0:
            turns[:, j], places[:, j] = rotations[:, j], REST[j] + translation
        else:
            turns[:, j] = turns[:, parent] @ rotations[:, j]
            places[:, j] = places[:, parent] + turns[:, parent] @ (REST[j] - REST[parent])
    return places
