"""Teeth: two rows of crowns in the mouth of every avatar, the upper fixed to the head, the lower to the jaw.

Photographs hardly ever show them well, and the body has none. In: the betas of a person and
``assets/teeth.npz`` (its README says what is in it). Out: the vertices of the crowns and the gum at rest and
how expressions move them; Gaussians on their quads, each named by a texel in a corner of the UV atlas that
the body leaves free, so that every later reader of an avatar knows its teeth by ``texel`` alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from lca_core.body.names import JOINT_INDEX, NUM_JOINTS
from lca_core.body.rotation import matrix_to_quaternion, quaternion_multiply
from lca_core.model.mouth import kept_within

if TYPE_CHECKING:
    from lca_core.model.assemble import CanonicalGaussians

FILE = Path(__file__).parent / "assets" / "teeth.npz"
UV_SIZE = 4096
"""Side of the grid that the texels of teeth lie on, as for all Gaussians (``density.FINEST``)."""
TANGENTIAL, THIN = 0.55, 0.15
"""Standard deviation over a quad's sides and across it over their mean: neighbours close up and crowns stay
apart."""
OPACITY = 0.98
IVORY = np.array([1.0, 0.96, 0.87])
"""Teeth over the white of the eye."""
UPPER, LOWER, BACK = 1.14, 1.0, 0.42
"""Brightness of the front of both rows over that of the white, and of the last molar over the first tooth."""
WARMING = np.array([0.8, 1.1, 1.2])
"""Exponents of that brightness for r, g, b: what little light comes so far has met red walls."""
SHADE = 1.5
"""How much redder than the lips' inside the white may be before the mouth counts as shaded."""
GUM, GUM_HEIGHT, GUM_RED = 0.85, (0.0, 0.16), 0.62
"""How far the root of a crown takes the colour of the gum, up to which shares of its height, and that colour
over the lips' inside."""


@dataclass(frozen=True)
class Table:
    """``teeth.npz``: V vertices and Q quads of crowns and gum, hung on 6 anchors.

    Attributes:
        anchors: [6,3] m, mean person. anchor_shapes: [50,6,3] shape space. anchor_moves: [52,6,3] ARKit.
        anchor_lower: [6] fixed to the jaw. scale: [3] size of the head over the item's, with scale_shapes
            [50,3]. corner, share: [V,3] anchors of a vertex and their shares. offset: [V,3] m at scale 1.
        quads: [Q,4] split along 0-2. lower: [V] row. seen: [Q] from before the mouth. height: [V] 0 at the
            gum, 1 at the biting edge, negative on the gum. uv: [V,2] v up.
    """

    anchors: NDArray[np.float32]
    anchor_shapes: NDArray[np.float32]
    anchor_moves: NDArray[np.float32]
    anchor_lower: NDArray[np.bool_]
    scale: NDArray[np.float32]
    scale_shapes: NDArray[np.float32]
    corner: NDArray[np.uint8]
    share: NDArray[np.float32]
    offset: NDArray[np.float32]
    quads: NDArray[np.int64]
    lower: NDArray[np.bool_]
    seen: NDArray[np.bool_]
    height: NDArray[np.float32]
    uv: NDArray[np.float32]

    @cached_property
    def drawn(self) -> NDArray[np.int64]:
        """The quads [G] that carry a Gaussian."""
        return np.flatnonzero(self.seen)

    @cached_property
    def texel(self) -> NDArray[np.int32]:
        """Row and column [G,2] of the Gaussians on the grid of ``UV_SIZE``."""
        middle = self.uv[self.quads[self.drawn]].mean(1)
        return np.stack([(1 - middle[:, 1]) * UV_SIZE, middle[:, 0] * UV_SIZE], 1).astype(np.int32)


@lru_cache(maxsize=1)
def table() -> Table:
    """The shipped teeth."""
    with np.load(FILE, allow_pickle=False) as data:
        arrays = {name: data[name] for name in data.files}
    return Table(**arrays | {"quads": arrays["quads"].astype(np.int64)})


def drawn_teeth(texel: NDArray[np.integer], uv_size: int) -> NDArray[np.int64]:
    """Which of the teeth's Gaussians each of an avatar's is: index [N] into ``Table.drawn``, -1 for none."""
    out = np.full(len(texel), -1, np.int64)
    if uv_size == UV_SIZE:
        key = table().texel @ np.array([UV_SIZE, 1])
        order = np.argsort(key)
        wanted = np.asarray(texel, np.int64) @ np.array([UV_SIZE, 1])
        at = np.minimum(np.searchsorted(key[order], wanted), len(key) - 1)
        out = np.where(key[order][at] == wanted, order[at], -1)
    return out


class Teeth:
    """The teeth of one person.

    Args:
        betas: [50].

    Attributes:
        vertices: [V,3] m at rest. moves: shape -> [V,3] m that the ARKit shape adds at weight 1. turns: the
            same shapes -> [3,3] by which it turns the lower row.
    """

    def __init__(self, betas: NDArray[np.floating]) -> None:
        t = table()
        self.table = t
        anchors = t.anchors + np.tensordot(np.asarray(betas, np.float32), t.anchor_shapes, 1)
        scale = t.scale + np.asarray(betas, np.float32) @ t.scale_shapes
        hung = (t.share[..., None] * anchors[t.corner]).sum(1)
        self.vertices = (hung + t.offset * scale).astype(np.float32)
        self.moves: dict[int, NDArray[np.float32]] = {}
        self.turns: dict[int, NDArray[np.float64]] = {}
        low = anchors[t.anchor_lower].astype(np.float64)
        middle = low.mean(0)
        for shape in np.flatnonzero(np.abs(t.anchor_moves).max((1, 2)) > 1e-5):
            step = t.anchor_moves[shape][t.anchor_lower]
            # The three points say how a rigid jaw moves; a row that only followed them would shear.
            turn = _rotation(low - middle, low + step - (low + step).mean(0))
            away = self.vertices - middle
            moved = (away @ turn.T - away + step.mean(0)) * t.lower[:, None]
            self.moves[int(shape)], self.turns[int(shape)] = moved.astype(np.float32), turn

    @cached_property
    def gaussians(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Means [G,3] m, quats [G,4] wxyz and scales [G,3] m: flat on the drawn quads, z outwards."""
        corner = self.vertices[self.table.quads[self.table.drawn]].astype(np.float64)
        along = corner[:, 1] + corner[:, 2] - corner[:, 0] - corner[:, 3]
        across = corner[:, 2] + corner[:, 3] - corner[:, 0] - corner[:, 1]
        normal = np.cross(along, across)
        area = np.linalg.norm(normal, axis=1, keepdims=True)
        length = np.linalg.norm(along, axis=1, keepdims=True)
        normal, along = normal / area, along / length
        frames = np.stack([along, np.cross(normal, along), normal], -1)
        sides = np.concatenate([length, area / length], 1) / 2
        scales = np.concatenate([TANGENTIAL * sides, THIN * sides.mean(1, keepdims=True)], 1)
        return (
            ((corner[:, 0] + corner[:, 2]) / 2).astype(np.float32),
            matrix_to_quaternion(torch.from_numpy(frames)).numpy().astype(np.float32),
            scales.astype(np.float32),
        )

    @property
    def weights(self) -> NDArray[np.float32]:
        """Skin weights [V,55]: all of head or jaw."""
        out = np.zeros((len(self.vertices), NUM_JOINTS), np.float32)
        out[np.arange(len(out)), np.where(self.table.lower, JOINT_INDEX["jaw"], JOINT_INDEX["head"])] = 1
        return out

    def moved(self, expression: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What an expression [52] adds to means [G,3] m and quaternions [G,4] before normalising."""
        quads = self.table.quads[self.table.drawn]
        base = torch.from_numpy(self.gaussians[1])
        means = np.zeros((len(quads), 3), np.float32)
        quats = np.zeros((len(quads), 4), np.float32)
        lower = self.table.lower[quads[:, 0]][:, None]
        for shape, step in self.moves.items():
            if weight := float(expression[shape]):
                means += weight * (step[quads[:, 0]] + step[quads[:, 2]]) / 2
                turn = matrix_to_quaternion(torch.from_numpy(self.turns[shape])).float()
                turn = turn * torch.sign(turn[0])
                quats += (
                    weight * lower * (quaternion_multiply(turn.expand(len(quads), 4), base) - base).numpy()
                )
        return means, quats

    def colors(self, white: NDArray[np.floating], red: NDArray[np.floating]) -> NDArray[np.float32]:
        """sRGB [G,3] from that of the white of the eyes and of the inside of the lips [3]."""
        t = self.table
        quads = t.quads[t.drawn]
        z = self.vertices[quads].mean(1)[:, 2]
        depth = (z.max() - z) / np.ptp(z)
        height = t.height[quads].mean(1)[:, None]
        bright = np.where(t.lower[quads[:, 0]], LOWER, UPPER)[:, None]
        bright = bright * (1 - (1 - BACK) * depth)[:, None] ** WARMING
        low, high = GUM_HEIGHT
        gum = GUM * np.clip((high - height) / (high - low), 0, 1)
        # Lips are dark in the shade, or just dark: half of each.
        lit = np.sqrt(np.clip(SHADE * red[0] / max(float(white[0]), 0.05), 0.3, 1))
        tooth = lit * bright * IVORY * white * (0.9 + 0.1 * np.clip(height, 0, 1))
        return np.clip((1 - gum) * tooth + gum * GUM_RED * red, 0, 1).astype(np.float32)


class AmongTeeth:
    """The teeth among the Gaussians of a stored avatar, whose ``texel`` [N,2] lie on a grid of ``uv_size``.

    Attributes:
        others: rows of all other Gaussians.
    """

    def __init__(self, texel: NDArray[np.integer], uv_size: int, betas: NDArray[np.floating]) -> None:
        drawn = drawn_teeth(texel, uv_size)
        self.others, self._rows = np.flatnonzero(drawn < 0), np.flatnonzero(drawn >= 0)
        self._drawn = drawn[self._rows]
        self._teeth = Teeth(betas) if len(self._rows) else None

    def added(
        self, parts: list[NDArray[np.float32]], expression: NDArray[np.floating]
    ) -> list[NDArray[np.float32]]:
        """Corrections of the others, means and quaternions first, with those of the teeth among them."""
        if self._teeth is None:
            return parts
        moved = self._teeth.moved(expression)
        whole = []
        for number, part in enumerate(parts):
            full = np.zeros((len(self.others) + len(self._rows), part.shape[1]), np.float32)
            full[self.others] = part
            if number < len(moved):
                full[self._rows] = moved[number][self._drawn]
            whole.append(full)
        return whole


def with_teeth(
    made: CanonicalGaussians,
    white: NDArray[np.floating],
    red: NDArray[np.floating],
    skin: NDArray[np.bool_],
    tongue: NDArray[np.bool_],
) -> CanonicalGaussians:
    """The person with teeth as the last Gaussians.

    Args:
        white, red: [3] sRGB of the white of the eyes and of the inside of the lips.
        skin, tongue: (N,) what teeth may not reach through, and what may not reach through teeth.
    """
    teeth = Teeth(made.betas)
    table, (means, quats, scales) = teeth.table, teeth.gaussians
    colors, ones = teeth.colors(white, red), np.ones(len(means), np.float32)
    more = {
        "means": means, "quats": quats, "scales": scales, "opacities": OPACITY * ones, "colors": colors,
        "albedo": colors, "texel": table.texel, "weights": teeth.weights[table.quads[table.drawn, 0]],
        "blend": ones,
    }  # fmt: skip
    whole = {name: np.concatenate([getattr(made, name), rows]) for name, rows in more.items()}
    crown = table.height[table.quads[table.drawn]].mean(1) > 0
    none = np.zeros(len(means), bool)
    others = np.zeros(len(skin), bool)
    pairs = (
        (np.append(others, ~none), np.append(skin, none)),
        (np.append(tongue, none), np.append(others, crown)),
    )
    for inner, outer in pairs:
        whole["scales"] = kept_within(whole["means"], whole["scales"], inner, outer)
    return replace(made, **whole, teeth=teeth)


def _rotation(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation [3,3] that brings points a [P,3] nearest to b [P,3], both about their middle."""
    u, _, vt = np.linalg.svd(a.T @ b)
    flip = np.diag([1, 1, np.sign(np.linalg.det(vt.T @ u.T))])
    return np.asarray(vt.T @ flip @ u.T)
