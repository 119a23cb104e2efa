"""Shared inside Blender: one imported avatar per module, read back fresh from a saved file by every test."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ADDON = str(Path(__file__).parents[3] / "blender_addon")


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A .blend with the template avatar."""
    import bpy

    if ADDON not in sys.path:
        sys.path.insert(0, ADDON)
    from lca_avatars.bl import importer

    bpy.ops.wm.read_factory_settings(use_empty=True)
    importer.import_avatar(os.environ["LCA_TEST_AVATAR"])
    path = str(tmp_path_factory.mktemp("blend") / "avatar.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    return path


@pytest.fixture
def rig(imported: str) -> Iterator[Any]:
    """The avatar's rig, active, with the add-on registered."""
    import bpy

    import lca_avatars
    from lca_avatars.bl import compat, importer

    bpy.ops.wm.open_mainfile(filepath=imported)
    lca_avatars.register()
    found = next(obj for obj in bpy.data.objects if importer.AVATAR_ID in obj)
    compat.select_only(found)
    yield found
    lca_avatars.unregister()
