"""Memory that calls hand on to later calls is never shared while somebody still needs it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from lca_core.splat import _scratch, render
from lca_core.splat._scratch import Scratch

Scene = dict[str, Tensor]


def test_arrays_are_apart_and_come_back_after_release() -> None:
    scratch = Scratch()
    first, second = scratch.zeros((300, 4), np.float32), scratch.empty(5000, np.int64)
    second.fill(7)
    assert first.shape == (300, 4) and first.dtype == np.float32 and not first.any()
    assert not np.shares_memory(first, second)
    place = second.ctypes.data
    scratch.release()
    later = Scratch()
    places = [later.empty(5000, np.int64).ctypes.data for _ in range(len(_scratch._free) + 1)]
    assert place in places and len(set(places)) == len(places)


def test_nothing_and_odd_sizes() -> None:
    scratch = Scratch()
    assert scratch.empty((0, 16), np.float32).shape == (0, 16)
    odd = [scratch.empty(3, np.uint8), scratch.empty((1, 1), np.float64), scratch.empty(70001, np.uint8)]
    assert all(array.ctypes.data % 8 == 0 for array in odd)


def test_kept_memory_is_bounded() -> None:
    for _ in range(5):
        scratch = Scratch()
        scratch.empty(_scratch.LIMIT // 2, np.uint8)
        scratch.empty(_scratch.LIMIT, np.uint8)
        scratch.release()
    assert sum(buffer.size for buffer in _scratch._free) <= _scratch.LIMIT


def test_threads_never_get_the_same_array() -> None:
    def work(mark: int) -> bool:
        for _ in range(200):
            scratch = Scratch()
            arrays = [scratch.empty(1000, np.int32) for _ in range(4)]
            for k, array in enumerate(arrays):
                array.fill(10 * mark + k)
            if any((array != 10 * mark + k).any() for k, array in enumerate(arrays)):
                return False
            scratch.release()
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_pictures_in_between_leave_a_kept_graph_alone(smooth_scene: Callable[..., Scene]) -> None:
    """The lists of a picture live as long as its graph: going back twice, with other pictures between."""
    scene = {k: v.float() for k, v in smooth_scene(n=100).items()}
    other = {k: v.float() for k, v in smooth_scene(50, n=100).items()}

    def forward() -> tuple[Tensor, list[Tensor]]:
        live = {k: v.clone().requires_grad_(k != "Ks") for k, v in scene.items()}
        image, _, _ = render(**live, width=45, height=38)
        return image.square().sum(), [t for t in live.values() if t.requires_grad]

    loss, inputs = forward()
    alone = torch.autograd.grad(loss, inputs)
    loss, inputs = forward()
    for _ in range(2):
        render(**other, width=45, height=38)[0].sum()
        again = torch.autograd.grad(loss, inputs, retain_graph=True)
        assert all(torch.equal(a, b) for a, b in zip(alone, again, strict=True))
