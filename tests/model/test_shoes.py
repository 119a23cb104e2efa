"""Shoes: toes vanish under a smooth surface, the rest of the body stays, bare feet stay bare."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from lca_core.body.names import JOINT_INDEX
from lca_core.model.density import Samples, plan
from lca_core.model.inverse_texture import TexelViews
from lca_core.model.references import References
from lca_core.model.shoes import THINNEST_M, Shoes, barefoot, put_on
from lca_core.model.template import Template

SKIN, LEATHER = (0.75, 0.55, 0.45), (0.25, 0.2, 0.2)
FEET = [JOINT_INDEX[f"{s}_{n}"] for s in ("left", "right") for n in ("ankle", "foot")]


@pytest.fixture(scope="module")
def template() -> Template:
    return Template.load(128)


@pytest.fixture(scope="module")
def samples(template: Template) -> Samples:
    return plan(template, 256)


def views(template: Template, foot: tuple[float, float, float], seen: float = 1.0) -> TexelViews:
    on_foot = torch.from_numpy(template.weights[:, FEET].sum(1) > 0.5)
    color = torch.where(on_foot[:, None], torch.tensor(foot), torch.tensor(SKIN))[None]
    hit = torch.where(on_foot[:, None], seen, 1.0)[None]
    maps = [template.scatter(x) for x in (color.float(), hit.float())]
    none = torch.zeros(1, 1, template.size, template.size)
    return TexelViews(none, none, maps[0], maps[1], none, none)


@pytest.fixture(scope="module")
def person() -> References:
    """Nobody's photographs: only the shape is read."""
    no = torch.zeros(1, 0)
    return References(*[no] * 11, torch.zeros(1, 50), no)


@pytest.fixture(scope="module")
def shoes(template: Template, samples: Samples, person: References) -> Shoes:
    made = put_on(samples, person, template, views(template, LEATHER), np.zeros((samples.count, 3)))
    assert made is not None
    return made


def test_skin_coloured_feet_are_bare_and_others_are_shod(template: Template) -> None:
    assert barefoot(template, views(template, SKIN))
    assert barefoot(template, views(template, tuple(0.85 * c for c in SKIN)))
    assert not barefoot(template, views(template, LEATHER))
    assert not barefoot(template, views(template, SKIN, seen=0.0)), "feet nobody saw are taken to be shod"


def test_bare_feet_get_no_shoes(template: Template, samples: Samples, person: References) -> None:
    assert put_on(samples, person, template, views(template, SKIN), np.zeros((samples.count, 3))) is None


def test_shoes_enclose_the_forefoot_and_nothing_else(samples: Samples, shoes: Shoes) -> None:
    rest, _, joints = (x.numpy() for x in samples._rest(torch.zeros(50)))
    on = shoes.points
    assert (samples.weights[on.where][:, FEET].sum(1) > 0.5).all()
    toes = rest[on.where][:, 2] > joints[JOINT_INDEX["left_ankle"], 2] + 0.06
    moved = ((on.means - rest[on.where]) * on.frames[:, :, 2]).sum(1)
    firm = toes & (np.linalg.norm(on.means - rest[on.where], axis=1) > THINNEST_M)
    assert firm.sum() > 0.8 * toes.sum()
    assert (moved[firm] > 0.9 * THINNEST_M).mean() > 0.99, "the body lies inside the shoe"
    assert np.linalg.norm(on.means - rest[on.where], axis=1).max() < 0.05
    # The other foot is untouched by this one: left stays left.
    left = samples.weights[on.where][:, FEET[:2]].sum(1) > 0.5
    assert (on.means[left, 0] > 0).all() and (on.means[~left, 0] < 0).all()


def test_the_surface_is_smooth_where_the_toes_were(samples: Samples, shoes: Shoes) -> None:
    rest, frames, joints = (x.numpy() for x in samples._rest(torch.zeros(50)))
    on = shoes.points
    front = rest[on.where][:, 2] > joints[JOINT_INDEX["left_foot"], 2]

    def roughness(places: np.ndarray, normals: np.ndarray) -> float:
        near = cKDTree(places).query(places, 9)[1]
        return float(np.mean(1 - np.einsum("na,nka->nk", normals, normals[near]).clip(-1, 1)))

    bare = roughness(rest[on.where][front], frames[on.where][front][:, :, 2])
    shod = roughness(on.means[front], on.frames[front][:, :, 2])
    assert shod < 0.25 * bare
    np.testing.assert_allclose(
        np.einsum("nai,naj->nij", on.frames, on.frames),
        np.broadcast_to(np.eye(3), on.frames.shape),
        atol=1e-4,
    )


def test_a_bent_foot_takes_its_shoe_along(samples: Samples, shoes: Shoes) -> None:
    pose = torch.zeros(1, 55, 3)
    pose[0, JOINT_INDEX["left_ankle"], 0] = 0.5
    zeros = torch.zeros(1, 3), torch.zeros(1, 52)
    posed = shoes.samples.posed(torch.zeros(50), pose, *zeros)[0]
    turn = shoes.samples.transforms(torch.zeros(50), pose, *zeros)[0, JOINT_INDEX["left_foot"]]
    on = shoes.points
    rigid = samples.weights[on.where][:, FEET[:2]].sum(1) > 0.999
    wanted = on.means[rigid] @ turn[:3, :3].T + turn[:3, 3]
    np.testing.assert_allclose(posed.position[on.where[rigid]], wanted, atol=1e-4)
