"""Inside Blender: operators, panels and registration behave, and bad input is reported instead of raised."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
import zipfile
from pathlib import Path

import bpy
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "blender_addon"))

import lca_avatars
from lca_avatars.bl import importer, scene_light
from lca_avatars.core.deps import errors
from lca_avatars.core.endpoint import DEFAULT_ENDPOINT
from lca_avatars.core.jobs import Job
from lca_avatars.ops import landing
from lca_avatars.ops import service as service_ops
from lca_avatars.ui import motion_panels, panels

AVATAR = os.environ["LCA_TEST_AVATAR"]


@pytest.fixture
def addon():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    lca_avatars.register()
    yield lca_avatars
    lca_avatars.unregister()


def ours() -> set[str]:
    return {name for name in dir(bpy.types) if name.startswith(("LCA_OT_", "LCA_PT_", "LCA_FH_"))}


def failure(call, **arguments) -> str:
    """The report of an operator that cancels (bpy raises ERROR reports as RuntimeError in scripts)."""
    with pytest.raises(RuntimeError) as caught:
        call(**arguments)
    return str(caught.value)


def test_register_and_unregister_leave_no_trace() -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    for _ in range(3):
        lca_avatars.register()
        assert {cls.__name__ for cls in panels.CLASSES} <= ours()
        assert all(cls.is_registered for cls in panels.CLASSES)
        lca_avatars.unregister()
        assert not ours()
        assert landing.stop_on_load not in bpy.app.handlers.load_pre


def test_import_operator(addon) -> None:
    assert bpy.ops.lca.import_avatar(filepath=AVATAR) == {"FINISHED"}
    rig = importer.find_avatar(bpy.context.object)
    assert rig == bpy.context.object and bpy.context.selected_objects == [rig]
    assert importer.part(rig, "splats").type == "POINTCLOUD"
    assert bpy.context.scene.view_settings.view_transform == "Standard"
    assert bpy.context.scene.cycles.transparent_max_bounces == 1024  # fewer paint silhouettes black
    for mode, hidden in (("SPLATS", (True, False)), ("BOTH", (False, False)), ("PROXY", (False, True))):
        assert bpy.ops.lca.display(mode=mode) == {"FINISHED"}
        seen = (importer.part(rig, "proxy").hide_viewport, importer.part(rig, "splats").hide_viewport)
        assert seen == hidden
    rig["jawOpen"] = 0.5
    assert bpy.ops.lca.reset_controls(group="FACE") == {"FINISHED"}
    assert rig["jawOpen"] == 0.0


def test_switching_display_works_from_a_part_that_gets_hidden(addon) -> None:
    bpy.ops.lca.import_avatar(filepath=AVATAR)
    rig = importer.find_avatar(bpy.context.object)
    proxy = importer.part(rig, "proxy")
    for obj in bpy.context.selected_objects:
        obj.select_set(False)
    bpy.context.view_layer.objects.active = proxy
    bpy.ops.lca.display(mode="SPLATS")
    assert importer.find_avatar(bpy.context.object) == rig
    bpy.ops.lca.display(mode="PROXY")
    assert not proxy.hide_viewport


def test_avatar_tools_are_greyed_out_without_an_avatar(addon) -> None:
    assert not bpy.ops.lca.display.poll() and not bpy.ops.lca.reset_controls.poll()
    assert "Select an imported avatar" in failure(bpy.ops.lca.display, mode="BOTH")


def corrupted(tmp_path: Path, kind: str) -> Path:
    target = tmp_path / f"{kind}.lca"
    data = bytearray(Path(AVATAR).read_bytes())
    if kind == "text":
        target.write_text("this is not an avatar")
    elif kind == "truncated":
        target.write_bytes(data[: len(data) // 2])
    elif kind == "flipped":
        data[len(data) // 2] ^= 0xFF
        target.write_bytes(data)
    elif kind == "zip":
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("hello.txt", "hello")
    return target


@pytest.mark.parametrize("kind", ["missing", "text", "truncated", "flipped", "zip"])
def test_a_bad_file_is_reported_and_leaves_the_scene_alone(addon, tmp_path: Path, kind: str) -> None:
    before = (len(bpy.data.objects), len(bpy.data.meshes), len(bpy.data.collections))
    message = failure(bpy.ops.lca.import_avatar, filepath=str(corrupted(tmp_path, kind)))
    assert "avatar file" in message.lower() and "Traceback" not in message, message
    assert (len(bpy.data.objects), len(bpy.data.meshes), len(bpy.data.collections)) == before


def test_a_rig_that_does_not_fit_is_refused(addon, tmp_path: Path) -> None:
    target = tmp_path / "short.lca"
    with zipfile.ZipFile(AVATAR) as source, zipfile.ZipFile(target, "w") as archive:
        entries = {name: source.read(name) for name in source.namelist()}
        rig = json.loads(entries["rig.json"])
        rig["joint_names"] = rig["joint_names"] + ["tail"]
        entries["rig.json"] = json.dumps(rig).encode()
        info = json.loads(entries["avatar.json"])
        digest = hashlib.sha256(entries["rig.json"]).hexdigest()
        info["files"]["rig.json"] = {"sha256": digest, "bytes": len(entries["rig.json"])}
        entries["avatar.json"] = json.dumps(info).encode()
        for name, data in entries.items():
            archive.writestr(name, data)
    assert "56 joints" in failure(bpy.ops.lca.import_avatar, filepath=str(target))
    assert not bpy.data.objects and not bpy.data.collections


def test_import_into_an_excluded_collection_and_from_edit_mode(addon) -> None:
    bpy.ops.lca.import_avatar(filepath=AVATAR)
    bpy.ops.object.mode_set(mode="POSE")
    hidden = bpy.data.collections.new("hidden")
    bpy.context.scene.collection.children.link(hidden)
    layer = bpy.context.view_layer.layer_collection.children["hidden"]
    bpy.context.view_layer.active_layer_collection = layer
    layer.exclude = True
    assert bpy.ops.lca.import_avatar(filepath=AVATAR) == {"FINISHED"}
    assert len([obj for obj in bpy.data.objects if importer.AVATAR_ID in obj]) == 2


def test_connecting_to_nobody_says_so_in_time(addon) -> None:
    start = time.monotonic()
    message = failure(bpy.ops.lca.connect, endpoint="127.0.0.1:1", timeout=2.0)
    assert time.monotonic() - start < 8.0
    assert "Traceback" not in message and len(message) > 20


def test_other_hosts_need_online_access(addon) -> None:
    assert not bpy.app.online_access
    for call in (bpy.ops.lca.connect, bpy.ops.lca.create_avatar):
        assert "online access" in failure(call, endpoint="avatars.example.com:443")


def test_a_missing_clip_is_refused_before_any_network(addon, tmp_path: Path) -> None:
    message = failure(bpy.ops.lca.create_avatar, filepath=str(tmp_path / "none.mp4"), endpoint="127.0.0.1:1")
    assert "no clip" in message
    assert landing.running() is None


def test_a_running_job_shows_progress_blocks_a_second_one_and_cancels(addon) -> None:
    reached, leave = threading.Event(), threading.Event()

    def work(report, cancelled: threading.Event) -> Path:
        report(0.4, "fit body")
        reached.set()
        leave.wait(10)
        report(0.5, "too late")
        return Path(AVATAR)

    landing.start(Job(work))
    assert reached.wait(5)
    assert landing.running().progress.fraction == pytest.approx(0.4)
    assert not bpy.ops.lca.create_avatar.poll()
    assert bpy.ops.lca.cancel_job() == {"FINISHED"}
    leave.set()
    assert landing.running().wait(5)
    with pytest.raises(errors.CancelledError):
        landing.drain()
    assert landing.running() is None and "ancelled" in landing.outcome()
    assert not bpy.ops.lca.cancel_job.poll()


def test_a_finished_job_lands_as_an_avatar(addon) -> None:
    landing.start(Job(lambda report, cancelled: Path(AVATAR)))
    assert landing.running().wait(5)
    handles = landing.drain()
    assert handles is not None and handles.rig.name in bpy.data.objects
    assert landing.running() is None and "Imported" in landing.outcome()


def test_loading_another_file_stops_the_job(addon) -> None:
    seen = threading.Event()

    def work(report, cancelled: threading.Event) -> Path:
        if cancelled.wait(10):
            seen.set()
        raise errors.CancelledError("stopped")

    landing.start(Job(work))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    assert seen.wait(5) and landing.running() is None


def test_defaults_without_preferences(addon) -> None:
    assert service_ops.preferences() is None  # registered by hand, not enabled
    assert service_ops.resolve().endpoint == DEFAULT_ENDPOINT
    assert service_ops.resolve("localhost:9").endpoint == "localhost:9"


class Layout:
    """Stands in for UILayout, which exists only while a window draws; resolves what it is given."""

    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    def row(self, **_: object) -> Layout:
        return self

    box = column = grid_flow = row

    def label(self, **_: object) -> None:
        pass

    def progress(self, *, factor: float, text: str) -> None:
        assert 0.0 <= factor <= 1.0 and text

    def prop(self, owner: bpy.types.bpy_struct, path: str, **_: object) -> None:
        owner.path_resolve(path)
        self.seen.append(path)

    def operator(self, name: str, **_: object) -> object:
        group, _, verb = name.partition(".")
        properties = getattr(getattr(bpy.ops, group), verb).get_rna_type().properties

        class Settings:
            def __setattr__(self, key: str, value: str) -> None:
                kind = properties[key].type
                wanted = {"STRING": str, "FLOAT": float, "BOOLEAN": bool}
                assert (
                    value in properties[key].enum_items if kind == "ENUM" else isinstance(value, wanted[kind])
                )

        self.seen.append(name)
        return Settings()

    def operator_menu_enum(self, name: str, attribute: str, **_: object) -> None:
        group, _dot, verb = name.partition(".")
        assert getattr(getattr(bpy.ops, group), verb).get_rna_type().properties[attribute].type == "ENUM"


def test_every_panel_draws_existing_properties_and_operators(addon) -> None:
    bpy.ops.lca.import_avatar(filepath=AVATAR)
    seen: list[str] = []
    for cls in (*panels.CLASSES, *motion_panels.CLASSES):
        assert getattr(cls, "poll", lambda _: True)(bpy.context)
        cls.draw(type("Panel", (), {"layout": Layout(seen)})(), bpy.context)
    rig = importer.find_avatar(bpy.context.object)
    sliders = [path for path in seen if path.startswith("[") and scene_light.FOLLOW not in path]
    assert len(sliders) == len(set(sliders)) == 52 + 2 * 7 + 4 + 5
    assert '["jawOpen"]' in sliders and '["gaze_yaw"]' in sliders and '["curl_hand.L"]' in sliders
    assert {"lca.import_avatar", "lca.connect", "lca.create_avatar", "lca.display"} <= set(seen)
    assert rig is not None
