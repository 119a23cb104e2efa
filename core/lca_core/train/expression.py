"""The linear map from ARKit-52 to the expression code, fitted after training.

The encoder reads a code from a face crop without being told what it shows; on synthetic people the ARKit
weights of every crop are known. Ridge regression pulled towards the map that training used gives the map that
explains the codes best; R squared says how much of them is linear in the weights at all.
``python -m lca_core.train.expression --weights FILE --data DIR [--out FILE]`` reports both on held-out
people.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lca_core.model.checkpoint import load_model, read_info, save_weights
from lca_core.model.network import LCAModel
from lca_core.train.examples import SampleFolder
from lca_core.train.frames import target_frames

WHITE = np.ones(3, np.float32)


@dataclass(frozen=True)
class MapFit:
    """weight [E,52]; r2 of the fitted map and of the trained one, over ``count`` crops."""

    weight: Tensor
    r2: float
    r2_trained: float
    count: int


@torch.no_grad()
def read_codes(model: LCAModel, people: Any, limit: int) -> tuple[Tensor, Tensor]:
    """ARKit weights [M,52] and the codes [M,E] that the encoder reads from all frames of ``limit`` people."""
    model.eval()
    weights, codes = [], []
    for person in range(min(limit, len(people))):
        sample = people[person]
        views = range(len(sample["images"]))
        for frame in target_frames(sample, views, model.template, model.config.input_size, WHITE):
            # A face turned away says nothing about its expression.
            if frame.face_box is None or float(frame.viewmat[2, :3] @ _forward(frame.transforms)) > -0.3:
                continue
            weights.append(frame.expression)
            codes.append(model.expressions(frame.face[None], frame.face_mask[None])[0])
    return torch.stack(weights), torch.stack(codes)


def fit_expression_map(model: LCAModel, people: Any, limit: int = 100, ridge: float = 3.0) -> MapFit:
    """Ridge regression of the encoder's codes on the ARKit weights, shrunk towards the trained map.

    Args:
        ridge: how many crops at weight 1 the trained map counts for, per shape.
    """
    x, y = read_codes(model, people, limit)
    trained = model.expression_map.weight.detach()
    residual = y - x @ trained.T
    gram = x.T @ x + ridge * torch.eye(x.shape[1])
    weight = trained + torch.linalg.solve(gram, x.T @ residual).T

    def r2(candidate: Tensor) -> float:
        left = (y - x @ candidate.T).square().sum()
        return float(1 - left / (y - y.mean(0)).square().sum().clamp(min=1e-12))

    return MapFit(weight, r2(weight), r2(trained), len(x))


def explained(model: LCAModel, weight: Tensor, people: Any, limit: int) -> float:
    """R squared of the map ``weight`` on the codes of people it was not fitted to."""
    x, y = read_codes(model, people, limit)
    left = (y - x @ weight.T).square().sum()
    return float(1 - left / (y - y.mean(0)).square().sum().clamp(min=1e-12))


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder with people of train and val")
    parser.add_argument("--out", type=Path, help="write the weights with the fitted map here")
    parser.add_argument("--people", type=int, default=100)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    model = load_model(path=args.weights)
    held = SampleFolder(args.data, "val")
    fit = fit_expression_map(model, SampleFolder(args.data, "train"), args.people)
    trained = explained(model, model.expression_map.weight.detach(), held, args.people)
    facts: dict[str, float | str] = {
        "crops": fit.count,
        "r2_fit": fit.r2,
        "r2_trained": fit.r2_trained,
        "held_out_r2_fit": explained(model, fit.weight, held, args.people),
        "held_out_r2_trained": trained,
    }
    if args.out:
        state = dict(model.state_dict()) | {"expression_map.weight": fit.weight}
        known = {
            k: v
            for k, v in read_info(args.weights).metadata.items()
            if k in ("step", "seed", "phase", "stage")
        }
        facts["sha256"] = save_weights(args.out, state, model.config, known | {"expression_map": "ridge"})
    print(json.dumps(facts, indent=1))


def _forward(transforms: Tensor) -> Tensor:
    """Where the face looks in the world: +Z of the head joint."""
    from lca_core.body.names import JOINT_INDEX

    return transforms[JOINT_INDEX["head"], :3, 2]


if __name__ == "__main__":
    main()
