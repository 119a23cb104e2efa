"""Baked splats: every frame of a motion as a value clip, for renderers that do not skin.

A shot layer holds one unbound ParticleField at rest and a clip per frame with its positions, orientations and
extent. Skin is left out on purpose: a reader that skins would pose the splats twice. It costs a thousand
times a skeleton shot (about 2 MB a frame for 100,000 splats), so bake hero shots, not performances.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from pxr import Sdf, Usd, UsdGeom

from lca.errors import InvalidInputError
from lca_bridge.wire.package import AvatarPackage
from lca_usd import arrays
from lca_usd.asset import Asset, load_asset
from lca_usd.export import ExportReport, quantisation, validated
from lca_usd.files import staging
from lca_usd.motion import Clip, MotionLike, read_motion
from lca_usd.posed import posed_splats
from lca_usd.splats import HALF, define_rigid_splats, splat_bounds
from lca_usd.stage import author_stage_metadata

ROOT, BODY = "/Shot", "/Shot/Splats"
MAX_FRAMES = 1000


def export_baked(
    package: str | os.PathLike[str] | AvatarPackage,
    motion: str | os.PathLike[str] | MotionLike,
    out_path: str | os.PathLike[str],
) -> ExportReport:
    """Write ``<name>.usdc`` and ``<stem>_clips/`` with one layer per frame.

    Colours of SH degree 0 do not change; expressions' colour changes are left to the skeleton shot.

    Raises:
        InvalidInputError: the name does not end in ``.usdc``, the avatar has view-dependent colour (its bands
            would have to turn in every frame), or the motion is bad or longer than 1000 frames.
        LcaError: what the package reader raises.
    """
    target = Path(out_path)
    if target.suffix.lower() != ".usdc":
        raise InvalidInputError(
            f"{target.name}: baked shots are a layer and a folder of clips; end it in .usdc."
        )
    clip = read_motion(motion)
    if len(clip) > MAX_FRAMES:
        raise InvalidInputError(
            f"The motion has {len(clip)} frames; at most {MAX_FRAMES} are baked. Cut it, or export without "
            "--bake."
        )
    asset = load_asset(package)
    if asset.splats.degree:
        raise InvalidInputError(
            "This avatar has view-dependent colour, which baked clips do not turn. Export without --bake."
        )
    folder = f"{target.stem}_clips"
    with staging(target) as work:
        (work / folder).mkdir()
        files = _write_clips(asset, clip, work, folder)
        _write_shot(asset, clip, work / target.name, folder)
        files = {target.name: (work / target.name).stat().st_size, **files}
        notes = validated(work / target.name)
    return ExportReport(
        path=target,
        preset="baked",
        files=files,
        gaussians=len(asset.splats),
        representations=("splat",),
        frames=len(clip),
        unwrapped_bytes=sum(files.values()),
        quantisation=quantisation(asset, HALF),
        issues=notes,
    )


def _write_clips(asset: Asset, clip: Clip, work: Path, folder: str) -> dict[str, int]:
    files = {}
    for frame, posed in enumerate(posed_splats(asset, clip)):
        name = f"{folder}/splat.{frame:04d}.usdc"
        layer = Sdf.Layer.CreateNew(str(work / name))
        stage = Usd.Stage.Open(layer)
        prim = stage.OverridePrim(BODY)
        # Sizes stay those of the asset, as halfs; the box holds them and those of the frame.
        sizes = np.maximum(posed.scales, asset.splats.scales * (1 + 2.0**-10))
        low, high = splat_bounds(posed.means, sizes)
        for attribute, kind, value in _moving(posed.means, posed.quats, low, high):
            prim.CreateAttribute(attribute, kind, False).Set(value, frame)
        layer.Save()
        files[name] = (work / name).stat().st_size
    return files


def _moving(means: np.ndarray, quats: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[tuple]:
    """The animated attributes, in the twins the asset uses: where both exist the float one wins."""
    types = Sdf.ValueTypeNames
    return [
        ("positions", types.Point3fArray, arrays.vec3f(means)),
        ("orientationsh", types.QuathArray, arrays.quath(quats)),
        ("extent", types.Float3Array, arrays.bounds(low, high)),
    ]


def _write_shot(asset: Asset, clip: Clip, path: Path, folder: str) -> None:
    stage = Usd.Stage.CreateNew(str(path))
    author_stage_metadata(stage, asset, clip.fps)
    stage.SetStartTimeCode(0)
    stage.SetEndTimeCode(len(clip) - 1)
    root = UsdGeom.Xform.Define(stage, ROOT).GetPrim()
    stage.SetDefaultPrim(root)
    prim = define_rigid_splats(stage, BODY, asset.splats, HALF)
    clips = Usd.ClipsAPI(prim)
    names = [f"./{folder}/splat.{frame:04d}.usdc" for frame in range(len(clip))]
    clips.SetClipAssetPaths([Sdf.AssetPath(name) for name in names])
    clips.SetClipPrimPath(BODY)
    times = [(float(frame), float(frame)) for frame in range(len(clip))]
    clips.SetClipActive(times)
    clips.SetClipTimes(times)
    manifest = Sdf.Layer.CreateNew(str(path.parent / folder / "manifest.usdc"))
    described = Usd.Stage.Open(manifest)
    listed = described.OverridePrim(BODY)
    nothing = np.zeros((1, 3), np.float32)
    for name, kind, _ in _moving(nothing, np.eye(1, 4, dtype=np.float32), nothing[0], nothing[0]):
        listed.CreateAttribute(name, kind, False)
    manifest.Save()
    clips.SetClipManifestAssetPath(Sdf.AssetPath(f"./{folder}/manifest.usdc"))
    # The time samples of clips come after local opinions; what moves must not be authored here.
    for name in ("positions", "orientationsh", "extent"):
        prim.GetAttribute(name).Clear()
    stage.GetRootLayer().Save()
