# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a ``MotionClip`` as our own ``motion.npz``, which every tool of LCA Bridge reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def write_motion(clip: Any, path: Path) -> Path:
    """Write ``joint_rotations`` (T, 55, 3), ``translation``, ``arkit``, ``gaze`` and ``fps``."""
    np.savez_compressed(
        path,
        joint_rotations=clip.poses,
        translation=clip.translation,
        arkit=clip.arkit,
        gaze=clip.gaze,
        fps=np.float64(clip.fps),
    )
    return path
