"""This environment's Blender, start to end: install the zip, create, import, pose, save, reload, remove."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent

pytest.importorskip("bpy", reason="needs the bpy module")
pytestmark = pytest.mark.bpy


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"addon_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_an_artist_installs_creates_poses_saves_and_removes(tmp_path: Path) -> None:
    builder = load(HERE.parents[1] / "blender_addon" / "build_addon.py")
    (extension,) = builder.build(tmp_path / "dist", [], with_wheels=False)
    result = load(HERE / "acceptance" / "run.py").accept(sys.executable, extension, tmp_path)
    print(result["blender"], result["errors"], result["moved"])
    assert result["moved"] > 180
