"""Who the synthetic people are: adults, dressed, reproducible, split by number, nothing held out leaks."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from lca_core.body.model import BodyModel
from lca_core.body.raster import rasterize
from lca_core.data import library, motion, uv_bake
from lca_core.data.painting import UNDERWEAR_RGB
from lca_core.data.people import (
    CLOTH_PARTS,
    HELD_OUT,
    MAX_BETA,
    MIN_YEARS,
    PARTS,
    SPLITS,
    Person,
    sample_identity,
    streams,
)
from lca_core.data.procedural import SKIRTS, Cut
from lca_core.data.render import Light
from lca_core.data.samples import fit_camera
from lca_core.data.wardrobe import HELD_OUT_CUTS, Outfit, held_out_skirt

from .conftest import UV, plain

EXPLICIT = np.unpackbits(library.array("base/explicit"), count=512 * 512).reshape(512, 512).astype(bool)


def test_the_pack_is_complete_and_small() -> None:
    assert len(library.names("suit")) == 12 and len(library.names("hair")) == 10
    assert len(library.skins()) == 20
    for kind in ("suit", "shoes", "hair"):
        assert set(HELD_OUT[kind]) <= set(library.names(kind))
    files = [p for p in library.ASSETS.rglob("*") if p.suffix == ".webp" or p.name == "pack_geometry.npz"]
    assert sum(p.stat().st_size for p in files) < 9e6
    licences = (library.ASSETS / "LICENSES.md").read_text()
    for kind in ("suit", "shoes", "hat", "hair", "brow", "lash", "teeth"):
        for name in library.names(kind):
            assert f"| {kind}/{name} |" in licences


def test_no_skin_texture_is_explicit() -> None:
    assert EXPLICIT.sum() > 500
    faces, uvs = library.base_mesh("skin")
    vest = np.unpackbits(library.array("base/covered"), count=len(faces)).astype(bool)
    corners = np.stack([uvs[vest][..., 0], 1 - uvs[vest][..., 1]], -1) * 512
    covered = (rasterize(corners, 512, 512)[0] >= 0) | EXPLICIT
    assert covered.mean() > 0.05
    for name in library.skins():
        painted = library.texture(name)[covered][:, :3].astype(int)
        # WebP is lossy: a few levels off the flat paint, never skin.
        assert np.abs(painted - UNDERWEAR_RGB).max() < 25, name


def test_everybody_is_an_adult() -> None:
    assert library.extended_body().years.min() >= MIN_YEARS
    model = BodyModel.load()
    import torch

    for number in range(60):
        identity = sample_identity("train", number)
        assert identity.years >= MIN_YEARS
        assert np.abs(identity.betas).max() <= MAX_BETA
        vertices = model.rest(torch.tensor([identity.betas], dtype=torch.float32))[0][0]
        assert 1.4 < float(vertices[:, 1].max() - vertices[:, 1].min()) < 2.2


def test_identities_are_reproducible_and_differ() -> None:
    assert sample_identity("train", 11) == sample_identity("train", 11)
    assert sample_identity("train", 11).betas != sample_identity("train", 12).betas
    a, _ = streams("train", 5, "shape", "skin")
    (alone,) = streams("train", 5, "shape")
    assert a.random() == alone.random()


def test_held_out_assets_stay_out() -> None:
    held = {name for names in HELD_OUT.values() for name in names}
    for split, count in (("train", 150), ("val", 60)):
        for number in range(SPLITS[split][0], SPLITS[split][0] + count):
            assert not held & set(sample_identity(split, number).assets())
    low = SPLITS["test"][0]
    worn = [sample_identity("test", low + i).outfit for i in range(60)]
    assert {o.suit for o in worn if o.top is None and o.bottom is None} == set(HELD_OUT["suit"])
    assert all(_new_garment(o) for o in worn)
    train = [sample_identity("train", i).outfit for i in range(150)]
    assert not any(_new_garment(o) for o in train)
    with pytest.raises(ValueError, match="not in split"):
        sample_identity("val", 5)


def _new_garment(o: Outfit) -> bool:
    cuts = [c for c in (o.top, o.bottom) if c is not None]
    return (
        o.suit in HELD_OUT["suit"]
        or any(c.kind in HELD_OUT_CUTS for c in cuts)
        or any(c.kind in SKIRTS and held_out_skirt(c.flare, c.hem) for c in cuts)
    )


def test_splits_do_not_overlap() -> None:
    ranges = sorted(SPLITS.values())
    assert all(a[1] <= b[0] for a, b in pairwise(ranges))


@pytest.mark.parametrize("suit", library.names("suit"))
def test_cloth_covers_groin_and_chest(suit: str, white: Light) -> None:
    """Texels of the explicit masks show cloth as the outermost layer, and images show none of their skin."""
    female = suit.startswith("female")
    number = next(i for i in range(40) if sample_identity("train", i).female == female)
    person = Person(plain(number, suit=suit, hat=False))
    truth = uv_bake.bake(person, uv_bake.layered_scene(person), white, UV)
    t = uv_bake.texels(UV)
    inside = EXPLICIT.reshape(UV, 512 // UV, UV, 512 // UV).mean((1, 3))[t.rows, t.cols] > 0.4
    assert inside.sum() >= 10
    surface = (truth.validity[t.rows, t.cols] & uv_bake.SURFACE) > 0
    assert np.isin(truth.part[inside & surface], CLOTH_PARTS).all()

    scene = person.scene()
    used = np.unique(person.faces)
    for seed, yaw in ((0, 0.0), (1, np.pi)):
        q = motion.random_pose(np.random.default_rng(seed), "stand")
        posed = person.posed(q.joints, q.transl, q.expression, q.gaze)
        scene.pose(posed)
        K, viewmat = fit_camera(posed[used], yaw, 0.0, 3.0, 160, 160, 0.95, np.zeros(2))
        frame = scene.render(K, viewmat, 160, 160, white)
        skin = frame.part == PARTS["skin"]
        uv = np.clip((frame.uv[skin] * [1, -1] + [0, 1]) * 512, 0, 511).astype(int)
        # Only a pixel or two at the hem of a short top, and they show the painted vest (see the test above).
        assert EXPLICIT[uv[:, 1], uv[:, 0]].sum() <= 4


def test_tight_clothes_keep_the_silhouette(white: Light) -> None:
    """A mask in tight clothes stays close to the projected body: IoU at least 0.97 without the shoes."""
    tight = Outfit(
        "", Cut("longsleeve", 0.001, 0.0, 1.0, 0.0), Cut("leggings", 0.001, 0.0, hem=0.97), None, False
    )
    person = Person(replace(plain(3, hair=None, hat=False), outfit=tight))
    q = motion.random_pose(np.random.default_rng(2), "a_pose")
    posed = person.posed(q.joints, q.transl, q.expression, q.gaze)
    scene = person.scene()
    scene.pose(posed)
    K, viewmat = fit_camera(posed[np.unique(person.faces)], 0.4, 0.05, 3.0, 512, 512, 0.9, np.zeros(2))
    frame = scene.render(K, viewmat, 512, 512, white)
    dressed, shoes = frame.coverage > 0, frame.part == PARTS["shoes"]

    from lca_core.data.render import Scene, Textures

    faces, uvs = library.base_mesh("skin")
    flat = Textures([np.full((4, 4, 3), 60, np.uint8)])
    bare = Scene(faces, uvs, np.zeros(len(faces)), np.ones(len(faces)), flat)
    bare.pose(posed[: library.BASE_VERTICES])
    silhouette = bare.render(K, viewmat, 512, 512, white).coverage > 0
    iou = (dressed & silhouette).sum() / ((dressed & ~shoes) | silhouette).sum()
    assert iou > 0.97
    assert (silhouette & ~dressed).sum() < 0.01 * silhouette.sum()
