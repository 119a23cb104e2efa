"""Other renderers to compare with, fetched on demand into a folder of their own, never into this environment.

``metal_gauss`` (MIT, PyPI) is installed without its dependencies: its pure torch reference needs only torch.
OpenSplat is AGPL and never fetched; who has built its CPU renderer can name a Python file of theirs in
``LCA_BENCH_OPENSPLAT`` that defines ``forward(means, quats, scales, opacities, colors, viewmat, K, width,
height)`` and returns the image (H, W, 3).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

METAL_GAUSS = "metal-gauss==0.2.1"
NVIDIA_CONVERTER = "usd-convert-gsplat==0.1.15"
SOG_WRITER = "sogpy==1.0.2"


def install_metal_gauss() -> Path:
    """Folder with ``metal_gauss``, downloaded the first time; raises as :func:`install`."""
    return install(METAL_GAUSS, "metal_gauss/torch_ref.py")


def install(package: str, proof: str) -> Path:
    """Folder with a PyPI package and none of its dependencies, downloaded the first time.

    Args:
        package: ``name==version``.
        proof: a file it must contain.

    Raises:
        RuntimeError: pip could not fetch it (no network?) or the folder cannot be written.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    folder = base / "lca-bridge" / "bench-peers" / package.replace("==", "-")
    if (folder / proof).is_file():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=folder.parent))
    except OSError as error:
        raise RuntimeError(f"{package} could not be installed: {error}") from error
    try:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(fresh)]
        done = subprocess.run(
            [*command, "--disable-pip-version-check", package],
            capture_output=True,
            text=True,
            timeout=300,
        )
        if done.returncode or not (fresh / proof).is_file():
            raise RuntimeError(f"{package} could not be installed: {done.stderr.strip()[-300:]}")
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)  # complete or not at all
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{package} could not be installed: pip took over {error.timeout} s") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def metal_gauss(folder: Path) -> Callable[..., Any]:
    """``metal_gauss.torch_ref.render`` from ``folder``, as a single file: the package itself wants a Mac."""
    sys.path.insert(0, str(folder))
    from metal_gauss import torch_ref

    render: Callable[..., Any] = torch_ref.render
    return render


def opensplat() -> Callable[..., Any] | None:
    """The user's ``forward`` of OpenSplat, or None."""
    path = os.environ.get("LCA_BENCH_OPENSPLAT")
    if not path:
        return None
    spec = importlib.util.spec_from_file_location("lca_bench_opensplat", path)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"LCA_BENCH_OPENSPLAT={path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    forward: Callable[..., Any] = module.forward
    return forward
