"""Shared fixtures of the capture tests: sample media outside the repository, and the body."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def media() -> Path:
    """Folder of public sample clips; tests that need it are skipped when it is absent."""
    folder = Path(os.environ.get("LCA_MEDIA", ROOT.parent / "shared" / "media"))
    if not (folder / "real").is_dir():
        pytest.skip("sample media not present (set LCA_MEDIA)")
    return folder


@pytest.fixture(scope="session")
def body():
    """The embedded body."""
    from lca_core.body.model import BodyModel

    return BodyModel.load()


FRAMES = 40


@pytest.fixture(scope="session")
def captured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """(shipped clip, motion file of ``FRAMES`` frames, preview) of one run of ``lca capture``."""
    from lca_bridge.cli.main import main
    from lca_core.data.sample_clip import sample_clip_path

    folder = tmp_path_factory.mktemp("motion")
    clip, out, preview = sample_clip_path(), folder / "motion.npz", folder / "preview.mp4"
    command = ["capture", str(clip), "-o", str(out), "--frames", str(FRAMES), "--preview", str(preview)]
    assert main([*command, "--height", "1.82", "--json"]) == 0
    return clip, out, preview
