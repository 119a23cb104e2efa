"""The shipped zip: vendored imports, Blender's own validation, and installing it into a clean Blender."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ADDON = Path(__file__).parents[2] / "blender_addon"

pytest.importorskip("bpy", reason="needs the bpy module and its extension tool")
pytestmark = pytest.mark.bpy


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ADDON / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


build_addon = load("build_addon")


@pytest.fixture(scope="module")
def extension(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip without wheels: everything but grpcio, which the surrounding environment has."""
    built = build_addon.build(tmp_path_factory.mktemp("dist"), [], with_wheels=False)
    assert len(built) == 1
    return built[0]


@pytest.mark.parametrize(
    ("module", "line", "expected"),
    [
        ("lca.v1.job_pb2", "from lca.v1 import avatar_pb2 as x", "from ...lca.v1 import avatar_pb2 as x"),
        ("lca_bridge.wire.skin", "from lca.errors import LcaError", "from ...lca.errors import LcaError"),
        ("lca_bridge.__init__", "from lca import errors", "from ..lca import errors"),
        ("lca.errors", "    from lca_bridge.wire import a", "    from ..lca_bridge.wire import a"),
        ("lca.errors", "from lca_core import x", "from lca_core import x"),
        ("lca.errors", "from lcax import y", "from lcax import y"),
    ],
)
def test_imports_become_relative(module: str, line: str, expected: str) -> None:
    assert build_addon.relative_imports(line, module) == expected


def test_an_import_that_cannot_be_relative_stops_the_build() -> None:
    with pytest.raises(ValueError, match="vendored"):
        build_addon.relative_imports("x = 1\nimport lca.errors\n", "lca_bridge.wire.skin")


def test_the_zip_is_self_contained(extension: Path) -> None:
    with zipfile.ZipFile(extension) as archive:
        names = set(archive.namelist())
        root = "" if "blender_manifest.toml" in names else "lca_avatars/"
        manifest = tomllib.loads(archive.read(f"{root}blender_manifest.toml").decode())
        sources = {n: archive.read(n).decode() for n in names if n.endswith(".py")}
    assert manifest["id"] == "lca_avatars" and manifest["license"] == ["SPDX:GPL-3.0-or-later"]
    assert f"{root}LICENSE" in names and f"{root}vendor/NOTICE" in names
    assert not any("__pycache__" in n or "test" in n for n in names)
    ours = {"lca", "lca_bridge", "lca_core", "torch"}
    for name, text in sources.items():
        assert "sys.path" not in text.replace("``sys.path``", ""), name
        for node in ast.walk(ast.parse(text)):
            absolute: set[str] = set()
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                absolute = {(node.module or "").split(".")[0]}
            if isinstance(node, ast.Import):
                absolute = {alias.name.split(".")[0] for alias in node.names}
            assert not absolute & ours, name


def test_our_sources_name_their_licence() -> None:
    for path in ADDON.rglob("*.py"):
        assert path.read_text().startswith("# SPDX-License-Identifier: GPL-3.0-or-later\n"), path


def test_blenders_tool_refuses_a_broken_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "lca_avatars"
    build_addon.stage(folder, {})
    manifest = folder / "blender_manifest.toml"
    manifest.write_text(manifest.read_text().replace('version = "0.1.0"', 'version = "one"', 1))
    with pytest.raises(RuntimeError, match="validate failed"):
        build_addon.run_tool("validate", str(folder))


def test_a_platform_without_wheels_is_skipped_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    nowhere = build_addon.Platform("nowhere", ("no_such_platform",))
    with pytest.raises(RuntimeError, match="no-wheels"):
        build_addon.build(tmp_path, [nowhere])
    assert "skipped nowhere" in capsys.readouterr().err


INSTALLED = """
import os, sys

class Blocked:
    # The development checkout must not help: the extension brings its own.
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("lca", "lca_bridge", "lca_core", "torch"):
            raise ModuleNotFoundError(f"{name} is not part of Blender")

sys.meta_path.insert(0, Blocked())
import bpy

bpy.ops.wm.read_factory_settings(use_empty=True)
zip_path, avatar = sys.argv[1:3]
bpy.ops.extensions.package_install_files(filepath=zip_path, repo="user_default", enable_on_install=True)
assert "bl_ext.user_default.lca_avatars" in bpy.context.preferences.addons
from bl_ext.user_default.lca_avatars.core import deps
from bl_ext.user_default.lca_avatars.ops import landing, service

assert deps.VENDORED
assert service.preferences().endpoint == service.resolve().endpoint
deps.client()
assert bpy.ops.lca.import_avatar(filepath=avatar) == {"FINISHED"}
rig = bpy.context.object
rig["jawOpen"] = 1.0
rig.update_tag()
bpy.context.view_layer.update()
mesh = next(child for child in rig.children if child.type == "MESH")
assert mesh.data.shape_keys.key_blocks["jawOpen"].value == 1.0
assert str(landing.download_folder()).startswith(os.environ["BLENDER_USER_RESOURCES"])
bpy.ops.preferences.addon_disable(module="bl_ext.user_default.lca_avatars")
assert not [n for n in dir(bpy.types) if n.startswith(("LCA_PT_", "LCA_OT_"))]
print("INSTALLED AND REMOVED")
"""


def test_the_zip_installs_runs_and_goes_away(
    extension: Path,
    template_lca: Path,
    tmp_path: Path,
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    script = tmp_path / "installed.py"
    script.write_text(INSTALLED)
    done = run_python(script, extension, template_lca)
    assert done.returncode == 0 and "INSTALLED AND REMOVED" in done.stdout, done.stdout + done.stderr
