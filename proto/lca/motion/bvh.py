"""BVH files (Biovision hierarchy): text in, joint tree with rotations per frame out.

Nothing about people is known here; :mod:`lca.motion.retarget` gives the joints their meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lca.errors import InvalidInputError
from lca.motion.clip import MAX_FRAMES, bad_motion
from lca.motion.rotation import F64

MAX_JOINTS = 1024
MAX_CELLS = 4_000_000
"""Joints times frames; more would need gigabytes of rotations."""
_AXES = {"xrotation": 0, "yrotation": 1, "zrotation": 2}
_PLACES = {"xposition": 0, "yposition": 1, "zposition": 2}


@dataclass(frozen=True)
class Bvh:
    """A skeleton in motion, in the file's own units and axes.

    Attributes:
        names: J joints, parents first. parents: J indices, -1 for the root.
        offsets: (J,3) from the parent. tips: per joint the end site's offset (3,), or None.
        rotations: (T,J,3,3) local. places: (T,J,3) local shift: the offset, or the position channels.
        fps: frames per second.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: F64
    tips: tuple[F64 | None, ...]
    rotations: F64
    places: F64
    fps: float

    def world(self) -> tuple[F64, F64]:
        """World rotations (T,J,3,3) and places (T,J,3) of every joint."""
        turns, places = np.empty_like(self.rotations), np.empty_like(self.places)
        for j, parent in enumerate(self.parents):
            if parent < 0:
                turns[:, j], places[:, j] = self.rotations[:, j], self.places[:, j]
            else:
                turns[:, j] = turns[:, parent] @ self.rotations[:, j]
                places[:, j] = places[:, parent] + (turns[:, parent] @ self.places[:, j, :, None])[..., 0]
        return turns, places

    def rest(self) -> F64:
        """Places (J,3) with every rotation zero and the root at the origin."""
        out = np.zeros_like(self.offsets)
        for j, parent in enumerate(self.parents):
            if parent >= 0:
                out[j] = out[parent] + self.offsets[j]
        return out


def read_bvh(path: Path) -> Bvh:
    """Parse a BVH file.

    Raises:
        InvalidInputError: ``BAD_MOTION``; the message says what is wrong and where.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise bad_motion(path.name, f"it cannot be read ({error})") from error
    head, found, tail = text.partition("MOTION")
    if "HIERARCHY" not in head or not found:
        raise bad_motion(path.name, "it is no BVH file (HIERARCHY and MOTION are missing)")
    try:
        names, parents, offsets, channels, tips = _hierarchy(head.split())
        fps, values = _motion(tail, sum(map(len, channels)))
    except InvalidInputError:
        raise
    except (ValueError, IndexError, KeyError) as error:
        raise bad_motion(path.name, f"its text does not follow the BVH form ({error})") from error
    count, joints = len(values), len(names)
    if count * joints > MAX_CELLS:
        raise bad_motion(path.name, f"{count} frames of {joints} joints are too much at once; cut the clip")
    rotations = np.broadcast_to(np.eye(3), (count, joints, 3, 3)).copy()
    places = np.broadcast_to(np.array(offsets), (count, joints, 3)).copy()
    column = 0
    for j, kinds in enumerate(channels):
        for kind in kinds:
            value = values[:, column]
            column += 1
            if kind in _PLACES:
                places[:, j, _PLACES[kind]] = value
            else:
                rotations[:, j] = rotations[:, j] @ _about(_AXES[kind], np.radians(value))
    return Bvh(tuple(names), tuple(parents), np.array(offsets), tuple(tips), rotations, places, fps)


def _hierarchy(
    words: list[str],
) -> tuple[list[str], list[int], list[list[float]], list[list[str]], list[F64 | None]]:
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[list[str]] = []
    tips: list[F64 | None] = []
    stack: list[int] = []
    current, in_tip, at = -1, False, words.index("HIERARCHY") + 1
    while at < len(words):
        word = words[at].upper()
        if word in ("ROOT", "JOINT"):
            # Names may hold blanks; everything up to the brace belongs to them.
            end = words.index("{", at)
            if word == "ROOT" and names:
                raise ValueError("a second ROOT; files with several people are not read")
            names.append(" ".join(words[at + 1 : end]))
            parents.append(stack[-1] if stack else -1)
            offsets.append([0.0, 0.0, 0.0])
            channels.append([])
            tips.append(None)
            current = len(names) - 1
            stack.append(current)
            if len(names) > MAX_JOINTS:
                raise ValueError(f"more than {MAX_JOINTS} joints")
            at = end + 1
        elif word == "END":
            in_tip, at = True, words.index("{", at) + 1
        elif word == "OFFSET":
            offset = [float(w) for w in words[at + 1 : at + 4]]
            if in_tip:
                tips[current] = np.array(offset)
            else:
                offsets[current] = offset
            at += 4
        elif word == "CHANNELS":
            count = int(words[at + 1])
            kinds = [w.lower() for w in words[at + 2 : at + 2 + count]]
            if any(k not in _AXES and k not in _PLACES for k in kinds):
                raise ValueError(f"unknown channels {kinds}")
            channels[current] = kinds
            at += 2 + count
        elif word == "}":
            if in_tip:
                in_tip = False
            else:
                stack.pop()
                current = stack[-1] if stack else -1
            at += 1
        else:
            raise ValueError(f"unexpected word {words[at]!r}")
    if not names or stack:
        raise ValueError("the braces of the hierarchy do not close" if names else "there is no joint")
    return names, parents, offsets, channels, tips


def _motion(text: str, width: int) -> tuple[float, F64]:
    words = text.replace("Frames:", " Frames: ").replace("Frame Time:", " FrameTime: ").split()
    count = int(words[words.index("Frames:") + 1])
    start = words.index("FrameTime:")
    step = float(words[start + 1])
    if not 0 < count <= MAX_FRAMES:
        raise ValueError(f"{count} frames; 1 to {MAX_FRAMES} are allowed")
    if not 1e-3 <= step <= 10:
        raise ValueError(f"a frame time of {step} s")
    numbers = np.array(words[start + 2 :], np.float64)
    if len(numbers) < count * width:
        raise ValueError(f"{len(numbers)} numbers where {count} frames of {width} channels are announced")
    if not np.isfinite(numbers).all():
        raise ValueError("a number that is not finite")
    return 1.0 / step, numbers[: count * width].reshape(count, width)


def _about(axis: int, angle: F64) -> F64:
    """Rotations (T,3,3) about a coordinate axis."""
    c, s = np.cos(angle), np.sin(angle)
    out = np.zeros((len(angle), 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out[:, axis, axis] = 1
    out[:, i, i] = out[:, j, j] = c
    out[:, j, i], out[:, i, j] = s, -s
    return out
