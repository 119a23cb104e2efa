"""Pictures to an H.264 movie."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np


def write_movie(path: Path, frames: Iterable[np.ndarray], fps: float, width: int, height: int) -> None:
    """Write ``path`` as MP4 from (height, width, 3) uint8 sRGB frames; width and height are even."""
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for pixels in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
