"""The training loop: a wall-clock budget, checkpoints that resume exactly, averaged weights, logs.

State is a function of (configuration, seed, data, number of steps): micro-batches are drawn from (seed,
cursor) only, so stopping and resuming continues the unbroken run. The learning rate follows the step count
when ``max_steps`` is set, else the fraction of the time budget. Several processes share the micro-batches of
a step (``parallel``).
"""

from __future__ import annotations

import contextlib
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
from lca_core.train.events import EventWriter
from lca_core.train.groups import parameter_groups
from lca_core.train.parallel import World

LossFn = Callable[[nn.Module, int], tuple[Tensor, dict[str, float]]]
"""(model, cursor) -> loss and terms of one micro-batch; the cursor counts micro-batches from 0."""


@dataclass(frozen=True)
class LoopConfig:
    """How to train.

    Attributes:
        time_budget: seconds over all resumptions, scoring at checkpoints included; 0 = no limit.
        max_steps: stop after this many steps; 0 = no limit. One of the two must be set.
        rate, final_rate, warmup: AdamW learning rate (cosine from ``rate`` to ``final_rate``), warm-up steps.
        layer_decay: factor of the rate from each layer to the one before it (``groups``).
        weight_decay, clip: AdamW weight decay, gradient norm limit.
        ema: largest decay of the averaged weights (early steps use less).
        accumulate: micro-batches per step, over all processes.
        bf16: autocast on CUDA (rendering stays in fp32); without effect on the CPU, where it gains nothing.
        checkpoint_every: seconds between checkpoints. seed: everything random.
    """

    time_budget: float = 3600.0
    max_steps: int = 0
    rate: float = 8e-4
    final_rate: float = 2e-5
    warmup: int = 40
    layer_decay: float = 1.0
    weight_decay: float = 0.01
    clip: float = 10.0
    ema: float = 0.998
    accumulate: int = 1
    bf16: bool = True
    checkpoint_every: float = 240.0
    seed: int = 1

    def __post_init__(self) -> None:
        if self.time_budget <= 0 and self.max_steps <= 0:
            raise InvalidInputError("Set a time budget or a number of steps; training would never end.")
        if self.accumulate < 1:
            raise InvalidInputError("A step needs at least one micro-batch (accumulate >= 1).")


class _Step(nn.Module):
    """A micro-batch as a module call, which is what DDP hooks into."""

    def __init__(self, model: nn.Module, loss: LossFn) -> None:
        super().__init__()
        self.model = model
        self._loss = loss
        self.terms: dict[str, float] = {}

    def forward(self, cursor: int) -> Tensor:
        total, self.terms = self._loss(self.model, cursor)
        return total


class Trainer:
    """Optimises ``model`` with ``loss(model, cursor)``; everything it writes lies in ``out``.

    Files: ``state.pt`` (model, EMA, optimiser, RNG, step, data cursor, elapsed), ``log.csv`` (one row per
    step), ``run.json``, ``events.out.tfevents.*`` (TensorBoard).
    """

    def __init__(
        self, model: nn.Module, loss: LossFn, config: LoopConfig, out: Path, world: World | None = None
    ) -> None:
        self.world = world or World()
        self.model, self.config, self.out = model.to(self.world.device), config, Path(out)
        self._mine = self.world.share(config.accumulate)
        self.out.mkdir(parents=True, exist_ok=True)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(model, config.layer_decay, config.weight_decay),
            lr=config.rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.ema = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self._call = _Step(model, loss)
        self._shared: nn.Module = self._call
        if self.world.size > 1:
            self._shared = nn.parallel.DistributedDataParallel(self._call, find_unused_parameters=True)
        self.step = 0
        self.elapsed = 0.0
        self._events: EventWriter | None = None

    @property
    def loss(self) -> LossFn:
        """The loss; may be exchanged between steps."""
        return self._call._loss

    @loss.setter
    def loss(self, loss: LossFn) -> None:
        self._call._loss = loss

    @property
    def state_file(self) -> Path:
        """Where the resumable state lies."""
        return self.out / "state.pt"

    @property
    def cursor(self) -> int:
        """Micro-batches drawn so far, over all processes."""
        return self.step * self.config.accumulate

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
            group["lr"] = rate * group["factor"]
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        total, terms = self._accumulate()
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip))
        if math.isfinite(norm) and math.isfinite(total):
            self.optimizer.step()
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            # Every entry is a floating-point weight: the networks have no running statistics.
            now = self.model.state_dict()
            torch._foreach_lerp_([self.ema[k] for k in now], list(now.values()), 1 - decay)
        self.step += 1
        seconds = time.monotonic() - started
        # The budget is the first process's clock, so that all stop at the same step.
        self.elapsed = self.world.from_first(self.elapsed + seconds)
        row = {"step": self.step, "elapsed": self.elapsed, "seconds": seconds, "rate": rate}
        return row | {"grad_norm": norm, "loss": total} | terms

    def _accumulate(self) -> tuple[float, dict[str, float]]:
        """Gradients of this process's micro-batches, averaged over all; mean loss and terms."""
        cuda = self.world.device.type == "cuda"
        totals, terms = [], []
        for place, k in enumerate(self._mine):
            cursor = self.cursor + k
            # Any torch randomness inside the loss is tied to the micro-batch as well.
            torch.manual_seed((self.config.seed * 1_000_003 + cursor) % 2**63)
            last = place == len(self._mine) - 1
            quiet = contextlib.nullcontext()
            if isinstance(self._shared, nn.parallel.DistributedDataParallel) and not last:
                quiet = self._shared.no_sync()  # type: ignore[assignment]
            with quiet:
                with torch.autocast("cuda", torch.bfloat16, enabled=cuda and self.config.bf16):
                    total = self._shared(cursor)
                (total / len(self._mine)).backward()
            totals.append(float(total.detach()))
            terms.append(self._call.terms)
        keys = list(terms[0])
        mean = [sum(totals) / len(totals)] + [sum(t[k] for t in terms) / len(terms) for k in keys]
        shared = self.world.mean(torch.tensor(mean, dtype=torch.float64, device=self.world.device)).tolist()
        return shared[0], dict(zip(keys, shared[1:], strict=True))

    def run(self, every: Callable[[Trainer], None] | None = None) -> None:
        """Train until the budget is spent; ``every`` is called (in the first process) after checkpoints."""
        if self.world.first:
            (self.out / "run.json").write_text(json.dumps(asdict(self.config), indent=1))
            self._events = EventWriter(self.out)
        last = time.monotonic()
        while not self.finished():
            row = self.train_step()
            self.log(row)
            due = self.world.from_first(float(time.monotonic() - last >= self.config.checkpoint_every))
            if due:
                started = time.monotonic()
                self._checkpoint(every)
                last = time.monotonic()
                # Scoring counts: the budget is what the user's clock says.
                self.elapsed = self.world.from_first(self.elapsed + last - started)
        self._checkpoint(every)

    def _checkpoint(self, every: Callable[[Trainer], None] | None) -> None:
        self.save()
        if every is not None and self.world.first:
            every(self)
        self.world.wait()

    def log(self, row: dict[str, float]) -> None:
        """Append to log.csv and to the TensorBoard file."""
        if not self.world.first:
            return
        path = self.out / "log.csv"
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(row)
            writer.writerow([f"{v:.6g}" for v in row.values()])
        if self._events is not None:
            self._events.scalars(self.step, {f"train/{k}": v for k, v in row.items() if k != "step"})

    def scores(self, values: dict[str, float]) -> None:
        """Validation scores for TensorBoard."""
        if self._events is not None:
            self._events.scalars(self.step, {f"validation/{k}": v for k, v in values.items()})

    def save(self) -> None:
        """Write the resumable state atomically."""
        if not self.world.first:
            return
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(),
            "step": self.step,
            "cursor": self.cursor,
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
        state = read_state(self.state_file, self.world.device)
        if state["seed"] != self.config.seed:
            raise InvalidInputError(
                f"The checkpoint was made with seed {state['seed']}, not {self.config.seed}; "
                "use the same seed."
            )
        if state["cursor"] != state["step"] * self.config.accumulate:
            raise InvalidInputError(
                "The checkpoint was made with another number of micro-batches per step; "
                "use the same --accumulate."
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema = state["ema"]
        torch.set_rng_state(state["rng"].cpu())
        self.step, self.elapsed = state["step"], state["elapsed"]
        path = self.out / "log.csv"
        if path.exists() and self.world.first:
            lines = path.read_text().splitlines()
            kept = [lines[0]] + [x for x in lines[1:] if x and float(x.split(",")[0]) <= self.step]
            path.write_text("\n".join(kept) + "\n")
        return True


def read_state(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """A ``state.pt``; DataLossError when it is damaged."""
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location=device)
    except Exception as error:
        raise DataLossError(
            f"The checkpoint {path.name} cannot be read; delete it to start again."
        ) from error
    return state
