"""Faces over time: speech-like lips, moods, blinks, and eyes that jump and rest.

In: a random generator, a frame count, a rate. Out: ARKit weights (T,52) and gaze (T,2,2), smooth except for
what is fast in life (blinks close in 60 ms, eyes jump in 40 ms). No audio is involved: visemes come at the
rhythm of speech, with pauses.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from lca_core.body.names import ARKIT_INDEX, ARKIT_NAMES, NUM_ARKIT

Weights = dict[str, float]

VISEMES: dict[str, Weights] = {
    "rest": {},
    "aa": {"jawOpen": 0.55, "mouthLowerDown": 0.35, "mouthUpperUp": 0.15},
    "eh": {"jawOpen": 0.3, "mouthStretch": 0.3, "mouthLowerDown": 0.3, "mouthUpperUp": 0.2},
    "ee": {"jawOpen": 0.14, "mouthStretch": 0.45, "mouthSmile": 0.25, "mouthLowerDown": 0.3},
    "oh": {"jawOpen": 0.38, "mouthFunnel": 0.6, "mouthPucker": 0.2},
    "oo": {"jawOpen": 0.15, "mouthPucker": 0.75, "mouthFunnel": 0.3},
    "mbp": {"mouthClose": 0.06, "mouthPress": 0.5, "mouthRollLower": 0.3, "mouthRollUpper": 0.3},
    "fv": {"jawOpen": 0.1, "mouthRollLower": 0.55, "mouthUpperUp": 0.3},
    "th": {"jawOpen": 0.2, "tongueOut": 0.2, "mouthLowerDown": 0.2},
    "sz": {"jawOpen": 0.06, "mouthStretch": 0.3, "mouthShrugUpper": 0.15, "jawForward": 0.15},
    "ch": {"jawOpen": 0.14, "mouthFunnel": 0.5, "mouthShrugLower": 0.2, "mouthShrugUpper": 0.3},
}  # fmt: skip
MOODS: tuple[Weights, ...] = (
    {}, {}, {"mouthSmile": 0.6, "cheekSquint": 0.4, "eyeSquint": 0.15, "mouthDimple": 0.2},
    {"mouthSmile": 0.95, "cheekSquint": 0.7, "eyeSquint": 0.35, "jawOpen": 0.15, "mouthUpperUp": 0.3},
    {"mouthFrown": 0.6, "browInnerUp": 0.5, "mouthShrugLower": 0.3},
    {"browDown": 0.7, "noseSneer": 0.4, "mouthPress": 0.3, "eyeSquint": 0.3},
    {"browInnerUp": 0.7, "browOuterUp": 0.7, "eyeWide": 0.6, "jawOpen": 0.2},
    {"noseSneer": 0.7, "mouthUpperUp": 0.4, "browDown": 0.4}, {"cheekPuff": 0.8, "mouthPucker": 0.3},
    {"mouthLeft": 0.5, "mouthSmileLeft": 0.4}, {"mouthRight": 0.5, "mouthSmileRight": 0.4},
)  # fmt: skip
BLINK_CLOSE_S, BLINK_OPEN_S = 0.06, 0.14
MAX_LOOK = (0.42, 0.28)
"""Largest yaw and pitch of the eyes in radians."""


def weights_of(values: Weights, scale: float = 1.0) -> NDArray[np.float64]:
    """ARKit weights (52,) of names; a name without side stands for both."""
    out = np.zeros(NUM_ARKIT)
    for name, value in values.items():
        for full in (name,) if name in ARKIT_INDEX else (f"{name}Left", f"{name}Right"):
            out[ARKIT_INDEX[full]] = value * scale
    return out


def follow_gaze(weights: NDArray, gaze: NDArray) -> NDArray[np.float64]:
    """Weights (T,52) with the eight eyeLook values that belong to gaze (T,2,2): lids ride on the eyeballs."""
    out = np.array(weights, np.float64)
    for eye, (side, inward) in enumerate((("Left", -1.0), ("Right", 1.0))):
        yaw, pitch = inward * gaze[:, eye, 0], gaze[:, eye, 1]
        for name, value in (
            ("In", yaw / 0.55), ("Out", -yaw / 0.55), ("Down", pitch / 0.5), ("Up", -pitch / 0.45)
        ):  # fmt: skip
            out[:, ARKIT_INDEX[f"eyeLook{name}{side}"]] = np.clip(value, 0, 1)
    return out


def speech(rng: np.random.Generator, frames: int, fps: float) -> NDArray[np.float64]:
    """Lips and jaw (T,52) of somebody talking in phrases: five or so visemes a second, pauses between."""
    fine = 120.0
    count = int(np.ceil(frames / fps * fine)) + 1
    out = np.zeros((count, NUM_ARKIT))
    names = [n for n in VISEMES if n != "rest"]
    t = int(rng.uniform(0, 0.6) * fine)
    loud = rng.uniform(0.6, 1.15)
    while t < count:
        end = t + int(rng.uniform(0.6, 2.8) * fine)
        while t < min(end, count):
            length = max(int(rng.uniform(0.08, 0.24) * fine), 4)
            viseme = VISEMES[names[rng.integers(len(names))]]
            out[t : t + length] = weights_of(viseme, loud * rng.uniform(0.7, 1.15))
            t += length
        t += int(rng.uniform(0.15, 1.2) * fine)
    # Neighbouring sounds shape each other: about 45 ms of blur, as lips cannot jump.
    out = gaussian_filter1d(out, 0.045 * fine, axis=0, mode="nearest")
    at = np.arange(frames) / fps * fine
    low = np.minimum(at.astype(int), count - 2)
    share = (at - low)[:, None]
    return np.clip(out[low] * (1 - share) + out[low + 1] * share, 0, 1)


def moods(rng: np.random.Generator, frames: int, fps: float) -> NDArray[np.float64]:
    """Slow expressions (T,52) that come and go, one side stronger, and short single actions of all 52."""
    out = np.zeros((frames, NUM_ARKIT))
    t = 0.0
    while t < frames / fps:
        length = rng.uniform(1.0, 4.0)
        target = weights_of(MOODS[rng.integers(len(MOODS))], rng.uniform(0.4, 1.0))
        lean = rng.normal(0, 0.12)
        target *= [1 + lean * (n.endswith("Left") - n.endswith("Right")) for n in ARKIT_NAMES]
        out[int(t * fps) : int((t + length) * fps)] = target
        t += length + rng.uniform(0, 0.8)
    out = gaussian_filter1d(out, 0.22 * fps, axis=0, mode="nearest")
    time = np.arange(frames) / fps
    for _ in range(rng.poisson(frames / fps / 1.5)):
        action, middle, width = rng.integers(NUM_ARKIT), rng.uniform(0, frames / fps), rng.uniform(0.12, 0.5)
        bump = rng.uniform(0.3, 1.0) * np.exp(-(((time - middle) / width) ** 2))
        out[:, action] = np.maximum(out[:, action], bump)
    return np.clip(out, 0, 1)


def blinks(rng: np.random.Generator, frames: int, fps: float) -> NDArray[np.float64]:
    """Lid closure (T,) 0-1: every few seconds, closing fast, opening slower, now and then twice."""
    time, out = np.arange(frames) / fps, np.zeros(frames)
    t = rng.uniform(0.2, 2.5)
    while t < frames / fps + 0.3:
        rise = np.clip((time - (t - BLINK_CLOSE_S)) / BLINK_CLOSE_S, 0, 1)
        fall = np.clip(1 - (time - t - 0.03) / BLINK_OPEN_S, 0, 1)
        out = np.maximum(out, np.minimum(rise, fall))
        t += rng.uniform(0.25, 0.4) if rng.random() < 0.12 else rng.uniform(1.2, 5.0)
    return out


def eyes(rng: np.random.Generator, frames: int, fps: float) -> NDArray[np.float64]:
    """Gaze (T,2,2): fixations of 0.3-2 s, jumps within 40 ms, slight convergence."""
    out = np.zeros((frames, 2, 2))
    t, place = 0.0, np.zeros(2)
    while t < frames / fps:
        length = rng.uniform(0.3, 2.0)
        place = rng.normal(0, 1, 2) * np.array([0.17, 0.09]) if rng.random() < 0.8 else np.zeros(2)
        vergence = np.array([max(rng.normal(0.01, 0.015), 0.0), 0.0])
        one = np.clip(place, [-MAX_LOOK[0], -MAX_LOOK[1]], MAX_LOOK)
        # A near point turns the left eye to the right and the right eye to the left.
        out[int(t * fps) : int((t + length) * fps)] = np.stack([one - vergence, one + vergence])
        t += length
    return gaussian_filter1d(out, 0.02 * fps, axis=0, mode="nearest")


def face(
    rng: np.random.Generator, frames: int, fps: float, *, talking: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A whole face: weights (T,52) and gaze (T,2,2)."""
    gaze = eyes(rng, frames, fps)
    weights = moods(rng, frames, fps)
    if talking:
        said = speech(rng, frames, fps)
        mouth = np.array([n.startswith(("mouth", "jaw", "tongue", "cheekPuff")) for n in ARKIT_NAMES])
        busy = np.clip(said.sum(1) * 2, 0, 1)[:, None]
        weights = np.where(mouth, weights * (1 - 0.7 * busy), weights)
        weights = np.clip(weights + said, 0, 1)
    lids = blinks(rng, frames, fps)
    for side in ("Left", "Right"):
        row = ARKIT_INDEX[f"eyeBlink{side}"]
        weights[:, row] = np.maximum(weights[:, row], lids)
        weights[:, ARKIT_INDEX[f"eyeWide{side}"]] *= 1 - lids
    return follow_gaze(weights, gaze).astype(np.float32), gaze.astype(np.float32)
