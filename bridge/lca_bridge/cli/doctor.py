"""`lca doctor`: what this installation can do, and how to get the rest. Also warm-up and benchmarks."""

from __future__ import annotations

import argparse
import ctypes.util
import importlib
import importlib.util
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from lca.errors import NotFoundError
from lca_bridge.cli.output import print_json, print_table

BLENDER_LIBRARIES = {
    "Xi": "libxi6",
    "Xxf86vm": "libxxf86vm1",
    "Xfixes": "libxfixes3",
    "Xrender": "libxrender1",
    "GL": "libgl1",
    "xkbcommon": "libxkbcommon0",
    "SM": "libsm6",
    "EGL": "libegl1",
}
"""System libraries Blender's Python module loads on Linux, with their Debian packages."""

MIN_FREE_BYTES = 2 << 30


@dataclass(frozen=True)
class Check:
    """One finding: ``status`` is "ok", "missing" or "optional" (missing, and only some things need it)."""

    name: str
    status: str
    detail: str
    cure: str = ""


def doctor(args: argparse.Namespace) -> int:
    """Print every check; exit 0 when all required parts are there."""
    checks = [check for probe in PROBES for check in _safely(probe)]
    required_ok = all(check.status != "missing" for check in checks)
    if args.json:
        print_json({"ok": required_ok, "checks": [asdict(check) for check in checks]})
    else:
        print_table(
            ("part", "status", "detail", "how to get it"),
            [(c.name, c.status, c.detail, c.cure) for c in checks],
        )
    return 0 if required_ok else 3


def _safely(probe: Callable[[], list[Check]]) -> list[Check]:
    try:
        return probe()
    except Exception as error:  # a doctor must not die of the disease
        return [Check(probe.__name__.strip("_"), "missing", f"{type(error).__name__}: {error}")]


def _python() -> list[Check]:
    fits = (3, 11) <= sys.version_info[:2] < (3, 14)
    cure = "" if fits else "use Python 3.11 to 3.13"
    return [Check("python", "ok" if fits else "missing", platform.python_version(), cure)]


def _package(name: str, extra: str, required: bool, module: str = "") -> Check:
    from importlib.metadata import PackageNotFoundError, version

    if importlib.util.find_spec(module or name.replace("-", "_")) is None:
        return Check(
            name, "missing" if required else "optional", "not installed", f"pip install 'lca-bridge[{extra}]'"
        )
    try:
        return Check(name, "ok", version(name))
    except PackageNotFoundError:
        return Check(name, "ok", "installed")


def _packages() -> list[Check]:
    return [
        _package("grpcio", "server", True, "grpc"),
        _package("protobuf", "server", True, "google.protobuf"),
        _package("numpy", "server", True),
        _package("zstandard", "server", False),
        _package("numba", "server", True),
        _package("safetensors", "server", True),
        _package("av", "capture", True),
        _package("ai-edge-litert", "capture", True),
        _package("pymatting", "capture", True),
        _package("scipy", "capture", True),
        _package("gsplat", "cuda", False),
        _package("usd-core", "usd", False, "pxr"),
    ]


def _torch() -> list[Check]:
    check = _package("torch", "server", True)
    if check.status != "ok":
        return [check]
    import torch

    if torch.cuda.is_available():
        return [check, Check("cuda", "ok", torch.cuda.get_device_name(0))]
    return [
        check,
        Check("cuda", "optional", "no CUDA device; the CPU is used", "an NVIDIA GPU and a CUDA torch"),
    ]


def _landmarks() -> list[Check]:
    from lca_core.capture.models.extract_models import read_sums
    from lca_core.capture.networks import MODEL_DIR, verified_model_path

    names = list(read_sums(MODEL_DIR / "SHA256SUMS"))
    for name in names:
        if name.endswith(".tflite"):
            verified_model_path(name)
    return [Check("landmark models", "ok", f"{len(names)} files, checksums match")]


def _weights() -> list[Check]:
    from lca_core.model.checkpoint import read_info, weights_path

    path = weights_path()
    if not path.is_file():
        return [Check("weights", "missing", f"{path.name} is not there", "reinstall, or train: see docs")]
    found = read_info(path)
    return [Check("weights", "ok", f"{path.stem}, sha256 {found.sha256[:16]}")]


def _blender() -> list[Check]:
    check = _package("bpy", "blender", False)
    found = [check]
    if blender := shutil.which("blender"):
        found.append(Check("blender", "ok", blender))
    if check.status == "ok" and sys.platform == "linux":
        missing = [deb for lib, deb in BLENDER_LIBRARIES.items() if ctypes.util.find_library(lib) is None]
        cure = f"apt-get install {' '.join(missing)}" if missing else ""
        detail = f"missing: {', '.join(missing)}" if missing else "all there"
        found.append(Check("blender libraries", "optional" if missing else "ok", detail, cure))
    return found


def _disk() -> list[Check]:
    from lca_bridge.server.config import default_data_dir

    folder = default_data_dir()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    fits = free > MIN_FREE_BYTES
    return [
        Check("disk", "ok" if fits else "missing", f"{free / 1e9:.1f} GB free", "" if fits else "free 2 GB")
    ]


PROBES: tuple[Callable[[], list[Check]], ...] = (
    _python, _packages, _torch, _landmarks, _weights, _blender, _disk,
)  # fmt: skip


def warmup(args: argparse.Namespace) -> int:
    """Compile numba kernels now instead of during the first avatar."""
    from lca_core.splat import warmup as compile_splatting

    compile_splatting()
    if importlib.util.find_spec("pymatting") is not None:
        from lca_core.capture.masks import warm_matting

        warm_matting()
    print_json({"warm": True}) if args.json else print("Ready.")
    return 0


def bench(args: argparse.Namespace) -> int:
    """Run ``benchmarks/NAME.py`` of the source tree in a process of its own."""
    folder = Path(__file__).resolve().parents[3] / "benchmarks"
    script = folder / f"{args.name}.py"
    if not args.name.isidentifier() or not script.is_file():
        names = (
            ", ".join(sorted(p.stem for p in folder.glob("*.py"))) or "none: they come with the source tree"
        )
        raise NotFoundError(f"There is no benchmark {args.name!r}. Known: {names}.", reason="NO_BENCHMARK")
    json_flag = ["--json"] if args.json and "--json" not in args.rest else []
    return subprocess.run([sys.executable, str(script), *args.rest, *json_flag]).returncode
