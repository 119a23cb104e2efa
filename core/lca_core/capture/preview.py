"""Preview of a captured motion: the clip with the fitted skeleton drawn over it, as an H.264 video.

In: the clip's path and its :class:`Motion`; out: one MP4. Lines and dots only, as in ``debug.py``.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from lca.errors import InvalidInputError
from lca_core.body.model import BodyModel

from .debug import overlay, project_joints
from .decode import DecodeLimits, read_clip
from .motion import MOTION_SIDE
from .pipeline import MediaPath
from .types import CAMERA_FROM_WORLD, Motion

PREVIEW_SIDE = 640


def write_preview(
    path: MediaPath,
    motion: Motion,
    out: Path,
    *,
    side: int = PREVIEW_SIDE,
    limits: DecodeLimits | None = None,
) -> Path:
    """Write the clip at ``path`` with the skeleton of ``motion`` to ``out`` (MP4); returns ``out``.

    Raises:
        InvalidInputError: the motion has no camera or shape (made by other tools).
        MediaUnreadableError: the clip cannot be read any more.
    """
    import av

    if motion.K is None or motion.betas is None:
        raise InvalidInputError("This motion knows no camera or body shape; capture it again for a preview.")
    clip = read_clip(path, len(motion.pose), max_side=MOTION_SIDE, limits=limits)
    body = BodyModel.load()
    frames = np.abs(clip.timestamps[None] - motion.timestamps[:, None]).argmin(1)
    with av.open(str(out), "w", options={"movflags": "faststart"}) as container:
        rate = Fraction(motion.fps).limit_denominator(1000)
        stream = container.add_stream("libx264", rate=rate)
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "23", "preset": "fast"}
        for i, f in enumerate(frames):
            with torch.no_grad():
                joints = body(
                    torch.as_tensor(motion.betas)[None],
                    torch.as_tensor(motion.pose[i : i + 1]),
                    torch.as_tensor(motion.transl[i : i + 1]),
                ).joints[0]
            width, height = (int(n) for n in clip.sizes[f])
            view = clip.frames[f][:height, :width]
            scale = np.diag([width / motion.image_size[0], height / motion.image_size[1], 1.0])
            pixels = project_joints(joints.numpy(), (scale @ motion.K).astype(np.float32), CAMERA_FROM_WORLD)
            picture = overlay(view, np.zeros((height, width), np.float32), pixels, side=side)
            even = np.ascontiguousarray(picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2])
            if i == 0:
                stream.width, stream.height = even.shape[1], even.shape[0]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode(None))
    return out
