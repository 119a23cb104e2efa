"""UsdSkel, reading our files, poses the avatar exactly as `lca_bridge.wire.skin` does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pxr import Usd, UsdGeom, UsdSkel

from lca.errors import InvalidInputError, LcaError
from lca_bridge.wire.package import read_package
from lca_bridge.wire.skin import BakedRig, pose_proxy
from lca_core.avatar.frame import Motion
from lca_usd import arrays, export_ply, export_shot
from lca_usd.asset import load_asset
from lca_usd.motion import read_motion
from lca_usd.validate import validate

BODY, PROXY = "/Avatar/Geom/Splats/body", "/Avatar/Geom/Proxy"


def posed_points(stage: Usd.Stage, path: str, time: float) -> np.ndarray:
    """Points of a skinned prim by UsdSkel alone: blend shapes, then LBS."""
    root = UsdSkel.Root(stage.GetDefaultPrim())
    cache = UsdSkel.Cache()
    cache.Populate(root, Usd.TraverseInstanceProxies())
    prim = stage.GetPrimAtPath(path)
    skin = cache.GetSkinningQuery(prim)
    skeleton = cache.GetSkelQuery(UsdSkel.BindingAPI(prim).GetInheritedSkeleton())
    points = prim.GetAttribute("positions" if path == BODY else "points").Get()
    weights = skin.GetBlendShapeMapper().Remap(skeleton.GetAnimQuery().ComputeBlendShapeWeights(time))
    shapes = UsdSkel.BlendShapeQuery(UsdSkel.BindingAPI(prim))
    sub_weights, indices, sub_shapes = shapes.ComputeSubShapeWeights(weights)
    assert shapes.ComputeDeformedPoints(
        sub_weights,
        indices,
        sub_shapes,
        shapes.ComputeBlendShapePointIndices(),
        shapes.ComputeSubShapePointOffsets(),
        points,
    )
    assert skin.ComputeSkinnedPoints(skeleton.ComputeSkinningTransforms(time), points, time)
    return np.asarray(points)


def opened_shot(path: Path, motion: Any, folder: Path, name: str, **options: Any) -> Usd.Stage:
    export_shot(path, motion, folder / name, **options)
    return Usd.Stage.Open(str(folder / name))


@pytest.mark.parametrize("name", ["s.usdc", "s.usdz"])
def test_shot_poses_splats_and_mesh_like_the_baked_rig(
    make_package: Any, moves: Any, tmp_path: Path, name: str
) -> None:
    made = make_package(400, degree=1)
    stage = opened_shot(made.path, moves, tmp_path, name, representation="both", pose_shapes=True)
    package, order = read_package(made.path), load_asset(made.path).splats.source
    rig = BakedRig(package)
    for frame in (0, 5, 11):
        pose = (moves.joint_rotations[frame], moves.translation[frame], moves.arkit[frame], moves.gaze[frame])
        means = rig.pose(*pose).means[order]
        assert np.abs(posed_points(stage, BODY, frame) - means).max() < 1e-5
        assert np.abs(posed_points(stage, PROXY, frame) - pose_proxy(package, *pose)).max() < 1e-5


def test_template_person_is_posed_alike(template: Path, moves: Any, tmp_path: Path) -> None:
    stage = opened_shot(template, moves, tmp_path, "s.usdz", representation="both", pose_shapes=True)
    package, order = read_package(template), load_asset(template).splats.source
    rig = BakedRig(package)
    for frame in (2, 6, 9):
        pose = (moves.joint_rotations[frame], moves.translation[frame], moves.arkit[frame], moves.gaze[frame])
        assert np.abs(posed_points(stage, BODY, frame) - rig.pose(*pose).means[order]).max() < 1e-5
        assert np.abs(posed_points(stage, PROXY, frame) - pose_proxy(package, *pose)).max() < 1e-5


def test_contract_of_orientations_shapes_and_colours_gives_the_baked_rig(
    make_package: Any, moves: Any, tmp_path: Path
) -> None:
    """A reader that knows nothing but the file and the contract text reaches the pose of our own rig."""
    made = make_package(300)
    stage = opened_shot(made.path, moves, tmp_path, "s.usdc", preset="float", pose_shapes=True)
    package, order = read_package(made.path), load_asset(made.path).splats.source
    prim, frame = stage.GetPrimAtPath(BODY), 7
    binding = UsdSkel.BindingAPI(prim)
    cache = UsdSkel.Cache()
    cache.Populate(UsdSkel.Root(stage.GetDefaultPrim()), Usd.TraverseInstanceProxies())
    skeleton = cache.GetSkelQuery(binding.GetInheritedSkeleton())
    weights = np.asarray(skeleton.GetAnimQuery().ComputeBlendShapeWeights(frame))
    quats = arrays.wxyz(prim.GetAttribute("orientations").Get()).astype(np.float64)
    log_scales = np.log(np.asarray(prim.GetAttribute("scales").Get(), np.float64))
    dc = np.asarray(prim.GetAttribute("radiance:sphericalHarmonicsCoefficients").Get(), np.float64)
    for weight, target in zip(weights, binding.GetBlendShapeTargetsRel().GetTargets()):
        shape = stage.GetPrimAtPath(target)
        index = np.asarray(shape.GetAttribute("pointIndices").Get())
        if not shape.GetAttribute("lca:orientationOffsets"):
            assert list(index) == [0]  # a shape that moves nothing
            continue
        quats[index] += weight * arrays.wxyz(shape.GetAttribute("lca:orientationOffsets").Get())
        log_scales[index] += weight * np.asarray(shape.GetAttribute("lca:scaleOffsets").Get(), np.float64)
        dc[index] += weight * np.asarray(shape.GetAttribute("lca:dcOffsets").Get(), np.float64)
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    rotations = [m.ExtractRotationQuat() for m in skeleton.ComputeSkinningTransforms(frame)]
    joint_quats = np.array([[q.GetReal(), *q.GetImaginary()] for q in rotations])
    indices = np.asarray(binding.GetJointIndicesPrimvar().Get()).reshape(-1, 4)
    influence = np.asarray(binding.GetJointWeightsPrimvar().Get()).reshape(-1, 4)
    own = joint_quats[indices]
    signs = np.where(np.einsum("nkc,nc->nk", own, own[:, 0]) < 0, -1, 1)
    blended = np.einsum("nk,nk,nkc->nc", influence, signs, own)
    blended /= np.linalg.norm(blended, axis=1, keepdims=True)
    aw, av, bw, bv = blended[:, :1], blended[:, 1:], quats[:, :1], quats[:, 1:]
    turned = np.concatenate(
        [aw * bw - (av * bv).sum(1, keepdims=True), aw * bv + bw * av + np.cross(av, bv)], axis=1
    )
    posed = BakedRig(package).pose(
        moves.joint_rotations[frame], moves.translation[frame], moves.arkit[frame], moves.gaze[frame]
    )
    agreement = np.abs(np.einsum("nc,nc->n", turned, posed.quats[order]))
    assert agreement.min() > 1 - 2e-6
    assert np.abs(np.exp(log_scales) / posed.scales[order] - 1).max() < 5e-3
    assert np.abs(dc - posed.sh[order][:, 0]).max() < 2e-3


def test_shot_holds_the_clip_and_true_extents_at_every_sample(plain: Any, moves: Any, tmp_path: Path) -> None:
    stage = opened_shot(plain.path, moves, tmp_path, "s.usdz")
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (0, 11)
    assert stage.GetTimeCodesPerSecond() == stage.GetFramesPerSecond() == 30
    root = stage.GetDefaultPrim()
    variants = root.GetVariantSet("representation")
    for name in variants.GetVariantNames():
        variants.SetVariantSelection(name)
        extent = UsdGeom.Boundable(root).GetExtentAttr()
        assert extent.GetTimeSamples() == list(range(12))
        for frame in range(12):
            computed = UsdGeom.Boundable.ComputeExtentFromPlugins(UsdGeom.Boundable(root), frame)
            assert np.array_equal(np.asarray(extent.Get(frame)), np.asarray(computed))
    variants.SetVariantSelection("splat")
    radius = 3 * np.asarray(stage.GetPrimAtPath(BODY).GetAttribute("scalesh").Get(), np.float32).max(1)
    for frame in range(12):
        low, high = np.asarray(UsdGeom.Boundable(root).GetExtentAttr().Get(frame))
        points = posed_points(stage, BODY, frame)
        # Shapes come on top of what the plug-in knows; they move by about a centimetre here.
        assert (points - radius[:, None] > low - 0.05).all() and (
            points + radius[:, None] < high + 0.05
        ).all()


def test_rest_of_a_shot_is_the_asset(plain: Any, moves: Any, tmp_path: Path) -> None:
    still = replace(
        moves,
        translation=moves.translation * 0,
        joint_rotations=moves.joint_rotations * 0,
        arkit=moves.arkit * 0,
        gaze=moves.gaze * 0,
    )
    stage = opened_shot(plain.path, still, tmp_path, "s.usdz")
    bind = np.asarray(stage.GetPrimAtPath(BODY).GetAttribute("positions").Get())
    assert np.abs(posed_points(stage, BODY, 4) - bind).max() < 1e-6


def test_motion_files_and_objects_are_the_same(plain: Any, moves: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", **vars(moves))
    one, two = read_motion(tmp_path / "m.npz"), read_motion(moves)
    assert one.fps == two.fps
    for name in ("translation", "joint_rotations", "arkit", "gaze"):
        assert np.array_equal(getattr(one, name), getattr(two, name))
    np.savez(
        tmp_path / "smplx.npz",
        poses=moves.joint_rotations.reshape(12, 165),
        trans=moves.translation,
        mocap_frame_rate=30.0,
    )
    assert np.array_equal(read_motion(tmp_path / "smplx.npz").joint_rotations, two.joint_rotations)


def test_the_cores_own_motion_and_pose_serve(plain: Any, moves: Any, tmp_path: Path) -> None:
    motion = Motion(**vars(moves))
    motion.save(tmp_path / "m.npz")
    export_shot(plain.path, motion, tmp_path / "one.usdz")
    export_shot(plain.path, tmp_path / "m.npz", tmp_path / "two.usdz")
    assert (tmp_path / "one.usdz").read_bytes() == (tmp_path / "two.usdz").read_bytes()
    frame = motion[4]
    posed = BakedRig(read_package(plain.path)).pose(
        frame.joint_rotations, frame.translation, frame.arkit, frame.gaze
    )
    body = export_ply(plain.path, tmp_path / "a.ply", frame).read_bytes().split(b"end_header\n", 1)[1]
    means = np.frombuffer(body, "<f4").reshape(300, -1)[:, :3]
    assert np.array_equal(means, posed.means)


def test_bad_motions_are_refused_with_a_reason(plain: Any, moves: Any, tmp_path: Path) -> None:
    for change in (
        {"joint_rotations": moves.joint_rotations[:, :54]},
        {"joint_rotations": moves.joint_rotations[:0]},
        {"arkit": moves.arkit[:5]},
        {"fps": -1.0},
        {"translation": np.full((12, 3), np.nan)},
    ):
        with pytest.raises(InvalidInputError) as caught:
            export_shot(plain.path, replace(moves, **change), tmp_path / "s.usdz")
        assert caught.value.reason == "BAD_MOTION"
    (tmp_path / "text.npz").write_text("no zip")
    for name in ("text.npz", "missing.npz"):
        with pytest.raises(LcaError):
            export_shot(plain.path, tmp_path / name, tmp_path / "s.usdz")
    assert [path.name for path in tmp_path.iterdir()] == ["text.npz"]


def test_every_preset_makes_a_valid_shot(plain: Any, moves: Any, tmp_path: Path) -> None:
    for preset in ("usd", "blender", "apple"):
        export_shot(plain.path, moves, tmp_path / f"{preset}.usdz", preset=preset)
        assert validate(tmp_path / f"{preset}.usdz") == []
