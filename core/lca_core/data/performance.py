"""Smooth motions for clips: hands open, close and point, the face talks and blinks, the body turns all the
way round.

In: frame count, rate and a seed. Out: one :class:`~lca_core.data.motion.Pose` per frame, continuous in time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lca_core.body.names import ARKIT_INDEX, JOINT_INDEX, JOINT_NAMES
from lca_core.data.motion import FINGERS, Arm, Pose, lids_follow_gaze, set_arm, set_hand, set_leg

# Seconds, then down, swing, twist, bend, turn, flex of the arms (radians, left and right alike).
_ARM_KEYS = np.array(
    [
        [0.0, 1.08, 0.00, 0.0, 0.15, 0.0, 0.0],
        [0.5, 1.08, 0.00, 0.0, 0.18, 0.0, 0.0],
        [1.1, 0.98, 0.25, -0.5, 1.75, -0.5, -0.1],
        [2.3, 0.98, 0.25, -0.5, 1.65, -0.5, 0.0],
        [2.9, 1.02, 0.00, 0.0, 0.20, 0.0, 0.0],
        [6.0, 1.02, 0.00, 0.0, 0.20, 0.0, 0.0],
        [6.6, 1.08, 0.10, 0.0, 0.45, 0.0, 0.0],
    ]
)
# Seconds, then curl of index, of the other fingers, thumb, spread.
_HAND_KEYS = np.array(
    [
        [0.0, 0.16, 0.24, 0.25, 0.02],
        [0.9, 0.10, 0.15, 0.15, 0.03],
        [1.2, 0.00, 0.00, -0.1, 0.14],
        [1.4, 0.00, 0.00, -0.1, 0.14],
        [1.65, 1.0, 1.00, 1.0, 0.0],
        [1.85, 1.0, 1.00, 1.0, 0.0],
        [2.1, 0.03, 1.00, 0.9, 0.0],
        [2.35, 0.03, 1.00, 0.9, 0.0],
        [2.8, 0.18, 0.26, 0.25, 0.02],
        [6.6, 0.16, 0.24, 0.25, 0.02],
    ]
)
_TURN_START, _TURN_END = 2.9, 6.0
_BLINKS = (0.75, 2.45, 6.25)


def _keyed(table: NDArray, t: float) -> NDArray[np.float64]:
    """Columns 1: of a key table at time ``t``, eased between keys."""
    i = int(np.clip(np.searchsorted(table[:, 0], t, "right") - 1, 0, len(table) - 2))
    u = np.clip((t - table[i, 0]) / (table[i + 1, 0] - table[i, 0]), 0.0, 1.0)
    u = u * u * (3 - 2 * u)
    return table[i, 1:] * (1 - u) + table[i + 1, 1:] * u


def _face(t: float, turning: float, phase: NDArray) -> NDArray[np.float32]:
    """ARKit weights (52,) of somebody who talks, smiles now and then, and blinks."""
    w = np.zeros(len(ARKIT_INDEX), np.float32)

    def put(name: str, value: float) -> None:
        names = [name] if name in ARKIT_INDEX else [f"{name}Left", f"{name}Right"]
        for n in names:
            w[ARKIT_INDEX[n]] = np.clip(value, 0.0, 1.0)

    speaking = float(np.clip((t - 0.3) / 0.3, 0, 1) * np.clip((2.9 - t) / 0.3, 0, 1))
    syllable = 0.5 - 0.5 * np.cos(2 * np.pi * 3.6 * t + phase[0])
    stress = 0.55 + 0.45 * np.sin(2 * np.pi * 0.9 * t + phase[1])
    opening = speaking * syllable * stress
    put("jawOpen", 0.05 * speaking + 0.5 * opening)
    put("mouthLowerDown", 0.35 * opening)
    put("mouthUpperUp", 0.2 * opening)
    put("mouthFunnel", speaking * max(0.0, np.sin(2 * np.pi * 1.3 * t + phase[2])) * 0.45 * syllable)
    put("mouthStretch", speaking * max(0.0, -np.sin(2 * np.pi * 1.3 * t + phase[2])) * 0.4 * syllable)
    smile = np.exp(-(((t - 2.75) / 0.4) ** 2)) + np.clip((t - 6.0) / 0.4, 0, 1)
    put("mouthSmile", 0.15 + 0.6 * smile)
    put("cheekSquint", 0.4 * smile)
    put("browInnerUp", 0.35 * max(0.0, np.sin(2 * np.pi * 0.55 * t + phase[3])) * (1 - turning))
    put("browOuterUp", 0.25 * max(0.0, np.sin(2 * np.pi * 0.55 * t + phase[3])) * (1 - turning))
    put("eyeBlink", max(np.exp(-(((t - b) / 0.07) ** 2)) for b in _BLINKS))
    return w


def perform(frames: int, fps: float, seed: int = 0) -> list[Pose]:
    """A clip of hands, talk and a full turn; 6.6 s long, later frames hold the end.

    Args:
        frames: number of frames. fps: frames per second. seed: phases of speech and sway.
    """
    phase = np.random.default_rng(seed).uniform(0, 2 * np.pi, 8)
    out = []
    for frame in range(frames):
        t = frame / fps
        j = np.zeros((len(JOINT_NAMES), 3))
        down, swing, twist, bend, turn, flex = _keyed(_ARM_KEYS, t)
        index, rest, thumb, spread = _keyed(_HAND_KEYS, t)
        u = np.clip((t - _TURN_START) / (_TURN_END - _TURN_START), 0.0, 1.0)
        angle = 2 * np.pi * (u * u * u * (u * (6 * u - 15) + 10))
        turning = float(0 < u < 1)
        step = np.sin(np.pi * u) ** 0.5 if turning else 0.0
        for k, side in enumerate(("left", "right")):
            sway = 0.04 * np.sin(2 * np.pi * 0.5 * t + phase[4] + k)
            set_arm(j, side, Arm(down + sway * 0.5, swing + sway, twist, bend + sway, turn, flex))
            curl = dict.fromkeys(FINGERS, rest) | {"index": index}
            set_hand(j, side, curl, spread, thumb)
            # Small steps carry the turn: the feet lift in alternation.
            lift = step * 0.16 * max(0.0, np.sin(2 * np.pi * 1.4 * t + k * np.pi))
            set_leg(j, side, hip=1.0 * lift, out=0.025, knee=2.0 * lift, foot=-0.2 * lift)
        j[0] = (0.0, angle, 0.0)
        j[JOINT_INDEX["spine2"]] = (0.02, 0.03 * np.sin(2 * np.pi * 0.3 * t + phase[5]), 0.0)
        nod = 0.05 * np.sin(2 * np.pi * 0.8 * t + phase[6]) * (1 - turning)
        j[JOINT_INDEX["head"]] = (nod, 0.07 * np.sin(2 * np.pi * 0.4 * t + phase[7]) * (1 - turning), 0.0)
        look = np.array([0.08 * np.sin(2 * np.pi * 0.35 * t), 0.02])
        gaze = np.stack([look, look]).astype(np.float32)
        expression = lids_follow_gaze(_face(t, turning, phase), gaze)
        shift = np.array([0.012 * np.sin(2 * np.pi * 0.45 * t), 0.0, 0.0])
        out.append(Pose(j.astype(np.float32), shift.astype(np.float32), expression, gaze))
    return out
