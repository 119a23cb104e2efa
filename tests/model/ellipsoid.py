"""An analytic body for laws about projection and fusion: an ellipsoid of 1.6 m with a spherical UV chart.

It speaks the same protocol as the real body (``model.template.TemplateBody`` / ``TemplateAtlas``) but
every answer
can be written down by hand: the point of texel (row, col) is known in closed form, and nothing occludes
itself.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

RADII = np.array([0.25, 0.8, 0.2])
EXPRESSION_SHIFT = 0.01


def surface(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """UV in 0..1 (u around, v up) -> point on the ellipsoid."""
    longitude, latitude = (u - 0.5) * 2 * np.pi, (v - 0.5) * np.pi
    direction = np.stack(
        [np.sin(longitude) * np.cos(latitude), np.sin(latitude), np.cos(longitude) * np.cos(latitude)], -1
    )
    return direction * RADII


class EllipsoidBody:
    """Expression 0 lifts the upper half by 1 cm; head joint = top quarter; beta 0 scales by 1 + 0.05 b."""

    def __init__(self, rings: int = 40, segments: int = 64) -> None:
        v, u = np.meshgrid(np.linspace(0.002, 0.998, rings), np.linspace(0, 1, segments + 1), indexing="ij")
        self.uv = np.stack([u, v], -1).reshape(-1, 2)
        self.template = surface(self.uv[:, 0], self.uv[:, 1])
        quads = []
        for r in range(rings - 1):
            for s in range(segments):
                a = r * (segments + 1) + s
                b = a + segments + 1
                quads += [(a, a + 1, b + 1), (a, b + 1, b)]
        self.faces = torch.tensor(quads)
        weights = np.zeros((len(self.template), 55), np.float32)
        high = np.clip((self.template[:, 1] - 0.3) / 0.2, 0, 1)
        weights[:, 15], weights[:, 0] = high, 1 - high
        self.weights = torch.from_numpy(weights)
        joints = np.zeros((55, 3))
        joints[15, 1] = 0.4
        self.joint_positions = joints
        self.uvs, self.face_uvs = torch.from_numpy(self.uv), self.faces

    def rest(self, betas: torch.Tensor, expression: torch.Tensor | None = None):
        betas = torch.as_tensor(betas).reshape(-1, 50)
        scale = 1 + 0.05 * betas[:, 0]
        vertices = torch.from_numpy(self.template).float() * scale[:, None, None]
        if expression is not None:
            up = torch.from_numpy(np.array([0, EXPRESSION_SHIFT, 0])).float()
            mask = self.weights[:, 15:16]
            vertices = vertices + expression[:, :1, None] * mask * up
        joints = torch.from_numpy(self.joint_positions).float() * scale[:, None, None]
        return vertices, joints

    def forward(self, betas, pose, transl, expression):
        from lca_core.body.rotation import axis_angle_to_matrix

        vertices, joints = self.rest(betas, expression)
        rotations = axis_angle_to_matrix(pose)
        n = len(pose)
        transforms = torch.eye(4).repeat(n, 55, 1, 1)
        root, head = rotations[:, 0], rotations[:, 0] @ rotations[:, 15]
        for j, turn in ((0, root), (15, head)):
            pivot = joints[:, j]
            world = (root @ joints[:, j, :, None])[..., 0]
            transforms[:, j, :3, :3] = turn
            transforms[:, j, :3, 3] = world - (turn @ pivot[..., None])[..., 0] + transl
        blended = torch.einsum("vj,njab->nvab", self.weights, transforms)
        posed = torch.einsum("nvab,nvb->nva", blended[..., :3, :3], vertices) + blended[..., :3, 3]
        return SimpleNamespace(vertices=posed, transforms=transforms, joints=joints)


class EllipsoidAtlas:
    """Texel (row, col) centre: u = (col + .5) / U, v = 1 - (row + .5) / U. The lowest tenth is a cavity."""

    def __init__(self, body: EllipsoidBody, size: int, rings: int = 40, segments: int = 64) -> None:
        v, u = np.meshgrid(1 - (np.arange(size) + 0.5) / size, (np.arange(size) + 0.5) / size, indexing="ij")
        self.u, self.v = u, v
        self.mask = (v > 0.03) & (v < 0.97)
        self.cavity = self.mask & (v < 0.1)
        r = np.clip(((v - 0.002) / 0.996 * (rings - 1)), 0, rings - 1.001)
        s = u * segments
        ri, si = r.astype(int), np.minimum(s.astype(int), segments - 1)
        fr, fs = r - ri, s - si
        upper = fs >= fr  # triangle (a, a+1, b+1), else (a, b+1, b)
        self.tri = body.faces.numpy()[(ri * segments + si) * 2 + np.where(upper, 0, 1)]
        self.island = np.where(self.mask, 0, -1)
        first = np.stack([1 - fs, fs - fr, fr], -1)
        second = np.stack([1 - fr, fs, fr - fs], -1)
        self.bary = np.where(upper[..., None], first, second)
        self.body = body

    def frames(self, vertices: torch.Tensor) -> torch.Tensor:
        """Analytic frames of the unit-scale ellipsoid (scaling leaves them unchanged)."""
        step = 1e-4
        du = surface(self.u + step, self.v) - surface(self.u - step, self.v)
        dv = surface(self.u, self.v + step) - surface(self.u, self.v - step)
        tangent = du / np.linalg.norm(du, axis=-1, keepdims=True)
        normal = np.cross(du, dv)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        return torch.from_numpy(np.stack([tangent, np.cross(normal, tangent), normal], -1)).float()


class EllipsoidPoints:
    """Single texels of any grid (``model.surface.LocatedPoints``), from the same chart."""

    def __init__(self, body: EllipsoidBody, rows: np.ndarray, cols: np.ndarray, size: int) -> None:
        u, v = (cols + 0.5) / size, 1 - (rows + 0.5) / size
        chart = EllipsoidAtlas.__new__(EllipsoidAtlas)
        rings, segments = 40, 64
        r, s = np.clip((v - 0.002) / 0.996 * (rings - 1), 0, rings - 1.001), u * segments
        ri, si = r.astype(int), np.minimum(s.astype(int), segments - 1)
        fr, fs = r - ri, s - si
        upper = fs >= fr
        number = (ri * segments + si) * 2 + np.where(upper, 0, 1)
        chart.u, chart.v = u, v
        self._chart, self._body, self._number = chart, body, number
        mask = (v > 0.03) & (v < 0.97)
        self.face = np.where(mask, number, -1)
        self.cavity = mask & (v < 0.1)
        self.tri = body.faces.numpy()[number]
        self.bary = np.where(
            upper[..., None], np.stack([1 - fs, fs - fr, fr], -1), np.stack([1 - fr, fs, fr - fs], -1)
        )
        self.part = np.zeros(len(u), int)
        self.island = np.where(mask, 0, -1)

    def frames(self, vertices: torch.Tensor) -> torch.Tensor:
        return EllipsoidAtlas.frames(self._chart, vertices)

    def derivatives(self) -> np.ndarray:
        uv = self._body.uv[self.tri]
        d1, d2 = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
        inverse = np.linalg.inv(np.stack([d1, d2], 1))
        return np.einsum("nae,ek->nak", inverse, np.array([[-1.0, 1, 0], [-1, 0, 1]])).astype(np.float32)

    def stretch(self, vertices: np.ndarray) -> np.ndarray:
        return np.linalg.norm(np.einsum("nak,nkc->nac", self.derivatives(), vertices[self.tri]), axis=2)
