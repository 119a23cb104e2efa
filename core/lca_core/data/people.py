"""A synthetic adult: drawn from a seed, dressed, and posable.

In: split name and identity number. Out: an :class:`Identity` (plain values, JSON-able) and from it a
:class:`Person`: one triangle mesh of skin, eyes, mouth, brows, hair, cloth and shoes in T-pose with skin
weights, expression deltas and textures. Bodies are blends of sampled adults of 18-80 years; everybody wears
a full outfit and shoes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lca_core.body.names import JOINT_INDEX
from lca_core.data import library, skinning
from lca_core.data.garments import (
    CLEARANCE_HAIR_M,
    CLEARANCE_POSED_M,
    Fitted,
    clear,
    fit,
    push_out,
    visible_skin,
)
from lca_core.data.painting import (
    HAIR_COLOURS,
    HELD_OUT_PATTERNS,
    IRIS_COLOURS,
    TRAIN_PATTERNS,
    Cloth,
    paint_eye,
    paint_suit,
    tint_texture,
)
from lca_core.data.render import Scene, Textures, vertex_normals

GENERATOR_VERSION = 1
SPLITS = {"train": (0, 200_000), "val": (900_000, 900_200), "test": (910_000, 910_200)}
"""Identity numbers of each split, half open."""

HELD_OUT = {
    "suit": ("male_casualsuit05", "female_casualsuit02"),
    "shoes": ("shoes03",),
    "hair": ("bob02", "short03"),
    "skin": ("skin_young_lightskinned_female2", "skin_young_lightskinned_male2"),
}
"""Items that appear in the test split only (garments) and never in train or validation."""

PARTS = {
    "skin": 1, "eyes": 2, "mouth": 3, "brows": 4, "lashes": 5, "hair": 6, "top": 7, "bottom": 8,
    "shoes": 9, "hat": 10,
}  # fmt: skip
CLOTH_PARTS = (PARTS["top"], PARTS["bottom"], PARTS["shoes"], PARTS["hat"])
MAX_BETA = 2.5
MIN_YEARS = 18.0

_FEMALE_HAIR = ("bob01", "bob02", "Braid01", "long01", "ponytail01", "afro01", "short01", "short04")
_MALE_HAIR = ("short01", "short02", "short03", "short04", "afro01", "short02", "short04")
_UNISEX_SUITS = ("male_casualsuit01", "male_casualsuit03", "male_casualsuit06")
_COLOURFUL = (
    (176, 40, 44), (32, 84, 168), (30, 120, 72), (222, 168, 38), (120, 52, 140), (214, 106, 44),
    (36, 140, 150),
    (206, 96, 130), (238, 236, 230), (44, 46, 52), (128, 128, 132), (92, 66, 48), (160, 196, 222),
    (110, 128, 60),
)  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """Everything that makes one person, in plain values.

    Attributes:
        number: identity number (its range names the split). years: age of the blended samples, at least 18.
        betas: 50 shape coefficients. skin_gain: linear RGB gain of the skin texture.
    """

    number: int
    female: bool
    years: float
    betas: tuple[float, ...]
    skin: str
    skin_gain: tuple[float, float, float]
    hair: str | None
    hair_colour: str
    brow: str
    iris: str
    suit: str
    upper: Cloth
    lower: Cloth
    shoes: str
    shoes_tint: tuple[int, int, int] | None
    hat: bool

    def assets(self) -> list[str]:
        """Names of every pack item this person uses."""
        items = [self.skin, self.suit, self.shoes, self.brow]
        return items + ([self.hair] if self.hair else []) + (["fedora"] if self.hat else [])

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary of all fields."""
        return asdict(self)


def streams(split: str, number: int, *names: str) -> tuple[np.random.Generator, ...]:
    """Independent random generators per named purpose of one identity; adding a name leaves the others
    alone."""
    keys = [int.from_bytes(n.encode()[:8].ljust(8, b"\0"), "little") for n in names]
    code = sorted(SPLITS).index(split)
    return tuple(
        np.random.default_rng(
            np.random.SeedSequence([GENERATOR_VERSION, code, number, k & 0xFFFFFFFF, k >> 32])
        )
        for k in keys
    )


def sample_betas(rng: np.random.Generator, female: bool) -> tuple[NDArray[np.float64], float]:
    """Betas (50,) and age: m + cos(t)(a-m) + sin(t)(b-m) of two sampled adults of one sex, |beta| <= 2.5.

    Draws again while a body leaves the clip range by far, so that faces keep the variance of real samples.
    """
    ext = library.extended_body()
    pool = np.flatnonzero((ext.gender > 0.6) if female else (ext.gender < 0.4))
    pool = pool[ext.years[pool] >= MIN_YEARS]
    mean = ext.scores[pool].mean(0)
    a, b = rng.choice(pool, 2, replace=False)
    t = rng.uniform(0.0, np.pi / 2)
    betas = mean + np.cos(t) * (ext.scores[a] - mean) + np.sin(t) * (ext.scores[b] - mean)
    years = float((ext.years[a] + ext.years[b]) / 2)
    return np.clip(betas.astype(np.float64), -MAX_BETA, MAX_BETA), years


def _allowed(kind: str, options: tuple[str, ...], split: str) -> list[str]:
    return [o for o in options if split == "test" or o not in HELD_OUT.get(kind, ())]


def _cloth(rng: np.random.Generator, split: str, *, lower: bool) -> Cloth:
    first, second = (_COLOURFUL[i] for i in rng.choice(len(_COLOURFUL), 2, replace=False))
    patterns = TRAIN_PATTERNS if split != "test" else TRAIN_PATTERNS + HELD_OUT_PATTERNS * 2
    pattern = patterns[rng.integers(len(patterns))] if not (lower and rng.random() < 0.75) else "plain"
    jitter = rng.integers(-18, 19, 3)
    tint = tuple(int(np.clip(c + j, 12, 244)) for c, j in zip(first, jitter))
    keep = bool(rng.random() < (0.35 if lower else 0.15))
    return Cloth(tint, second, str(pattern), float(rng.uniform(0.7, 1.8)), keep)  # type: ignore[arg-type]


def _shoe_tint(rng: np.random.Generator) -> tuple[int, int, int]:
    grey = rng.uniform(25, 190)
    r, g, b = np.clip(grey + rng.normal(0, 22, 3), 8, 240)
    return int(r), int(g), int(b)


def sample_identity(split: str, number: int) -> Identity:
    """The identity with this number. Raises ValueError when the number lies outside its split."""
    low, high = SPLITS[split]
    if not low <= number < high:
        raise ValueError(f"Identity {number} is not in split {split} ({low}-{high - 1}).")
    shape, skin, hair, dress = streams(split, number, "shape", "skin", "hair", "garment")
    female = bool(shape.random() < 0.5)
    betas, years = sample_betas(shape, female)
    sex = "female" if female else "male"
    age = "young" if years < 40 else "middleage" if years < 64 else "old"
    files = [
        s
        for s in library.skins()
        if s.startswith(f"skin_{age}_") and s.rstrip("23").endswith(f"skinned_{sex}")
    ]
    files = _allowed("skin", tuple(files), split)
    dark = [s for s in files if "dark" in s]
    light = [s for s in files if "light" in s]
    chosen = str(skin.choice(dark if skin.random() < 0.35 else light))
    gain = np.exp(skin.normal(0, 0.1)) * np.exp(skin.normal(0, 0.03, 3))
    styles = _allowed("hair", _FEMALE_HAIR if female else _MALE_HAIR, split)
    bald = bool(hair.random() < (0.02 if female else 0.12))
    natural = ["black", "dark brown", "black"] if "dark" in chosen else list(HAIR_COLOURS)[:6]
    colour = str(hair.choice(["grey", "white"] if years > 60 and hair.random() < 0.7 else natural))
    iris = str(skin.choice(["brown", "dark brown"] if "dark" in chosen else list(IRIS_COLOURS)))
    suits = [s for s in library.names("suit") if s.startswith(sex)]
    if female:
        suits += list(_UNISEX_SUITS)
    suits = _allowed("suit", tuple(suits), split)
    suit = (
        str(dress.choice([s for s in suits if s in HELD_OUT["suit"]] or suits))
        if split == "test"
        else str(dress.choice(suits))
    )
    shoes = str(dress.choice(_allowed("shoes", library.names("shoes"), split)))
    return Identity(
        number=number,
        female=female,
        years=years,
        betas=tuple(float(b) for b in betas),
        skin=chosen,
        skin_gain=tuple(float(g) for g in np.clip(gain, 0.7, 1.35)),  # type: ignore[arg-type]
        hair=None if bald else str(hair.choice(styles)),
        hair_colour=colour,
        brow=str(hair.choice(library.names("brow"))),
        iris=iris,
        suit=suit,
        upper=_cloth(dress, split, lower=False),
        lower=_cloth(dress, split, lower=True),
        shoes=shoes,
        shoes_tint=_shoe_tint(dress) if dress.random() < 0.5 else None,
        hat=bool(hair.random() < 0.05),
    )


@cache
def _eye_ball(rings: int = 20, segments: int = 28) -> tuple[NDArray, NDArray, NDArray]:
    """Unit eyeball: vertices (N,3) with the pupil at +Z, outward faces (F,3), planar corner uvs (F,3,2)."""
    theta = np.linspace(0, np.pi, rings + 1)[:, None]
    phi = np.linspace(0, 2 * np.pi, segments + 1)[None, :]
    v = np.stack(
        np.broadcast_arrays(np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)), -1
    )
    back = np.where(
        v[..., 2:] < 0, 1 / np.maximum(np.linalg.norm(v[..., :2], axis=-1, keepdims=True), 1e-6), 1.0
    )
    uv = 0.5 + 0.49 * v[..., :2] * np.minimum(back, 1e3)
    uv[-1] = (0.99, 0.5)
    i = (np.arange(rings)[:, None] * (segments + 1) + np.arange(segments)).ravel()
    n = segments + 1
    faces = np.concatenate([np.stack([i, i + n, i + n + 1], 1), np.stack([i, i + n + 1, i + 1], 1)])
    return v.reshape(-1, 3), faces, uv.reshape(-1, 2)[faces]


def _fit_sphere(points: NDArray) -> tuple[NDArray, float]:
    """Least-squares sphere of points (N,3): centre (3,) and radius."""
    a = np.concatenate([2 * points, np.ones((len(points), 1))], 1)
    x = np.linalg.lstsq(a, (points**2).sum(1), rcond=None)[0]
    return x[:3], float(np.sqrt(x[3] + (x[:3] ** 2).sum()))


@dataclass
class _Pieces:
    """Mesh under construction."""

    vertices: list[NDArray]
    weights: list[NDArray]
    deltas: list[NDArray | None]
    faces: list[NDArray]
    uvs: list[NDArray]
    texture: list[NDArray]
    part: list[NDArray]
    count: int = 0

    def add(
        self,
        v: NDArray,
        w: NDArray,
        d: NDArray | None,
        f: NDArray,
        uv: NDArray,
        tex: int,
        part: int | NDArray,
    ) -> slice:
        self.vertices.append(v)
        self.weights.append(w)
        self.deltas.append(d)
        self.faces.append(f + self.count)
        self.uvs.append(uv)
        self.texture.append(np.full(len(f), tex))
        self.part.append(np.broadcast_to(part, len(f)))
        start, self.count = self.count, self.count + len(v)
        return slice(start, self.count)


class Person:
    """A dressed person built from an identity.

    Attributes:
        faces: (F,3), face_uvs: (F,3,2), face_texture: (F,), face_part: (F,) ids of ``PARTS``.
        rest: (N,3) T-pose vertices, metres; the first 19158 are the base body (helpers included,
        unreferenced).
        weights: (N,55) float32. joints: (55,3) rest joints. textures: list of uint8 images.
    """

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        ext = library.extended_body()
        betas = np.array(identity.betas, np.float32)
        self.betas = betas
        body = ext.template + np.tensordot(betas, ext.shapes, 1)
        self.joints = skinning.rest_joints(body)
        pieces = _Pieces([], [], [], [], [], [], [])
        self.textures: list[NDArray[np.uint8]] = []
        suit = push_out(fit(library.proxy("suit", identity.suit), body, facial=False), body)
        shoes = push_out(fit(library.proxy("shoes", identity.shoes), body, facial=False), body)
        self._add_skin(pieces, body, [suit, shoes])
        self._add_eyes(pieces, body)
        self._add_face_items(pieces, body)
        self._guards: list[tuple[slice, NDArray]] = []
        self._add_cloth(pieces, suit, shoes)
        if identity.hair is not None and not identity.hat:
            item = fit(library.proxy("hair", identity.hair), body, facial=False)
            item = push_out(item, body, CLEARANCE_HAIR_M)
            colour = HAIR_COLOURS[identity.hair_colour]
            # Pale hair shows less contrast; full contrast would leave dark flecks at the hairline.
            image = tint_texture(library.texture(identity.hair), colour, 0.8 if max(colour) < 100 else 0.5)
            self._add_item(pieces, item, image, PARTS["hair"])
        if identity.hat:
            item = fit(library.proxy("hat", "fedora"), body, facial=False)
            self._add_item(pieces, item, library.texture("fedora"), PARTS["hat"])
        self.rest = np.concatenate(pieces.vertices).astype(np.float32)
        self.weights = np.concatenate(pieces.weights).astype(np.float32)
        self._deltas = [
            (slice(s, s + len(v)), d)
            for s, v, d in zip(
                np.cumsum([0] + [len(v) for v in pieces.vertices]), pieces.vertices, pieces.deltas
            )
            if d is not None
        ]
        self.faces = np.concatenate(pieces.faces).astype(np.int32)
        self.face_uvs = np.concatenate(pieces.uvs).astype(np.float32)
        self.face_texture = np.concatenate(pieces.texture)
        self.face_part = np.concatenate(pieces.part)
        self._forearm = skinning.forearm_guides(self.rest, self.weights)
        self.face_joint = self.weights[self.faces].sum(1).argmax(1)

    def _texture(self, image: NDArray[np.uint8]) -> int:
        self.textures.append(image)
        return len(self.textures) - 1

    def _add_item(
        self, pieces: _Pieces, fitted: Fitted, image: NDArray[np.uint8], part: int | NDArray
    ) -> slice:
        return pieces.add(
            fitted.vertices, fitted.weights, fitted.expressions, fitted.item.faces, fitted.item.face_uvs,
            self._texture(image), part,
        )  # fmt: skip

    def _add_skin(self, pieces: _Pieces, body: NDArray, worn: list[Fitted]) -> None:
        ext, ident = library.extended_body(), self.identity
        faces, uvs = library.base_mesh("skin")
        keep = visible_skin(worn, body)
        skin = library.texture(ident.skin)[..., :3].astype(np.float32) / 255
        # The gain acts on light; 1/2.2 brings it to the sRGB texture.
        image = np.clip(skin * np.array(ident.skin_gain) ** (1 / 2.2), 0, 1) * 255
        tex = self._texture(image.astype(np.uint8))
        pieces.add(body, ext.weights, ext.expressions, faces[keep], uvs[keep], tex, PARTS["skin"])
        tongue, tongue_uv = library.base_mesh("tongue")
        red = self._texture(np.full((4, 4, 3), (150, 62, 58), np.uint8))
        pieces.add(
            np.zeros((0, 3)), np.zeros((0, 55)), None, tongue - pieces.count, tongue_uv, red, PARTS["mouth"]
        )

    def _add_eyes(self, pieces: _Pieces, body: NDArray) -> None:
        ball, faces, uvs = _eye_ball()
        tex = self._texture(paint_eye(IRIS_COLOURS[self.identity.iris], self.identity.number))
        for side, name in (("l", "left_eye_smplhf"), ("r", "right_eye_smplhf")):
            centre, radius = _fit_sphere(
                body[library.array(f"base/eye_{side}").astype(np.int64)].astype(np.float64)
            )
            weights = np.zeros((len(ball), 55), np.float32)
            weights[:, JOINT_INDEX[name]] = 1
            pieces.add(centre + radius * ball, weights, None, faces, uvs, tex, PARTS["eyes"])

    def _add_face_items(self, pieces: _Pieces, body: NDArray) -> None:
        ident = self.identity
        colour = HAIR_COLOURS[ident.hair_colour]
        dark = tuple(int(c * 0.7) for c in colour)
        brow = tint_texture(library.texture(ident.brow), dark, 0.4)  # type: ignore[arg-type]
        for kind, name, image, part in (
            ("brow", ident.brow, brow, "brows"),
            ("lash", "Eyelashes01", library.texture("Eyelashes01"), "lashes"),
            ("teeth", "Teeth_Base", library.texture("Teeth_Base"), "mouth"),
        ):
            fitted = fit(library.proxy(kind, name), body, facial=True)
            if kind == "brow":
                # Half a millimetre forward keeps the thin card off the forehead.
                fitted = replace(fitted, vertices=fitted.vertices + np.array([0, 0, 0.0008], np.float32))
            self._add_item(pieces, fitted, image, PARTS[part])

    def _add_cloth(self, pieces: _Pieces, suit: Fitted, shoes: Fitted) -> None:
        ident = self.identity
        (rng,) = streams(split_of(ident.number), ident.number, "texture")
        image = paint_suit(ident.suit, ident.upper, ident.lower, rng)
        part = np.where(suit.item.face_region == 1, PARTS["top"], PARTS["bottom"])
        self._guards.append((self._add_item(pieces, suit, image, part), suit.nearest))
        leather = library.texture(ident.shoes)[..., :3]
        if ident.shoes_tint is not None:
            leather = tint_texture(leather, ident.shoes_tint, 0.6)
        self._guards.append((self._add_item(pieces, shoes, leather, PARTS["shoes"]), shoes.nearest))

    def scene(self, device: str = "cpu") -> Scene:
        """A ray-cast scene of this person in T-pose; ``scene.pose(person.posed(...))`` moves it."""
        scene = Scene(
            self.faces, self.face_uvs, self.face_texture, self.face_part, Textures(self.textures),
            face_label=self.face_joint, device=device,
        )  # fmt: skip
        scene.pose(self.rest)
        return scene

    def shaped(self, expression: NDArray) -> NDArray[np.float32]:
        """T-pose vertices (N,3) with ARKit weights (52,) applied."""
        out = self.rest.copy()
        active = np.flatnonzero(expression)
        if len(active):
            for part, deltas in self._deltas:
                out[part] += np.tensordot(expression[active].astype(np.float32), deltas[active], 1)
        return out

    def posed(
        self, pose: NDArray, transl: NDArray, expression: NDArray, gaze: NDArray
    ) -> NDArray[np.float32]:
        """Vertices (N,3) for joint rotations (55,3) axis-angle, translation (3,), ARKit (52,) and gaze
        (2,2)."""
        rotations = skinning.local_rotations(pose, gaze)
        rest = skinning.twist_forearms(self.shaped(expression), rotations, self._forearm)
        transforms = skinning.joint_transforms(rotations, self.joints)
        out = skinning.skin(rest, self.weights, transforms)
        n = len(library.extended_body().template)
        normals = vertex_normals(out[:n], library.base_mesh("skin")[0])
        for part, nearest in self._guards:
            out[part] = clear(out[part], nearest, out[:n], normals, CLEARANCE_POSED_M)
        return out + np.asarray(transl, np.float32)


def split_of(number: int) -> str:
    """Split an identity number belongs to."""
    for name, (low, high) in SPLITS.items():
        if low <= number < high:
            return name
    raise ValueError(f"Identity {number} belongs to no split.")
