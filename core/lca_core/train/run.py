"""Train the network: ``python -m lca_core.train.run pretrain|posttrain --data DIR --out RUN`` (also ``lca
train``).

A phase (what data, which rates) and a loss stage (a: UV maps; b: plus rendered pictures; c: plus crops of
larger ones) are separate switches. Writes into ``--out``: state.pt (resumable), log.csv, validation.csv,
TensorBoard events and, at every checkpoint, the averaged weights as weights.safetensors. Run the same command
again to continue; ``torchrun --nproc_per_node=N -m lca_core.train.run ...`` uses N processes.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lca.errors import InvalidInputError
from lca_core.model.checkpoint import load_model, save_weights
from lca_core.model.config import preset
from lca_core.model.network import LCAModel
from lca_core.train.evaluate import evaluate
from lca_core.train.examples import Augmentation, draw_batch
from lca_core.train.loop import LoopConfig, LossFn, Trainer, read_state
from lca_core.train.losses import StageAWeights, stage_a
from lca_core.train.options import PHASES, add_options
from lca_core.train.parallel import World, join, leave
from lca_core.train.sources import People, open_people
from lca_core.train.stage_b import StageBOptions, StageBWeights, stage_b

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunConfig:
    """What is trained on what; how fast is ``LoopConfig``.

    Attributes:
        phase: ``pretrain`` or ``posttrain``; a label for the card, its defaults are those of the command.
        config: model preset. data: sources (``sources.open_people``). limit: people per source, 0 = all.
        stage: ``a``, ``b`` or ``c``. batch: people per micro-batch.
        init: state.pt or .safetensors to start from; "" = random weights. reset: parts (name prefixes) that
            start at random all the same.
        frames, rendered: target frames per person and people per micro-batch of rendered losses.
        texture_size: Gaussian grid of rendered losses; crop: window of stage C. dual: with correction branch.
    """

    phase: str = "pretrain"
    config: str = "lca-xs"
    data: tuple[str, ...] = ()
    limit: int = 0
    stage: str = "a"
    batch: int = 2
    init: str = ""
    reset: tuple[str, ...] = ()
    frames: int = 2
    rendered: int = 1
    texture_size: int = 256
    crop: int = 256
    dual: bool = True

    def __post_init__(self) -> None:
        if self.stage not in ("a", "b", "c"):
            raise InvalidInputError(f"The loss stage is a, b or c, not {self.stage!r}.")


def build(config_name: str, seed: int, init: str = "", reset: tuple[str, ...] = ()) -> LCAModel:
    """A model to train: random weights fixed by the seed, or those of ``init`` except the parts ``reset``."""
    torch.manual_seed(seed)
    model = LCAModel(preset(config_name))
    fresh = {k: v.clone() for k, v in model.state_dict().items() if reset and k.startswith(reset)}
    if init.endswith(".safetensors"):
        given = load_model(path=Path(init))
        if given.config != model.config:
            raise InvalidInputError(f"{Path(init).name} holds {given.config.name}, not {config_name}.")
        model.load_state_dict(given.state_dict())
    elif init:
        model.load_state_dict(read_state(Path(init))["ema"])
    model.load_state_dict(fresh, strict=False)
    # Measured 1.3 x less CPU time for these convolutions.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def make_loss(run: RunConfig, people: People, model: LCAModel, seed: int, device: torch.device) -> LossFn:
    """The loss of micro-batch ``cursor``: a function of (weights, people, seed, cursor)."""
    augmentation, template = Augmentation(), model.template
    if run.stage == "a":
        weights = StageAWeights()
        if not run.dual:
            weights = replace(weights, correction=0.0, skinned=0.0, code=0.0)

        def on_maps(module: nn.Module, cursor: int) -> tuple[Tensor, dict[str, float]]:
            assert isinstance(module, LCAModel)
            batch = draw_batch(people, cursor, seed, run.batch, module.config, template, augmentation)
            return stage_a(module, batch.to(device), weights)

        return on_maps
    # The rasteriser is only loaded where pictures are drawn.
    from lca_core.train.splatting import Splatter

    splatter = Splatter(template, run.texture_size)
    options = StageBOptions(run.frames, run.rendered, run.dual, run.crop if run.stage == "c" else 0)
    pictures = StageBWeights()

    def rendered(module: nn.Module, cursor: int) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(module, LCAModel)
        batch = draw_batch(people, cursor, seed, run.batch, module.config, template, augmentation)
        rng = np.random.default_rng([seed, cursor, 7])
        return stage_b(module, batch.to(device), splatter, rng, pictures, options)

    return rendered


def export(trainer: Trainer, model: LCAModel, path: Path, run: RunConfig | None = None) -> str:
    """Write the averaged weights; returns their sha256."""
    metadata = {"step": str(trainer.step), "seed": str(trainer.config.seed)}
    if run is not None:
        metadata |= {"phase": run.phase, "stage": run.stage}
    return save_weights(path, trainer.ema, model.config, metadata)


def ema_model(trainer: Trainer, model: LCAModel) -> LCAModel:
    """A copy of the model with the averaged weights, on the CPU."""
    copy = LCAModel(model.config, model.template).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    copy.load_state_dict(trainer.ema)
    return copy  # type: ignore[no-any-return]


def validate(
    trainer: Trainer, model: LCAModel, people: Any, limit: int, rendered: bool = False
) -> dict[str, float]:
    """Score the averaged weights on held-out people and append to validation.csv.

    Args:
        rendered: also draw pictures; keys ``render/n2/...``.
    """
    averaged = ema_model(trainer, model)
    scores = evaluate(averaged, people, limit=limit)
    if rendered:
        from lca_core.train.render_scores import render_scores

        drawn = render_scores(averaged, people, (2,), limit)
        scores |= {f"render/{k}": v for k, v in drawn.items()}
    path = trainer.out / "validation.csv"
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(["step", "elapsed", *scores])
        writer.writerow([trainer.step, f"{trainer.elapsed:.1f}", *[f"{v:.5g}" for v in scores.values()]])
    trainer.scores(scores)
    return scores


def train(
    run: RunConfig, loop: LoopConfig, out: Path, world: World | None = None, validation_people: int = 8
) -> Trainer:
    """Train, or continue the run in ``out``; returns the finished trainer."""
    world = world or World()
    model = build(run.config, loop.seed, run.init, run.reset)
    people = open_people(run.data, "train", loop.seed, run.limit)
    held = open_people(run.data[:1], "val", loop.seed, validation_people) if validation_people else None
    loss = make_loss(run, people, model, loop.seed, world.device)
    trainer = Trainer(model, loss, loop, out, world)
    if trainer.resume():
        log.info("resumed at step %d, %.0f s", trainer.step, trainer.elapsed)
    if world.first:
        described = {"run": vars(run) | {"people": len(people)}, "parallel": world.size}
        (out / "recipe.json").write_text(json.dumps(described, indent=1))

    def every(current: Trainer) -> None:
        export(current, model, out / "weights.safetensors", run)
        if held is None:
            return
        people.refresh()
        started = time.monotonic()
        scores = validate(current, model, held, validation_people, run.stage != "a")
        shown = ("n2/psnr", "n2/offset_mm", "n2/correction_mm", "render/n2/")
        log.info(
            "step %d, %.0f s, %d people, validation %.0f s: %s",
            current.step,
            current.elapsed,
            len(people),
            time.monotonic() - started,
            {k: round(v, 3) for k, v in scores.items() if k.startswith(shown)},
        )

    trainer.run(every)
    if world.first:
        log.info("finished at step %d after %.0f s", trainer.step, trainer.elapsed)
    return trainer


def from_options(args: argparse.Namespace, phase: str) -> Trainer:
    """Run what :func:`add_options` parsed."""
    torch.set_num_threads(args.threads)
    world = join(args.device)
    try:
        return train(
            RunConfig(
                phase=phase, config=args.config, data=tuple(args.data), limit=args.limit, stage=args.stage,
                batch=args.batch, init=args.init, reset=tuple(args.reset), frames=args.frames,
                rendered=args.rendered, texture_size=args.texture_size, crop=args.crop,
                dual=not args.single_branch,
            ),
            LoopConfig(
                time_budget=args.time_budget, max_steps=args.max_steps, rate=args.rate,
                final_rate=args.final_rate, layer_decay=args.layer_decay, ema=args.ema,
                accumulate=args.accumulate, bf16=not args.no_bf16, checkpoint_every=args.checkpoint_every,
                seed=args.seed,
            ),
            args.out,
            world,
            args.validation_people,
        )  # fmt: skip
    finally:
        leave()


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="phase", required=True)
    for phase in PHASES:
        add_options(commands.add_parser(phase), phase)
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    from_options(args, args.phase)


if __name__ == "__main__":
    main()
