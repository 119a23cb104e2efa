# SPDX-License-Identifier: GPL-3.0-or-later
"""What the face board looks like: a wire mesh with a frame per knob and its name in stroke letters."""

from __future__ import annotations

import bpy
import numpy as np

from ..core.board import CELL, Knob, knobs
from . import widgets

Stroke = list[tuple[float, float]]
_HEIGHT = 0.0058
_LINE = 9  # letters before a name is broken at a space
_ADVANCE = 0.78  # letter pitch in letter heights
# A capital letter on a 2 x 4 grid, digits are grid points (column, row from the baseline).
_GLYPHS = {
    "A": ["00 03 14 23 20", "02 22"], "B": ["00 04 14 23 12 02", "12 21 20 00"], "C": ["24 04 00 20"],
    "D": ["00 04 14 23 21 10 00"], "E": ["24 04 00 20", "02 12"], "F": ["24 04 00", "02 12"],
    "G": ["24 04 00 20 22 12"], "H": ["00 04", "20 24", "02 22"], "I": ["10 14"], "J": ["24 20 10 01"],
    "K": ["00 04", "24 02 20"], "L": ["04 00 20"], "M": ["00 04 12 24 20"], "N": ["00 04 20 24"],
    "O": ["00 04 24 20 00"], "P": ["00 04 24 22 02"], "Q": ["00 04 24 20 00", "11 20"],
    "R": ["00 04 24 22 02", "12 20"], "S": ["24 04 02 22 20 00"], "T": ["04 24", "14 10"],
    "U": ["04 00 20 24"], "V": ["04 10 24"], "W": ["04 00 12 20 24"], "X": ["00 24", "04 20"],
    "Y": ["04 12 24", "12 10"], "Z": ["04 24 00 20"], " ": [],
}  # fmt: skip


def knob_widget() -> bpy.types.Object:
    """A small diamond in the board's plane, unit size."""
    return widgets.from_strokes(
        "WGT-lca_knob", [[(0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0), (0.0, 1.0)]]
    )


def board_widget() -> bpy.types.Object:
    """The whole board, metres, in the plane of the board's bone."""
    strokes: list[Stroke] = []
    for knob in knobs():
        strokes += _frame(knob) + _label(knob)
    points = np.array([point for stroke in strokes for point in stroke])
    low, high = points.min(0) - 0.012, points.max(0) + 0.012
    strokes.append(
        [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1]), (low[0], low[1])]
    )
    return widgets.from_strokes("WGT-lca_board", strokes)


def _frame(knob: Knob) -> list[Stroke]:
    x, y = knob.place[0] * CELL, knob.place[1] * CELL
    (left, right), (down, up) = knob.span["X"], knob.span["Y"]
    margin = 0.0035
    left, right, down, up = x + left - margin, x + right + margin, y + down - margin, y + up + margin
    box = [(left, down), (right, down), (right, up), (left, up), (left, down)]
    return [box, [(x - 0.002, y), (x + 0.002, y)], [(x, y - 0.002), (x, y + 0.002)]]


def _label(knob: Knob) -> list[Stroke]:
    """The knob's name below its frame, centred, in one line or two."""
    text = knob.bone.removeprefix("FB-").partition(".")[0].replace("_", " ").upper()
    lines = [text]
    if len(text) > _LINE and " " in text:
        first, _space, last = text.rpartition(" ")
        lines = [first, last]
    base = knob.place[1] * CELL + knob.span["Y"][0] - 0.006
    strokes: list[Stroke] = []
    for number, line in enumerate(lines):
        strokes += _written(line, knob.place[0] * CELL, base - (1 + 1.4 * number) * _HEIGHT)
    return strokes


def _written(text: str, middle: float, base: float) -> list[Stroke]:
    unit, size = _HEIGHT / 4.0, _HEIGHT * _ADVANCE
    width = 0.8 * unit
    start = middle - 0.5 * ((len(text) - 1) * size + 2 * width)
    return [
        [(start + i * size + width * int(p[0]), base + unit * int(p[1])) for p in line.split()]
        for i, letter in enumerate(text)
        for line in _GLYPHS.get(letter, [])
    ]
