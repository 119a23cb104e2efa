"""The body as the network sees it: texels of the UV atlas on the rest body, and where they go when it poses.

Wraps the body model and its atlas (``lca_core.body``) into per-texel tensors. Nothing here is learned. "Texel"
always means one that can carry a Gaussian: inside the atlas and not on a cavity (mouth bag, eye sockets).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lca_core.body.names import JOINT_INDEX

FILL_ANCHORS = 512


class TemplateBody(Protocol):
    """What is asked of a body model (``lca_core.body.BodyModel`` is one)."""

    faces: Any
    weights: Any

    def rest(self, betas: Any, expression: Any) -> tuple[Any, Any]: ...

    def forward(self, betas: Any, pose: Any, transl: Any, expression: Any) -> Any: ...


class TemplateAtlas(Protocol):
    """What is asked of a UV atlas (``lca_core.body.UvAtlas`` is one)."""

    mask: Any
    tri: Any
    bary: Any
    cavity: Any

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
        head_vertices: vertices that follow head, jaw or eyes.
    """

    def __init__(self, body: TemplateBody, atlas: TemplateAtlas) -> None:
        self.body = body
        self.atlas = atlas
        mask, cavity = array(atlas.mask).astype(bool), array(atlas.cavity).astype(bool)
        self.size = int(mask.shape[0])
        self.carries = mask & ~cavity
        self.rows, self.cols = np.nonzero(self.carries)
        self.faces = np.ascontiguousarray(array(body.faces), np.int32)
        self.corners = self.faces[array(atlas.tri)[self.rows, self.cols]]
        self.bary = np.ascontiguousarray(array(atlas.bary)[self.rows, self.cols], np.float32)
        vertex_weights = array(body.weights).astype(np.float32)
        weights = np.einsum("tk,tkj->tj", self.bary, vertex_weights[self.corners])
        self.weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
        head = [JOINT_INDEX[n] for n in ("head", "jaw", "left_eye_smplhf", "right_eye_smplhf")]
        self.head_vertices = np.nonzero(vertex_weights[:, head].sum(1) > 0.5)[0]
        self.carries_map = torch.from_numpy(self.carries.astype(np.float32))[None, None]
        self._flat = torch.from_numpy(self.rows * self.size + self.cols)
        self._kernel: Tensor | None = None
        self._nearest: Tensor | None = None

    @staticmethod
    def load(size: int) -> Template:
        """The shipped body with its atlas at ``size`` x ``size``; built once per process."""
        return _load(size)

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
        vertices, joints = self.body.rest(betas[None], None)
        vertices = array(vertices).reshape(-1, 3)
        frames = array(self.atlas.frames(torch.from_numpy(vertices)))
        frames = frames[self.rows, self.cols].astype(np.float32)
        return (
            torch.from_numpy(self.on_texels(vertices)),
            torch.from_numpy(frames),
            torch.from_numpy(array(joints).reshape(-1, 3).astype(np.float32)),
        )

    def spacing(self, position: Tensor) -> Tensor:
        """Distance of neighbouring texels: position [B,3,U,U] -> [B,2,U,U] (along columns, along rows).

        The smaller of the two neighbours on each axis, because a neighbour may lie on another chart.
        """
        carries = self.carries_map.to(position)
        far = 1.0
        out = []
        for axis in (3, 2):
            step = torch.roll(position, -1, axis) - position
            both = carries * torch.roll(carries, -1, axis)
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
            turn = np.einsum("tj,jab->tab", self.weights, transforms[i, :, :3, :3])
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
        turn = np.einsum("vj,jab->vab", array(self.body.weights).astype(np.float32), transforms[:, :3, :3])
        return np.einsum("vab,vb->va", turn, vectors).astype(np.float32)

    def corrective(self, betas: Tensor, pose: Tensor, expression: Tensor) -> Tensor:
        """Displacement that the template itself adds before skinning: [B,3,U,U] metres, tangent frame.

        Expression shapes and the pose corrective of the body (forearm twist). pose [B,55,3], expression [B,52].
        """
        out = []
        for b in range(betas.shape[0]):
            shape, frames = betas[b].detach().cpu(), None
            neutral = array(self.body.rest(shape[None], None)[0]).reshape(-1, 3)
            active = array(self.body.rest(shape[None], expression[b : b + 1].detach().cpu())[0]).reshape(-1, 3)
            moved = active - neutral
            if hasattr(self.body, "pose_corrective"):
                moved = moved + array(self.body.pose_corrective(pose[b : b + 1].detach().cpu()))[0]
            frames = array(self.atlas.frames(torch.from_numpy(neutral)))[self.rows, self.cols]
            out.append(np.einsum("tji,tj->ti", frames, self.on_texels(moved)))
        return self.scatter(torch.from_numpy(np.stack(out).astype(np.float32)).to(betas.device))

    def fill(self, color: Tensor, hit: Tensor) -> Tensor:
        """A guess for every texel from the seen ones: color [B,3,U,U] 0-1, hit [B,1,U,U] -> [B,3,U,U].

        Near seen texels count most, then the mirror image of the body, then everything: no learning, used as the
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
            anchors = points[chosen]
            d2 = torch.cdist(points, anchors).square()
            mirrored = torch.cdist(points, anchors * torch.tensor([-1.0, 1.0, 1.0]).double()).square()

            def bump(squared: Tensor, sigma: float) -> Tensor:
                return torch.exp(-squared / (2 * sigma * sigma))

            kernel = bump(d2, 0.03) + 0.3 * bump(mirrored, 0.03) + 0.01 * bump(d2, 0.10)
            kernel = kernel + 1e-4 * bump(d2, 0.4) + 1e-8
            self._kernel, self._nearest = kernel.float(), d2.argmin(1)
        return self._kernel, self._nearest


@lru_cache(maxsize=4)
def _load(size: int) -> Template:
    from lca_core.body import BodyModel, UvAtlas

    body = BodyModel.load()
    return Template(body, UvAtlas.build(body, size))
