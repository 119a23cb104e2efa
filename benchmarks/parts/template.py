"""The avatar of the Blender and USD benchmarks: the tests' template person, as large as asked."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from parts.machine import FOLDER, say


def write_avatar(path: Path, splats: int) -> None:
    """An ``.lca`` file with this many splats: real body, weights, shapes, correctives and proxy mesh."""
    say(f"writing an avatar of {splats} splats")
    source = FOLDER.parent / "tests" / "lca_fixture.py"
    spec = importlib.util.spec_from_file_location("lca_fixture", source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.write_template_lca(path, splats, grid=512)
