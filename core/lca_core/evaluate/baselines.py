"""Baselines: the textured template, which learns nothing, and fitting one person from scratch.

Both are avatars like ours and pass through the same code: the template is a network whose output heads are
still zero (``model.decoders``), so that it is the body with colours copied from the photographs by inverse
texture mapping, unseen places filled from near and mirrored ones; from scratch means the same body in one
plain colour before the fit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from lca_core.avatar.avatar import Avatar
from lca_core.avatar.refine import RefineOptions
from lca_core.model.checkpoint import WeightsInfo
from lca_core.model.network import LCAModel
from lca_core.splat.harmonics import C0

SCRATCH = RefineOptions(free_colors=True, keep_back=False)
"""The fit from one plain colour: nothing is worth staying near, so colours are free and move faster."""


def template_model(like: LCAModel) -> LCAModel:
    """The untrained network of the same shape as ``like``: what creation does without learning."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LCAModel(like.config, like.template)
    model.info = (
        WeightsInfo(like.config, "0" * 64, {})
        if like.info is None
        else replace(like.info, sha256="0" * 64, metadata={})
    )
    return model.eval()


def plain(avatar: Avatar, colour: tuple[float, float, float] = (0.5, 0.5, 0.5)) -> Avatar:
    """The avatar's body in one colour, without correctives learned from anything."""
    sh = np.zeros_like(avatar.canonical.sh)
    sh[:, 0] = (np.asarray(colour, np.float32) - 0.5) / C0
    return replace(avatar, canonical=replace(avatar.canonical, sh=sh))
