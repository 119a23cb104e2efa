"""Learning-rate groups: what is nearer to the input learns more slowly in post-training.

The rule of Large-scale Codec Avatars as usually read: layer l of L gets ``gamma ** (L - 1 - l)`` of the
rate, image encoders and embeddings one step less than the first layer, heads and decoders all of it. gamma
= 1 is no decay, gamma = 0 freezes everything below the last layer.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from lca_core.model.transformer import layer_rates

INPUTS = ("images.", "patches.", "places", "project.", "embed.")
"""Parameters in front of the first layer (``LCAModel`` and ``TokenModel``)."""
LAYERS = "encoder.layers."


def depth_factors(model: nn.Module, gamma: float) -> dict[str, float]:
    """Factor of the learning rate for every parameter name."""
    names = [name for name, _ in model.named_parameters()]
    layers = 1 + max((int(n[len(LAYERS) :].split(".")[0]) for n in names if n.startswith(LAYERS)), default=-1)
    rates = layer_rates(layers, gamma) if layers else []
    out = {}
    for name in names:
        if name.startswith(LAYERS):
            out[name] = rates[int(name[len(LAYERS) :].split(".")[0])]
        elif name.startswith(INPUTS):
            out[name] = gamma**layers
        else:
            out[name] = 1.0
    return out


def parameter_groups(model: nn.Module, gamma: float, decay: float) -> list[dict[str, Any]]:
    """Optimiser groups with a ``factor`` each; equal factors share a group, in order of appearance."""
    factors = depth_factors(model, gamma)
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault(factors[name], []).append(parameter)
    return [
        {"params": parameters, "factor": factor, "weight_decay": decay if factor else 0.0}
        for factor, parameters in groups.items()
    ]
