"""Cameras of the data sets: a ring studio, crops of face and hands, and a hand-held phone.

In: random generators, points to show. Out: intrinsics (3,3) in pixels and world-to-camera matrices (4,4),
OpenCV axes, pixel centres at +0.5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from lca_core.data.samples import fit_camera
from lca_core.data.skinning import rotation_matrices

RINGS = (-0.12, 0.15, 0.5)
"""Elevations of the three rings of eight studio cameras, radians."""
PER_RING = 8
STUDIO_DISTANCE_M = 3.5

Camera = tuple[NDArray[np.float64], NDArray[np.float64]]


def studio_ring(rng: np.random.Generator, points: NDArray, size: int, count: int = 8) -> list[Camera]:
    """``count`` of the 24 jittered studio cameras, well spread around, each showing all ``points`` (N,3)."""
    start = int(rng.integers(PER_RING))
    out = []
    for k in range(count):
        column, ring = (start + k) % PER_RING, int(rng.integers(len(RINGS)))
        yaw = 2 * np.pi * (column + 0.5 * (ring % 2)) / PER_RING + rng.normal(0, 0.05)
        pitch = RINGS[ring] + rng.normal(0, 0.03)
        distance = STUDIO_DISTANCE_M + rng.normal(0, 0.15)
        shift = rng.uniform(-0.015, 0.015, 2) * size
        out.append(fit_camera(points, yaw, pitch, distance, size, size, rng.uniform(0.84, 0.94), shift))
    return out


def crop_camera(
    rng: np.random.Generator, points: NDArray, yaw: float, size: int, fill: float = 0.85
) -> Camera:
    """A close camera on ``points`` (N,3) (a face, a hand) near the direction ``yaw``."""
    shift = rng.uniform(-0.03, 0.03, 2) * size
    distance = float(rng.uniform(1.3, 2.2))
    return fit_camera(points, yaw, float(rng.uniform(-0.15, 0.35)), distance, size, size, fill, shift)


def phone(
    rng: np.random.Generator, low: NDArray, high: NDArray, frames: int, fps: float, size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A phone that films a person whose clip fills a box ``low``, ``high`` (3,): K (3,3), viewmats (T,4,4).

    The focal length is 0.8 to 1.6 times the long side and never changes; half the clips are hand-held: the
    camera drifts by centimetres and a degree or two, smoothly. The person may start at any side of the
    camera.
    """
    width, height = size
    focal = float(rng.uniform(0.8, 1.6)) * max(size)
    middle, extent = (low + high) / 2, (high - low) / 2
    fill = rng.uniform(0.75, 0.95)
    half = np.array([width, height]) / 2 / focal * fill
    reach = float(np.hypot(extent[0], extent[2]))
    distance = max(extent[1] / half[1], reach / half[0]) + 0.4 * reach
    yaw, pitch = float(rng.normal(0, 0.25)), float(rng.normal(0.04, 0.08))
    back = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    eye = np.repeat((middle + distance * back)[None], frames, 0)
    turn = np.zeros((frames, 3))
    if rng.random() < 0.5:
        drift = rng.standard_normal((frames + 400, 6))
        drift = gaussian_filter1d(drift, 0.7 * fps, axis=0)[200:-200]
        drift /= max(float(drift.std()), 1e-9)
        eye += 0.02 * drift[:, :3]
        turn = np.radians(0.6) * drift[:, 3:]
    right = np.cross(-back, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    level = np.stack([right, np.cross(-back, right), -back])
    viewmats = np.repeat(np.eye(4)[None], frames, 0)
    viewmats[:, :3, :3] = rotation_matrices(turn) @ level
    viewmats[:, :3, 3] = -np.einsum("tij,tj->ti", viewmats[:, :3, :3], eye)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]]), viewmats
