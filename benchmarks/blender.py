"""How fast the add-on is inside Blender, with 100,000 splats: import, posing, the whole rig, live frames.

``lca bench blender [--json] [--splats N] [--python PYTHON] [--save FILE]``. Everything runs in one child
process that holds the real ``bpy`` (``--python`` names another interpreter that has one, for example
``.venv-bpy52/bin/python``). Numbers are medians of wall time on the main thread. ``--json`` prints one JSON
document and nothing else on standard output.
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

ROOT = FOLDER.parent
BUDGETS = {  # key: (limit, whether more is better)
    "import_s_100k": (1.0, False),
    "import_over_reference": (3.0, True),
    "depsgraph_ms_100k": (15.0, False),
    "full_rig_ms": (20.0, False),
    "live_update_fps_100k": (60.0, True),
}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All measurements as one document.

    Raises:
        RuntimeError: the child process failed; its last words are in the message.
    """
    before = load_average()
    with tempfile.TemporaryDirectory(prefix="lca_bench_") as folder:
        avatar = Path(folder) / "person.lca"
        write_avatar(avatar, options.splats)
        say(f"measuring in {options.python}")
        rooms = [ROOT / room for room in ("blender_addon", "bridge", "proto", "core")]
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, [FOLDER, *rooms])),
            "BLENDER_USER_RESOURCES": str(Path(folder) / "user"),
        }
        done = subprocess.run(
            [options.python, "-m", "parts.blender_measures", str(avatar), str(folder)],
            env=env, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"the measurement failed: {done.stderr.strip()[-800:]}")
        measured = json.loads(done.stdout.split("MEASURED", 1)[1].splitlines()[0])
    report = {"benchmark": "blender", "environment": environment(), **measured}
    report["environment"]["load_average_at_start"] = before
    report["held"] = {
        key: (report[key] >= limit if more else report[key] <= limit)
        for key, (limit, more) in BUDGETS.items()
    }
    return report


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = [f"Blender {report['blender_version']}, {report['splats']} splats, {report['bones']} bones"]
    for key, (limit, more) in BUDGETS.items():
        bound = f"{'>=' if more else '<='} {limit:g}"
        lines.append(
            f"  {key:24s}{report[key]:9.2f}   {bound:8s} {'held' if report['held'][key] else 'NOT held'}"
        )
    lines.append(f"  reference of the PLY import: {report['reference']}")
    for key, value in report["detail"].items():
        lines.append(f"  {key:24s}{value:9.2f}")
    return "\n".join(lines)


def main() -> int:
    """Command line entry; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--splats", type=int, default=100_000)
    parser.add_argument("--python", default=sys.executable, help="interpreter with bpy")
    parser.add_argument("--save", type=Path, help="also write the JSON here")
    options = parser.parse_args()
    try:
        report = run(options)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.save is not None:
        options.save.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report) if options.json else table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
