"""How fast the CPU renderer is, next to named peers, and how far from the float64 oracle it lies.

``lca bench splat [--json] [--quick] [--no-peers] [--save FILE] [--plot FILE.png]``. Every measurement runs in
its own process on one thread; numbers are medians of process CPU time ("core-ms") unless "wall" is said.
``--json`` prints one JSON document and nothing else on standard output.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from parts.machine import environment, load_average, measure, say
from parts.peers import METAL_GAUSS, install_metal_gauss, opensplat

CASES = [  # Gaussians, image size, scale mode; the third is the headline
    (20_000, 256, "1cm"),
    (50_000, 512, "1cm"),
    (100_000, 512, "1cm"),
    (100_000, 512, "spacing"),
    (100_000, 1024, "1cm"),
    (200_000, 1024, "spacing"),
]


def start_times() -> dict[str, float]:
    """CPU seconds of a process up to its first frame, with an empty and with a filled kernel cache."""
    with tempfile.TemporaryDirectory() as folder:
        cold = measure("start", cache=Path(folder))["cpu_s"]
        warm = sorted(measure("start", cache=Path(folder))["cpu_s"] for _ in range(3))[1]
    return {"cold_start_cpu_s": cold, "warm_start_cpu_s": warm}


def compare_with_metal_gauss(repeats: int) -> dict[str, Any]:
    """Speed and memory ratios; None with a reason where the peer cannot be had."""
    try:
        folder = install_metal_gauss()
        speed = measure("against_metal_gauss", folder, repeats)
        ours, theirs = (measure("memory", name, folder) for name in ("numba", "metal_gauss"))
    except RuntimeError as error:
        say(f"  left out: {error}")
        return {"vs_metal_gauss_20k_256": None, "memory_ratio_metal_gauss": None, "reason": str(error)}
    grown = [m["peak_bytes"] - m["before_bytes"] for m in (ours, theirs)]
    return {
        "vs_metal_gauss_20k_256": speed["metal_gauss_core_ms"] / speed["numba_core_ms"],
        "memory_ratio_metal_gauss": theirs["peak_bytes"] / ours["peak_bytes"],
        "memory_ratio_metal_gauss_above_imports": grown[1] / max(grown[0], 1),
        "detail": {"peer": METAL_GAUSS, **speed, "numba_memory": ours, "metal_gauss_memory": theirs},
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All measurements as one document."""
    report: dict[str, Any] = {"benchmark": "splat", "environment": environment()}
    measure("warm_up")
    if options.no_peers:
        report |= {"vs_metal_gauss_20k_256": None, "memory_ratio_metal_gauss": None}
    else:
        say(f"peer {METAL_GAUSS}, torch_ref, forward + backward, 20k @ 256 (takes a minute)")
        peer = compare_with_metal_gauss(options.peer_repeats)
        report |= {key: value for key, value in peer.items() if key.startswith(("vs_", "memory_"))}
        report["metal_gauss"] = peer.get("detail", {"reason": peer.get("reason")})
        if peer["vs_metal_gauss_20k_256"]:
            ratios = (peer["vs_metal_gauss_20k_256"], peer["memory_ratio_metal_gauss"])
            say(f"  {ratios[0]:.0f}x faster, {ratios[1]:.0f}x less memory")
    say(f"{'case':<24}{'fill':>6}{'frame':>10}{'forward':>10}{'backward':>10}   core-ms, one thread")
    report["cases"] = []
    for count, size, mode in CASES[:3] if options.quick else CASES:
        case = measure("splat_case", count, size, mode, options.repeats)
        report["cases"].append(case)
        cells = "".join(f"{case[k + '_core_ms']:>10.1f}" for k in ("frame", "forward", "backward"))
        say(f"{f'{count // 1000}k @ {size} {mode}':<24}{case['fill']:>6.2f}{cells}")
    headline = report["cases"][2]
    report["forward_core_ms_100k_512"] = headline["forward_core_ms"]
    report["backward_over_forward_100k_512"] = headline["backward_core_ms"] / headline["forward_core_ms"]
    scaling = measure("threads", 100_000, 512, options.repeats, threads=2)
    report["thread_scaling_2"] = scaling["forward_scaling"]
    report["threads"] = {**scaling, "load_average": load_average()}
    say(f"two threads: {scaling['forward_scaling']:.2f}x one (wall; load average {load_average()})")
    report |= start_times()
    warm, cold = report["warm_start_cpu_s"], report["cold_start_cpu_s"]
    say(f"start to first frame: {warm:.2f} CPU-s warm, {cold:.1f} CPU-s cold")
    report["oracle"] = exact = measure("oracle", 5)
    errors = (exact["image_max_error"], exact["gradient_relative_l2"])
    say(f"against float64: image {errors[0]:.1e}, gradients {errors[1]:.1e}")
    report["skinning"] = measure("skinning", 100_000, options.repeats)
    if opensplat() is not None:
        report["opensplat"] = measure("opensplat_case", 100_000, 512, options.repeats)
    report["environment"]["load_average_at_end"] = load_average()
    return report


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_argument("--quick", action="store_true", help="the three smallest cases only")
    parser.add_argument("--no-peers", action="store_true", help="download and compare nothing")
    parser.add_argument("--repeats", type=int, default=9, help="passes per case (%(default)s)")
    parser.add_argument("--peer-repeats", type=int, default=3, help="passes of slow peers (%(default)s)")
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
        from parts.plot import plot_splat

        plot_splat(report, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
