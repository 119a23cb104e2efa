"""Levels of detail: nested prefixes of one order, evenly thinned, the coarser levels drawn larger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pxr import Usd

from lca_usd import export_usd
from lca_usd.asset import load_asset
from lca_usd.lod import by_level, importance, level, level_of


def test_levels_nest_and_keep_the_most_important_of_each_group(plain: Any) -> None:
    splats = load_asset(plain.path).splats
    levels = level_of(splats.scales, splats.opacities)
    value = importance(splats.scales, splats.opacities)
    for start in range(0, len(splats) - len(splats) % 16, 16):
        group = levels[start : start + 16]
        assert (group == 2).sum() == 1 and (group >= 1).sum() == 4
        assert value[start : start + 16][group == 2] == value[start : start + 16].max()
    for start in range(0, len(splats) - len(splats) % 4, 4):
        kept = levels[start : start + 4] >= 1
        assert value[start : start + 4][kept] == value[start : start + 4].max()


def test_sorting_by_level_permutes_everything_alike(plain: Any) -> None:
    before = load_asset(plain.path).splats
    after, levels = by_level(before)
    assert levels.counts[0] == len(before) and list(levels.counts) == sorted(levels.counts, reverse=True)
    assert levels.factors[0] == 1 and list(levels.factors) == sorted(levels.factors)
    assert sorted(after.source) == sorted(before.source)
    where = {row: i for i, row in enumerate(before.source)}
    back = np.array([where[row] for row in after.source])
    for name in ("means", "quats", "scales", "opacities", "sh", "joint_indices", "joint_weights"):
        assert np.array_equal(getattr(after, name), getattr(before, name)[back])
    for old, new in zip(before.shapes, after.shapes):
        assert list(new.index) == sorted(new.index)
        dense_old, dense_new = np.zeros((len(before), 3)), np.zeros((len(before), 3))
        dense_old[old.index], dense_new[new.index] = old.offsets, new.offsets
        assert np.array_equal(dense_new, dense_old[back])


def test_a_level_covers_as_much_as_all(plain: Any) -> None:
    splats, levels = by_level(load_asset(plain.path).splats)
    whole = importance(splats.scales, splats.opacities).sum()
    for number, count in enumerate(levels.counts):
        part = level(splats, levels, number)
        assert len(part) == count
        assert np.isclose(importance(part.scales, part.opacities).sum(), whole, rtol=1e-4)
        assert all(shape.index.max(initial=-1) < count for shape in part.shapes)


def test_file_holds_prefix_counts_and_one_prim_per_level(plain: Any, tmp_path: Path) -> None:
    export_usd(plain.path, tmp_path / "a.usdc", preset="engine")
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    root = stage.GetDefaultPrim()
    body = stage.GetPrimAtPath("/Avatar/Geom/Splats/body")
    counts = list(body.GetAttribute("lca:lod:counts").Get())
    factors = np.asarray(body.GetAttribute("lca:lod:scaleFactors").Get())
    means = np.asarray(body.GetAttribute("positions").Get())
    scales = np.asarray(body.GetAttribute("scalesh").Get(), np.float32)
    assert counts[0] == len(means)
    chosen = root.GetVariantSet("lod")
    assert chosen.GetVariantNames() == ["lod0", "lod1", "lod2"]
    for number, name in enumerate(chosen.GetVariantNames()):
        chosen.SetVariantSelection(name)
        drawn = [p for p in stage.Traverse() if str(p.GetTypeName()) == "ParticleField3DGaussianSplat"]
        assert len(drawn) == 1
        part = drawn[0]
        assert np.array_equal(np.asarray(part.GetAttribute("positions").Get()), means[: counts[number]])
        wanted = scales[: counts[number]] * factors[number]
        assert np.allclose(np.asarray(part.GetAttribute("scalesh").Get(), np.float32), wanted, rtol=2e-3)
        shapes = [p for p in Usd.PrimRange(part) if p.GetTypeName() == "BlendShape"]
        assert len(shapes) == 52
