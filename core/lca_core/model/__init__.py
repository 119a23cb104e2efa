"""The LCA network: references of a person in, canonical Gaussians once and corrections per frame out.

The usual way through: ``load_model()``, ``prepare_references(...)``, ``canonical_gaussians(model, refs)``,
later
``Corrector`` per stored avatar. Names are imported on first use so that ``import lca_core.model`` stays
cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "CanonicalGaussians": "assemble",
    "Corrector": "assemble",
    "TexelCorrection": "assemble",
    "canonical_gaussians": "assemble",
    "WeightsInfo": "checkpoint",
    "load_model": "checkpoint",
    "save_weights": "checkpoint",
    "weights_path": "checkpoint",
    "ModelConfig": "config",
    "preset": "config",
    "sample_views": "inverse_texture",
    "LCAModel": "network",
    "TokenModel": "paper",
    "References": "references",
    "prepare_references": "references",
    "Template": "template",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
