"""The body as the network sees it: texels of the UV atlas on the rest body, and where they go when it poses.

Wraps the body model and its atlas (``lca_core.body``) into per-texel tensors. Nothing here is learned.
"Texel"
always means one that can carry a Gaussian: inside the atlas and not on a cavity (mouth bag, eye sockets).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lca.errors import InvalidInputError
from lca_core.body.atlas import UvAtlas
from lca_core.body.model import BodyModel
from lca_core.body.names import JOINT_INDEX, JOINT_NAMES
from lca_core.body.rotation import axis_angle_to_matrix

FILL_ANCHORS = 512
KEPT_PEOPLE = 400
"""Rest bodies kept in memory (0.5 MB each at 128 x 128): training meets the same people again and again."""


class TemplateBody(Protocol):
    """What is asked of a body model (``lca_core.body.BodyModel`` is one)."""

    faces: Any
    weights: Any

    def rest(self, betas: Any, expression: Any) -> tuple[Any, Any]: ...

    def forward(self, betas: Any, pose: Any, transl: Any, expression: Any) -> Any: ...


class TemplateAtlas(Protocol):
    """What is asked of a UV atlas (``lca_core.body.UvAtlas`` is one)."""

    @property
    def mask(self) -> Any: ...

    @property
    def tri(self) -> Any: ...

    @property
    def bary(self) -> Any: ...

    @property
    def cavity(self) -> Any: ...

    @property
    def island(self) -> Any: ...

    def frames(self, vertices: Any) -> Any: ...


@dataclass
class RestMaps:
    """The undressed body in T-pose on the UV grid.

    position [B,3,U,U] m; normal [B,3,U,U] unit; frame [B,U,U,3,3] columns tangent, bitangent, normal; spacing
    [B,2,U,U] m between neighbouring texels along the two grid axes (columns, rows); joints [B,55,3] m.
    """

    position: Tensor
    normal: Tensor
    frame: Tensor
    spacing: Tensor
    joints: Tensor


@dataclass
class PosedTexels:
    """One posed view: texel positions [T,3] and unit normals [T,3] in world space, mesh vertices [V,3]."""

    position: NDArray[np.float32]
    normal: NDArray[np.float32]
    vertices: NDArray[np.float32]


def array(value: Any) -> NDArray[Any]:
    """A tensor or array as numpy."""
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


class Template:
    """Per-texel constants of a body and an atlas.

    Attributes:
        size: U. rows, cols: [T] int64 grid indices of the texels. carries: [U,U] bool.
        corners [T,3], bary [T,3]: triangle corners behind each texel. weights: [T,55] template skin weights.
        head_vertices: vertices that follow head, jaw or eyes. arm_faces [A,3], arm_texels [T] 0/1: forearms
            and hands.
    """

    def __init__(
        self, body: TemplateBody, atlas: TemplateAtlas, build: Callable[[int], TemplateAtlas] | None = None
    ) -> None:
        self.body = body
        self.atlas = atlas
        self._build = build
        mask, cavity = array(atlas.mask).astype(bool), array(atlas.cavity).astype(bool)
        self.size = int(mask.shape[0])
        self.carries = mask & ~cavity
        self.rows, self.cols = np.nonzero(self.carries)
        self.faces = np.ascontiguousarray(array(body.faces), np.int32)
        self.corners = np.ascontiguousarray(array(atlas.tri)[self.rows, self.cols], np.int64)
        self.island = torch.from_numpy(array(atlas.island).astype(np.int64))[None, None]
        self.bary = np.ascontiguousarray(array(atlas.bary)[self.rows, self.cols], np.float32)
        vertex_weights = np.ascontiguousarray(array(body.weights), np.float32)
        self.vertex_weights = vertex_weights
        weights = np.einsum("tk,tkj->tj", self.bary, vertex_weights[self.corners])
        self.weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
        head = [JOINT_INDEX[n] for n in ("head", "jaw", "left_eye_smplhf", "right_eye_smplhf")]
        arms = [i for i, name in enumerate(JOINT_NAMES) if is_lower_arm(name)]
        in_arm = vertex_weights[:, arms].sum(1) > 0.5
        self.arm_faces = np.ascontiguousarray(self.faces[in_arm[self.faces].all(1)])
        self.arm_texels = in_arm[self.corners].all(1).astype(np.float32)
        self.head_vertices = np.nonzero(vertex_weights[:, head].sum(1) > 0.5)[0]
        self.carries_map = torch.from_numpy(self.carries.astype(np.float32))[None, None]
        self._flat = torch.from_numpy(self.rows * self.size + self.cols)
        self._people: OrderedDict[bytes, tuple[Tensor, Tensor, Tensor]] = OrderedDict()
        self._sizes: dict[int, Template] = {}
        self._shapes: Tensor | None = None
        self._pose_rows: tuple[Tensor, Tensor] | None = None
        self._spacing: NDArray[np.float32] | None = None
        self._kernel: Tensor | None = None
        self._nearest: Tensor | None = None

    @staticmethod
    def load(size: int) -> Template:
        """The shipped body with its atlas at ``size`` x ``size``; built once per process."""
        return _load(size)

    def at(self, size: int) -> Template:
        """The same body on a grid of another ``size``."""
        if size == self.size:
            return self
        if self._build is None:
            raise InvalidInputError("This template was made for one grid size only.")
        if size not in self._sizes:
            self._sizes[size] = Template(self.body, self._build(size), self._build)
        return self._sizes[size]

    @property
    def count(self) -> int:
        """Number of texels T."""
        return len(self.rows)

    def gather(self, maps: Tensor) -> Tensor:
        """[B,C,U,U] -> [B,T,C]."""
        return maps.flatten(2)[:, :, self._flat.to(maps.device)].transpose(1, 2)

    def scatter(self, values: Tensor) -> Tensor:
        """[B,T,C] -> [B,C,U,U], zero elsewhere."""
        b, _, c = values.shape
        out = values.new_zeros(b, c, self.size * self.size)
        out[:, :, self._flat.to(values.device)] = values.transpose(1, 2)
        return out.view(b, c, self.size, self.size)

    def on_texels(self, vertices: NDArray[np.floating]) -> NDArray[np.float32]:
        """Vertex values [V,C] -> texel values [T,C]."""
        corners = vertices[self.corners]
        return np.einsum("tk,tkc->tc", self.bary, corners).astype(np.float32)

    def rest(self, betas: Tensor) -> RestMaps:
        """Rest bodies of betas [B,50]; constant in training, so there is no gradient to betas."""
        entries = [self._rest(b) for b in betas.detach().cpu()]
        stacked = [torch.stack(parts).to(betas.device) for parts in zip(*entries, strict=True)]
        position, frame, joints = stacked
        position, frame = self.scatter(position), self.scatter(frame.flatten(2))
        frame = frame.permute(0, 2, 3, 1).unflatten(-1, (3, 3))
        normal = frame[..., 2].permute(0, 3, 1, 2)
        return RestMaps(position, normal, frame, self.spacing(position), joints)

    def _rest(self, betas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        key = betas.numpy().tobytes()
        if key in self._people:
            self._people.move_to_end(key)
            return self._people[key]
        vertices, joints = self.body.rest(betas[None], None)
        vertices = array(vertices).reshape(-1, 3).astype(np.float32)
        frames = array(self.atlas.frames(torch.from_numpy(vertices)))
        frames = frames.reshape(self.size, self.size, 3, 3)[self.rows, self.cols].astype(np.float32)
        result = (
            torch.from_numpy(self.on_texels(vertices)),
            torch.from_numpy(frames),
            torch.from_numpy(array(joints).reshape(-1, 3).astype(np.float32)),
        )
        self._people[key] = result
        if len(self._people) > KEPT_PEOPLE:
            self._people.popitem(last=False)
        return result

    def spacing(self, position: Tensor) -> Tensor:
        """Distance of neighbouring texels: position [B,3,U,U] -> [B,2,U,U] (along columns, along rows).

        The smaller of the two neighbours on each axis; neighbours on another UV island do not count.
        """
        carries = self.carries_map.to(position)
        far = 1.0
        out = []
        for axis in (3, 2):
            step = torch.roll(position, -1, axis) - position
            same = (torch.roll(self.island, -1, axis) == self.island).to(position)
            both = carries * torch.roll(carries, -1, axis) * same
            length = torch.where(both > 0, step.norm(dim=1, keepdim=True), torch.full_like(both, far))
            out.append(torch.minimum(length, torch.roll(length, 1, axis)))
        width, height = out
        # A texel without neighbour on one axis takes the other axis; a lonely texel a typical 5 mm.
        width, height = torch.where(width >= far, height, width), torch.where(height >= far, width, height)
        both = torch.cat([width, height], 1)
        return torch.where(both >= far, torch.full_like(both, 0.005), both).clamp(5e-4, 0.03)

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
        """Texel displacements [T,3] -> mean displacement of each vertex [V,3]."""
        total = np.zeros((count, 3))
        weight = np.zeros(count)
        for k in range(3):
            w = self.bary[:, k]
            weight += np.bincount(self.corners[:, k], w, count)
            for c in range(3):
                total[:, c] += np.bincount(self.corners[:, k], w * dressed[:, c], count)
        return (total / np.maximum(weight, 1e-6)[:, None]).astype(np.float32)

    def _skin_vectors(
        self, vectors: NDArray[np.float32], transforms: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        turn = (self.vertex_weights @ transforms[:, :3, :3].reshape(-1, 9)).reshape(-1, 3, 3)
        return np.einsum("vab,vb->va", turn, vectors).astype(np.float32)

    def corrective(self, betas: Tensor, pose: Tensor, expression: Tensor) -> Tensor:
        """Displacement that the template itself adds before skinning: [B,3,U,U] metres, tangent frame.

        Expression shapes and the pose corrective of the body (forearm twist). pose [B,55,3], expression
        [B,52].
        """
        shapes = betas.detach().cpu()
        frames = torch.stack([self._rest(shape)[1] for shape in shapes])
        moved = self.rest_corrective(pose.detach().cpu(), expression.detach().cpu())
        local = (frames.transpose(2, 3) @ moved[..., None])[..., 0]
        return self.scatter(local).to(betas.device)

    def rest_corrective(self, pose: Tensor, expression: Tensor) -> Tensor:
        """The same displacement per texel in rest-space axes, [B,T,3]; it does not depend on the betas.

        pose [B,55,3], expression [B,52], on the CPU.
        """
        if self._shapes is None:
            self._shapes, self._pose_rows = self._corrective_tables()
        moved = (expression.float() @ self._shapes.T).view(len(expression), -1, 3)
        if self._pose_rows is not None and isinstance(self.body, BodyModel):
            texels, mix = self._pose_rows
            per_vertex = self.body.pose_correctives(axis_angle_to_matrix(pose.float()))
            moved = moved.index_add(1, texels, mix @ per_vertex)
        return moved

    def _corrective_tables(self) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Expression shapes on texels [3T,52]; texels [R] moved by pose correctives, mix [R,rows]."""
        one = torch.zeros(1, 50)
        neutral = array(self.body.rest(one, None)[0])[0]
        units = array(self.body.rest(one.expand(52, -1), torch.eye(52))[0]) - neutral
        shapes = np.stack([self.on_texels(unit).reshape(-1) for unit in units], 1)
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
        return torch.from_numpy(shapes), pose_rows

    def rest_normals(self) -> NDArray[np.float32]:
        """Unit normals [T,3] on the mean body at rest."""
        return self._rest(torch.zeros(50))[1].numpy()[:, :, 2]

    def typical_spacing(self) -> NDArray[np.float32]:
        """Texel size [T] in metres on the mean body."""
        if self._spacing is None:
            self._spacing = self.gather(self.rest(torch.zeros(1, 50)).spacing)[0].mean(1).numpy()
        return self._spacing

    def fill(self, color: Tensor, hit: Tensor) -> Tensor:
        """A guess for every texel from the seen ones: color [B,3,U,U] 0-1, hit [B,1,U,U] -> [B,3,U,U].

        Near seen texels count most, then the mirror image of the body, then everything: no learning, used
        as the
        start of the predicted colour and as the stronger of the two baselines in the model card.
        """
        kernel, nearest = self._fill_tables()
        kernel, nearest = kernel.to(color.device), nearest.to(color.device)
        h = self.gather(hit)
        packed = torch.cat([self.gather(color) * h, h], 2)
        anchors = packed.new_zeros(packed.shape[0], FILL_ANCHORS, 4).index_add_(1, nearest, packed)
        spread = kernel @ anchors
        values = spread[..., :3] / spread[..., 3:].clamp(min=1e-12)
        values = torch.where(spread[..., 3:] > 1e-12, values, torch.full_like(values, 0.5))
        return self.scatter(values)

    def _fill_tables(self) -> tuple[Tensor, Tensor]:
        if self._kernel is None or self._nearest is None:
            points = self._rest(torch.zeros(50))[0].double()
            chosen = torch.zeros(FILL_ANCHORS, dtype=torch.long)
            distance = (points - points[0]).square().sum(1)
            for i in range(1, FILL_ANCHORS):
                chosen[i] = distance.argmax()
                distance = torch.minimum(distance, (points - points[chosen[i]]).square().sum(1))
            self._nearest = torch.cdist(points, points[chosen]).argmin(1)
            self._kernel = fill_kernel(points, points[chosen], self._head_texels()).float()
        return self._kernel, self._nearest

    def _head_texels(self) -> Tensor:
        head = [JOINT_INDEX[n] for n in ("head", "jaw", "left_eye_smplhf", "right_eye_smplhf")]
        return torch.from_numpy(self.weights[:, head].sum(1) > 0.5)


def is_lower_arm(name: str) -> bool:
    """Whether a joint moves a forearm, a hand or a finger."""
    bare = name.removeprefix("left_").removeprefix("right_")
    return bare in ("elbow", "wrist") or (bare[-1] in "123" and not bare.startswith("spine"))


def fill_kernel(points: Tensor, anchors: Tensor, head: Tensor) -> Tensor:
    """How much each anchor [A,3] tells about the colour at each point [T,3] of the rest body, [T,A].

    Near neighbours first, then the mirror image, then what lies in front or behind at the same place: clothes
    end at the same height all round. The head is left out of that rule: its back is hair, its front a face.
    """
    mirror = torch.tensor([-1.0, 1.0, 1.0], dtype=points.dtype)

    def bump(sigma: float, mirrored: bool = False, depth: float = 1.0, side: float = 1.0) -> Tensor:
        scale = torch.tensor([side, 1.0, depth], dtype=points.dtype)
        source = anchors * mirror if mirrored else anchors
        return torch.exp(-torch.cdist(points * scale, source * scale).square() / (2 * sigma * sigma))

    near = bump(0.03)
    across = 0.1 * (bump(0.03, depth=0.25) + 0.5 * bump(0.03, mirrored=True, depth=0.25))
    around = 1e-3 * bump(0.08, depth=0.25) + 1e-5 * bump(0.06, depth=0.25, side=0.25)
    body = near + 0.3 * bump(0.03, mirrored=True) + across + around + 1e-7 * bump(0.4)
    skull = near + 0.5 * bump(0.03, mirrored=True) + 0.01 * bump(0.06) + 1e-3 * bump(0.1) + 1e-5 * bump(0.2)
    return torch.where(head[:, None], skull, body) + 1e-9


@lru_cache(maxsize=4)
def _load(size: int) -> Template:
    body = _body()

    def build(grid: int) -> TemplateAtlas:
        return UvAtlas.build(body, grid)

    return Template(body, build(size), build)


@lru_cache(maxsize=1)
def _body() -> BodyModel:
    return BodyModel.load()
