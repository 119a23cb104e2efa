"""Shared by the add-on's tests: one template avatar per session, and processes that hold a Blender each."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
ADDON = ROOT / "blender_addon"
GAUSSIANS = 3000


SERVER = """
import sys, time
from pathlib import Path
from lca_bridge.server.app import ServiceThread
from lca_bridge.server.config import ServerConfig
with ServiceThread(ServerConfig(data_dir=Path(sys.argv[1]), address="127.0.0.1:0")) as service:
    Path(sys.argv[1], "address").write_text(service.target)
    print("READY", service.target, flush=True)
    time.sleep(600)
"""


@dataclass(frozen=True)
class Server:
    """A service in a process of its own, to be stopped or killed: pid, address, token file."""

    pid: int
    target: str
    token_file: Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A service that a test may kill."""
    data = tmp_path / "service"
    data.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(data)], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert process.stdout is not None and process.stdout.readline().startswith("READY")
    yield Server(process.pid, (data / "address").read_text(), data / "token")
    process.kill()
    process.wait(10)


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
