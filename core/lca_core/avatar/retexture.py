"""Colours of a fitted avatar read anew: its Gaussians, where they lie now, looked up in the photographs.

Moving the surface out to where the clothes are leaves colours behind that were read at the old place.
Copying them again by inverse texture mapping (``lca_core.model.inverse_texture``) keeps pictures on cloth
whole, where fitting them Gaussian by Gaussian would average misaligned views.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lca.errors import PreconditionError
from lca_core.avatar.avatar import Avatar
from lca_core.avatar.fitting import Photo
from lca_core.model.density import Samples, plan
from lca_core.model.inverse_texture import sample_points
from lca_core.model.network import LCAModel
from lca_core.model.references import prepare_references

TEXTURE_SIZES = (256, 512, 128)


def copied_colors(
    avatar: Avatar, photos: Sequence[Photo], model: LCAModel
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the photographs show at the avatar's Gaussians.

    Args:
        photos: with the poses and cameras that fit the avatar. model: the network the avatar was made with
            (its grid).

    Returns:
        colours (N,3) sRGB 0-1 and trust (N,) 0-1, 0 where no photograph shows a Gaussian and on the eyeballs.
    """
    samples = samples_of(avatar, model)
    references = prepare_references(
        [p.image for p in photos],
        [(p.mask * 255 + 0.5).astype(np.uint8) for p in photos],
        np.stack([p.K for p in photos]),
        np.stack([p.viewmat for p in photos]),
        np.stack([p.frame.joint_rotations for p in photos]),
        np.stack([p.frame.translation for p in photos]),
        np.stack([p.frame.arkit for p in photos]),
        np.stack([p.frame.gaze for p in photos]),
        avatar.betas,
        model.config,
        model.template,
    )
    position, frame, _ = samples._rest(torch.from_numpy(np.asarray(avatar.betas, np.float32)))
    away = np.asarray(avatar.canonical.means, np.float32) - position.numpy()
    offset = np.einsum("tji,tj->ti", frame.numpy(), away).astype(np.float32)
    offset[samples.eyes] = 0
    seen = sample_points(samples, references, 0, offset, depth_size=384, by_part=True)
    trust = np.where(samples.eyes, 0.0, seen.hit).astype(np.float32)
    return seen.color, trust


def samples_of(avatar: Avatar, model: LCAModel) -> Samples:
    """The places of the avatar's Gaussians on the body, with their sizes on the atlas."""
    texel = np.asarray(avatar.canonical.texel, np.int64)
    key = texel[:, 0] * avatar.canonical.uv_size + texel[:, 1]
    for size in TEXTURE_SIZES:
        samples = plan(model.template, size)
        known = samples.rows * samples.size + samples.cols
        order = np.argsort(known)
        at = order[np.minimum(np.searchsorted(known[order], key), len(order) - 1)]
        if samples.size == avatar.canonical.uv_size and (known[at] == key).all():
            return Samples(model.template, texel[:, 0], texel[:, 1], samples.size, samples.step[at])
    raise PreconditionError(
        "The avatar's Gaussians do not lie on this model's grid; use the weights it was made with."
    )
