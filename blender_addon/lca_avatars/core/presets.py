# SPDX-License-Identifier: GPL-3.0-or-later
"""Hand poses, the same everywhere (``lca.hand_poses``), and expressions, read from ``assets/*.json``.

An expression is ARKit weights, everything it does not name being zero. The 15 visemes carry the Oculus names.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from . import deps

_ASSETS = Path(__file__).parent.parent / "assets"


@dataclass(frozen=True)
class Expression:
    """ARKit weights by name; the others are zero."""

    name: str
    weights: dict[str, float]


def hand_poses() -> dict[str, Any]:
    """Hand poses by name (``lca.hand_poses.HandPose``: name, curl by finger, spread), in the order shown."""
    return dict(deps.hand_poses.HAND_POSES)


@lru_cache(maxsize=1)
def expressions() -> dict[str, Expression]:
    """Expressions and visemes by name, in the order of the file."""
    raw = json.loads((_ASSETS / "expressions.json").read_text(encoding="utf-8"))
    return {name: Expression(name, weights) for name, weights in raw.items()}
