"""What a USD avatar weighs and how fast it is written: tiers with PSNR, beside SPZ, SOG and NVIDIA's tool.

``lca bench usd [--json] [--splats N] [--save FILE]``. 100,000 splats on the template person with skin and 52
shapes, SH degree 0 and 3 (smooth view-dependent colour plus noise). PSNR: our renderer, 4 body views and the
face at 512x768, foreground pixels, against the float original. MB = 10^6 bytes. The peers are fetched from
PyPI into a folder of their own; without network their numbers are null, with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from parts.machine import FOLDER, environment, load_average, say
from parts.template import write_avatar

BUDGETS = {  # key: (limit, whether more is better)
    "tier_a_mb_sh0": (5.4, False),
    "tier_a_mb_sh3": (14.4, False),
    "tier_a_psnr_db": (80.0, True),
    "tier_c_mb_sh0": (1.4, False),
    "tier_c_psnr_db": (54.0, True),
    "export_s": (3.0, False),
    "over_nvidia_converter": (100.0, True),
}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All measurements as one document.

    Raises:
        RuntimeError: the child process failed; its last words are in the message.
    """
    with tempfile.TemporaryDirectory(prefix="lca_bench_") as folder:
        avatar = Path(folder) / "person.lca"
        write_avatar(avatar, options.splats)
        done = subprocess.run(
            [sys.executable, "-m", "parts.usd_measures", str(avatar), folder],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(FOLDER)},
            check=False,
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith("MEASURED ")]
    if done.returncode or not lines:
        raise RuntimeError("the measuring process failed; see above")
    found: dict[str, Any] = json.loads(lines[-1][9:])
    return found


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_argument("--splats", type=int, default=100_000)
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    around = environment()
    found = run(options)
    met = {
        key: None if found[key] is None else (found[key] >= limit) == more or found[key] == limit
        for key, (limit, more) in BUDGETS.items()
    }
    around["load_average_at_end"] = load_average()
    text = json.dumps({"benchmark": "usd", **found, "budgets_met": met, "environment": around}, indent=1)
    if options.json:
        print(text)
    else:
        for key, (limit, more) in BUDGETS.items():
            say(f"{key:24} {found[key]}  ({'at least' if more else 'at most'} {limit})")
    if options.save:
        options.save.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
