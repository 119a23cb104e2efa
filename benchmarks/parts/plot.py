"""Bar charts of the benchmark documents, with matplotlib (extra ``bench``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def _axes(title: str) -> tuple[Any, Any]:
    try:
        import matplotlib
    except ImportError as error:
        raise SystemExit("The plot needs matplotlib: pip install 'lca-bridge[bench]'.") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.2), layout="constrained")
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def plot_splat(report: dict[str, Any], path: Path) -> None:
    """Forward and backward per case, and the peer in the subtitle."""
    figure, axes = _axes(f"CPU rendering, one thread, {report['environment']['cpu']}")
    cases = report["cases"]
    names = [f"{round(c['gaussians'] / 1000)}k\n{c['size']} px\n{c['mode']}" for c in cases]
    for shift, key, colour in (
        (-0.27, "frame", "#9db4c0"),
        (0, "forward", "#2f6690"),
        (0.27, "backward", "#d97b29"),
    ):
        bars = axes.bar(
            [i + shift for i in range(len(cases))], [c[f"{key}_core_ms"] for c in cases], 0.25,
            label={"frame": "frame (no gradients)"}.get(key, key), color=colour,
        )  # fmt: skip
        axes.bar_label(bars, fmt="%.0f", fontsize=7)
    axes.set_xticks(range(len(cases)), names, fontsize=8)
    axes.set_ylabel("core-ms, median")
    ratio = report.get("vs_metal_gauss_20k_256")
    if ratio:
        axes.set_xlabel(
            f"metal-gauss torch_ref, forward + backward, 20k @ 256: {ratio:.0f} times slower", fontsize=8
        )
    axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def plot_animate(report: dict[str, Any], path: Path) -> None:
    """Fused, step by step, and fused with a picture."""
    figure, axes = _axes(f"Pose in, 65k Gaussians out, one thread, {report['environment']['cpu']}")
    keys = {
        "fused": "fused numba", "stepwise": "step by step (torch, numpy)",
        "fused_and_picture_512": "fused + 512x512 picture",
    }  # fmt: skip
    bars = axes.barh(list(keys.values()), [report["cpu"][f"{k}_core_ms"] for k in keys], color="#2f6690")
    axes.bar_label(bars, fmt="%.1f", fontsize=8)
    axes.set_xlabel("core-ms, median")
    _save(figure, path)
