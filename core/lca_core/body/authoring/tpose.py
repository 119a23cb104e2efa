"""Re-poses MakeHuman's A-pose people into the SMPL-X T-pose, and merges their 163 bones into our 55 joints.

Done per person and *before* any statistics, so that rotations of SMPL-X and AMASS mean the same thing on our
body. T-pose: arms along +-X, elbow hinge on the vertical, palms down, fingers straight in the palm plane,
each leg 3 degrees off the vertical, feet pointing forward, collars raised by 8 degrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lca_core.body.names import JOINT_INDEX, JOINT_NAMES

LEG_DEGREES = 3.0
COLLAR_DEGREES = 8.0
FOREARM_TWIST = (0.25, 0.75)
"""Share of the pronation that the proximal and distal half of the forearm take."""


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def frame(x: np.ndarray, hint: np.ndarray) -> np.ndarray:
    """Rotation ``(...,3,3)`` with columns (x, y, z): x as given, z nearest to ``hint``."""
    x = _unit(x)
    z = _unit(hint - (hint * x).sum(-1, keepdims=True) * x)
    return np.stack([x, np.cross(z, x), z], axis=-1)


def swing(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The smallest rotation ``(...,3,3)`` that takes direction ``a`` to direction ``b`` (not opposite)."""
    a, b = _unit(a), _unit(b)
    v, c = np.cross(a, b), (a * b).sum(-1)
    k = np.zeros((*v.shape[:-1], 3, 3))
    k[..., 0, 1], k[..., 0, 2], k[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    k -= np.swapaxes(k, -1, -2)
    return np.eye(3) + k + k @ k / (1.0 + c)[..., None, None]


def axis_rotation(axis: int, angle: np.ndarray) -> np.ndarray:
    """Rotation by ``angle (...,)`` radians about coordinate axis 0, 1 or 2."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    r = np.zeros((*np.shape(angle), 3, 3))
    r[..., axis, axis] = 1.0
    r[..., i, i] = r[..., j, j] = np.cos(angle)
    r[..., j, i] = np.sin(angle)
    r[..., i, j] = -np.sin(angle)
    return r


@dataclass(frozen=True)
class Rig163:
    """Names, parents and dense weights ``(V,163)`` of MakeHuman's default rig."""

    bones: list[str]
    parents: np.ndarray
    weights: np.ndarray

    def index(self, name: str) -> int:
        return self.bones.index(name)


def bone_rotations(rig: Rig163, heads: np.ndarray, tails: np.ndarray) -> np.ndarray:
    """Global A-to-T rotation of every bone, ``(B,163,3,3)``; bones not named here follow their parent."""
    batch = len(heads)
    known: dict[int, np.ndarray] = {}

    def head(name: str) -> np.ndarray:
        return heads[:, rig.index(name)].astype(np.float64)

    def put(name: str, rotation: np.ndarray) -> None:
        known[rig.index(name)] = np.broadcast_to(rotation, (batch, 3, 3))

    def fixed(*v: float) -> np.ndarray:
        return np.broadcast_to(np.array(v), (batch, 3))

    for side, s in (("L", 1.0), ("R", -1.0)):
        put(f"clavicle.{side}", axis_rotation(2, np.array(s * np.radians(COLLAR_DEGREES))))
        shoulder, elbow, wrist = (head(f"{n}.{side}") for n in ("upperarm01", "lowerarm01", "wrist"))
        out = fixed(s, 0, 0)
        hinge = np.cross(elbow - shoulder, wrist - elbow)
        hinge_t = fixed(0, -s, 0)
        upper = frame(out, hinge_t) @ np.swapaxes(frame(elbow - shoulder, hinge), -1, -2)
        fore = frame(out, hinge_t) @ np.swapaxes(frame(wrist - elbow, hinge), -1, -2)
        palm_along = head(f"finger3-1.{side}") - wrist
        palm_across = head(f"finger2-1.{side}") - head(f"finger5-1.{side}")
        hand = frame(out, fixed(0, 0, 1)) @ np.swapaxes(frame(palm_along, palm_across), -1, -2)
        relative = hand @ np.swapaxes(fore, -1, -2)
        twist = np.arctan2(relative[:, 2, 1] - relative[:, 1, 2], relative[:, 1, 1] + relative[:, 2, 2])
        put(f"upperarm01.{side}", upper)
        for half, share in zip(("lowerarm01", "lowerarm02"), FOREARM_TWIST):
            put(f"{half}.{side}", axis_rotation(0, share * twist) @ fore)
        put(f"wrist.{side}", hand)
        for finger in range(1, 6):
            names = [f"finger{finger}-{k}.{side}" for k in (1, 2, 3)]
            points = [head(n) for n in names] + [tails[:, rig.index(names[2])].astype(np.float64)]
            bones = [np.einsum("bij,bj->bi", hand, points[k + 1] - points[k]) for k in range(3)]
            straight = _unit(bones[0])
            if finger > 1:
                straight = _unit(straight * np.array([1.0, 0.0, 1.0]))
            for name, direction in zip(names, bones):
                put(name, swing(direction, straight) @ hand)
        hip, ankle = head(f"upperleg01.{side}"), head(f"foot.{side}")
        toes = np.mean([head(f"toe{k}-1.{side}") for k in range(1, 6)], axis=0)
        forward = toes - ankle
        yaw = axis_rotation(1, -np.arctan2(forward[:, 0], forward[:, 2]))
        angle = np.radians(LEG_DEGREES)
        down = fixed(s * np.sin(angle), -np.cos(angle), 0)
        leg = np.einsum("bij,bj->bi", yaw, ankle - hip)
        put(f"upperleg01.{side}", swing(leg, down) @ yaw)
        put(f"foot.{side}", yaw)

    rotations = np.zeros((batch, len(rig.bones), 3, 3))
    rotations[:, 0] = np.eye(3)
    for bone in range(1, len(rig.bones)):
        rotations[:, bone] = known.get(bone, rotations[:, rig.parents[bone]])
    return rotations


def to_tpose(
    rig: Rig163, vertices: np.ndarray, heads: np.ndarray, tails: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pose people into the T-pose with the full rig.

    Args:
        vertices: ``(B,V,3)`` A-pose; heads, tails: ``(B,163,3)``.

    Returns:
        vertices ``(B,V,3)`` and joints ``(B,55,3)``, both float32 with the pelvis joint at the origin, and
        the blended rotation ``(B,V,3,3)`` of every vertex.
    """
    rotations = bone_rotations(rig, heads, tails)
    moved = heads.astype(np.float64).copy()
    offset = np.zeros_like(moved)
    for bone in range(1, len(rig.bones)):
        parent = rig.parents[bone]
        moved[:, bone] = np.einsum("bij,bj->bi", rotations[:, parent], heads[:, bone]) + offset[:, parent]
        offset[:, bone] = moved[:, bone] - np.einsum("bij,bj->bi", rotations[:, bone], heads[:, bone])
    flat = np.concatenate([rotations.reshape(len(heads), -1, 9), offset], axis=-1).astype(np.float32)
    blended = np.einsum("vj,bjk->bvk", rig.weights, flat, optimize=True)
    turn = blended[..., :9].reshape(*vertices.shape[:2], 3, 3)
    posed = np.einsum("bvij,bvj->bvi", turn, vertices) + blended[..., 9:]
    joints = joint_positions(rig, moved)
    pelvis = joints[:, :1].copy()
    return posed - pelvis.astype(np.float32), (joints - pelvis).astype(np.float32), turn


_FINGERS = {"index": 2, "middle": 3, "ring": 4, "pinky": 5, "thumb": 1}


def _bone_of_joint(joint: str) -> tuple[str, ...]:
    """Bones whose mean head is the joint's centre."""
    middle = {
        "pelvis": "spine05", "spine1": "spine04", "spine2": "spine03", "spine3": "spine02",
        "neck": "neck01", "head": "head", "jaw": "jaw",
    }  # fmt: skip
    if joint in middle:
        return (middle[joint],)
    side, part = joint.split("_", 1)
    tag = "L" if side == "left" else "R"
    limbs = {
        "hip": "upperleg01", "knee": "lowerleg01", "ankle": "foot", "collar": "clavicle",
        "shoulder": "upperarm01", "elbow": "lowerarm01", "wrist": "wrist", "eye_smplhf": "eye",
    }  # fmt: skip
    if part in limbs:
        return (f"{limbs[part]}.{tag}",)
    if part == "foot":
        return tuple(f"toe{k}-1.{tag}" for k in range(1, 6))
    return (f"finger{_FINGERS[part[:-1]]}-{part[-1]}.{tag}",)


def joint_positions(rig: Rig163, heads: np.ndarray) -> np.ndarray:
    """Joint centres ``(B,55,3)`` from bone heads ``(B,163,3)``; midline joints lie exactly on x = 0."""
    joints = np.stack(
        [np.mean([heads[:, rig.index(b)] for b in _bone_of_joint(j)], axis=0) for j in JOINT_NAMES], axis=1
    )
    return joints


def joint_of_bone(rig: Rig163) -> np.ndarray:
    """For each of the 163 bones the joint ``(163,)`` its weights go to."""
    target = np.full(len(rig.bones), -1)
    for j, joint in enumerate(JOINT_NAMES):
        for name in _bone_of_joint(joint):
            target[rig.index(name)] = j
    direct = {
        "root": "pelvis", "pelvis.L": "pelvis", "pelvis.R": "pelvis", "spine01": "spine3", "neck03": "head",
    }  # fmt: skip
    for name, joint in direct.items():
        target[rig.index(name)] = JOINT_INDEX[joint]
    for bone, parent in enumerate(rig.parents):
        if target[bone] < 0:
            target[bone] = target[parent]
    return target


def merge_weights(rig: Rig163, keep: int = 8) -> np.ndarray:
    """Skin weights ``(V,55)`` float64: summed over merged bones, at most ``keep`` per vertex, rows sum to
    1.
    """
    merged = np.zeros((len(rig.weights), len(JOINT_NAMES)))
    np.add.at(merged.T, joint_of_bone(rig), rig.weights.T.astype(np.float64))
    cut = np.sort(merged, axis=1)[:, -keep][:, None]
    merged[(merged < cut) | (merged < 1e-4)] = 0.0
    return merged / merged.sum(axis=1, keepdims=True)
