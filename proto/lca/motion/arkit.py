"""Face recordings: ARKit weights as JSON, and the CSV of the Live Link Face app.

In: a path. Out: a :class:`MotionClip` whose body rests; head turns go half to the neck, half to the head.
Eyes come from the eye columns, or from the eyeLook weights where there are none.
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca.errors import InvalidInputError
from lca.motion.clip import MAX_FRAMES, MotionClip, bad_motion
from lca.motion.rotation import axis_angles, matrices
from lca.motion.skeleton import ARKIT, ARKIT_INDEX, INDEX, JOINTS

LOOK_SIDE, LOOK_UP, LOOK_DOWN = 0.55, 0.45, 0.5
"""Eye turn in radians at an eyeLook weight of 1: to the side, up, down."""
LIVE_LINK_FPS = 60.0
_LOWER = {name.lower(): i for i, name in enumerate(ARKIT)}


def read_arkit_json(path: Path) -> MotionClip:
    """``{"names": [52], "frames": [{"weights": [52], "time": seconds}, ...], "head_pose": [[x,y,z], ...]}``.

    ``names`` may stand in any order; ``head_pose`` (axis-angle, radians), ``rotation`` per frame and ``fps``
    are optional.

    Raises:
        InvalidInputError: another form, or no ARKit name.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
        names = [str(n) for n in data["names"]]
        frames = data["frames"]
        if not 0 < len(frames) <= MAX_FRAMES:
            raise bad_motion(path.name, f"it has {len(frames)} frames; 1 to {MAX_FRAMES} are allowed")
        table = np.array([f["weights"] for f in frames], np.float64)
        if table.shape != (len(frames), len(names)):
            raise bad_motion(path.name, f"weights have shape {table.shape} for {len(names)} names")
        times = [f.get("time") for f in frames]
        fps = float(data["fps"]) if "fps" in data else _rate(times, 30.0)
        turns = _head_of_json(data, frames)
    except InvalidInputError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise bad_motion(
            path.name, f'it is no ARKit recording with "names" and "frames" of "weights" ({error!r})'
        ) from error
    return _clip(path.name, fps, names, table, turns, {}, times)


def read_live_link_csv(path: Path) -> MotionClip:
    """CSV of Live Link Face: ``Timecode,BlendShapeCount,EyeBlinkLeft,...,HeadYaw,...,RightEyeRoll``.

    Columns are taken by name (the app writes JawRight before JawLeft); angles are radians about the axes of
    ARKit's face anchor, which are ours. Times come from the timecodes.

    Raises:
        InvalidInputError: no header with ARKit names, or broken rows.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise bad_motion(path.name, f"it is no CSV text ({error})") from error
    if len(rows) < 2:
        raise bad_motion(path.name, "it has no frames")
    if len(rows) - 1 > MAX_FRAMES:
        raise bad_motion(path.name, f"it has {len(rows) - 1} frames; at most {MAX_FRAMES} are allowed")
    header = [cell.strip() for cell in rows[0]]
    known = [c for c, name in enumerate(header) if name.lower() in _LOWER or name.lower() in _ANGLES]
    table = np.zeros((len(rows) - 1, len(known)))
    for r, row in enumerate(rows[1:]):
        try:
            table[r] = [float(row[c]) for c in known]
        except (ValueError, IndexError) as error:
            raise bad_motion(path.name, f"line {r + 2} is broken ({error})") from error
    names = [header[c] for c in known]
    angles = {n.lower(): table[:, i] for i, n in enumerate(names) if n.lower() in _ANGLES}
    stamps = next((c for c, n in enumerate(header) if n.lower() == "timecode"), None)
    times = [] if stamps is None else _timecodes([row[stamps] for row in rows[1:]])
    turns = None
    if "headyaw" in angles:
        zero = np.zeros(len(table))
        yaw, pitch, roll = (angles.get(f"head{k}", zero) for k in ("yaw", "pitch", "roll"))
        turns = axis_angles(_about(1, yaw) @ _about(0, pitch) @ _about(2, roll))
    return _clip(path.name, _rate(times, LIVE_LINK_FPS), names, table, turns, angles, times)


_ANGLES = tuple(f"{part}{k}" for part in ("head", "lefteye", "righteye") for k in ("yaw", "pitch", "roll"))


def gaze_of(arkit: NDArray) -> NDArray[np.float64]:
    """Gaze (T,2,2) that the eyeLook weights (T,52) describe."""
    out = np.zeros((len(arkit), 2, 2))
    for eye, (side, inward) in enumerate((("Left", -1.0), ("Right", 1.0))):
        look = {k: arkit[:, ARKIT_INDEX[f"eyeLook{k}{side}"]] for k in ("In", "Out", "Up", "Down")}
        out[:, eye, 0] = LOOK_SIDE * inward * (look["In"] - look["Out"])
        out[:, eye, 1] = LOOK_DOWN * look["Down"] - LOOK_UP * look["Up"]
    return out


def _clip(
    name: str,
    fps: float,
    names: list[str],
    table: NDArray,
    turns: NDArray | None,
    angles: dict[str, NDArray],
    times: list[Any],
) -> MotionClip:
    arkit = np.zeros((len(table), len(ARKIT)))
    found = [(i, _LOWER[n.lower()]) for i, n in enumerate(names) if n.lower() in _LOWER]
    if not found:
        strange = ", ".join(names[:8])
        raise bad_motion(name, f"none of its columns is an ARKit blend shape (it has {strange or 'none'})")
    for column, row in found:
        arkit[:, row] = table[:, column]
    gaze = gaze_of(arkit)
    if {"lefteyeyaw", "lefteyepitch", "righteyeyaw", "righteyepitch"} <= set(angles):
        measured = np.stack(
            [np.stack([angles[f"{s}eyeyaw"], angles[f"{s}eyepitch"]], -1) for s in ("left", "right")], 1
        )
        # Apps disagree on signs; the eyeLook weights of the same frames tell which way is meant.
        signs = np.sign((gaze * measured).sum((0, 1)))
        gaze = measured * np.where(signs == 0, 1.0, signs)
    poses = np.zeros((len(table), len(JOINTS), 3))
    if turns is not None:
        poses[:, INDEX["neck"]] = poses[:, INDEX["head"]] = turns / 2
    clip = MotionClip.of(
        fps,
        poses=poses,
        arkit=np.clip(arkit, 0, 1),
        gaze=gaze,
        source=f"{name} (ARKit face, {len(found)} weights)",
    )
    return _even(clip, times)


def _even(clip: MotionClip, times: list[Any]) -> MotionClip:
    """Dropped frames filled: frames at uneven ``times`` (seconds) moved onto the clip's even grid."""
    if len(times) != len(clip) or any(not isinstance(t, (int, float)) for t in times):
        return clip
    t = np.asarray(times, np.float64)
    steps = np.diff(t) * clip.fps
    if len(t) < 2 or (steps <= 0).any() or not np.isfinite(t).all() or steps.max() < 1.6:
        return clip
    count = min(round((t[-1] - t[0]) * clip.fps) + 1, MAX_FRAMES)
    at = np.interp(t[0] + np.arange(count) / clip.fps, t, np.arange(len(t)))
    low = np.floor(at).astype(int)
    high, share = np.minimum(low + 1, len(t) - 1), (at - low)[:, None]

    def mixed(value: NDArray) -> NDArray:
        flat = value.reshape(len(value), -1)
        return (flat[low] * (1 - share) + flat[high] * share).reshape(count, *value.shape[1:])

    return MotionClip(
        clip.fps, mixed(clip.translation), mixed(clip.poses), mixed(clip.arkit), mixed(clip.gaze), clip.source
    )


def _head_of_json(data: dict[str, Any], frames: list[Any]) -> NDArray | None:
    for rows in (data.get("head_pose"), [f.get("rotation") for f in frames]):
        if rows is not None and len(rows) == len(frames) and all(r is not None and len(r) == 3 for r in rows):
            return np.array(rows, np.float64)
    return None


def _rate(times: list[Any], default: float) -> float:
    """Frames per second of time stamps: the median step, snapped to a whole rate when close."""
    numbers = [float(t) for t in times if isinstance(t, (int, float)) and math.isfinite(t)]
    steps = np.diff(numbers)
    steps = steps[steps > 1e-4]
    if len(numbers) != len(times) or not len(steps):
        return default
    rate = 1.0 / float(np.median(steps))
    return float(round(rate)) if abs(rate - round(rate)) < 0.05 * rate**0.5 else rate


def _timecodes(cells: list[str]) -> list[Any]:
    """Seconds of ``HH:MM:SS:FF.fff`` stamps; the frame count per second is seen in the stamps themselves."""
    parts = []
    for cell in cells:
        try:
            h, m, s, f = (float(p) for p in cell.strip().split(":"))
        except ValueError:
            return []
        parts.append((h * 3600 + m * 60 + s, f))
    most = max(f for _, f in parts)
    # 24, 25, 30, 50 and 60 are the app's rates; a clip shorter than a second is taken as 60.
    spans = len({whole for whole, _ in parts}) > 1
    base = next((r for r in (24.0, 25.0, 30.0, 50.0, 60.0) if most < r), max(LIVE_LINK_FPS, most + 1))
    base = base if spans else LIVE_LINK_FPS if most < LIVE_LINK_FPS else base
    return [whole + f / base for whole, f in parts]


def _about(axis: int, angle: NDArray) -> NDArray[np.float64]:
    vectors = np.zeros((len(angle), 3))
    vectors[:, axis] = angle
    return matrices(vectors)
