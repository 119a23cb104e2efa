# SPDX-License-Identifier: GPL-3.0-or-later
"""What the face board looks like: a wire mesh with a frame per knob and its name in stroke letters."""

from __future__ import annotations

import bpy
import numpy as np

from ..core.board import CELL, Knob, knobs
from . import widgets

Stroke = list[tuple[float, float]]
_HEIGHT = 0.011
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
    low, high = points.min(0) - 0.02, points.max(0) + 0.02
    strokes.append(
        [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1]), (low[0], low[1])]
    )
    return widgets.from_strokes("WGT-lca_board", strokes)


def _frame(knob: Knob) -> list[Stroke]:
    x, y = knob.place[0] * CELL, knob.place[1] * CELL
    (left, right), (down, up) = knob.span["X"], knob.span["Y"]
    margin = 0.006
    left, right, down, up = x + left - margin, x + right + margin, y + down - margin, y + up + margin
    box = [(left, down), (right, down), (right, up), (left, up), (left, down)]
    return [box, [(x - 0.004, y), (x + 0.004, y)], [(x, y - 0.004), (x, y + 0.004)]]


def _label(knob: Knob) -> list[Stroke]:
    """The knob's name below its frame, centred."""
    text = knob.bone.removeprefix("FB-").partition(".")[0].replace("_", " ").upper()
    unit = _HEIGHT / 4.0
    size = _HEIGHT * _ADVANCE
    down = knob.span["Y"][0]
    start = knob.place[0] * CELL - 0.5 * (len(text) * size - (size - 2 * unit * 0.8))
    base = knob.place[1] * CELL + down - 0.012 - _HEIGHT
    strokes: list[Stroke] = []
    for i, letter in enumerate(text):
        for line in _GLYPHS.get(letter, []):
            strokes.append(
                [(start + i * size + 0.8 * unit * int(p[0]), base + unit * int(p[1])) for p in line.split()]
            )
    return strokes
