# SPDX-License-Identifier: GPL-3.0-or-later
"""The face board: which knob moves which ARKit shape, how far, and where it sits on the board.

A knob moves in a plane; each direction of travel raises one shape, at full strength after ``STROKE`` metres.
Board coordinates are in cells: x to the right as you look at the person (the person's left), y up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

STROKE = 0.02
CELL = 0.056
EYES_KNOB = "FB-eyes"
BOARD = "FB-board"


@dataclass(frozen=True)
class Knob:
    """One control of the board. ``shapes`` maps a direction (``+X``, ``-X``, ``+Y``, ``-Y``) to a shape.

    ``place``: cell coordinates of its zero. ``FB-eyes`` names what it does instead of shapes: it turns the
    eyes.
    """

    bone: str
    place: tuple[float, float]
    shapes: dict[str, str]

    @property
    def span(self) -> dict[str, tuple[float, float]]:
        """Travel along X and Y in metres."""
        ends = {}
        for axis in "XY":
            low = -STROKE if f"-{axis}" in self.shapes else 0.0
            ends[axis] = (low, STROKE if f"+{axis}" in self.shapes else 0.0)
        return ends


@dataclass(frozen=True)
class KnobAxis:
    """The travel that raises one shape: bone, axis ``X``/``Y``, direction +1/-1."""

    bone: str
    axis: str
    sign: float


_PAIRED = {  # name: (place of the left one, shapes without their side)
    "brow_outer": ((1.9, 6.0), {"+Y": "browOuterUp"}),
    "brow_down": ((1.0, 6.36), {"-Y": "browDown"}),
    "lid": ((1.0, 4.6), {"+Y": "eyeWide", "-Y": "eyeBlink"}),
    "squint": ((1.9, 4.4), {"+Y": "eyeSquint"}),
    "cheek": ((1.9, 3.1), {"+Y": "cheekSquint"}),
    "nose": ((1.0, 3.1), {"+Y": "noseSneer"}),
    "lip_upper": ((1.0, 2.05), {"+Y": "mouthUpperUp"}),
    "mouth_corner": ((1.9, 1.55), {"+Y": "mouthSmile", "-Y": "mouthFrown", "+X": "mouthStretch", "-X": "mouthDimple"}),  # noqa: E501
    "lip_lower": ((1.0, 1.3), {"-Y": "mouthLowerDown"}),
    "press": ((1.9, 0.25), {"-Y": "mouthPress"}),
}  # fmt: skip
_MIDDLE = {
    "brow_inner": ((0.0, 6.0), {"+Y": "browInnerUp"}),
    "eyes": ((0.0, 4.6), {"+X": "left", "-X": "right", "+Y": "up", "-Y": "down"}),
    "cheek_puff": ((0.0, 3.1), {"+Y": "cheekPuff"}),
    "mouth": ((0.0, 1.75), {"+X": "mouthLeft", "-X": "mouthRight", "+Y": "mouthFunnel", "-Y": "mouthPucker"}),
    "jaw": ((0.0, 0.4), {"+X": "jawLeft", "-X": "jawRight", "-Y": "jawOpen"}),
    "lip_roll_upper": ((-1.9, -0.9), {"-Y": "mouthRollUpper"}),
    "lip_roll_lower": ((-1.0, -0.9), {"-Y": "mouthRollLower"}),
    "jaw_forward": ((0.0, -0.9), {"-Y": "jawForward"}),
    "shrug_upper": ((1.0, -0.9), {"-Y": "mouthShrugUpper"}),
    "shrug_lower": ((1.9, -0.9), {"-Y": "mouthShrugLower"}),
    "mouth_close": ((-1.0, 0.25), {"-Y": "mouthClose"}),
    "tongue": ((1.0, 0.25), {"-Y": "tongueOut"}),
}


@lru_cache(maxsize=1)
def knobs() -> tuple[Knob, ...]:
    """Every knob of the board."""
    made = [Knob(f"FB-{name}", place, shapes) for name, (place, shapes) in _MIDDLE.items()]
    for name, (place, shapes) in _PAIRED.items():
        for suffix, side, sign in ((".L", "Left", 1.0), (".R", "Right", -1.0)):
            flipped = {_across(way, sign): shape + side for way, shape in shapes.items()}
            made.append(Knob(f"FB-{name}{suffix}", (sign * place[0], place[1]), flipped))
    return tuple(made)


@lru_cache(maxsize=1)
def _by_shape() -> dict[str, KnobAxis]:
    return {
        shape: KnobAxis(knob.bone, way[1], 1.0 if way[0] == "+" else -1.0)
        for knob in knobs()
        if knob.bone != EYES_KNOB
        for way, shape in knob.shapes.items()
    }


def knob_of(shape: str) -> KnobAxis:
    """The travel that raises an ARKit shape.

    Raises:
        KeyError: the shape has no knob; the eight ``eyeLook*`` follow the eyes instead.
    """
    return _by_shape()[shape]


def _across(way: str, sign: float) -> str:
    """The right side's knob travels in the mirror: outwards stays outwards."""
    if sign > 0 or way[1] != "X":
        return way
    return ("-" if way[0] == "+" else "+") + way[1]
