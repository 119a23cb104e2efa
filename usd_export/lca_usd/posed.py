"""Every frame of a motion as posed splats, in the order of the export."""

from __future__ import annotations

from collections.abc import Iterator

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
            posed.means[order],
            posed.quats[order],
            posed.scales[order],
            posed.opacities[order],
            posed.sh[order],
        )
