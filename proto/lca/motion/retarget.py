"""A foreign skeleton's motion on ours: world rotations carried over through the two rest poses.

In: a :class:`~lca.motion.bvh.Bvh`. Out: a :class:`~lca.motion.clip.MotionClip`: metres, Y up, on the ground.

For every joint one constant turn C takes our rest pose to theirs, so that the limb points the same way in
every frame: ``R_ours(t) = R_theirs(t) C`` and ``C d_ours = d_theirs`` for the rest direction d of the bone.
Rest poses that look like a person (T, A, hanging arms) fix the roll of C by the shortest turn down each
limb. Rest poses that do not (every bone along one axis, as some suits write) leave the roll open; it then
comes from the motion: elbows and knees bend about one axis, everything else is on average not twisted against
its parent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lca.motion.bvh import Bvh
from lca.motion.clip import MotionClip, bad_motion, upright
from lca.motion.joint_names import match_joints
from lca.motion.rotation import F64, axis_angles, frame, quaternions, shortest, turn, unit
from lca.motion.skeleton import INDEX, JOINTS, PARENTS, REST

SIDES = ("left", "right")
TORSO = ("pelvis", "spine1", "spine2", "spine3", "neck", "head", "jaw")
NEXT: dict[str, tuple[str, ...]] = {
    "spine1": ("spine2", "spine3", "neck"), "spine2": ("spine3", "neck"), "spine3": ("neck", "head"),
    "neck": ("head",),
    **{f"{s}_{a}": tuple(f"{s}_{b}" for b in after) for s in SIDES for a, after in {
        "collar": ("shoulder",), "shoulder": ("elbow",), "elbow": ("wrist",),
        "wrist": ("middle1", "index1", "ring1"), "hip": ("knee",), "knee": ("ankle",), "ankle": ("foot",),
        **{f"{f}{k}": (f"{f}{k + 1}",)
           for f in ("index", "middle", "pinky", "ring", "thumb") for k in (1, 2)},
    }.items()},
}  # fmt: skip
"""The joint a bone points to; the first one present counts."""

FLAT_FOOT = 0.75
"""Cosine to our own foot above which a foreign resting foot is taken to stand flat, as ours does."""
BENT_END = 0.5
"""Cosine below which the only thing after a hand or foot is an oddly placed end site, not its direction."""
SPREAD_ARM = 0.6
"""Cosine to the sideways axis from which on a resting arm counts as spread (T or A pose)."""
HINGE_SHARE, HINGE_BEND = 0.7, 0.15
"""How far bends must agree on one axis, and how strong they must be on average, to trust them."""


@dataclass(frozen=True)
class _Source:
    """The foreign motion in our world: joint indices by our names, rest directions, world rotations."""

    match: dict[str, int]
    bvh: Bvh
    rest: F64
    turns: F64

    def direction(self, ours: str) -> F64 | None:
        """Rest direction (3,) of the bone that starts at our joint, in their joint's axes."""
        j = self.match.get(ours)
        if j is None:
            return None
        for after in NEXT.get(ours, ()):
            if after in self.match:
                d = self.rest[self.match[after]] - self.rest[j]
                if np.linalg.norm(d) > 1e-6:
                    return unit(d)
        candidates = [self.bvh.offsets[c] for c, p in enumerate(self.bvh.parents) if p == j]
        tip = self.bvh.tips[j]
        for d in (*candidates, *(() if tip is None else (tip,))):
            if np.linalg.norm(d) > 1e-6:
                return unit(d)
        return None

    def between(self, a: str, b: str) -> F64 | None:
        """Rest vector (3,) from joint b to joint a, None where one is missing or they coincide."""
        if a not in self.match or b not in self.match:
            return None
        d = self.rest[self.match[a]] - self.rest[self.match[b]]
        return d if np.linalg.norm(d) > 1e-6 else None


def retarget_bvh(bvh: Bvh, source: str = "BVH") -> MotionClip:
    """Carry a motion over to our skeleton.

    Raises:
        InvalidInputError: ``UNKNOWN_SKELETON`` with the unmatched names, or ``BAD_MOTION`` for a skeleton
            without size.
    """
    match = match_joints(bvh.names, bvh.parents, source)
    turns, places = bvh.world()
    top = next(places[:, match[k]] for k in ("head", "neck", "left_shoulder") if k in match)
    hips = (places[:, match["left_hip"]] + places[:, match["right_hip"]]) / 2
    world = upright(unit(top - hips).mean(0))
    source_motion = _Source(match, bvh, bvh.rest(), world @ turns)
    fix = _alignments(source_motion, source)
    ours = np.empty((len(turns), len(JOINTS), 3, 3))
    local = np.empty_like(ours)
    for j, name in enumerate(JOINTS):
        parent = PARENTS[j]
        if name in fix:
            ours[:, j] = source_motion.turns[:, match[name]] @ fix[name]
        else:
            ours[:, j] = np.eye(3) if parent < 0 else ours[:, parent]
        local[:, j] = ours[:, j] if parent < 0 else np.swapaxes(ours[:, parent], -1, -2) @ ours[:, j]
    scale = _leg(REST, INDEX) / _their_leg(source_motion, source)
    middle = (REST[INDEX["left_hip"]] + REST[INDEX["right_hip"]]) / 2
    shift = scale * hips @ world.T - ours[:, 0] @ middle
    clip = MotionClip.of(
        bvh.fps, poses=axis_angles(local), translation=shift, source=f"{source} ({len(match)} joints of BVH)"
    )
    return clip.grounded()


def _leg(places: F64, index: dict[str, int]) -> float:
    return float(
        np.mean(
            [
                np.linalg.norm(places[index[f"{s}_{b}"]] - places[index[f"{s}_{a}"]])
                for s in SIDES
                for a, b in (("hip", "knee"), ("knee", "ankle"))
            ]
        )
    )


def _their_leg(source: _Source, name: str) -> float:
    index = dict(source.match)
    for side in SIDES:
        # Without an ankle the shin counts as long as the thigh.
        index.setdefault(f"{side}_ankle", index[f"{side}_hip"])
    length = _leg(source.rest, index)
    if not length > 1e-6:
        raise bad_motion(name, "its legs have no length, so its size is unknown")
    return length


def _alignments(source: _Source, name: str) -> dict[str, F64]:
    """The turn C (3,3) of every matched joint."""
    body = _body_frame(source)
    if body is not None:
        return _from_rest_pose(source, body)
    return _from_motion(source, name)


def _body_frame(source: _Source) -> F64 | None:
    """Axes (3,3: left, up, front in columns) of a rest pose that looks like a person; None if it does not."""
    left = source.between("left_hip", "right_hip")
    shoulders = source.between("left_shoulder", "right_shoulder")
    up = next(
        (d for d in (source.between(k, "pelvis") for k in ("neck", "head", "spine3")) if d is not None), None
    )
    left = left if left is not None else shoulders
    if left is None or up is None or abs(unit(left) @ unit(up)) > 0.5:
        return None
    if shoulders is not None and unit(left) @ unit(shoulders) < 0.7:
        return None
    axes = frame(left, up)
    # Rigs stand along the axes of their file; a slightly leaning spine is build, not posture.
    nearest = _quarter_turn(axes)
    if nearest is not None and np.trace(nearest.T @ axes) > 1 + 2 * np.cos(np.radians(25)):
        axes = nearest
    chain = [d for d in (source.direction(k) for k in ("spine1", "spine2", "spine3")) if d is not None]
    if any(d @ axes[:, 1] < 0.5 for d in chain):
        return None
    for s, side in ((1, "left"), (-1, "right")):
        thigh, arm = source.direction(f"{side}_hip"), source.direction(f"{side}_shoulder")
        if thigh is None or arm is None or thigh @ axes[:, 1] > -0.6:
            return None
        out, ahead = s * (arm @ axes[:, 0]), abs(arm @ axes[:, 2])
        if out < -0.3 or ahead > 0.75:
            return None
    return axes


def _bone(name: str) -> F64:
    """Rest direction (3,) of our own bone that starts at a joint; fingertips go on as before."""
    after = NEXT.get(name)
    if after:
        return unit(REST[INDEX[after[0]]] - REST[INDEX[name]])
    j = INDEX[name]
    return np.array([0.0, 1.0, 0.0]) if name in TORSO else unit(REST[j] - REST[PARENTS[j]])


def _from_rest_pose(source: _Source, body: F64) -> dict[str, F64]:
    fix: dict[str, F64] = {}
    for j, name in enumerate(JOINTS):
        if name not in source.match:
            continue
        if name in TORSO or name.endswith(("collar", "eye_smplhf")):
            fix[name] = body
            continue
        above = _resolved(fix, j, body)
        theirs = source.direction(name)
        if name.endswith("ankle") and theirs is not None and theirs @ body @ _bone(name) > FLAT_FOOT:
            fix[name] = body
        elif (
            theirs is None
            or name not in NEXT
            or _is_odd_end(source, name, float(theirs @ above @ _bone(name)))
        ):
            fix[name] = above
        else:
            fix[name] = shortest(above @ _bone(name), theirs) @ above
            hinge = _hinge(source, name) if name.endswith("shoulder") else None
            if hinge is not None and abs(theirs @ body[:, 0]) < SPREAD_ARM:
                # From a hanging arm the way up to our T-pose is long: the elbow knows its roll better.
                fix[name] = frame(theirs, hinge[0]) @ frame(_bone(name), hinge[1]).T
    return fix


def _is_odd_end(source: _Source, name: str, agreement: float) -> bool:
    return agreement < BENT_END and not any(after in source.match for after in NEXT[name])


def _resolved(fix: dict[str, F64], j: int, otherwise: F64) -> F64:
    """The turn of the nearest ancestor that has one."""
    while PARENTS[j] >= 0:
        j = PARENTS[j]
        if JOINTS[j] in fix:
            return fix[JOINTS[j]]
    return otherwise


def _from_motion(source: _Source, name: str) -> dict[str, F64]:
    left = source.between("left_hip", "right_hip")
    girdle = source.between("left_collar", "right_collar")
    if girdle is None:
        girdle = source.between("left_shoulder", "right_shoulder")
    up = next(
        (d for d in (source.between(k, "pelvis") for k in ("spine1", "spine2", "neck")) if d is not None),
        None,
    )
    if left is None or girdle is None or up is None:
        raise bad_motion(name, "its rest pose has neither a person's shape nor distinct hips and shoulders")
    fix = {"pelvis": frame(left, up)}
    for j, joint in enumerate(JOINTS):
        if joint not in source.match or joint == "pelvis":
            continue
        theirs, ours = source.direction(joint), _bone(joint)
        above = _resolved(fix, j, fix["pelvis"])
        if theirs is None:
            fix[joint] = above
            continue
        if joint in ("spine1", "spine2", "spine3"):
            # The bones of our own spine lean; the body's axes do not.
            fix[joint] = frame(theirs, girdle) @ frame(np.array([0.0, 1, 0]), np.array([1.0, 0, 0])).T
            continue
        if joint in TORSO:
            ours = np.array([0.0, 1.0, 0.0])
        if joint == "head":
            fix[joint] = _mean_turn(source, fix, j, joint)
            continue
        base = shortest(ours, theirs)
        hinge = _hinge(source, joint)
        if hinge is not None:
            fix[joint] = frame(theirs, hinge[0]) @ frame(ours, hinge[1]).T
        else:
            fix[joint] = base @ turn(ours, -_mean_twist(source, fix, j, joint, base, ours))
    return fix


def _hinge(source: _Source, joint: str) -> tuple[F64, F64] | None:
    """(their, our) axis about which the elbow or knee below a joint bends, in the joint's own axes."""
    side, _, part = joint.partition("_")
    if part not in ("shoulder", "hip"):
        return None
    below = f"{side}_{'elbow' if part == 'shoulder' else 'knee'}"
    a, b = source.direction(joint), source.direction(below)
    if a is None or b is None:
        return None
    upper, lower = source.turns[:, source.match[joint]], source.turns[:, source.match[below]]
    bends = np.einsum("tji,tj->ti", upper, np.cross(upper @ a, lower @ b))
    total = np.linalg.norm(bends, axis=1)
    mean = bends.mean(0)
    if total.mean() < HINGE_BEND or np.linalg.norm(mean) < HINGE_SHARE * total.mean():
        return None
    # Elbows fold forwards, knees backwards.
    ours = np.array([1.0, 0, 0]) if part == "hip" else np.array([0, -1.0 if side == "left" else 1.0, 0])
    return unit(mean), ours


def _above(source: _Source, fix: dict[str, F64], j: int) -> F64:
    """World rotations (T,3,3), as our joint, of the nearest joint above joint j."""
    above = PARENTS[j]
    while JOINTS[above] not in fix:
        above = PARENTS[above]
    return source.turns[:, source.match[JOINTS[above]]] @ fix[JOINTS[above]]


def _mean_turn(source: _Source, fix: dict[str, F64], j: int, joint: str) -> F64:
    """C of a joint without a bone after it: on average it continues the joint above.

    End sites of heads are placed carelessly. Near a turn by quarters that turn is taken, so that a head that
    looks down all the time goes on doing so.
    """
    mean = (np.swapaxes(source.turns[:, source.match[joint]], -1, -2) @ _above(source, fix, j)).mean(0)
    u, _, vt = np.linalg.svd(mean)
    c = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    quarter = _quarter_turn(c)
    return c if quarter is None or np.trace(quarter.T @ c) < 1 + 2 * np.cos(np.radians(35)) else quarter


def _quarter_turn(axes: F64) -> F64 | None:
    """The turn by quarters whose columns are the coordinate axes nearest to these; None if two coincide."""
    rows = np.argmax(np.abs(axes), 0)
    out = np.zeros((3, 3))
    out[rows, range(3)] = np.sign(axes[rows, range(3)])
    return out if abs(np.linalg.det(out)) > 0.5 else None


def _mean_twist(source: _Source, fix: dict[str, F64], j: int, joint: str, base: F64, axis: F64) -> float:
    """Mean roll in radians of a joint about its bone against the nearest joint above it."""
    over = _above(source, fix, j)
    q = quaternions(np.swapaxes(over, -1, -2) @ source.turns[:, source.match[joint]] @ base)
    along = q[:, 1:] @ axis
    # Twist of the swing-twist split; near half a turn of swing it means nothing, and its weight goes to 0.
    doubled = np.stack([q[:, 0] ** 2 - along**2, 2 * q[:, 0] * along])
    cosine, sine = doubled.sum(1)
    return float(np.arctan2(sine, cosine))
