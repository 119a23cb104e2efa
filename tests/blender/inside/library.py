"""Inside Blender: the avatar library that the asset browser shows, and creation from what was chosen."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "blender_addon"))

from lca_avatars.bl import avatar_library, compat, importer, pose_assets, scene_light
from lca_avatars.core import service as service_core
from lca_avatars.core.jobs import Job
from lca_avatars.ops import create, landing


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The avatar folder of the preferences."""
    monkeypatch.setattr(landing, "download_folder", lambda: tmp_path / "avatars")
    return tmp_path / "avatars"


def shown(rig: bpy.types.Object) -> np.ndarray:
    """Centres of the splats now."""
    rig.update_tag()
    bpy.context.view_layer.update()
    cloud = importer.part(rig, "splats")
    data = cloud.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    return compat.read_attribute(data, "position")


def posed(rig: bpy.types.Object) -> np.ndarray:
    """The same with a bent elbow and an open mouth."""
    importer.part(rig, "splats").hide_viewport = False
    rig.pose.bones["forearm_fk.L"].rotation_quaternion = (0.9, 0.43589, 0.0, 0.0)
    rig["jawOpen"] = 1.0
    return shown(rig)


@pytest.mark.parametrize("link", [False, True])
def test_an_avatar_from_the_library_is_the_avatar(rig: bpy.types.Object, folder: Path, link: bool) -> None:
    name, before = rig.name, {obj.name for obj in bpy.data.objects}
    assert bpy.ops.lca.add_to_library() == {"FINISHED"}
    wanted = posed(rig)
    assert {obj.name for obj in bpy.data.objects} == before
    assert avatar_library.collection_of(rig).asset_data is None, "the open file has no asset more"
    catalogs = (folder / "blender_assets.cats.txt").read_text().splitlines()
    assert f"{pose_assets.catalog_id('LCA/Avatars')}:LCA/Avatars:LCA-Avatars" in catalogs

    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(str(folder / f"{name}.blend"), link=link, assets_only=True) as (there, here):
        assert list(there.collections) == [name] and not there.objects
        here.collections = there.collections
    (collection,) = here.collections
    about = collection.asset_data
    assert about.catalog_id == pose_assets.catalog_id("LCA/Avatars") and "splats" in about.description
    if bpy.app.version[:2] != (5, 0):  # it loses the picture of a collection when it writes a library
        size = tuple(collection.preview.image_size)
        pixels = np.empty(size[0] * size[1] * 4, np.float32)
        collection.preview.image_pixels_float.foreach_get(pixels)
        assert size == (256, 256)
        assert pixels.reshape(-1, 4)[:, :3].std() > 0.02, "a picture, not a plain tile"
    if link:
        layer = bpy.context.view_layer
        bpy.context.scene.collection.children.link(collection)
        collection = collection.override_hierarchy_create(bpy.context.scene, layer, do_fully_editable=True)
    else:
        bpy.context.scene.collection.children.link(collection)
    again = next(obj for obj in collection.all_objects if obj.type == "ARMATURE")
    apart = np.linalg.norm(posed(again) - wanted, axis=1)
    assert apart.max() < 1e-5, apart.max()


def test_the_library_grows_and_replaces(rig: bpy.types.Object, folder: Path) -> None:
    bpy.ops.lca.add_to_library()
    rig["jawOpen"] = 0.25
    bpy.ops.lca.add_to_library()
    rig.name = "Another"
    bpy.ops.lca.add_to_library()
    assert {path.suffix for path in folder.iterdir()} == {".blend", ".txt"}
    assert len(list(folder.glob("*.blend"))) == 2
    lines = (folder / "blender_assets.cats.txt").read_text().splitlines()
    assert sum(line.endswith("LCA-Avatars") for line in lines) == 1
    known = bpy.context.preferences.filepaths.asset_libraries
    assert sum(Path(entry.path) == folder for entry in known if entry.path) == 1


def test_a_library_that_cannot_be_written_says_so(rig: bpy.types.Object, folder: Path) -> None:
    folder.write_text("in the way")
    with pytest.raises(RuntimeError, match="cannot be kept"):
        bpy.ops.lca.add_to_library()
    assert avatar_library.collection_of(rig).asset_data is None
    assert folder.read_text() == "in the way"


def test_copies_become_avatars_of_their_own(rig: bpy.types.Object) -> None:
    copy = rig.copy()
    bpy.context.scene.collection.objects.link(copy)
    mine = rig[importer.AVATAR_ID]
    assert avatar_library.unique_id(copy) != mine and avatar_library.unique_id(rig) == mine
    assert avatar_library.unique_id(copy) == copy[importer.AVATAR_ID]


def test_a_created_avatar_lands_in_the_library_when_asked(rig: bpy.types.Object, folder: Path) -> None:
    package = Path(rig[importer.PACKAGE])
    landing.start(Job(lambda report, cancelled: package), "Ada", keep=True)
    assert landing.running().wait(5)
    handles = landing.drain()
    assert (folder / f"{bpy.path.clean_name(handles.rig.name)}.blend").is_file()
    assert handles.rig[scene_light.FOLLOW] is False


@pytest.mark.parametrize("way", ["files", "folder", "one"])
def test_photos_are_sent_as_chosen(
    rig: bpy.types.Object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """From the file browser or a drop: several files of a folder, the folder itself, or one file."""
    photos = tmp_path / "ada"
    photos.mkdir()
    for name in ("2.jpg", "1.png", "notes.txt"):
        (photos / name).touch()
    package, asked = Path(rig[importer.PACKAGE]), []

    def answer(target, sources, title, folder, report, cancelled):
        asked.append(([path.name for path in sources], title))
        return package

    monkeypatch.setattr(service_core, "create_avatar", answer)
    arguments = {
        "files": {"directory": str(photos), "files": [{"name": "2.jpg"}, {"name": "1.png"}]},
        "folder": {"filepath": f"{photos}/", "directory": str(photos), "files": [{"name": ""}]},
        "one": {"filepath": str(photos / "2.jpg")},
    }
    assert bpy.ops.lca.create_avatar(**arguments[way]) == {"FINISHED"}
    assert asked == [(["2.jpg"], "2") if way == "one" else (["1.png", "2.jpg"], "ada")]
    assert sum(importer.AVATAR_ID in obj for obj in bpy.data.objects) == 2
    with pytest.raises(RuntimeError, match=r"notes\.txt"):
        bpy.ops.lca.create_avatar(filepath=str(photos / "notes.txt"))


def test_clips_and_photos_can_be_dropped(rig: bpy.types.Object) -> None:
    handler = create.LCA_FH_create_avatar
    properties = bpy.ops.lca.create_avatar.get_rna_type().properties
    assert {"filepath", "directory", "files"} <= set(properties.keys()), "what Blender fills in on a drop"
    assert ".jpg" in handler.bl_file_extensions.split(";") and ".mp4" in handler.bl_file_extensions.split(";")
    view = type("Context", (), {"area": type("Area", (), {"type": "VIEW_3D"})()})()
    assert handler.poll_drop(view)
    landing.start(Job(lambda report, cancelled: cancelled.wait(10)))
    assert not handler.poll_drop(view), "one at a time"
    landing.stop()
