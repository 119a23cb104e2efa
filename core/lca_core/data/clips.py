"""Body motions for training clips: walks, turns, waves, talk, exercise, and splines between poses.

In: a random generator, a frame count, a rate, a kind of ``KINDS``. Out: a :class:`~lca.motion.MotionClip`
whose standing foot stays where it stands. Angles never jump and never are independent noise per joint; hands
and faces run at their own pace.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from lca.motion import MotionClip
from lca.motion.rotation import axis_angles, from_quaternions, matrices, quaternions, turn
from lca.motion.skeleton import FLOOR_Y, INDEX, SOLE_M, forward
from lca_core.body.names import JOINT_INDEX, NUM_JOINTS
from lca_core.data.face_tracks import face
from lca_core.data.motion import HANDS, STANCES, Arm, named_hand, set_arm, set_leg, stance

SIDES = ("left", "right")
_HANDS = slice(25, NUM_JOINTS)
_FEET = [INDEX[n] for n in ("left_ankle", "right_ankle", "left_foot", "right_foot")]


def spline(keys: NDArray, times: NDArray, at: NDArray) -> NDArray[np.float64]:
    """Smooth rotations through keys: axis-angle (K,J,3) at ``times`` (K,) evaluated at ``at`` (N,): (N,J,3).

    Cubic Hermite curves with finite-difference slopes over sign-aligned quaternions, normalised; the ends are
    held.
    """
    q = quaternions(matrices(keys))
    flips = np.cumprod(np.where((q[1:] * q[:-1]).sum(-1) < 0, -1.0, 1.0), 0)
    q[1:] *= flips[..., None]
    slope = np.zeros_like(q)
    if len(q) > 2:
        slope[1:-1] = (q[2:] - q[:-2]) / (times[2:] - times[:-2])[:, None, None]
    i = np.clip(np.searchsorted(times, at, "right") - 1, 0, max(len(times) - 2, 0))
    j = np.minimum(i + 1, len(times) - 1)
    span = np.maximum(times[j] - times[i], 1e-9)
    u = np.clip((at - times[i]) / span, 0, 1)[:, None, None]
    h = span[:, None, None]
    value = (
        (2 * u**3 - 3 * u**2 + 1) * q[i] + (u**3 - 2 * u**2 + u) * h * slope[i]
        + (3 * u**2 - 2 * u**3) * q[j] + (u**3 - u**2) * h * slope[j]
    )  # fmt: skip
    return from_quaternions(value)


def _key_times(rng: np.random.Generator, seconds: float, low: float, high: float) -> NDArray[np.float64]:
    times = [0.0]
    while times[-1] < seconds:
        times.append(times[-1] + rng.uniform(low, high))
    return np.array(times)


def hands(rng: np.random.Generator, frames: int, fps: float) -> NDArray[np.float64]:
    """Finger rotations (T,55,3), everything else zero: each hand moves between hand shapes on its own."""
    out = np.zeros((frames, NUM_JOINTS, 3))
    at = np.arange(frames) / fps
    for side in SIDES:
        times = _key_times(rng, frames / fps, 0.35, 1.8)
        keys = np.zeros((len(times), NUM_JOINTS, 3))
        shape = "relaxed"
        for key in keys:
            if rng.random() < 0.6:
                shape = str(rng.choice(HANDS, p=[0.08, 0.22, 0.12, 0.12, 0.12, 0.1, 0.24]))
            named_hand(key, side, shape, rng)
        rows = [JOINT_INDEX[n] for n in JOINT_INDEX if n.startswith(side) and JOINT_INDEX[n] >= 25]
        out[:, rows] = spline(keys[:, rows], times, at)
    return out


def _sway(rng: np.random.Generator, frames: int, fps: float) -> NDArray[np.float64]:
    """Breathing, weight shifts and head movement (T,55,3), band-limited below 1 Hz."""
    out = np.zeros((frames, NUM_JOINTS, 3))
    for name, size in (
        ("spine1", 0.02), ("spine2", 0.03), ("spine3", 0.03), ("neck", 0.05), ("head", 0.09),
        ("left_collar", 0.02), ("right_collar", 0.02),
    ):  # fmt: skip
        raw = gaussian_filter1d(rng.standard_normal((frames + 200, 3)), 0.35 * fps, axis=0)[100:-100]
        out[:, JOINT_INDEX[name]] = size * raw / max(float(raw.std()), 1e-9)
    return out


def _poses(rng: np.random.Generator, frames: int, fps: float) -> NDArray[np.float64]:
    times = _key_times(rng, frames / fps, 0.7, 2.0)
    # Standing poses between the wide ones, as people return to them.
    names = [str(rng.choice(["stand", "gesture"] if k % 3 == 0 else STANCES)) for k in range(len(times))]
    keys = np.stack([stance(name, rng) for name in names])
    return spline(keys, times, np.arange(frames) / fps)


def _walk(rng: np.random.Generator, frames: int, fps: float) -> NDArray[np.float64]:
    out = np.zeros((frames, NUM_JOINTS, 3))
    rate, stride, swing = rng.uniform(0.7, 1.15), rng.uniform(0.3, 0.5), rng.uniform(0.6, 1.2)
    lean, bend = rng.uniform(0, 0.08), rng.uniform(0.15, 0.6)
    phase0 = rng.uniform(0, 2 * np.pi)
    for t in range(frames):
        phase = phase0 + 2 * np.pi * rate * t / fps
        for k, side in enumerate(SIDES):
            p = phase + k * np.pi
            # The knee folds while the leg swings forward, and gives a little under the weight.
            knee = (
                0.08
                + 1.05 * stride * 2 * max(np.sin(p + np.pi - 0.35), 0.0) ** 2
                + 0.12 * max(np.cos(p), 0.0) ** 2
            )
            hip = 0.08 + stride * np.cos(p) + 0.25 * stride * max(-np.sin(p), 0.0)
            set_leg(
                out[t], side, hip=hip, out=0.02, knee=knee, foot=0.12 * np.cos(p) - 0.15 * max(np.sin(p), 0)
            )
            set_arm(
                out[t],
                side,
                Arm(down=1.2, swing=-swing * stride * np.cos(p), bend=bend + 0.15 * np.cos(p + 3)),
            )
        out[t, JOINT_INDEX["pelvis"]] = (lean, 0.1 * np.sin(phase), 0.03 * np.cos(phase))
        out[t, JOINT_INDEX["spine3"]] = (0, -0.16 * np.sin(phase), 0)
    return out


def _turn(rng: np.random.Generator, frames: int, fps: float) -> NDArray[np.float64]:
    out = _stand(rng, frames, fps)
    whole = float(rng.choice([-1, 1])) * rng.choice([np.pi, 2 * np.pi], p=[0.3, 0.7])
    u = np.arange(frames) / max(frames - 1, 1)
    angle = whole * u * u * u * (u * (6 * u - 15) + 10)
    step = np.abs(np.gradient(angle)) * fps
    for t in range(frames):
        for k, side in enumerate(SIDES):
            lift = 0.22 * min(step[t], 1.0) * max(0.0, np.sin(2 * np.pi * 1.3 * t / fps + k * np.pi))
            set_leg(out[t], side, hip=lift, out=0.03, knee=2 * lift, foot=-0.2 * lift)
    out[:, 0] = axis_angles(np.stack([turn(np.array([0.0, 1, 0]), a) for a in angle]))
    return out


def _stand(rng: np.random.Generator, frames: int, fps: float) -> NDArray[np.float64]:
    times = _key_times(rng, frames / fps, 1.2, 3.0)
    keys = np.stack([stance("stand", rng) for _ in times])
    return spline(keys, times, np.arange(frames) / fps)


def _wave(rng: np.random.Generator, frames: int, fps: float) -> NDArray[np.float64]:
    out = _stand(rng, frames, fps)
    time = np.arange(frames) / fps
    sides = ["left", "right"] if rng.random() < 0.25 else [str(rng.choice(SIDES))]
    start, rate, size = rng.uniform(0.2, 0.8), rng.uniform(1.2, 2.4), rng.uniform(0.15, 0.4)
    up = np.clip((time - start) / 0.7, 0, 1) * np.clip((frames / fps - 0.2 - time) / 0.7, 0, 1)
    up = up * up * (3 - 2 * up)
    raised, bend = rng.uniform(-0.9, 0.2), rng.uniform(0.6, 1.6)
    for t in range(frames):
        for side in sides:
            move = size * up[t] * np.sin(2 * np.pi * rate * time[t])
            down = 1.2 * (1 - up[t]) + raised * up[t]
            twist = -1.2 * up[t] * (raised > -0.3)
            bent = 0.2 + bend * up[t] + move
            set_arm(out[t], side, Arm(down, twist=twist, bend=bent, turn=0.3 * up[t], flex=move * 0.6))
    return out


def _gestures(rng: np.random.Generator, frames: int, fps: float) -> NDArray[np.float64]:
    times = _key_times(rng, frames / fps, 0.4, 1.2)
    keys = np.stack([stance("gesture" if rng.random() < 0.75 else "stand", rng) for _ in times])
    legs = [JOINT_INDEX[f"{s}_{j}"] for s in SIDES for j in ("hip", "knee", "ankle")]
    keys[:, legs] = gaussian_filter1d(keys[:, legs], 1.5, axis=0)
    return spline(keys, times, np.arange(frames) / fps)


def _exercise(rng: np.random.Generator, frames: int, fps: float) -> NDArray[np.float64]:
    out = np.zeros((frames, NUM_JOINTS, 3))
    rate, kind = rng.uniform(0.4, 0.8), rng.integers(3)
    deep, high, spread = rng.uniform(0.5, 1.2), rng.uniform(-1.1, 0.3), rng.uniform(0.1, 0.35)
    for t in range(frames):
        u = 0.5 - 0.5 * np.cos(2 * np.pi * rate * t / fps)
        for k, side in enumerate(SIDES):
            if kind == 0:  # squat
                set_leg(out[t], side, hip=deep * u, out=0.12, knee=1.15 * deep * u, foot=0.4 * deep * u)
                set_arm(out[t], side, Arm(down=1.2 - 0.2 * u, swing=1.3 * u, bend=0.15))
            elif kind == 1:  # jumping jack
                set_leg(out[t], side, out=0.04 + spread * u, knee=0.08 + 0.1 * (1 - abs(2 * u - 1)))
                set_arm(out[t], side, Arm(down=1.2 + (high - 1.2) * u, bend=0.15 + 0.2 * u))
            else:  # march
                v = max(np.sin(2 * np.pi * rate * t / fps + k * np.pi), 0.0)
                set_leg(out[t], side, hip=1.2 * deep * v, out=0.03, knee=1.3 * deep * v)
                set_arm(out[t], side, Arm(down=1.15, swing=0.7 * (1 - 2 * v), bend=0.7))
        if kind == 0:
            out[t, 0, 0] = 0.3 * deep * u
    return out


MAKERS: dict[str, Callable[[np.random.Generator, int, float], NDArray[np.float64]]] = {
    "poses": _poses, "walk": _walk, "turn": _turn, "wave": _wave, "talk": _gestures, "exercise": _exercise,
    "stand": _stand,
}  # fmt: skip
KINDS = tuple(MAKERS)
_SHARES = (0.24, 0.2, 0.16, 0.1, 0.18, 0.08, 0.04)


def plant_feet(poses: NDArray, steer: NDArray | None = None, *, stay: bool = False) -> NDArray[np.float64]:
    """Root translation (T,3) with which the lower foot rests on the ground and does not slide.

    Args:
        poses: (T,55,3). steer: (T,) heading in radians already contained in the poses, unused otherwise.
        stay: on the spot (as on a treadmill): only the height follows the feet.
    """
    joints = forward(matrices(poses), np.zeros((len(poses), 3)))[:, _FEET]
    height = joints[..., 1] - np.array([0.05, 0.05, 0, 0])
    out = np.zeros((len(poses), 3))
    out[:, 1] = FLOOR_Y + SOLE_M - height.min(1)
    if stay or len(poses) < 2:
        return out
    # Weights instead of a hard choice, so that the change of foot is smooth.
    weight = np.exp(-(height - height.min(1, keepdims=True)) / 0.01)
    weight = weight[1:] + weight[:-1]
    step = np.diff(joints[..., [0, 2]], axis=0)
    slide = (weight[..., None] * step).sum(1) / weight.sum(1)[:, None]
    out[1:, [0, 2]] = -np.cumsum(slide, 0)
    return out


def make_clip(
    rng: np.random.Generator, frames: int, fps: float = 30.0, kind: str | None = None
) -> MotionClip:
    """A motion of ``frames`` frames: body of one of ``KINDS`` (drawn when None), hands, face and eyes.

    Walks go in a circle of about a metre, or on the spot; the clip starts at a random heading of up to 40
    degrees.
    """
    kind = kind or str(rng.choice(KINDS, p=_SHARES))
    body_rng, hand_rng, face_rng, sway_rng = rng.spawn(4)
    poses = MAKERS[kind](body_rng, frames, fps)
    poses = poses + _sway(sway_rng, frames, fps)
    poses[:, _HANDS] = hands(hand_rng, frames, fps)[:, _HANDS]
    heading = np.full(frames, np.clip(body_rng.normal(0, 0.3), -0.7, 0.7))
    spot = kind == "walk" and body_rng.random() < 0.4
    if kind == "walk" and not spot:
        heading = heading + np.arange(frames) / fps * body_rng.choice([-1, 1]) * body_rng.uniform(0.6, 1.2)
    vertical = np.zeros((frames, 3))
    vertical[:, 1] = heading
    poses[:, 0] = axis_angles(matrices(vertical) @ matrices(poses[:, 0]))
    weights, gaze = face(face_rng, frames, fps, talking=kind == "talk" or body_rng.random() < 0.35)
    place = plant_feet(poses, stay=spot or kind in ("exercise", "turn"))
    place[:, 1] = gaussian_filter1d(place[:, 1], 0.03 * fps, mode="nearest")
    return MotionClip.of(
        fps, poses=poses, translation=place, arkit=weights, gaze=gaze, source=f"synthetic {kind}"
    )
