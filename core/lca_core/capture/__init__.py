"""From a clip or photos to a :class:`Capture`: reference frames, mattes, cameras, body parameters,
expressions.

``capture_clip(path)`` is the whole path; the stages are modules of their own (decode, pose, hands, face,
select, masks, fit, expression). Networks, torch and pymatting are only loaded when a stage needs them.
"""

from __future__ import annotations

from typing import Any

from .decode import Clip, DecodeLimits, read_clip
from .types import Capture, Motion

__all__ = ["Capture", "Clip", "DecodeLimits", "Motion", "capture_clip", "capture_motion", "read_clip"]


def __getattr__(name: str) -> Any:
    if name == "capture_clip":
        from .pipeline import capture_clip

        return capture_clip
    if name == "capture_motion":
        from .motion import capture_motion

        return capture_motion
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
