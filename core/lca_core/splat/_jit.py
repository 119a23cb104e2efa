"""How this room compiles: numba decorators with one set of flags and a cache folder that always works.

Kernels release the GIL and are cached on disk. The cache lies beside the package; when that folder is
read-only it lies in the user's cache folder, and as a last resort in a private temporary folder.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

import numba
from numba import njit

# No "nnan"/"ninf": projection decides with comparisons whether a broken Gaussian (NaN, inf) is dropped.
SAFE_FASTMATH = {"reassoc", "contract", "arcp", "nsz", "afn"}


def _owned(folder: Path) -> bool:
    """True if only this user can write to ``folder`` (numba unpickles what it finds there)."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        info = folder.stat()
    except OSError:
        return False
    if hasattr(os, "getuid") and (info.st_uid != os.getuid() or info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        return False
    return os.access(folder, os.W_OK)


def cache_candidates() -> list[Path]:
    """Folders tried in order when the package folder is not writable."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", tempfile.gettempdir()))
    elif sys.platform == "darwin":
        base = Path("~/Library/Caches").expanduser()
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return [base / "lca-bridge" / "numba", Path(tempfile.gettempdir()) / f"lca-bridge-numba-{user}"]


def _writable(folder: Path) -> bool:
    """True if a file can really be created there (``os.access`` is wrong for root and read-only mounts)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def choose_cache(package: Path) -> Path | None:
    """The folder to give to numba, or None when its default (beside the package) works.

    Args:
        package: folder of the module to be compiled.
    """
    if os.environ.get("NUMBA_CACHE_DIR") or _writable(package / "__pycache__"):
        return None
    return next((folder for folder in cache_candidates() if _owned(folder)), None)


_folder = choose_cache(Path(__file__).parent)
_config: Any = numba.config
if _folder is not None and not _config.CACHE_DIR:
    _config.CACHE_DIR = str(_folder)
_CACHE = bool(
    os.environ.get("NUMBA_CACHE_DIR")
    or _folder is not None
    or _writable(Path(__file__).parent / "__pycache__")
)

kernel: Any = njit(cache=_CACHE, nogil=True, fastmath=SAFE_FASTMATH)
"""Code that is safe for NaN."""
pixel: Any = njit(cache=_CACHE, nogil=True, fastmath=True, error_model="numpy")
"""Innermost pixel loops, where NaN never decides anything."""
lane: Any = njit(cache=_CACHE, nogil=True, fastmath=True, error_model="numpy", forceinline=True)
"""One pixel's part of a loop: always compiled into the loop, so that all of it can be vector code."""
