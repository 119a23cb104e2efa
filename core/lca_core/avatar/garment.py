"""What a loose garment changes in a finished avatar besides its Gaussians: correctives and proxy mesh.

In: a :class:`~lca_core.model.dressing.Dressing` (None for tight clothes, which changes nothing). The weights
end as the same four snapped influences as all others, so every client and exporter uses them without knowing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lca_core.avatar.avatar import Correctives, Proxy
from lca_core.avatar.proxy import vertex_normals
from lca_core.avatar.skinning import snap_weights
from lca_core.model.dressing import Dressing


def still(correctives: Correctives, loose: Dressing) -> None:
    """Pose correctives of legs are no correctives of the cloth that hangs over them: zero them there."""
    for part in (
        correctives.pose_means, correctives.pose_quats, correctives.pose_log_scales, correctives.pose_sh0
    ):  # fmt: skip
        part[:, loose.points.where] = 0


def dressed_proxy(proxy: Proxy, loose: Dressing | None) -> Proxy:
    """The proxy mesh with the legs' vertices on the skirt and with its weights."""
    if loose is None:
        return proxy
    vertices = np.array(proxy.vertices)
    where = loose.mesh.where
    vertices[where] = loose.mesh.means
    indices, weights = np.array(proxy.joint_indices), np.array(proxy.joint_weights)
    indices[where], weights[where] = snap_weights(loose.mesh_weights)
    normals = vertex_normals(vertices, proxy.faces).astype(np.float32)
    normals[where] = loose.mesh.frames[:, :, 2]
    return replace(proxy, vertices=vertices, normals=normals, joint_indices=indices, joint_weights=weights)


def garment_facts(loose: Dressing | None) -> dict[str, Any] | None:
    """What the avatar file tells about the garment: Gaussians, hem height, evidence of the masks."""
    if loose is None:
        return None
    return {
        "gaussians": len(loose.points.where),
        "hem_m": round(loose.skirt.hem_y, 3),
        "filled": round(loose.skirt.filled, 3),
        "views": loose.skirt.views,
    }
