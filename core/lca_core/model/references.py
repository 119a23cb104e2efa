"""Reference views of a person as the network reads them: square crops around body and head, neutral
background.

Training and creation go through the same door, :func:`prepare_references`, so that a photograph and a
synthetic
image are cropped alike. The original frames travel along (``sources``): visible colour is copied from them
at full
resolution, never from the small crops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from lca.errors import InvalidInputError
from lca_core.model.config import ModelConfig

if TYPE_CHECKING:
    from lca_core.model.template import Template

BODY_MARGIN = 1.15
HEAD_MARGIN = 1.35
NEUTRAL = 0.5


@dataclass
class Source:
    """One original frame: image uint8 [H,W,3] sRGB, mask uint8 [H,W], K float [3,3] in pixels of this
    frame."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    K: NDArray[np.float64]


@dataclass
class References:
    """N views of each of B people. Images sRGB 0-1 on neutral grey; K in crop pixels; metres; radians.

    Attributes:
        images, faces: [B,N,3,S,S]; masks, face_masks: [B,N,1,S,S].
        Ks, face_Ks: [B,N,3,3]; viewmats: [B,N,4,4] world-to-camera.
        pose: [B,N,55,3]; transl: [B,N,3]; expression: [B,N,52]; gaze: [B,N,2,2]; betas: [B,50].
        view_valid: [B,N] bool; a False view is padding.
        sources: per person, per view, the original frame (None for padding).
    """

    images: Tensor
    masks: Tensor
    faces: Tensor
    face_masks: Tensor
    Ks: Tensor
    face_Ks: Tensor
    viewmats: Tensor
    pose: Tensor
    transl: Tensor
    expression: Tensor
    gaze: Tensor
    betas: Tensor
    view_valid: Tensor
    sources: list[list[Source | None]] = field(default_factory=list)

    def to(self, device: torch.device | str) -> References:
        """The same references with every tensor on ``device``."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "sources"}
        return References(**moved, sources=self.sources)

    def select(self, order: Sequence[int]) -> References:
        """The views ``order`` of every person, in that order."""
        index = torch.as_tensor(list(order))
        out = {}
        for f in fields(self):
            if f.name not in ("betas", "sources"):
                out[f.name] = getattr(self, f.name)[:, index]
        sources = [[views[i] for i in order] for views in self.sources]
        return References(**out, betas=self.betas, sources=sources)


def collate(people: Sequence[References]) -> References:
    """Stack people (each B=1) with padding to the largest number of views."""
    most = max(p.images.shape[1] for p in people)
    out: dict[str, Tensor] = {}
    for f in fields(References):
        if f.name == "sources":
            continue
        values = []
        for p in people:
            value = getattr(p, f.name)
            missing = most - p.images.shape[1]
            if f.name != "betas" and missing:
                # Padding repeats the first view so that every number stays finite; view_valid says it is
                # void.
                filler = value[:, :1].expand(-1, missing, *value.shape[2:])
                value = torch.cat([value, torch.zeros_like(filler) if f.name == "view_valid" else filler], 1)
            values.append(value)
        out[f.name] = torch.cat(values)
    sources: list[list[Source | None]] = []
    for p in people:
        for views in p.sources:
            sources.append([*views, *([None] * (most - len(views)))])
    return References(**out, sources=sources)


def prepare_references(
    frames: Sequence[NDArray[np.uint8]],
    masks: Sequence[NDArray[np.uint8]],
    Ks: NDArray[np.floating],
    viewmats: NDArray[np.floating],
    pose: NDArray[np.floating],
    transl: NDArray[np.floating],
    expression: NDArray[np.floating],
    gaze: NDArray[np.floating],
    betas: NDArray[np.floating],
    config: ModelConfig,
    template: Template | None = None,
) -> References:
    """Crop every frame around the projected body and around the head (B = 1).

    Args:
        frames: N images uint8 [H,W,3] sRGB, sizes may differ; masks: N uint8 [H,W] (0-255 or 0-1).
        Ks [N,3,3] pixels; viewmats [N,4,4]; pose [N,55,3]; transl [N,3]; expression [N,52]; gaze [N,2,2];
        betas [50].
        template: body constants; loaded when None.

    Raises:
        InvalidInputError: counts disagree, images are not uint8 RGB, or the body lies behind a camera.
    """
    from lca_core.model.template import Template

    n = len(frames)
    if n == 0:
        raise InvalidInputError("No reference frames given; give at least one photograph or video frame.")
    per_view = {
        "masks": len(masks),
        "Ks": len(Ks),
        "viewmats": len(viewmats),
        "pose": len(pose),
        "transl": len(transl),
        "expression": len(expression),
        "gaze": len(gaze),
    }
    wrong = [f"{k} has {v}" for k, v in per_view.items() if v != n]
    if wrong:
        raise InvalidInputError(f"{n} frames given but {', '.join(wrong)}; every view needs one of each.")
    for i, (frame, mask) in enumerate(zip(frames, masks, strict=True)):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise InvalidInputError(f"Frame {i} is {frame.dtype} {frame.shape}; expected uint8 [H,W,3].")
        if mask.shape != frame.shape[:2]:
            raise InvalidInputError(f"Mask {i} is {mask.shape} for a frame of {frame.shape[:2]}.")
    template = template or Template.load(config.uv_size)
    vertices = template.posed_vertices(betas, pose, transl, expression)
    head = template.head_vertices
    size = config.input_size
    body_parts, face_parts, sources = [], [], []
    for i in range(n):
        mask = masks[i]
        if mask.dtype != np.uint8:
            mask = mask.astype(np.uint8)
        if mask.max(initial=0) == 1:
            mask = mask * np.uint8(255)
        pixels = _project(vertices[i], Ks[i], viewmats[i])
        body_parts.append(_crop(frames[i], mask, Ks[i], pixels, BODY_MARGIN, size))
        face_parts.append(_crop(frames[i], mask, Ks[i], pixels[head], HEAD_MARGIN, size))
        sources.append(Source(frames[i], mask, np.asarray(Ks[i], np.float64)))

    def tensor(values: NDArray[np.floating]) -> Tensor:
        return torch.as_tensor(np.asarray(values, np.float32))[None]

    return References(
        images=torch.stack([p[0] for p in body_parts])[None],
        masks=torch.stack([p[1] for p in body_parts])[None],
        faces=torch.stack([p[0] for p in face_parts])[None],
        face_masks=torch.stack([p[1] for p in face_parts])[None],
        Ks=torch.stack([p[2] for p in body_parts])[None],
        face_Ks=torch.stack([p[2] for p in face_parts])[None],
        viewmats=tensor(viewmats),
        pose=tensor(pose),
        transl=tensor(transl),
        expression=tensor(expression),
        gaze=tensor(gaze),
        betas=tensor(betas),
        view_valid=torch.ones(1, n, dtype=torch.bool),
        sources=[list(sources)],
    )


def _project(
    points: NDArray[np.floating], K: NDArray[np.floating], viewmat: NDArray[np.floating]
) -> NDArray[np.floating]:
    """World points [P,3] -> pixels [P,2]."""
    camera = points @ np.asarray(viewmat[:3, :3]).T + np.asarray(viewmat[:3, 3])
    if camera[:, 2].min() < 0.05:
        raise InvalidInputError(
            "The body lies behind or on a camera; check that viewmats are world-to-camera, in metres."
        )
    return camera[:, :2] / camera[:, 2:] * (K[0, 0], K[1, 1]) + (K[0, 2], K[1, 2])


def _crop(
    frame: NDArray[np.uint8],
    mask: NDArray[np.uint8],
    K: NDArray[np.floating],
    pixels: NDArray[np.floating],
    margin: float,
    size: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Square crop around projected points -> image [3,S,S] on neutral grey, mask [1,S,S], K [3,3]."""
    low, high = pixels.min(0), pixels.max(0)
    side = max(8, round(float((high - low).max()) * margin))
    x0, y0 = (np.round((low + high) / 2 - side / 2)).astype(int)
    h, w = mask.shape
    # A fit gone wrong may put the body far outside the frame: an empty crop is still a crop.
    xs, ys = np.arange(x0, x0 + side), np.arange(y0, y0 + side)
    inside = ((ys >= 0) & (ys < h))[:, None] & ((xs >= 0) & (xs < w))[None]
    yc, xc = np.clip(ys, 0, h - 1), np.clip(xs, 0, w - 1)
    alpha = (mask[np.ix_(yc, xc)] * inside).astype(np.float32) / 255
    rgb = frame[np.ix_(yc, xc)].astype(np.float32) / 255
    rgb = rgb * alpha[..., None] + NEUTRAL * (1 - alpha[..., None])
    both = torch.from_numpy(np.concatenate([rgb, alpha[..., None]], -1)).permute(2, 0, 1)[None]
    both = F.interpolate(both, size=(size, size), mode="bilinear", antialias=True, align_corners=False)[0]
    scale = size / side
    k = torch.tensor(
        [
            [float(K[0, 0]) * scale, 0.0, (float(K[0, 2]) - float(x0)) * scale],
            [0.0, float(K[1, 1]) * scale, (float(K[1, 2]) - float(y0)) * scale],
            [0.0, 0.0, 1.0],
        ],
        dtype=torch.float32,
    )
    return both[:3].clamp(0, 1), both[3:].clamp(0, 1), k
