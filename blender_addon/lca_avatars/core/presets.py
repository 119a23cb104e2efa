# SPDX-License-Identifier: GPL-3.0-or-later
"""Hand poses and expressions that ship with the add-on, read from ``assets/*.json``.

A hand pose is a curl per finger and one spread (slider values); an expression is ARKit weights, everything
it does not name being zero. The 15 visemes carry the Oculus names.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_ASSETS = Path(__file__).parent.parent / "assets"


@dataclass(frozen=True)
class HandPose:
    """Slider values: ``curl`` by finger, ``spread`` of the hand."""

    name: str
    curl: dict[str, float]
    spread: float


@dataclass(frozen=True)
class Expression:
    """ARKit weights by name; the others are zero."""

    name: str
    weights: dict[str, float]


@lru_cache(maxsize=1)
def hand_poses() -> dict[str, HandPose]:
    """Hand poses by name, in the order of the file."""
    raw = json.loads((_ASSETS / "hand_poses.json").read_text(encoding="utf-8"))
    return {name: HandPose(name, entry["curl"], entry["spread"]) for name, entry in raw.items()}


@lru_cache(maxsize=1)
def expressions() -> dict[str, Expression]:
    """Expressions and visemes by name, in the order of the file."""
    raw = json.loads((_ASSETS / "expressions.json").read_text(encoding="utf-8"))
    return {name: Expression(name, weights) for name, weights in raw.items()}
