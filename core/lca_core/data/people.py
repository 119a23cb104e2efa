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
from lca_core.data import cloth, library, skinning
from lca_core.data.fabric import paint_garment
from lca_core.data.garments import (
    CLEARANCE_HAIR_M,
    CLEARANCE_POSED_M,
    CLEARANCE_REST_M,
    Fitted,
    clear,
    fit,
    layer,
    push_out,
    region_of,
    visible_skin,
)
from lca_core.data.painting import (
    HAIR_COLOURS,
    IRIS_COLOURS,
    Cloth,
    paint_eye,
    paint_skin,
    paint_suit,
    skin_tone,
    tint_texture,
)
from lca_core.data.procedural import SKIRTS, tailor
from lca_core.data.render import Scene, Textures, linear_to_srgb, vertex_normals
from lca_core.data.wardrobe import HELD_OUT_SUITS, Outfit, sample_cloth, sample_outfit, skin_gain, tone_colour

SKIRT_KIND = "simulated"

GENERATOR_VERSION = 2
SPLITS = {"train": (0, 200_000), "val": (900_000, 900_200), "test": (910_000, 910_200)}
"""Identity numbers of each split, half open."""

HELD_OUT = {
    "suit": HELD_OUT_SUITS,
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

_FEMALE_HAIR = (
    "bob01", "bob02", "Braid01", "Braid01", "long01", "long01", "ponytail01", "ponytail01", "afro01",
    "short01", "short04",
)  # fmt: skip
_MALE_HAIR = ("short01", "short02", "short03", "short04", "afro01", "short02", "short04")
BUZZ = "buzz"
"""Hair style that is painted only."""


@dataclass(frozen=True)
class Identity:
    """Everything that makes one person, in plain values.

    Attributes:
        number: identity number (its range names the split). years: age of the blended samples, at least 18.
        betas: 50 shape coefficients. skin_gain: linear RGB gain of the skin texture. hair: style, None =
        bald. hair_size: volume of the hair mesh. stubble: beard shadow 0-1.
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
    hair_size: float
    stubble: float
    outfit: Outfit
    upper: Cloth
    lower: Cloth
    shoes: str
    shoes_tint: tuple[int, int, int] | None
    hat: bool

    def assets(self) -> list[str]:
        """Names of every pack item this person uses."""
        items = [self.skin, self.shoes, self.brow]
        items += [self.hair] if self.hair not in (None, BUZZ) else []
        items += [self.outfit.suit] if self.outfit.suit else []
        return items + (["fedora"] if self.hat else [])

    @property
    def suit(self) -> str:
        """The pack suit, "" when all garments are procedural."""
        return self.outfit.suit

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


def _unlike_skin(colours: Cloth, tone: NDArray) -> Cloth:
    """Cloth in skin colour looks like no cloth: it becomes blue."""
    near = np.abs(np.array(colours.tint) - tone).sum() < 100
    return replace(colours, tint=(58, 76, 116)) if near else colours


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
    place = float(skin.uniform(0, 1))
    darker = place > 0.6
    chosen = str(skin.choice([s for s in files if ("dark" in s) == darker]))
    gain = skin_gain(skin, place, skin_tone(chosen))
    styles = _allowed("hair", _FEMALE_HAIR if female else _MALE_HAIR, split)
    bald = bool(hair.random() < (0.02 if female else 0.12))
    natural = ["black", "dark brown", "black"] if place > 0.55 else list(HAIR_COLOURS)[:6]
    colour = str(hair.choice(["grey", "white"] if years > 60 and hair.random() < 0.7 else natural))
    iris = str(skin.choice(["brown", "dark brown"] if place > 0.5 else list(IRIS_COLOURS)))
    style = BUZZ if hair.random() < (0.01 if female else 0.14) else str(hair.choice(styles))
    outfit = sample_outfit(dress, split, female)
    denim = outfit.bottom is not None and outfit.bottom.kind in ("trousers", "wide", "shorts", "bell")
    upper = sample_cloth(dress, split, lower=False)
    lower = sample_cloth(dress, split, lower=True, denim=denim)
    if outfit.bottom is not None and outfit.bottom.kind in SKIRTS:
        # Skirts are as colourful as tops; a dress is one cloth.
        lower = upper if outfit.bottom.kind == "dress" else sample_cloth(dress, split, lower=False)
    tone = linear_to_srgb(tone_colour(place)) * 255
    upper, lower = (_unlike_skin(c, tone) for c in (upper, lower))
    shoes = str(dress.choice(_allowed("shoes", library.names("shoes"), split)))
    return Identity(
        number=number,
        female=female,
        years=years,
        betas=tuple(float(b) for b in betas),
        skin=chosen,
        skin_gain=gain,
        hair=None if bald else style,
        hair_colour=colour,
        brow=str(hair.choice(library.names("brow"))),
        iris=iris,
        hair_size=float(hair.uniform(0.96, 1.1)),
        stubble=0.0 if female else float(max(hair.uniform(-0.5, 0.4), 0.0)),
        outfit=outfit,
        upper=upper,
        lower=lower,
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
        shoes = push_out(fit(library.proxy("shoes", identity.shoes), body, facial=False), body)
        worn = self._dress(body, shoes)
        self._add_skin(pieces, body, [g for g, _, _ in worn if g.item.kind != SKIRT_KIND])
        self._add_eyes(pieces, body)
        self._add_face_items(pieces, body)
        self._guards: list[tuple[slice, NDArray, float]] = []
        self._skirt: cloth.Skirt | None = None
        self._add_cloth(pieces, worn)
        if identity.hair not in (None, BUZZ) and not identity.hat:
            assert identity.hair is not None
            item = fit(library.proxy("hair", identity.hair), body, facial=False)
            item = self._scaled_hair(item)
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
        scalp = 0.0 if ident.hair is None else 0.75 if ident.hair == BUZZ or ident.hat else 0.55
        image = paint_skin(
            ident.skin, ident.skin_gain, HAIR_COLOURS[ident.hair_colour], scalp=scalp, stubble=ident.stubble,
            seed=ident.number,
        )  # fmt: skip
        tex = self._texture(image)
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

    def _dress(self, body: NDArray, shoes: Fitted) -> list[tuple[Fitted, NDArray[np.uint8], NDArray]]:
        """Fitted garments with texture and face parts, innermost first, shoes last."""
        ident = self.identity
        outfit = ident.outfit
        (rng,) = streams(split_of(ident.number), ident.number, "texture")
        garments: dict[str, Fitted] = {}
        images: dict[str, NDArray[np.uint8]] = {}
        if outfit.suit:
            suit = push_out(fit(library.proxy("suit", outfit.suit), body, facial=False), body)
            image = paint_suit(outfit.suit, ident.upper, ident.lower, rng)
            if outfit.top is None and outfit.bottom is None:
                garments["suit"], images["suit"] = suit, image
            else:
                side = "top" if outfit.top is None else "bottom"
                garments[side] = region_of(suit, 1 if side == "top" else 2)
                images[side] = image
        dark = Cloth((34, 34, 40), (34, 34, 40))
        for name, cut, colours in (
            ("under", outfit.under, dark), ("top", outfit.top, ident.upper),
            ("bottom", outfit.bottom, ident.lower),
        ):  # fmt: skip
            if cut is not None:
                fitted = tailor(cut, body, self.joints)
                garments[name] = push_out(fitted, body, min(CLEARANCE_REST_M, cut.ease))
                images[name] = paint_garment(cut, colours, rng)
        over = ("bottom", "top") if outfit.tucked else ("top", "bottom")
        if "under" in garments:
            # The shorts below a skirt stay whole: they are what a swinging skirt shows.
            for name in ("top", "bottom"):
                garments[name], _ = layer(garments[name], garments["under"], 0.003, trim=False)
        for name in ("under", "bottom", "suit"):
            if name in garments and garments[name].item.kind != SKIRT_KIND:
                # Trouser legs and tights go over the socks.
                garments[name], shoes = layer(garments[name], shoes, 0.003)
        if all(n in garments for n in over):
            garments[over[0]], garments[over[1]] = layer(garments[over[0]], garments[over[1]])
        out = []
        for name in ("under", "top", "bottom", "suit"):
            if name in garments:
                item = garments[name]
                upper = item.item.face_region == 1
                out.append((item, images[name], np.where(upper, PARTS["top"], PARTS["bottom"])))
        leather = library.texture(ident.shoes)[..., :3]
        if ident.shoes_tint is not None:
            leather = tint_texture(leather, ident.shoes_tint, 0.6)
        out.append((shoes, leather, np.full(len(shoes.item.faces), PARTS["shoes"])))
        return out

    def _scaled_hair(self, item: Fitted) -> Fitted:
        """Hair with its volume scaled about the middle of the head."""
        centre = self.joints[JOINT_INDEX["head"]] + np.array([0, 0.07, 0.0], np.float32)
        size = np.array([1, 1, 1], np.float32) * np.float32(self.identity.hair_size)
        return replace(item, vertices=(item.vertices - centre) * size + centre)

    def _add_cloth(self, pieces: _Pieces, worn: list[tuple[Fitted, NDArray[np.uint8], NDArray]]) -> None:
        for fitted, image, part in worn:
            where = self._add_item(pieces, fitted, image, part)
            if fitted.item.kind == SKIRT_KIND:
                self._skirt = cloth.Skirt(fitted, where)
                pieces.weights[-1] = self._skirt.weights
            else:
                thin = fitted.item.kind == "procedural" and fitted.item.name in ("leggings", "longsleeve")
                self._guards.append((where, fitted.nearest, 0.0012 if thin else CLEARANCE_POSED_M))

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

    @property
    def skirt(self) -> cloth.Skirt | None:
        """The simulated skirt, or None."""
        return self._skirt

    def posed(
        self, pose: NDArray, transl: NDArray, expression: NDArray, gaze: NDArray
    ) -> NDArray[np.float32]:
        """Vertices (N,3) for joint rotations (55,3) axis-angle, translation (3,), ARKit (52,) and gaze (2,2).

        A skirt is simulated from the rest pose into this one and settled: the result depends on the pose
        alone. For clips with swing use :func:`lca_core.data.cloth.drape`.
        """
        out = self.skinned(pose, expression, gaze)
        if self._skirt is not None:
            out[self._skirt.where] = cloth.settle(self, pose)
        return out + np.asarray(transl, np.float32)

    def skinned(self, pose: NDArray, expression: NDArray, gaze: NDArray) -> NDArray[np.float32]:
        """Vertices (N,3) by skinning alone, before translation; skirts move by their diffused weights."""
        rotations = skinning.local_rotations(pose, gaze)
        rest = skinning.twist_forearms(self.shaped(expression), rotations, self._forearm)
        transforms = skinning.joint_transforms(rotations, self.joints)
        out = skinning.skin(rest, self.weights, transforms)
        n = len(library.extended_body().template)
        normals = vertex_normals(out[:n], library.base_mesh("skin")[0])
        for part, nearest, clearance in self._guards:
            out[part] = clear(out[part], nearest, out[:n], normals, clearance)
        return out


def split_of(number: int) -> str:
    """Split an identity number belongs to."""
    for name, (low, high) in SPLITS.items():
        if low <= number < high:
            return name
    raise ValueError(f"Identity {number} belongs to no split.")
