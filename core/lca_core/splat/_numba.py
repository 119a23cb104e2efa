"""The CPU back end: two autograd functions around the numba kernels, projection and rasterization.

In: batched float32 CPU tensors as ``render`` lays them out. Out: images and the per-view tensors of
``meta``. The two steps are separate functions, so ``meta["means2d"].retain_grad()`` works as with gsplat.
Arrays cross over without copies; all scratch memory belongs to the call, so calls from several threads do not
meet. Results have the same bits on any number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lca.errors import ExhaustedError
from lca_core.splat import _project, _raster, _tiles
from lca_core.splat._scratch import Scratch
from lca_core.splat._settings import Settings
from lca_core.splat._threads import share, worker_count

Array = np.ndarray
CHUNK = 4  # features blended per pass
GRAIN, ENTRY_GRAIN = 4096, 16384  # Gaussians and tile entries that are worth another thread
PARTS = 8  # portions of the forward pass per thread: who is done early takes another
MAX_ENTRIES = 1 << 29
"""Most tile-list entries of one view (32 GB with gradients): beyond it the scene or the camera is broken."""


@dataclass(frozen=True)
class _Lists:
    """Tile lists of one view; see ``_tiles`` for the arrays."""

    order: Array
    records: Array
    boxes: Array
    rows: Array
    row_count: int
    ends: Array
    stops: Array
    lists: Array
    tiles_x: int
    workers: int
    raster_workers: int
    memory: Scratch  # of all these arrays


def _numpy(tensor: Tensor) -> Array:
    """Zero-copy view of a contiguous CPU tensor."""
    return tensor.detach().contiguous().numpy()


def _empty(*shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float32)


def _zeros(*shape: int) -> Tensor:
    zeros = _empty(*shape)
    zeros.numpy().fill(0)  # torch would wake its own threads, which then spin beside ours
    return zeros


def _camera(viewmat: Tensor, k: Tensor) -> Array:
    """(16,) float32: rotation row-major, translation, fx, fy, cx, cy."""
    v, m = viewmat.detach().double().numpy(), k.detach().double().numpy()
    values = [*v[:3, :3].ravel(), *v[:3, 3], m[0, 0], m[1, 1], m[0, 2], m[1, 2]]
    return np.array(values, np.float32)


class Project(torch.autograd.Function):
    """(means (B,N,3), quats, scales, opacities (B,N), viewmats (B,C,4,4), Ks (B,C,3,3)) to
    radii (B,C,N,2) int32, means2d (B,C,N,2), depths (B,C,N), conics (B,C,N,3), antialiasing factors
    (B,C,N)."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        means, quats, scales, opacities, viewmats, ks, settings = inputs
        batch, views = viewmats.shape[:2]
        n = means.shape[1]
        radii = torch.empty((batch, views, n, 2), dtype=torch.int32)
        means2d, depths = _empty(batch, views, n, 2), _empty(batch, views, n)
        conics, factors = _empty(batch, views, n, 3), _empty(batch, views, n)
        f = np.float32
        workers = worker_count(n, GRAIN)
        for b in range(batch):
            scene = [_numpy(t[b]) for t in (means, quats, scales, opacities)]
            for c in range(views):
                share(
                    _project.project_forward, workers,
                    *scene, _camera(viewmats[b, c], ks[b, c]), settings.width, settings.height,
                    f(settings.eps2d), f(settings.near), f(settings.far), f(settings.radius_clip),
                    settings.antialiased, *(t[b, c].numpy() for t in (radii, means2d, depths, conics,
                    factors)),
                )  # fmt: skip
        ctx.settings = settings
        ctx.save_for_backward(means, quats, scales, viewmats, ks, radii)
        ctx.mark_non_differentiable(radii)
        ctx.set_materialize_grads(False)
        return radii, means2d, depths, conics, factors

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Any) -> tuple[Tensor | None, ...]:
        means, quats, scales, viewmats, ks, radii = ctx.saved_tensors
        settings: Settings = ctx.settings
        shapes = [(*radii.shape[:3], 2), radii.shape[:3], (*radii.shape[:3], 3), radii.shape[:3]]
        gradients = [
            _zeros(*shape) if g is None else g.contiguous()
            for g, shape in zip(cotangents[1:], shapes, strict=True)
        ]
        outputs = [_zeros(*t.shape) for t in (means, quats, scales)]
        g_view = _zeros(*viewmats.shape)
        blocks = (means.shape[1] + _project.GRAIN - 1) // _project.GRAIN
        workers = worker_count(means.shape[1], GRAIN)
        for b in range(radii.shape[0]):
            scene = [_numpy(t[b]) for t in (means, quats, scales)]
            for c in range(radii.shape[1]):
                partial = np.empty((blocks, 12))
                share(
                    _project.project_backward, workers,
                    *scene, _camera(viewmats[b, c], ks[b, c]), settings.width, settings.height,
                    np.float32(settings.eps2d), settings.antialiased, radii[b, c].numpy(),
                    *(g[b, c].numpy() for g in gradients), *(t[b].numpy() for t in outputs), partial,
                )  # fmt: skip
                total = torch.from_numpy(partial.sum(axis=0))
                g_view[b, c, :3, :3] = total[:9].view(3, 3)
                g_view[b, c, :3, 3] = total[9:]
        return (*outputs, None, g_view, None, None)


def _build_lists(view: tuple[Array, ...], features: Array, width: int, height: int) -> _Lists:
    """Depth order, records and tile lists of one view's projection results and up to four features."""
    means2d, conics, opacities, radii, depths = view
    n = depths.shape[0]
    memory, passing = Scratch(), Scratch()
    order = memory.empty(n, np.int32)
    count = _tiles.depth_order(depths, radii, order, passing.empty((3, n), np.uint32))
    order = order[:count]
    workers = worker_count(count, GRAIN)
    tiles_x, tiles_y = (width + 7) // 8, (height + 7) // 8
    records = memory.empty((count, _tiles.RECORD), np.float32)
    boxes = memory.empty((count, 4), np.int32)
    rooms = np.empty((2, workers), np.int64)
    share(
        _tiles.pack, workers, order, means2d, conics, opacities, radii, np.ascontiguousarray(features),
        width, height, records, boxes, rooms,
    )  # fmt: skip
    room, row_count = (int(total) for total in rooms.sum(axis=1))
    if room > MAX_ENTRIES:
        raise ExhaustedError(
            f"One view needs {room} tile entries: Gaussians are far too large for the image or too close to "
            "the camera. Check the units (metres) and raise near_plane.",
            reason="SPLAT_TOO_LARGE",
        )
    starts, rows = passing.empty(count, np.int64), memory.empty(count, np.int32)
    slots = passing.empty(room, np.int32)
    counts = passing.zeros((workers, tiles_x * tiles_y), np.int32)
    firsts = np.cumsum(rooms, axis=1) - rooms
    share(_tiles.touch, workers, records, boxes, firsts, tiles_x, starts, rows, slots, counts)
    ends = np.empty(tiles_x * tiles_y + 1, np.int64)
    lists = memory.empty(_tiles.offsets(counts, ends), np.int32)
    share(_tiles.scatter, workers, boxes, starts, slots, counts, lists)
    passing.release()
    raster_workers = worker_count(lists.size, ENTRY_GRAIN)
    return _Lists(
        order, records, boxes, rows, row_count, ends, ends[1:].copy(), lists, tiles_x, workers,
        raster_workers, memory,
    )  # fmt: skip


def _use_features(state: _Lists, features: Array) -> tuple[int, ...]:
    """Put up to four features (N, <= 4) into the records; returns the ``channels`` argument of the
    kernels."""
    share(_tiles.pack_features, state.workers, state.order, np.ascontiguousarray(features), state.records)
    return (0,) * features.shape[1]


def _by_cost(state: _Lists, tall: int) -> Array:
    """Numbers of the bands, ``tall`` tile rows each: most entries first, or in order for one worker."""
    height = tall * state.tiles_x
    if state.raster_workers == 1:
        return np.arange((state.stops.size + height - 1) // height)
    costs = np.add.reduceat(state.stops - state.ends[:-1], np.arange(0, state.stops.size, height))
    return np.argsort(-costs, kind="stable")


class Rasterize(torch.autograd.Function):
    """(means2d (V,N,2), conics (V,N,3), opacities (V,N), features (V,N,D), radii (V,N,2), depths (V,N)) to
    image (V,H,W,D) and alpha (V,H,W,1). ``holder``: the tensor that receives ``.absgrad`` in the backward
    pass, or None."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        means2d, conics, opacities, features, radii, depths, settings, holder = inputs
        width, height = settings.width, settings.height
        views, d = features.shape[0], features.shape[2]
        image, through = _empty(views, height, width, d), _empty(views, height, width)
        keep = any(ctx.needs_input_grad)
        states: list[_Lists] = []
        for v in range(views):
            colours = _numpy(features[v])
            arrays = (_numpy(t[v]) for t in (means2d, conics, opacities, radii, depths))
            state = _build_lists(tuple(arrays), colours[:, :CHUNK], width, height)
            out = image[v].numpy()
            tall = max(1, (height + 7) // 8 // (PARTS * state.raster_workers))
            bands = _by_cost(state, tall)
            for first in range(0, d, CHUNK):
                part = colours[:, first : first + CHUNK]
                channels = _use_features(state, part) if first else (0,) * part.shape[1]
                target = out if d <= CHUNK else np.empty((height, width, len(channels)), np.float32)
                share(
                    _raster.raster_forward, state.raster_workers,
                    bands, tall, state.ends, state.stops, state.lists, state.records, width, height,
                    state.tiles_x, channels, (0,) if keep else (), target, through[v].numpy(),
                    parts=bands.size,
                )  # fmt: skip
                if target is not out:
                    out[..., first : first + CHUNK] = target
            if keep:
                states.append(state)
        ctx.states, ctx.holder = states, holder
        ctx.save_for_backward(opacities, features, image, through)
        ctx.set_materialize_grads(False)
        alphas = _empty(views, height, width, 1)
        np.subtract(1.0, through.numpy(), out=alphas.numpy()[..., 0])
        return image, alphas

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Any) -> tuple[Tensor | None, ...]:
        opacities, features, image, through = ctx.saved_tensors
        views, height, width, d = image.shape
        n = opacities.shape[1]
        g_image, g_alpha = cotangents
        g_image = _zeros(*image.shape) if g_image is None else g_image
        g_alpha = _zeros(*through.shape) if g_alpha is None else g_alpha[..., 0]
        g_means2d, g_conics = _zeros(views, n, 2), _zeros(views, n, 3)
        g_opacities, g_features = _zeros(views, n), _zeros(views, n, d)
        absolute = (0,) if ctx.holder is not None else ()
        g_absolute = _zeros(views, n if absolute else 0, 2)
        for v, state in enumerate(ctx.states):
            opaque, colours = _numpy(opacities[v]), _numpy(features[v])
            cotangent, alpha = g_image[v].numpy(), _numpy(g_alpha[v])
            bands = _by_cost(state, _tiles.BAND)
            for first in range(0, d, CHUNK):
                part = slice(first, first + CHUNK)
                channels = _use_features(state, colours[:, part]) if d > CHUNK else (0,) * d
                columns = _raster.MOMENTS + len(channels) + 2 * len(absolute)
                memory = Scratch()
                grads = memory.zeros((state.row_count, columns), np.float32)
                share(
                    _raster.raster_backward, state.raster_workers,
                    bands, state.ends, state.stops, state.lists, state.records, state.rows, width, height,
                    state.tiles_x, channels, absolute,
                    np.ascontiguousarray(image[v].numpy()[..., part]), through[v].numpy(),
                    np.ascontiguousarray(cotangent[..., part]), alpha, grads, parts=bands.size,
                )  # fmt: skip
                alpha = np.zeros_like(alpha)  # counted once
                target = g_features[v].numpy() if d <= CHUNK else np.zeros((n, len(channels)), np.float32)
                share(
                    _raster.reduce_gradients, state.workers,
                    state.order, state.boxes, state.rows, state.records, opaque, grads,
                    channels, absolute, g_means2d[v].numpy(), g_conics[v].numpy(),
                    g_opacities[v].numpy(), target, g_absolute[v].numpy(),
                )  # fmt: skip
                memory.release()
                if d > CHUNK:
                    g_features[v].numpy()[:, part] = target
        if ctx.holder is not None:
            ctx.holder.absgrad = g_absolute.view(ctx.holder.shape)
        return g_means2d, g_conics, g_opacities, g_features, None, None, None, None
