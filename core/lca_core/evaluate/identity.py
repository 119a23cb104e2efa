"""Is it the same person? Face embeddings of photographs and renders, and who resembles whom.

The embedding is dlib's 128-d face network (King 2017; model in the public domain, package
``face_recognition_models``), on faces aligned by its five landmarks. Distances are Euclidean (0.6 is dlib's
customary limit for the same person); similarities are cosines of embeddings minus their mean over many
faces would need data we do not have, so plain cosines are reported: they are high for everybody and only
their order means something.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca.errors import PreconditionError

SAME_PERSON = 0.6
DETECTOR_UPSAMPLING = 1
SMALLEST = 24
"""Pixels of a face box below which an embedding means nothing."""
CHIP_PADDING = 0.25


class FaceEmbedder:
    """dlib's face embedding.

    Raises:
        PreconditionError: dlib or its models are not installed.
    """

    def __init__(self) -> None:
        spec = importlib.util.find_spec("face_recognition_models")
        if spec is None or spec.origin is None or importlib.util.find_spec("dlib") is None:
            raise PreconditionError(
                "Identity needs dlib and its models: pip install 'lca-bridge[eval]'.", reason="MISSING"
            )
        import dlib

        folder = Path(spec.origin).parent / "models"
        self._dlib: Any = dlib
        self._detector = dlib.get_frontal_face_detector()
        # Not the 68-point model: it was trained on iBUG 300-W, which bars commercial use.
        self._landmarks = dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))
        self._network = dlib.face_recognition_model_v1(
            str(folder / "dlib_face_recognition_resnet_model_v1.dat")
        )

    def __call__(
        self, image: NDArray[np.uint8], around: NDArray[np.floating] | None = None
    ) -> NDArray[np.float64] | None:
        """Unit embedding [128] of the largest face of an RGB picture; None where no face is found.

        Args:
            around: pixel points [P,2] of the head where it is known to be: only there is looked, enlarged.
        """
        from PIL import Image

        crop = np.ascontiguousarray(image)
        if around is not None:
            low, high = around.min(0), around.max(0)
            side = float((high - low).max()) * 1.8
            if side < SMALLEST:
                return None
            middle = (low + high) / 2
            x0, y0 = np.round(middle - side / 2).astype(int)
            box = (int(x0), int(y0), int(x0 + side), int(y0 + side))
            crop = np.asarray(Image.fromarray(crop).crop(box).resize((400, 400), Image.Resampling.BICUBIC))
            crop = np.ascontiguousarray(crop)
        found = self._detector(crop, DETECTOR_UPSAMPLING if around is None else 0)
        if not found:
            return None
        box = max(found, key=lambda r: r.area())
        shape = self._landmarks(crop, box)
        chip = self._dlib.get_face_chip(crop, shape, size=150, padding=CHIP_PADDING)
        value = np.asarray(self._network.compute_face_descriptor(chip), np.float64)
        return value / max(float(np.linalg.norm(value)), 1e-9)


def compare(
    photos: dict[str, NDArray[np.float64] | None], renders: dict[str, NDArray[np.float64] | None]
) -> dict[str, Any]:
    """Who resembles whom: renders (rows) against photographs (columns).

    Returns:
        ``similarity``: cosine matrix as nested dicts (None where a face was not found); ``own``: cosine to
        the own photograph; ``others``: cosines to other people's photographs; ``top1``: renders that
        resemble their own photograph most, of ``compared`` ones; ``missed``: names without a face in the
        photograph or the render.
    """
    usable = [n for n in photos if photos[n] is not None]
    table: dict[str, dict[str, float | None]] = {}
    own, others, right, compared = {}, [], 0, 0
    for name, render in renders.items():
        row: dict[str, float | None] = {}
        for other in photos:
            target = photos[other]
            row[other] = None if render is None or target is None else round(float(render @ target), 4)
        table[name] = row
        mine = row.get(name)
        if mine is None:
            continue
        compared += 1
        own[name] = mine
        rest = [v for other in usable if other != name and (v := row[other]) is not None]
        others += rest
        right += int(all(mine > v for v in rest))
    return {
        "similarity": table,
        "own": own,
        "others": summary(others),
        "own_mean": float(np.mean(list(own.values()))) if own else None,
        "top1": right,
        "compared": compared,
        "missed": [n for n in renders if renders[n] is None or photos.get(n) is None],
    }


def summary(values: list[float]) -> dict[str, float] | None:
    """Mean, smallest, median and largest of a list; None when it is empty."""
    if not values:
        return None
    v = np.asarray(values)
    return {
        "count": len(values),
        "mean": round(float(v.mean()), 4),
        "min": round(float(v.min()), 4),
        "median": round(float(np.median(v)), 4),
        "max": round(float(v.max()), 4),
    }
