"""Target frames of rendered losses: one photograph of a training person with everything that explains it.

Each is cut to the person's box (the camera's principal point moves along), so that nothing is rendered where
nobody stands. Boxes of face and hands come from the posed body.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lca_core.body.names import HAND_JOINTS
from lca_core.model.references import prepare_references
from lca_core.model.template import Template
from lca_core.train.examples import Batch, Sample

MARGIN = 8
"""Pixels kept around the person."""

Box = tuple[int, int, int, int]
"""First row, end row, first column, end column."""


@dataclass
class Frame:
    """image [3,H,W] sRGB premultiplied by mask [1,H,W] 0-1; K [3,3] of this cut; viewmat [4,4]; pose [55,3];
    expression [52]; gaze [2,2]; transforms [55,4,4]; face crop [3,S,S] with mask [1,S,S] as the encoders read
    it; boxes of the face and the hands that lie inside the picture."""

    image: Tensor
    mask: Tensor
    K: Tensor
    viewmat: Tensor
    pose: Tensor
    expression: Tensor
    gaze: Tensor
    transforms: Tensor
    face: Tensor
    face_mask: Tensor
    face_box: Box | None
    hand_boxes: list[Box]


def choose_frames(batch: Batch, person: int, count: int, rng: np.random.Generator) -> list[int]:
    """``count`` views of a person of the batch, those first that are not among its references."""
    total = len(batch.samples[person]["images"])
    fresh = [v for v in range(total) if v not in batch.used[person]]
    rest = [v for v in range(total) if v in batch.used[person]]
    order = [*rng.permutation(fresh), *rng.permutation(rest)]
    return [int(v) for v in order[:count]]


def target_frames(
    sample: Sample, views: Sequence[int], template: Template, input_size: int, light: NDArray[np.floating]
) -> list[Frame]:
    """Frames ``views`` of a training sample, exposed with the gain ``light`` [3]."""
    from lca_core.model.config import preset

    index = list(views)
    part = {k: np.asarray(sample[k], np.float32)[index] for k in ("pose", "transl", "expression", "gaze")}
    viewmats, ks = np.asarray(sample["viewmats"])[index], np.asarray(sample["Ks"])[index]
    betas = np.asarray(sample["betas"], np.float32)
    refs = prepare_references(
        [sample["images"][i] for i in index], [sample["masks"][i] for i in index], ks, viewmats,
        part["pose"], part["transl"], part["expression"], part["gaze"], betas,
        preset("tiny").replace(input_size=input_size), template,
    )  # fmt: skip
    same = np.repeat(betas[None], len(index), 0)
    vertices, transforms, _ = template._forward(same, part["pose"], part["transl"], part["expression"])
    # The body's joint transforms leave the root translation to the caller.
    transforms = transforms.copy()
    transforms[:, :, :3, 3] += part["transl"][:, None]
    hands = hand_vertices(template)
    out = []
    for n, i in enumerate(index):
        mask = np.asarray(sample["masks"][i], np.float32) / 255
        image = np.clip(np.asarray(sample["images"][i], np.float32) / 255 * light, 0, 1) * mask[..., None]
        rows, cols = np.nonzero(mask > 0.5)
        h, w = mask.shape
        r0, r1 = max(int(rows.min(initial=h)) - MARGIN, 0), min(int(rows.max(initial=0)) + MARGIN + 1, h)
        c0, c1 = max(int(cols.min(initial=w)) - MARGIN, 0), min(int(cols.max(initial=0)) + MARGIN + 1, w)
        if r1 <= r0 or c1 <= c0:
            r0, r1, c0, c1 = 0, h, 0, w
        k = np.array(ks[n], np.float32)
        k[0, 2] -= c0
        k[1, 2] -= r0
        size = (r1 - r0, c1 - c0)
        pixels = _project(vertices[n], k, viewmats[n])
        boxes = [_box(pixels[hand], size, 0.15) for hand in hands]
        out.append(
            Frame(
                image=torch.from_numpy(image[r0:r1, c0:c1]).permute(2, 0, 1).contiguous(),
                mask=torch.from_numpy(mask[None, r0:r1, c0:c1]).contiguous(),
                K=torch.from_numpy(k),
                viewmat=torch.as_tensor(np.asarray(viewmats[n], np.float32)),
                pose=torch.from_numpy(part["pose"][n]),
                expression=torch.from_numpy(part["expression"][n]),
                gaze=torch.from_numpy(part["gaze"][n]),
                transforms=torch.from_numpy(transforms[n]),
                face=refs.faces[0, n],
                face_mask=refs.face_masks[0, n],
                face_box=_box(pixels[template.head_vertices], size, 0.05),
                hand_boxes=[b for b in boxes if b is not None],
            )
        )
    return out


def window(frame: Frame, side: int, rng: np.random.Generator) -> Frame:
    """A crop of at most ``side`` x ``side`` pixels: around the face or a hand in half of the draws, else
    anywhere on the person."""
    height, width = frame.mask.shape[-2:]
    boxes = [frame.face_box] if frame.face_box is not None else []
    boxes += frame.hand_boxes
    if boxes and rng.uniform() < 0.5:
        box = boxes[int(rng.integers(len(boxes)))]
        row, col = (box[0] + box[1]) // 2, (box[2] + box[3]) // 2
    else:
        on = torch.nonzero(frame.mask[0] > 0.5)
        row, col = (int(x) for x in on[int(rng.integers(len(on)))]) if len(on) else (height // 2, width // 2)
    r0, c0 = max(0, min(row - side // 2, height - side)), max(0, min(col - side // 2, width - side))
    r1, c1 = min(r0 + side, height), min(c0 + side, width)
    k = frame.K.clone()
    k[0, 2] -= c0
    k[1, 2] -= r0

    def inside(box: Box | None) -> Box | None:
        if box is None:
            return None
        cut = (max(box[0], r0) - r0, min(box[1], r1) - r0, max(box[2], c0) - c0, min(box[3], c1) - c0)
        return cut if cut[1] - cut[0] >= 6 and cut[3] - cut[2] >= 6 else None

    hands = [inside(box) for box in frame.hand_boxes]
    return replace(
        frame,
        image=frame.image[:, r0:r1, c0:c1].contiguous(),
        mask=frame.mask[:, r0:r1, c0:c1].contiguous(),
        K=k,
        face_box=inside(frame.face_box),
        hand_boxes=[box for box in hands if box is not None],
    )


def hand_vertices(template: Template) -> list[NDArray[np.int64]]:
    """Vertices that follow the left and the right hand."""
    return [np.nonzero(template.vertex_weights[:, joints].sum(1) > 0.5)[0] for joints in HAND_JOINTS.values()]


def _project(
    points: NDArray[np.floating], K: NDArray[np.floating], viewmat: NDArray[np.floating]
) -> NDArray[np.floating]:
    camera = points @ np.asarray(viewmat[:3, :3]).T + np.asarray(viewmat[:3, 3])
    pixels = camera[:, :2] / np.maximum(camera[:, 2:], 1e-3) * (K[0, 0], K[1, 1]) + (K[0, 2], K[1, 2])
    return np.asarray(pixels)


def _box(pixels: NDArray[np.floating], size: tuple[int, int], margin: float) -> Box | None:
    """The box of [P,2] pixels, wider by ``margin``, inside a picture of ``size``; None under 6 pixels."""
    if not len(pixels):
        return None
    low, high = pixels.min(0), pixels.max(0)
    low, high = low - margin * (high - low), high + margin * (high - low)
    c0, r0 = np.maximum(np.floor(low), 0).astype(int)
    c1, r1 = np.minimum(np.ceil(high), (size[1], size[0])).astype(int)
    return (int(r0), int(r1), int(c0), int(c1)) if r1 - r0 >= 6 and c1 - c0 >= 6 else None
