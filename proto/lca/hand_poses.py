"""The named hand poses that every tool offers: values of the rig's finger sliders.

What a slider turns says the rig description of the avatar (``fingers`` in ``rig.json``), so a pose fits every
hand and both sides. Standard library only: this ships inside the Blender zip too.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HandPose:
    """One hand: ``curl`` by finger, 0 = straight and 1 = closed; ``spread`` of the hand, -1 to 1."""

    name: str
    curl: dict[str, float]
    spread: float = 0.0


def _pose(
    name: str, thumb: float, index: float, middle: float, ring: float, pinky: float, spread: float = 0.0
) -> HandPose:
    return HandPose(
        name, {"thumb": thumb, "index": index, "middle": middle, "ring": ring, "pinky": pinky}, spread
    )


HAND_POSES: dict[str, HandPose] = {
    pose.name: pose
    for pose in (
        _pose("Fist", 1.0, 1.0, 1.0, 1.0, 1.0),
        _pose("Open", -0.1, -0.1, -0.1, -0.1, -0.1, spread=0.8),
        _pose("Flat", 0.0, 0.0, 0.0, 0.0, 0.0),
        _pose("Relaxed", 0.25, 0.2, 0.26, 0.32, 0.38, spread=0.05),
        _pose("Point", 1.0, 0.0, 1.0, 1.0, 1.0),
        _pose("Peace", 1.0, 0.0, 0.0, 1.0, 1.0, spread=0.3),
        _pose("Thumbs Up", -0.2, 1.0, 1.0, 1.0, 1.0),
        _pose("OK", 0.8, 0.65, 0.2, 0.12, 0.05, spread=0.3),
        _pose("Pinch", 0.7, 0.7, 0.74, 0.78, 0.82),
    )
}
"""By name, in the order in which tools show them."""
