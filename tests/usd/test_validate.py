"""Our exports raise nothing, and every rule of ours fires on the fault it is for."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pxr import Gf, Sdf, Usd, UsdGeom, UsdSkel

from lca.errors import MediaUnreadableError, NotFoundError
from lca_usd import PRESETS, UsdInvalidError, arrays, export_shot, export_usd
from lca_usd import export as export_module
from lca_usd.rules import RULES
from lca_usd.validate import ERROR, Issue, validate

BODY = "/Avatar/Geom/Splats/body"


@pytest.mark.parametrize("name", ["a.usdz", "a.usdc"])
@pytest.mark.parametrize("preset", PRESETS)
def test_exports_raise_no_issue_in_any_variant(package: Any, tmp_path: Path, preset: str, name: str) -> None:
    export_usd(package.path, tmp_path / name, preset=preset, pose_shapes=preset == "small")
    assert validate(tmp_path / name) == []


def test_template_person_raises_no_issue(template: Path, tmp_path: Path) -> None:
    for name in ("a.usdz", "a.usdc"):
        export_usd(template, tmp_path / name)
        assert validate(tmp_path / name) == []


def first_index(prim: Usd.Prim, value: int) -> None:
    primvar = UsdSkel.BindingAPI(prim).GetJointIndicesPrimvar()
    indices = np.array(primvar.Get())
    indices[0] = value
    primvar.Set(arrays.ints(indices))


def scale_weights(prim: Usd.Prim) -> None:
    primvar = UsdSkel.BindingAPI(prim).GetJointWeightsPrimvar()
    primvar.Set(arrays.floats(np.asarray(primvar.Get()) * 0.5))


def both_twins(prim: Usd.Prim) -> None:
    scales = prim.GetAttribute("scalesh").Get()
    prim.CreateAttribute("scales", Sdf.ValueTypeNames.Float3Array, False).Set(arrays.vec3f(scales))


def shrink_extent(prim: Usd.Prim) -> None:
    points = np.asarray(prim.GetAttribute("positions").Get())
    prim.GetAttribute("extent").Set(arrays.bounds(points.min(0), points.max(0)))


def rotate(prim: Usd.Prim) -> None:
    UsdGeom.Xform(prim.GetParent()).AddRotateYOp().Set(30.0)


def half_unit_quats(prim: Usd.Prim) -> None:
    attribute = prim.GetAttribute("orientationsh")
    attribute.Set(arrays.quath(arrays.wxyz(attribute.Get()) * 0.5))


def log_scales(prim: Usd.Prim) -> None:
    attribute = prim.GetAttribute("scalesh")
    attribute.Set(arrays.vec3h(np.log(np.asarray(attribute.Get(), np.float32))))


def one_nan(prim: Usd.Prim) -> None:
    points = np.array(prim.GetAttribute("positions").Get())
    points[3, 1] = np.nan
    prim.GetAttribute("positions").Set(arrays.vec3f(points))


def shape_into_variant(prim: Usd.Prim) -> None:
    """Move a shape's only spec into the variant that is selected."""
    layer = prim.GetStage().GetRootLayer()
    old = Sdf.Path(f"{BODY}/shapes/jawOpen")
    new = Sdf.Path("/Avatar{representation=splat}Geom/Splats/body/shapes/jawOpen")
    Sdf.CreatePrimInLayer(layer, new)
    Sdf.CopySpec(layer, old, layer, new)
    del layer.GetPrimAtPath(old.GetParentPath()).nameChildren["jawOpen"]


def shape_row(prim: Usd.Prim) -> None:
    shape = UsdSkel.BlendShape(prim.GetStage().GetPrimAtPath(f"{BODY}/shapes/jawOpen"))
    index = np.array(shape.GetPointIndicesAttr().Get())
    index[-1] = 100_000
    shape.GetPointIndicesAttr().Set(arrays.ints(index))


def opacity_logits(prim: Usd.Prim) -> None:
    prim.GetAttribute("opacities").Set(arrays.floats(np.linspace(-6, 6, 300)))


def shorten_orientations(prim: Usd.Prim) -> None:
    attribute = prim.GetAttribute("orientationsh")
    attribute.Set(attribute.Get()[:-1])


def bogus_colour_space(prim: Usd.Prim) -> None:
    Usd.ColorSpaceAPI(prim).GetColorSpaceNameAttr().Set("srgb_rec709_display")


def drop_target(prim: Usd.Prim) -> None:
    relation = UsdSkel.BindingAPI(prim).GetBlendShapeTargetsRel()
    relation.SetTargets(relation.GetTargets()[:-1])


def drop_degree(prim: Usd.Prim) -> None:
    prim.RemoveProperty("radiance:sphericalHarmonicsDegree")


def small_root_extent(prim: Usd.Prim) -> None:
    layer = prim.GetStage().GetRootLayer()
    spec = layer.GetAttributeAtPath("/Avatar{representation=splat}.extent")
    spec.default = arrays.bounds((-0.1, -0.1, -0.1), (0.1, 0.1, 0.1))


FAULTS: dict[str, Callable[[Usd.Prim], None]] = {
    "exactly_one_twin": both_twins,
    "array_lengths_agree": shorten_orientations,
    "degree_matches_coefficients": drop_degree,
    "values_are_finite": one_nan,
    "orientations_are_unit": half_unit_quats,
    "scales_are_positive": log_scales,
    "opacities_are_in_range": opacity_logits,
    "extent_holds_three_sigma": shrink_extent,
    "no_rotating_xform_above_sh": rotate,
    "weight_rows_sum_to_one": scale_weights,
    "joint_indices_are_in_range": lambda prim: first_index(prim, 55),
    "colour_space_is_valid": bogus_colour_space,
    "blend_shape_rows_fit": shape_row,
    "blend_shape_targets_are_outside_variants": shape_into_variant,
    "blend_shape_targets_match_names": drop_target,
    "skel_root_extent_holds_motion": small_root_extent,
}


def test_every_rule_has_a_fault() -> None:
    assert set(FAULTS) == {rule.__name__ for rule in RULES}


@pytest.mark.parametrize("rule", FAULTS)
def test_each_rule_fires_on_its_fault(plain: Any, tmp_path: Path, rule: str) -> None:
    path = tmp_path / "a.usdc"
    export_usd(plain.path, path)
    stage = Usd.Stage.Open(str(path))
    FAULTS[rule](stage.GetPrimAtPath(BODY))
    stage.GetRootLayer().Save()
    found = [issue for issue in validate(path) if issue.rule == rule]
    assert found and found[0].severity == ERROR and found[0].path == BODY


def test_faults_in_unselected_variants_are_found(plain: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.usdc"
    export_usd(plain.path, path, representation="proxyMesh")
    stage = Usd.Stage.Open(str(path))
    variants = stage.GetDefaultPrim().GetVariantSet("representation")
    variants.SetVariantSelection("splat")
    half_unit_quats(stage.GetPrimAtPath(BODY))
    variants.SetVariantSelection("proxyMesh")
    stage.GetRootLayer().Save()
    found = [issue for issue in validate(path) if issue.rule == "orientations_are_unit"]
    assert len(found) == 1 and "representation=" in found[0].message
    assert Usd.Stage.Open(str(path)).GetDefaultPrim().GetVariantSet(
        "representation"
    ).GetVariantSelection() == ("proxyMesh")


def test_rules_of_usd_itself_are_run(plain: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.usdc"
    export_usd(plain.path, path)
    stage = Usd.Stage.Open(str(path))
    stage.GetRootLayer().ClearDefaultPrim()
    stage.GetRootLayer().Save()
    assert any(":" in issue.rule or "." in issue.rule for issue in validate(path))


def test_container_rules(plain: Any, tmp_path: Path) -> None:
    export_usd(plain.path, tmp_path / "good.usdz")
    with zipfile.ZipFile(tmp_path / "good.usdz") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    crate = next(iter(parts))
    packages = {
        "usdz_entries_are_stored": ([*parts.items()], zipfile.ZIP_DEFLATED),
        "usdz_data_is_aligned": ([*parts.items()], zipfile.ZIP_STORED),
        "usdz_types_are_allowed": ([(crate, parts[crate]), ("a.spz", b"x")], zipfile.ZIP_STORED),
        "usdz_root_layer_is_first": ([("a.png", b"x"), (crate, parts[crate])], zipfile.ZIP_STORED),
    }
    for rule, (entries, method) in packages.items():
        path = tmp_path / f"{rule}.usdz"
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, data in entries:
                archive.writestr(zipfile.ZipInfo(name), data, method)
        assert rule in {issue.rule for issue in validate(path)}
    (tmp_path / "text.usdz").write_text("no zip")
    assert [issue.rule for issue in validate(tmp_path / "text.usdz")] == ["usdz_is_a_zip"]


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        validate(tmp_path / "none.usdz")
    (tmp_path / "junk.usdc").write_bytes(b"junk" * 100)
    with pytest.raises(MediaUnreadableError):
        validate(tmp_path / "junk.usdc")


def test_an_invalid_result_is_not_written(
    plain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate between building and renaming holds: a stage with a real fault never reaches its name."""
    build = export_module.build_stage

    def build_with_fault(stage: Usd.Stage, *rest: Any) -> Usd.Prim:
        root = build(stage, *rest)
        if body := stage.GetPrimAtPath(BODY):
            half_unit_quats(body)
        return root

    monkeypatch.setattr(export_module, "build_stage", build_with_fault)
    with pytest.raises(UsdInvalidError) as caught:
        export_usd(plain.path, tmp_path / "a.usdz")
    assert any(issue.rule == "orientations_are_unit" for issue in caught.value.issues)
    assert list(tmp_path.iterdir()) == []


def test_issues_read_as_sentences() -> None:
    assert str(Issue("scales_are_positive", BODY, "3 scales are zero")) == (
        f"scales_are_positive at {BODY}: 3 scales are zero"
    )
    assert Gf.ColorSpace.IsValid("srgb_rec709_scene")
    assert export_shot is export_module.export_shot
