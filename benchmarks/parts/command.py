"""The command line that all benchmarks share: common options in, the finished report out."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parts.machine import environment, load_average, say


def options(description: str | None, repeats: int) -> argparse.ArgumentParser:
    """Parser with ``--json``, ``--repeats``, ``--save`` and ``--plot``."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=raw)
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.add_argument("--repeats", type=int, default=repeats, help="passes per case (%(default)s)")
    parser.add_argument("--save", type=Path, help="also write the JSON to this file")
    parser.add_argument("--plot", type=Path, help="write a bar chart (needs the extra 'bench')")
    return parser


def report(
    name: str,
    chosen: argparse.Namespace,
    run: Callable[[argparse.Namespace], dict[str, Any]],
    plot: Callable[[dict[str, Any], Path], None],
) -> int:
    """Run, then print, save and draw; standard output gets the JSON document or nothing."""
    around = environment()
    found = {"benchmark": name, "environment": around, **run(chosen)}
    around["load_average_at_end"] = load_average()
    text = json.dumps(found, indent=1, allow_nan=False)
    if chosen.json:
        print(text)
    else:
        say(json.dumps(around, indent=1))
    if chosen.save:
        chosen.save.write_text(text + "\n", encoding="utf-8")
    if chosen.plot:
        plot(found, chosen.plot)
    return 0
