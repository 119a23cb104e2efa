"""What is the same for every view of one ``render()`` call; all back ends take it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Image size (pixels) and cut-offs; the meanings are those of ``render``'s arguments."""

    width: int
    height: int
    eps2d: float = 0.3
    near: float = 0.01
    far: float = 1e10
    radius_clip: float = 0.0
    antialiased: bool = False
