"""Front or back: observations of a clip in, the same with contradictions between body and face settled out.

The landmark network takes people whose face is hardly lit, or hidden by hair, for their own back and the
other way round: left and right change places and depth is mirrored. A face that looks into the camera, and
neighbours in time, know better.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .pose import POSE_INDEX, POSE_NAMES, PoseResult
from .select import Observation, body_yaw

SURE_FACE = 0.6
"""Score above which a face counts as seen; the detector finds none in hair."""
FACE_LOOKS = np.radians(60.0)
NECK_TURNS = np.radians(100.0)
"""A head cannot look further round than this, seen from its shoulders."""
FLIP_COST, FACE_COST, JUMP_COST = 1.0, 4.0, 2.0
"""The network is mostly right; a face against it outweighs it, and so do sudden turns before and after."""
CALM_SPEED, WILD_SPEED = 8.0, 16.0
"""Body turns in radians per second: a fast dancer's cost nothing, twice that costs ``JUMP_COST``."""
_PARTNER = [
    POSE_INDEX[name.replace("left", "?").replace("right", "left").replace("?", "right")]
    for name in POSE_NAMES
]


def turned_round(o: Observation) -> Observation:
    """The same picture read the other way: left and right change names, near and far change places."""
    p = o.pose
    world = p.world[_PARTNER] * np.array([1.0, 1.0, -1.0], np.float32)
    pose: PoseResult = replace(
        p, points=p.points[_PARTNER], depth=-p.depth[_PARTNER], visibility=p.visibility[_PARTNER], world=world
    )
    left, right = o.hands
    return replace(o, pose=pose, hands=(right, left), yaw=body_yaw(pose), turned=not o.turned)


def settle_facing(seen: list[Observation], seconds: NDArray[np.float64] | None) -> list[Observation]:
    """Turn those frames round that contradict their face or their neighbours.

    The cheapest reading of the whole clip (Viterbi over "as read" and "turned round").

    Args:
        seen: observations in time order.
        seconds: time of each observation, or None for photos, which say nothing about each other.
    """
    if not seen:
        return []
    readings = [(o, turned_round(o)) for o in seen]
    yaws = np.array([[r.yaw for r in pair] for pair in readings])
    cost = np.array([[k * FLIP_COST + _against_face(r) for k, r in enumerate(pair)] for pair in readings])
    best, came = cost[0], np.zeros((len(seen), 2), int)
    for t in range(1, len(seen)):
        step = np.zeros((2, 2))
        if seconds is not None:
            turn = np.abs((yaws[t][None] - yaws[t - 1][:, None] + np.pi) % (2 * np.pi) - np.pi)
            speed = turn / max(float(seconds[t] - seconds[t - 1]), 1e-3)
            step = JUMP_COST * np.clip((speed - CALM_SPEED) / (WILD_SPEED - CALM_SPEED), 0.0, 1.0)
        total = best[:, None] + step
        came[t], best = total.argmin(0), total.min(0) + cost[t]
    state, out = int(best.argmin()), []
    for t in reversed(range(len(seen))):
        out.append(readings[t][state])
        state = int(came[t, state])
    return out[::-1]


def _against_face(o: Observation) -> float:
    """What it costs to read the body this way against a face that looks into the camera."""
    if o.face is None or o.face.score < SURE_FACE or abs(o.face.yaw) > FACE_LOOKS:
        return 0.0
    return FACE_COST * float(abs((o.yaw - o.face.yaw + np.pi) % (2 * np.pi) - np.pi) > NECK_TURNS)
