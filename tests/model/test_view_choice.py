"""Which view a part is copied from, and which texels of a hand are a hand's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lca_core.body.names import JOINT_NAMES
from lca_core.model.template import Template
from lca_core.model.view_choice import (
    HEAD_FRONT,
    hand_before_face,
    hand_trust,
    part_of_joint,
    part_ranks,
    rank_bias,
    texel_parts,
)

SKIN, JEANS, GLOVE = (0.8, 0.6, 0.5), (0.2, 0.3, 0.55), (0.15, 0.5, 0.2)


@pytest.fixture(scope="module")
def template() -> Template:
    return Template.load(128)


def hand_texels(template: Template) -> np.ndarray:
    names = np.array([part_of_joint(name).endswith("hand") for name in JOINT_NAMES])
    return np.flatnonzero(names[template.weights.argmax(1)])


def paint(template: Template, hand: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One view that sees all: jeans everywhere, a skin-coloured face, hands in ``hand`` but for every fifth
    texel.
    """
    color = np.tile(np.array(JEANS, np.float32), (1, template.count, 1))
    color[0, texel_parts(template) == HEAD_FRONT] = SKIN
    hands = hand_texels(template)
    color[0, hands] = hand
    stained = hands[::5]
    color[0, stained] = JEANS
    return color, hands, stained


@pytest.mark.parametrize("hand", [SKIN, GLOVE])
def test_hands_refuse_the_colour_of_clothes_behind_them(template: Template, hand: tuple[float, ...]) -> None:
    color, hands, stained = paint(template, hand)
    factor = hand_trust(template, np.ones((1, template.count), np.float32), color)[0]
    assert (factor[stained] == 0).all()
    assert (factor[np.setdiff1d(hands, stained)] == 1).all()
    assert (np.delete(factor, hands) == 1).all()


def test_the_sharp_frontal_view_wins_its_part(template: Template) -> None:
    random = np.random.default_rng(0)
    trust = np.ones((2, template.count), np.float32)
    score = np.full((2, template.count), 0.8, np.float32)
    color = random.uniform(0.3, 0.7, (2, template.count, 3)).astype(np.float32)
    color[1] = color[1].mean(0)  # the second view is blurred
    ranks = part_ranks(template, trust, score, color, np.zeros((2, 52), np.float32))
    assert all(list(rank) == [0, 1] for rank in ranks.values())
    bias = rank_bias(template, ranks)
    assert (bias[0] == 0).all() and (bias[1] < 0).all()


def test_closed_eyes_lose_the_face_but_not_the_coat(template: Template) -> None:
    trust = np.ones((2, template.count), np.float32)
    score = np.stack([np.full(template.count, 0.82), np.full(template.count, 0.8)]).astype(np.float32)
    color = np.random.default_rng(0).uniform(0.3, 0.7, (1, template.count, 3)).repeat(2, 0).astype(np.float32)
    expression = np.zeros((2, 52), np.float32)
    expression[0, [0, 7]] = 1.0  # both lids down in the first view
    ranks = part_ranks(template, trust, score, color, expression)
    assert ranks[HEAD_FRONT][0] == 1
    assert all(rank[0] == 0 for part, rank in ranks.items() if part // 2 != HEAD_FRONT // 2)


def test_a_hand_at_the_mouth_loses_the_face_but_not_the_coat(template: Template) -> None:
    mesh = template.body.rest(torch.zeros(1, 50), None)[0][0].numpy() * [1, -1, -1] + [0, 0, 3.0]
    assert not hand_before_face(template, mesh), "arms to the sides hide nothing"
    raised = mesh.copy()
    arm = np.unique(template.arm_faces)
    left = arm[mesh[arm, 0] > 0]
    raised[left] += mesh[template.head_vertices].mean(0) - mesh[left].mean(0)
    assert hand_before_face(template, raised)
    behind = raised.copy()
    behind[left] *= 1.2
    assert hand_before_face(template, behind), "one camera cannot tell before from behind"

    trust = np.ones((2, template.count), np.float32)
    score = np.stack([np.full(template.count, 0.82), np.full(template.count, 0.8)]).astype(np.float32)
    color = np.random.default_rng(0).uniform(0.3, 0.7, (1, template.count, 3)).repeat(2, 0).astype(np.float32)
    ranks = part_ranks(template, trust, score, color, np.zeros((2, 52), np.float32), np.array([True, False]))
    assert ranks[HEAD_FRONT][0] == 1
    assert all(rank[0] == 0 for part, rank in ranks.items() if part // 2 != HEAD_FRONT // 2)
