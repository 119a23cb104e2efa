"""A posable avatar that gradients flow through: what refinement and alignment to photographs stand on.

In: an avatar and photographs with their cameras and pose frames. Out: differentiable renders of the avatar
in those photographs. The correctives of every frame are computed once and stay fixed (the correction branch
is frozen); skinning blends the same four influences as everywhere (docs/avatar-file.md), here in torch.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from lca_core.avatar.animate import EYES, Deltas, LinearCorrection, local_rotations
from lca_core.avatar.avatar import Avatar
from lca_core.avatar.frame import PoseFrame
from lca_core.body.lbs import joint_transforms
from lca_core.body.names import JOINT_INDEX
from lca_core.body.rotation import axis_angle_to_matrix
from lca_core.splat import render
from lca_core.splat.harmonics import C0
from lca_core.splat.skinning import skin_gaussians

MOVABLE = tuple(JOINT_INDEX[name] for name in JOINT_INDEX if JOINT_INDEX[name] < 22)
"""Joints whose pose may be corrected: the body, not face and fingers."""


@dataclass(frozen=True)
class Photo:
    """One photograph of the person.

    Attributes:
        image: uint8 [H,W,3] sRGB; mask: float32 [H,W] matte 0-1.
        K: (3,3) pixels; viewmat: (4,4) world-to-camera.
        frame: body, face and gaze in it.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.float32]
    K: NDArray[np.float32]
    viewmat: NDArray[np.float32]
    frame: PoseFrame

    def scaled(self, height: int) -> Photo:
        """The same photograph ``height`` pixels high (never enlarged)."""
        h, w = self.mask.shape
        if h <= height:
            return self
        size = (max(1, round(w * height / h)), height)
        # Premultiplied, so that background does not enter the rim.
        rgb = np.asarray(self.image, np.float32) * self.mask[..., None]
        parts = [
            np.asarray(Image.fromarray(np.ascontiguousarray(c)).resize(size, Image.Resampling.BOX))
            for c in (*np.moveaxis(rgb, -1, 0), np.asarray(self.mask, np.float32))
        ]
        mask = parts[3].clip(0, 1)
        rgb = np.stack(parts[:3], -1) / np.maximum(mask, 1e-3)[..., None]
        k = self.K.copy()
        k[0] *= size[0] / w
        k[1] *= size[1] / h
        return replace(self, image=rgb.clip(0, 255).astype(np.uint8), mask=mask, K=k)

    def over(self, background: float = 0.0) -> NDArray[np.float32]:
        """The person over a plain grey: float32 [H,W,3] 0-1."""
        alpha = self.mask[..., None]
        return (self.image.astype(np.float32) / 255 * alpha + background * (1 - alpha)).astype(np.float32)


@dataclass
class Change:
    """What a fit adds to the canonical Gaussians: means (N,3) m, log_scales (N,3), logits (N,1) of the
    opacity, colors (N,3) sRGB."""

    means: Tensor
    log_scales: Tensor
    logits: Tensor
    colors: Tensor


@dataclass
class Placement:
    """Correction of where a photograph shows the person: root (3,) and joints (21,3) axis-angle, shift (3,)
    m, zoom (1,) log of the focal length."""

    root: Tensor
    joints: Tensor
    shift: Tensor
    zoom: Tensor

    @staticmethod
    def none() -> Placement:
        return Placement(torch.zeros(3), torch.zeros(21, 3), torch.zeros(3), torch.zeros(1))

    def parameters(self) -> list[Tensor]:
        return [self.root, self.joints, self.shift, self.zoom]


class FittedAvatar:
    """An avatar in front of photographs.

    Args:
        avatar: whose Gaussians are rendered.
        photos: in the size they are compared at.
    """

    def __init__(self, avatar: Avatar, photos: list[Photo]) -> None:
        self.photos = photos
        c, s = avatar.canonical, avatar.skinning
        n = avatar.gaussian_count
        self.means = torch.from_numpy(np.array(c.means, np.float32))
        self.quats = np.asarray(c.quats, np.float32)
        self.log_scales = torch.from_numpy(np.log(np.array(c.scales, np.float32)))
        opacity = torch.from_numpy(np.array(c.opacities, np.float32)).clamp(1e-4, 1 - 1e-4)
        self.logits = torch.logit(opacity)[:, None]
        self.colors = torch.from_numpy(np.array(c.sh[:, 0], np.float32)) * C0 + 0.5
        self.joint_indices = torch.from_numpy(np.array(s.joint_indices))
        self.joint_weights = torch.from_numpy(np.array(s.joint_weights, np.float32))
        self.rest = torch.from_numpy(np.array(s.joints, np.float32))
        self.parents = [int(p) for p in s.parents]
        dense = torch.zeros(n, len(self.parents))
        dense.scatter_add_(1, self.joint_indices.long(), self.joint_weights)
        self.weights = dense
        correction = LinearCorrection(avatar)
        self._rotations: list[Tensor] = []
        self._deltas = []
        for photo in photos:
            rotations = local_rotations(photo.frame)
            self._rotations.append(rotations)
            self._deltas.append(correction(photo.frame, rotations.numpy()))
        self._fixed: dict[int, tuple[Tensor, Tensor]] = {}

    def thinned(self, count: int, photos: list[Photo]) -> tuple[FittedAvatar, NDArray[np.int64]]:
        """About ``count`` of the Gaussians, the larger the likelier, grown to cover what all cover, and
        their indices (n,): smooth changes are found as well with them, in a fraction of the time.

        Args:
            photos: the same photographs in any size.
        """
        sides = self.log_scales.exp().sort(1, descending=True).values
        area = (sides[:, 0] * sides[:, 1]).double()
        low, high = 0.0, float(1 / area.min())
        for _ in range(60):
            middle = (low + high) / 2
            few = float((area * middle).clamp(max=1).sum()) < count
            low, high = (middle, high) if few else (low, middle)
        share = (area * high).clamp(max=1)
        # Every time the running sum of shares passes a whole number: evenly along the atlas.
        passed = torch.floor(torch.cumsum(share, 0) + 0.5)
        index = torch.nonzero(torch.diff(passed, prepend=passed.new_zeros(1)) > 0)[:, 0]
        out = copy.copy(self)
        out.photos, out._fixed = photos, {}
        for name in ("means", "logits", "colors", "weights", "joint_indices", "joint_weights"):
            setattr(out, name, getattr(self, name)[index].contiguous())
        # Along the surface only: thicker ones would widen silhouettes, and a fit would slim the person.
        along = self.log_scales[index] > self.log_scales[index].min(1, keepdim=True).values
        out.log_scales = self.log_scales[index] - 0.5 * share[index].log().float()[:, None] * along
        chosen = index.numpy()
        out.quats = self.quats[chosen]
        out._deltas = [
            Deltas(d.means[chosen], d.quats[chosen], d.log_scales[chosen], d.sh0[chosen])
            for d in self._deltas
        ]
        return out, chosen

    def none(self) -> Change:
        """No change."""
        n = len(self.means)
        return Change(torch.zeros(n, 3), torch.zeros(n, 3), torch.zeros(n, 1), torch.zeros(n, 3))

    def transforms(self, view: int, place: Placement | None) -> Tensor:
        """Rest-to-posed joint transforms (55,4,4) of a photograph, translation included."""
        rotations = self._rotations[view]
        shift = torch.from_numpy(np.asarray(self.photos[view].frame.translation))
        if place is not None:
            turn = axis_angle_to_matrix(torch.cat([place.root[None], place.joints]))
            moved = rotations[:22] @ turn
            # The root turns in world axes, so that its three numbers mean the same in every view.
            moved = torch.cat([turn[:1] @ rotations[:1], moved[1:]])
            rotations = torch.cat([moved, rotations[22:]])
            shift = shift + place.shift
        _, out = joint_transforms(rotations[None], self.rest[None], self.parents)
        upper = torch.cat([out[0, :, :3, :3], out[0, :, :3, 3:] + shift[:, None]], 2)
        return torch.cat([upper, out[0, :, 3:]], 1)

    def draw(
        self, view: int, change: Change, place: Placement | None = None, freeze: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Colour [H,W,3] over black and coverage [H,W] of the avatar in photograph ``view``.

        ``freeze``: the placement does not change any more; what follows from it is kept.
        """
        photo = self.photos[view]
        deltas = self._deltas[view]
        if freeze and view in self._fixed:
            blended, quats = self._fixed[view]
        else:
            transforms = self.transforms(view, place)
            blended = (self.weights @ transforms[:, :3].reshape(-1, 12)).view(-1, 3, 4)
            with torch.no_grad():
                turned = self.quats + deltas.quats
                turned /= np.linalg.norm(turned, axis=1, keepdims=True)
                quats = skin_gaussians(
                    self.means,
                    torch.from_numpy(turned),
                    self.joint_indices,
                    self.joint_weights,
                    transforms.detach(),
                )[1]
            if freeze:
                blended = blended.detach()
                self._fixed[view] = blended, quats
        rest = self.means + torch.from_numpy(deltas.means) + change.means
        means = (blended[:, :, :3] @ rest[..., None])[..., 0] + blended[:, :, 3]
        scales = (self.log_scales + torch.from_numpy(deltas.log_scales) + change.log_scales).exp()
        colors = (self.colors + torch.from_numpy(deltas.sh0) * C0 + change.colors).clamp(min=0)
        opacities = torch.sigmoid(self.logits + change.logits)[:, 0]
        k = torch.from_numpy(np.asarray(photo.K, np.float32))
        viewmat = torch.from_numpy(np.asarray(photo.viewmat, np.float32))
        if place is not None:
            # A longer focal length is the same picture from points that lie nearer to the axis.
            zoom = place.zoom.exp()
            rotation, offset = viewmat[:3, :3], viewmat[:3, 3]
            camera = means @ rotation.T + offset
            camera = torch.cat([camera[:, :2] * zoom, camera[:, 2:]], 1)
            means = (camera - offset) @ rotation
        h, w = photo.mask.shape
        image, alpha, _ = render(means, quats, scales, opacities, colors, viewmat[None], k[None], w, h)
        return image[0], alpha[0, ..., 0]


def placed(photo: Photo, place: Placement, fitted: FittedAvatar, view: int) -> Photo:
    """The photograph with its pose and focal length corrected by ``place``."""
    from lca_core.body.rotation import matrix_to_axis_angle

    with torch.no_grad():
        turn = axis_angle_to_matrix(torch.cat([place.root[None], place.joints]))
        base = fitted._rotations[view][:22]
        moved = torch.cat([turn[:1] @ base[:1], base[1:] @ turn[1:]])
        rotations = photo.frame.joint_rotations.copy()
        rotations[:22] = matrix_to_axis_angle(moved).numpy()
        rotations[list(EYES)] = photo.frame.joint_rotations[list(EYES)]
        k = photo.K.copy()
        k[0, 0] *= float(place.zoom.exp())
        k[1, 1] *= float(place.zoom.exp())
        frame = replace(
            photo.frame,
            joint_rotations=rotations,
            translation=photo.frame.translation + place.shift.numpy(),
        )
    return replace(photo, K=k, frame=frame)
