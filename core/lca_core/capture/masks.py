"""Alpha mattes: a frame, its soft pose mask and hand points in, a clean matte (and optionally clean
colours) out.

The pose mask is right as a whole but has a halo of some pixels and merged fingers. Closed-form matting
(pymatting) re-decides a band along its edge from the image itself. Matting runs on the person's box at
limited resolution, because its cost grows faster than linearly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from lca.errors import PreconditionError

from .networks import Array

PLAIN = 0.02
"""A backdrop whose colours stray less (0..1, nine pixels in ten) is plain: a studio or a drawing."""
DIFFERENT = 0.06
"""Colours this far from a plain backdrop belong to something that stands before it."""
NEAR = 0.03
"""Share of the person's height within which such things (shoes, hair) are given back to the person."""

MATTING_SIDE = 512
"""Longest side of the matting problem in pixels."""


def trimap(mask: Array, hand_points: list[Array], *, radius: float) -> Array:
    """Split [H,W] into sure person (1), sure background (0) and unknown (0.5).

    Args:
        mask: soft mask 0..1.
        hand_points: [21,2] pixel arrays; the hull of each, dilated, is unknown where the mask is not solid.
        radius: half width of the unknown band, pixels.
    """
    reach = max(round(radius), 1)
    disk = _disk(reach)
    # scipy erodes across the frame border unless told that outside counts as inside.
    inside = ndimage.binary_erosion(mask > 0.9, disk, border_value=1)
    maybe = ndimage.binary_dilation(mask > 0.1, disk)
    out = np.where(inside, 1.0, np.where(maybe, 0.5, 0.0)).astype(np.float32)
    for points in hand_points:
        area = _hull_mask(points, mask.shape)
        area = ndimage.binary_dilation(area, _disk(2 * reach))
        core = ndimage.binary_erosion(mask > 0.97, _disk(2 * reach), border_value=1)
        out[area & ~core] = 0.5
    return out


def refine_mask(
    frame: NDArray[np.uint8], mask: Array, hand_points: list[Array] | None = None, *, side: int = MATTING_SIDE
) -> Array:
    """Refine a soft person mask with closed-form matting.

    Args:
        frame: uint8 [H,W,3].
        mask: float [H,W] 0..1.
        hand_points: hand landmarks in pixels, [21,2] each.
        side: longest side of the problem that is solved.

    Returns:
        float32 [H,W] matte in 0..1; the input mask when there is no person or the solver fails to converge.
    """
    try:
        from pymatting import ichol
        from pymatting.alpha.estimate_alpha_cf import estimate_alpha_cf
    except ImportError as error:
        raise PreconditionError("Refining masks needs pymatting; install lca-bridge[capture].") from error
    box = person_box(mask)
    if box is None:
        return mask
    x0, y0, x1, y1 = box
    scale = min(1.0, side / max(x1 - x0, y1 - y0))
    size = (max(round((x1 - x0) * scale), 8), max(round((y1 - y0) * scale), 8))
    small = np.asarray(Image.fromarray(frame[y0:y1, x0:x1]).resize(size, Image.Resampling.BOX)) / 255.0
    soft = _resize(mask[y0:y1, x0:x1], size)
    hands = [(points - np.array([x0, y0])) * scale for points in hand_points or []]
    known = trimap(soft, hands, radius=max(3.0, 0.008 * size[1]))
    if not (known == 0).any() or not (known == 1).any():
        return mask
    known = before_plain_backdrop(small, known)
    try:
        alpha = estimate_alpha_cf(
            small.astype(np.float64),
            known.astype(np.float64),
            # Without a shift the incomplete factorisation often fails once and prints a warning.
            preconditioner=lambda a: ichol(a, shifts=[1e-3, 1e-2, 0.1, 1.0, 10.0]),
            cg_kwargs={"rtol": 1e-5, "maxiter": 400},
        )
    except ValueError:  # incomplete Cholesky or conjugate gradients gave up on this image
        return mask
    alpha = _drop_islands(np.clip(alpha, 0.0, 1.0).astype(np.float32), known)
    out = np.zeros_like(mask)
    out[y0:y1, x0:x1] = np.clip(_resize(alpha, (x1 - x0, y1 - y0)), 0.0, 1.0)
    return out


def before_plain_backdrop(picture: Array, known: Array) -> Array:
    """Where the backdrop is plain its colour says more than the network's mask: correct the trimap with it.

    Backdrop colours that reach the sure background become background; other colours that reach the person
    become unknown although the mask left them out.

    Args:
        picture: [H,W,3] 0..1; known: trimap [H,W]. Returned unchanged when the backdrop is not plain.
    """
    colours = picture[known == 0]
    plain = np.median(colours, 0)
    far = np.abs(picture - plain).max(2)
    spread = float(np.percentile(far[known == 0], 90))
    if spread > PLAIN:
        return known
    out = known.copy()
    empty, _ = ndimage.label((far < max(2.0 * spread, 0.012)) & (known < 1))
    reached = np.unique(empty[(known == 0) & (empty > 0)])
    out[np.isin(empty, reached) & (empty > 0)] = 0.0
    rows = np.flatnonzero((known == 1).any(1))
    near = ndimage.distance_transform_edt(known < 1) < NEAR * max(rows[-1] - rows[0], 1) + 2
    thing, _ = ndimage.label((far > DIFFERENT) & (near | (known > 0)))
    touching = np.unique(thing[known == 1])
    out[np.isin(thing, touching[touching > 0]) & (known == 0)] = 0.5
    return out if (out == 0).any() else known


def warm_matting() -> None:
    """Compile the matting kernels (once per installation, tens of seconds) so that no user waits for it."""
    y, x = np.mgrid[:64, :48]
    soft = 1.0 / (1.0 + np.exp((np.hypot(x - 24, y - 32) - 16.0) / 1.5))
    frame = np.repeat((soft * 200 + 20)[..., None], 3, 2).astype(np.uint8)
    clean_foreground(frame, refine_mask(frame, soft.astype(np.float32)))


def clean_foreground(frame: NDArray[np.uint8], alpha: Array) -> NDArray[np.uint8]:
    """Remove background colour from the soft edge: uint8 [H,W,3] colours that belong to the person alone."""
    from pymatting import estimate_foreground_ml

    box = person_box(alpha)
    if box is None:
        return frame.copy()
    x0, y0, x1, y1 = box
    part = frame[y0:y1, x0:x1].astype(np.float64) / 255.0
    colour = estimate_foreground_ml(part, alpha[y0:y1, x0:x1].astype(np.float64))
    out = frame.copy()
    out[y0:y1, x0:x1] = np.clip(np.rint(colour * 255.0), 0, 255).astype(np.uint8)
    return out


def person_box(mask: Array, margin: float = 0.06) -> tuple[int, int, int, int] | None:
    """Pixel box (x0, y0, x1, y1) of {mask > 0.1}, widened by ``margin`` of its longer side; None if empty."""
    rows, cols = np.flatnonzero((mask > 0.1).any(1)), np.flatnonzero((mask > 0.1).any(0))
    if not len(rows) or rows[-1] - rows[0] < 8 or cols[-1] - cols[0] < 8:
        return None
    pad = int(margin * max(rows[-1] - rows[0], cols[-1] - cols[0])) + 4
    height, width = mask.shape
    return (
        max(int(cols[0]) - pad, 0),
        max(int(rows[0]) - pad, 0),
        min(int(cols[-1]) + 1 + pad, width),
        min(int(rows[-1]) + 1 + pad, height),
    )


def _drop_islands(alpha: Array, known: Array) -> Array:
    """Zero the connected parts of {alpha > 0.05} that touch no sure person pixel."""
    labels, count = ndimage.label(alpha > 0.05)
    if count <= 1:
        return alpha
    keep = np.zeros(count + 1, bool)
    keep[np.unique(labels[known == 1])] = True
    keep[0] = True
    return np.where(keep[labels], alpha, 0.0).astype(np.float32)


def _disk(radius: int) -> NDArray[np.bool_]:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return x * x + y * y <= radius * radius


def _hull_mask(points: Array, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    from PIL import ImageDraw
    from scipy.spatial import ConvexHull, QhullError

    try:
        hull = points[ConvexHull(points).vertices]
    except QhullError:
        return np.zeros(shape, bool)
    canvas = Image.new("L", (shape[1], shape[0]))
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in hull], fill=1)
    return np.asarray(canvas) > 0


def _resize(values: Array, size: tuple[int, int]) -> Array:
    image = Image.fromarray(np.ascontiguousarray(values, np.float32), mode="F")
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC), np.float32)
