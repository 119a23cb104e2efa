"""How fast the CPU renderer is, and how far from the float64 oracle it lies.

Run ``python benchmarks/splat.py [--quick] [--json FILE]``. Scene: a figure of six capsules, 1.75 m tall,
dressed in flat colours,
covered with randomly turned Gaussians of opacity 0.9. Times are medians in milliseconds: process CPU time
("core") and wall
clock. Every run also renders a tiny scene with the torch oracle and reports speed and error side by side.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numba
import torch
from torch import Tensor

from lca_core.splat import GaussianSet, intrinsics, look_at, render, skin_gaussians, warmup
from lca_core.splat.skinning import skin_gaussians_torch

CAPSULES = [  # start, end, radius (metres), colour
    ((0.0, 0.95, 0.0), (0.0, 1.40, 0.0), 0.17, (0.20, 0.35, 0.60)),
    ((0.0, 1.60, 0.0), (0.0, 1.66, 0.0), 0.09, (0.75, 0.58, 0.48)),
    ((0.10, 0.88, 0.0), (0.12, 0.08, 0.0), 0.08, (0.18, 0.18, 0.22)),
    ((-0.10, 0.88, 0.0), (-0.12, 0.08, 0.0), 0.08, (0.18, 0.18, 0.22)),
    ((0.21, 1.38, 0.0), (0.52, 0.95, 0.0), 0.05, (0.20, 0.35, 0.60)),
    ((-0.21, 1.38, 0.0), (-0.52, 0.95, 0.0), 0.05, (0.20, 0.35, 0.60)),
]
CASES = [  # Gaussians, image size, scale mode
    (20_000, 256, "1cm"),
    (50_000, 512, "1cm"),
    (100_000, 512, "1cm"),
    (100_000, 512, "spacing"),
    (100_000, 1024, "1cm"),
    (200_000, 1024, "spacing"),
]


def figure(count: int, mode: str, seed: int = 0) -> GaussianSet:
    """About ``count`` Gaussians on the capsules, evenly per area.

    Args:
        mode: "1cm" = standard deviation 1 cm at any count; "spacing" = 0.8 x the distance between neighbours.
    """
    g = torch.Generator().manual_seed(seed)
    areas = [2 * math.pi * r * (math.dist(a, b) + 2 * r) for a, b, r, _ in CAPSULES]
    points, colours = [], []
    for (start, end, radius, colour), area in zip(CAPSULES, areas, strict=True):
        n = round(count * area / sum(areas))
        length = math.dist(start, end)
        axis = (torch.tensor(end) - torch.tensor(start)) / length
        ball = torch.nn.functional.normalize(torch.randn(n, 3, generator=g), dim=1)
        on_side = torch.rand(n, 1, generator=g) < length / (length + 2 * radius)
        side = torch.nn.functional.normalize(ball - (ball @ axis)[:, None] * axis, dim=1)
        along = torch.rand(n, 1, generator=g) * length
        at_end = (ball @ axis > 0).float()[:, None] * length
        offset = torch.where(on_side, along * axis + radius * side, at_end * axis + radius * ball)
        points.append(torch.tensor(start) + offset)
        colours.append((torch.tensor(colour) + 0.05 * torch.randn(n, 3, generator=g)).clamp(0, 1))
    means = torch.cat(points)
    n = means.shape[0]
    size = 0.01 if mode == "1cm" else 0.8 * math.sqrt(sum(areas) / n)
    scales = size * torch.exp(0.25 * torch.randn(n, 3, generator=g)) * torch.tensor([1.0, 1.0, 0.5])
    quats = torch.randn(n, 4, generator=g)
    return GaussianSet.from_colors(means, quats, scales, torch.full((n,), 0.9), torch.cat(colours))


def camera(size: int) -> tuple[Tensor, Tensor]:
    """The whole figure in a square image: viewmats (1, 4, 4), Ks (1, 3, 3)."""
    return look_at((0.0, 0.88, 3.0), (0.0, 0.88, 0.0))[None], intrinsics(34.0, size, size)[None]


class Clock:
    """CPU and wall time of named phases, repeated."""

    def __init__(self) -> None:
        self.core: dict[str, list[float]] = {}
        self.wall: dict[str, list[float]] = {}

    def run(self, name: str, job: Any) -> Any:
        wall, core = time.perf_counter(), time.process_time()
        result = job()
        self.core.setdefault(name, []).append(1e3 * (time.process_time() - core))
        self.wall.setdefault(name, []).append(1e3 * (time.perf_counter() - wall))
        return result

    def medians(self) -> dict[str, float]:
        out = {f"{name}_core_ms": statistics.median(values) for name, values in self.core.items()}
        return out | {f"{name}_wall_ms": statistics.median(values) for name, values in self.wall.items()}


def tensors(g: GaussianSet, grad: bool) -> list[Tensor]:
    parts = [g.means, g.quats, g.scales, g.opacities, g.colors()]
    return [t.detach().clone().requires_grad_(grad) for t in parts]


def time_case(count: int, size: int, mode: str, repeats: int) -> dict[str, Any]:
    """Frames without gradients, and training passes (forward, backward to every input)."""
    scene, (views, ks), clock = figure(count, mode), camera(size), Clock()
    fill = 0.0
    for _ in range(repeats + 1):
        with torch.no_grad():
            frozen = tensors(scene, False)
            _, alphas, _ = clock.run("frame", lambda f=frozen: render(*f, views, ks, size, size))
        fill = float((alphas > 0.5).float().mean())
        live = tensors(scene, True)
        image, alphas, _ = clock.run("forward", lambda x=live: render(*x, views, ks, size, size))
        loss = image.square().mean() + alphas.mean()
        clock.run("backward", loss.backward)
    for values in (*clock.core.values(), *clock.wall.values()):
        values.pop(0)  # the first pass touches fresh memory
    return {"gaussians": len(scene), "size": size, "mode": mode, "fill": round(fill, 3), **clock.medians()}


def time_oracle(repeats: int) -> dict[str, Any]:
    """numba and the float64 oracle on the same tiny scene: time, image error, gradient error."""
    size, scene = 64, figure(600, "spacing")
    views, ks = camera(size)
    clock, images, slopes = Clock(), {}, {}
    for _ in range(repeats):
        for backend in ("numba", "torch"):
            live = tensors(scene, True)

            def both(x: list[Tensor] = live, name: str = backend) -> Tensor:
                image, alphas, _ = render(*x, views, ks, size, size, backend=name)  # type: ignore[arg-type]
                (image.square().sum() + alphas.sum()).backward()
                return image.detach()

            images[backend] = clock.run(backend, both).double()
            slopes[backend] = torch.cat([t.grad.double().flatten() for t in live if t.grad is not None])
    difference = (images["numba"] - images["torch"]).abs()
    error = (slopes["numba"] - slopes["torch"]).norm() / slopes["torch"].norm()
    result = clock.medians()
    return {
        "gaussians": len(scene),
        "size": size,
        **result,
        "speedup_core": result["torch_core_ms"] / result["numba_core_ms"],
        "image_max_error": float(difference.max()),
        "image_mean_error": float(difference.mean()),
        "gradient_relative_l2": float(error),
    }


def time_skinning(repeats: int, count: int = 100_000, joints: int = 55) -> dict[str, Any]:
    """Posing Gaussians with four influences, kernel against its torch twin."""
    g, clock = torch.Generator().manual_seed(0), Clock()
    weights = torch.rand(count, 4, generator=g)
    weights = weights / weights.sum(1, keepdim=True)
    indices = torch.randint(0, joints, (count, 4), generator=g).to(torch.uint8)
    means, quats = torch.randn(count, 3, generator=g), torch.randn(count, 4, generator=g)
    transforms = torch.eye(4).repeat(joints, 1, 1)
    transforms[:, :3, :3] = torch.linalg.qr(torch.randn(joints, 3, 3, generator=g)).Q
    transforms[:, :3, :3] *= torch.linalg.det(transforms[:, :3, :3])[:, None, None]
    args = (means, quats, indices, weights, transforms)
    for _ in range(repeats):
        clock.run("numba", lambda: skin_gaussians(*args))
        clock.run("torch", lambda: skin_gaussians_torch(*args))
    return {"gaussians": count, "joints": joints, **clock.medians()}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the two smallest cases only")
    parser.add_argument("--repeats", type=int, default=7, help="passes per case (default 7)")
    parser.add_argument("--json", type=Path, help="also write all numbers to this file")
    options = parser.parse_args()
    core = time.process_time()
    warmup()
    report: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "threads": int(os.environ.get("NUMBA_NUM_THREADS", os.cpu_count() or 1)),
        "torch": torch.__version__,
        "numba": numba.__version__,
        "warmup_core_ms": 1e3 * (time.process_time() - core),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
    print(f"{'case':<24}{'fill':>6}{'frame':>16}{'forward':>16}{'backward':>16}   (core / wall ms)")
    report["cases"] = []
    for count, size, mode in CASES[:2] if options.quick else CASES:
        case = time_case(count, size, mode, options.repeats)
        report["cases"].append(case)
        cells = [
            f"{case[k + '_core_ms']:.1f} / {case[k + '_wall_ms']:.1f}"
            for k in ("frame", "forward", "backward")
        ]
        name = f"{count // 1000}k @ {size} {mode}"
        print(f"{name:<24}{case['fill']:>6.2f}" + "".join(f"{cell:>16}" for cell in cells))
    report["oracle"] = oracle = time_oracle(max(3, options.repeats // 2))
    print(
        f"oracle {oracle['gaussians']} @ {oracle['size']}: numba {oracle['numba_core_ms']:.1f}, "
        f"torch float64 {oracle['torch_core_ms']:.1f} core-ms ({oracle['speedup_core']:.0f}x); "
        f"image error max {oracle['image_max_error']:.1e} mean {oracle['image_mean_error']:.1e}; gradients "
        f"{oracle['gradient_relative_l2']:.1e}"
    )
    report["skinning"] = skinning = time_skinning(options.repeats)
    print(
        f"skinning 100k: numba {skinning['numba_core_ms']:.1f}, torch {skinning['torch_core_ms']:.1f} core-ms"
    )
    text = json.dumps(report, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
