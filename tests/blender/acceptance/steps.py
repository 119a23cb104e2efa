"""Runs inside Blender, in a process of its own, in a clean configuration: one step of the acceptance run.

``python steps.py STEP SETTINGS.json``; STEP is ``create``, ``drive``, ``compare``, ``reload`` or ``remove``.
The add-on is the installed extension; nothing of the source tree is importable.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

LIVE_MM = 1.0
NAME = "bl_ext.user_default.lca_avatars"


class SourceTree:
    """The development checkout must not help: the extension brings its own."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("lca", "lca_bridge", "lca_core", "lca_usd", "torch"):
            raise ModuleNotFoundError(f"{name} is not part of Blender")


sys.meta_path.insert(0, SourceTree())

import bpy  # noqa: E402
import numpy as np  # noqa: E402


def module(name: str):
    return importlib.import_module(f"{NAME}.{name}")


def avatar_rig() -> bpy.types.Object:
    return next(obj for obj in bpy.data.objects if "lca_avatar" in obj)


def evaluated(obj: bpy.types.Object, name: str, width: int, field: str) -> np.ndarray:
    data = obj.evaluated_get(bpy.context.evaluated_depsgraph_get()).data.attributes[name].data
    flat = np.empty(len(data) * width, np.float32)
    data.foreach_get(field, flat)
    return flat.reshape(-1, width)


def bones_now(rig: bpy.types.Object) -> np.ndarray:
    rig.update_tag()
    bpy.context.view_layer.update()
    return np.array([bone.matrix for bone in rig.pose.bones if bone.bone.use_deform])


def create(settings: dict) -> None:
    """Install, enable, create an avatar on the live service, import it, move every control, save."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.extensions.package_install_files(
        filepath=settings["zip"], repo="user_default", enable_on_install=True
    )
    assert NAME in bpy.context.preferences.addons
    bpy.ops.wm.save_userpref()
    where = {"endpoint": settings["endpoint"], "token_file": settings["token_file"]}
    assert bpy.ops.lca.connect(**where) == {"FINISHED"}
    done = bpy.ops.lca.create_avatar(filepath=settings["clip"], avatar_name="Sample", **where)
    assert done == {"FINISHED"}
    rig = avatar_rig()
    assert module("bl.importer").find_avatar(bpy.context.object) == rig and rig["lca_gaussians"] > 10000
    (package,) = sorted(Path(module("ops.landing").download_folder()).rglob("*.lca"))
    settings["package"] = str(package)
    settings["moved"] = move_every_control(rig)
    bpy.ops.wm.save_as_mainfile(filepath=settings["blend"])


def move_every_control(rig: bpy.types.Object) -> int:
    """Each control bone and each slider must change bones or shapes, and come back."""
    keys, board = module("bl.keys"), module("core.board")
    shapes = module("bl.importer").part(rig, "proxy").data.shape_keys.key_blocks

    def state() -> np.ndarray:
        bones = bones_now(rig).reshape(-1)
        return np.concatenate([bones, [10.0 * key.value for key in shapes]])

    rest, count = state(), 0
    followers = (
        "look",
        "elbow",
        "knee",
        "hand_ik",
        "foot_ik",
        "upper_arm_tweak",
        "forearm_tweak",
        "thigh_tweak",
    )
    for name in keys.controls_in(rig, "ALL"):
        bone = rig.pose.bones[name]
        needs = name.startswith((*followers, "shin_tweak"))
        if name == board.BOARD:
            continue  # carries the knobs, moves nothing itself
        switches = [*module("core.control_names").IK_PROPERTIES, "look_follow"]
        for key in switches:
            rig[key] = 1.0 if needs else 0.0
        before = state()
        bone.rotation_mode = "XYZ"
        bone.rotation_euler = (0.2, 0.15, 0.2)
        bone.location = (0.03, 0.03, 0.03)
        if name.startswith("FB-"):
            # Towards wherever its shapes lie.
            knob = next(k for k in board.knobs() if k.bone == name)
            bone.location = [0.03 if f"+{a}" in knob.shapes else -0.03 for a in "XYZ"]
        assert np.abs(state() - before).max() > 1e-3, name
        bone.rotation_euler, bone.location = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
        for key in switches:
            rig[key] = 0.0
        assert np.abs(state() - rest).max() < 1e-3, name
        count += 1
    for name in (*keys.sliders_in(rig, "FACE"), *keys.sliders_in(rig, "HANDS")):
        if name in ("look_follow", "lids_follow"):
            continue  # they scale what others do
        rig[name] = 0.5
        assert np.abs(state() - rest).max() > 1e-3, name
        rig[name] = 0.0
        count += 1
    assert np.abs(state() - rest).max() < 1e-3
    return count


def compare(settings: dict) -> None:
    """Open the saved file, pose it, compare with what ``lca animate`` shows; save a posed file."""
    restart(settings["blend"])
    settings["errors"] = errors(settings)
    bpy.ops.wm.save_as_mainfile(filepath=settings["blend"])


def reload(settings: dict) -> None:
    """The same in another process, from the file saved before."""
    restart(settings["blend"])
    settings["errors_after_reload"] = errors(settings)


def drive(settings: dict) -> None:
    """Live mode and a baked cache from the running service, with the client that the zip brought."""
    restart(settings["blend"])
    rig, where = avatar_rig(), {"endpoint": settings["endpoint"], "token_file": settings["token_file"]}
    bpy.context.view_layer.objects.active = rig
    live, frames, compat = module("bl.live"), module("bl.frames_cloud"), module("bl.compat")
    cloud = module("bl.importer").part(rig, "splats")
    module("bl.importer").set_display(module("bl.importer").part(rig, "proxy"), cloud, "BOTH")
    rig.pose.bones["forearm_fk.L"].rotation_quaternion = (0.9, 0.43589, 0.0, 0.0)
    rig["jawOpen"] = 0.6
    bones_now(rig)
    native = evaluated(cloud, "position", 3, "vector")
    assert bpy.ops.lca.live_start(corrected=False, **where) == {"FINISHED"}
    assert live.running() and live.frames() == 1

    def apart() -> np.ndarray:
        means = compat.read_attribute(frames.shown(rig).data, "position")
        return 1e3 * np.linalg.norm(means - native, axis=1)

    deadline = time.monotonic() + 30.0
    while apart().mean() > LIVE_MM and time.monotonic() < deadline:
        live.step()
        time.sleep(0.005)
    settings["live_mm"] = [float(apart().mean()), float(np.percentile(apart(), 99))]
    settings["live_step_ms"] = 1e3 * live.longest_block()
    assert bpy.ops.lca.live_stop() == {"FINISHED"} and frames.shown(rig) is None
    assert bpy.ops.lca.live_start(corrected=True, timeout=180.0, **where) == {"FINISHED"}
    settings["live_corrected"] = live.message()
    settings["live_corrected_mm"] = float(apart().mean())
    assert bpy.ops.lca.live_stop() == {"FINISHED"}
    rig.pose.bones["forearm_fk.L"].keyframe_insert("rotation_quaternion", frame=1)
    rig.keyframe_insert('["jawOpen"]', frame=1)
    folder = Path(settings["blend"]).parent / "caches"
    folder.mkdir(exist_ok=True)
    done = bpy.ops.lca.bake_splats(directory=str(folder), start=1, end=3, corrected=False, **where)
    assert done == {"FINISHED"}
    bpy.context.scene.frame_set(2)
    settings["baked_mm"] = [float(apart().mean()), float(np.percentile(apart(), 99))]
    assert bpy.ops.lca.hide_cache() == {"FINISHED"}
    clip = module("core.deps").motion.MotionClip.of(24.0, arkit=np.full((4, 52), 0.5))
    module("bl.motion").key_clip(rig, clip, 1)
    bpy.context.scene.frame_set(2)
    assert abs(rig["jawOpen"] - 0.5) < 1e-5


def restart(blend: str) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.preferences.addon_enable(module=NAME)
    bpy.ops.wm.open_mainfile(filepath=blend)


def errors(settings: dict) -> dict[str, list[float]]:
    """Per pose: proxy max (mm), splat centres mean and 99th percentile (mm), orientation mean (degrees)."""
    rig = avatar_rig()
    importer, pose = module("bl.importer"), module("bl.pose")
    proxy, cloud = importer.part(rig, "proxy"), importer.part(rig, "splats")
    importer.set_display(proxy, cloud, "BOTH")
    info = importer.controls.rig_info(rig)
    truth = np.load(settings["truth"])
    found: dict[str, list[float]] = {}
    for i, title in enumerate(truth["titles"]):
        arkit = dict(zip(info.arkit_names, truth["arkit"][i].tolist(), strict=True))
        pose.apply_pose(rig, info.joint_names, truth["rotations"][i], truth["translation"][i], arkit)
        bones_now(rig)
        vertices = evaluated(proxy, "position", 3, "vector")
        means = evaluated(cloud, "position", 3, "vector")
        quats = evaluated(cloud, "rotation", 4, "value")
        apart = 1e3 * np.linalg.norm(means - truth["means"][i], axis=1)
        turn = 2 * np.degrees(np.arccos(np.clip(np.abs((quats * truth["quats"][i]).sum(1)), 0, 1)))
        mesh = 1e3 * np.linalg.norm(vertices - truth["proxy"][i], axis=1).max()
        found[str(title)] = [float(v) for v in (mesh, apart.mean(), np.percentile(apart, 99), turn.mean())]
    return found


def remove(settings: dict) -> None:
    """Disable and uninstall; nothing of ours is left registered or on disk."""
    restart(settings["blend"])
    folder = Path(sys.modules[NAME].__file__).parent
    bpy.ops.preferences.addon_disable(module=NAME)
    assert not [n for n in dir(bpy.types) if n.startswith(("LCA_PT_", "LCA_OT_", "LCA_FH_"))]
    repos = bpy.context.preferences.extensions.repos
    index = next(i for i, repo in enumerate(repos) if repo.module == "user_default")
    bpy.ops.extensions.package_uninstall(repo_index=index, pkg_id="lca_avatars")
    assert not folder.exists() and NAME not in bpy.context.preferences.addons
    assert not hasattr(bpy.types, "LCA_OT_import_avatar")


if __name__ == "__main__":
    path = Path(sys.argv[2])
    state = json.loads(path.read_text())
    globals()[sys.argv[1]](state)
    state["blender"] = bpy.app.version_string
    path.write_text(json.dumps(state))
    print("STEP DONE", flush=True)
