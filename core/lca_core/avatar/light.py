"""Relighting an avatar: what creation stores for it, and the light of pose frames and pictures.

In: an :class:`Avatar`. Out: the same avatar with de-lit albedo and occlusion-aware transfer
(:func:`with_light_transfer`), or a :class:`~lca_core.relight.shade.Relighter` for its posed Gaussians.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lca_core.avatar.avatar import Avatar, Relight
from lca_core.avatar.frame import PoseFrame
from lca_core.body.names import HAND_JOINTS, HEAD_JOINTS, JOINT_INDEX
from lca_core.model.teeth import drawn_teeth
from lca_core.relight.estimate import by_cell, load_estimator, shading
from lca_core.relight.shade import CLOTH, EYE, SKIN, Relighter
from lca_core.relight.transfer import normals_of, occluded, turned, unoccluded
from lca_core.splat.harmonics import C0

KEY = "light_transfer"
"""In ``provenance``: how the file's light transfer was made."""
DIM, BRIGHT = 0.35, 2.2
"""Bounds of the shading that is divided out, over its mean: beyond them the estimate is not trusted."""
MADE_UP = 0.05
"""Trust left to colours that were not copied: enough to speak where nothing else does."""
EYE_JOINTS = ("left_eye_smplhf", "right_eye_smplhf")


def gloss(avatar: Avatar) -> NDArray[np.uint8]:
    """Row of ``shade.SHEEN`` (N,): eyeballs are wet, head, neck and hands are skin, the rest is cloth. Only a
    guess from the skeleton: hair and gloves count as skin, bare arms as cloth."""
    heavy = np.asarray(avatar.skinning.joint_indices)[:, 0]
    skin = [JOINT_INDEX["neck"], *HEAD_JOINTS, *HAND_JOINTS["left"], *HAND_JOINTS["right"]]
    out = np.full(len(heavy), CLOTH, np.uint8)
    out[np.isin(heavy, skin)] = SKIN
    out[np.isin(heavy, [JOINT_INDEX[name] for name in EYE_JOINTS])] = EYE
    return out


def relighter(avatar: Avatar) -> Relighter:
    """The relighter of an avatar as its file says."""
    return Relighter(avatar.relight.albedo, avatar.relight.transfer, avatar.canonical.quats, gloss(avatar))


def with_light_transfer(
    avatar: Avatar, frame: PoseFrame | None = None, trust: NDArray | None = None
) -> Avatar:
    """Light transfer with self-occlusion, and the photographs' light divided out of the albedo.

    Args:
        frame: pose of the photographs, if known: there the light fell on the person. Rest otherwise.
        trust: (N,) share 0-1 of each colour that was copied; all of it when left out.
    """
    c = avatar.canonical
    normals = normals_of(c.quats)
    transfer = occluded(c.means, normals, c.opacities)
    # Lips hide teeth at rest only; the shade of an open mouth is in their colours.
    teeth = drawn_teeth(c.texel, c.uv_size) >= 0
    transfer[teeth] = unoccluded(normals[teeth])
    colors = to_linear(np.clip(0.5 + C0 * c.sh[:, 0], 0, 1))
    posed = transfer if frame is None else turned_transfer(avatar, transfer, frame)
    area = np.prod(np.sort(c.scales, axis=1)[:, 1:], axis=1) * c.opacities
    weights = area if trust is None else area * np.maximum(trust, MADE_UP)
    light = load_estimator()(by_cell(c.texel, c.uv_size, colors, posed, weights))
    shade = shading(posed, light)
    middle = np.average(shade, axis=0, weights=weights)
    bare = colors / np.clip(shade, DIM * middle, BRIGHT * middle)
    facts = {
        "occlusion": "depth maps, 96 directions",
        "input_light": [[round(float(v), 4) for v in row] for row in light],
    }
    return replace(
        avatar,
        relight=Relight(np.clip(bare, 0, 1).astype(np.float32), transfer),
        provenance={**avatar.provenance, KEY: facts},
    )


def photo_pose(poses: NDArray) -> PoseFrame:
    """The pose (F,55,3) of the first photograph without the turn of the whole body: where the light fell.
    People who turn before the camera have no one light; what is divided out then is what copying left of
    it."""
    rotations = np.array(poses[0], np.float32).reshape(-1, 3)
    rotations[0] = 0
    return PoseFrame(joint_rotations=rotations)


def turned_transfer(avatar: Avatar, transfer: NDArray, frame: PoseFrame) -> NDArray[np.float64]:
    """Canonical transfer (N,9) as it lies in the world in the pose of ``frame``."""
    from lca_core.avatar.animate import Animator

    dark = PoseFrame(frame.translation, frame.joint_rotations, frame.arkit, frame.gaze)
    posed = Animator(avatar).evaluate(dark).quats.numpy().astype(np.float64)
    rest = avatar.canonical.quats.astype(np.float64)
    return turned(transfer, _matrix(posed) @ np.swapaxes(_matrix(rest), 1, 2))


def _matrix(quats: NDArray) -> NDArray[np.float64]:
    w, x, y, z = (quats / np.linalg.norm(quats, axis=1, keepdims=True)).T
    return np.stack(
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
         2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
         2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], 1
    ).reshape(-1, 3, 3)  # fmt: skip


def to_linear(srgb: NDArray) -> NDArray[np.float64]:
    """sRGB 0-1 to linear light."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0.04045) + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: NDArray) -> NDArray[np.float64]:
    """Linear light to sRGB, not clipped above 1."""
    return np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    )


def unlit(avatar: Avatar) -> Avatar:
    """The avatar with its albedo as colour, for renderers that bring their own light; pose and shape changes
    of colour, which were learned with the old light, are left out. The proxy's texture is divided by the
    same light, vertex by vertex of its texture chart."""
    if KEY not in avatar.provenance:  # a file from before the light was estimated
        avatar = with_light_transfer(avatar)
    canonical, shapes = avatar.canonical, avatar.correctives
    sh = np.zeros_like(canonical.sh)
    sh[:, 0] = (to_srgb(avatar.relight.albedo) - 0.5) / C0
    return replace(
        avatar,
        canonical=replace(canonical, sh=sh.astype(np.float32)),
        correctives=replace(
            shapes, arkit_sh0=np.zeros_like(shapes.arkit_sh0), pose_sh0=np.zeros_like(shapes.pose_sh0)
        ),
        proxy=replace(avatar.proxy, texture=_unlit_texture(avatar)),
    )


def _unlit_texture(avatar: Avatar) -> NDArray[np.uint8]:
    """The proxy texture times the ratio of albedo and colour of the Gaussians nearest on the texture."""
    from scipy.spatial import cKDTree

    proxy, canonical = avatar.proxy, avatar.canonical
    height, width = proxy.texture.shape[:2]
    colors = to_linear(np.clip(0.5 + C0 * canonical.sh[:, 0], 0, 1))
    ratio = (avatar.relight.albedo + 0.02) / (colors + 0.02)
    # Ratio per corner of the texture chart, from the Gaussians near its vertex; then over the picture.
    _, near = cKDTree(canonical.means).query(proxy.vertices, k=8)
    corner = np.empty((len(proxy.uvs), 3))
    corner[proxy.face_uvs.ravel()] = ratio[near].mean(1)[proxy.faces.ravel()]
    used = np.unique(proxy.face_uvs)
    coarse = 256
    at = (np.arange(coarse) + 0.5) / coarse
    u, v = np.meshgrid(at, 1 - at)
    distance, pick = cKDTree(proxy.uvs[used]).query(np.stack([u.ravel(), v.ravel()], 1), k=3)
    weight = 1 / (distance + 1e-4)
    field = (corner[used][pick] * (weight / weight.sum(1, keepdims=True))[..., None]).sum(1)
    rows = np.minimum(np.arange(height) * coarse // height, coarse - 1)
    columns = np.minimum(np.arange(width) * coarse // width, coarse - 1)
    grown = field.reshape(coarse, coarse, 3)[rows][:, columns]
    linear = to_linear(proxy.texture / 255.0) * grown
    return np.asarray(np.clip(to_srgb(linear), 0, 1) * 255 + 0.5, np.uint8)
