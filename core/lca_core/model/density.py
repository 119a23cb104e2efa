"""Where an avatar's Gaussians sit: a quadtree over the UV atlas, finer where people look.

A body and the side of the body's own grid go in; rows and columns on one very fine grid come out, with the
side of the UV square each Gaussian stands for. The squares tile the atlas, so densities meet without gap or
overlap. The body has one Gaussian per texel of its grid; front of the head and hands are split where they
are coarser than 2 mm; the front of the eyeballs, whose UV islands are tiny, as far as a millimetre. Of the
inner surfaces that of the mouth carries some, as far as an open mouth shows it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lca.errors import InvalidInputError, PreconditionError
from lca_core.body.names import ARKIT_INDEX, HAND_JOINTS, JOINT_INDEX
from lca_core.model.mouth import mouth_faces, rim, shown_faces
from lca_core.model.surface import BodyPoints, LocatedPoints, array
from lca_core.model.template import Template

FINEST = 4096
"""Side of the grid that rows and columns refer to (``uv_size`` of the avatar file)."""
FACE_SPACING = 0.0021
HAND_SPACING = 0.0021
"""Metres between Gaussians that the front of the head and the hands are split for, at most once."""
LID_SPACING = 0.0014
UNFOLDS = 1.3
"""Metres between Gaussians on closed lids; lids are what grows by this factor when the eyes close."""
EYE_SPACINGS = ((1.9, 0.0035), (1.25, 0.0018), (0.5, 0.0010))
"""Radians from the eye's forward axis and metres between Gaussians up to there: the iris with its rim, what
lids may show, the sides. What lies behind them is never seen and carries nothing."""
MOUTH_SPACING, TONGUE_SPACING = 0.0053, 0.007
RIM_SPACING, RIM_REACH = 0.0022, 0.007
"""Metres between Gaussians of the mouth beside the lips, and how far in: so near the skin they are small, yet
teeth must not shine through."""
NOWHERE = 0
EYE_JOINTS = (JOINT_INDEX["left_eye_smplhf"], JOINT_INDEX["right_eye_smplhf"])
EYE_REACH = 0.03
"""Metres around an eye's centre in which its lids end."""


class Samples(BodyPoints):
    """The places of Gaussians on a body.

    Attributes:
        rows, cols: [T] int64 on a grid of ``size``. part [T]: 0 skin, 1 tongue, 2 left and 3 right eyeball.
        inside [T]: in the mouth. island [T]: UV island. step [T]: side of each Gaussian's UV square in texels
            of the grid; 0 where the samples were read from a file, which does not say.
    """

    kept_people = 2

    def __init__(
        self,
        template: Template,
        rows: NDArray[np.integer],
        cols: NDArray[np.integer],
        size: int,
        step: NDArray[np.integer] | None = None,
    ) -> None:
        self.rows, self.cols = np.asarray(rows, np.int64), np.asarray(cols, np.int64)
        self.size = size
        self.step = np.zeros(len(self.rows), np.int64) if step is None else np.asarray(step, np.int64)
        self._points = _locate(template, self.rows, self.cols, size)
        self.inside = mouth_faces(template)[self._points.face] & (self._points.face >= 0)
        if bool((self._points.face < 0).any() or (array(self._points.cavity) & ~self.inside).any()):
            raise InvalidInputError("The avatar has Gaussians on texels outside this body's atlas.")
        super().__init__(template.body, self._points.tri, self._points.bary)
        self.part = array(self._points.part)
        self.island = array(self._points.island)
        self._typical: NDArray[np.float32] | None = None

    @property
    def eyes(self) -> NDArray[np.bool_]:
        """Points on the eyeballs [T]."""
        return self.part >= 2

    @property
    def bare(self) -> NDArray[np.bool_]:
        """Points [T] where the network's maps have nothing to say: eyeballs and the inside of the mouth."""
        return self.eyes | self.inside

    def _frames(self, vertices: NDArray[np.float32]) -> NDArray[np.float32]:
        return array(self._points.frames(torch.from_numpy(vertices))).astype(np.float32)

    def derivatives(self) -> NDArray[np.float32]:
        """Weights [T,2,3] of a point's corners that give the change along u and v of any per-vertex value."""
        return array(self._points.derivatives())

    def spacing(self, betas: torch.Tensor) -> NDArray[np.float32]:
        """Metres [T,2] that each Gaussian's UV square measures along u and v on the body of betas [50]."""
        vertices = array(self.body.rest(betas[None], None)[0])[0]
        size = self._points.stretch(vertices) * (self.step[:, None] / self.size)
        # Where the atlas shears, one side may be far longer than what the square covers.
        limit = 1.6 * np.sqrt(size.prod(1, keepdims=True))
        return np.clip(np.minimum(size, limit), 3e-4, 0.03).astype(np.float32)

    def typical_spacing(self) -> NDArray[np.float32]:
        if self._typical is None:
            self._typical = self.spacing(torch.zeros(50)).mean(1)
        return self._typical

    def following(self) -> NDArray[np.int64]:
        key = self.rows * (2 * self.size) + self.cols
        order = np.argsort(key)
        at = np.minimum(np.searchsorted(key[order], key + self.step), len(key) - 1)
        found = order[at]
        same = (key[found] == key + self.step) & (self.step[found] == self.step) & (self.step > 0)
        return np.where(same, found, -1)


@lru_cache(maxsize=4)
def plan(template: Template, texture_size: int = 256) -> Samples:
    """The samples of an avatar; kept for the template's next avatar.

    Args:
        template: any size; its body and its ``locate`` are used.
        texture_size: side of the body's grid, a power of two up to 1024.

    Raises:
        InvalidInputError: not such a size.
        PreconditionError: the template cannot locate single texels.
    """
    if texture_size not in (2**k for k in range(4, 11)):
        raise InvalidInputError(f"texture_size must be a power of two from 16 to 1024, not {texture_size}.")
    rows, cols, step = _cells(template, texture_size)
    middle = step // 2
    on = _locate(template, rows + middle, cols + middle, FINEST)
    wanted = wanted_steps(template, FINEST // texture_size)
    inside = mouth_faces(template)[on.face]
    keep = (on.face >= 0) & (~on.cavity | inside) & (wanted[on.face] != NOWHERE)
    return Samples(template, (rows + middle)[keep], (cols + middle)[keep], FINEST, step[keep])


def _cells(template: Template, texture_size: int) -> tuple[NDArray, NDArray, NDArray]:
    """Leaves of the quadtree: first row, first column and side, in texels of the finest grid."""
    step = FINEST // texture_size
    wanted = wanted_steps(template, step)
    grid = np.arange(texture_size) * step
    rows, cols = (x.ravel() for x in np.meshgrid(grid, grid, indexing="ij"))
    leaves = []
    while True:
        finest = np.full(len(rows), step)
        if step > 1:
            # A cell is split when any of its sixteenths lies on a triangle that asks for it.
            inner = np.unique(np.arange(4) * step // 4 + step // 8)
            for dr in inner:
                for dc in inner:
                    face = _locate(template, rows + dr, cols + dc, FINEST).face
                    finest = np.minimum(
                        finest, np.where((face >= 0) & (wanted[face] != NOWHERE), wanted[face], step)
                    )
        split = finest < step
        leaves.append((rows[~split], cols[~split], np.full(int((~split).sum()), step)))
        if not split.any():
            break
        step //= 2
        rows = np.concatenate([rows[split] + dr for dr in (0, step) for _ in range(2)])
        cols = np.concatenate([cols[split] + dc for _ in range(2) for dc in (0, step)])
    r, c, s = (np.concatenate(parts) for parts in zip(*leaves, strict=True))
    order = np.lexsort((c, r))
    return r[order], c[order], s[order]


def wanted_steps(template: Template, base: int) -> NDArray[np.int64]:
    """Side of the UV square, in texels of the finest grid, that each triangle [F] of the mean body asks for;
    ``NOWHERE`` for triangles that carry no Gaussians."""
    body, faces = template.body, template.faces.astype(np.int64)
    vertices, joints = (array(x)[0] for x in body.rest(torch.zeros(1, 50), None))
    weights, corner = template.vertex_weights, vertices[faces]
    middle = corner.mean(1)
    cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normal = cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-12)
    of_face = weights[faces].mean(1)
    head = of_face[:, [JOINT_INDEX[n] for n in ("head", "jaw")]].sum(1) > 0.5
    eye_z = joints[JOINT_INDEX["left_eye_smplhf"], 2]
    front = head & ((normal[:, 2] > 0.25) | ((middle[:, 2] > eye_z - 0.06) & (normal[:, 2] > -0.3)))
    hands = of_face[:, [*HAND_JOINTS["left"], *HAND_JOINTS["right"]]].sum(1) > 0.5
    spacing = _face_spacing(template, vertices)
    # A lid is a narrow fold until it closes: it needs Gaussians enough for the skin it then becomes.
    closed = np.zeros((1, 52), np.float32)
    closed[0, [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]] = 1
    shut = array(body.rest(torch.zeros(1, 50), torch.from_numpy(closed))[0])[0]
    unfolded = _face_spacing(template, shut)
    lids = head & (unfolded > UNFOLDS * spacing)
    # Lashes are a line along the rim of the lid.
    lids |= head & np.isin(faces, lid_rims(template)).any(1)

    def steps(target: float, spacing: NDArray[np.floating] = spacing) -> NDArray[np.int64]:
        ratio = np.maximum(spacing * base / target, 1.0)
        return base // 2 ** np.ceil(np.log2(ratio) - 0.1).astype(np.int64).clip(0, int(np.log2(base)))

    wanted = np.full(len(faces), base)
    wanted = np.where(front, np.maximum(steps(FACE_SPACING), max(base // 2, 1)), wanted)
    wanted = np.where(lids, np.minimum(wanted, steps(LID_SPACING, unfolded)), wanted)
    wanted = np.where(hands, np.maximum(steps(HAND_SPACING), max(base // 2, 1)), wanted)
    wanted = np.where(mouth_faces(template), NOWHERE, wanted)
    shown = shown_faces(template)
    wanted = np.where(shown, steps(MOUTH_SPACING), wanted)
    if shown.any():
        at_rim = cKDTree(vertices[rim(template)]).query(middle)[0] < RIM_REACH
        wanted = np.where(shown & at_rim, steps(RIM_SPACING), wanted)
    part = getattr(body, "part", None)
    if part is not None:
        side = array(part)[faces].min(1)
        wanted = np.where(side == 1, steps(TONGUE_SPACING), wanted)
        for number, name in ((2, "left_eye_smplhf"), (3, "right_eye_smplhf")):
            ball = side == number
            away = middle - joints[JOINT_INDEX[name]]
            angle = np.arccos(np.clip(away[:, 2] / np.maximum(np.linalg.norm(away, axis=1), 1e-9), -1, 1))
            wanted = np.where(ball, NOWHERE, wanted)
            for limit, target in EYE_SPACINGS:
                wanted = np.where(ball & (angle < limit), steps(target), wanted)
    return wanted


def lid_rims(points: BodyPoints) -> NDArray[np.int64]:
    """Vertex pairs [R,2] of the edges where lids meet the eye sockets; none on a body without sockets."""
    cavity = getattr(points.body, "cavity", None)
    if cavity is None:
        return np.zeros((0, 2), np.int64)
    rest, joints = (array(x)[0] for x in points.body.rest(torch.zeros(1, 50), None))
    faces = points.faces.astype(np.int64)
    inner = array(cavity)[faces].all(1)

    def edges(chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        pairs = np.concatenate([chosen[:, [0, 1]], chosen[:, [1, 2]], chosen[:, [2, 0]]])
        return np.unique(np.sort(pairs, 1) @ np.array([len(rest), 1]))

    both = np.intersect1d(edges(faces[inner]), edges(faces[~inner]))
    pairs = np.stack(np.divmod(both, len(rest)), 1)
    away = np.linalg.norm(rest[pairs[:, :1]] - joints[None, list(EYE_JOINTS)], axis=2).min(1)
    return pairs[away < EYE_REACH]


def _face_spacing(template: Template, vertices: NDArray[np.floating]) -> NDArray[np.float64]:
    """Metres per texel of the finest grid on each triangle [F]: square root of area over UV area."""
    uvs = getattr(template.body, "uvs", None)
    faces = template.faces
    if uvs is None:
        raise PreconditionError("This body has no UV vertices to plan Gaussians on.")
    uv = array(uvs).astype(np.float64)[array(template.body.face_uvs)]  # type: ignore[attr-defined]
    corner = vertices[faces].astype(np.float64)
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    d1, d2 = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    flat = np.abs(d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0])
    return np.sqrt(area / np.maximum(flat, 1e-12)) / FINEST


def _locate(template: Template, rows: NDArray, cols: NDArray, size: int) -> LocatedPoints:
    if template.locate is None:
        raise PreconditionError("This template cannot locate single texels; load it with Template.load.")
    return template.locate(rows, cols, size)
