"""Builds ``lca_core/model/assets/teeth.npz``, the teeth of avatars, from the pack's item ``Teeth_Base``.

In: the asset pack and the extended body. Out: one small table (keys in the README beside it): 28 crowns and
the outer side of the gum, hung on six points that follow the shape space, unrolled in a corner of the atlas
that the body leaves free. Deterministic; run ``python -m lca_core.data.build_teeth``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csgraph

from lca.errors import PreconditionError
from lca_core.body.names import JOINT_INDEX
from lca_core.data.garments import SCALE_PAIRS
from lca_core.data.library import ExtendedBody, Proxy, extended_body, proxy

FILE = Path(__file__).parents[1] / "model" / "assets" / "teeth.npz"
CROWN_VERTICES = 63
ATLAS, CELL, FIRST_CELL, COLUMNS = 4096, 64, (3, 54), 7
"""Side of the finest UV grid and of a crown's square on it; the first square's row and column in squares, and
how many stand beside each other. Each row of gum takes a whole row of squares."""
RADIUS = 0.46
"""Of a crown's disc, in squares."""
GUM_HEIGHT, GUM_M, GUM_TURN = -0.1, 0.016, 1.9
"""``height`` of the gum's vertices; metres and radians that fill its UV strip."""
ARCH_MIDDLE_Z = 0.095
"""Metres; outwards is away from this line."""
FORWARD_M, LOWER_M, LONGER_M = 0.001, -0.001, 0.0028
"""By which all stands further forward than the item, the lower row higher, and the upper crowns reach further
down than theirs: where lips open only a little, they show teeth."""
INWARDS, BITING, GUM_OUT = 0.1, 0.5, 0.4
"""Cosines with outwards and with the way to the other row above which a crown's face can be seen from before
the mouth; the same of the gum with outwards."""


@dataclass(frozen=True)
class _Patch:
    """One crown or one row of gum: ``used`` [v] vertices of the item, ``quads`` [q,4] into them, lower row or
    upper, ``seen`` [q], ``height`` [v] 0 at the gum and 1 at the biting edge, ``uv`` [v,2]."""

    used: NDArray[np.int64]
    quads: NDArray[np.int64]
    lower: bool
    seen: NDArray[np.bool_]
    height: NDArray[np.float32]
    uv: NDArray[np.float32]


def main() -> None:
    """Write the table."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(FILE, **table(proxy("teeth", "Teeth_Base"), extended_body()))


def table(item: Proxy, ext: ExtendedBody) -> dict[str, NDArray]:
    """The arrays of ``teeth.npz``."""
    anchors, corner = np.unique(item.refs, return_inverse=True)
    corner = corner.reshape(-1, 3)
    if not np.allclose(ext.a_to_t[anchors], np.eye(3), atol=1e-3):
        raise PreconditionError("The points that teeth hang on turn between A-pose and T-pose.")

    def scale(body: NDArray) -> NDArray:
        sides = [body[..., a, k] - body[..., b, k] for k, (a, b, _) in enumerate(SCALE_PAIRS)]
        return np.stack(sides, -1) / [d for *_, d in SCALE_PAIRS]

    share = item.weights / item.weights.sum(1, keepdims=True)
    size = scale(ext.template)
    lower_anchor = ext.weights[anchors, JOINT_INDEX["jaw"]] > 0.5
    hung = (share[..., None] * ext.template[anchors][corner]).sum(1)
    patches = _patches(item, lower_anchor[corner[:, 0]], hung + item.offsets * np.abs(size))
    offset = item.offsets.astype(np.float64)
    for p in patches:
        down = LONGER_M * np.clip(p.height, 0, 1) * (not p.lower) - LOWER_M * p.lower
        offset[p.used] += np.stack([0 * down, -down, 0 * down + FORWARD_M], 1) / np.abs(size)
    used = np.concatenate([p.used for p in patches])
    start = np.cumsum([0] + [len(p.used) for p in patches[:-1]])
    return {
        "anchors": ext.template[anchors].astype(np.float32),
        "anchor_shapes": ext.shapes[:, anchors].astype(np.float32),
        "anchor_moves": ext.expressions[:, anchors].astype(np.float32),
        "anchor_lower": lower_anchor,
        "scale": np.abs(size).astype(np.float32),
        "scale_shapes": (scale(ext.shapes) * np.sign(size)).astype(np.float32),
        "corner": corner[used].astype(np.uint8),
        "share": share[used].astype(np.float32),
        "offset": offset[used].astype(np.float32),
        "quads": np.concatenate([p.quads + s for p, s in zip(patches, start, strict=True)]).astype(np.int16),
        "lower": np.repeat([p.lower for p in patches], [len(p.used) for p in patches]),
        "seen": np.concatenate([p.seen for p in patches]),
        "height": np.concatenate([p.height for p in patches]),
        "uv": np.concatenate([p.uv for p in patches]),
    }


def _patches(item: Proxy, lower: NDArray[np.bool_], rest: NDArray) -> list[_Patch]:
    """The upper crowns from the person's right to the left, the lower ones, the upper and the lower gum."""
    f, count = item.faces, len(item.refs)
    a, b = f.ravel(), np.roll(f, 1, 1).ravel()
    part = csgraph.connected_components(
        coo_matrix((np.ones(len(a)), (a, b)), (count, count)), directed=False
    )[1]
    pairs = f.reshape(-1, 2, 3)
    # Every two triangles are one quad, split along its first corner's diagonal.
    if not ((pairs[:, 0, 0] == pairs[:, 1, 0]) & (pairs[:, 0, 2] == pairs[:, 1, 1])).all():
        raise PreconditionError("The triangles of the teeth are not split quads.")
    quads = np.concatenate([pairs[:, 0], pairs[:, 1, 2:]], 1)
    size = np.bincount(part)
    found = [(bool(lower[part == n][0]), part == n) for n in np.flatnonzero(size == CROWN_VERTICES)]
    found.sort(key=lambda crown: (crown[0], float(_turn(rest[crown[1]].mean(0)))))
    # Wisdom teeth, the ends of both rows, are left out.
    ends = len(found) // 2
    found = [crown for number, crown in enumerate(found) if number % ends not in (0, ends - 1)]
    out = [
        _crown(rest, quads[mine[quads[:, 0]]], below, number) for number, (below, mine) in enumerate(found)
    ]
    last = max(abs(_turn(rest[mine])).max() for _, mine in found)
    gum = (part == size.argmax()) & (abs(_turn(rest)) < last)
    for below in (False, True):
        out.append(_gum(rest, quads[(gum & (lower == below))[quads].all(1)], below, len(found) // COLUMNS))
    return out


def _turn(at: NDArray) -> NDArray[np.float64]:
    """Radians around the arch from the middle line, the person's left positive."""
    return np.asarray(np.arctan2(at[..., 0], at[..., 2] - ARCH_MIDDLE_Z))


def _facing(corner: NDArray, lower: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cosines [q] of quads [q,4,3] with outwards and with the way to the other row."""
    normal = np.cross(corner[:, 2] - corner[:, 0], corner[:, 3] - corner[:, 1])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    turn = _turn(corner.mean(1))
    return normal[:, 0] * np.sin(turn) + normal[:, 2] * np.cos(turn), normal[:, 1] * (1 if lower else -1)


def _crown(rest: NDArray, quads: NDArray[np.int64], lower: bool, number: int) -> _Patch:
    used, inner = np.unique(quads, return_inverse=True)
    inner = inner.reshape(-1, 4)
    out, bite = _facing(rest[quads], lower)
    y = rest[used, 1] * (1 if lower else -1)
    height = ((y - y.min()) / np.ptp(y)).astype(np.float32)
    row, column = FIRST_CELL[0] + number // COLUMNS, FIRST_CELL[1] + number % COLUMNS
    at = (np.array([column, row]) + 0.5 + RADIUS * _flat(inner)) * CELL / ATLAS
    uv = np.stack([at[:, 0], 1 - at[:, 1]], 1).astype(np.float32)
    return _Patch(used, inner, lower, (out > INWARDS) | (bite > BITING), height, uv)


def _flat(quads: NDArray[np.int64]) -> NDArray[np.float64]:
    """A crown (quads [q,4] that use every vertex) on the unit disc [v,2], y down: its rim on the circle, all
    else in the middle of its neighbours."""
    count = int(quads.max()) + 1
    near = np.zeros((count, count), bool)
    for k in range(4):
        near[quads[:, k], quads[:, (k + 1) % 4]] = True
    once = near & ~near.T
    rim = [int(np.flatnonzero(once.any(1))[0])]
    while len(rim) < once.sum():
        rim.append(int(np.flatnonzero(once[rim[-1]])[0]))
    turn = 2 * np.pi * np.arange(len(rim)) / len(rim)
    outer = np.array(rim)
    inner = np.setdiff1d(np.arange(count), rim)
    beside = (near | near.T).astype(float)
    beside /= beside.sum(1, keepdims=True)
    at = np.zeros((count, 2))
    at[outer] = np.stack([np.cos(turn), -np.sin(turn)], 1)
    lines = np.eye(len(inner)) - beside[np.ix_(inner, inner)]
    at[inner] = np.linalg.solve(lines, beside[np.ix_(inner, outer)] @ at[outer])
    # Rings shrink towards the middle; the root evens them out.
    return np.asarray(at * np.linalg.norm(at, axis=1, keepdims=True) ** -0.5)


def _gum(rest: NDArray, quads: NDArray[np.int64], lower: bool, rows: int) -> _Patch:
    """The outer side of one row of gum, unrolled below the ``rows`` of crowns."""
    quads = quads[_facing(rest[quads], lower)[0] > GUM_OUT]
    used, inner = np.unique(quads, return_inverse=True)
    at, row = rest[used], FIRST_CELL[0] + rows + int(lower)
    u = FIRST_CELL[1] + COLUMNS * (0.5 + _turn(at) / (2 * GUM_TURN))
    v = row + 0.5 - (at[:, 1] - at[:, 1].mean()) / GUM_M
    uv = np.stack([u * CELL / ATLAS, 1 - v * CELL / ATLAS], 1).astype(np.float32)
    height = np.full(len(used), GUM_HEIGHT, np.float32)
    return _Patch(used, inner.reshape(-1, 4), lower, np.ones(len(quads), bool), height, uv)


if __name__ == "__main__":
    main()
