"""Where compiled kernels are kept when the package folder cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lca_core.splat import _jit

PROBE = """
import numba, lca_core.splat._jit as jit
print(numba.config.CACHE_DIR, jit._CACHE)
"""


def blocked(tmp_path: Path) -> Path:
    """A package folder where ``__pycache__`` cannot be made: it is a file (permissions do not stop root)."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__pycache__").write_text("")
    return package


def test_writable_package_keeps_numbas_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    assert _jit.choose_cache(tmp_path) is None


def test_read_only_package_uses_the_user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    chosen = _jit.choose_cache(blocked(tmp_path))
    assert chosen == _jit.cache_candidates()[0]
    if sys.platform == "linux":
        assert chosen == tmp_path / "cache" / "lca-bridge" / "numba" and chosen.is_dir()


def test_the_environment_decides_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert _jit.choose_cache(blocked(tmp_path)) is None


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX permissions")
def test_a_folder_others_can_write_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """numba unpickles its cache: a shared folder would let another user run code."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    shared, own = tmp_path / "shared", tmp_path / "own"
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setattr(_jit, "cache_candidates", lambda: [shared, own])
    assert _jit.choose_cache(blocked(tmp_path)) == own


def test_import_works_with_a_chosen_folder(tmp_path: Path) -> None:
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.split() == [str(tmp_path), "True"]
