"""How fast an avatar moves: a pose frame in, 65,536 posed Gaussians out (correctives + skinning).

``lca bench animate [--json] [--repeats N] [--save FILE] [--plot FILE.png]``. CPU: the fused numba path
against its step-by-step twin, one thread, medians of process CPU time, every joint and all 52 shapes moving.
CUDA, where there is one: animate + render at 1024x1024 against gsplat's raw ``rasterization()`` of the same
Gaussians.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from parts.machine import environment, load_average, measure, say


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All measurements as one document."""
    report: dict[str, Any] = {"benchmark": "animate", "environment": environment()}
    measure("warm_up")
    report["cpu"] = cpu = measure("animate", 65_536, options.repeats)
    report["animate_core_ms_65k"] = cpu["fused_core_ms"]
    report["stepwise_over_fused"] = cpu["stepwise_core_ms"] / cpu["fused_core_ms"]
    say(
        f"65k: fused {cpu['fused_core_ms']:.1f}, step by step {cpu['stepwise_core_ms']:.1f}, fused and a "
        f"512x512 picture {cpu['fused_and_picture_512_core_ms']:.1f} core-ms; they differ "
        f"by {cpu['max_difference_m']:.0e} m"
    )
    report["skinning"] = measure("skinning", 100_000, options.repeats)
    report["cuda"] = cuda = measure("cuda")
    report["cuda_over_gsplat_raw"] = cuda["ratio"]
    say(f"CUDA: {cuda['reason'] or format(cuda['ratio'], '.2f') + ' x gsplat raw'}")
    report["environment"]["load_average_at_end"] = load_average()
    return report


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_argument("--repeats", type=int, default=15, help="frames (%(default)s)")
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")
    parser.add_argument("--plot", type=Path, help="write a bar chart (needs the extra 'bench')")
    options = parser.parse_args()
    report = run(options)
    text = json.dumps(report, indent=1)
    if options.json:
        print(text)
    else:
        say(json.dumps(report["environment"], indent=1))
    if options.save:
        options.save.write_text(text + "\n", encoding="utf-8")
    if options.plot:
        from parts.plot import plot_animate

        plot_animate(report, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
