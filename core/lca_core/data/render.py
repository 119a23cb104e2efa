"""Ray-cast renderer of textured, alpha-tested triangle meshes: one warp kernel for CPU and CUDA.

In: a posed mesh, its textures, a pinhole camera (off-centre allowed) and a light (ambient SH of order 2 plus
one directional light with a shadow ray). Out: linear colour, coverage, part id, depth, normal, uv, face and
barycentrics per pixel. Shading is linear Lambert, so images and lit uv maps agree. The same ray function
bakes uv maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca.errors import InvalidInputError

ALPHA_CUT = 0.4
NO_PART = 0


@cache
def _warp() -> Any:
    """The warp module with the kernels, initialised once (first CPU compile takes some ten seconds)."""
    import warp as wp

    wp.config.log_level = getattr(wp, "LOG_WARNING", 0)
    wp.init()
    from lca_core.data import _kernels

    return wp, _kernels


@dataclass(frozen=True)
class Light:
    """Illumination of one scene.

    Attributes:
        sh: (9,3) ambient radiance coefficients, already convolved with the cosine lobe and divided by pi: the
            ambient light leaving a white surface of normal n is sum_k sh[k] Y_k(n).
        direction: (3,) unit vector towards the directional light.
        rgb: (3,) linear light leaving a white surface that faces the directional light.
        points: point lights as (position (3,) m, rgb (3,) leaving a white surface that faces it at 1 m).
        beams: further directional lights as (direction (3,), rgb (3,)).
    """

    sh: NDArray[np.float32]
    direction: NDArray[np.float32]
    rgb: NDArray[np.float32]
    points: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...] = ()
    beams: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...] = ()

    def lamps(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """All lights with shadows: (n,4) direction and 0 or position and 1, and (n,3) colours."""
        found = [(d, 0.0, c) for d, c in ((self.direction, self.rgb), *self.beams)]
        found += [(p, 1.0, c) for p, c in self.points]
        found = [f for f in found if np.any(f[2])]
        at = np.array([[*p, w] for p, w, _ in found], np.float32).reshape(-1, 4)
        return at, np.array([c for _, _, c in found], np.float32).reshape(-1, 3)


def sh_basis(n: NDArray) -> NDArray:
    """Real spherical harmonics up to order 2 of unit vectors (...,3): (...,9)."""
    x, y, z = n[..., 0], n[..., 1], n[..., 2]
    return np.stack(
        [
            np.full_like(x, 0.282095),
            0.488603 * y,
            0.488603 * z,
            0.488603 * x,
            1.092548 * x * y,
            1.092548 * y * z,
            0.315392 * (3 * z * z - 1),
            1.092548 * x * z,
            0.546274 * (x * x - y * y),
        ],
        -1,
    )


def srgb_to_linear(x: NDArray) -> NDArray:
    """sRGB 0-1 to linear light 0-1."""
    return np.where(x <= 0.04045, x / 12.92, ((np.maximum(x, 0.0) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(x: NDArray) -> NDArray:
    """Linear light to sRGB 0-1, clipped."""
    x = np.clip(x, 0.0, 1.0)
    return np.where(x <= 0.0031308, x * 12.92, 1.055 * x ** (1 / 2.4) - 0.055)


def vertex_normals(vertices: NDArray, faces: NDArray) -> NDArray[np.float32]:
    """Area-weighted unit normals (N,3) of a triangle mesh."""
    a, b, c = vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]
    face = np.cross(b - a, c - a)
    index = faces.T.ravel()
    out = np.stack([np.bincount(index, np.tile(face[:, k], 3), len(vertices)) for k in range(3)], -1)
    return (out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)).astype(np.float32)


class Textures:
    """RGBA textures packed into one uint32 array.

    Args:
        images: uint8 (H,W,3) or (H,W,4) arrays, row 0 at v = 1. Three channels mean opaque.
    """

    def __init__(self, images: list[NDArray[np.uint8]]) -> None:
        words, info, offset = [], [], 0
        for image in images:
            height, width = image.shape[:2]
            rgba = np.full((height, width, 4), 255, np.uint8)
            rgba[..., : image.shape[2]] = image
            words.append(rgba.view(np.uint32).ravel())
            info.append((offset, width, height, 0))
            offset += height * width
        self.words = np.concatenate(words)
        self.info = np.array(info, np.int32)


@dataclass(frozen=True)
class Frame:
    """Buffers of one rendered view; row 0 is the top.

    Attributes:
        color: (H,W,3) linear, multiplied by coverage. coverage: (H,W) 0-1.
        part: (H,W) uint8 part id, 0 = background. depth: (H,W) metres along the optical axis, 0 = background.
        normal: (H,W,3) shading normal in the world. uv: (H,W,2). face: (H,W) int32, -1 = background.
        bary: (H,W,2) barycentric weights of corners 0 and 1.
    """

    color: NDArray[np.float32]
    coverage: NDArray[np.float32]
    part: NDArray[np.uint8]
    depth: NDArray[np.float32]
    normal: NDArray[np.float32]
    uv: NDArray[np.float32]
    face: NDArray[np.int32]
    bary: NDArray[np.float32]

    def composite(self, background: NDArray | float = 0.0) -> NDArray[np.uint8]:
        """sRGB image uint8 (H,W,3) over a linear background."""
        linear = self.color + (1 - self.coverage[..., None]) * background
        return np.round(linear_to_srgb(linear) * 255).astype(np.uint8)


@dataclass(frozen=True)
class Hits:
    """First accepted surface along each of M rays. ``face`` is -1 where nothing was hit.

    Attributes:
        face: (M,) int32. bary: (M,2). t: (M,) metres. albedo: (M,3) linear. lit: (M,3) linear.
    """

    face: NDArray[np.int32]
    bary: NDArray[np.float32]
    t: NDArray[np.float32]
    albedo: NDArray[np.float32]
    lit: NDArray[np.float32]


class Scene:
    """A mesh ready for ray casting.

    Args:
        faces: (F,3) int vertex indices.
        face_uvs: (F,3,2) texture coordinates of the corners, v up.
        face_texture: (F,) index into ``textures``.
        face_part: (F,) part ids 1-255.
        textures: the packed textures.
        face_label: (F,) small label per face, used only by :meth:`cast` with ``allowed``.
        two_sided: labels from here on count from both sides in :meth:`cast`.
        device: "cpu" or a CUDA device name.
    """

    def __init__(
        self,
        faces: NDArray,
        face_uvs: NDArray,
        face_texture: NDArray,
        face_part: NDArray,
        textures: Textures,
        *,
        face_label: NDArray | None = None,
        two_sided: int = 0,
        device: str = "cpu",
    ) -> None:
        if face_uvs.shape != (len(faces), 3, 2):
            raise InvalidInputError(f"face_uvs must be ({len(faces)},3,2), got {face_uvs.shape}.")
        wp, _ = _warp()
        self.faces = np.ascontiguousarray(faces, np.int32)
        self._device = device
        self._two_sided = two_sided
        self._uv = wp.array(
            np.ascontiguousarray(face_uvs, np.float32).reshape(-1, 2), dtype=wp.vec2, device=device
        )
        self._tex = wp.array(face_texture.astype(np.int32), dtype=wp.int32, device=device)
        self._part = wp.array(face_part.astype(np.int32), dtype=wp.int32, device=device)
        label = np.zeros(len(faces), np.int32) if face_label is None else face_label.astype(np.int32)
        self._label = wp.array(label, dtype=wp.int32, device=device)
        self._indices = wp.array(self.faces.ravel(), dtype=wp.int32, device=device)
        self.set_textures(textures)
        self._mesh: Any = None
        self._transfer: NDArray[np.float32] | None = None

    def set_textures(self, textures: Textures) -> None:
        """Replace all textures (same order)."""
        wp, _ = _warp()
        self._words = wp.array(textures.words, dtype=wp.uint32, device=self._device)
        self._info = wp.array(textures.info, dtype=wp.vec4i, device=self._device)

    def pose(self, vertices: NDArray) -> None:
        """Set vertex positions (N,3) in metres and rebuild the acceleration structure."""
        wp, _ = _warp()
        points = np.ascontiguousarray(vertices, np.float32)
        self.vertices = points
        self._transfer = None
        self._normals = wp.array(vertex_normals(points, self.faces), dtype=wp.vec3, device=self._device)
        self._mesh = wp.Mesh(wp.array(points, dtype=wp.vec3, device=self._device), self._indices)

    def _struct(self, light: Light, allowed: NDArray | None = None) -> Any:
        wp, kernels = _warp()
        if self._mesh is None:
            raise InvalidInputError("The scene has no vertices yet: call pose() before rendering.")
        s = kernels.SceneData()
        s.mesh, s.normals, s.indices = self._mesh.id, self._normals, self._indices
        s.uv, s.tex, s.part, s.label = self._uv, self._tex, self._part, self._label
        s.words, s.info = self._words, self._info
        table = np.ones((1, 1), np.int32) if allowed is None else allowed.astype(np.int32)
        s.allowed = wp.array(table, dtype=wp.int32, device=self._device)
        s.sh = wp.array(np.ascontiguousarray(light.sh, np.float32), dtype=wp.vec3, device=self._device)
        s.two_sided = self._two_sided
        at, rgb = light.lamps()
        s.light_at = wp.array(at, dtype=wp.vec4, device=self._device)
        s.light_rgb = wp.array(rgb, dtype=wp.vec3, device=self._device)
        s.occluded = 0 if self._transfer is None else 1
        transfer = np.zeros((1, 9), np.float32) if self._transfer is None else self._transfer
        s.transfer = wp.array(transfer, dtype=wp.float32, device=self._device)
        return s

    def set_transfer(self, transfer: NDArray | None) -> None:
        """Shade ambient light with occlusion: transfer (N,9) per vertex of the current pose, or None for the
        unoccluded ambient of each normal. :meth:`pose` resets it."""
        if transfer is not None and transfer.shape != (len(self.vertices), 9):
            raise InvalidInputError(f"transfer must be ({len(self.vertices)},9), got {transfer.shape}.")
        self._transfer = None if transfer is None else np.ascontiguousarray(transfer, np.float32)

    def transfer(
        self, points: NDArray, normals: NDArray, *, rays: int = 64, lift: float = 0.004, max_t: float = 3.0
    ) -> NDArray[np.float32]:
        """Light transfer (M,9) at surface points (M,3) with unit normals (M,3).

        T_k = integral over directions of visibility x max(0, n.w) x Y_k(w) (Sloan et al. 2002, diffuse); the
        light leaving albedo a under radiance L is a / pi * sum_k T_k L_k. Alpha-tested layers let light
        through. ``rays`` cosine-distributed rays per point: the standard error of visibility is at most
        0.5 / sqrt(rays). ``lift`` metres keep a point clear of its own triangle.
        """
        wp, kernels = _warp()
        i = np.arange(rays) + 0.5
        r, phi = np.sqrt(i / rays), i * np.pi * (3 - np.sqrt(5))
        spiral = np.stack([r * np.cos(phi), r * np.sin(phi), np.sqrt(1 - r * r)], 1).astype(np.float32)
        dark = Light(np.zeros((9, 3), np.float32), np.zeros(3, np.float32), np.zeros(3, np.float32))
        out = wp.zeros((len(points), 9), dtype=wp.float32, device=self._device)
        wp.launch(
            kernels.transfer_kernel,
            dim=len(points),
            device=self._device,
            inputs=[
                self._struct(dark),
                wp.array(np.ascontiguousarray(points, np.float32), dtype=wp.vec3, device=self._device),
                wp.array(np.ascontiguousarray(normals, np.float32), dtype=wp.vec3, device=self._device),
                wp.array(spiral, dtype=wp.vec3, device=self._device),
                float(lift), float(max_t), ALPHA_CUT, out,
            ],
        )  # fmt: skip
        return np.asarray(out.numpy())

    def vertex_transfer(self, rays: int = 64) -> NDArray[np.float32]:
        """Transfer (N,9) at every vertex of the current pose that a face uses; zeros elsewhere."""
        used = np.unique(self.faces)
        out = np.zeros((len(self.vertices), 9), np.float32)
        normals = vertex_normals(self.vertices, self.faces)
        out[used] = self.transfer(self.vertices[used], normals[used], rays=rays)
        return out

    def render(
        self, K: NDArray, viewmat: NDArray, width: int, height: int, light: Light, *, samples: int = 1
    ) -> Frame:
        """Render one view.

        Args:
            K: (3,3) intrinsics in pixels (pixel centres at +0.5). viewmat: (4,4) world-to-camera, OpenCV
            axes.
            samples: S for S x S rays per pixel; the id buffers come from the first ray that hits.
        """
        wp, kernels = _warp()
        n, dev = width * height, self._device
        out = {
            "color": wp.zeros(n, dtype=wp.vec3, device=dev),
            "coverage": wp.zeros(n, dtype=wp.float32, device=dev),
            "part": wp.zeros(n, dtype=wp.int32, device=dev),
            "depth": wp.zeros(n, dtype=wp.float32, device=dev),
            "normal": wp.zeros(n, dtype=wp.vec3, device=dev),
            "uv": wp.zeros(n, dtype=wp.vec2, device=dev),
            "face": wp.zeros(n, dtype=wp.int32, device=dev),
            "bary": wp.zeros(n, dtype=wp.vec2, device=dev),
        }
        rotation = np.asarray(viewmat, np.float64)[:3, :3]
        origin = -rotation.T @ np.asarray(viewmat, np.float64)[:3, 3]
        wp.launch(
            kernels.render_kernel,
            dim=n,
            device=dev,
            inputs=[
                self._struct(light),
                wp.mat33(*rotation.T.astype(float).ravel().tolist()),
                wp.vec3(*origin.tolist()),
                float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]),
                width, samples, ALPHA_CUT,
                *out.values(),
            ],
        )  # fmt: skip
        a = {k: v.numpy() for k, v in out.items()}
        s = (height, width)
        return Frame(
            a["color"].reshape(*s, 3), a["coverage"].reshape(s), a["part"].reshape(s).astype(np.uint8),
            a["depth"].reshape(s), a["normal"].reshape(*s, 3), a["uv"].reshape(*s, 2),
            a["face"].reshape(s), a["bary"].reshape(*s, 2),
        )  # fmt: skip

    def cast(
        self,
        origins: NDArray,
        directions: NDArray,
        max_t: float,
        light: Light,
        *,
        labels: NDArray | None = None,
        allowed: NDArray | None = None,
        outward: bool = False,
    ) -> Hits:
        """First opaque hit of rays (M,3) with unit directions, up to ``max_t`` metres.

        With ``labels`` (M,) and ``allowed`` (L,L') bool only faces whose label is allowed for the ray's
        label count, and faces labelled below ``two_sided`` only when they look towards the ray's start
        (``outward``: away from it). Light is evaluated with shadows at the hit.
        """
        wp, kernels = _warp()
        m, dev = len(origins), self._device
        labels = np.full(m, -1, np.int32) if labels is None else labels.astype(np.int32)
        face = wp.zeros(m, dtype=wp.int32, device=dev)
        bary = wp.zeros(m, dtype=wp.vec2, device=dev)
        t = wp.zeros(m, dtype=wp.float32, device=dev)
        albedo = wp.zeros(m, dtype=wp.vec3, device=dev)
        lit = wp.zeros(m, dtype=wp.vec3, device=dev)
        wp.launch(
            kernels.cast_kernel,
            dim=m,
            device=dev,
            inputs=[
                self._struct(light, allowed),
                wp.array(np.ascontiguousarray(origins, np.float32), dtype=wp.vec3, device=dev),
                wp.array(np.ascontiguousarray(directions, np.float32), dtype=wp.vec3, device=dev),
                wp.array(labels, dtype=wp.int32, device=dev),
                float(max_t), ALPHA_CUT, -1.0 if outward else 1.0, face, bary, t, albedo, lit,
            ],
        )  # fmt: skip
        return Hits(face.numpy(), bary.numpy(), t.numpy(), albedo.numpy(), lit.numpy())
