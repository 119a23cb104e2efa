"""Simulates skirts by position-based dynamics (Mueller et al. 2007) in numba: loose-garment ground truth.

In: a dressed :class:`~lca_core.data.people.Person` with a skirt and one pose (:func:`settle`) or a sequence
(:func:`drape`). Out: posed vertices of the skirt or of the whole person. Edges keep their length, opposite
vertices resist bending, the upper band follows skinning, and the cloth collides with the posed legs and
pelvis. Deterministic: same input, same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numba
import numpy as np
from numpy.typing import NDArray

from lca.errors import InvalidInputError
from lca_core.body.names import JOINT_INDEX
from lca_core.data import library, skinning
from lca_core.data.garments import Fitted
from lca_core.data.render import vertex_normals

if TYPE_CHECKING:
    from lca_core.data.people import Person

GRAVITY = 9.8
FRAME_S = 1 / 30
SUBSTEPS = 24
CLEARANCE_M = 0.009
_REACH_M = 0.09
_TOP_SPEED = 6.0
_PIN_M = 0.03
_BEND = 0.1
_DIFFUSION_STEPS = 200
_SKIN_JOINTS = (
    "pelvis", "spine1", "spine2", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip


class PoseLike(Protocol):
    """What :func:`drape` reads of a pose; ``lca_core.data.motion.Pose`` fits."""

    @property
    def joints(self) -> NDArray: ...
    @property
    def transl(self) -> NDArray: ...
    @property
    def expression(self) -> NDArray: ...
    @property
    def gaze(self) -> NDArray: ...


@numba.njit(cache=True)
def _project(x: NDArray, free: NDArray, pairs: NDArray, rest: NDArray, stiffness: float, limit: bool) -> None:
    """One Gauss-Seidel sweep of distance constraints; ``limit`` acts on stretched and squeezed edges alike
    when False and only on squeezed ones (bending) when True."""
    for e in range(len(pairs)):
        i, j = pairs[e, 0], pairs[e, 1]
        wi, wj = free[i], free[j]
        w = wi + wj
        if w == 0.0:
            continue
        dx = x[j, 0] - x[i, 0]
        dy = x[j, 1] - x[i, 1]
        dz = x[j, 2] - x[i, 2]
        length = np.sqrt(dx * dx + dy * dy + dz * dz)
        if length < 1e-9 or (limit and length > rest[e]):
            continue
        s = stiffness * (length - rest[e]) / (length * w)
        x[i, 0] += wi * s * dx
        x[i, 1] += wi * s * dy
        x[i, 2] += wi * s * dz
        x[j, 0] -= wj * s * dx
        x[j, 1] -= wj * s * dy
        x[j, 2] -= wj * s * dz


@numba.njit(cache=True)
def _nearest(x: NDArray, free: NDArray, body: NDArray, out: NDArray) -> None:
    """Index of the nearest body point of every free vertex, -1 beyond reach."""
    for i in range(len(x)):
        best, at = 1e9, -1
        if free[i] > 0:
            for b in range(len(body)):
                dx = x[i, 0] - body[b, 0]
                dy = x[i, 1] - body[b, 1]
                dz = x[i, 2] - body[b, 2]
                d = dx * dx + dy * dy + dz * dz
                if d < best:
                    best, at = d, b
        out[i] = at if best < 0.0225 else -1


@numba.njit(cache=True)
def _collide(
    x: NDArray, near: NDArray, body: NDArray, normals: NDArray, clearance: float, reach: float
) -> None:
    for i in range(len(x)):
        b = near[i]
        if b >= 0:
            d = (
                (x[i, 0] - body[b, 0]) * normals[b, 0]
                + (x[i, 1] - body[b, 1]) * normals[b, 1]
                + (x[i, 2] - body[b, 2]) * normals[b, 2]
            )
            lack = clearance - d
            if lack > 0.0:
                lack = min(lack, reach)
                for k in range(3):
                    x[i, k] += lack * normals[b, k]


@numba.njit(cache=True)
def _frame(
    x: NDArray, v: NDArray, free: NDArray, pinned0: NDArray, pinned1: NDArray, body0: NDArray, body1: NDArray,
    normals: NDArray, edges: NDArray, rest: NDArray, bends: NDArray, bend_rest: NDArray, near: NDArray,
    substeps: int, dt: float, damping: float, gravity: float, clearance: float, reach: float, bend: float,
    top_speed: float,
) -> None:  # fmt: skip
    """Advance one frame; pins and body move linearly from their state 0 to their state 1."""
    h = dt / substeps
    old = np.empty_like(x)
    body = np.empty_like(body0)
    for s in range(substeps):
        a = (s + 1) / substeps
        old[:] = x
        for i in range(len(x)):
            if free[i] == 0.0:
                for k in range(3):
                    x[i, k] = (1 - a) * pinned0[i, k] + a * pinned1[i, k]
            else:
                v[i, 1] -= gravity * h
                for k in range(3):
                    x[i, k] += h * v[i, k]
        _project(x, free, edges, rest, 1.0, False)
        _project(x, free, bends, bend_rest, bend, True)
        if s % 4 == 3:
            for b in range(len(body)):
                for k in range(3):
                    body[b, k] = (1 - a) * body0[b, k] + a * body1[b, k]
            if s % 8 == 3:
                _nearest(x, free, body, near)
            _collide(x, near, body, normals, clearance, reach)
        for i in range(len(x)):
            if free[i] > 0.0:
                speed = 0.0
                for k in range(3):
                    v[i, k] = (x[i, k] - old[i, k]) / h * damping
                    speed += v[i, k] * v[i, k]
                speed = np.sqrt(speed)
                if speed > top_speed:
                    for k in range(3):
                        v[i, k] *= top_speed / speed


def _pairs(faces: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Edges (E,2) and pairs of vertices opposite to an inner edge (B,2)."""
    wing: dict[tuple[int, int], list[int]] = {}
    for a, b, c in faces.tolist():
        for i, j, k in ((a, b, c), (b, c, a), (c, a, b)):
            wing.setdefault((min(i, j), max(i, j)), []).append(k)
    edges = np.array(sorted(wing), np.int64)
    bends = np.array([w for _, w in sorted(wing.items()) if len(w) == 2], np.int64)
    return edges, bends


@dataclass
class Skirt:
    """A simulated garment of a person.

    Args:
        fitted: the skirt in T-pose. where: its vertices in the person's mesh.
    """

    fitted: Fitted
    where: slice

    def __post_init__(self) -> None:
        self.rest = self.fitted.vertices.astype(np.float64)
        self.faces = self.fitted.item.faces
        self.edges, self.bends = _pairs(self.faces)
        # From the waist down, so that one sweep carries the waist's hold to the hem.
        self.edges = self.edges[np.argsort(-self.rest[self.edges, 1].max(1), kind="stable")]

    @cached_property
    def pinned(self) -> NDArray[np.bool_]:
        """(N,) vertices that follow skinning: the upper band, at least 4 cm of it."""
        y = self.rest[:, 1]
        return y > min(_PIN_M, float(y.max()) - 0.04)

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """Skin weights (N,55) diffused below the waist, so that skinning alone keeps the cloth in one
        piece."""
        w = self.fitted.weights.astype(np.float32).copy()
        n, e = len(w), self.edges
        degree = np.bincount(e.ravel(), minlength=n)[:, None]
        used = np.flatnonzero(w.max(0) > 0)
        part = w[:, used]
        free = ~self.pinned
        for _ in range(_DIFFUSION_STEPS):
            total = np.stack(
                [np.bincount(e[:, 0], part[e[:, 1], k], n) + np.bincount(e[:, 1], part[e[:, 0], k], n)
                 for k in range(part.shape[1])], 1,
            )  # fmt: skip
            part[free] += 0.5 * (total / degree - part)[free]
        w[:, used] = part
        return w

    def stretch(self, vertices: NDArray) -> NDArray[np.float64]:
        """Edge lengths (E,) of skirt vertices (N,3) divided by those at rest."""
        return _lengths(vertices, self.edges) / np.maximum(_lengths(self.rest, self.edges), 1e-9)


def _lengths(x: NDArray, pairs: NDArray) -> NDArray[np.float64]:
    return np.linalg.norm(x[pairs[:, 0]] - x[pairs[:, 1]], axis=1)


class Simulation:
    """The state of one skirt while its person moves.

    Starts in the T-pose at rest, turned like ``root`` (3,) axis-angle and moved by ``transl`` (3,) metres.
    """

    def __init__(self, person: Person, root: NDArray, transl: NDArray) -> None:
        if person.skirt is None:
            raise InvalidInputError(
                f"Person {person.identity.number} wears no skirt; choose one whose `skirt` is not None."
            )
        self.skirt = person.skirt
        self._joints = person.joints
        ext = library.extended_body()
        faces, _ = library.base_mesh("skin")
        self._faces = faces
        rows = [JOINT_INDEX[n] for n in _SKIN_JOINTS]
        base = person.rest[: len(ext.template)]
        low = base[:, 1] < self.skirt.rest[:, 1].max() + 0.02
        solid = np.zeros(len(base), bool)
        solid[np.unique(faces)] = True
        self._ids = np.flatnonzero((ext.weights[:, rows].sum(1) > 0.5) & low & solid)
        self._base = base[self._ids]
        self._weights = ext.weights[self._ids]
        self._local = np.full(len(base), -1)
        self._local[self._ids] = np.arange(len(self._ids))
        part = self._local[faces]
        self._part = part[(part >= 0).all(1)]
        self._pin_weights = self.skirt.weights
        pose = np.zeros((55, 3))
        pose[0] = root
        self._body, self._pins, _ = self._targets(pose, transl)
        self.x = self._pins.copy()
        self.v = np.zeros_like(self.x)
        self._free = (~self.skirt.pinned).astype(np.float64)
        self._near = np.full(len(self.x), -1, np.int64)
        self._rest = _lengths(self.skirt.rest, self.skirt.edges)
        self._bend_rest = _lengths(self.skirt.rest, self.skirt.bends)

    def _targets(self, pose: NDArray, transl: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        moved = skinning.joint_transforms(skinning.rotation_matrices(pose), self._joints)
        body = skinning.skin(self._base, self._weights, moved).astype(np.float64) + transl
        pins = skinning.skin(self.skirt.rest.astype(np.float32), self._pin_weights, moved) + transl
        return body, pins.astype(np.float64), vertex_normals(body, self._part).astype(np.float64)

    def step(
        self, pose: NDArray, transl: NDArray, *, substeps: int = SUBSTEPS, damping: float = 0.998
    ) -> NDArray[np.float32]:
        """One frame of 1/30 s towards ``pose`` (55,3), ``transl`` (3,): skirt vertices (N,3)."""
        body, pins, normals = self._targets(pose, np.asarray(transl, np.float64))
        _frame(
            self.x, self.v, self._free, self._pins, pins, self._body, body, normals, self.skirt.edges,
            self._rest, self.skirt.bends, self._bend_rest, self._near, substeps, FRAME_S, damping, GRAVITY,
            CLEARANCE_M, _REACH_M, _BEND, _TOP_SPEED,
        )  # fmt: skip
        self._body, self._pins = body, pins
        return self.x.astype(np.float32)

    def inside(self, tolerance: float = 0.0) -> float:
        """Share of skirt vertices that lie more than ``tolerance`` metres inside the legs or the pelvis."""
        normals = vertex_normals(self._body, self._part)
        near = np.full(len(self.x), -1, np.int64)
        _nearest(self.x, np.ones(len(self.x)), self._body, near)
        good = near >= 0
        depth = ((self.x[good] - self._body[near[good]]) * normals[near[good]]).sum(1)
        return float((depth < -tolerance).sum() / len(self.x))


def _approach(person: Person, pose: NDArray, transl: NDArray, frames: int, hold: int) -> Simulation:
    """A simulation that was moved from the T-pose into ``pose`` and came to rest there."""
    sim = Simulation(person, pose[0], transl)
    for k in range(1, frames + hold + 1):
        a = min(k / frames, 1.0)
        part = np.asarray(pose, np.float64) * a
        part[0] = pose[0]
        # Strong damping: the result should hang, not swing.
        sim.step(part, transl, substeps=16, damping=0.985)
    return sim


def settle(person: Person, pose: NDArray, *, frames: int = 10, hold: int = 8) -> NDArray[np.float32]:
    """Skirt vertices (N,3) of ``person`` hanging still in ``pose`` (55,3), before translation.

    Raises InvalidInputError when the person wears no skirt.
    """
    return _approach(person, pose, np.zeros(3), frames, hold).x.astype(np.float32)


def drape(person: Person, poses: Sequence[PoseLike], *, substeps: int = SUBSTEPS) -> NDArray[np.float32]:
    """Vertices (T,V,3) of a dressed person over poses at 30 per second, the skirt swinging with the motion.

    People without a skirt are skinned only. The skirt starts at rest in the first pose.
    """
    if not len(poses):
        raise InvalidInputError("drape() needs at least one pose.")
    sim = None
    if person.skirt is not None:
        sim = _approach(person, poses[0].joints, np.asarray(poses[0].transl, np.float64), 10, 12)
    out = np.empty((len(poses), len(person.rest), 3), np.float32)
    for t, q in enumerate(poses):
        out[t] = person.skinned(q.joints, q.expression, q.gaze) + np.asarray(q.transl, np.float32)
        if sim is not None:
            assert person.skirt is not None
            out[t, person.skirt.where] = sim.x if t == 0 else sim.step(q.joints, q.transl, substeps=substeps)
    return out
