"""The training loop: a wall-clock budget, checkpoints that resume exactly, EMA weights, a CSV log.

State is a function of (configuration, seed, data, number of steps): batches are drawn from (seed, step),
so stopping
and resuming continues the unbroken run. The learning rate follows the step count when ``max_steps`` is
set, else
the fraction of the time budget.
"""

from __future__ import annotations

import csv
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lca.errors import DataLossError, InvalidInputError

LossFn = Callable[[nn.Module, int], tuple[Tensor, dict[str, float]]]


@dataclass(frozen=True)
class LoopConfig:
    """How to train.

    Attributes:
        time_budget: seconds of training over all resumptions; 0 = no limit.
        max_steps: stop after this many steps; 0 = no limit. One of the two must be set.
        rate, final_rate, warmup: AdamW learning rate (cosine from ``rate`` to ``final_rate``), warm-up steps.
        weight_decay, clip: AdamW weight decay, gradient norm limit.
        ema: largest decay of the averaged weights (early steps use less).
        checkpoint_every: seconds between checkpoints. seed: everything random.
    """

    time_budget: float = 3600.0
    max_steps: int = 0
    rate: float = 8e-4
    final_rate: float = 2e-5
    warmup: int = 40
    weight_decay: float = 0.01
    clip: float = 10.0
    ema: float = 0.998
    checkpoint_every: float = 240.0
    seed: int = 1

    def __post_init__(self) -> None:
        if self.time_budget <= 0 and self.max_steps <= 0:
            raise InvalidInputError("Set a time budget or a number of steps; training would never end.")


class Trainer:
    """Optimises ``model`` with ``loss(model, step)``; everything it writes lies in ``out``.

    Files: ``state.pt`` (model, EMA, optimiser, step, elapsed), ``log.csv`` (one row per step), ``run.json``.
    """

    def __init__(self, model: nn.Module, loss: LossFn, config: LoopConfig, out: Path) -> None:
        self.model, self.loss, self.config, self.out = model, loss, config, Path(out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=config.rate,
            weight_decay=config.weight_decay,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.ema = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.step = 0
        self.elapsed = 0.0

    @property
    def state_file(self) -> Path:
        """Where the resumable state lies."""
        return self.out / "state.pt"

    def progress(self) -> float:
        """Fraction done, 0..1."""
        if self.config.max_steps:
            return min(1.0, self.step / self.config.max_steps)
        return min(1.0, self.elapsed / self.config.time_budget)

    def rate(self) -> float:
        """Learning rate of the coming step."""
        c = self.config
        cosine = c.final_rate + (c.rate - c.final_rate) * 0.5 * (1 + math.cos(math.pi * self.progress()))
        return cosine * min(1.0, (self.step + 1) / max(c.warmup, 1))

    def finished(self) -> bool:
        """Whether the budget is spent."""
        c = self.config
        return bool(
            (c.max_steps and self.step >= c.max_steps)
            or (c.time_budget > 0 and self.elapsed >= c.time_budget)
        )

    def train_step(self) -> dict[str, float]:
        """One optimiser step; returns its log row. A step with a non-finite loss or gradient changes
        nothing."""
        started = time.monotonic()
        rate = self.rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        # Any torch randomness inside the loss is tied to the step as well.
        torch.manual_seed((self.config.seed * 1_000_003 + self.step) % 2**63)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        total, terms = self.loss(self.model, self.step)
        total.backward()
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip))
        if math.isfinite(norm) and bool(torch.isfinite(total)):
            self.optimizer.step()
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            # Every entry is a floating-point weight: the networks have no running statistics.
            now = self.model.state_dict()
            torch._foreach_lerp_([self.ema[k] for k in now], list(now.values()), 1 - decay)
        self.step += 1
        seconds = time.monotonic() - started
        self.elapsed += seconds
        row = {"step": self.step, "elapsed": self.elapsed, "seconds": seconds, "rate": rate}
        return row | {"grad_norm": norm, "loss": float(total.detach())} | terms

    def run(self, every: Callable[[Trainer], None] | None = None) -> None:
        """Train until the budget is spent; ``every`` is called after each checkpoint."""
        (self.out / "run.json").write_text(json.dumps(asdict(self.config), indent=1))
        last = time.monotonic()
        while not self.finished():
            self.log(self.train_step())
            if time.monotonic() - last >= self.config.checkpoint_every:
                self.save()
                if every is not None:
                    every(self)
                last = time.monotonic()
        self.save()
        if every is not None:
            every(self)

    def log(self, row: dict[str, float]) -> None:
        """Append to log.csv."""
        path = self.out / "log.csv"
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(row)
            writer.writerow([f"{v:.6g}" for v in row.values()])

    def save(self) -> None:
        """Write the resumable state atomically."""
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "elapsed": self.elapsed,
            "seed": self.config.seed,
        }
        temporary = self.state_file.with_suffix(".tmp")
        torch.save(state, temporary)
        os.replace(temporary, self.state_file)

    def resume(self) -> bool:
        """Continue from ``state.pt`` if it exists; rows of log.csv after that checkpoint are dropped."""
        if not self.state_file.exists():
            return False
        try:
            state = torch.load(self.state_file, weights_only=True)
        except Exception as error:
            raise DataLossError(
                f"The checkpoint {self.state_file.name} cannot be read; delete it to start again."
            ) from error
        if state["seed"] != self.config.seed:
            raise InvalidInputError(
                f"The checkpoint was made with seed {state['seed']}, not {self.config.seed}; "
                "use the same seed."
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema = state["ema"]
        self.step, self.elapsed = state["step"], state["elapsed"]
        path = self.out / "log.csv"
        if path.exists():
            lines = path.read_text().splitlines()
            kept = [lines[0]] + [x for x in lines[1:] if x and float(x.split(",")[0]) <= self.step]
            path.write_text("\n".join(kept) + "\n")
        return True
