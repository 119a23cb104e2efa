"""Composition of the whole stage: metadata, rig, geometry, the `representation` variants and their extents.

One function authors one concern (see the sibling modules); this one decides what is in a file and what is
active when.
The layout of a file is shown in usd_export/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pxr import Kind, Sdf, Usd, UsdGeom, UsdSkel, Vt

from lca_usd import arrays, lod, proxy, skeleton, splats
from lca_usd.asset import Asset
from lca_usd.contract import apply_contract
from lca_usd.motion import SkelFrames
from lca_usd.rig import define_controls
from lca_usd.sidecar import SideCar

ROOT = "/Avatar"
VARIANT_SET = "representation"
LOD_SET = "lod"

ACTIVE: dict[str, frozenset[str]] = {
    "splat": frozenset({splats.GROUP}),
    "proxyMesh": frozenset({proxy.PROXY}),
    "both": frozenset({splats.GROUP, proxy.PROXY}),
    "points": frozenset({splats.POINTS}),
    "pointsMesh": frozenset({splats.POINTS, proxy.PROXY}),
}
"""Geometry that is active in each representation; the rest of what the file holds is inactive there."""


@dataclass(frozen=True)
class Layout:
    """What a file holds.

    Attributes:
        representations: variants, the first is selected. A single one means no variant set (flat file).
        precision: half or float twins of the splats.
        splat_deltas: shapes also carry what they do to orientation, size and colour (20 bytes a row).
        margin: metres by which the splats' bind extent exceeds their 3 sigma box.
        skinned_points: the Points fallback follows the skeleton; False where a shot poses it frame by frame,
            so that no reader poses it twice.
        lods: splats are sorted by level of detail and the coarser levels are written as prims of their own,
            in a variant set ``lod`` (31 % more splat data).
        sidecars: kinds of :data:`lca_usd.sidecar.SUFFIXES` written beside the file.
    """

    representations: tuple[str, ...] = ("splat", "proxyMesh", "both")
    precision: splats.Precision = splats.HALF
    margin: float = splats.EXTENT_MARGIN
    splat_deltas: bool = True
    skinned_points: bool = True
    lods: bool = False
    sidecars: tuple[str, ...] = ()

    @property
    def groups(self) -> frozenset[str]:
        """Every piece of geometry that some representation needs."""
        return frozenset().union(*(ACTIVE[name] for name in self.representations))


def build_stage(
    stage: Usd.Stage,
    asset: Asset,
    layout: Layout,
    frames: SkelFrames,
    texture: str | None,
    sidecars: Sequence[SideCar] = (),
) -> Usd.Prim:
    """Author the avatar on an empty stage and return its SkelRoot.

    Args:
        frames: the rest frame of this asset (:func:`lca_usd.motion.skel_frames` of a rest clip).
        texture: asset path of the proxy texture, or None.
        sidecars: files written beside the stage, to be named in its assetInfo.
    """
    author_stage_metadata(stage, asset)
    root = UsdSkel.Root.Define(stage, ROOT).GetPrim()
    stage.SetDefaultPrim(root)
    _author_asset_info(root, asset, sidecars)
    UsdGeom.Scope.Define(stage, skeleton.RIG)
    UsdGeom.Scope.Define(stage, f"{ROOT}/Geom")
    skeleton.define_skeleton(stage, asset)
    skeleton.define_rest_animation(stage, asset, frames)
    UsdSkel.BindingAPI.Apply(root).CreateSkeletonRel().SetTargets([Sdf.Path(skeleton.SKELETON)])
    define_controls(stage, asset.rig)
    if asset.pose_map is not None:
        _author_pose_map(stage, asset)
    if splats.GROUP in layout.groups:
        _define_splats(stage, root, asset, layout)
    if splats.POINTS in layout.groups:
        splats.define_points(stage, asset.splats, layout.skinned_points)
    if proxy.PROXY in layout.groups and asset.mesh is not None:
        proxy.define_proxy(stage, asset.mesh, texture)
    _author_variants(stage, root, layout)
    return root


def _define_splats(stage: Usd.Stage, root: Usd.Prim, asset: Asset, layout: Layout) -> None:
    """The splats of level 0 and, with ``lods``, of the coarser levels, one of which the set ``lod`` shows."""
    levels = [(splats.BODY, asset.splats)]
    if asset.levels is not None and layout.lods:
        levels += [
            (f"{splats.GROUP}/lod{number}", lod.level(asset.splats, asset.levels, number))
            for number in range(1, len(asset.levels.counts))
        ]
    # One extent for all levels, so that the SkelRoot's does not depend on the level shown.
    corners = [splats.splat_bounds(some.means, some.scales, layout.margin) for _, some in levels]
    bounds = (np.min([low for low, _ in corners], axis=0), np.max([high for _, high in corners], axis=0))
    for path, some in levels:
        prim = splats.define_splats(
            stage, some, layout.precision, layout.margin, layout.splat_deltas, path, bounds
        )
        apply_contract(prim, some.degree)
        if asset.pose_map is not None:
            prim.CreateRelationship("lca:correctives", custom=False).SetTargets(
                [prim.GetPath().AppendPath(f"shapes/{name}") for name in asset.pose_map.names]
            )
    if asset.levels is None:
        return
    body, types = stage.GetPrimAtPath(splats.BODY), Sdf.ValueTypeNames
    for name, kind, value in (
        ("lca:lod:counts", types.IntArray, arrays.ints(asset.levels.counts)),
        ("lca:lod:scaleFactors", types.FloatArray, arrays.floats(asset.levels.factors)),
    ):
        body.CreateAttribute(name, kind, custom=True, variability=Sdf.VariabilityUniform).Set(value)
    if len(levels) == 1:
        return
    variants = root.GetVariantSets().AddVariantSet(LOD_SET)
    for number in range(len(levels)):
        variants.AddVariant(f"lod{number}")
        variants.SetVariantSelection(f"lod{number}")
        with variants.GetVariantEditContext():
            for other, (path, _) in enumerate(levels):
                if other != number:
                    stage.OverridePrim(path).SetActive(False)
    variants.SetVariantSelection("lod0")


def author_stage_metadata(stage: Usd.Stage, asset: Asset, fps: float = 24.0) -> None:
    """Units, axis, rate, licence and provenance on the root layer."""
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    stage.SetTimeCodesPerSecond(fps)
    stage.SetFramesPerSecond(fps)
    stage.GetRootLayer().customLayerData = _layer_data(asset)


def skel_root_extent(root: Usd.Prim, time: Usd.TimeCode) -> Vt.Vec3fArray:
    """The plug-in's extent of the SkelRoot as composed now; validators want exactly this value."""
    extent = UsdGeom.Boundable.ComputeExtentFromPlugins(UsdGeom.Boundable(root), time)
    if extent is None:
        raise RuntimeError(
            "UsdSkel computed no extent for the avatar; the USD library lacks its usdSkel plug-in"
        )
    return extent


def _author_variants(stage: Usd.Stage, root: Usd.Prim, layout: Layout) -> None:
    """A variant switches geometry on and off and carries its own extent, which depends on what is active."""
    boundable = UsdGeom.Boundable(root)
    if len(layout.representations) == 1:
        boundable.CreateExtentAttr(skel_root_extent(root, Usd.TimeCode.Default()))
        return
    variants = root.GetVariantSets().AddVariantSet(VARIANT_SET)
    for name in layout.representations:
        variants.AddVariant(name)
        variants.SetVariantSelection(name)
        with variants.GetVariantEditContext():
            for group in sorted(layout.groups - ACTIVE[name]):
                stage.OverridePrim(group).SetActive(False)
        # After the switch the composed stage shows this representation alone.
        extent = skel_root_extent(root, Usd.TimeCode.Default())
        with variants.GetVariantEditContext():
            boundable.CreateExtentAttr(extent)
    variants.SetVariantSelection(layout.representations[0])


def _author_asset_info(root: Usd.Prim, asset: Asset, sidecars: Sequence[SideCar]) -> None:
    model = Usd.ModelAPI(root)
    model.SetKind(Kind.Tokens.component)
    model.SetAssetName(asset.name or "avatar")
    # The layer itself: readers resolve the identifier relative to where it stands.
    model.SetAssetIdentifier(Sdf.AssetPath(f"./{Path(root.GetStage().GetRootLayer().identifier).name}"))
    model.SetAssetVersion(str(asset.info.get("generator", "")))
    root.SetAssetInfoByKey("lca:licence", str(asset.info.get("inputs_licence", "")))
    for sidecar in sidecars:
        for key, value in sidecar.as_info().items():
            root.SetAssetInfoByKey(f"lca:sidecars:{sidecar.kind}:{key}", value)


def _author_pose_map(stage: Usd.Stage, asset: Asset) -> None:
    """The linear map pose -> weights of the pose shapes, for live engines; frames we export are evaluated
    already."""
    assert asset.pose_map is not None
    prim = stage.GetPrimAtPath("/Avatar/Rig/Controls")
    types = Sdf.ValueTypeNames
    for name, value in (("lca:pose:mean", asset.pose_map.mean), ("lca:pose:basis", asset.pose_map.basis)):
        prim.CreateAttribute(name, types.FloatArray, custom=True, variability=Sdf.VariabilityUniform).Set(
            arrays.floats(value)
        )
    prim.CreateAttribute(
        "lca:pose:shapes", types.TokenArray, custom=True, variability=Sdf.VariabilityUniform
    ).Set(Vt.TokenArray(list(asset.pose_map.names)))


def _layer_data(asset: Asset) -> dict[str, Any]:
    weights, files = asset.info.get("weights") or {}, asset.info.get("files") or {}
    lca = {
        "schema": str(asset.info.get("schema", "")),
        "name": asset.name,
        "created": str(asset.info.get("created", "")),
        "generator": str(asset.info.get("generator", "")),
        "inputsLicence": str(asset.info.get("inputs_licence", "")),
        "weights": {key: str(weights.get(key, "")) for key in ("config", "sha256", "licence")},
        "gaussianCount": len(asset.splats),
        "canonicalSha256": str((files.get("canonical.safetensors") or {}).get("sha256", "")),
        "splatOrder": "morton21" if asset.levels is None else "level, morton21",
    }
    return {"lca": lca}
