"""The way back: our USD becomes the avatar it came from; foreign, broken and oversized files are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from pxr import Sdf, Usd, UsdGeom

from lca.errors import InvalidInputError, LcaError, MediaUnreadableError, NotFoundError
from lca_bridge.cli.main import main
from lca_bridge.wire.package import read_package
from lca_bridge.wire.skin import BakedRig
from lca_core.avatar import Avatar
from lca_core.body.names import ARKIT_NAMES
from lca_usd import export_baked, export_shot, export_usd, transport
from lca_usd.asset import load_asset
from lca_usd.read import read_usd
from lca_usd.validate import validate


def read(path: Path) -> Any:
    return read_usd(path, tuple(ARKIT_NAMES))


@pytest.mark.parametrize("name", ["a.usdz", "a.usdc", "a.usdz.zst"])
def test_an_avatar_survives_the_round_trip(template: Path, tmp_path: Path, name: str) -> None:
    export_usd(template, tmp_path / name, pose_shapes=True)
    assert main(["import", "usd", str(tmp_path / name), "--out", str(tmp_path / "back.lca")]) == 0
    old, new = load_asset(template), load_asset(tmp_path / "back.lca")
    # Both files sort along the same curve, so their splats meet in the same order.
    assert np.array_equal(old.splats.means, new.splats.means)
    assert np.array_equal(old.splats.joint_indices, new.splats.joint_indices)
    assert np.array_equal(old.splats.joint_weights, new.splats.joint_weights)
    assert np.abs(old.splats.sh - new.splats.sh).max() < 2e-3
    assert np.abs(old.splats.quats - new.splats.quats).max() < 2e-3
    assert old.mesh is not None and new.mesh is not None
    assert np.array_equal(old.mesh.vertices, new.mesh.vertices) and old.mesh.texture == new.mesh.texture
    for a, b in zip(old.splats.shapes, new.splats.shapes):
        moved = np.any(a.offsets != 0, axis=1)
        assert set(a.index[moved]) <= set(b.index)
    again = Avatar.load(tmp_path / "back.lca")
    assert again.gaussian_count == len(old.splats)
    assert np.allclose(again.proxy.bind_bary.sum(axis=1), 1, atol=1e-5)


def test_both_files_pose_alike(template: Path, moves: Any, tmp_path: Path) -> None:
    export_usd(template, tmp_path / "a.usdz", pose_shapes=True)
    main(["usd", "import", str(tmp_path / "a.usdz"), "-o", str(tmp_path / "b.lca")])
    one, two = (read_package(path) for path in (template, tmp_path / "b.lca"))
    source = load_asset(one).splats.source
    frame = (moves.joint_rotations[4], moves.translation[4], moves.arkit[4], moves.gaze[4])
    a, b = BakedRig(one).pose(*frame), BakedRig(two).pose(*frame)
    assert np.abs(a.means[source] - b.means).max() < 2e-4


def test_what_is_not_ours_is_refused(plain: Any, tmp_path: Path) -> None:
    stage = Usd.Stage.CreateNew(str(tmp_path / "sphere.usdc"))
    stage.SetDefaultPrim(UsdGeom.Sphere.Define(stage, "/Ball").GetPrim())
    stage.GetRootLayer().Save()
    export_usd(plain.path, tmp_path / "mesh.usdz", preset="apple")
    for name in ("sphere.usdc", "mesh.usdz"):
        with pytest.raises(InvalidInputError) as caught:
            read(tmp_path / name)
        assert caught.value.reason == "NOT_OUR_USD"
    with pytest.raises(NotFoundError):
        read(tmp_path / "none.usdz")


def shorten(prim: Usd.Prim) -> None:
    prim.GetAttribute("opacities").Set([0.5])


def strip_skin(prim: Usd.Prim) -> None:
    prim.RemoveProperty("primvars:skel:jointIndices")
    prim.RemoveProperty("primvars:skel:jointWeights")


@pytest.mark.parametrize("damage", [shorten, strip_skin])
def test_tampered_arrays_are_refused(plain: Any, tmp_path: Path, damage: Callable[[Usd.Prim], None]) -> None:
    export_usd(plain.path, tmp_path / "a.usdc")
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    damage(stage.GetPrimAtPath("/Avatar/Geom/Splats/body"))
    stage.GetRootLayer().Save()
    with pytest.raises(InvalidInputError):
        read(tmp_path / "a.usdc")
    assert main(["import", "usd", str(tmp_path / "a.usdc"), "-o", str(tmp_path / "b.lca")]) != 0
    assert not (tmp_path / "b.lca").exists()


@pytest.mark.parametrize("command", [["usd", "validate"], ["import", "usd"]])
def test_cut_and_garbled_files_leave_nothing(plain: Any, tmp_path: Path, command: list[str]) -> None:
    export_usd(plain.path, tmp_path / "a.usdz.zst")
    export_usd(plain.path, tmp_path / "a.usdz")
    bad = tmp_path / "bad"
    bad.mkdir()
    for name in ("a.usdz", "a.usdz.zst"):
        data = (tmp_path / name).read_bytes()
        (bad / name).write_bytes(data[: len(data) // 2])
        (bad / f"b{name}").write_bytes(b"not a scene" * 100)
    for path in sorted(bad.iterdir()):
        more = ["-o", str(tmp_path / "out.lca")] if command[0] == "import" else []
        assert main([*command, str(path), *more]) != 0, path.name
    assert not (tmp_path / "out.lca").exists()


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.usdz.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(bytes(3_000_000)))
    with pytest.raises(MediaUnreadableError, match="more than"), transport.unwrapped(path, limit=1_000_000):
        pass


def test_wrapping_is_the_package_itself(plain: Any, tmp_path: Path) -> None:
    export_usd(plain.path, tmp_path / "a.usdz")
    report = export_usd(plain.path, tmp_path / "b.usdz.zst")
    assert report.total_bytes < report.unwrapped_bytes
    with transport.unwrapped(tmp_path / "b.usdz.zst") as inner:
        assert inner.name == "b.usdz" and inner.read_bytes() == (tmp_path / "a.usdz").read_bytes()


def test_baked_clips_hold_every_frame_without_skin(
    make_package: Callable[..., Any], moves: Any, tmp_path: Path
) -> None:
    package = make_package(120, degree=0)
    report = export_baked(package.path, moves, tmp_path / "shot.usdc")
    assert report.frames == 12 and validate(tmp_path / "shot.usdc") == []
    stage = Usd.Stage.Open(str(tmp_path / "shot.usdc"))
    prim = stage.GetPrimAtPath("/Shot/Splats")
    opened = read_package(package.path)
    rig, order = BakedRig(opened), load_asset(opened).splats.source
    for frame in (0, 5, 11):
        wanted = rig.pose(
            moves.joint_rotations[frame], moves.translation[frame], moves.arkit[frame], moves.gaze[frame]
        )
        got = np.asarray(prim.GetAttribute("positions").Get(frame))
        assert np.abs(got - wanted.means[order]).max() < 1e-6
        low, high = np.asarray(prim.GetAttribute("extent").Get(frame))
        reach = 3 * wanted.scales.max(axis=1, keepdims=True)
        assert (wanted.means - reach >= low - 1e-5).all() and (wanted.means + reach <= high + 1e-5).all()
    assert not prim.HasAPI("SkelBindingAPI")
    assert prim.GetAttribute("positions").GetTypeName() == Sdf.ValueTypeNames.Point3fArray


def test_baking_refuses_what_it_cannot_do(plain: Any, moves: Any, tmp_path: Path) -> None:
    for name, words in (("a.usdz", "usdc"), ("a.usdc", "view-dependent")):
        with pytest.raises(InvalidInputError, match=words):
            export_baked(plain.path, moves, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_export_takes_any_motion_file(plain: Any, tmp_path: Path) -> None:
    (tmp_path / "face.csv").write_text("nonsense")
    with pytest.raises(LcaError):
        export_shot(plain.path, tmp_path / "face.csv", tmp_path / "a.usdz")
    assert not (tmp_path / "a.usdz").exists()
