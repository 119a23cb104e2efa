"""Where face and hands lie in a photograph: boxes from the fitted body, the same for every method."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lca_core.avatar.fitting import Photo
from lca_core.body.lbs import joint_transforms
from lca_core.body.model import BodyModel
from lca_core.body.names import HAND_JOINTS, HEAD_JOINTS, JOINT_INDEX
from lca_core.body.rotation import axis_angle_to_matrix
from lca_core.evaluate.metrics import Box, box_around

FACING = 0.3
"""Cosine between the face's direction and the way to the camera above which the face counts as seen."""


class Regions:
    """Boxes of one person in photographs.

    Args:
        betas: (50,) body shape.
    """

    def __init__(self, body: BodyModel, betas: NDArray[np.floating]) -> None:
        self.body, self.betas = body, torch.as_tensor(np.asarray(betas, np.float32))[None]
        owner = body.weights.numpy().argmax(1)
        self._head = np.nonzero(np.isin(owner, HEAD_JOINTS))[0]
        self._hands = {side: np.nonzero(np.isin(owner, joints))[0] for side, joints in HAND_JOINTS.items()}

    def head_points(self, photo: Photo) -> NDArray[np.float32]:
        """Pixels [P,2] of the head's vertices."""
        return self._pixels(photo)[self._head]

    def face(self, photo: Photo) -> Box | None:
        """The head where its front is turned to the camera."""
        if self.facing(photo) < FACING:
            return None
        return box_around(self.head_points(photo), photo.mask.shape, 0.08)

    def facing(self, photo: Photo) -> float:
        """Cosine -1..1 between the face's direction and the way to the camera."""
        rotations = axis_angle_to_matrix(torch.from_numpy(photo.frame.joint_rotations))
        _, joints = self.body.rest(self.betas, None)
        _, transforms = joint_transforms(rotations[None], joints, self.body.parents)
        forward = photo.viewmat[:3, :3] @ transforms[0, JOINT_INDEX["head"], :3, 2].numpy()
        return -float(forward[2])

    def hands(self, photo: Photo) -> list[Box]:
        """Both hands, where they lie in the picture."""
        pixels = self._pixels(photo)
        boxes = [box_around(pixels[v], photo.mask.shape, 0.15) for v in self._hands.values()]
        return [b for b in boxes if b is not None and b.cut(photo.mask).mean() > 0.1]

    def _pixels(self, photo: Photo) -> NDArray[np.float32]:
        frame = photo.frame
        with torch.no_grad():
            posed = self.body(
                self.betas,
                torch.from_numpy(frame.joint_rotations)[None],
                torch.from_numpy(np.asarray(frame.translation, np.float32))[None],
                torch.from_numpy(frame.arkit)[None],
            )
        points = posed.vertices[0].numpy() @ photo.viewmat[:3, :3].T + photo.viewmat[:3, 3]
        z = np.maximum(points[:, 2:], 1e-3)
        return (points[:, :2] / z * (photo.K[0, 0], photo.K[1, 1]) + photo.K[:2, 2]).astype(np.float32)
