"""Live correction: the network's correction branch drives a stored avatar, frame by frame.

Implements `animate.Correction` on top of `lca_core.model.Corrector`. Corrections are taken relative to the
rest frame, whose correction is already part of the canonical Gaussians, so that the zero pose is the
canonical avatar exactly.
"""

from __future__ import annotations

import numpy as np

from lca_core.avatar.animate import Deltas
from lca_core.avatar.avatar import Avatar
from lca_core.avatar.frame import PoseFrame
from lca_core.model.assemble import Corrector
from lca_core.model.checkpoint import load_model
from lca_core.model.network import LCAModel
from lca_core.splat.harmonics import C0

REST = PoseFrame()


class NetworkCorrection:
    """Corrections from the network; see :class:`lca_core.avatar.animate.Animator`."""

    def __init__(self, corrector: Corrector) -> None:
        self._corrector = corrector
        self.at_rest = self._raw(REST)

    @staticmethod
    def of(avatar: Avatar, model: LCAModel | None = None) -> NetworkCorrection:
        """The live correction of a stored avatar; loads the weights it was made with unless ``model`` is
        given.
        """
        model = model or load_model(avatar.weights.config)
        return NetworkCorrection(
            Corrector(
                model,
                avatar.network["identity_map"].astype(np.float32),
                avatar.betas,
                avatar.canonical.texel,
                avatar.canonical.uv_size,
            )
        )

    def __call__(self, frame: PoseFrame, rotations: np.ndarray) -> Deltas:
        now, rest = self._raw(frame), self.at_rest
        return Deltas(
            now.means - rest.means,
            now.quats - rest.quats,
            now.log_scales - rest.log_scales,
            now.sh0 - rest.sh0,
        )

    def _raw(self, frame: PoseFrame) -> Deltas:
        change = self._corrector(frame.joint_rotations, frame.arkit, frame.gaze)
        return Deltas(change.means, change.quats, change.log_scales, change.colors / C0)
