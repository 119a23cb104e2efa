"""Trains the expression encoder alone, on close-ups of synthetic faces.

The encoder reads from a face crop, without being told who shows it or from where, the code that the ARKit
weights map to. The map stays as the network's training left it, because the correction branch speaks its
language; so does every other weight: the written file differs from the one it started from in
``expressions.*`` alone, bit by bit. ``python -m lca_core.train.expression --weights FILE --faces DIR --out
RUN`` (pictures: ``lca_core.train.faces``) can be stopped and repeated.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lca_core.model.checkpoint import read_info, replace_part
from lca_core.model.config import ModelConfig
from lca_core.model.encoders import MIDDLE, ExpressionEncoder
from lca_core.train.face_augment import augmented, mirrored_order, mirrored_points
from lca_core.train.faces import Faces, load_faces
from lca_core.train.loop import LoopConfig, Trainer

PREFIX = "expressions."


@dataclass(frozen=True)
class ExpressionOptions:
    """Choices of a run: optimisation steps, crops per step, first learning rate, weight of the places of the
    parts against that of the code, seed."""

    steps: int = 4000
    batch: int = 48
    rate: float = 2e-3
    places: float = 0.5
    seed: int = 1


class CodeLoss:
    """Squared error between the codes read from a batch of crops and the codes of their ARKit weights, in
    units of the codes' variance, and where the parts of the face are.

    Squared, because weights are mostly zero and their median, which L1 seeks, is zero. From the code alone it
    learns hardly more than the mean in 40,000 crops: it must find lids and lips before it can see them move,
    so its first parts are told where the generator's are. Everything random comes from (seed, cursor).

    Args:
        map_weight: [E,52], the fixed map. side: crop side the encoder reads.
    """

    def __init__(self, faces: Faces, map_weight: Tensor, side: int, options: ExpressionOptions) -> None:
        self.faces, self.map, self.side, self.options = faces, map_weight.detach().float(), side, options
        codes = torch.from_numpy(faces.weights) @ self.map.T
        self._variance = float((codes - codes.mean(0)).square().mean().clamp(min=1e-6))

    def __call__(self, encoder: nn.Module, cursor: int) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(encoder, ExpressionEncoder)
        o = self.options
        rng = np.random.default_rng([o.seed, cursor])
        rows = rng.integers(len(self.faces), size=o.batch)
        images, masks = self.faces.images[rows], self.faces.masks[rows]
        weights, points = self.faces.weights[rows], self.faces.points[rows]
        if rng.random() < 0.5:
            images, masks, weights = images[:, :, ::-1], masks[:, :, ::-1], weights[:, mirrored_order()]
            points = points[:, mirrored_points()] * np.array([-1, 1], np.float32)
        crops, mattes, points_there = augmented(images, masks, points, self.side, rng)
        likely, features = encoder.search(crops.contiguous(memory_format=torch.channels_last), mattes)
        read = encoder.code(*encoder.look(likely, features))
        wanted = torch.from_numpy(np.ascontiguousarray(weights)) @ self.map.T
        code = (read - wanted).square().mean() / self._variance
        places = misplaced(likely, points_there)
        terms = {"code": float(code.detach()), "places": float(places.detach())}
        return code + o.places * places, terms


def misplaced(likely: Tensor, points: Tensor) -> Tensor:
    """Cross entropy of the first maps of ``likely`` [B,PLACES,H,W] with points [B,P,2], each spread over its
    four nearest cells so that their mean is the point."""
    height, width = likely.shape[-2:]
    size = torch.tensor([width, height])
    at = ((points / MIDDLE + 1) / 2 * size - 0.5).maximum(torch.zeros(2)).minimum(size - 1.001)
    low = at.floor().long()
    share = at - low
    chance = likely[:, : points.shape[1]].flatten(2).log_softmax(-1)
    total = torch.zeros(())
    for right in (0, 1):
        for down in (0, 1):
            cell = (low[..., 1] + down) * width + low[..., 0] + right
            part = (share[..., 0] - 1 + right).abs() * (share[..., 1] - 1 + down).abs()
            total = total - (part * chance.gather(-1, cell[..., None])[..., 0]).mean()
    return total


def known_map(weights: Path) -> tuple[ModelConfig, Tensor]:
    """Configuration and expression map [E,52] of a weight file; its encoder may be of another version."""
    from safetensors import safe_open

    config = read_info(weights).config
    with safe_open(str(weights), "pt") as file:
        return config, file.get_tensor("expression_map.weight").float()


def trainer_of(
    config: ModelConfig, map_weight: Tensor, faces: Faces, options: ExpressionOptions, out: Path
) -> Trainer:
    """The run in ``out``, continued where it stands: a new encoder that learns the codes of ``map_weight``
    [E,52]."""
    torch.manual_seed(options.seed)
    encoder = ExpressionEncoder(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loop = LoopConfig(
        time_budget=0.0, max_steps=options.steps, rate=options.rate, final_rate=options.rate / 100,
        warmup=100, weight_decay=0.02, clip=5.0, ema=0.995, checkpoint_every=60.0, seed=options.seed,
    )  # fmt: skip
    trainer = Trainer(encoder, CodeLoss(faces, map_weight, config.input_size, options), loop, out)
    trainer.resume()
    return trainer


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    default = ExpressionOptions()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="the network whose encoder to replace")
    parser.add_argument("--faces", type=Path, required=True, help="folder of lca_core.train.faces")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the run; holds weights.safetensors"
    )
    parser.add_argument("--people", type=int, default=0, help="train on the first so many (all)")
    parser.add_argument("--steps", type=int, default=default.steps)
    parser.add_argument("--batch", type=int, default=default.batch)
    parser.add_argument("--rate", type=float, default=default.rate)
    parser.add_argument("--seed", type=int, default=default.seed)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    options = ExpressionOptions(args.steps, args.batch, args.rate, seed=args.seed)
    config, map_weight = known_map(args.weights)
    faces = load_faces(args.faces, "train", args.people)
    trainer = trainer_of(config, map_weight, faces, options, args.out)
    trainer.run()
    print(replace_part(args.weights, args.out / "weights.safetensors", PREFIX, trainer.ema))


if __name__ == "__main__":
    main()
