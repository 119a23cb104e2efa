"""Runs the vendored landmark networks with LiteRT: hash check, session, SSD anchors, box decoding, crops.

Images come in as uint8 RGB arrays, crops go to the networks as float32, raw outputs come back by tensor name.
A :class:`Roi` is a rotated square in pixels; it is the only geometry shared by the body, hand and face
chains. Constants (anchor layouts, clipping, merge threshold) follow the published MediaPipe graphs, which
are Apache-2.0.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lca.errors import DataLossError, PreconditionError

from .models.extract_models import read_sums

Array = NDArray[np.float32]
MODEL_DIR = Path(__file__).resolve().parent / "models"


@lru_cache(maxsize=32)
def verified_model_path(name: str) -> Path:
    """Path of a vendored network after its SHA-256 was compared with ``SHA256SUMS``.

    Raises:
        DataLossError: the file is missing or its bytes differ.
    """
    path, cure = (
        MODEL_DIR / name,
        "reinstall the package or run lca_core.capture.models.extract_models --write",
    )
    if not path.is_file():
        raise DataLossError(f"The landmark network {name} is missing; {cure}.")
    if hashlib.sha256(path.read_bytes()).hexdigest() != read_sums(MODEL_DIR / "SHA256SUMS").get(name):
        raise DataLossError(f"The landmark network {name} does not match its checksum; {cure}.")
    return path


class Network:
    """One tflite network with one input.

    Args:
        name: file name inside ``models/``.
        threads: LiteRT threads; 1 is the fastest on busy machines (spinning threads cost CPU, not time).
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise PreconditionError(
                "Capturing people needs the package ai-edge-litert; install lca-bridge[capture]."
            ) from error
        self._interpreter = Interpreter(model_path=str(verified_model_path(name)), num_threads=threads)
        self._interpreter.allocate_tensors()
        details = self._interpreter.get_input_details()[0]
        self._input = details["index"]
        self.input_shape: tuple[int, ...] = tuple(int(n) for n in details["shape"])
        self._outputs = {d["name"]: d["index"] for d in self._interpreter.get_output_details()}

    def __call__(self, values: NDArray) -> dict[str, Array]:
        """Run once. ``values`` must have ``input_shape`` (batch axis may be left out)."""
        tensor = np.ascontiguousarray(values, dtype=np.float32).reshape(self.input_shape)
        self._interpreter.set_tensor(self._input, tensor)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}


@dataclass(frozen=True)
class Roi:
    """Rotated square: centre and side in pixels (pixel edges at integers), angle in radians clockwise."""

    cx: float
    cy: float
    size: float
    angle: float = 0.0

    def to_image(self, points: Array) -> Array:
        """Map [N,2+] from unit crop coordinates (0..1, y down) to image pixels; extra columns are kept."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        local = (points[:, :2] - 0.5) * self.size
        out = np.array(points, dtype=np.float32)
        out[:, 0] = self.cx + local[:, 0] * c - local[:, 1] * s
        out[:, 1] = self.cy + local[:, 0] * s + local[:, 1] * c
        return out

    def to_unit(self, points: Array) -> Array:
        """Inverse of :meth:`to_image` for [N,2]."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        d = (points[:, :2] - np.array([self.cx, self.cy])) / self.size
        return np.stack([d[:, 0] * c + d[:, 1] * s, -d[:, 0] * s + d[:, 1] * c], 1).astype(np.float32) + 0.5

    def crop(self, image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
        """Sample the square as [side,side,3]; black outside the image.

        A strongly minified source is box-reduced first, because bilinear sampling alone would alias.
        """
        source, factor = Image.fromarray(image), max(int(self.size / (1.5 * side)), 1)
        if factor > 1:
            source = source.reduce(factor)
        c, s = np.cos(self.angle), np.sin(self.angle)
        k = self.size / side / factor
        ox = self.cx / factor - 0.5 * side * k * (c - s)
        oy = self.cy / factor - 0.5 * side * k * (s + c)
        matrix = (k * c, -k * s, ox, k * s, k * c, oy)
        return np.asarray(
            source.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        )

    def paste(self, values: Array, height: int, width: int) -> Array:
        """Inverse of :meth:`crop` for a float map [S,S]: resample into an image [height,width], 0 outside."""
        side = values.shape[0]
        c, s, k = np.cos(self.angle), np.sin(self.angle), side / self.size
        # Pillow maps destination to source: u = k (R^T (p - centre)) + side/2.
        ox = 0.5 * side - k * (c * self.cx + s * self.cy)
        oy = 0.5 * side - k * (-s * self.cx + c * self.cy)
        matrix = (k * c, k * s, ox, -k * s, k * c, oy)
        source = Image.fromarray(values.astype(np.float32), mode="F")
        return np.asarray(
            source.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        )


def sigmoid(x: NDArray) -> Array:
    """Logistic function, clipped so that float32 never overflows."""
    return (1.0 / (1.0 + np.exp(-np.clip(x, -60.0, 60.0)))).astype(np.float32)


def ssd_anchors(input_size: int, strides: tuple[int, ...]) -> Array:
    """Anchor centres [A,2] (x, y in 0..1) of a fixed-size-anchor SSD head.

    Layers of equal stride share one grid and put two anchors per layer in every cell (aspect 1 and the
    interpolated scale); with fixed anchor sizes only the centres matter.
    """
    anchors: list[Array] = []
    layer = 0
    while layer < len(strides):
        last = layer
        while last < len(strides) and strides[last] == strides[layer]:
            last += 1
        n = -(-input_size // strides[layer])
        centres = (np.arange(n, dtype=np.float32) + 0.5) / n
        grid = np.stack(np.meshgrid(centres, centres), -1).reshape(-1, 1, 2)
        anchors.append(np.repeat(grid, 2 * (last - layer), 1).reshape(-1, 2))
        layer = last
    return np.concatenate(anchors)


@dataclass(frozen=True)
class Detection:
    """One SSD hit in image pixels: score, box (x0, y0, x1, y1) and keypoints [K,2]."""

    score: float
    box: Array
    keypoints: Array


def decode_detections(
    raw: Array, logits: Array, anchors: Array, input_size: int, roi: Roi, threshold: float, merge: float = 0.3
) -> list[Detection]:
    """Decode an SSD head and merge overlapping hits by score-weighted averaging (best first).

    Args:
        raw: [A,4+2K] centre, size and keypoints in network pixels relative to the anchor.
        logits: [A] scores before the sigmoid.
        roi: where the network input was cut from.
        merge: boxes with a larger intersection over union than this are blended into one.
    """
    scores = sigmoid(logits.reshape(-1))
    keep = np.flatnonzero(scores >= threshold)
    if not len(keep):
        return []
    scores = scores[keep]
    coords = raw.reshape(len(anchors), -1)[keep] / input_size
    centre = coords[:, :2] + anchors[keep]
    half = 0.5 * coords[:, 2:4]
    boxes = np.concatenate([centre - half, centre + half], 1)
    keypoints = coords[:, 4:].reshape(len(keep), -1, 2) + anchors[keep][:, None]
    rest, found = np.argsort(-scores), []
    while len(rest):
        best = rest[0]
        overlap = box_iou(boxes[best], boxes[rest])
        group = rest[overlap > merge] if (overlap > merge).any() else rest[:1]
        weight = scores[group] / scores[group].sum()
        points = np.concatenate([boxes[group].reshape(-1, 2, 2), keypoints[group]], 1)
        points = roi.to_image((weight[:, None, None] * points).sum(0))
        found.append(Detection(float(scores[best]), points[:2].reshape(4), points[2:]))
        rest = np.setdiff1d(rest, group, assume_unique=True)
        rest = rest[np.argsort(-scores[rest])]
    return found


def box_iou(box: Array, others: Array) -> Array:
    """Intersection over union of one box [4] with [N,4]."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    inner = np.prod(np.clip(high - low, 0, None), 1)
    area = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], 1)
    return inner / np.maximum(area - inner, 1e-9)


def letterbox(width: int, height: int) -> Roi:
    """The smallest unrotated square around a whole image."""
    return Roi(0.5 * width, 0.5 * height, float(max(width, height)))


def aligned_roi(start: Array, end: Array, target_angle: float) -> float:
    """Rotation that turns the image direction start->end to ``target_angle`` (y up), radians in (-pi, pi]."""
    angle = target_angle - np.arctan2(-(end[1] - start[1]), end[0] - start[0])
    return float(angle - 2 * np.pi * np.floor((angle + np.pi) / (2 * np.pi)))
