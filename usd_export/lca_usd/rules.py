"""Our own rules about splat prims; the validators that ship with USD check none of their data.

Each rule is one small generator over a :class:`SplatPrim` that yields a message per violation. Its function
name is the rule's name in reports. `lca_usd.validate` runs them all on every splat prim of a stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from pxr import Gf, Usd, UsdGeom, UsdSkel, Vt

from lca_usd import arrays
from lca_usd.splats import SIGMAS, splat_bounds

TWINS = ("positions", "orientations", "scales", "opacities", "radiance:sphericalHarmonicsCoefficients")
MAX_MOTION_SAMPLES = 8
UNIT_TOLERANCE = 2e-3
"""Halfs round a unit quaternion to within 1e-3 of length 1."""
ROW_TOLERANCE = 1e-5
"""Metres of slack in extent checks, for float rounding."""


@dataclass(frozen=True)
class SplatPrim:
    """A splat prim with its arrays as numpy, read on first use at the default time."""

    prim: Usd.Prim

    @staticmethod
    def matches(prim: Usd.Prim) -> bool:
        """Is this a Gaussian-splat field?"""
        return str(prim.GetTypeName()) == "ParticleField3DGaussianSplat"

    def twins(self, name: str) -> list[Usd.Attribute]:
        """The authored ones of an attribute's float and half twin."""
        found = (self.prim.GetAttribute(name + suffix) for suffix in ("", "h"))
        return [attribute for attribute in found if attribute and attribute.HasAuthoredValue()]

    def values(self, name: str) -> npt.NDArray[Any] | None:
        """Float32 values by the schema's precedence (float before half), quaternions wxyz, None if not
        authored."""
        authored = self.twins(name)
        if not authored:
            return None
        raw = authored[0].Get(Usd.TimeCode.EarliestTime())
        if name == "orientations":
            return arrays.wxyz(raw)
        return np.asarray(raw if raw is not None else [], np.float32)

    @cached_property
    def positions(self) -> npt.NDArray[Any]:
        """(N,3)."""
        values = self.values("positions")
        return np.zeros((0, 3), np.float32) if values is None else values.reshape(-1, 3)

    @cached_property
    def count(self) -> int:
        """Particle count: by the schema, the number of positions."""
        return len(self.positions)

    @cached_property
    def degree(self) -> int | None:
        """The authored SH degree, or None."""
        attribute = self.prim.GetAttribute("radiance:sphericalHarmonicsDegree")
        return attribute.Get() if attribute and attribute.HasAuthoredValue() else None

    @cached_property
    def bounds(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]] | None:
        """Corners that hold every p -+ 3 sigma, or None when the arrays do not allow the question."""
        scales = self.values("scales")
        if scales is None or self.count == 0 or len(scales) != self.count:
            return None
        return splat_bounds(self.positions, scales)

    @cached_property
    def binding(self) -> UsdSkel.BindingAPI | None:
        """The skin binding, if there is one."""
        return UsdSkel.BindingAPI(self.prim) if self.prim.HasAPI(UsdSkel.BindingAPI) else None

    def influences(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any], int] | None:
        """Joint indices, weights (flat) and their element size."""
        if self.binding is None:
            return None
        indices, weights = self.binding.GetJointIndicesPrimvar(), self.binding.GetJointWeightsPrimvar()
        if not (indices and weights and indices.HasAuthoredValue() and weights.HasAuthoredValue()):
            return None
        return np.asarray(indices.Get()), np.asarray(weights.Get()), indices.GetElementSize()

    def shape_targets(self) -> Iterator[Usd.Prim]:
        """Existing blend-shape prims that the binding names."""
        if self.binding is not None:
            for path in self.binding.GetBlendShapeTargetsRel().GetTargets():
                if prim := self.prim.GetStage().GetPrimAtPath(path):
                    yield prim


def exactly_one_twin(splat: SplatPrim) -> Iterator[str]:
    """Positions, scales, ... are authored as float or as half, never both (the half would be dead) nor
    neither."""
    for name in TWINS:
        authored = splat.twins(name)
        if len(authored) != 1:
            yield f"{name} is authored {len(authored)} times; author either {name} or {name}h"


def array_lengths_agree(splat: SplatPrim) -> Iterator[str]:
    """Every array has one entry per position; shorter ones are ignored by readers, longer ones cut."""
    if splat.count == 0:
        yield "there are no positions"
    for name in ("orientations", "scales", "opacities"):
        values = splat.values(name)
        if values is not None and len(values) != splat.count:
            yield f"{name} has {len(values)} entries for {splat.count} positions"


def degree_matches_coefficients(splat: SplatPrim) -> Iterator[str]:
    """The degree is authored (its fallback is 3) and there are N (degree + 1)^2 coefficients."""
    if splat.degree is None:
        yield "radiance:sphericalHarmonicsDegree is not authored, so readers assume 3"
        return
    values = splat.values(TWINS[-1])
    wanted = splat.count * (splat.degree + 1) ** 2
    if values is not None and len(values) != wanted:
        yield f"degree {splat.degree} needs {wanted} coefficients, there are {len(values)}"


def values_are_finite(splat: SplatPrim) -> Iterator[str]:
    """No NaN or infinity anywhere."""
    for name in TWINS:
        values = splat.values(name)
        if values is not None and not np.isfinite(values).all():
            yield f"{name} holds {int((~np.isfinite(values)).sum())} numbers that are not finite"


def orientations_are_unit(splat: SplatPrim) -> Iterator[str]:
    """Quaternions have length 1."""
    quats = splat.values("orientations")
    if quats is not None and len(quats):
        off = np.abs(np.linalg.norm(quats, axis=1) - 1.0)
        if not off.max() <= UNIT_TOLERANCE:
            yield f"{int((~(off <= UNIT_TOLERANCE)).sum())} quaternions are not unit, worst {off.max():.3g}"


def scales_are_positive(splat: SplatPrim) -> Iterator[str]:
    """Sigmas are linear and positive."""
    scales = splat.values("scales")
    if scales is not None and len(scales) and not scales.min() > 0:
        yield f"{int((~(scales > 0)).sum())} scales are zero or negative (log scales by mistake?)"


def opacities_are_in_range(splat: SplatPrim) -> Iterator[str]:
    """Opacities are linear, 0 to 1."""
    opacities = splat.values("opacities")
    if opacities is not None and len(opacities) and not (opacities.min() >= 0 and opacities.max() <= 1):
        yield f"opacities span {opacities.min():.3g} to {opacities.max():.3g} (logits by mistake?)"


def extent_holds_three_sigma(splat: SplatPrim) -> Iterator[str]:
    """The authored extent contains every p -+ 3 max(scale); no plug-in computes it for us."""
    extent = splat.prim.GetAttribute("extent").Get(Usd.TimeCode.EarliestTime())
    if extent is None or len(extent) != 2:
        yield "extent is not authored"
    elif splat.bounds is not None:
        gap = _outside(np.asarray(extent), splat.bounds)
        if not gap <= ROW_TOLERANCE:
            yield f"extent misses the {SIGMAS:g} sigma box by {gap:.4g} m"


def no_rotating_xform_above_sh(splat: SplatPrim) -> Iterator[str]:
    """Renderers do not rotate SH by the prim transform, so directional colour forbids rotations above the
    prim."""
    if splat.degree is None or splat.degree == 0:
        return
    matrix = UsdGeom.Xformable(splat.prim).ComputeLocalToWorldTransform(Usd.TimeCode.EarliestTime())
    rotation = np.asarray(matrix.RemoveScaleShear().ExtractRotationMatrix())
    if not np.abs(rotation - np.eye(3)).max() <= 1e-6:
        yield f"a transform above rotates this degree-{splat.degree} field; bake it into the splats"


def weight_rows_sum_to_one(splat: SplatPrim) -> Iterator[str]:
    """Skin weights are complete rows, not negative, each summing to 1."""
    skin = splat.influences()
    if skin is None:
        return
    indices, weights, size = skin
    if len(weights) != splat.count * size or len(indices) != len(weights):
        yield f"{len(indices)} joint indices, {len(weights)} weights for {splat.count} splats x {size}"
        return
    rows = weights.reshape(-1, size)
    if not (rows.min() >= 0 and np.abs(rows.sum(axis=1) - 1).max() <= 1e-4):
        yield f"weight rows are negative or do not sum to 1, worst sum {rows.sum(axis=1).max():.4g}"


def joint_indices_are_in_range(splat: SplatPrim) -> Iterator[str]:
    """Every influence names a joint of the inherited skeleton."""
    skin = splat.influences()
    if skin is None or splat.binding is None:
        return
    skeleton = splat.binding.GetInheritedSkeleton()
    if not skeleton:
        yield "skin weights are authored, but no skeleton is bound"
        return
    count = len(skeleton.GetJointsAttr().Get() or [])
    if len(skin[0]) and (skin[0].min() < 0 or skin[0].max() >= count):
        yield f"joint indices span {skin[0].min()} to {skin[0].max()}, the skeleton has {count} joints"


def colour_space_is_valid(splat: SplatPrim) -> Iterator[str]:
    """A stated colour space is one that Gf.ColorSpace knows."""
    if not splat.prim.HasAPI(Usd.ColorSpaceAPI):
        return
    token = Usd.ColorSpaceAPI(splat.prim).GetColorSpaceNameAttr().Get()
    if not token or not Gf.ColorSpace.IsValid(token):
        yield f"colour space {token!r} is unknown to USD"


def blend_shape_rows_fit(splat: SplatPrim) -> Iterator[str]:
    """Sparse shapes name existing splats, once each, with one offset and one extra delta per row."""
    for shape in splat.shape_targets():
        index = np.asarray(shape.GetAttribute("pointIndices").Get() or [], np.int64)
        if len(index) and (index.min() < 0 or index.max() >= splat.count):
            yield f"{shape.GetName()} names splat {index.max()} of {splat.count}"
        if len(np.unique(index)) != len(index):
            yield f"{shape.GetName()} names a splat twice"
        for name in ("offsets", "lca:orientationOffsets", "lca:scaleOffsets", "lca:dcOffsets"):
            attribute = shape.GetAttribute(name)
            values = attribute.Get() if attribute and attribute.HasAuthoredValue() else None
            if values is not None and len(values) != len(index):
                yield f"{shape.GetName()}: {name} has {len(values)} rows for {len(index)} splats"


def blend_shape_targets_are_outside_variants(splat: SplatPrim) -> Iterator[str]:
    """Shape prims are authored outside variants: engines do not follow relationships into them."""
    for shape in splat.shape_targets():
        if all(spec.path.ContainsPrimVariantSelection() for spec in shape.GetPrimStack()):
            yield f"{shape.GetPath()} exists only inside a variant"


def blend_shape_targets_match_names(splat: SplatPrim) -> Iterator[str]:
    """There is one target prim for every blend-shape name."""
    if splat.binding is None:
        return
    names = splat.binding.GetBlendShapesAttr().Get() or []
    targets = splat.binding.GetBlendShapeTargetsRel().GetTargets()
    missing = len(targets) - len(list(splat.shape_targets()))
    if len(names) != len(targets) or missing:
        yield f"{len(names)} shape names, {len(targets)} targets, {missing} of them missing"


def skel_root_extent_holds_motion(splat: SplatPrim) -> Iterator[str]:
    """The SkelRoot's extent contains the skinned p -+ 3 sigma at (a spread of) its samples."""
    root = UsdSkel.Root.Find(splat.prim)
    if not root:
        return
    extent = root.GetExtentAttr()
    times = [Usd.TimeCode(time) for time in extent.GetTimeSamples()] or [Usd.TimeCode.Default()]
    boxes = [(times[k], extent.Get(times[k])) for k in spread(len(times), MAX_MOTION_SAMPLES)]
    known = [(time, box) for time, box in boxes if box is not None and len(box) == 2]
    for (time, _), gap in zip(known, posed_gap(splat, known)):
        if not gap <= ROW_TOLERANCE:
            yield f"at {time} the skinned splats leave the SkelRoot's extent by {gap:.4g} m"


def spread(count: int, most: int) -> list[int]:
    """At most about ``most`` evenly spaced numbers of ``range(count)``; a larger ``most`` keeps the
    smaller's."""
    step = 1
    while count > step * most:
        step *= 2
    return list(range(0, count, step))


def posed_gap(splat: SplatPrim, boxes: Sequence[tuple[Usd.TimeCode, Vt.Vec3fArray]]) -> Iterator[float]:
    """For each (time, extent): by how many metres p -+ 3 sigma, posed by UsdSkel, sticks out; nothing if not
    skinned."""
    scales = splat.values("scales")
    root = UsdSkel.Root.Find(splat.prim)
    if not root or scales is None or splat.influences() is None or splat.bounds is None:
        return
    cache = UsdSkel.Cache()
    cache.Populate(root, Usd.TraverseInstanceProxies())
    query = cache.GetSkinningQuery(splat.prim)
    bound = UsdSkel.BindingAPI(splat.prim).GetInheritedSkeleton()
    skeleton = cache.GetSkelQuery(bound) if bound else None
    if not query or not skeleton:
        return
    for time, box in boxes:
        points = arrays.vec3f(splat.positions)
        transforms = skeleton.ComputeSkinningTransforms(time)
        if not transforms or not query.ComputeSkinnedPoints(transforms, points, time):
            return
        yield _outside(np.asarray(box), splat_bounds(np.asarray(points), scales))


RULES: tuple[Callable[[SplatPrim], Iterator[str]], ...] = (
    exactly_one_twin,
    array_lengths_agree,
    degree_matches_coefficients,
    values_are_finite,
    orientations_are_unit,
    scales_are_positive,
    opacities_are_in_range,
    extent_holds_three_sigma,
    no_rotating_xform_above_sh,
    weight_rows_sum_to_one,
    joint_indices_are_in_range,
    colour_space_is_valid,
    blend_shape_rows_fit,
    blend_shape_targets_are_outside_variants,
    blend_shape_targets_match_names,
    skel_root_extent_holds_motion,
)


def _outside(extent: npt.NDArray[Any], box: tuple[npt.NDArray[Any], npt.NDArray[Any]]) -> float:
    """How far ``box`` (low, high) sticks out of ``extent`` (2,3), in metres; 0 or less is inside."""
    return float(max((extent[0] - box[0]).max(), (box[1] - extent[1]).max()))
