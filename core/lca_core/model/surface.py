"""Points fixed to the body: where they rest, how they pose, which shapes move them. Nothing here is learned.

A point is a triangle of the body mesh with barycentric weights. Two sets are built on this: the texels of a
UV grid (:mod:`lca_core.model.template`) and the places of an avatar's Gaussians
(:mod:`lca_core.model.density`).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from lca_core.body.model import BodyModel
from lca_core.body.names import HEAD_JOINTS, JOINT_NAMES
from lca_core.body.rotation import axis_angle_to_matrix

KEPT_PEOPLE = 400
"""Rest bodies kept in memory (0.5 MB each at 128 x 128): training meets the same people again and again."""


class TemplateBody(Protocol):
    """What is asked of a body model (``lca_core.body.BodyModel`` is one)."""

    faces: Any
    weights: Any

    def rest(self, betas: Any, expression: Any) -> tuple[Any, Any]: ...

    def forward(self, betas: Any, pose: Any, transl: Any, expression: Any) -> Any: ...


class LocatedPoints(Protocol):
    """Single points of a body (``lca_core.body.points.SurfacePoints`` is one), N of them.

    face (N,) triangle number or -1; tri (N,3) vertices; bary (N,3); cavity (N,) bool; part (N,) 0 skin, 1
    tongue, 2 left and 3 right eyeball; island (N,).
    """

    @property
    def face(self) -> Any: ...

    @property
    def tri(self) -> Any: ...

    @property
    def bary(self) -> Any: ...

    @property
    def cavity(self) -> Any: ...

    @property
    def part(self) -> Any: ...

    @property
    def island(self) -> Any: ...

    def frames(self, vertices: Any) -> Any: ...

    def stretch(self, vertices: Any) -> Any: ...

    def derivatives(self) -> Any: ...


@dataclass
class PosedTexels:
    """One posed view: texel positions [T,3] and unit normals [T,3] in world space, mesh vertices [V,3]."""

    position: NDArray[np.float32]
    normal: NDArray[np.float32]
    vertices: NDArray[np.float32]


def array(value: Any) -> NDArray[Any]:
    """A tensor or array as numpy."""
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


class BodyPoints:
    """T points of a body's surface.

    Attributes:
        corners [T,3], bary [T,3]: triangle corners behind each point. weights: [T,55] template skin weights.
        head_vertices: vertices that follow head, jaw or eyes. arm_faces [A,3], arm_texels [T] 0/1: forearms
            and hands; trunk_faces [F-A,3]: all others. upper_arm_texels [T] 0/1.
    """

    kept_people = KEPT_PEOPLE

    def __init__(self, body: TemplateBody, corners: NDArray[np.integer], bary: NDArray[np.floating]) -> None:
        self.body = body
        self.faces = np.ascontiguousarray(array(body.faces), np.int32)
        self.corners = np.ascontiguousarray(corners, np.int64)
        self.bary = np.ascontiguousarray(bary, np.float32)
        vertex_weights = np.ascontiguousarray(array(body.weights), np.float32)
        self.vertex_weights = vertex_weights
        weights = np.einsum("tk,tkj->tj", self.bary, vertex_weights[self.corners])
        self.weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
        arms = [i for i, name in enumerate(JOINT_NAMES) if is_lower_arm(name)]
        in_arm = vertex_weights[:, arms].sum(1) > 0.5
        lower = in_arm[self.faces].all(1)
        self.arm_faces, self.trunk_faces = (np.ascontiguousarray(self.faces[k]) for k in (lower, ~lower))
        self.arm_texels = in_arm[self.corners].all(1).astype(np.float32)
        shoulders = [JOINT_NAMES.index(f"{side}_shoulder") for side in ("left", "right")]
        self.upper_arm_texels = (self.weights[:, shoulders].sum(1) > 0.5).astype(np.float32)
        self.head_vertices = np.nonzero(vertex_weights[:, HEAD_JOINTS].sum(1) > 0.5)[0]
        self._people: OrderedDict[bytes, tuple[Tensor, Tensor, Tensor]] = OrderedDict()
        self._shapes: tuple[Tensor, Tensor] | None = None
        self._pose_rows: tuple[Tensor, Tensor] | None = None
        self._bare: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    @property
    def count(self) -> int:
        """Number of points T."""
        return len(self.corners)

    def typical_spacing(self) -> NDArray[np.float32]:
        """Distance to the neighbours [T] in metres on the mean body."""
        raise NotImplementedError

    def following(self) -> NDArray[np.int64]:
        """The next point along the row [T], -1 where there is none of the same density."""
        raise NotImplementedError

    def _frames(self, vertices: NDArray[np.float32]) -> NDArray[np.float32]:
        """Tangent frames [T,3,3] on rest vertices [V,3]."""
        raise NotImplementedError

    def on_texels(self, vertices: NDArray[np.floating]) -> NDArray[np.float32]:
        """Vertex values [V,C] -> texel values [T,C]."""
        corners = vertices[self.corners]
        return np.einsum("tk,tkc->tc", self.bary, corners).astype(np.float32)

    def _rest(self, betas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        key = betas.numpy().tobytes()
        if key in self._people:
            self._people.move_to_end(key)
            return self._people[key]
        vertices, joints = self.body.rest(betas[None], None)
        vertices = array(vertices).reshape(-1, 3).astype(np.float32)
        result = (
            torch.from_numpy(self.on_texels(vertices)),
            torch.from_numpy(self._frames(vertices)),
            torch.from_numpy(array(joints).reshape(-1, 3).astype(np.float32)),
        )
        self._people[key] = result
        if len(self._people) > self.kept_people:
            self._people.popitem(last=False)
        return result

    def _forward(
        self, betas: Any, pose: Any, transl: Any, expression: Any
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        def t(value: Any) -> Tensor:
            return torch.as_tensor(array(value), dtype=torch.float32)

        posed = self.body.forward(t(betas), t(pose), t(transl), t(expression))
        return (
            array(posed.vertices).astype(np.float32),
            array(posed.transforms).astype(np.float32),
            array(posed.joints).astype(np.float32),
        )

    def posed_vertices(self, betas: Any, pose: Any, transl: Any, expression: Any) -> NDArray[np.float32]:
        """One person in N poses: betas [50], pose [N,55,3], transl [N,3], expression [N,52] -> [N,V,3]."""
        n = len(pose)
        same = np.repeat(array(betas)[None], n, 0)
        return self._forward(same, pose, transl, expression)[0]

    def transforms(self, betas: Any, pose: Any, transl: Any, expression: Any) -> NDArray[np.float32]:
        """Rest-to-posed joint transforms [N,55,4,4] of one person in N poses."""
        same = np.repeat(array(betas)[None], len(pose), 0)
        return self._forward(same, pose, transl, expression)[1]

    def posed(
        self,
        betas: Any,
        pose: Any,
        transl: Any,
        expression: Any,
        offset: NDArray[np.floating] | None = None,
    ) -> list[PosedTexels]:
        """One person in N poses, optionally dressed.

        Args:
            betas [50], pose [N,55,3], transl [N,3], expression [N,52].
            offset: [T,3] metres in the rest tangent frame (clothing); turned with the skin.
        """
        n = len(pose)
        same = np.repeat(array(betas)[None], n, 0)
        vertices, transforms, _ = self._forward(same, pose, transl, expression)
        frames = self._rest(torch.as_tensor(array(betas), dtype=torch.float32))[1].numpy()
        local = frames[:, :, 2]
        dressed = None if offset is None else np.einsum("tij,tj->ti", frames, offset).astype(np.float32)
        lift = None if dressed is None else self._vertex_lift(dressed, vertices.shape[1])
        out = []
        for i in range(n):
            turn = (self.weights @ transforms[i, :, :3, :3].reshape(-1, 9)).reshape(-1, 3, 3)
            normal = np.einsum("tab,tb->ta", turn, local)
            normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
            position, mesh = self.on_texels(vertices[i]), vertices[i]
            if dressed is not None and lift is not None:
                position = position + np.einsum("tab,tb->ta", turn, dressed)
                mesh = mesh + self._skin_vectors(lift, transforms[i])
            out.append(PosedTexels(position.astype(np.float32), normal.astype(np.float32), mesh))
        return out

    def _vertex_lift(self, dressed: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        """Texel displacements [T,3] -> mean displacement of each vertex [V,3]; a vertex without a texel takes
        that of the nearest one."""
        total = np.zeros((count, 3))
        weight = np.zeros(count)
        for k in range(3):
            w = self.bary[:, k]
            weight += np.bincount(self.corners[:, k], w, count)
            for c in range(3):
                total[:, c] += np.bincount(self.corners[:, k], w * dressed[:, c], count)
        lift = total / np.maximum(weight, 1e-6)[:, None]
        if self._bare is None:
            vertices = array(self.body.rest(torch.zeros(1, 50), None)[0]).reshape(-1, 3)
            bare = np.nonzero(weight < 1e-6)[0]
            self._bare = bare, cKDTree(self.on_texels(vertices)).query(vertices[bare])[1]
        bare, nearest = self._bare
        lift[bare] = dressed[nearest]
        return lift.astype(np.float32)

    def _skin_vectors(
        self, vectors: NDArray[np.float32], transforms: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        turn = (self.vertex_weights @ transforms[:, :3, :3].reshape(-1, 9)).reshape(-1, 3, 3)
        return np.einsum("vab,vb->va", turn, vectors).astype(np.float32)

    def rest_corrective(self, pose: Tensor, expression: Tensor) -> Tensor:
        """The same displacement per texel in rest-space axes, [B,T,3]; it does not depend on the betas.

        pose [B,55,3], expression [B,52], on the CPU.
        """
        if self._shapes is None:
            self._shapes, self._pose_rows = self._corrective_tables()
        where, shapes = self._shapes
        moved = torch.zeros(len(expression), self.count, 3)
        moved[:, where] = (expression.float() @ shapes.T).view(len(expression), -1, 3)
        if self._pose_rows is not None and isinstance(self.body, BodyModel):
            texels, mix = self._pose_rows
            per_vertex = self.body.pose_correctives(axis_angle_to_matrix(pose.float()))
            moved = moved.index_add(1, texels, mix @ per_vertex)
        return moved

    def _corrective_tables(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor] | None]:
        """Points [M] moved by expressions, their shapes [3M,52]; points [R] moved by pose correctives, mix
        [R,rows]."""
        one = torch.zeros(1, 50)
        neutral = array(self.body.rest(one, None)[0])[0]
        units = array(self.body.rest(one.expand(52, -1), torch.eye(52))[0]) - neutral
        follows = (np.abs(units).max((0, 2)) > 0)[self.corners].any(1)
        where = np.nonzero(follows)[0]
        shapes = np.stack([self.on_texels(unit)[where].reshape(-1) for unit in units], 1)
        pose_rows = None
        if isinstance(self.body, BodyModel) and len(self.body.pose_rows):
            slot = np.full(len(neutral), -1)
            slot[array(self.body.pose_rows)] = np.arange(len(self.body.pose_rows))
            corner_slots = slot[self.corners]
            texels = np.nonzero((corner_slots >= 0).any(1))[0]
            mix = np.zeros((len(texels), len(self.body.pose_rows)), np.float32)
            for k in range(3):
                has = corner_slots[texels, k] >= 0
                np.add.at(mix, (np.nonzero(has)[0], corner_slots[texels[has], k]), self.bary[texels[has], k])
            pose_rows = torch.from_numpy(texels), torch.from_numpy(mix)
        return (torch.from_numpy(where), torch.from_numpy(shapes)), pose_rows

    def rest_normals(self) -> NDArray[np.float32]:
        """Unit normals [T,3] on the mean body at rest."""
        return self._rest(torch.zeros(50))[1].numpy()[:, :, 2]


def is_lower_arm(name: str) -> bool:
    """Whether a joint moves a forearm, a hand or a finger."""
    bare = name.removeprefix("left_").removeprefix("right_")
    return bare in ("elbow", "wrist") or (bare[-1] in "123" and not bare.startswith("spine"))
