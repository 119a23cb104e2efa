"""Weights on disk: one safetensors file, fp16, its configuration in the header, its hash in the name of
trust.

Shipped weights lie in ``model/weights/<name>.safetensors`` beside their model card. A model is only ever
made from a
file whose header says which configuration it is; random weights are never passed off as a model.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lca.errors import DataLossError, InvalidInputError, NotFoundError
from lca_core.model.codes import POSE_LAYOUT
from lca_core.model.config import ModelConfig
from lca_core.model.inverse_texture import UV_LAYOUT
from lca_core.model.network import LCAModel
from lca_core.model.template import Template

SCHEMA = "lca.weights/1"
WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class WeightsInfo:
    """What a weight file says about itself: configuration name, sha256 of the file, header metadata."""

    config: ModelConfig
    sha256: str
    metadata: dict[str, str]


def save_weights(
    path: Path, state: Mapping[str, Tensor], config: ModelConfig, metadata: dict[str, str] | None = None
) -> str:
    """Write fp16 weights atomically; returns the sha256 of the file.

    Raises:
        InvalidInputError: a weight is not finite or leaves the range of fp16.
    """
    from safetensors.torch import save_file

    tensors = {}
    for key, value in state.items():
        half = value.detach().cpu().to(torch.float16).contiguous()
        if not bool(torch.isfinite(half).all()):
            raise InvalidInputError(f"The weight {key} is not finite in fp16; the run has diverged.")
        tensors[key] = half
    header = {
        "schema": SCHEMA,
        "config": json.dumps(config.to_dict(), sort_keys=True),
        "pose_layout": POSE_LAYOUT,
        "uv_layout": UV_LAYOUT,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    save_file(tensors, str(temporary), header | (metadata or {}))
    # safetensors writes 0600; weights are installed for everybody.
    temporary.chmod(0o644)
    os.replace(temporary, path)
    return file_hash(path)


def replace_part(base: Path, path: Path, prefix: str, state: Mapping[str, Tensor]) -> str:
    """``base`` with the part ``prefix`` of the network exchanged for ``state`` (names without the prefix),
    written to ``path``. Every other weight and the header stay bit by bit. Returns the sha256."""
    from safetensors.torch import load_file

    info = read_info(base)
    kept = {k: v for k, v in load_file(str(base)).items() if not k.startswith(prefix)}
    part = {prefix + k: v for k, v in state.items()}
    return save_weights(path, kept | part, info.config, info.metadata)


def file_hash(path: Path) -> str:
    """sha256 of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights_path(name: str = "lca-xs") -> Path:
    """Where shipped weights called ``name`` lie (the file may be missing)."""
    return WEIGHTS / f"{name}.safetensors"


def read_info(path: Path) -> WeightsInfo:
    """Header of a weight file."""
    from safetensors import safe_open

    try:
        with safe_open(str(path), "pt") as file:
            metadata = dict(file.metadata() or {})
    except Exception as error:
        raise DataLossError(f"{path.name} is not a readable weight file; fetch or train it again.") from error
    if metadata.get("schema") != SCHEMA or "config" not in metadata:
        raise InvalidInputError(f"{path.name} has schema {metadata.get('schema')!r}; expected {SCHEMA!r}.")
    for key, ours in (("pose_layout", POSE_LAYOUT), ("uv_layout", UV_LAYOUT)):
        if metadata.get(key) != ours:
            raise InvalidInputError(
                f"{path.name} was trained with {key} {metadata.get(key)!r}, this version uses {ours!r}; "
                "use weights made for this version."
            )
    return WeightsInfo(ModelConfig.from_dict(json.loads(metadata["config"])), file_hash(path), metadata)


def load_model(name: str = "lca-xs", path: Path | None = None, template: Template | None = None) -> LCAModel:
    """A trained model in evaluation mode, fp32 on the CPU; ``model.info`` says which weights.

    Args:
        name: preset whose shipped weights to load. path: another weight file instead.

    Raises:
        NotFoundError: the file is missing. DataLossError, InvalidInputError: it is broken or of another
        version.
    """
    from safetensors.torch import load_file

    file = path or weights_path(name)
    if not file.exists():
        raise NotFoundError(
            f"No trained weights for {name!r} ({file.name}). Train them with "
            f"'lca train pretrain --config {name} --data DIR --out DIR', "
            "or choose a model that ships.",
            reason="WEIGHTS_NOT_FOUND",
        )
    info = read_info(file)
    model = LCAModel(info.config, template)
    state: dict[str, Any] = {k: v.float() for k, v in load_file(str(file)).items()}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise InvalidInputError(
            f"{file.name} does not fit its own configuration; it was made by another version of the network."
        ) from error
    model.eval()
    model.info = info
    return model
