"""Splats on a stage: `ParticleField3DGaussianSplat` with skin and shapes, and the UsdGeomPoints fallback.

Each attribute is written in exactly one of its float and half twins (where both are authored, readers take
the float).
Positions stay float: halfs at 1-2 m from the origin cost 28 dB.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pxr import Sdf, Usd, UsdGeom

from lca_bridge.wire.skin import PosedSplats
from lca_usd import arrays, skeleton
from lca_usd.asset import Splats

GROUP = "/Avatar/Geom/Splats"
BODY = f"{GROUP}/body"
POINTS = "/Avatar/Geom/Points"

SH_C0 = 0.28209479177387814
"""Colour = 0.5 + SH_C0 * band 0."""
SIGMAS = 3.0
"""Support of the Gaussian kernel, in sigmas."""
EXTENT_MARGIN = 0.010
"""Metres. UsdSkel's estimate of a posed extent pads joints by the bind extent; without this it lags by up to
7 mm."""

COLOUR_SPACE = "srgb_rec709_scene"
"""The token Gf.ColorSpace accepts; the intent is display-referred and is stated in ``lca:colorSpace``."""
COLOUR_INTENT = "srgb_rec709_display"


@dataclass(frozen=True)
class Precision:
    """Which attributes use their half twin; False is float."""

    positions: bool = False
    orientations: bool = True
    scales: bool = True
    opacities: bool = False
    sh: bool = True


HALF = Precision()
FLOAT = Precision(orientations=False, scales=False, sh=False)


def splat_bounds(
    means: npt.ArrayLike, scales: npt.ArrayLike, margin: float = 0.0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Corners of the box that holds every p -+ 3 max(scale), widened by ``margin`` metres."""
    # Column by column: numpy reduces along a short last axis ten times slower.
    p, s = np.asarray(means).T, np.asarray(scales).T
    r = SIGMAS * np.maximum(np.maximum(s[0], s[1]), s[2]).astype(np.float64) + margin
    return np.array([(x - r).min() for x in p]), np.array([(x + r).max() for x in p])


def define_splats(
    stage: Usd.Stage,
    splats: Splats,
    precision: Precision,
    margin: float = EXTENT_MARGIN,
    splat_deltas: bool = True,
    path: str = BODY,
    bounds: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None,
) -> Usd.Prim:
    """``path`` with its data, colour space, skin and ``shapes/*``; extent ``bounds``, by default 3 sigma +
    ``margin`` m."""
    group = UsdGeom.Xform.Define(stage, GROUP)
    UsdGeom.Imageable(group).CreatePurposeAttr(UsdGeom.Tokens.default_)
    # By name, so that a USD library older than the schema can still write the prim.
    prim = stage.DefinePrim(path, "ParticleField3DGaussianSplat")
    _author_data(prim, splats, precision)
    _author_colour_space(prim)
    low, high = bounds or splat_bounds(splats.means, splats.scales, margin)
    prim.CreateAttribute("extent", Sdf.ValueTypeNames.Float3Array, False).Set(arrays.bounds(low, high))
    shapes = []
    UsdGeom.Scope.Define(stage, f"{path}/shapes")
    for shape in splats.shapes:
        shape_path = Sdf.Path(f"{path}/shapes/{shape.name}")
        target = skeleton.define_blend_shape(stage, shape_path, shape.index, shape.offsets).GetPrim()
        if splat_deltas:
            _author_extra_deltas(target, shape.quats, shape.log_scales, shape.dc)
        shapes.append((shape.name, shape_path))
    skeleton.bind(prim, splats.joint_indices, splats.joint_weights, shapes)
    return prim


def define_rigid_splats(stage: Usd.Stage, path: str, splats: Splats, precision: Precision) -> Usd.Prim:
    """Splats at ``path`` with data, colour space and extent, but neither skin nor shapes."""
    prim = stage.DefinePrim(path, "ParticleField3DGaussianSplat")
    _author_data(prim, splats, precision)
    _author_colour_space(prim)
    low, high = splat_bounds(splats.means, splats.scales)
    prim.CreateAttribute("extent", Sdf.ValueTypeNames.Float3Array, False).Set(arrays.bounds(low, high))
    return prim


def _author_data(prim: Usd.Prim, splats: Splats, precision: Precision) -> None:
    types = Sdf.ValueTypeNames
    name, half = "radiance:sphericalHarmonicsCoefficients", precision.sh
    flat = splats.sh.reshape(-1, 3)
    columns = (
        ("positions", precision.positions, types.Point3fArray, types.Point3hArray, _vectors, splats.means),
        ("orientations", precision.orientations, types.QuatfArray, types.QuathArray, _quats, splats.quats),
        ("scales", precision.scales, types.Float3Array, types.Half3Array, _vectors, splats.scales),
        ("opacities", precision.opacities, types.FloatArray, types.HalfArray, _scalars, splats.opacities),
        (name, half, types.Float3Array, types.Half3Array, _vectors, flat),
    )
    for base, is_half, float_type, half_type, convert, values in columns:
        attribute = prim.CreateAttribute(
            base + "h" * is_half, half_type if is_half else float_type, custom=False
        )
        attribute.Set(convert(values, is_half))
    degree = prim.CreateAttribute(
        "radiance:sphericalHarmonicsDegree", types.Int, custom=False, variability=Sdf.VariabilityUniform
    )
    degree.Set(splats.degree)
    coefficients = prim.GetAttribute(name + "h" * half)
    coefficients.SetMetadata("interpolation", UsdGeom.Tokens.vertex)
    coefficients.SetMetadata("elementSize", splats.sh.shape[1])
    for hint, token in (("projectionModeHint", "perspective"), ("sortingModeHint", "zDepth")):
        prim.CreateAttribute(hint, types.Token, custom=False, variability=Sdf.VariabilityUniform).Set(token)


def _vectors(values: npt.NDArray[np.float32], half: bool) -> Any:
    return arrays.vec3h(values) if half else arrays.vec3f(values)


def _quats(values: npt.NDArray[np.float32], half: bool) -> Any:
    return arrays.quath(values) if half else arrays.quatf(values)


def _scalars(values: npt.NDArray[np.float32], half: bool) -> Any:
    return arrays.halfs(values) if half else arrays.floats(values)


def _author_colour_space(prim: Usd.Prim) -> None:
    space = Usd.ColorSpaceAPI.Apply(prim)
    space.CreateColorSpaceNameAttr(COLOUR_SPACE)
    prim.SetCustomDataByKey("lca:colorSpace", COLOUR_INTENT)


def _author_extra_deltas(
    prim: Usd.Prim,
    quats: npt.NDArray[np.float32],
    log_scales: npt.NDArray[np.float32],
    dc: npt.NDArray[np.float32],
) -> None:
    """What BlendShape has no slot for, row by row with ``pointIndices``; an array of zeros alone is left out.

    ``lca:orientationOffsets`` quath[], ``lca:scaleOffsets`` half3[] (log), ``lca:dcOffsets`` half3[]:
    additive at weight 1. Readers that do not know them lose only that.
    """
    types = Sdf.ValueTypeNames
    for name, kind, values, convert in (
        ("lca:orientationOffsets", types.QuathArray, quats, arrays.quath),
        ("lca:scaleOffsets", types.Half3Array, log_scales, arrays.vec3h),
        ("lca:dcOffsets", types.Half3Array, dc, arrays.vec3h),
    ):
        if values.any():
            attribute = prim.CreateAttribute(name, kind, custom=True, variability=Sdf.VariabilityUniform)
            attribute.Set(convert(values))


def define_points(stage: Usd.Stage, splats: Splats, skinned: bool = True) -> UsdGeom.Points:
    """The fallback for importers without ParticleField: Points whose primvars carry Blender's native splat
    names.

    ``rotation`` quatf, ``scale`` float3, ``radiance:base`` (SH band 0, opacity), ``radiance:sh_0...``; points
    are skinned like the splats, without shapes.
    """
    types = Sdf.ValueTypeNames
    points = UsdGeom.Points.Define(stage, POINTS)
    points.CreatePointsAttr(arrays.vec3f(splats.means))
    points.CreateWidthsAttr(arrays.floats(2.0 * splats.scales.max(axis=1)))
    points.SetWidthsInterpolation(UsdGeom.Tokens.vertex)
    primvars = UsdGeom.PrimvarsAPI(points)

    def put(name: str, kind: Sdf.ValueTypeName, value: Any) -> None:
        primvars.CreatePrimvar(name, kind, UsdGeom.Tokens.vertex).Set(value)

    base = np.concatenate([splats.sh[:, 0], splats.opacities[:, None]], axis=1)
    put("rotation", types.QuatfArray, arrays.quatf(splats.quats))
    put("scale", types.Float3Array, arrays.vec3f(splats.scales))
    put("radiance:base", types.Color4fArray, arrays.vec4f(base))
    for k in range(1, splats.sh.shape[1]):
        put(f"radiance:sh_{k - 1}", types.Float3Array, arrays.vec3f(splats.sh[:, k]))
    points.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex).Set(
        arrays.vec3f(np.clip(0.5 + SH_C0 * splats.sh[:, 0], 0.0, 1.0))
    )
    if skinned:
        skeleton.bind(points.GetPrim(), splats.joint_indices, splats.joint_weights)
    points.CreateExtentAttr(UsdGeom.Boundable.ComputeExtentFromPlugins(points, Usd.TimeCode.Default()))
    return points


def author_posed_points(prim: Usd.Prim, frames: Iterable[PosedSplats]) -> None:
    """Time samples 0..T-1 of the unskinned Points fallback, places and rotations, which Blender plays."""
    types = Sdf.ValueTypeNames
    points = prim.CreateAttribute("points", types.Point3fArray, False)
    extent = prim.CreateAttribute("extent", types.Float3Array, False)
    rotation = prim.CreateAttribute("primvars:rotation", types.QuatfArray, False)
    for frame, posed in enumerate(frames):
        radius = posed.scales.max(axis=1, keepdims=True)
        points.Set(arrays.vec3f(posed.means), frame)
        rotation.Set(arrays.quatf(posed.quats), frame)
        low, high = (posed.means - radius).min(axis=0), (posed.means + radius).max(axis=0)
        extent.Set(arrays.bounds(low, high), frame)
