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
