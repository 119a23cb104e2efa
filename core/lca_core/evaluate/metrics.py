"""Image metrics of one protocol: pictures over black, the truth's matte as the region that counts.

In: rendered and true pictures [H,W,3] (float sRGB 0-1, already composited over black), the truth's matte
[H,W]. Out: numbers. PSNR over the matte (Large-scale Codec Avatars), SSIM (Wang et al. 2004) on the whole
picture averaged over the matte, FLIP (Andersson et al. 2020; the authors' own implementation) averaged over
the matte, overlap of silhouettes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lca.errors import PreconditionError

Image = NDArray[np.floating]

SOLID = 0.5
"""Matte above which a pixel belongs to the person."""
MAX_PSNR = 60.0
"""Reported for pictures that agree (a finite number keeps means and JSON sound)."""
SSIM_SIGMA = 1.5
PIXELS_PER_DEGREE = 67.0
"""FLIP's default viewer: 0.7 m from a 4K monitor of 0.7 m."""


def psnr(ours: Image, truth: Image, mask: Image) -> float:
    """Peak signal-to-noise ratio in dB over {mask > 0.5}; NaN when nothing is masked."""
    solid = mask > SOLID
    if not solid.any():
        return float("nan")
    error = float(np.square(ours[solid].astype(np.float64) - truth[solid]).mean())
    return float(min(MAX_PSNR, -10.0 * np.log10(max(error, 1e-12))))


def ssim_map(ours: Image, truth: Image) -> Image:
    """Structural similarity [H,W], mean of the channels; Gaussian window of 1.5 px, constants for range 1."""
    a, b = ours.astype(np.float64), truth.astype(np.float64)

    def blur(x: Image) -> Image:
        return ndimage.gaussian_filter(x, (SSIM_SIGMA, SSIM_SIGMA, 0), truncate=3.5, mode="reflect")

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    both = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    value = ((2 * mean_a * mean_b + c1) * (2 * both + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    )
    return value.mean(-1)


def ssim(ours: Image, truth: Image, mask: Image) -> float:
    """Mean of :func:`ssim_map` over {mask > 0.5}."""
    solid = mask > SOLID
    return float(ssim_map(ours, truth)[solid].mean()) if solid.any() else float("nan")


def flip(ours: Image, truth: Image, mask: Image) -> float:
    """Mean FLIP difference over {mask > 0.5}: 0 the same, 1 as different as can be.

    Raises:
        PreconditionError: the package ``flip-evaluator`` is missing.
    """
    solid = mask > SOLID
    if not solid.any():
        return float("nan")
    try:
        import flip_evaluator
    except ImportError as error:
        raise PreconditionError(
            "FLIP needs the package flip-evaluator: pip install 'lca-bridge[eval]'.", reason="MISSING"
        ) from error
    reference, test = (np.ascontiguousarray(x.clip(0, 1), np.float32) for x in (truth, ours))
    errors, _, _ = flip_evaluator.evaluate(
        reference,
        test,
        "LDR",
        applyMagma=False,
        computeMeanError=False,
        parameters={"ppd": PIXELS_PER_DEGREE},
    )
    return float(np.asarray(errors, np.float64).reshape(*solid.shape, -1)[solid].mean())


def iou(alpha: Image, mask: Image) -> float:
    """Intersection over union of {alpha > 0.5} and {mask > 0.5}."""
    a, b = alpha > SOLID, mask > SOLID
    return float((a & b).sum() / max((a | b).sum(), 1))


@dataclass(frozen=True)
class Box:
    """Pixels [y0,y1) x [x0,x1) of a picture."""

    y0: int
    x0: int
    y1: int
    x1: int

    def cut(self, image: Image) -> Image:
        """The part of ``image`` [H,W,...] inside."""
        return image[self.y0 : self.y1, self.x0 : self.x1]


def box_around(points: Image, shape: tuple[int, ...], margin: float = 0.25, least: int = 12) -> Box | None:
    """Box around pixel points [P,2] (x, y), widened by ``margin`` of its longer side; None where less than
    ``least`` pixels of it lie inside the picture."""
    low, high = points.min(0), points.max(0)
    pad = margin * float((high - low).max())
    x0, y0 = (int(v) for v in np.maximum(np.floor(low - pad), 0))
    x1, y1 = (int(v) for v in np.minimum(np.ceil(high + pad), (shape[1], shape[0])))
    return Box(y0, x0, y1, x1) if min(x1 - x0, y1 - y0) >= least else None


def scores(ours: Image, alpha: Image, truth: Image, mask: Image, box: Box | None = None) -> dict[str, float]:
    """All metrics of a picture or of a box of it: psnr, ssim, flip, iou.

    Args:
        ours, truth: [H,W,3] over black; alpha: [H,W] coverage of ours; mask: [H,W] matte of the truth.
    """
    if box is not None:
        ours, alpha, truth, mask = (box.cut(x) for x in (ours, alpha, truth, mask))
    return {
        "psnr": psnr(ours, truth, mask),
        "ssim": ssim(ours, truth, mask),
        "flip": flip(ours, truth, mask),
        "iou": iou(alpha, mask),
    }
