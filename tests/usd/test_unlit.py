"""`lca export usd --unlit`: what arrives in the stage is the albedo, on splats and on the mesh's texture."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pxr import Usd

from lca_core.avatar.avatar import Avatar, Relight
from lca_core.avatar.light import KEY, to_linear, to_srgb

TINT = np.array([0.5, 0.8, 1.0])
"""Albedo over colour of the person below: photographed in light this much too red."""


@pytest.fixture(scope="module")
def photographed(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An avatar file whose albedo is its colour less a red light that was found."""
    folder = tmp_path_factory.mktemp("unlit")
    avatar = Avatar.load(template)
    colors = np.clip(0.5 + 0.28209479 * avatar.canonical.sh[:, 0], 0, 1)
    relight = Relight((to_linear(colors) * TINT).astype(np.float32), avatar.relight.transfer)
    found = {**avatar.provenance, KEY: {"input_light": [[1.0, 1.0, 1.0]] * 9}}
    replace(avatar, relight=relight, provenance=found).save(folder / "person.lca")
    return folder / "person.lca"


@pytest.fixture(scope="module")
def packages(photographed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What ``lca export usd`` writes of it, without and with ``--unlit``."""
    folder = tmp_path_factory.mktemp("stages")
    return export(photographed, folder / "lit.usdz"), export(photographed, folder / "bare.usdz", "--unlit")


def export(avatar: Path, out: Path, *more: str) -> Path:
    from lca_bridge.cli.main import main

    assert main(["export", "usd", str(avatar), str(out), *more, "--json"]) == 0
    return out


def texture(package: Path) -> np.ndarray:
    """The base colour picture of a .usdz as linear light."""
    with zipfile.ZipFile(package) as archive:
        name = next(n for n in archive.namelist() if n.lower().endswith((".png", ".jpg")))
        return np.asarray(
            to_linear(np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) / 255.0)
        )


def splat_colors(package: Path) -> np.ndarray:
    """Linear colours (N,3) of the splats of a stage, from the constant band of their harmonics."""
    opened = Usd.Stage.Open(str(package))
    splats = next(p for p in opened.Traverse() if p.GetTypeName() == "ParticleField3DGaussianSplat")
    degree = splats.GetAttribute("radiance:sphericalHarmonicsDegree").Get() or 0
    bands = splats.GetAttribute("radiance:sphericalHarmonicsCoefficientsh").Get()
    first = np.asarray(bands, np.float64).reshape(-1, (degree + 1) ** 2, 3)[:, 0]
    return np.asarray(to_linear(np.clip(0.5 + 0.28209479 * first, 0, 1)))


def test_unlit_splats_carry_the_albedo(photographed: Path, packages: tuple[Path, Path]) -> None:
    lit, bare = (splat_colors(package) for package in packages)
    want = np.asarray(Avatar.load(photographed).relight.albedo, np.float64)
    assert np.abs(to_srgb(np.sort(bare, 0)) - to_srgb(np.sort(want, 0))).max() < 0.01
    assert np.allclose(bare.mean(0) / lit.mean(0), TINT, atol=0.02)


def test_the_unlit_texture_lost_the_same_light(packages: tuple[Path, Path]) -> None:
    lit, bare = (texture(package) for package in packages)
    bright = lit.min(-1) > 0.1
    assert bright.mean() > 0.02
    assert np.allclose((bare[bright] / lit[bright]).mean(0), TINT, atol=0.06)
