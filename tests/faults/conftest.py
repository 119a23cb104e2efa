"""A small package, a real photo and clip, and services in processes of their own."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from harness import ServerProcess

from lca_bridge.client import LcaClient


def _bridge_conftest() -> ModuleType:
    path = Path(__file__).parents[1] / "bridge" / "conftest.py"
    spec = importlib.util.spec_from_file_location("bridge_conftest", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid `.lca` file of 200 Gaussians."""
    bridge = _bridge_conftest()
    path = tmp_path_factory.mktemp("package") / "person.lca"
    path.write_bytes(bridge.pack(bridge.make_groups(seed=7, n=200, components=6)))
    return path


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small picture."""
    from PIL import Image

    path = tmp_path_factory.mktemp("photo") / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 255, (64, 48, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real, short video with nobody in it."""
    import av

    path = tmp_path_factory.mktemp("clip") / "nobody.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 240, "yuv420p"
        y, x = np.mgrid[0:240, 0:160]
        for k in range(12):
            pixels = np.stack([x + 4 * k, y, x * 0 + 90], 2).clip(0, 255).astype(np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, package: Path) -> Iterator[ServerProcess]:
    """One service process for tests that leave nothing behind."""
    folder = tmp_path_factory.mktemp("data")
    limits = {"worker_silence_seconds": 2.0, "queued_jobs": 64}
    with ServerProcess(folder, package, limits=limits) as running:
        yield running


@pytest.fixture
def client(server: ServerProcess) -> Iterator[LcaClient]:
    with server.client() as connected:
        yield connected


@pytest.fixture(scope="session")
def person(server: ServerProcess, package: Path) -> str:
    """An avatar in the shared service."""
    with server.client() as connected:
        return connected.import_avatar(connected.upload(package).name, avatar_id="person").name
