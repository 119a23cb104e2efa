"""How fast the CPU renderer is, next to named peers, and how far from the float64 oracle it lies.

``lca bench splat [--json] [--quick] [--no-peers] [--save FILE] [--plot FILE.png]``. Every measurement runs in
its own process on one thread; numbers are medians of process CPU time ("core-ms") unless "wall" is said.
``--json`` prints one JSON document and nothing else on standard output; a peer that cannot be had is null,
with the reason beside it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from parts import command
from parts.machine import load_average, measure, say
from parts.peers import METAL_GAUSS, install_metal_gauss, opensplat
from parts.plot import plot_splat

CASES = [  # Gaussians, image size, scale mode; the third is the headline
    (20_000, 256, "1cm"),
    (50_000, 512, "1cm"),
    (100_000, 512, "1cm"),
    (100_000, 512, "spacing"),
    (100_000, 1024, "1cm"),
    (200_000, 1024, "spacing"),
]


def start_times() -> dict[str, Any]:
    """CPU seconds of a process up to its first frame, with an empty and with a filled kernel cache."""
    with tempfile.TemporaryDirectory() as folder:
        cold = measure("start", cache=Path(folder))
        warm = sorted((measure("start", cache=Path(folder)) for _ in range(3)), key=lambda m: m["cpu_s"])[1]
    return {"cold_start_cpu_s": cold["cpu_s"], "warm_start_cpu_s": warm["cpu_s"], "warm_start": warm}


def compare_with_metal_gauss(repeats: int) -> dict[str, Any]:
    """Speed and memory ratios; None with a reason where the peer cannot be had."""
    say(f"peer {METAL_GAUSS}, torch_ref, forward + backward, 20k @ 256 (takes a minute)")
    try:
        found = measure("against_metal_gauss", install_metal_gauss(), repeats)
        ours = measure("memory")
    except RuntimeError as error:
        say(f"  left out: {error}")
        missing = {"peer": METAL_GAUSS, "reason": str(error)}
        return {"vs_metal_gauss_20k_256": None, "memory_ratio_metal_gauss": None, "metal_gauss": missing}
    theirs = found["metal_gauss_memory"]
    grown = [m["peak_bytes"] - m["before_bytes"] for m in (ours, theirs)]
    ratio = found["metal_gauss_core_ms"] / found["numba_core_ms"]
    say(f"  {ratio:.0f}x faster, {theirs['peak_bytes'] / ours['peak_bytes']:.0f}x less memory")
    return {
        "vs_metal_gauss_20k_256": ratio,
        "memory_ratio_metal_gauss": theirs["peak_bytes"] / ours["peak_bytes"],
        "memory_ratio_metal_gauss_above_imports": grown[1] / max(grown[0], 1),
        "metal_gauss": {"peer": METAL_GAUSS, **found, "numba_memory": ours},
    }


def compare_with_opensplat(repeats: int) -> dict[str, Any]:
    """The user's own build of OpenSplat; None with a reason where there is none."""
    try:
        if opensplat() is None:
            return {"vs_opensplat_100k_512": None, "opensplat": {"reason": "LCA_BENCH_OPENSPLAT is not set"}}
        found = measure("opensplat_case", 100_000, 512, repeats)
    except Exception as error:  # whatever the user's file raises: the other numbers still count
        return {"vs_opensplat_100k_512": None, "opensplat": {"reason": str(error)}}
    return {
        "vs_opensplat_100k_512": found["opensplat_core_ms"] / found["numba_core_ms"],
        "opensplat": found,
    }


def threads(budget: float) -> dict[str, Any]:
    """Two threads against one, and the machine's ceiling, in about ``budget`` seconds."""
    found = measure("threads", 100_000, 512, budget, threads=2)
    quiet = "idle machine" if found["idle"] else "NOT an idle machine: other programs ran"
    say(
        f"two threads: frame {found['frame']:.2f}x one, forward + backward {found['training']:.2f}x (wall); "
        f"two independent processes {found['ceiling']:.2f}x ({quiet}, load average {load_average()})"
    )
    return {
        "thread_scaling_2": found["frame"],
        "thread_scaling_2_training": found["training"],
        "machine_scaling_ceiling_2": found["ceiling"],
        "thread_scaling_2_over_ceiling": found["frame"] / found["ceiling"],
        "machine_was_idle": found["idle"],
        "threads": found,
    }


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """All measurements as one document."""
    measure("warm_up")
    scaling = threads(2.0 if chosen.quick else 20.0)
    cases = []
    heads = ("frame", "forward", "backward")
    say(f"{'case':<24}{'fill':>6}{''.join(f'{h:>10}' for h in heads)}{'ratio':>8}   core-ms, one thread")
    for count, size, mode in CASES[:3] if chosen.quick else CASES:
        case = measure("splat_case", count, size, mode, chosen.repeats)
        cases.append(case)
        cells = "".join(f"{case[k + '_core_ms']:>10.1f}" for k in heads)
        name = f"{count // 1000}k @ {size} {mode}"
        say(f"{name:<24}{case['fill']:>6.2f}{cells}{case['backward_over_forward']:>8.2f}")
    report: dict[str, Any] = {
        "forward_core_ms_100k_512": cases[2]["forward_core_ms"],
        "backward_over_forward_100k_512": cases[2]["backward_over_forward"],
        "cases": cases,
        **scaling,
    }
    report |= start_times()
    warm, cold = report["warm_start_cpu_s"], report["cold_start_cpu_s"]
    say(f"start to first frame: {warm:.2f} CPU-s warm, {cold:.1f} CPU-s cold")
    report["oracle"] = exact = measure("oracle", 5)
    errors = (exact["image_max_error"], exact["gradient_relative_l2"])
    say(f"against float64: image {errors[0]:.1e}, gradients {errors[1]:.1e}")
    report["skinning"] = measure("skinning", 100_000, chosen.repeats)
    if chosen.no_peers:
        reason = {"peer": METAL_GAUSS, "reason": "--no-peers"}
        report |= {"vs_metal_gauss_20k_256": None, "memory_ratio_metal_gauss": None, "metal_gauss": reason}
    else:
        report |= compare_with_metal_gauss(chosen.peer_repeats)
    return report | compare_with_opensplat(chosen.repeats)


def main() -> int:
    parser = command.options(__doc__, 15)
    parser.add_argument("--quick", action="store_true", help="the three smallest cases, one look at threads")
    parser.add_argument("--no-peers", action="store_true", help="download and compare nothing")
    parser.add_argument("--peer-repeats", type=int, default=2, help="most passes of slow peers (%(default)s)")
    return command.report("splat", parser.parse_args(), run, plot_splat)


if __name__ == "__main__":
    sys.exit(main())
