"""Export, reopen with usd-core, compare with the package it came from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pxr import Gf, Sdf, Usd, UsdGeom, UsdShade, UsdSkel, UsdUI

from lca.errors import DataLossError, InvalidInputError
from lca_bridge.wire.package import read_package
from lca_core.body.names import ARKIT_NAMES, JOINT_NAMES, JOINT_PARENTS
from lca_core.body.rig import RigDescription
from lca_usd import PRESETS, arrays, export_usd
from lca_usd.order import morton_order

BODY, PROXY = "/Avatar/Geom/Splats/body", "/Avatar/Geom/Proxy"


def opened(made: Any, folder: Path, name: str = "a.usdz", **options: Any) -> Usd.Stage:
    export_usd(made.path, folder / name, **options)
    return Usd.Stage.Open(str(folder / name))


def half(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float16).astype(np.float32)


@pytest.mark.parametrize("name", ["a.usdz", "a.usdc"])
def test_splat_arrays_equal_the_package(package: Any, tmp_path: Path, name: str) -> None:
    c = package.groups["canonical"]
    stage = opened(package, tmp_path, name)
    prim = stage.GetPrimAtPath(BODY)
    order = morton_order(c["means"])

    def get(attribute: str) -> Any:
        return prim.GetAttribute(attribute).Get()

    assert prim.GetTypeName() == "ParticleField3DGaussianSplat"
    assert np.array_equal(np.asarray(get("positions")), c["means"][order])
    assert np.array_equal(np.asarray(get("scalesh"), np.float32), half(c["scales"][order]))
    assert np.abs(np.asarray(get("opacities")) - c["opacities"][order]).max() <= 0.5 / 255 + 1e-6
    terms = c["sh"].shape[1]
    written = np.asarray(get("radiance:sphericalHarmonicsCoefficientsh"), np.float32)
    assert np.array_equal(written.reshape(-1, terms, 3), half(c["sh"][order]))
    assert (get("radiance:sphericalHarmonicsDegree") + 1) ** 2 == terms
    # Read through Gf, whose accessors name the parts: this is what a swapped w would break.
    quats = c["quats"][order].astype(np.float64)
    quats /= np.linalg.norm(quats, axis=1, keepdims=True) * np.sign(quats[:, :1])
    read = np.array([[q.GetReal(), *q.GetImaginary()] for q in get("orientationsh")])
    assert np.abs(read - quats).max() < 6e-4


def test_exactly_one_twin_of_each_attribute_is_authored(plain: Any, tmp_path: Path) -> None:
    expected = {"usd": {"positions", "opacities"}, "small": {"opacities"}}
    names = ("positions", "orientations", "scales", "opacities", "radiance:sphericalHarmonicsCoefficients")
    expected["float"] = set(names)
    for preset, floats in expected.items():
        stage = opened(plain, tmp_path, f"{preset}.usdc", preset=preset)
        prim = stage.GetPrimAtPath(BODY)
        for name in names:
            assert prim.GetAttribute(name).HasAuthoredValue() == (name in floats)
            assert prim.GetAttribute(name + "h").HasAuthoredValue() == (name not in floats)


def test_skin_follows_the_same_permutation(plain: Any, tmp_path: Path) -> None:
    skin = plain.groups["skinning"]
    order = morton_order(plain.groups["canonical"]["means"])
    stage = opened(plain, tmp_path)
    binding = UsdSkel.BindingAPI(stage.GetPrimAtPath(BODY))
    weights = np.asarray(binding.GetJointWeightsPrimvar().Get()).reshape(-1, 4)
    indices = np.asarray(binding.GetJointIndicesPrimvar().Get()).reshape(-1, 4)
    assert np.array_equal(weights, skin["joint_weights"][order])
    used = weights > 0
    assert np.array_equal(indices[used], skin["joint_indices"][order][used])
    assert (indices[~used] == 0).all()
    assert binding.GetJointWeightsPrimvar().GetElementSize() == 4
    assert binding.GetGeomBindTransformAttr().Get() == Gf.Matrix4d(1.0)


def test_skeleton_has_the_smplx_joints_at_their_places(plain: Any, tmp_path: Path) -> None:
    stage = opened(plain, tmp_path)
    skeleton = UsdSkel.Skeleton(stage.GetPrimAtPath("/Avatar/Rig/Skeleton"))
    tokens = list(skeleton.GetJointsAttr().Get())
    assert [token.split("/")[-1] for token in tokens] == list(JOINT_NAMES)
    topology = UsdSkel.Topology(tokens)
    assert topology.Validate()[0] and list(topology.GetParentIndices()) == list(JOINT_PARENTS)
    joints = plain.groups["skinning"]["joints"]
    bind = np.array([m.ExtractTranslation() for m in skeleton.GetBindTransformsAttr().Get()])
    assert np.abs(bind - joints).max() < 1e-7
    query = UsdSkel.Cache().GetSkelQuery(skeleton)
    rest = np.array([m.ExtractTranslation() for m in query.ComputeJointSkelTransforms(0)])
    assert np.abs(rest - joints).max() < 1e-6


def test_all_52_shapes_reach_splats_and_mesh_row_by_row(plain: Any, tmp_path: Path) -> None:
    stage = opened(plain, tmp_path, representation="both")
    order = morton_order(plain.groups["canonical"]["means"])
    c, p = plain.groups["correctives"], plain.groups["proxy"]
    quats = plain.groups["canonical"]["quats"].astype(np.float64)
    factor = np.sign(quats[:, 0]) / np.linalg.norm(quats, axis=1)
    for path, ptr in ((BODY, c["arkit_ptr"]), (PROXY, p["arkit_ptr"])):
        binding = UsdSkel.BindingAPI(stage.GetPrimAtPath(path))
        assert list(binding.GetBlendShapesAttr().Get()) == list(ARKIT_NAMES)
        for k, target in enumerate(binding.GetBlendShapeTargetsRel().GetTargets()):
            assert target.name == ARKIT_NAMES[k]
            shape = UsdSkel.BlendShape(stage.GetPrimAtPath(target))
            index = np.asarray(shape.GetPointIndicesAttr().Get())
            offsets = np.asarray(shape.GetOffsetsAttr().Get())
            if ptr[k] == ptr[k + 1]:
                assert list(index) == [0] and not offsets.any()
                continue
            rows = slice(ptr[k], ptr[k + 1])
            if path == PROXY:
                found = dict(zip(index, offsets.tolist()))
                wanted = dict(zip(p["arkit_index"][rows], p["arkit_vertices"][rows].tolist()))
                assert found == wanted
                continue
            source = order[index]
            assert (np.diff(index) > 0).all() and sorted(source) == sorted(c["arkit_index"][rows])
            row_of = {int(i): r for r, i in enumerate(c["arkit_index"][rows])}
            picked = [row_of[int(i)] for i in source]
            assert np.array_equal(offsets, c["arkit_means"][rows][picked].astype(np.float32))
            prim = shape.GetPrim()
            turned = arrays.wxyz(prim.GetAttribute("lca:orientationOffsets").Get())
            wanted_turn = c["arkit_quats"][rows][picked] * factor[source][:, None]
            assert np.abs(turned - wanted_turn).max() < 2e-4
            for name, group in (("lca:scaleOffsets", "arkit_log_scales"), ("lca:dcOffsets", "arkit_sh0")):
                assert np.array_equal(np.asarray(prim.GetAttribute(name).Get()), c[group][rows][picked])


def test_proxy_mesh_equals_the_package(plain: Any, tmp_path: Path) -> None:
    stage = opened(plain, tmp_path, representation="proxyMesh")
    p = plain.groups["proxy"]
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath(PROXY))
    assert np.array_equal(np.asarray(mesh.GetPointsAttr().Get()), p["vertices"])
    assert np.array_equal(np.asarray(mesh.GetNormalsAttr().Get()), p["normals"])
    assert np.array_equal(np.asarray(mesh.GetFaceVertexIndicesAttr().Get()), p["faces"].ravel())
    st = UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st")
    assert np.array_equal(np.asarray(st.ComputeFlattened()), p["uvs"][p["face_uvs"].ravel()])
    material, _ = UsdShade.MaterialBindingAPI(mesh.GetPrim()).ComputeBoundMaterial()
    texture = UsdShade.Shader(stage.GetPrimAtPath(material.GetPath().AppendChild("Texture")))
    resolved = texture.GetInput("file").Get().resolvedPath
    assert read_package(plain.path).proxy_texture == bytes(_asset_bytes(resolved))


def _asset_bytes(path: str) -> bytes:
    from pxr import Ar

    with Ar.GetResolver().OpenAsset(Ar.ResolvedPath(path)) as asset:
        return asset.GetBuffer()


def test_variants_switch_what_is_drawn_and_never_hold_shapes(plain: Any, tmp_path: Path) -> None:
    stage = opened(plain, tmp_path)
    root = stage.GetDefaultPrim()
    variants = root.GetVariantSet("representation")
    assert variants.GetVariantSelection() == "splat"
    wanted = {"splat": (True, False), "proxyMesh": (False, True), "both": (True, True)}
    assert set(variants.GetVariantNames()) == set(wanted)
    extents = set()
    for name, active in wanted.items():
        variants.SetVariantSelection(name)
        splats, mesh = stage.GetPrimAtPath("/Avatar/Geom/Splats"), stage.GetPrimAtPath(PROXY)
        assert (splats.IsActive(), mesh.IsActive()) == active
        computed = UsdGeom.Boundable.ComputeExtentFromPlugins(UsdGeom.Boundable(root), Usd.TimeCode.Default())
        authored = UsdGeom.Boundable(root).GetExtentAttr().Get()
        assert np.array_equal(np.asarray(computed), np.asarray(authored))
        extents.add(str(authored))
        for prim in (splats, mesh):
            if prim.IsActive():
                assert UsdGeom.Imageable(prim).ComputePurpose() == UsdGeom.Tokens.default_
    assert len(extents) >= 2


def test_stage_says_what_it_is(plain: Any, tmp_path: Path) -> None:
    stage = opened(plain, tmp_path)
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1.0 and UsdGeom.GetStageUpAxis(stage) == "Y"
    root = stage.GetDefaultPrim()
    assert root.GetPath() == Sdf.Path("/Avatar") and Usd.ModelAPI(root).IsModel()
    data = stage.GetRootLayer().customLayerData["lca"]
    assert data["inputsLicence"] == "CC0-1.0" and data["weights"]["licence"] == "Apache-2.0"
    assert root.GetAssetInfo()["name"] == "Test Person"
    body = stage.GetPrimAtPath(BODY)
    token = Usd.ColorSpaceAPI(body).GetColorSpaceNameAttr().Get()
    assert Gf.ColorSpace.IsValid(token)
    custom = body.GetCustomData()["lca"]
    assert custom["colorSpace"] == "srgb_rec709_display"
    assert custom["orientationMode"] == "blendedRotation" and custom["shRotation"] == "rotate"
    assert "LcaSplatDeformAPI" in body.GetPrimTypeInfo().GetAppliedAPISchemas()


def test_controls_carry_the_limits_and_labels_of_the_rig(make_package: Any, tmp_path: Path) -> None:
    controls = [
        {
            "name": "look_follow",
            "group": "gaze",
            "min": -1,
            "max": 2,
            "soft": [0, 1],
            "drives": "gaze:follow",
        },
        {
            "name": "jawOpen",
            "group": "face",
            "min": 0,
            "max": 1,
            "label": "Open",
            "drives": "blendShapes:jawOpen",
        },
    ]
    rig = {"joint_names": JOINT_NAMES, "arkit_names": ARKIT_NAMES, "controls": controls}
    stage = opened(make_package(60, rig=rig), tmp_path)
    scope = stage.GetPrimAtPath("/Avatar/Rig/Controls")
    assert len(scope.GetPropertiesInNamespace("rig")) == 53  # two stated, and a slider for each other shape
    follow = scope.GetAttribute("rig:gaze:look_follow")
    assert (follow.GetHardLimits().GetMinimum(), follow.GetHardLimits().GetMaximum()) == (-1, 2)
    assert (follow.GetSoftLimits().GetMinimum(), follow.GetSoftLimits().GetMaximum()) == (0, 1)
    assert follow.GetCustomData()["lca"]["drives"] == "gaze:follow"
    assert follow.GetCustomData()["lca"]["unit"] == "weight"
    jaw = UsdUI.AttributeHints(scope.GetAttribute("rig:face:jawOpen"))
    assert (jaw.GetDisplayGroup(), jaw.GetDisplayName()) == ("face", "Open")


def test_controls_and_joint_hints_are_those_of_the_shipped_rig(make_package: Any, tmp_path: Path) -> None:
    rig = RigDescription.default()
    stage = opened(make_package(60, rig=json.loads(rig.to_json())), tmp_path)
    scope = stage.GetPrimAtPath("/Avatar/Rig/Controls")
    written = {}
    for attribute in scope.GetPropertiesInNamespace("rig"):
        soft, hard = attribute.GetSoftLimits(), attribute.GetHardLimits()
        hints = UsdUI.AttributeHints(attribute)
        written[hints.GetDisplayGroup(), hints.GetDisplayName()] = [
            *(limit for pair in (hard, soft) for limit in (pair.GetMinimum(), pair.GetMaximum())),
            attribute.Get(),
        ]
        assert attribute.GetCustomData()["lca"]["drives"].split(":")[0] in ("blendShapes", "joints")
    assert len(written) == len(rig.controls)
    for control in rig.controls:
        wanted = [control.min, control.max, *control.soft, control.default]
        assert np.allclose(written[control.group, control.label], wanted)
    skeleton = stage.GetPrimAtPath("/Avatar/Rig/Skeleton")
    limits = np.asarray(skeleton.GetAttribute("lca:jointMaxDegrees").Get())
    assert np.allclose(limits, [joint.max_degrees for joint in rig.joints])
    names = list(skeleton.GetAttribute("lca:names:mixamo").Get())
    assert names == [rig.name_maps["mixamo"].get(joint, "") for joint in rig.joint_names]


@pytest.mark.parametrize("name", ["a.usdz", "a.usdc"])
def test_same_input_gives_the_same_bytes_in_any_time_zone(plain: Any, tmp_path: Path, name: str) -> None:
    program = "import sys; from lca_usd import export_usd; export_usd(sys.argv[1], sys.argv[2])"
    for zone in ("Asia/Tokyo", "America/Los_Angeles"):
        target = tmp_path / zone / name
        command = [sys.executable, "-c", program, str(plain.path), str(target)]
        subprocess.run(command, check=True, env={**os.environ, "TZ": zone})
    one, two = ((tmp_path / zone / name).read_bytes() for zone in ("Asia/Tokyo", "America/Los_Angeles"))
    assert one == two


def test_points_carry_every_splat_attribute(plain: Any, tmp_path: Path) -> None:
    stage = opened(plain, tmp_path, preset="blender")
    c = plain.groups["canonical"]
    order = morton_order(c["means"])
    points = stage.GetPrimAtPath("/Avatar/Geom/Points")
    primvars = UsdGeom.PrimvarsAPI(points)
    base = np.asarray(primvars.GetPrimvar("radiance:base").Get())
    assert np.array_equal(np.asarray(UsdGeom.Points(points).GetPointsAttr().Get()), c["means"][order])
    assert np.array_equal(np.asarray(primvars.GetPrimvar("scale").Get()), c["scales"][order])
    assert np.array_equal(base[:, :3], c["sh"][order][:, 0])
    assert np.abs(base[:, 3] - c["opacities"][order]).max() < 0.5 / 255 + 1e-6
    for k in range(3):
        assert np.array_equal(
            np.asarray(primvars.GetPrimvar(f"radiance:sh_{k}").Get()), c["sh"][order][:, k + 1]
        )


def test_apple_preset_is_the_mesh_alone(plain: Any, tmp_path: Path) -> None:
    stage = opened(plain, tmp_path, preset="apple")
    types = {str(prim.GetTypeName()) for prim in stage.Traverse()}
    assert "Mesh" in types and not types & {"ParticleField3DGaussianSplat", "Points"}
    assert not stage.GetDefaultPrim().HasVariantSets()


def test_pose_shapes_are_optional_and_say_which_they_are(plain: Any, tmp_path: Path) -> None:
    stage = opened(plain, tmp_path, pose_shapes=True)
    body = stage.GetPrimAtPath(BODY)
    names = list(UsdSkel.BindingAPI(body).GetBlendShapesAttr().Get())
    assert names == [*ARKIT_NAMES, "pose_pca_00", "pose_pca_01", "pose_pca_02"]
    targets = body.GetRelationship("lca:correctives").GetTargets()
    assert [path.name for path in targets] == names[52:]
    controls = stage.GetPrimAtPath("/Avatar/Rig/Controls")
    assert len(controls.GetAttribute("lca:pose:basis").Get()) == 3 * 486


def test_report_tells_sizes_and_rounding(plain: Any, tmp_path: Path) -> None:
    report = export_usd(plain.path, tmp_path / "a.usdc")
    assert report.total_bytes == sum(f.stat().st_size for f in tmp_path.rglob("*") if f.is_file())
    mesh = export_usd(plain.path, tmp_path / "mesh" / "a.usdc", preset="apple")
    assert mesh.bytes_per_splat == 0 and abs(mesh.total_bytes - report.mesh_bytes) < 100
    assert 50 < report.bytes_per_splat < report.total_bytes / 300
    assert report.quantisation["position_mm"] == 0
    assert 0 < report.quantisation["rotation_deg"] < 0.07 and 0 < report.quantisation["scale_percent"] < 0.05
    assert "B/splat" in report.summary()


def test_nothing_is_left_behind_when_an_export_fails(plain: Any, make_package: Any, tmp_path: Path) -> None:
    target = tmp_path / "a.usdz"
    target.write_bytes(b"the old one")
    broken = tmp_path / "broken.lca"
    data = bytearray(plain.path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    broken.write_bytes(data)
    for call in (
        lambda: export_usd(broken, target),
        lambda: export_usd(make_package(50, drop=("proxy",)).path, target),
        lambda: export_usd(plain.path, target, preset="fbx"),
        lambda: export_usd(plain.path, target, representation="points"),
        lambda: export_usd(plain.path, tmp_path / "a.fbx"),
    ):
        with pytest.raises((InvalidInputError, DataLossError)):
            call()
    assert target.read_bytes() == b"the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.usdz", "broken.lca"]


def test_a_full_disk_is_reported_and_leaves_nothing(plain: Any, tmp_path: Path) -> None:
    """A child process with a small file-size limit stands in for the full disk."""
    program = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
from lca.errors import ExhaustedError
from lca_usd import export_usd
try:
    export_usd({str(plain.path)!r}, {str(tmp_path / "a.usdz")!r})
except ExhaustedError as error:
    print("REFUSED", error.reason)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "REFUSED WRITE_FAILED" in done.stdout, done.stderr[-1500:]
    assert list(tmp_path.iterdir()) == []


def test_odd_targets(plain: Any, tmp_path: Path) -> None:
    assert export_usd(plain.path, tmp_path / "new folder" / "Ännä 1.usdz").path.is_file()
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.usdz").mkdir()
    for name in ("file/a.usdz", "folder.usdz", "a@b.usdz", "a.usda"):
        with pytest.raises(InvalidInputError):
            export_usd(plain.path, tmp_path / name)


def test_rig_description_must_fit_the_arrays(make_package: Any, tmp_path: Path) -> None:
    good = {"joint_names": list(JOINT_NAMES), "arkit_names": list(ARKIT_NAMES)}
    for change in (
        {"joint_names": list(JOINT_NAMES[:54])},
        {"arkit_names": [*ARKIT_NAMES[:51], "jawOpen"]},
        {"joint_parents": [-1] * 55},
        {"arkit_names": [*ARKIT_NAMES[:51], "tongue out"]},
        {"controls": [{"group": "face"}]},
        {"joints": [{"min_degrees": [0, 0, 0], "max_degrees": [1, 1, 1]}]},
    ):
        with pytest.raises(InvalidInputError) as caught:
            export_usd(make_package(20, rig={**good, **change}).path, tmp_path / "a.usdz")
        assert caught.value.reason == "RIG_INVALID"


def test_every_preset_exports(plain: Any, tmp_path: Path) -> None:
    for preset in PRESETS:
        assert export_usd(plain.path, tmp_path / f"{preset}.usdz", preset=preset).total_bytes > 0


def test_extent_is_the_three_sigma_box_with_a_margin(plain: Any, tmp_path: Path) -> None:
    stage = opened(plain, tmp_path)
    c = plain.groups["canonical"]
    reach = 3 * c["scales"].max(axis=1, keepdims=True)
    low, high = np.asarray(stage.GetPrimAtPath(BODY).GetAttribute("extent").Get())
    assert np.abs((c["means"] - reach).min(axis=0) - 0.010 - low).max() < 1e-4
    assert np.abs((c["means"] + reach).max(axis=0) + 0.010 - high).max() < 1e-4
