"""How fast an avatar moves: a pose frame in, 65,536 posed Gaussians out (correctives + skinning).

``lca bench animate [--json] [--repeats N] [--save FILE] [--plot FILE.png]``. CPU: the fused numba path
against its step-by-step twin, one thread, medians of process CPU time, every joint and all 52 shapes moving.
CUDA, where there is one: animate + render at 1024x1024 against gsplat's raw ``rasterization()`` of the same
Gaussians.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from parts import command
from parts.machine import measure, say
from parts.plot import plot_animate


def on_gpu() -> dict[str, Any]:
    """The CUDA half: ``ratio``, or None and the reason."""
    try:
        return measure("cuda")
    except RuntimeError as error:  # the CPU numbers still count
        return {"ratio": None, "reason": str(error)}


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """All measurements as one document."""
    measure("warm_up")
    cpu = measure("animate", 65_536, chosen.repeats)
    say(
        f"65k: fused {cpu['fused_core_ms']:.1f}, step by step {cpu['stepwise_core_ms']:.1f}, fused and a "
        f"512x512 picture {cpu['fused_and_picture_512_core_ms']:.1f} core-ms; they differ "
        f"by {cpu['max_difference_m']:.0e} m"
    )
    skinning, cuda = measure("skinning", 100_000, chosen.repeats), on_gpu()
    say(f"CUDA: {cuda['reason'] or format(cuda['ratio'], '.2f') + ' x gsplat raw'}")
    return {
        "animate_core_ms_65k": cpu["fused_core_ms"],
        "cuda_over_gsplat_raw": cuda["ratio"],
        "stepwise_over_fused": cpu["stepwise_core_ms"] / cpu["fused_core_ms"],
        "cpu": cpu,
        "skinning": skinning,
        "cuda": cuda,
    }


if __name__ == "__main__":
    sys.exit(command.report("animate", command.options(__doc__, 15).parse_args(), run, plot_animate))
