"""Stains on hands go, what views vouch for stays, and nothing but hands changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lca_core.body.names import JOINT_INDEX
from lca_core.model.hand_skin import SLEEVE_M, clean_hands
from lca_core.model.template import Template
from lca_core.model.view_choice import hand_points

SKIN, GLOVE = np.array([0.75, 0.55, 0.46]), np.array([0.12, 0.13, 0.2])
JEANS, GOLD = np.array([0.25, 0.3, 0.42]), np.array([0.85, 0.7, 0.2])


@pytest.fixture(scope="module")
def template() -> Template:
    return Template.load(384)


@pytest.fixture(scope="module")
def rest(template: Template) -> np.ndarray:
    return template._rest(torch.zeros(50))[0].numpy()


def painted(template: Template, rest: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Hands in one colour, lit from above and a little noisy; trousers' colour everywhere else."""
    color = np.tile(JEANS, (template.count, 1))
    hands = hand_points(template)
    light = 1 + 0.1 * template.rest_normals()[hands, 1:2]
    color[hands] = skin * light * np.random.default_rng(0).uniform(0.97, 1.03, (hands.sum(), 1))
    return color.astype(np.float32)


def spot(rest: np.ndarray, template: Template, radius: float) -> np.ndarray:
    """A patch on the back of the right hand."""
    back = hand_points(template) & (rest[:, 0] < 0) & (template.rest_normals()[:, 1] > 0.5)
    middle = rest[back].mean(0)
    return np.asarray(back & (np.linalg.norm(rest - middle, axis=1) < radius))


@pytest.mark.parametrize("skin", [SKIN, GLOVE], ids=["skin", "glove"])
def test_a_stain_that_nobody_vouches_for_becomes_skin(template: Template, rest: np.ndarray, skin) -> None:
    clean = painted(template, rest, skin)
    stain = spot(rest, template, 0.012)
    assert stain.sum() > 5
    color = clean.copy()
    color[stain] = 0.5 * color[stain] + 0.5 * GOLD
    sure = np.where(stain, 0.1, 0.9)
    out = clean_hands(template, color, sure, np.ones(template.count))
    before, after = (np.abs(x - clean)[stain].mean() for x in (color, out))
    assert after < 0.25 * before
    np.testing.assert_allclose(out[~stain], color[~stain], atol=0.02)


def test_a_ring_that_views_see_well_stays(template: Template, rest: np.ndarray) -> None:
    color = painted(template, rest, SKIN)
    ring = spot(rest, template, 0.012)
    color[ring] = GOLD
    out = clean_hands(template, color, np.full(template.count, 0.95), np.ones(template.count))
    assert np.abs(out - color)[ring].max() < 0.06


def test_light_and_plain_gloves_stay_and_nothing_else_is_touched(
    template: Template, rest: np.ndarray
) -> None:
    hands = hand_points(template)
    for skin in (SKIN, GLOVE):
        color = painted(template, rest, skin)
        out = clean_hands(template, color, np.full(template.count, 0.3), np.ones(template.count))
        np.testing.assert_array_equal(out[~hands], color[~hands])
        assert np.abs(out - color).max() < 0.03


def test_what_is_guessed_stays_and_so_does_a_sleeve_over_the_wrist(
    template: Template, rest: np.ndarray
) -> None:
    color = painted(template, rest, SKIN)
    spots = spot(rest, template, 0.012)
    color[spots] = GOLD
    nobody = np.zeros(template.count)
    np.testing.assert_array_equal(clean_hands(template, color, nobody, nobody), color)
    wrist = template.body.rest(torch.zeros(1, 50), None)[1][0, JOINT_INDEX["left_wrist"], 0].item()
    cuff = hand_points(template) & (np.abs(rest[:, 0]) < wrist + SLEEVE_M[0])
    color[cuff] = JEANS
    out = clean_hands(template, color, nobody, np.ones(template.count))
    assert cuff.sum() > 20
    np.testing.assert_array_equal(out[cuff], color[cuff])
