"""Runs the add-on's tests in every supported Blender: ``python tests/blender/versions.py [45] [50] [52]``.

4.5 LTS and 5.2 LTS get virtual environments of their own beside ``.venv`` (``.venv-bpy45`` with Python 3.11,
``.venv-bpy52`` with Python 3.13), made on the first run from the bpy wheels of the package index; 5.0 is the
project's own environment. Every test module and every acceptance step is a process with a time limit. The
acceptance run installs the zip with wheels, as a user gets it; these environments hold no gRPC of their own.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MODULE_SECONDS = 600.0
INSTALL_SECONDS = 1800.0


@dataclass(frozen=True)
class Version:
    """A Blender under test: its tag, bpy requirement and Python; 5.0 lives in the project's environment."""

    tag: str
    requirement: str
    python: str

    @property
    def folder(self) -> Path:
        """Its virtual environment."""
        return ROOT / (".venv" if self.tag == "50" else f".venv-bpy{self.tag}")

    @property
    def executable(self) -> Path:
        """Its Python; this very one for the project's own environment."""
        return Path(sys.executable) if self.tag == "50" else self.folder / "bin" / "python"


VERSIONS = (
    Version("45", "bpy==4.5.*", "3.11"),
    Version("50", "bpy==5.0.*", "3.11"),
    Version("52", "bpy==5.2.*", "3.13"),
)


def find_python(version: str) -> str:
    """An interpreter of this minor version: from PATH, or pyenv's.

    Raises:
        RuntimeError: there is none.
    """
    found = shutil.which(f"python{version}")
    if found is not None and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
        return found
    for folder in sorted(Path.home().glob(f".pyenv/versions/{version}*")):
        return str(folder / "bin" / "python")
    raise RuntimeError(f"Python {version} is not installed; Blender's wheel for it cannot be tested here")


def prepare(version: Version) -> None:
    """Make the virtual environment unless it is complete.

    Raises:
        RuntimeError: no such Python, or pip cannot get the wheel.
    """
    ready = version.folder / ".ready"
    if version.tag == "50" or ready.is_file():
        return
    print(f"== making {version.folder.name} ({version.requirement}, Python {version.python})", flush=True)
    base = find_python(version.python)
    subprocess.run([base, "-m", "venv", "--clear", str(version.folder)], check=True)
    pip = [str(version.executable), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, version.requirement, "numpy", "pytest"],
        capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["pip failed"]
        raise RuntimeError(f"{version.requirement} cannot be installed: {last[0]}")
    ready.touch()


def run_modules(version: Version, avatar: Path, folder: Path) -> list[str]:
    """The tests inside Blender, a process per module; returns the names of those that failed."""
    rooms = [ROOT / room for room in ("core", "bridge", "proto")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, rooms)),
        "BLENDER_USER_RESOURCES": str(folder / "modules"),
        "LCA_TEST_AVATAR": str(avatar),
        "OMP_NUM_THREADS": "1",
    }
    failed = []
    for module in sorted(path for path in (HERE / "inside").glob("*.py") if path.stem != "conftest"):
        command = [str(version.executable), "-m", "pytest", "-q", "-p", "no:cacheprovider", str(module)]
        # The project's options name plug-ins that these environments do not have.
        command += ["-c", os.devnull, "--rootdir", str(ROOT), "--import-mode=importlib"]
        start = time.monotonic()
        try:
            done = subprocess.run(
                command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=MODULE_SECONDS
            )
            good, text = done.returncode == 0, done.stdout[-4000:] + done.stderr[-1500:]
        except subprocess.TimeoutExpired:
            good, text = False, f"took longer than {MODULE_SECONDS:.0f} s"
        print(
            f"   {module.stem:12s} {'ok' if good else 'FAILED'}  {time.monotonic() - start:.0f} s", flush=True
        )
        if not good:
            failed.append(f"{version.tag} {module.stem}")
            print(text)
    return failed


def load(path: Path, name: str) -> ModuleType:
    """A module by path; tests are no package."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def main(arguments: list[str]) -> int:
    """Run the named versions, all by default; returns the exit code."""
    chosen = [v for v in VERSIONS if not arguments or v.tag in arguments]
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="lca_versions_") as scratch:
        folder = Path(scratch)
        builder = load(ROOT / "blender_addon" / "build_addon.py", "build_addon")
        (extension,) = builder.build(folder / "dist", [builder.this_platform()])
        avatar = folder / "template.lca"
        load(ROOT / "tests" / "lca_fixture.py", "lca_fixture").write_template_lca(avatar, 3000)
        accept = load(HERE / "acceptance" / "run.py", "acceptance_run").accept
        for version in chosen:
            try:
                prepare(version)
            except (RuntimeError, subprocess.SubprocessError) as error:
                problems.append(f"{version.tag}: {error}")
                continue
            print(f"== Blender {version.requirement}", flush=True)
            place = folder / version.tag
            place.mkdir()
            problems += run_modules(version, avatar, place)
            try:
                result = accept(version.executable, extension, place)
            except (AssertionError, subprocess.TimeoutExpired) as error:
                problems.append(f"{version.tag} acceptance")
                print(f"   acceptance   FAILED\n{error}")
                continue
            print(f"   acceptance   ok  {result['blender']}, {result['moved']} controls moved", flush=True)
            for title, values in result["errors_after_reload"].items():
                print(
                    "      {:8s} proxy {:.4f} mm, splats mean {:.3f} p99 {:.2f} mm, turn {:.2f} deg".format(
                        title, *values
                    )
                )
    for problem in problems:
        print(f"not passed: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
