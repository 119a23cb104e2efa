"""Every frame of a motion as posed splats, in the order of the export."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lca_bridge.wire.skin import BakedRig, PosedSplats
from lca_usd.asset import Asset
from lca_usd.motion import Clip


def posed_splats(asset: Asset, clip: Clip) -> Iterator[PosedSplats]:
    """The baked rig's splats of each frame, sorted like ``asset.splats``; colours are not turned."""
    rig, order = BakedRig(asset.package), asset.splats.source
    for frame in range(len(clip)):
        posed = rig.pose(
            clip.joint_rotations[frame], clip.translation[frame], clip.arkit[frame], clip.gaze[frame]
        )
        yield PosedSplats(
            *(np.ascontiguousarray(v[order]) for v in (posed.means, posed.quats, posed.scales)),
            posed.opacities[order],
            posed.sh[order],
        )
