"""Variety and decency: many garments, hair styles and skin tones; everybody dressed, also below skirts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lca_core.data import library, motion
from lca_core.data.fabric import paint_garment
from lca_core.data.painting import PATTERN_NAMES, Cloth, skin_tone
from lca_core.data.people import BUZZ, PARTS, Person, sample_identity
from lca_core.data.procedural import BOTTOMS, SKIRTS, TOPS, Cut, cloth_coordinates, tailor
from lca_core.data.render import Light, linear_to_srgb
from lca_core.data.samples import fit_camera
from lca_core.data.skinning import rest_joints
from lca_core.data.wardrobe import Outfit, tone_colour

from .conftest import plain

PEOPLE = [sample_identity("train", i) for i in range(300)]
EXPLICIT = np.unpackbits(library.array("base/explicit"), count=512 * 512).reshape(512, 512).astype(bool)


def garments(o: Outfit) -> set[str]:
    return {c.kind for c in (o.top, o.bottom) if c is not None} | ({o.suit} if o.suit else set())


def test_a_sheet_of_48_shows_many_garments_hair_styles_and_tones() -> None:
    sheet = PEOPLE[:48]
    assert len(set().union(*(garments(p.outfit) for p in sheet))) >= 8
    assert len({p.hair for p in PEOPLE if p.hair not in (None, BUZZ)}) >= 8
    assert len({p.upper.pattern for p in PEOPLE}) >= 10
    light = [skin_tone(p.skin) * np.mean(p.skin_gain) for p in PEOPLE]
    assert np.quantile(light, 0.95) > 6 * np.quantile(light, 0.05)
    assert np.histogram(np.log(light), 6)[0].min() >= 8, "every step from fair to dark is there"
    years = np.array([p.years for p in PEOPLE])
    assert years.min() >= 18 and years.max() > 65 and (years < 30).mean() > 0.1


def test_everybody_wears_a_top_a_bottom_and_shoes() -> None:
    for p in PEOPLE:
        o = p.outfit
        assert o.suit or (o.top is not None and o.bottom is not None)
        assert p.shoes in library.names("shoes")
        if o.bottom is not None and o.bottom.kind in SKIRTS:
            assert o.under is not None and o.under.kind == "leggings" and o.under.hem >= 0.25


@pytest.mark.parametrize(
    "number", [i for i, p in enumerate(PEOPLE[:40]) if p.outfit.top or p.outfit.bottom][:10]
)
def test_no_view_shows_what_clothes_must_cover(number: int, white: Light) -> None:
    """From all sides and from below, in a stride."""
    person = Person(PEOPLE[number])
    scene, used = person.scene(), np.unique(person.faces)
    q = motion.random_pose(np.random.default_rng(number), "walk")
    posed = person.posed(q.joints, q.transl, q.expression, q.gaze)
    scene.pose(posed)
    for yaw, pitch in ((0.0, 0.0), (2.1, 0.1), (4.2, 0.0), (0.5, -0.9)):
        K, viewmat = fit_camera(posed[used], yaw, pitch, 3.0, 128, 128, 0.95, np.zeros(2))
        frame = scene.render(K, viewmat, 128, 128, white)
        skin = frame.part == PARTS["skin"]
        uv = np.clip((frame.uv[skin] * [1, -1] + [0, 1]) * 512, 0, 511).astype(int)
        # A pixel of the painted vest may show at an armhole or a hem; never more.
        assert EXPLICIT[uv[:, 1], uv[:, 0]].sum() <= 4, (yaw, pitch)


def test_skin_is_never_green_nor_glowing(white: Light) -> None:
    for place in np.linspace(0, 1, 12):
        r, g, b = tone_colour(float(place))
        assert r > g > b > 0 and r < 0.8
    for number in range(0, 24, 3):
        person = Person(PEOPLE[number])
        image = person.textures[0][..., :3].astype(float)
        assert image.mean() < 215
        scene = person.scene()
        head = person.joints[15] + np.array(
            [[x, y, z] for x in (-0.1, 0.1) for y in (-0.05, 0.15) for z in (0, 0.1)]
        )
        K, viewmat = fit_camera(head, 0.0, 0.0, 1.2, 64, 64, 0.9, np.zeros(2))
        frame = scene.render(K, viewmat, 64, 64, white)
        face = linear_to_srgb(frame.color[(frame.part == PARTS["skin"]) & (frame.coverage == 1)])
        r, g, b = np.median(face, 0)
        assert r > g > b, number
        assert (frame.part == PARTS["eyes"]).sum() >= 4 or person.identity.hair in ("bob01", "Braid01")


@pytest.mark.parametrize("kind", [*TOPS, *BOTTOMS, *SKIRTS])
def test_procedural_garments_are_clean_meshes(kind: str) -> None:
    """Uvs lie in the atlas, weights sum to one, faces look outwards."""
    body = library.extended_body().template
    cut = Cut(
        kind,
        flare=1.0 if kind in SKIRTS else 0.0,
        hem=-0.5 if kind in SKIRTS else 0.9 if kind in BOTTOMS else 0.0,
    )
    fitted = tailor(cut, body, rest_joints(body))
    faces = fitted.item.faces
    assert len(faces) > 300 and faces.max() == len(fitted.vertices) - 1
    a, b, c = (fitted.vertices[faces[:, k]] for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    assert np.isfinite(fitted.vertices).all() and 0.2 < area.sum() < 4
    assert fitted.item.face_uvs.min() >= 0 and fitted.item.face_uvs.max() <= 1
    np.testing.assert_allclose(fitted.weights.sum(1), 1, atol=1e-4)
    normal = np.cross(b - a, c - a)
    centre = (a + b + c) / 3
    outwards = centre - np.array([0, 0, body[:, 2].mean()])
    torso = (np.abs(centre[:, 0]) < 0.3) & (centre[:, 1] > 0.0)
    assert ((normal * outwards * [1, 0, 1]).sum(1)[torso] > 0).mean() > 0.85, "faces look outwards"


def test_a_longer_sleeve_and_a_lower_hem_cover_more() -> None:
    body = library.extended_body().template
    joints = rest_joints(body)

    def reach(cut: Cut) -> tuple[float, float]:
        v = tailor(cut, body, joints).vertices
        return float(v[:, 0].max()), float(v[:, 1].min())

    assert reach(Cut("tee", sleeve=0.9))[0] > reach(Cut("tee", sleeve=0.3))[0] + 0.2
    assert reach(Cut("shorts", hem=0.3))[1] > reach(Cut("trousers", hem=0.95))[1] + 0.4
    assert reach(Cut("skirt", hem=-0.7, flare=1))[1] < reach(Cut("skirt", hem=-0.4, flare=1))[1] - 0.25
    wide = tailor(Cut("skirt", hem=-0.7, flare=1.5), body, joints).vertices
    narrow = tailor(Cut("skirt", hem=-0.7, flare=0.5), body, joints).vertices
    assert np.abs(wide[:, 0]).max() > np.abs(narrow[:, 0]).max() + 0.05


@pytest.mark.parametrize("pattern", PATTERN_NAMES)
def test_every_pattern_paints_two_colours(pattern: str) -> None:
    rng = np.random.default_rng(1)
    for cut in (Cut("tee"), Cut("trousers"), Cut("skirt")):
        image = paint_garment(cut, Cloth((200, 30, 30), (30, 30, 200), pattern), rng).astype(int)
        used = cloth_coordinates(
            "upper" if cut.kind == "tee" else "lower" if cut.kind == "trousers" else "skirt"
        )
        red = (image[..., 0] > image[..., 2])[used.chart >= 0].mean()
        if cut.kind == "tee" and pattern not in ("plain", "denim"):
            assert 0.002 < 1 - red < 0.995, pattern
        assert image.std() > 2, "cloth has a surface"


def test_outfits_change_the_silhouette(white: Light) -> None:
    base = plain(3, hair=None, hat=False)
    tight = Outfit("", Cut("tank", 0.003, 0.0, 0.0, 0.0), Cut("leggings", 0.003, 0.0, hem=0.97), None, False)
    loose = Outfit("", Cut("sweater", 0.016, 1.0, 1.0, -0.05), Cut("wide", 0.008, 1.0, hem=1.0), None, False)
    masks = []
    for outfit in (tight, loose):
        person = Person(replace(base, outfit=outfit))
        scene = person.scene()
        box = person.rest[np.unique(person.faces)]
        K, viewmat = fit_camera(box, 0.0, 0.0, 3.0, 160, 160, 0.95, np.zeros(2))
        masks.append(scene.render(K, viewmat, 160, 160, white).coverage.sum())
    assert masks[1] > 1.12 * masks[0]
