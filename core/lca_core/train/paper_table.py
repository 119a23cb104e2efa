"""The paper's ablations at our scale: ``python -m lca_core.train.paper_table --studio A --wild B --out DIR``.

Small runs of equal steps on the sets ``studio`` and ``wild`` (folders or generator names): training schemes,
decoder branches, layer-wise rates, number of identities. Every cell is a run folder; finished cells are kept,
so the command can be stopped and repeated. Writes paper.json and paper.md; claims that do not reproduce are
said not to.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lca_core.train.loop import LoopConfig
from lca_core.train.run import RunConfig, ema_model, train
from lca_core.train.sources import DEGRADED, open_people

log = logging.getLogger(__name__)

SETS = ("studio", "wild")
BOOTSTRAP = 2000


@dataclass(frozen=True)
class Phase:
    """One stretch of training: data sets, share of the budget, gamma of the layer-wise rates."""

    sets: tuple[str, ...]
    share: float
    gamma: float = 1.0


@dataclass(frozen=True)
class Cell:
    """One row: phases (their shares sum to 1), with the correction branch or not, how many identities."""

    phases: tuple[Phase, ...]
    dual: bool = True
    few: bool = False


PRE, POST = Phase(("wild",), 0.5), Phase(("studio",), 0.5, 0.65)
CELLS: dict[str, Cell] = {
    "pre_post": Cell((PRE, POST)),
    "mixed": Cell((Phase(SETS, 1.0),)),
    "pre_only": Cell((Phase(("wild",), 1.0),)),
    "post_only": Cell((Phase(("studio",), 1.0),)),
    "single_branch": Cell((PRE, POST), dual=False),
    "few_identities": Cell((PRE, POST), few=True),
    "gamma_0": Cell((PRE, Phase(("studio",), 0.5, 0.0))),
    "gamma_1": Cell((PRE, Phase(("studio",), 0.5, 1.0))),
}

PAPER = {
    "pre_post": (30.514, 28.175),
    "mixed": (28.000, 27.998),
    "single_branch": (30.370, 27.936),
    "gamma_0": (27.464, None),
}
"""PSNR of the paper, (studio, wild), from third-party notes: other data, other scale."""

CLAIMS = (
    ("pre_post", "mixed", "studio", "better", "pre-training then post-training beats mixing on studio"),
    ("pre_post", "mixed", "wild", "not worse", "... and is not worse on wild"),
    ("pre_post", "single_branch", "studio", "better", "two branches beat one (studio)"),
    ("pre_post", "single_branch", "wild", "better", "two branches beat one (wild)"),
    ("pre_post", "few_identities", "studio", "better", "more identities beat fewer (studio)"),
    ("pre_post", "few_identities", "wild", "better", "more identities beat fewer (wild)"),
    ("pre_post", "gamma_0", "studio", "better", "gamma 0.65 beats gamma 0 on studio"),
)
TOLERANCE = 0.1
"""dB that "not worse" allows."""


@dataclass(frozen=True)
class Budget:
    """What every cell gets: steps, people per set (0 = all), ``few`` of them in the cell of few people."""

    config: str = "lca-nano"
    steps: int = 600
    batch: int = 2
    people: int = 0
    few: int = 16
    held: int = 16
    texture_size: int = 64
    rate: float = 1e-3
    post_rate: float = 5e-4


def run_cell(
    name: str, seed: int, sources: dict[str, str], out: Path, budget: Budget
) -> dict[str, list[dict[str, float]]]:
    """Train one cell (or read its finished result): per set, one row of scores per held-out person."""
    result = out / f"{name}-{seed}" / "scores.json"
    if result.exists():
        stored: dict[str, list[dict[str, float]]] = json.loads(result.read_text())
        return stored
    cell, init = CELLS[name], ""
    for number, phase in enumerate(cell.phases):
        # Cells that begin alike share that run: same seed, same data, same number of steps.
        alike = next(k for k, c in CELLS.items() if _prefix(c, cell, number + 1))
        folder = out / f"{alike}-{seed}" / f"phase{number}"
        steps = round(budget.steps * phase.share)
        post = number > 0
        trainer = train(
            RunConfig(
                phase="posttrain" if post else "pretrain", config=budget.config, init=init,
                data=tuple(sources[s] for s in phase.sets), stage="b", batch=budget.batch, frames=1,
                limit=budget.few if cell.few else budget.people, dual=cell.dual,
                texture_size=budget.texture_size,
            ),
            LoopConfig(
                time_budget=0, max_steps=steps, seed=seed, layer_decay=phase.gamma, ema=0.98, warmup=20,
                rate=budget.post_rate if post else budget.rate, checkpoint_every=60.0,
            ),
            folder,
            validation_people=0,
        )  # fmt: skip
        init = str(folder / "state.pt")
    model = ema_model(trainer, trainer.model)  # type: ignore[arg-type]
    scores = {s: held_scores(model, sources[s], budget) for s in SETS}
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps(scores))
    return scores


def _prefix(a: Cell, b: Cell, phases: int) -> bool:
    return a.phases[:phases] == b.phases[:phases] and (a.dual, a.few) == (b.dual, b.few)


def held_scores(model: Any, source: str, budget: Budget) -> list[dict[str, float]]:
    """Rendered scores on held-out people of one set, two reference views."""
    from lca_core.train.render_scores import person_scores

    people = open_people((source,), "val", 0, budget.held)
    return person_scores(model, people, (2,), budget.held, budget.texture_size)


def values(scores: Sequence[dict[str, list[dict[str, float]]]], group: str, key: str) -> np.ndarray:
    """[people] of one quantity, mean over seeds."""
    return np.mean([[row[key] for row in one[group]] for one in scores], 0)


def difference(ours: np.ndarray, other: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Mean paired difference over people with its 95 % bootstrap interval."""
    gap = ours - other
    rng = np.random.default_rng(seed)
    means = gap[rng.integers(0, len(gap), (BOOTSTRAP, len(gap)))].mean(1)
    return float(gap.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def verdict(kind: str, gap: float, low: float, high: float, spread: float) -> str:
    """What a difference allows to say; ``spread`` is how far the seeds disagree about it."""
    if kind == "not worse":
        return "reproduced" if low > -TOLERANCE else "not reproduced" if high < -TOLERANCE else "undecided"
    if low > 0 and gap > spread:
        return "reproduced"
    if high < 0 and -gap > spread:
        return "contradicted"
    return "not reproduced (inside the noise)"


def summarise(
    scores: dict[str, list[dict[str, list[dict[str, float]]]]], budget: Budget, facts: dict[str, Any]
) -> dict[str, Any]:
    """The whole table as plain data; ``scores[cell][seed index][set]`` are rows per person."""
    key = "n2/psnr"
    table: dict[str, Any] = {}
    for name, seeds in scores.items():
        row: dict[str, Any] = {}
        for group in SETS:
            per_seed = [float(np.mean([r[key] for r in one[group]])) for one in seeds]
            row[group] = {
                "psnr": float(np.mean(per_seed)),
                "psnr_per_seed": per_seed,
                "face": float(np.mean([r["n2/face"] for one in seeds for r in one[group] if "n2/face" in r])),
                "iou": float(np.mean([r["n2/iou"] for one in seeds for r in one[group]])),
            }
        if name in PAPER:
            row["paper"] = dict(zip(SETS, PAPER[name], strict=True))
        table[name] = row
    claims = []
    for ours, other, group, kind, text in CLAIMS:
        if ours in scores and other in scores:
            gap, low, high = difference(values(scores[ours], group, key), values(scores[other], group, key))
            # A seed moves all cells together, by more than they differ: seeds are compared pair by pair.
            a, b = (table[cell][group]["psnr_per_seed"] for cell in (ours, other))
            per_seed = [x - y for x, y in zip(a, b, strict=True)]
            spread = max(per_seed) - min(per_seed)
            claims.append(
                {"claim": text, "set": group, "difference_db": gap, "low": low, "high": high,
                 "per_seed": per_seed, "verdict": verdict(kind, gap, low, high, spread)}
            )  # fmt: skip
    return {"table": table, "claims": claims, "budget": vars(budget), **facts}


def markdown(report: dict[str, Any]) -> str:
    """The report for docs/benchmarks."""
    b = report["budget"]
    people = " and ".join(f"{count} {name}" for name, count in report["people"].items())
    lines = [
        "# The paper's ablations at our scale",
        "",
        f"Made by `{report['command']}`. Every cell: `{b['config']}`, {b['steps']} steps in all, batch "
        f"{b['batch']}, {people} people ({b['few']} and {b['few']} in the cell of few identities), losses on "
        f"UV maps and on pictures (stage B, {b['texture_size']}^2 Gaussian grid), seeds {report['seeds']}. "
        "Scores: PSNR in dB over the true foreground of held-out frames (novel view, pose and expression), "
        f"two reference views, {b['held']} held-out people per set, mean over seeds. "
        f"Machine: {report['machine']}, one thread, {report['minutes']:.0f} min in all.",
        "",
        "The paper's values are from third-party notes and **other data at another scale**: only the signs "
        "of differences can be compared.",
        "",
        "| cell | studio PSNR | wild PSNR | studio face | wild face | paper (studio / wild) |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in report["table"].items():
        paper = row.get("paper")
        told = " / ".join("-" if v is None else f"{v:.3f}" for v in paper.values()) if paper else "unknown"
        cells = [f"{row[s]['psnr']:.2f}" for s in SETS] + [f"{row[s]['face']:.2f}" for s in SETS]
        lines.append(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + f" | {told} |")
    lines += [
        "",
        "A claim counts as reproduced when the 95 % interval over people excludes zero and the mean exceeds "
        "what the seeds differ by about it (a seed moves all cells together, so it is compared with itself)."
        if len(report["seeds"]) > 1
        else "One seed only: how far seeds disagree is unknown, so no verdict below is firm.",
        "",
        "| claim | difference (dB) | 95 % interval | seed by seed | verdict |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {c['claim']} | {c['difference_db']:+.2f} | {c['low']:+.2f} ... {c['high']:+.2f} "
        f"| {', '.join(f'{gap:+.2f}' for gap in c['per_seed'])} | {c['verdict']} |"
        for c in report["claims"]
    ]
    return "\n".join(lines) + "\n"


def _shown(source: str) -> str:
    """A source without the folders above it, which are nobody's business."""
    folder = source.removeprefix(DEGRADED)
    return source.removesuffix(folder) + Path(folder).name


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studio", default="studio", help="folder or generator name")
    parser.add_argument("--wild", default="wild", help="folder or generator name")
    parser.add_argument("--out", type=Path, required=True, help="run folders and the report")
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=list(CELLS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2])
    for name, kind in (("config", str), ("steps", int), ("batch", int), ("people", int), ("few", int),
                       ("held", int), ("texture-size", int)):  # fmt: skip
        parser.add_argument(f"--{name}", type=kind, default=getattr(Budget(), name.replace("-", "_")))
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    budget = Budget(args.config, args.steps, args.batch, args.people, args.few, args.held, args.texture_size)
    sources = {"studio": args.studio, "wild": args.wild}
    started, scores = time.monotonic(), dict[str, list[Any]]()
    args.out.mkdir(parents=True, exist_ok=True)
    clock = args.out / "minutes.txt"
    before = float(clock.read_text()) if clock.exists() else 0.0
    done: list[int] = []
    for seed in args.seeds:
        for name in args.cells:
            scores.setdefault(name, []).append(run_cell(name, seed, sources, args.out, budget))
            minutes = before + (time.monotonic() - started) / 60
            clock.write_text(f"{minutes:.2f}")
            log.info("seed %d, cell %s done", seed, name)
        done.append(seed)
        # A report after every seed: an interrupted table still says what it knows.
        facts = {
            "command": "python -m lca_core.train.paper_table "
            + " ".join(f"--{s} {_shown(sources[s])}" for s in SETS)
            + f" --steps {budget.steps} --held {budget.held} --cells {' '.join(args.cells)} --seeds "
            + " ".join(str(s) for s in done),
            "seeds": list(done),
            "machine": platform.machine(),
            "people": {s: len(open_people((sources[s],), "train", 0, budget.people)) for s in SETS},
            "minutes": minutes,
        }
        report = summarise(scores, budget, facts)
        (args.out / "paper.json").write_text(json.dumps(report, indent=1))
        (args.out / "paper.md").write_text(markdown(report))
    log.info("wrote paper.json and paper.md in %s", args.out.name)


if __name__ == "__main__":
    main()
