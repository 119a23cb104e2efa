"""Shared by the add-on's tests: one template avatar per session, and processes that hold a Blender each."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
ADDON = ROOT / "blender_addon"
GAUSSIANS = 3000


def load_fixture_writer() -> ModuleType:
    """``tests/lca_fixture.py``; tests are no package, so it is loaded by path."""
    spec = importlib.util.spec_from_file_location("lca_fixture", ROOT / "tests" / "lca_fixture.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def template_lca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid avatar file: template body in a bodysuit. A surrounding run passes its own by environment."""
    given = os.environ.get("LCA_TEST_AVATAR")
    if given:
        return Path(given)
    target = tmp_path_factory.mktemp("avatar") / "template.lca"
    return Path(load_fixture_writer().write_template_lca(target, GAUSSIANS))


@pytest.fixture
def run_python(tmp_path: Path, template_lca: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``python ARGS`` in its own process with a private Blender user folder and the avatar's path."""

    def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "BLENDER_USER_RESOURCES": str(tmp_path / "blender_user"),
            "LCA_TEST_AVATAR": str(template_lca),
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            env=environment, cwd=cwd or tmp_path, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    return run
