"""The measurements; ``machine.measure`` runs each as ``python -m parts.measures NAME``, it prints JSON."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from parts.machine import Clock, peak_memory

PEER_BUDGET_S = 60.0
"""Wall time after which a slow peer is not run again."""


def splat_case(count: str, size: str, mode: str, repeats: str) -> dict[str, Any]:
    """Frames without gradients; training passes: forward, and backward to every 3D input."""
    import torch

    from lca_core.splat import render
    from parts.scene import camera, figure, tensors

    n, side = int(count), int(size)
    scene, (views, ks), clock = figure(n, mode), camera(side), Clock()
    fill = 0.0
    for _ in range(int(repeats) + 1):
        with torch.no_grad():
            frozen = tensors(scene, False)
            _, alphas, _ = clock.run("frame", lambda f=frozen: render(*f, views, ks, side, side))
        fill = float((alphas > 0.5).float().mean())
        live = tensors(scene, True)
        image, alphas, _ = clock.run("forward", lambda x=live: render(*x, views, ks, side, side))
        loss = image.square().mean() + alphas.mean()
        clock.run("backward", loss.backward)
    clock.forget_first()
    pairs = zip(clock.core["backward"], clock.core["forward"], strict=True)
    return {
        "gaussians": len(scene), "size": side, "mode": mode, "fill": round(fill, 3), **clock.medians(),
        "backward_over_forward": statistics.median(back / forth for back, forth in pairs),
    }  # fmt: skip


def _training_pass(backend: str, folder: str) -> Any:
    """A function that renders 20k Gaussians at 256x256 and goes back to every 3D input, and the image."""
    from lca_core.splat import render
    from parts.peers import metal_gauss
    from parts.scene import camera, figure, tensors

    scene, (views, ks) = figure(20_000, "1cm"), camera(256)
    other = metal_gauss(Path(folder)) if backend == "metal_gauss" else None

    def run() -> Any:
        live = tensors(scene, True)
        if other is None:
            image = render(*live, views, ks, 256, 256)[0][0]
        else:
            found = other(*live[:4], None, ks[0], views[0], 256, 256, colors=live[4])
            image = found[0] if isinstance(found, tuple | list) else found
        image.square().mean().backward()
        return image.detach()

    return run


def against_metal_gauss(folder: str, repeats: str) -> dict[str, Any]:
    """Forward + backward of both in one process, taking turns; the peer stops repeating after a minute. Its
    peak memory is read after its first pass, before ours."""
    clock = Clock()
    begin = time.perf_counter()
    jobs = {name: _training_pass(name, folder) for name in ("metal_gauss", "numba")}
    before = peak_memory()
    images = {"metal_gauss": clock.run("metal_gauss", jobs["metal_gauss"])}
    memory = {"before_bytes": before, "peak_bytes": peak_memory()}
    jobs["numba"]()  # touches fresh memory
    for _ in range(5):
        images["numba"] = clock.run("numba", jobs["numba"])
    for _ in range(int(repeats) - 1):
        if 2 * (time.perf_counter() - begin) > PEER_BUDGET_S:
            break
        clock.run("metal_gauss", jobs["metal_gauss"])
        for _ in range(5):
            clock.run("numba", jobs["numba"])
    difference = (images["numba"] - images["metal_gauss"].reshape(images["numba"].shape)).abs()
    return {
        "gaussians": 20_000, "size": 256, "metal_gauss_passes": len(clock.core["metal_gauss"]),
        **clock.medians(), "metal_gauss_memory": memory,
        "image_max_difference": float(difference.max()), "image_mean_difference": float(difference.mean()),
    }  # fmt: skip


def memory() -> dict[str, Any]:
    """Peak resident size of a process that does one pass of 20k at 256 on numba, and before it."""
    job = _training_pass("numba", "")
    before = peak_memory()
    job()
    return {"before_bytes": before, "peak_bytes": peak_memory()}


def threads(count: str, size: str, budget: str) -> dict[str, Any]:
    """Two threads against one."""
    from parts.scaling import measure_threads

    return measure_threads(int(count), int(size), float(budget))


def start() -> dict[str, Any]:
    """CPU time of a fresh process up to its first frame, imports and compilation included."""
    begin = time.process_time()
    import torch

    imported = time.process_time() - begin
    from lca_core.splat import intrinsics, look_at, render

    with torch.no_grad():
        view, k = look_at((0.0, 0.0, 2.0), (0.0, 0.0, 0.0))[None], intrinsics(34.0, 64, 64)[None]
        point, turn = torch.zeros(1, 3), torch.tensor([[1.0, 0.0, 0.0, 0.0]])
        args = (point, turn, torch.full((1, 3), 0.1), torch.tensor([0.9]), torch.ones(1, 3), view, k)
        image, _, _ = render(*args, 64, 64)
    assert float(image.max()) > 0.5
    return {"cpu_s": time.process_time(), "of_which_import_torch_s": imported}


def warm_up() -> dict[str, Any]:
    """Fill the kernel cache."""
    from lca_core.splat import warmup

    warmup()
    return {"cpu_s": time.process_time()}


def oracle(repeats: str) -> dict[str, Any]:
    """numba and the float64 oracle on the same tiny scene: time, image error, gradient error."""
    import torch

    from lca_core.splat import render
    from parts.scene import camera, figure, tensors

    size, scene = 64, figure(600, "spacing")
    views, ks = camera(size)
    clock, images, slopes = Clock(), {}, {}
    for _ in range(int(repeats)):
        for backend in ("numba", "torch"):
            live = tensors(scene, True)

            def both(x: Any = live, name: Any = backend) -> Any:
                image, alphas, _ = render(*x, views, ks, size, size, backend=name)
                (image.square().sum() + alphas.sum()).backward()
                return image.detach()

            images[backend] = clock.run(backend, both).double()
            slopes[backend] = torch.cat([t.grad.double().flatten() for t in live if t.grad is not None])
    difference = (images["numba"] - images["torch"]).abs()
    error = (slopes["numba"] - slopes["torch"]).norm() / slopes["torch"].norm()
    return {
        "gaussians": len(scene), "size": size, **clock.medians(),
        "image_max_error": float(difference.max()), "image_mean_error": float(difference.mean()),
        "gradient_relative_l2": float(error),
    }  # fmt: skip


def opensplat_case(count: str, size: str, repeats: str) -> dict[str, Any]:
    """Forward of the user's OpenSplat build and ours, taking turns."""
    import torch

    from lca_core.splat import render
    from parts.peers import opensplat
    from parts.scene import camera, figure, tensors

    n, side, theirs = int(count), int(size), opensplat()
    assert theirs is not None
    parts, (views, ks), clock = tensors(figure(n, "1cm"), False), camera(side), Clock()
    with torch.no_grad():
        for _ in range(int(repeats) + 1):
            clock.run("numba", lambda: render(*parts, views, ks, side, side))
            clock.run("opensplat", lambda: theirs(*parts, views[0], ks[0], side, side))
    clock.forget_first()
    return {"gaussians": n, "size": side, **clock.medians()}


def animate(count: str, repeats: str) -> dict[str, Any]:
    """Pose in, Gaussians out: the fused path and its step-by-step twin, then with a 512x512 picture."""
    import torch

    from lca_core.avatar.animate import Animator, LinearCorrection
    from lca_core.splat import render
    from parts.rig import moving_frames, random_rig
    from parts.scene import camera

    rig, clock = random_rig(int(count)), Clock()
    fused, stepwise = Animator(rig), Animator(rig, LinearCorrection(rig))
    views, ks = camera(512)
    worst = 0.0
    with torch.no_grad():
        for frame in moving_frames(int(repeats) + 1):
            ours = clock.run("fused", lambda f=frame: fused.evaluate(f))
            theirs = clock.run("stepwise", lambda f=frame: stepwise.evaluate(f))
            worst = max(worst, float((ours.means - theirs.means).abs().max()))

            def picture(f: Any = frame) -> Any:
                g = fused.evaluate(f)
                return render(g.means, g.quats, g.scales, g.opacities, g.colors(), views, ks, 512, 512)

            clock.run("fused_and_picture_512", picture)
    clock.forget_first()
    entries = len(rig.correctives.arkit_index)
    return {
        "gaussians": int(count), "shape_entries": entries, "pose_components": len(rig.correctives.pose_basis),
        **clock.medians(), "max_difference_m": worst,
    }  # fmt: skip


def skinning(count: str, repeats: str) -> dict[str, Any]:
    """Four-influence skinning alone: numba, and its differentiable torch twin."""
    import torch

    from lca_core.splat import skin_gaussians
    from lca_core.splat.skinning import skin_gaussians_torch

    n, joints, clock = int(count), 55, Clock()
    g = torch.Generator().manual_seed(0)
    weights = torch.rand(n, 4, generator=g)
    weights = weights / weights.sum(1, keepdim=True)
    indices = torch.randint(0, joints, (n, 4), generator=g).to(torch.uint8)
    means, quats = torch.randn(n, 3, generator=g), torch.randn(n, 4, generator=g)
    transforms = torch.eye(4).repeat(joints, 1, 1)
    transforms[:, :3, :3] = torch.linalg.qr(torch.randn(joints, 3, 3, generator=g)).Q
    transforms[:, :3, :3] *= torch.linalg.det(transforms[:, :3, :3])[:, None, None]
    args = (means, quats, indices, weights, transforms)
    for _ in range(int(repeats) + 1):
        clock.run("numba", lambda: skin_gaussians(*args))
        clock.run("torch", lambda: skin_gaussians_torch(*args))
    clock.forget_first()
    return {"gaussians": n, "joints": joints, **clock.medians()}


def cuda() -> dict[str, Any]:
    """Animate + render of 65k at 1024x1024 on the GPU against gsplat's raw call on the same Gaussians."""
    from parts.cuda import animate_and_render

    return animate_and_render()


MEASURES = (
    splat_case, against_metal_gauss, memory, threads, start, warm_up, oracle, opensplat_case, animate,
    skinning, cuda,
)  # fmt: skip

if __name__ == "__main__":
    chosen = {job.__name__: job for job in MEASURES}[sys.argv[1]]
    print(json.dumps(chosen(*sys.argv[2:])))
