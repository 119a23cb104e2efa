"""A browser if there is one, and an avatar with a short shot to open in it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the tests share web_browser and web_proof


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium; skips without one."""
    from web_browser import find_chromium

    found = find_chromium()
    if found is None:
        pytest.skip("no Chromium here (Debian: chromium-headless-shell; or set LCA_CHROMIUM)")
    return found


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dressed template person with 8,000 splats, as an avatar file."""
    path = tmp_path_factory.mktemp("web") / "template.lca"
    spec = importlib.util.spec_from_file_location("lca_fixture", HERE.parent / "lca_fixture.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.write_template_lca(path, gaussians=8000)
    return path
