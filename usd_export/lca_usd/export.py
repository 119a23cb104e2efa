"""Exports an avatar to USD: `.lca` in, a validated `.usdz` or `.usdc` out, and shots that play a motion on
it.

Every export is built in a temporary folder, validated there with every representation selected, and only then
renamed into place; an error leaves the old file as it was.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pxr import Usd, UsdGeom, UsdSkel

from lca.errors import InvalidInputError, LcaError
from lca_bridge.wire.package import AvatarPackage
from lca_usd import skeleton, transport
from lca_usd.asset import Asset, load_asset, without_splats
from lca_usd.files import staging, write_usdz
from lca_usd.lod import with_levels
from lca_usd.motion import Clip, MotionLike, SkelFrames, read_motion, rest_clip, skel_frames
from lca_usd.posed import posed_splats
from lca_usd.rules import SplatPrim, posed_gap, spread
from lca_usd.sidecar import SideCar, write_sidecars
from lca_usd.splats import BODY, FLOAT, GROUP, POINTS, Precision, author_posed_points
from lca_usd.stage import (
    ROOT,
    VARIANT_SET,
    Layout,
    author_stage_metadata,
    build_stage,
    skel_root_extent,
)
from lca_usd.validate import ERROR, Issue, validate

PRESETS: dict[str, Layout] = {
    "usd": Layout(),
    "float": Layout(precision=FLOAT),
    "small": Layout(precision=Precision(positions=True), splat_deltas=False),
    "blender": Layout(("pointsMesh", "proxyMesh", "points", "splat")),
    "apple": Layout(("proxyMesh",)),
    "engine": Layout(lods=True, sidecars=("zstd", "spz")),
    "unreal": Layout(("proxyMesh", "splat", "both"), sidecars=("spz",)),
    "unity": Layout(("proxyMesh", "splat", "both"), sidecars=("deflate",)),
    "web": Layout(("splat", "proxyMesh"), splat_deltas=False),
}
"""usd: Tier A, half twins, float positions. float: no halfs. small: half positions too, shapes move positions
only. blender: opens with Points that carry every splat attribute, and the mesh. apple: the skinned proxy mesh
alone. engine: levels of detail (prefix and variants) and both side-cars. unreal: opens as the skinned mesh
Unreal imports, splats as the SPZ it ingests. unity: the same with a side-car that .NET unpacks by itself.
web: the least a browser needs."""

TEXTURE = "proxy.png"
MARGIN_ROUNDS, MARGIN_FRAMES = 4, 96
MAX_POINT_FRAMES = 300
"""28 bytes for every point and frame: 500 MB for 60,000 points."""


class UsdInvalidError(LcaError):
    """An export did not pass validation; nothing was written. ``issues`` holds the findings."""

    default_reason = "USD_INVALID"

    def __init__(self, issues: Sequence[Issue]) -> None:
        first = "; ".join(str(issue) for issue in issues[:5])
        super().__init__(
            f"The USD export failed {len(issues)} validation checks and was not written: {first}. "
            "Please report this with the avatar file."
        )
        self.issues = tuple(issues)


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        path: the file to open; files: every file written, with bytes.
        gaussians: splat count.
        unwrapped_bytes: bytes of the USD files before a ``.usdz.zst`` wrapping.
        mesh_bytes: what the rig and the proxy mesh with its texture cost of those; the rest are splats.
        representations: variants in the file, the selected one first.
        frames: animation frames, 0 for an avatar at rest.
        quantisation: largest error of each splat attribute against the package, in the unit its key names.
        issues: findings of the validators that are not errors.
        sidecars: compressed splat files written beside it, with bytes; not part of ``total_bytes``.
    """

    path: Path
    preset: str
    files: dict[str, int]
    gaussians: int
    representations: tuple[str, ...]
    frames: int = 0
    unwrapped_bytes: int = 0
    mesh_bytes: int = 0
    quantisation: dict[str, float] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()
    sidecars: dict[str, int] = field(default_factory=dict)

    @property
    def total_bytes(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())

    @property
    def bytes_per_splat(self) -> float:
        """Bytes of splats with their skin and shapes (unwrapped), over the splat count; 0 for an export
        without splats."""
        return (self.unwrapped_bytes - self.mesh_bytes) / self.gaussians

    def summary(self) -> str:
        """A few lines for a terminal or a job log."""
        lines = [
            f"{self.path.name}: {self.total_bytes / 1024:.0f} KiB, preset {self.preset}, "
            f"{' | '.join(self.representations)}",
            f"{self.gaussians} splats at {self.bytes_per_splat:.1f} B/splat; rig, mesh and texture "
            f"{self.mesh_bytes / 1024:.0f} KiB",
        ]
        if self.frames:
            lines.append(f"{self.frames} frames")
        lines += [f"side-car {name}: {size / 1024:.0f} KiB" for name, size in self.sidecars.items()]
        if self.quantisation:
            lines.append(
                "largest rounding: " + ", ".join(f"{k} {v:.3g}" for k, v in self.quantisation.items())
            )
        lines += [f"note: {issue}" for issue in self.issues]
        return "\n".join(lines)


def export_usd(
    package: str | os.PathLike[str] | AvatarPackage,
    out_path: str | os.PathLike[str],
    *,
    preset: str = "usd",
    representation: str | None = None,
    pose_shapes: bool = False,
) -> ExportReport:
    """Write an avatar as a rigged USD asset.

    Args:
        package: path of an ``.lca`` file, or an opened one.
        out_path: ``.usdz`` (one file), ``.usdc`` (with its texture in ``<stem>_textures/``) or ``.usdz.zst``
            (for transport, about a tenth smaller; unpack before opening).
        preset: a key of :data:`PRESETS`.
        representation: the variant selected on opening; default is the preset's first.
        pose_shapes: also write the pose correctives, as shapes ``pose_pca_NN`` of the splats (large).

    Returns:
        what was written, with sizes and rounding errors.

    Raises:
        InvalidInputError: unknown preset, representation or file ending; the avatar lacks the proxy mesh it
            needs.
        UsdInvalidError: the result did not validate; nothing is written.
        LcaError: what the package reader raises.
    """
    target = Path(out_path)
    _check_suffix(target)
    layout = _layout(preset, representation)
    asset = _fitting(load_asset(package, pose_shapes=pose_shapes), layout)
    with staging(target) as work:
        sidecars = write_sidecars(asset.splats, layout.sidecars, work, _stem(target))
        files = _write_asset(asset, layout, _stage_name(target), work, sidecars)
        mesh_bytes = _mesh_bytes(asset, layout, files, work)
        notes = validated(work / _stage_name(target))
        unwrapped = sum(files.values())
        files = _wrapped(target, work, files)
    return _report(target, preset, files, (unwrapped, mesh_bytes), asset, layout, 0, notes, sidecars)


def export_shot(
    package: str | os.PathLike[str] | AvatarPackage,
    motion: str | os.PathLike[str] | MotionLike,
    out_path: str | os.PathLike[str],
    *,
    preset: str = "usd",
    representation: str | None = None,
    pose_shapes: bool = False,
) -> ExportReport:
    """Write a shot: the avatar as an asset, and a small layer that references it and plays a motion on its
    skeleton.

    Args:
        motion: an ``.npz`` (see :func:`lca_usd.motion.read_motion`) or any object with its fields.
        out_path: ``.usdz`` holds both layers; ``.usdc`` refers to ``<stem>_avatar.usdc`` beside it.

    Other arguments, results and errors as in :func:`export_usd`; also InvalidInputError for a bad motion.
    """
    target = Path(out_path)
    _check_suffix(target)
    layout = _layout(preset, representation)
    clip = read_motion(motion)
    asset = _fitting(load_asset(package, pose_shapes=pose_shapes), layout)
    if POINTS in layout.groups and len(clip) > MAX_POINT_FRAMES:
        raise InvalidInputError(
            f"The motion has {len(clip)} frames. Preset {preset} writes every splat of every frame, at most "
            f"{MAX_POINT_FRAMES} of them: cut the motion, or take another preset."
        )
    frames = skel_frames(asset, clip)
    layout = replace(layout, margin=_margin_for(asset, layout, frames), skinned_points=False)
    with staging(target) as work:
        sidecars = write_sidecars(asset.splats, layout.sidecars, work, _stem(target))
        # Inside a package names are fixed, so that its bytes do not depend on what it is called.
        packed = not target.name.lower().endswith(".usdc")
        stem = "avatar" if packed else f"{target.stem}_avatar"
        crate = work / f"{stem}.usdc"
        files = _write_crate(asset, layout, crate, "textures" if packed else f"{stem}_textures", sidecars)
        shot = work / ("shot.usdc" if packed else target.name)
        _write_shot(asset, layout, frames, clip, crate.name, shot)
        shot_bytes = shot.stat().st_size
        files = {shot.name: shot_bytes, **files}
        if packed:
            files = _pack(work, _stage_name(target), list(files))
        # The shot layer drives both; it counts as rig.
        mesh_bytes = _mesh_bytes(asset, layout, files, work) + shot_bytes
        notes = validated(work / _stage_name(target))
        unwrapped = sum(files.values())
        files = _wrapped(target, work, files)
    return _report(target, preset, files, (unwrapped, mesh_bytes), asset, layout, len(clip), notes, sidecars)


def _write_asset(
    asset: Asset, layout: Layout, name: str, work: Path, sidecars: Sequence[SideCar]
) -> dict[str, int]:
    if name.lower().endswith(".usdz"):
        crate = work / "avatar.usdc"
        return _pack(work, name, list(_write_crate(asset, layout, crate, "textures", sidecars)))
    return _write_crate(asset, layout, work / name, f"{Path(name).stem}_textures", sidecars)


def _write_crate(
    asset: Asset, layout: Layout, crate: Path, texture_folder: str, sidecars: Sequence[SideCar] = ()
) -> dict[str, int]:
    """One avatar layer and its texture in the folder of ``crate``; returns sizes by relative name, the layer
    first."""
    files = {crate.name: 0}
    texture = None
    if asset.mesh is not None and asset.mesh.texture is not None and _needs_mesh(layout):
        image = crate.parent / texture_folder / TEXTURE
        image.parent.mkdir()
        image.write_bytes(asset.mesh.texture)
        texture = f"./{texture_folder}/{TEXTURE}"
        files[f"{texture_folder}/{TEXTURE}"] = len(asset.mesh.texture)
    stage = Usd.Stage.CreateNew(str(crate))
    build_stage(stage, asset, layout, skel_frames(asset, rest_clip()), texture, sidecars)
    stage.GetRootLayer().Save()
    files[crate.name] = crate.stat().st_size
    return files


def build_crate(asset: Asset, layout: Layout, path: Path) -> int:
    """One avatar layer without its texture at ``path``, not validated; returns its bytes."""
    path.unlink(missing_ok=True)
    stage = Usd.Stage.CreateNew(str(path))
    build_stage(stage, asset, layout, skel_frames(asset, rest_clip()), None)
    stage.GetRootLayer().Save()
    return path.stat().st_size


def _mesh_bytes(asset: Asset, layout: Layout, files: dict[str, int], work: Path) -> int:
    """Bytes of this export that are not splats, found by writing the same asset without them."""
    if not any(group.endswith(("/Splats", "/Points")) for group in layout.groups):
        return sum(files.values())
    with tempfile.TemporaryDirectory(dir=work.parent, prefix=f"{work.name}.") as folder:
        bare = replace(layout, representations=("proxyMesh",))
        return sum(_write_crate(asset, bare, Path(folder) / "bare.usdc", "textures").values())


def _write_shot(
    asset: Asset, layout: Layout, frames: SkelFrames, clip: Clip, avatar: str, path: Path
) -> None:
    stage = Usd.Stage.CreateNew(str(path))
    author_stage_metadata(stage, asset, clip.fps)
    stage.SetStartTimeCode(0)
    stage.SetEndTimeCode(len(frames) - 1)
    root = stage.DefinePrim(ROOT)
    root.GetReferences().AddReference(f"./{avatar}")
    stage.SetDefaultPrim(root)
    skeleton.author_samples(UsdSkel.Animation(stage.OverridePrim(skeleton.ANIMATION)), frames)
    if POINTS in layout.groups:
        author_posed_points(stage.OverridePrim(POINTS), posed_splats(asset, clip))
    if len(layout.representations) == 1:
        _author_extent_samples(root, len(frames))
    else:
        variants = root.GetVariantSets().AddVariantSet(VARIANT_SET)
        for name in layout.representations:
            variants.AddVariant(name)
            variants.SetVariantSelection(name)
            with variants.GetVariantEditContext():
                _author_extent_samples(root, len(frames))
        variants.SetVariantSelection(layout.representations[0])
    stage.GetRootLayer().Save()


def _margin_for(asset: Asset, layout: Layout, frames: SkelFrames) -> float:
    """The splat margin with which UsdSkel's estimate of the posed extent holds every frame of this motion.

    The estimate must stand as the plug-in computes it, so its input (the splats' bind extent) is widened
    instead.
    """
    if GROUP not in layout.groups:
        return layout.margin
    single = replace(layout, representations=("splat",))
    for _ in range(MARGIN_ROUNDS):
        stage = Usd.Stage.CreateInMemory()
        root = build_stage(stage, asset, single, frames, None)
        skeleton.author_samples(UsdSkel.Animation(stage.GetPrimAtPath(skeleton.ANIMATION)), frames)
        times = [Usd.TimeCode(frame) for frame in spread(len(frames), MARGIN_FRAMES)]
        splat = SplatPrim(stage.GetPrimAtPath(BODY))
        gap = max(posed_gap(splat, [(time, skel_root_extent(root, time)) for time in times]), default=0.0)
        if gap <= 0:
            break
        single = replace(single, margin=single.margin + gap + 0.001)
    return single.margin


def _author_extent_samples(root: Usd.Prim, count: int) -> None:
    extents = [skel_root_extent(root, Usd.TimeCode(frame)) for frame in range(count)]
    attribute = UsdGeom.Boundable(root).CreateExtentAttr()
    for frame, extent in enumerate(extents):
        attribute.Set(extent, frame)


def _pack(work: Path, name: str, parts: Sequence[str]) -> dict[str, int]:
    """Zip the parts into ``work/name``, the first part being the root layer, and remove them."""
    write_usdz(work / name, work, parts)
    for part in parts:
        (work / part).unlink()
    return {name: (work / name).stat().st_size}


def _wrapped(target: Path, work: Path, files: dict[str, int]) -> dict[str, int]:
    """For ``.usdz.zst`` replace the finished package by its transport wrapping."""
    inner = _stage_name(target)
    if inner == target.name:
        return files
    size = transport.wrap(work / inner, work / target.name)
    (work / inner).unlink()
    return {target.name: size}


def _stage_name(target: Path) -> str:
    """The name of the USD file itself: ``a.usdz`` for ``a.usdz.zst``."""
    return target.name[: -len(".zst")] if target.name.lower().endswith(transport.SUFFIX) else target.name


def _stem(target: Path) -> str:
    return Path(_stage_name(target)).stem


def validated(path: Path) -> tuple[Issue, ...]:
    """Findings about a finished export that are no errors; raises UsdInvalidError when some are."""
    issues = validate(path)
    errors = [issue for issue in issues if issue.severity == ERROR]
    if errors:
        raise UsdInvalidError(errors)
    return tuple(issues)


def _report(
    target: Path,
    preset: str,
    files: dict[str, int],
    sizes: tuple[int, int],
    asset: Asset,
    layout: Layout,
    frames: int,
    notes: tuple[Issue, ...],
    sidecars: Sequence[SideCar],
) -> ExportReport:
    return ExportReport(
        path=target,
        preset=preset,
        files=files,
        gaussians=len(asset.splats),
        representations=layout.representations,
        frames=frames,
        unwrapped_bytes=sizes[0],
        mesh_bytes=sizes[1],
        quantisation=quantisation(asset, layout.precision),
        issues=notes,
        sidecars={sidecar.name: sidecar.size for sidecar in sidecars},
    )


def quantisation(asset: Asset, precision: Precision) -> dict[str, float]:
    """Largest rounding error of each splat attribute against the package."""
    s, source = asset.splats, asset.package.canonical

    def rounded(values: Any, half: bool) -> Any:
        return np.asarray(values, np.float16 if half else np.float32).astype(np.float64)

    # Quaternions of w >= 0 rounded component by component keep their hemisphere, so the chord is the error.
    chord = np.linalg.norm(_unit(rounded(s.quats, precision.orientations)) - _unit(s.quats), axis=1)
    opacity = s.opacities - source.opacities[s.source]
    return {
        "position_mm": 1e3 * float(np.abs(rounded(s.means, precision.positions) - s.means).max()),
        "scale_percent": 100.0 * float(np.abs(rounded(s.scales, precision.scales) / s.scales - 1).max()),
        "rotation_deg": float(np.degrees(4 * np.arcsin(chord.max() / 2))),
        "opacity": float(np.abs(opacity).max()),
        "sh": float(np.abs(rounded(s.sh, precision.sh) - s.sh).max()),
    }


def _unit(quats: Any) -> Any:
    q = np.asarray(quats, np.float64)
    return q / np.linalg.norm(q, axis=1, keepdims=True)


def _check_suffix(target: Path) -> None:
    if not target.name.lower().endswith((".usdz", ".usdc", transport.SUFFIX)):
        raise InvalidInputError(
            f"{target.name} is not a USD file name; end it in .usdz, .usdc or {transport.SUFFIX}."
        )
    if set(target.name) & set("@[]#?") or not target.name.isprintable():
        raise InvalidInputError(
            f"{target.name!r} holds characters that USD asset paths cannot carry (@ [ ] # ?); rename it."
        )


def _layout(preset: str, representation: str | None) -> Layout:
    if preset not in PRESETS:
        raise InvalidInputError(f"There is no USD preset {preset!r}; choose one of {', '.join(PRESETS)}.")
    layout = PRESETS[preset]
    if representation is None:
        return layout
    if representation not in layout.representations:
        raise InvalidInputError(
            f"Preset {preset} has no representation {representation!r}; choose one of "
            f"{', '.join(layout.representations)}."
        )
    others = tuple(name for name in layout.representations if name != representation)
    return replace(layout, representations=(representation, *others))


def _needs_mesh(layout: Layout) -> bool:
    return any(group.endswith("/Proxy") for group in layout.groups)


def _fitting(asset: Asset, layout: Layout) -> Asset:
    if _needs_mesh(layout) and asset.mesh is None:
        raise InvalidInputError(
            "This avatar file holds no proxy mesh, which the export needs. Create the avatar again.",
            reason="NO_PROXY",
        )
    if not any(group.endswith("/Splats") for group in layout.groups):
        return without_splats(asset)
    return with_levels(asset) if layout.lods else asset
