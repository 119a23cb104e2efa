"""Finger sliders to joint rotations, as the rig description states them.

Curl values by finger and one spread go in, rotation vectors of the finger joints come out. Standard library
only, like the rig.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from lca_core.body.rig import RigDescription, default_rig
from lca_core.body.rig_tables import Triple

Quaternion = tuple[float, float, float, float]


def hand_rotations(
    side: str, curl: Mapping[str, float], spread: float = 0.0, rig: RigDescription | None = None
) -> dict[str, Triple]:
    """Axis-angle rotations (radians) of all finger joints of one hand; fingers not named stay straight.

    A joint curls first and is spread then, both about axes of the T-pose: R = R_spread R_curl.

    Args:
        side: ``"left"`` or ``"right"``. curl: by finger, 0 = straight, 1 = closed. spread: of the hand, +-1.
        rig: the avatar's description; that of the shipped body if omitted.
    """
    out: dict[str, Triple] = {}
    for finger in (rig or default_rig()).fingers:
        if finger.side != side:
            continue
        for number, joint in enumerate(finger.joints):
            degrees = finger.curl_degrees[number] * curl.get(finger.finger, 0.0)
            turn = _quaternion(finger.curl_axes[number], degrees)
            if number == 0:
                turn = _product(_quaternion(finger.spread_axis, finger.spread_degrees * spread), turn)
            out[joint] = _vector(turn)
    return out


def _quaternion(axis: Triple, degrees: float) -> Quaternion:
    half = 0.5 * math.radians(degrees)
    scale = math.sin(half) / math.hypot(*axis)
    return math.cos(half), scale * axis[0], scale * axis[1], scale * axis[2]


def _product(a: Quaternion, b: Quaternion) -> Quaternion:
    return (
        a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3],
        a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
        a[0] * b[2] + a[2] * b[0] + a[3] * b[1] - a[1] * b[3],
        a[0] * b[3] + a[3] * b[0] + a[1] * b[2] - a[2] * b[1],
    )


def _vector(q: Quaternion) -> Triple:
    length = math.hypot(*q[1:])
    scale = 2.0 * math.atan2(length, q[0]) / length if length > 1e-12 else 2.0
    return scale * q[1], scale * q[2], scale * q[3]
