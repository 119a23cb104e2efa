"""Cameras in the OpenCV convention (x right, y down, z forward): world-to-camera matrices and pixel
intrinsics.

World: metres, right-handed, Y up, the person faces +Z. Pixel centres lie at +0.5, so the image centre is
(width/2, height/2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lca.errors import InvalidInputError

Vector = Tensor | Sequence[float]
WORLD_UP = (0.0, 1.0, 0.0)


def _vector(name: str, value: Vector) -> Tensor:
    """(3,) float64; cameras are few, so they are computed in double precision."""
    vector = torch.as_tensor(value).double()
    if tuple(vector.shape) != (3,):
        raise InvalidInputError(f"{name} has shape {tuple(vector.shape)}, expected (3,).")
    return vector


def look_at(eye: Vector, target: Vector, up: Vector = WORLD_UP) -> Tensor:
    """World-to-camera matrix (4, 4) float32 of a camera at ``eye`` that looks at ``target`` with ``up``
    upwards in the image.

    Looking straight along ``up`` is allowed; the image is then turned so that world +Z points up (or +X, if
    up is +-Z).

    Raises:
        InvalidInputError: eye and target coincide, or a vector is not (3,).
    """
    eye, target, up = _vector("eye", eye), _vector("target", target), _vector("up", up)
    forward = target - eye
    if float(forward.norm()) < 1e-9:
        raise InvalidInputError("look_at() needs an eye that differs from the target.")
    forward = forward / forward.norm()
    right = torch.linalg.cross(forward, up)
    if float(right.norm()) < 1e-6 * max(float(up.norm()), 1e-9):
        axis = [1.0, 0.0, 0.0] if abs(float(forward[2])) > 0.9 else [0.0, 0.0, 1.0]
        right = torch.linalg.cross(forward, forward.new_tensor(axis))
    right = right / right.norm()
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward])
    viewmat = torch.eye(4, dtype=torch.float64)
    viewmat[:3, :3] = rotation
    viewmat[:3, 3] = -rotation @ eye
    return viewmat.float()


def intrinsics(fov_y_deg: float, width: int, height: int) -> Tensor:
    """Pinhole matrix (3, 3) float32, pixels: square pixels, principal point in the image centre.

    Args:
        fov_y_deg: vertical field of view, degrees, between 0 and 180.
    """
    if not 0.0 < fov_y_deg < 180.0:
        raise InvalidInputError(f"The field of view {fov_y_deg} degrees must lie between 0 and 180.")
    if width < 1 or height < 1:
        raise InvalidInputError(f"The image size {width} x {height} is not positive.")
    focal = 0.5 * height / math.tan(math.radians(fov_y_deg) / 2)
    return torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])


def orbit(target: Vector, distance: float, n: int, elevation: float = 0.0) -> Tensor:
    """World-to-camera matrices (n, 4, 4) on a circle around ``target``, evenly spaced.

    Args:
        target: (3,) metres.
        distance: from camera to target, metres.
        n: number of cameras; the first stands on +Z (in front of the person), the next ones turn towards +X
            (the person's left).
        elevation: height angle of the circle above the target, degrees, between -90 and 90.
    """
    if n < 1 or distance <= 0:
        raise InvalidInputError(f"orbit() needs n >= 1 and a positive distance, got {n} and {distance}.")
    centre = _vector("target", target)
    height = math.radians(elevation)
    views = []
    for i in range(n):
        angle = 2 * math.pi * i / n
        offset = [math.cos(height) * math.sin(angle), math.sin(height), math.cos(height) * math.cos(angle)]
        views.append(look_at(centre + distance * torch.tensor(offset, dtype=torch.float64), centre))
    return torch.stack(views)
