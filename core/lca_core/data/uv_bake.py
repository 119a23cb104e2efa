"""Ground truth on the body's UV grid: what a dressed person looks like and where the dressed surface is,
texel by texel.

In: a :class:`Person`, its scene in T-pose, a light. Out: albedo, lit colour, offset of the outermost layer
from the body in the texel's tangent frame, validity bits, and per pose the displacement that LBS of the
dressed surface lacks. Layers (cloth, hair, brows, eyes) are found by rays from 0.15 m outside along the body
normal; skin answers for itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lca_core.body.atlas import Region, UvAtlas
from lca_core.body.model import BodyModel
from lca_core.body.names import JOINT_INDEX, JOINT_PARENTS
from lca_core.data import library, skinning
from lca_core.data.lights import rotate_sh
from lca_core.data.people import CLOTH_PARTS, PARTS, Person
from lca_core.data.render import Frame, Hits, Light, Scene, Textures, linear_to_srgb, vertex_normals

REACH_M = 0.15
MAX_CORRECTION_M = 0.08
TWO_SIDED = 110
"""Face labels from here on (hair, brows, hats) are layers from both sides."""
SURFACE, SEEN, CAVITY, CLOTH, HAIR, LOOSE = 1, 2, 4, 8, 16, 32
"""Bits of ``validity``."""
LOOSE_SUITS = ("female_elegantsuit01",)
"""Suits whose lower garment is a skirt."""


@cache
def body_model() -> BodyModel:
    """The shipped body (loaded once)."""
    return BodyModel.load()


@dataclass(frozen=True)
class Texels:
    """Fixed tables of the T texels on the body at one grid size.

    ``rows``, ``cols`` (T,); ``tri`` (T,3) body-model vertices; ``base_tri`` (T,3) base vertices; ``bary``
    (T,3); ``weights`` (T,55); ``joint`` (T,) dominant joint; ``cavity``, ``eye`` (T,) bool.
    """

    atlas: UvAtlas
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    tri: NDArray[np.int64]
    base_tri: NDArray[np.int64]
    bary: NDArray[np.float32]
    weights: NDArray[np.float32]
    joint: NDArray[np.int64]
    cavity: NDArray[np.bool_]
    eye: NDArray[np.bool_]

    def grid(self, values: NDArray) -> NDArray:
        """Scatter (T,...) to (U,U,...), zeros elsewhere."""
        size = self.atlas.size
        out = np.zeros((size, size, *values.shape[1:]), values.dtype)
        out[self.rows, self.cols] = values
        return out


@cache
def texels(size: int) -> Texels:
    """Texel tables at ``size`` x ``size``."""
    body = body_model()
    atlas = UvAtlas.build(body, size)
    rows, cols = np.nonzero(atlas.mask)
    tri, bary = atlas.tri[rows, cols], atlas.bary[rows, cols]
    weights = (body.weights.numpy()[tri] * bary[..., None]).sum(1)
    return Texels(
        atlas, rows, cols, tri, library.extended_body().body_ids[tri], bary.astype(np.float32),
        weights.astype(np.float32), weights.argmax(1), atlas.cavity[rows, cols],
        atlas.region[rows, cols] == Region.EYES,
    )  # fmt: skip


@cache
def layer_table() -> NDArray[np.bool_]:
    """(56,165) which face labels a texel may take as its layer, and row 55: any skin.

    A face label is its dominant joint, plus 55 for skin, mouth and lashes, plus 110 for hair, brows and
    hats. A layer must belong to the same or a neighbouring joint, else a ray would stop at the other leg or
    at the next finger.
    """
    near = np.eye(55, dtype=bool)
    for j, parent in enumerate(JOINT_PARENTS):
        if parent >= 0:
            near[j, parent] = near[parent, j] = True

    def join(a: tuple[str, ...], b: tuple[str, ...]) -> None:
        for x in a:
            for y in b:
                near[JOINT_INDEX[x], JOINT_INDEX[y]] = near[JOINT_INDEX[y], JOINT_INDEX[x]] = True

    trunk = ("pelvis", "spine1", "spine2", "spine3", "neck", "left_collar", "right_collar")
    join(trunk, trunk)
    join(("left_hip", "right_hip"), ("pelvis", "spine1", "spine2"))
    # Long hair lies on the shoulders and the back.
    join(("head", "neck", "jaw"), ("head", "neck", "jaw", "spine2", "spine3", "left_collar", "right_collar"))
    for side in ("left", "right"):
        join((f"{side}_shoulder",), (f"{side}_collar", "spine3"))
        join((f"{side}_ankle", f"{side}_foot"), (f"{side}_ankle", f"{side}_foot", f"{side}_knee"))
    table = np.zeros((56, 165), bool)
    table[:55, :55] = table[:55, 110:] = near
    for name in ("left_eye_smplhf", "right_eye_smplhf"):
        # Eyeballs are a layer of their own texels only, not of the lids around them.
        table[:, JOINT_INDEX[name]] = False
        table[JOINT_INDEX[name], :] = False
        table[JOINT_INDEX[name], JOINT_INDEX[name]] = True
    table[55, 55:110] = True
    return table


def face_labels(person: Person) -> NDArray[np.int64]:
    """(F,) labels of :func:`layer_table` for the faces of a person."""
    bare = np.isin(person.face_part, (PARTS["skin"], PARTS["mouth"], PARTS["lashes"]))
    thin = np.isin(person.face_part, (PARTS["hair"], PARTS["brows"], PARTS["hat"]))
    return person.face_joint + 55 * bare + TWO_SIDED * thin


def layered_scene(person: Person, device: str = "cpu") -> Scene:
    """A scene of the person in T-pose whose faces carry the labels that :func:`bake` needs."""
    scene = Scene(
        person.faces, person.face_uvs, person.face_texture, person.face_part, Textures(person.textures),
        face_label=face_labels(person), two_sided=TWO_SIDED, device=device,
    )  # fmt: skip
    scene.pose(person.rest)
    return scene


@dataclass(frozen=True)
class UvTruth:
    """Maps at U x U; texels outside the body are zero.

    albedo, color: uint8 sRGB (U,U,3); color is lit in T-pose. offset: float16 (U,U,3) m, tangent frame.
    validity: uint8 bits. The rest ties each texel to the dressed mesh: ``vertices`` (T,3) and ``bary``
    (T,3), ``point`` (T,3) its rest position, ``frame`` (T,3,3) its tangent frame, ``part`` (T,) part id.
    """

    albedo: NDArray[np.uint8]
    color: NDArray[np.uint8]
    offset: NDArray[np.float16]
    validity: NDArray[np.uint8]
    vertices: NDArray[np.int64]
    bary: NDArray[np.float32]
    point: NDArray[np.float32]
    frame: NDArray[np.float32]
    part: NDArray[np.int64]


def bake(person: Person, scene: Scene, light: Light, size: int) -> UvTruth:
    """Bake the maps of ``person``. Leaves ``scene`` in T-pose; build it with :func:`layered_scene`."""
    t = texels(size)
    scene.pose(person.rest)
    base = person.rest[: len(library.extended_body().template)]
    body = base[library.extended_body().body_ids]
    frame = t.atlas.frames(body)[t.rows, t.cols].astype(np.float32)
    normal = frame[..., 2]
    skin_point = (base[t.base_tri] * t.bary[..., None]).sum(1)
    hits = scene.cast(
        skin_point + REACH_M * normal, -normal, REACH_M + 0.02, light, labels=t.joint, allowed=layer_table()
    )
    # Skin that is drawn hides layers deeper than itself; skin under cloth is not drawn and takes what is
    # there.
    own = scene.cast(
        skin_point + 0.002 * normal, -normal, 0.006, light,
        labels=np.full(len(t.joint), 55), allowed=layer_table(),
    )  # fmt: skip
    drawn = own.face >= 0
    # Under a bust or a chin the outside start lies inside the body: go from the skin outwards instead.
    lost = (hits.face < 0) & (own.face < 0)
    out = scene.cast(
        skin_point[lost] - 0.005 * normal[lost], normal[lost], REACH_M, light,
        labels=t.joint[lost], allowed=layer_table(), outward=True,
    )  # fmt: skip
    hits = _merge(hits, lost, Hits(out.face, out.bary, REACH_M + 0.005 - out.t, out.albedo, out.lit))
    layered = (hits.face >= 0) & (~drawn | (hits.t < REACH_M + 0.001)) & ~(t.cavity & ~t.eye)
    bare = ~layered & drawn
    face = np.where(layered, hits.face, own.face)
    lit = np.where(layered[:, None], hits.lit, own.lit)
    albedo = np.where(layered[:, None], hits.albedo, own.albedo)
    valid = layered | bare
    distance = np.where(layered, REACH_M - hits.t, 0.0) * valid
    offset = np.zeros_like(skin_point)
    offset[:, 2] = distance

    vertices = np.where(layered[:, None], person.faces[np.maximum(hits.face, 0)], t.base_tri)
    corner = np.concatenate([hits.bary, 1 - hits.bary.sum(1, keepdims=True)], 1)
    bary = np.where(layered[:, None], corner, t.bary).astype(np.float32)
    part = np.where(valid, person.face_part[np.maximum(face, 0)], 0)
    bits = (
        SURFACE * valid
        + CAVITY * t.cavity
        + CLOTH * np.isin(part, CLOTH_PARTS)
        + HAIR * (part == PARTS["hair"])
    )
    if person.skirt is not None or (
        person.identity.suit in LOOSE_SUITS and person.identity.outfit.bottom is None
    ):
        bits = bits + LOOSE * (part == PARTS["bottom"])
    return UvTruth(
        albedo=t.grid(np.round(linear_to_srgb(albedo * valid[:, None]) * 255).astype(np.uint8)),
        color=t.grid(np.round(linear_to_srgb(lit * valid[:, None]) * 255).astype(np.uint8)),
        offset=t.grid(offset.astype(np.float16)),
        validity=t.grid(bits.astype(np.uint8)),
        vertices=vertices,
        bary=bary,
        point=(skin_point + distance[:, None] * normal).astype(np.float32),
        frame=frame,
        part=part,
    )


def _merge(hits: Hits, where: NDArray, other: Hits) -> Hits:
    fields = {}
    for name in ("face", "bary", "t", "albedo", "lit"):
        values = getattr(hits, name).copy()
        values[where] = getattr(other, name)
        fields[name] = values
    return Hits(**fields)


def surface_points(truth: UvTruth, posed: NDArray) -> NDArray[np.float32]:
    """Where the texels' surface points lie (T,3) on the posed dressed mesh (N,3)."""
    return (posed[truth.vertices] * truth.bary[..., None]).sum(1).astype(np.float32)


def transfer(
    person: Person,
    truth: UvTruth,
    scene: Scene,
    size: int,
    *,
    rays: int = 64,
    rotations: NDArray | None = None,
) -> NDArray[np.float16]:
    """Light transfer (U,U,9) of every texel's surface point in the pose ``scene`` holds, self-shadowing
    included.

    Radiance leaving a texel is albedo / pi * sum_k T_k L_k under radiance coefficients L
    (:func:`lca_core.data.lights.relight`). World frame; with ``rotations`` (T,3,3), the skinning rotation of
    each texel, in the texel's rest frame instead, so that rigid parts keep their transfer when they move.
    """
    normals = vertex_normals(scene.vertices, person.faces)
    n = (normals[truth.vertices] * truth.bary[..., None]).sum(1)
    n /= np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-9)
    valid = truth.part > 0
    out = np.zeros((len(truth.part), 9))
    out[valid] = scene.transfer(surface_points(truth, scene.vertices)[valid], n[valid], rays=rays)
    if rotations is not None:
        out = rotate_sh(out, np.swapaxes(rotations, -1, -2))
    return texels(size).grid(out.astype(np.float16))


def texel_rotations(person: Person, pose: NDArray, gaze: NDArray, size: int) -> NDArray[np.float64]:
    """Rotation (T,3,3) of each texel from rest to ``pose``: the nearest rotation to its blended
    transform."""
    moved = skinning.joint_transforms(skinning.local_rotations(pose, gaze), person.joints)
    u, _, vt = np.linalg.svd(skinning.blend(texels(size).weights, moved)[..., :3].astype(np.float64))
    flip = np.ones((len(u), 3))
    flip[:, 2] = np.linalg.det(u @ vt)
    return (u * flip[:, None]) @ vt


def correction(
    person: Person, truth: UvTruth, posed: NDArray, pose: NDArray, transl: NDArray, gaze: NDArray, size: int
) -> NDArray[np.float16]:
    """Displacement (U,U,3) in the T-pose tangent frame which, added before LBS, lands on the dressed posed
    surface.

    It holds expression, forearm twist and everything cloth does beyond skinning with the body's texel
    weights; 0 where validity lacks the surface bit, clipped to 8 cm.
    """
    t = texels(size)
    transforms = skinning.joint_transforms(skinning.local_rotations(pose, gaze), person.joints)
    a = skinning.blend(t.weights, transforms).astype(np.float64)
    target = surface_points(truth, posed) - transl
    back = np.linalg.solve(a[..., :3], (target - a[..., 3])[..., None])[..., 0]
    local = np.einsum("tji,tj->ti", truth.frame, back - truth.point)
    valid = (truth.validity[t.rows, t.cols] & SURFACE) > 0
    return t.grid((np.clip(local, -MAX_CORRECTION_M, MAX_CORRECTION_M) * valid[:, None]).astype(np.float16))


def seen(
    truth: UvTruth,
    posed: NDArray,
    frame: Frame,
    K: NDArray,
    viewmat: NDArray,
    size: int,
    tolerance: float = 0.015,
) -> NDArray[np.bool_]:
    """(T,) texels whose surface point is inside the view and not behind the depth buffer by ``tolerance``
    metres."""
    camera = surface_points(truth, posed) @ viewmat[:3, :3].T + viewmat[:3, 3]
    z = np.maximum(camera[:, 2], 1e-6)
    x = np.floor(camera[:, 0] / z * K[0, 0] + K[0, 2]).astype(int)
    y = np.floor(camera[:, 1] / z * K[1, 1] + K[1, 2]).astype(int)
    height, width = frame.depth.shape
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height) & (camera[:, 2] > 0)
    depth = frame.depth[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
    t = texels(size)
    return inside & (depth > 0) & (z < depth + tolerance) & ((truth.validity[t.rows, t.cols] & SURFACE) > 0)
