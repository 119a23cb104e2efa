"""Runs every module of ``inside/`` with its own Blender: bpy keeps global state, so each gets a process."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

INSIDE = sorted(path for path in (Path(__file__).parent / "inside").glob("*.py") if path.stem != "conftest")

pytest.importorskip("bpy", reason="needs the bpy module")
pytestmark = pytest.mark.bpy


@pytest.mark.parametrize("module", INSIDE, ids=lambda path: path.stem)
def test_inside_blender(module: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = run_python("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", module, cwd=module.parents[3])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
