"""Inside Blender: USD with real splats, PLY of the pose, the avatar file, caches; nothing half on disk."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import bpy

# Blender's own USD library comes first, as it does in Blender itself: hooks need it.
BUNDLED = Path(bpy.utils.resource_path("LOCAL"), "python", "lib", f"python3.{sys.version_info[1]}")
sys.path.insert(0, str(BUNDLED / "site-packages"))
sys.path.insert(0, str(Path(__file__).parents[3] / "blender_addon"))

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from lca.motion.skeleton import ARKIT  # noqa: E402
from lca_avatars.bl import cache_player, compat, frames_cloud, importer, pose_reader  # noqa: E402
from lca_avatars.core import splat_cache  # noqa: E402
from lca_avatars.core.deps import errors  # noqa: E402
from lca_avatars.core.splat_cache import CacheInfo, CacheWriter, Gaussians  # noqa: E402
from lca_avatars.core.splat_ply import PlySplats, read_ply, write_ply  # noqa: E402
from lca_bridge.wire.package import read_package  # noqa: E402
from lca_bridge.wire.skin import BakedRig  # noqa: E402

AVATAR = os.environ["LCA_TEST_AVATAR"]


def key_a_move(rig: bpy.types.Object, last: int = 4) -> None:
    for frame, turn in ((1, 0.0), (last, 0.9)):
        rig.pose.bones["forearm_fk.L"].rotation_quaternion = (np.cos(turn / 2), np.sin(turn / 2), 0, 0)
        rig.pose.bones["forearm_fk.L"].keyframe_insert("rotation_quaternion", frame=frame)
        rig["jawOpen"] = turn
        rig.keyframe_insert('["jawOpen"]', frame=frame)
    bpy.context.scene.frame_start, bpy.context.scene.frame_end = 1, last


def truth(rig: bpy.types.Object):
    pose = pose_reader.PoseReader(rig).read(rig)
    rest = np.zeros((2, 2))
    return BakedRig(read_package(AVATAR)).pose(pose.joint_rotations, pose.translation, pose.arkit, rest)


def test_usd_holds_animated_splats_with_colour_and_opacity(rig, tmp_path: Path) -> None:
    from pxr import Usd

    key_a_move(rig)
    target = tmp_path / "shot.usdc"
    proxy = importer.part(rig, "proxy")
    before = (proxy.hide_viewport, proxy.hide_render, importer.part(rig, "splats").hide_viewport)
    assert bpy.ops.lca.export_usd(filepath=str(target)) == {"FINISHED"}
    assert before == (proxy.hide_viewport, proxy.hide_render, importer.part(rig, "splats").hide_viewport)
    assert bpy.context.selected_objects == [rig] and bpy.context.object == rig
    stage = Usd.Stage.Open(str(target))
    found = [p for p in stage.Traverse() if p.GetTypeName() == "ParticleField3DGaussianSplat"]
    assert len(found) == 1 and not [p for p in stage.Traverse() if p.GetTypeName() == "Points"]
    prim = found[0]
    assert not [a.GetName() for a in prim.GetAuthoredAttributes() if a.GetName().startswith("primvars:")]
    canonical = read_package(AVATAR).canonical
    get = lambda name, time=1.0: np.asarray(prim.GetAttribute(name).Get(time))  # noqa: E731
    assert np.abs(get("opacities") - canonical.opacities).max() < 1e-6
    assert np.abs(get("radiance:sphericalHarmonicsCoefficients") - canonical.sh[:, 0]).max() < 1e-6
    assert np.abs(get("scales") - canonical.scales).max() < 1e-7
    assert prim.GetAttribute("radiance:sphericalHarmonicsDegree").Get() == 0
    assert prim.GetAttribute("positions").GetNumTimeSamples() == 4
    for frame in (1, 4):
        bpy.context.scene.frame_set(frame)
        posed = truth(rig)
        assert 1e3 * np.linalg.norm(get("positions", frame) - posed.means, axis=1).max() < 0.5
        quats = np.array([[q.real, *q.imaginary] for q in prim.GetAttribute("orientations").Get(frame)])
        assert np.abs(np.abs((quats * posed.quats).sum(1)) - 1).mean() < 1e-3
        low, high = np.asarray(prim.GetAttribute("extent").Get(frame))
        assert (low < posed.means.min(0)).all() and (high > posed.means.max(0)).all()


def test_a_bad_usd_name_and_an_unwritable_place_are_refused(rig, tmp_path: Path) -> None:
    for path in (tmp_path / "shot.abc", tmp_path / "absent" / "x" / "shot.ply"):
        with pytest.raises(RuntimeError) as caught:
            bpy.ops.lca.export_usd(filepath=str(path))
        assert "Traceback" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_ply_of_the_pose(rig, tmp_path: Path) -> None:
    key_a_move(rig)
    bpy.context.scene.frame_set(4)
    target = tmp_path / "pose.ply"
    assert bpy.ops.lca.export_ply(filepath=str(target)) == {"FINISHED"}
    found, posed = read_ply(target), truth(rig)
    assert 1e3 * np.linalg.norm(found.means - posed.means, axis=1).max() < 0.5
    assert np.abs(found.opacities - np.clip(posed.opacities, 1e-6, 1 - 1e-6)).max() < 1e-5
    assert np.abs(found.sh[:, 0] - read_package(AVATAR).canonical.sh[:, 0]).max() < 1e-5
    assert bpy.ops.lca.export_ply(filepath=str(target), world=True) == {"FINISHED"}
    world = read_ply(target)
    assert np.abs(world.means - found.means @ np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]).T).max() < 1e-5
    assert importer.part(rig, "splats").hide_viewport
    with pytest.raises(RuntimeError) as caught:
        bpy.ops.lca.export_ply(filepath=str(tmp_path / "absent" / "pose.ply"))
    assert "cannot be written" in str(caught.value)


def test_a_ply_comes_back_as_it_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    quats = rng.normal(size=(50, 4))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    made = PlySplats(
        *(np.float32(v) for v in (rng.normal(size=(50, 3)), quats, rng.uniform(1e-3, 1, (50, 3)))),
        np.float32(rng.uniform(0.01, 0.99, 50)),
        np.float32(rng.normal(size=(50, 4, 3))),
    )
    back = read_ply(write_ply(tmp_path / "a.ply", made))
    for name, value in vars(made).items():
        assert np.abs(getattr(back, name) - value).max() < 1e-5, name


def test_avatar_file_out(rig, tmp_path: Path) -> None:
    target = tmp_path / "copy.lca"
    assert bpy.ops.lca.export_lca(filepath=str(target)) == {"FINISHED"}
    assert target.read_bytes() == Path(AVATAR).read_bytes()
    rig[importer.PACKAGE] = str(tmp_path / "gone.lca")
    with pytest.raises(RuntimeError):
        bpy.ops.lca.export_lca(filepath=str(tmp_path / "other.lca"))
    assert [p.name for p in tmp_path.iterdir()] == ["copy.lca"]


def gaussians(shift: float) -> Gaussians:
    c = read_package(AVATAR).canonical
    base = np.concatenate([c.sh[:, 0], c.opacities[:, None]], 1)
    return Gaussians(c.means + np.float32(shift), c.quats, c.scales, base)


def write_cache(folder: Path, frames: range) -> Path:
    count = len(read_package(AVATAR).canonical.means)
    with CacheWriter(folder, CacheInfo(count, frames[0], frames[-1], 24.0)) as writer:
        for frame in frames:
            writer.write(frame, gaussians(0.1 * frame))
        return writer.finish()


def test_a_cache_plays_saves_and_closes(rig, tmp_path: Path) -> None:
    from pxr import Usd

    folder, scene = write_cache(tmp_path / "shot", range(1, 5)), bpy.context.scene
    assert bpy.ops.lca.attach_cache(directory=str(folder)) == {"FINISHED"}
    rest = read_package(AVATAR).canonical.means
    cloud = frames_cloud.shown(rig)
    for frame, expected in ((2, 2), (4, 4), (9, 4), (-3, 1)):
        scene.frame_set(frame)
        evaluated = cloud.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
        assert np.abs(compat.read_attribute(evaluated, "position") - rest - 0.1 * expected).max() < 1e-5
    scene.frame_start, scene.frame_end = 1, 4
    assert bpy.ops.lca.export_usd(filepath=str(tmp_path / "c.usdc"), proxy=False) == {"FINISHED"}
    stage = Usd.Stage.Open(str(tmp_path / "c.usdc"))
    (prim,) = [p for p in stage.Traverse() if p.GetTypeName() == "ParticleField3DGaussianSplat"]
    for frame in (1, 3):
        assert np.abs(np.asarray(prim.GetAttribute("positions").Get(frame)) - rest - 0.1 * frame).max() < 1e-5
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "cached.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "cached.blend"))
    rig = next(obj for obj in bpy.data.objects if importer.AVATAR_ID in obj)
    bpy.context.scene.frame_set(3)
    means = compat.read_attribute(frames_cloud.shown(rig).data, "position")
    assert np.abs(means - rest - 0.3).max() < 1e-5
    compat.select_only(rig)
    assert bpy.ops.lca.hide_cache() == {"FINISHED"}
    assert frames_cloud.shown(rig) is None and folder.is_dir()


def test_poses_are_read_while_only_frames_are_shown(rig) -> None:
    frames_cloud.show(rig)
    cloud = importer.part(rig, "splats")
    assert importer.part(rig, "proxy").hide_viewport and cloud.hide_viewport and cloud.hide_render
    for amount in (0.25, 0.75, 0.0):
        rig["jawOpen"], rig["gaze_yaw"] = amount, 0.4 * amount
        rig.update_tag()
        bpy.context.view_layer.update()
        pose = pose_reader.PoseReader(rig).read(rig)
        assert abs(pose.arkit[ARKIT.index("jawOpen")] - amount) < 1e-6
        assert abs(pose.joint_rotations[23, 1] - 0.4 * amount) < 1e-5
    frames_cloud.hide(rig)
    assert not importer.part(rig, "splats").hide_render


def test_a_cache_is_complete_or_absent(rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "shot"
    count = len(read_package(AVATAR).canonical.means)
    with pytest.raises(ZeroDivisionError), CacheWriter(folder, CacheInfo(count, 1, 3, 24.0)) as writer:
        writer.write(1, gaussians(0.0))
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    write_cache(folder, range(1, 3))
    with (
        pytest.raises(errors.InvalidInputError),
        CacheWriter(folder, CacheInfo(count + 1, 1, 1, 24.0)) as writer,
    ):
        writer.write(1, gaussians(0.0))
    assert splat_cache.read_info(folder).end == 2 and [p.name for p in tmp_path.iterdir()] == ["shot"]
    with monkeypatch.context() as patch:
        small = shutil.disk_usage(tmp_path)._replace(free=1000)
        patch.setattr(splat_cache.shutil, "disk_usage", lambda _: small)
        with pytest.raises(errors.ExhaustedError, match="disk is full"):
            write_cache(tmp_path / "other", range(1, 3))
    precious = tmp_path / "precious"
    precious.mkdir()
    with pytest.raises(errors.PreconditionError, match="no splat cache"):
        write_cache(precious, range(1, 3))
    with pytest.raises(errors.NotFoundError):
        cache_player.attach(rig, tmp_path / "nothing", bpy.context.scene)
    splat_cache.frame_file(folder, 1).write_bytes(b"rubbish")
    assert splat_cache.read_frame(folder, 1, count) is None
    assert splat_cache.read_frame(folder, 2, count + 1) is None
    bpy.ops.lca.attach_cache(directory=str(folder))
    bpy.context.scene.frame_set(1)  # a damaged file leaves the frame before it
    assert frames_cloud.shown(rig) is not None


@pytest.mark.skipif(sys.platform != "linux" or not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_while_writing_is_named(tmp_path: Path) -> None:
    count = len(read_package(AVATAR).canonical.means)
    with (
        pytest.raises(errors.ExhaustedError, match="disk is full"),
        CacheWriter(tmp_path / "shot", CacheInfo(count, 1, 1, 24.0)) as writer,
    ):
        splat_cache.frame_file(tmp_path / "shot.part", 1).symlink_to("/dev/full")
        writer.write(1, gaussians(0.0))
    assert not list(tmp_path.iterdir())
