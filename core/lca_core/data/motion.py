"""Poses, expressions and short motions of synthetic people.

In: a random generator, or nothing. Out: joint rotations (55,3) axis-angle in SMPL-X order relative to the
T-pose, ARKit weights (52,), gaze (2,2). Left side angles are written once and mirrored. Arms hang by turning
the left shoulder about -Z; elbows bend about -Y, knees about +X, left fingers curl about -Z.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lca_core.body.names import ARKIT_INDEX, JOINT_INDEX, JOINT_NAMES
from lca_core.data.library import extended_body
from lca_core.data.skinning import rest_joints, rotation_matrices

FINGERS = ("index", "middle", "ring", "pinky")
HANDS = ("flat", "relaxed", "fist", "point", "spread", "pinch", "random")
STANCES = (
    "a_pose", "t_pose", "stand", "walk", "gesture", "reach", "sit", "akimbo", "raise", "squat", "lunge",
    "bow",
    "crossed", "kick",
)  # fmt: skip


@dataclass(frozen=True)
class Pose:
    """One posture: ``joints`` (55,3) axis-angle radians, ``transl`` (3,) metres, ``expression`` (52,),
    ``gaze`` (2,2)."""

    joints: NDArray[np.float32]
    transl: NDArray[np.float32]
    expression: NDArray[np.float32]
    gaze: NDArray[np.float32]


@dataclass(frozen=True)
class Arm:
    """Arm angles in radians: ``down`` from horizontal, ``swing`` forward, ``twist`` about the arm, ``bend``
    of the elbow, ``turn`` pronation at the wrist, ``flex`` of the wrist."""

    down: float = 1.2
    swing: float = 0.0
    twist: float = 0.0
    bend: float = 0.15
    turn: float = 0.0
    flex: float = 0.0
    forward: float = 0.0


def log_rotation(r: NDArray) -> NDArray[np.float64]:
    """Axis-angle (3,) of a rotation matrix (3,3)."""
    cosine = np.clip((np.trace(r) - 1) / 2, -1.0, 1.0)
    angle = np.arccos(cosine)
    axis = np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    if angle < 1e-6:
        return axis / 2
    if angle > np.pi - 1e-3:
        w, v = np.linalg.eigh((r + r.T) / 2)
        direction = v[:, w.argmax()]
        return direction * angle * (1.0 if direction @ axis >= 0 else -1.0)
    return axis * angle / (2 * np.sin(angle))


def _turn(axis: int, angle: float) -> NDArray[np.float64]:
    v = np.zeros(3)
    v[axis] = angle
    return rotation_matrices(v)


def _put(joints: NDArray, side: str, name: str, value: NDArray) -> None:
    """Write a left-side rotation vector to one side; mirroring across x = 0 flips its y and z."""
    mirrored = np.asarray(value) * (1.0 if side == "left" else np.array([1.0, -1.0, -1.0]))
    joints[JOINT_INDEX[f"{side}_{name}"]] = mirrored


def set_arm(joints: NDArray, side: str, arm: Arm) -> None:
    """Pose one arm in place."""
    # A third of the elevation above the horizontal comes from the collar, as in real shoulders.
    collar = np.clip(-arm.down, 0, 1.2) * 0.3
    shoulder = (
        _turn(0, -arm.swing) @ _turn(1, -arm.forward) @ _turn(2, -arm.down - collar) @ _turn(0, arm.twist)
    )
    _put(joints, side, "collar", np.array([0.0, 0.0, collar]))
    _put(joints, side, "shoulder", log_rotation(shoulder))
    _put(joints, side, "elbow", np.array([0.0, -arm.bend, 0.0]))
    _put(joints, side, "wrist", log_rotation(_turn(0, arm.turn) @ _turn(2, -arm.flex)))


def set_leg(
    joints: NDArray, side: str, hip: float = 0.0, out: float = 0.0, knee: float = 0.0, foot: float = 0.0
) -> None:
    """Pose one leg in place: hip flexion, abduction, knee flexion, ankle (positive = toes up), radians."""
    _put(joints, side, "hip", log_rotation(_turn(2, out) @ _turn(0, -hip)))
    _put(joints, side, "knee", np.array([knee, 0.0, 0.0]))
    _put(joints, side, "ankle", np.array([-foot, 0.0, 0.0]))


@cache
def _finger_axes() -> dict[str, tuple[NDArray[np.float64], float]]:
    """Per left finger joint: the axis that curls it towards the palm, and for knuckles the yaw of the finger
    off +X.

    Taken from the mean body, because fingers fan out in the T-pose and do not bend about one common axis.
    """
    joints = rest_joints(extended_body().template).astype(np.float64)
    place = {n: joints[JOINT_INDEX[n]] for n in JOINT_NAMES}
    out: dict[str, tuple[NDArray[np.float64], float]] = {}
    for finger in (*FINGERS, "thumb"):
        for k in (1, 2, 3):
            # The last joint has no child: it continues the bone before it.
            a, b = (k, k + 1) if k < 3 else (2, 3)
            d = place[f"left_{finger}{b}"] - place[f"left_{finger}{a}"]
            d /= np.linalg.norm(d)
            axis = np.cross(d, _THUMB_TARGETS[k] if finger == "thumb" else (0.0, -1.0, 0.0))
            out[f"{finger}{k}"] = axis / np.linalg.norm(axis), float(np.arctan2(-d[2], d[0]))
    return out


# Where each thumb bone heads when the hand closes: down under the palm, then across the fingers.
_THUMB_TARGETS = {1: (0.75, -0.6, 0.1), 2: (0.5, -0.4, -0.75), 3: (0.3, -0.2, -0.95)}


def set_hand(
    joints: NDArray, side: str, curl: dict[str, float], spread: float = 0.0, thumb: float = 0.0
) -> None:
    """Pose one hand in place: curl 0-1 per finger (1 = fist), spread in radians between fingers, thumb
    0-1."""
    axes = _finger_axes()
    for k, finger in enumerate(FINGERS):
        amount = curl.get(finger, 0.0)
        for joint, share in ((1, 1.35), (2, 1.6), (3, 0.95)):
            axis, yaw = axes[f"{finger}{joint}"]
            turn = rotation_matrices(axis * (amount * share))
            if joint == 1:
                # Curling fingers close up; +Y turns the left index, which lies foremost, towards the others.
                turn = _turn(1, -0.75 * yaw * min(amount, 1.0) - spread * (1.5 - k)) @ turn
            _put(joints, side, f"{finger}{joint}", log_rotation(turn))
    for joint, share in ((1, 0.75), (2, 0.75), (3, 0.8)):
        _put(joints, side, f"thumb{joint}", axes[f"thumb{joint}"][0] * (thumb * share))


def named_hand(joints: NDArray, side: str, name: str, rng: np.random.Generator | None = None) -> None:
    """Pose one hand by a name of ``HANDS``; "random" needs ``rng``."""
    every = dict.fromkeys(FINGERS, 1.0)
    if name == "flat":
        set_hand(joints, side, {})
    elif name == "relaxed":
        set_hand(joints, side, {"index": 0.16, "middle": 0.22, "ring": 0.27, "pinky": 0.3}, 0.03, 0.25)
    elif name == "fist":
        set_hand(joints, side, every, 0.0, 1.0)
    elif name == "point":
        set_hand(joints, side, {**every, "index": 0.03}, 0.0, 0.9)
    elif name == "spread":
        set_hand(joints, side, {}, 0.16, -0.2)
    elif name == "pinch":
        set_hand(joints, side, {"index": 0.42, "middle": 0.3, "ring": 0.25, "pinky": 0.25}, 0.05, 0.6)
    elif rng is not None:
        curls = np.clip(rng.beta(0.8, 1.2) + rng.normal(0, 0.15, 4), 0, 1)
        set_hand(
            joints, side, dict(zip(FINGERS, curls)), float(rng.normal(0.02, 0.06)), float(rng.uniform(0, 0.9))
        )


def stance(name: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """Joint rotations (55,3) of a named stance with natural variation (no hands)."""
    j = np.zeros((len(JOINT_NAMES), 3))
    n = rng.normal
    sides = ("left", "right")
    if name == "t_pose":
        for s in sides:
            set_arm(j, s, Arm(down=n(0.05, 0.08), bend=abs(n(0, 0.08))))
    elif name == "a_pose":
        down = n(0.85, 0.1)
        for s in sides:
            set_arm(j, s, Arm(down=down + n(0, 0.04), bend=abs(n(0.1, 0.08)), turn=n(0, 0.2)))
            set_leg(j, s, out=abs(n(0.08, 0.05)))
    elif name == "stand":
        for s in sides:
            set_arm(
                j, s, Arm(down=n(1.22, 0.06), swing=n(0.05, 0.1), bend=abs(n(0.2, 0.12)), turn=n(0.1, 0.25))
            )
            set_leg(j, s, hip=n(0, 0.05), out=abs(n(0.05, 0.04)), knee=abs(n(0.03, 0.05)))
    elif name == "walk":
        phase, size = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.6)
        for k, s in enumerate(sides):
            c = np.cos(phase + k * np.pi)
            knee = 0.1 + 0.9 * size * max(np.sin(phase + k * np.pi), 0)
            set_leg(j, s, hip=size * c + 0.3 * knee, out=0.03, knee=knee, foot=n(0, 0.1))
            set_arm(j, s, Arm(down=n(1.2, 0.05), swing=-0.9 * size * c, bend=0.2 + 0.3 * size * max(-c, 0)))
    elif name == "gesture":
        for s in sides:
            set_arm(j, s, Arm(down=rng.uniform(0.9, 1.2), swing=rng.uniform(0, 0.6), twist=n(0, 0.4),
                              bend=rng.uniform(0.4, 1.9), turn=n(0, 0.6), flex=n(0, 0.25)))  # fmt: skip
            set_leg(j, s, out=abs(n(0.06, 0.05)), knee=abs(n(0.04, 0.05)))
    elif name == "reach":
        for s in sides:
            set_arm(j, s, Arm(down=rng.uniform(-0.3, 1.1), forward=rng.uniform(0, 1.3),
                              bend=rng.uniform(0, 1.0), twist=n(0, 0.3),
                              turn=n(0, 0.4), flex=n(0, 0.2)))  # fmt: skip
            set_leg(j, s, hip=n(0, 0.15), out=abs(n(0.08, 0.06)), knee=abs(n(0.1, 0.1)))
    elif name == "sit":
        knee = rng.uniform(0.5, 1.3)
        for s in sides:
            set_leg(
                j, s, hip=knee * rng.uniform(0.75, 1.0), out=abs(n(0.1, 0.06)), knee=knee, foot=0.15 * knee
            )
            set_arm(
                j, s, Arm(down=rng.uniform(0.9, 1.2), swing=rng.uniform(0.1, 0.7), bend=rng.uniform(0.3, 1.2))
            )
    elif name == "akimbo":
        for s in sides:
            set_arm(
                j, s, Arm(down=n(0.75, 0.08), swing=n(-0.25, 0.08), twist=n(-0.7, 0.1), bend=n(1.5, 0.15))
            )
            set_leg(j, s, out=abs(n(0.1, 0.05)))
    elif name == "squat":
        deep = rng.uniform(0.7, 1.5)
        for s in sides:
            set_leg(
                j,
                s,
                hip=deep * rng.uniform(0.9, 1.0),
                out=abs(n(0.2, 0.08)),
                knee=1.15 * deep,
                foot=0.35 * deep,
            )
            set_arm(
                j, s, Arm(down=rng.uniform(0.4, 1.2), swing=rng.uniform(0.4, 1.4), bend=rng.uniform(0.1, 1.2))
            )
        j[0, 0] = 0.25 * deep
    elif name == "lunge":
        deep, front = rng.uniform(0.4, 1.0), rng.integers(2)
        for k, s in enumerate(sides):
            ahead = k == front
            set_leg(j, s, hip=deep if ahead else -0.45 * deep, out=0.04, knee=(1.1 if ahead else 0.6) * deep,
                    foot=0.1 if ahead else -0.3)  # fmt: skip
            set_arm(
                j,
                s,
                Arm(down=n(1.1, 0.1), swing=-0.5 * deep if ahead else 0.5 * deep, bend=rng.uniform(0.1, 1.0)),
            )
    elif name == "bow":
        lean = rng.uniform(0.3, 1.0)
        for s in sides:
            set_leg(j, s, hip=lean, out=abs(n(0.06, 0.04)), knee=abs(n(0.1, 0.1)))
            set_arm(j, s, Arm(down=n(1.15, 0.1), swing=rng.uniform(0.0, 1.0), bend=abs(n(0.3, 0.2))))
        j[0, 0] = lean
    elif name == "crossed":
        for k, s in enumerate(sides):
            set_arm(
                j,
                s,
                Arm(
                    down=n(1.0, 0.05), swing=n(0.45, 0.06), twist=n(-0.55, 0.08), bend=n(1.55 - 0.1 * k, 0.06)
                ),
            )
            set_leg(j, s, out=abs(n(0.06, 0.05)), knee=abs(n(0.04, 0.05)))
    elif name == "kick":
        for k, s in enumerate(sides):
            raised = k == 0
            high, side = rng.uniform(0.4, 1.2), rng.uniform(0.0, 0.5)
            bent = rng.uniform(0.0, 1.0) if raised else 0.05
            set_leg(j, s, hip=high * raised, out=side if raised else 0.03, knee=bent)
            set_arm(j, s, Arm(down=rng.uniform(0.2, 1.1), bend=rng.uniform(0.1, 0.9)))
        if rng.random() < 0.5:
            mirror(j)
    else:
        for s in sides:
            set_arm(
                j,
                s,
                Arm(down=rng.uniform(-1.1, 1.2), bend=rng.uniform(0, 1.2), twist=n(0, 0.3), turn=n(0, 0.4)),
            )
            set_leg(j, s, out=abs(n(0.08, 0.05)), knee=abs(n(0.03, 0.05)))
    for bone in ("spine1", "spine2", "spine3"):
        j[JOINT_INDEX[bone]] = n(0, [0.05, 0.06, 0.04])
    j[JOINT_INDEX["neck"]] = n(0, [0.08, 0.12, 0.05])
    j[JOINT_INDEX["head"]] = n(0, [0.1, 0.16, 0.06])
    return j


def mirror(joints: NDArray) -> None:
    """Swap left and right of rotations (55,3) in place."""
    old = joints * np.array([1.0, -1.0, -1.0])
    for i, name in enumerate(JOINT_NAMES):
        side, _, part = name.partition("_")
        other = {"left": "right", "right": "left"}.get(side)
        joints[i] = old[JOINT_INDEX[f"{other}_{part}"] if other else i]


def random_expression(rng: np.random.Generator) -> NDArray[np.float32]:
    """ARKit weights (52,): neutral, one action, a pair, or a natural mixture."""
    w = np.zeros(len(ARKIT_INDEX), np.float32)
    kind = rng.random()
    if kind < 0.1:
        return w
    if kind < 0.3:
        w[rng.integers(52)] = rng.uniform(0.4, 1.0)
        return w
    for name, most, chance in (
        ("jawOpen", 0.7, 0.5), ("mouthSmile", 1.0, 0.4), ("eyeBlink", 1.0, 0.25), ("browInnerUp", 1.0, 0.3),
        ("browDown", 0.8, 0.2), ("mouthPucker", 0.9, 0.15), ("mouthFunnel", 0.8, 0.15),
        ("mouthFrown", 0.7, 0.12),
        ("cheekPuff", 0.8, 0.08), ("eyeWide", 0.8, 0.12), ("eyeSquint", 0.7, 0.2),
        ("mouthUpperUp", 0.6, 0.12),
        ("mouthLowerDown", 0.6, 0.12), ("noseSneer", 0.7, 0.08), ("mouthStretch", 0.6, 0.1),
        ("mouthLeft", 0.6, 0.05),
        ("mouthRight", 0.6, 0.05), ("jawLeft", 0.5, 0.04), ("jawRight", 0.5, 0.04), ("browOuterUp", 0.8, 0.2),
        ("mouthRollLower", 0.6, 0.08), ("mouthPress", 0.6, 0.08), ("tongueOut", 0.8, 0.03),
    ):  # fmt: skip
        if rng.random() > chance:
            continue
        amount = rng.uniform(0.1, most)
        if name in ARKIT_INDEX:
            w[ARKIT_INDEX[name]] = amount
        else:
            for side in ("Left", "Right"):
                w[ARKIT_INDEX[name + side]] = np.clip(amount * rng.uniform(0.8, 1.2), 0, 1)
    return w


def lids_follow_gaze(expression: NDArray[np.float32], gaze: NDArray) -> NDArray[np.float32]:
    """Copy of ARKit weights (52,) with eyeLookUp/Down set from the gaze pitch (the lids ride on the
    eyeballs)."""
    out = expression.copy()
    for row, side in enumerate(("Left", "Right")):
        pitch = float(gaze[row, 1])
        out[ARKIT_INDEX[f"eyeLookDown{side}"]] = np.clip(pitch / 0.5, 0, 1)
        out[ARKIT_INDEX[f"eyeLookUp{side}"]] = np.clip(-pitch / 0.45, 0, 1)
    return out


def random_pose(rng: np.random.Generator, kind: str | None = None) -> Pose:
    """A joint-limited natural pose with hands, face and gaze; the root turns at most 30 degrees."""
    weights = np.array([0.12, 0.05, 0.16, 0.13, 0.14, 0.11, 0.05, 0.05, 0.06, 0.03, 0.03, 0.03, 0.02, 0.02])
    joints = stance(kind or str(rng.choice(STANCES, p=weights)), rng)
    for side in ("left", "right"):
        named_hand(joints, side, str(rng.choice(HANDS, p=[0.1, 0.3, 0.1, 0.1, 0.1, 0.08, 0.22])), rng)
    joints[0] = log_rotation(
        rotation_matrices(rng.normal(0, [0.03, 0.2, 0.02])) @ rotation_matrices(joints[0])
    )
    look = np.clip(rng.normal(0, [0.2, 0.12]), -0.5, 0.5)
    gaze = np.stack([look, look]).astype(np.float32)
    expression = lids_follow_gaze(random_expression(rng), gaze)
    return Pose(joints.astype(np.float32), rng.normal(0, 0.03, 3).astype(np.float32), expression, gaze)
