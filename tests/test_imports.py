"""Doors between the rooms: the client side never loads torch, and no room imports what it may not."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIGHT = ("lca.errors", "lca_core", "lca_core.body.rig", "lca_bridge.client", "lca_bridge.wire", "lca_usd")
MAY_IMPORT: dict[str, set[str]] = {
    "lca_core/body": {"body"},
    "lca_core/capture": {"capture", "body", "progress"},
    "lca_core/model": {"model", "body"},
    "lca_core/splat": {"splat"},
    "lca_core/data": {"data", "body"},
    "lca_core/relight": {"relight", "splat"},
    "lca_core/avatar": {"avatar", "body", "splat", "relight", "model", "capture", "progress"},
    "lca_core/train": {"train", "model", "data", "splat", "body", "relight"},
}
"""Core rooms -> core rooms they may import (docs/architecture.md)."""


@pytest.mark.parametrize("module", LIGHT)
def test_client_side_imports_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return names


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_core_rooms_keep_to_their_doors(room: str) -> None:
    for path in (ROOT / "core" / room).rglob("*.py"):
        for name in _imports(path):
            assert not name.startswith("lca_bridge"), f"{path}: core may not import {name}"
            if name.startswith("lca_core."):
                assert name.split(".")[1] in MAY_IMPORT[room], f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize(
    "folder", ["bridge/lca_bridge/wire", "bridge/lca_bridge/client", "usd_export/lca_usd", "blender_addon"]
)
def test_clients_import_neither_core_nor_torch(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        bad = {n for n in _imports(path) if n.split(".")[0] in ("torch", "lca_core", "numba", "warp")}
        assert not bad, f"{path.relative_to(ROOT)} imports {bad}"
