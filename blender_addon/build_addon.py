# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the Blender extension: one self-contained zip per platform, checked by Blender's own tool.

    python blender_addon/build_addon.py [--out dist] [--platform linux-x64 ...] [--no-wheels]

The add-on's sources, a vendored copy of our client, package reader and protocol (absolute imports of ``lca``
and ``lca_bridge`` rewritten to relative ones, because an extension may not edit ``sys.path``), and the wheels
of grpcio, protobuf and typing-extensions for every Blender Python go into one folder; ``blender_ext.py`` of
the bpy wheel validates it and makes the zips. A platform whose wheels cannot be obtained is skipped and
named.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE / "lca_avatars"
ROOT = HERE.parent
VENDORED = {
    "lca": ("proto/lca", ("*.py", "motion/*.py", "v1/*.py")),
    "lca_bridge": ("bridge/lca_bridge", ("__init__.py", "wire/*.py", "client/*.py")),
}
REQUIREMENTS = ("grpcio>=1.62.3", "protobuf>=4.25.8,<8", "typing-extensions>=4.12")
PYTHONS = ("3.11", "3.13")


@dataclass(frozen=True)
class Platform:
    """A Blender platform id and the wheel tags that run on it, best first."""

    name: str
    tags: tuple[str, ...]


PLATFORMS = (
    Platform("linux-x64", ("manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_28_x86_64")),
    Platform("windows-x64", ("win_amd64",)),
    Platform("macos-arm64", ("macosx_11_0_universal2", "macosx_11_0_arm64", "macosx_10_9_universal2")),
)


def this_platform() -> Platform:
    """The platform this Python runs on.

    Raises:
        RuntimeError: none of those we build for.
    """
    known = {"linux": "linux-x64", "win32": "windows-x64", "darwin": "macos-arm64"}
    for platform in PLATFORMS:
        if platform.name == known.get(sys.platform):
            return platform
    raise RuntimeError(f"no zip is built for {sys.platform}")


def relative_imports(source: str, module: str) -> str:
    """Rewrite absolute imports of the vendored packages as relative ones.

    Args:
        source: text of a module. module: its dotted name below ``vendor``, for example ``lca.v1.job_pb2``; a
        package ends in ``.__init__``.

    Raises:
        ValueError: an ``import lca...`` statement that has no relative form.
    """
    dots = "." * len(module.split("."))
    packages = "|".join(VENDORED)
    bare = re.search(rf"^[ \t]*import ({packages})\b.*$", source, flags=re.M)
    if bare:
        raise ValueError(
            f"{module}: write {bare.group(0).strip()!r} as 'from ... import ...' so it can be vendored"
        )
    return re.sub(
        rf"^([ \t]*from )((?:{packages})(?:\.[\w.]+)?)( import )", rf"\1{dots}\2\3", source, flags=re.M
    )


def vendor(target: Path) -> int:
    """Copy and rewrite our own modules into ``target``; returns how many."""
    count = 0
    target.mkdir(parents=True)
    (target / "__init__.py").write_text(
        '"""LCA Bridge client, package reader and protocol (Apache-2.0), vendored."""\n'
    )
    for package, (folder, patterns) in VENDORED.items():
        base = ROOT / folder
        for file in sorted(path for pattern in patterns for path in base.glob(pattern)):
            inner = file.relative_to(base)
            module = ".".join((package, *inner.with_suffix("").parts))
            place = target / package / inner
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(relative_imports(file.read_text(encoding="utf-8"), module), encoding="utf-8")
            count += 1
    for name in ("LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, target / name)
    return count


def download_wheels(platform: Platform, target: Path) -> list[Path]:
    """Wheels of one platform for every Python, by pip (its caches and local indexes included).

    Raises:
        RuntimeError: pip could not obtain one; the message is pip's last line.
    """
    target.mkdir(parents=True, exist_ok=True)
    for python in PYTHONS:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
        command += [f"--platform={tag}" for tag in platform.tags]
        abi = "cp" + python.replace(".", "")
        command += [f"--abi={abi}", "--abi=abi3", "--abi=none", f"--dest={target}", *REQUIREMENTS]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "pip failed")
    return sorted(target.glob("*.whl"))


def blender_tool() -> Path:
    """Blender's extension tool inside the installed bpy wheel.

    Raises:
        RuntimeError: bpy is not installed.
    """
    spec = find_spec("bpy")
    if spec is not None and spec.origin is not None:
        found = sorted(Path(spec.origin).parents[0].rglob("bl_pkg/cli/blender_ext.py"))
        found = found or sorted(
            Path(spec.origin).parents[3].glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py")
        )
        if found:
            return found[-1]
    raise RuntimeError(
        "Blender's extension tool was not found: pip install bpy (or the project's 'dev' extra)"
    )


def run_tool(*arguments: str) -> None:
    """Run ``blender_ext.py``; its output is shown when it fails.

    Raises:
        RuntimeError: the tool refused the input.
    """
    done = subprocess.run(
        [sys.executable, str(blender_tool()), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"blender_ext.py {arguments[0]} failed:\n{done.stdout}{done.stderr}")


def stage(target: Path, wheels: dict[str, list[Path]]) -> None:
    """Assemble the extension folder: sources, vendored modules, wheels by platform, completed manifest."""
    shutil.copytree(SOURCE, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", "vendor", "wheels"))
    shutil.copy(HERE / "LICENSE", target / "LICENSE")
    vendor(target / "vendor")
    if not wheels:
        return
    (target / "wheels").mkdir()
    names = sorted({wheel.name for group in wheels.values() for wheel in group})
    for group in wheels.values():
        for wheel in group:
            shutil.copy(wheel, target / "wheels" / wheel.name)
    lines = ["platforms = [" + ", ".join(f'"{name}"' for name in wheels) + "]", "wheels = ["]
    lines += [f'  "./wheels/{name}",' for name in names] + ["]", ""]
    manifest = target / "blender_manifest.toml"
    text = manifest.read_text()
    # Top-level keys must come before the first table.
    manifest.write_text(text.replace("[permissions]", "\n".join([*lines, "[permissions]"]), 1))


def build(out: Path, platforms: list[Platform], with_wheels: bool = True) -> list[Path]:
    """Build and validate the zips; returns their paths.

    Raises:
        RuntimeError: no platform could be built, or Blender's tool refuses the result.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lca_addon_") as scratch:
        wheels: dict[str, list[Path]] = {}
        skipped: dict[str, str] = {}
        for platform in platforms if with_wheels else []:
            try:
                wheels[platform.name] = download_wheels(platform, Path(scratch) / "wheels" / platform.name)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                skipped[platform.name] = str(error)
        for name, why in skipped.items():
            print(f"skipped {name}: {why}", file=sys.stderr)
        if with_wheels and not wheels:
            raise RuntimeError(
                "no platform's wheels could be obtained; use --no-wheels for a zip without them"
            )
        folder = Path(scratch) / "lca_avatars"
        stage(folder, wheels)
        run_tool("validate", str(folder))
        before = set(out.glob("lca_avatars-*.zip"))
        for stale in before:
            stale.unlink()
        split = ["--split-platforms"] if wheels else []
        run_tool("build", f"--source-dir={folder}", f"--output-dir={out.resolve()}", *split)
    built = sorted(out.glob("lca_avatars-*.zip"))
    for path in built:
        run_tool("validate", str(path))
    return built


def main(arguments: list[str] | None = None) -> int:
    """Command line entry; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument(
        "--platform", action="append", choices=[p.name for p in PLATFORMS], help="default: all"
    )
    parser.add_argument(
        "--no-wheels", action="store_true", help="leave grpcio and protobuf out (import only)"
    )
    options = parser.parse_args(arguments)
    chosen = [p for p in PLATFORMS if not options.platform or p.name in options.platform]
    try:
        built = build(options.out, chosen, with_wheels=not options.no_wheels)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path in built:
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
