"""Options of the training commands, free of heavy imports so that ``lca --help`` stays instant."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

PHASES: dict[str, dict[str, Any]] = {
    "pretrain": {"rate": 8e-4, "final_rate": 2e-5, "layer_decay": 1.0, "stage": "a"},
    "posttrain": {"rate": 3e-4, "final_rate": 1e-5, "layer_decay": 0.65, "stage": "b"},
}
"""Defaults of the two phases."""


def add_options(parser: argparse.ArgumentParser, phase: str) -> None:
    """The options of one phase."""
    defaults = PHASES[phase]
    add = parser.add_argument
    add(
        "--data", action="append", required=True, metavar="DIR", help="folder, stream, studio or wild; repeat"
    )
    add("--out", type=Path, required=True, help="run folder; an existing run is continued")
    add("--config", default="lca-xs", help="lca-xs, lca-s (%(default)s)")
    add("--init", default="", required=phase == "posttrain", help="weights or state.pt to start from")
    add(
        "--reset",
        action="append",
        default=[],
        metavar="PART",
        help="start this part at random, e.g. expressions",
    )
    add("--stage", choices=("a", "b", "c"), default=defaults["stage"], help="losses (%(default)s)")
    add("--time-budget", type=float, default=3600.0, metavar="S", help="seconds, over all resumptions")
    add("--max-steps", type=int, default=0, help="stop after so many steps (0 = no limit)")
    add("--batch", type=int, default=2, help="people per micro-batch")
    add("--accumulate", type=int, default=1, help="micro-batches per step, over all processes")
    add("--rate", type=float, default=defaults["rate"], help="learning rate (%(default)s)")
    add("--final-rate", type=float, default=defaults["final_rate"])
    add("--layer-decay", type=float, default=defaults["layer_decay"], help="gamma (%(default)s)")
    add("--ema", type=float, default=0.998)
    add("--seed", type=int, default=1)
    add("--limit", type=int, default=0, help="people per source (0 = all; generated: 200)")
    add("--frames", type=int, default=2, help="rendered frames per person")
    add("--rendered", type=int, default=1, help="rendered people per micro-batch")
    add("--texture-size", type=int, default=256, help="Gaussian grid of rendered losses")
    add("--crop", type=int, default=256, help="window of stage c, pixels")
    add("--single-branch", action="store_true", help="without the correction branch (ablation)")
    add("--no-bf16", action="store_true", help="fp32 on CUDA too")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--threads", type=int, default=1)
    add("--checkpoint-every", type=float, default=240.0, metavar="S")
    add("--validation-people", type=int, default=8, help="0 = no validation")
