"""The measurements of ``benchmarks/usd.py``: ``python -m parts.usd_measures AVATAR FOLDER`` prints one line
``MEASURED {json}``."""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pxr import Usd

from lca_bridge.wire.package import AvatarPackage, read_package
from lca_bridge.wire.skin import PosedSplats
from lca_core.splat import render
from lca_usd import export_usd
from lca_usd.asset import Splats, load_asset
from lca_usd.export import build_crate
from lca_usd.planar import decode_planar, encode_planar
from lca_usd.ply import ply_bytes
from lca_usd.rules import SplatPrim
from lca_usd.splats import BODY, FLOAT, HALF, define_rigid_splats
from lca_usd.spz import decode_spz, encode_spz
from lca_usd.stage import Layout
from parts.machine import say
from parts.peers import NVIDIA_CONVERTER, SOG_WRITER, install

SIZE = (512, 768)
DEGREES = (0, 3)
CPU = time.process_time


def views(means: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Four body views and the face: viewmats (5,4,4), Ks (5,3,3)."""
    low, high = means.min(0), means.max(0)
    middle, top = (low + high) / 2, high[1]
    shots = [(yaw, middle, high[1] - low[1]) for yaw in (0, 90, 180, 270)]
    shots.append((15, np.array([middle[0], top - 0.13, middle[2]]), 0.3))
    mats, ks = [], []
    for yaw, target, height in shots:
        turn = np.radians(yaw)
        back = np.array([np.sin(turn), 0.0, np.cos(turn)])
        right, down = np.array([np.cos(turn), 0.0, -np.sin(turn)]), np.array([0.0, -1.0, 0.0])
        rotation = np.stack([right, down, -back])
        distance = 2.2 * height
        mat = np.eye(4)
        mat[:3, :3], mat[:3, 3] = rotation, -rotation @ (target + distance * back)
        focal = 0.9 * SIZE[1] * distance / height
        mats.append(mat)
        ks.append([[focal, 0, SIZE[0] / 2], [0, focal, SIZE[1] / 2], [0, 0, 1]])
    return torch.tensor(np.array(mats), dtype=torch.float32), torch.tensor(ks, dtype=torch.float32)


def pictures(
    splats: PosedSplats, cameras: tuple[torch.Tensor, torch.Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """(V,H,W,3) on black and (V,H,W) coverage."""
    degree = round(splats.sh.shape[1] ** 0.5) - 1
    arrays = (splats.means, splats.quats, splats.scales, splats.opacities, splats.sh)
    images, alphas, _ = render(
        *(torch.from_numpy(np.array(a, np.float32)) for a in arrays),
        *cameras,
        *SIZE,
        sh_degree=degree,
    )
    return images.numpy(), alphas.numpy()[..., 0]


def psnr(splats: PosedSplats, truth: tuple[np.ndarray, np.ndarray], cameras: Any) -> float:
    """Foreground PSNR in dB, mean over the views; colours clipped to 0..1."""
    seen, _ = pictures(splats, cameras)
    values = []
    for image, wanted, cover in zip(seen, *truth):
        error = (np.clip(image, 0, 1) - np.clip(wanted, 0, 1))[cover > 0.5]
        values.append(-10 * np.log10(max(float(np.mean(error.astype(np.float64) ** 2)), 1e-20)))
    return float(np.mean(values))


def at_degree(package: AvatarPackage, degree: int) -> AvatarPackage:
    """The package with smooth view-dependent colour of this degree (plus noise), as trained splats have."""
    if degree == 0:
        return package
    canonical = package.canonical
    rng = np.random.default_rng(3)
    count, bands = len(canonical.means), (degree + 1) ** 2
    waves = rng.normal(0, 3, (3, 8))
    smooth = np.sin(canonical.means @ waves) @ rng.normal(0, 0.02, (8, (bands - 1) * 3))
    rest = smooth.reshape(count, bands - 1, 3) + rng.normal(0, 0.01, (count, bands - 1, 3))
    sh = np.concatenate([canonical.sh[:, :1], rest], axis=1).astype(np.float32)
    changed = replace(package)
    changed.__dict__["canonical"] = replace(canonical, sh=sh)
    return changed


def plain(splats: Splats) -> PosedSplats:
    return PosedSplats(splats.means, splats.quats, splats.scales, splats.opacities, splats.sh)


def from_stage(path: Path) -> PosedSplats:
    """The splats as any reader finds them in a USD file."""
    stage = Usd.Stage.Open(str(path))
    splat = SplatPrim(stage.GetPrimAtPath(BODY))
    read = {name: splat.values(name) for name in ("orientations", "scales", "opacities")}
    sh = splat.values("radiance:sphericalHarmonicsCoefficients")
    assert sh is not None and all(value is not None for value in read.values())
    sh = sh.reshape(splat.count, -1, 3)
    return PosedSplats(splat.positions, read["orientations"], read["scales"], read["opacities"], sh)  # type: ignore[arg-type]


def timed(step: Callable[[], Any], repeats: int = 3, clock: Callable[[], float] = time.perf_counter) -> float:
    """Median seconds of the clock, wall time by default."""
    seconds = []
    for _ in range(repeats):
        start = clock()
        step()
        seconds.append(clock() - start)
    return statistics.median(seconds)


def write_float_usdc(splats: Splats, path: Path) -> None:
    """What NVIDIA's converter writes: one splat prim, floats."""
    path.unlink(missing_ok=True)
    stage = Usd.Stage.CreateNew(str(path))
    define_rigid_splats(stage, "/splats", splats, FLOAT)
    stage.GetRootLayer().Save()


def quietly(call: Callable[..., Any], *args: Any) -> None:
    """Peers report progress on standard output, which is ours to keep clean."""
    with contextlib.redirect_stdout(sys.stderr):
        call(*args)


def nvidia(splats: Splats, folder: Path) -> dict[str, Any]:
    """Their writer and ours on the same splats in memory, to a usdc; process start and reading left out.

    Processor time of one thread, so that other load on the machine favours neither.
    """
    try:
        sys.path.insert(0, str(install(NVIDIA_CONVERTER, "usd_convert_gsplat/usd_writer.py")))
        from usd_convert_gsplat import read_ply, write_gaussian_splat_usd
    except (RuntimeError, ImportError) as error:
        return {"ratio": None, "reason": str(error)}
    ply = folder / "cloud.ply"
    ply.write_bytes(ply_bytes(plain(splats)))
    data = read_ply(str(ply))
    theirs = timed(lambda: quietly(write_gaussian_splat_usd, data, str(folder / "theirs.usdc")), 3, CPU)
    ours = timed(lambda: write_float_usdc(splats, folder / "ours.usdc"), 9, CPU)
    return {
        "ratio": theirs / ours,
        "theirs_cpu_s": theirs,
        "ours_cpu_s": ours,
        "theirs_mb": (folder / "theirs.usdc").stat().st_size / 1e6,
        "ours_mb": (folder / "ours.usdc").stat().st_size / 1e6,
        "version": NVIDIA_CONVERTER,
    }


def sog(splats: Splats, folder: Path) -> dict[str, Any]:
    """SOG of the same cloud by the PyPI writer."""
    try:
        sys.path.insert(0, str(install(SOG_WRITER, "SogPython/sog_writer.py")))
        from SogPython.sog_writer import convert_ply_to_sog
    except (RuntimeError, ImportError) as error:
        return {"mb": None, "reason": str(error)}
    ply = folder / "cloud.ply"
    ply.write_bytes(ply_bytes(plain(splats)))
    start = time.perf_counter()
    quietly(convert_ply_to_sog, str(ply), str(folder / "cloud.sog"))
    return {
        "mb": (folder / "cloud.sog").stat().st_size / 1e6,
        "s": time.perf_counter() - start,
        "version": SOG_WRITER,
    }


def tiers(package: AvatarPackage, folder: Path) -> dict[str, Any]:
    """Sizes, PSNR and times of every tier of one avatar."""
    floats = load_asset(package, snap=False)
    cameras = views(floats.splats.means)
    truth = pictures(plain(floats.splats), cameras)
    path = folder / "a.usdc"
    asset = load_asset(package)
    crate = build_crate(asset, Layout(("splat",)), path)
    found: dict[str, Any] = {
        "splats": len(asset.splats),
        "tier_a": {"mb": crate / 1e6, "psnr_db": psnr(from_stage(path), truth, cameras)},
    }
    full = folder / "full.usdz"
    found["export_s"] = timed(lambda: export_usd(package, full))
    found["usdz_with_mesh_and_texture_mb"] = full.stat().st_size / 1e6
    wrapped = export_usd(package, folder / "full.usdz.zst")
    found["tier_b_mb"] = wrapped.total_bytes / 1e6
    rest = plain(asset.splats)
    for name, encode, decode in (
        ("planar", encode_planar, decode_planar),
        ("spz", encode_spz, decode_spz),
    ):
        start = time.perf_counter()
        data = encode(rest)
        seconds = time.perf_counter() - start
        found[name] = {"mb": len(data) / 1e6, "s": seconds, "psnr_db": psnr(decode(data), truth, cameras)}
    lone = folder / "lone.usdc"
    lone.unlink(missing_ok=True)
    stage = Usd.Stage.CreateNew(str(lone))
    define_rigid_splats(stage, "/splats", asset.splats, HALF)
    stage.GetRootLayer().Save()
    found["splats_alone_mb"] = lone.stat().st_size / 1e6
    return found


def main(avatar: str, out: str) -> None:
    folder = Path(out)
    package = read_package(avatar)
    by_degree = {}
    for degree in DEGREES:
        say(f"degree {degree}")
        by_degree[degree] = tiers(at_degree(package, degree), folder)
    cloud = load_asset(package).splats
    say("peers: NVIDIA's converter, SOG")
    converter, packed = nvidia(cloud, folder), sog(cloud, folder)
    flat, full = by_degree[0], by_degree[3]
    result = {
        "tier_a_mb_sh0": flat["tier_a"]["mb"],
        "tier_a_mb_sh3": full["tier_a"]["mb"],
        "tier_a_psnr_db": min(flat["tier_a"]["psnr_db"], full["tier_a"]["psnr_db"]),
        "tier_c_mb_sh0": flat["planar"]["mb"],
        "tier_c_psnr_db": flat["planar"]["psnr_db"],
        "export_s": max(flat["export_s"], full["export_s"]),
        "over_nvidia_converter": converter["ratio"],
        "spz_mb_sh0": flat["spz"]["mb"],
        "sog_mb_sh0": packed["mb"],
        "degrees": {str(degree): values for degree, values in by_degree.items()},
        "nvidia_converter": converter,
        "sog": packed,
    }
    print("MEASURED " + json.dumps(result, allow_nan=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
