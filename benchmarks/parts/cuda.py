"""The GPU half of ``lca bench animate``: the whole frame on the device against gsplat's raw call."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch

SIZE, COUNT, REPEATS = 1024, 65_536, 60


def _milliseconds(job: Callable[[], Any]) -> float:
    """Median device time between two events around ``job``, after warming up."""
    times = []
    for i in range(REPEATS + 10):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        job()
        end.record()
        torch.cuda.synchronize()
        if i >= 10:
            times.append(begin.elapsed_time(end))
    return statistics.median(times)


def animate_and_render() -> dict[str, Any]:
    """``ratio`` of animate + render to the raw rasterization, or None and the reason."""
    if not torch.cuda.is_available():
        return {"ratio": None, "reason": "this machine has no CUDA device"}
    from lca_core.splat._cuda import load

    gsplat = load()
    if gsplat is None:
        return {"ratio": None, "reason": "gsplat does not work here; see docs/gpu.md"}
    from lca_core.avatar.animate import Animator
    from lca_core.splat import render
    from parts.rig import moving_frames, random_rig
    from parts.scene import camera

    animator = Animator(random_rig(COUNT), device="cuda")
    views, ks = (t.cuda() for t in camera(SIZE))
    frame = moving_frames(1)[0]
    still = animator.evaluate(frame)
    args = (still.means, still.quats, still.scales, still.opacities)

    def whole() -> Any:
        g = animator.evaluate(frame)
        return render(
            g.means, g.quats, g.scales, g.opacities, g.colors(), views, ks, SIZE, SIZE, backend="gsplat"
        )

    colours = still.colors()
    with torch.no_grad():
        raw = _milliseconds(lambda: gsplat.rasterization(*args, colours, views, ks, SIZE, SIZE, packed=False))
        ours = _milliseconds(whole)
        animation = _milliseconds(lambda: animator.evaluate(frame))
    return {
        "ratio": ours / raw, "reason": None, "device": torch.cuda.get_device_name(0), "gaussians": COUNT,
        "size": SIZE, "gsplat_raw_ms": raw, "animate_and_render_ms": ours, "animate_ms": animation,
    }  # fmt: skip
