"""Front and back: the face and the neighbours overrule the body network, and nothing else does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from capture_synthetic import Truth, make_truth
from test_select_masks_expression import face_with

from lca_core.capture.facing import settle_facing, turned_round
from lca_core.capture.pose import POSE_INDEX
from lca_core.capture.select import HIPS, Observation, choose, torn

COUNT = 7
DENSE, SPARSE = 0.1 * np.arange(COUNT), 0.6 * np.arange(COUNT)


@pytest.fixture(scope="module")
def truth(body) -> Truth:
    return make_truth(body, [0.2] * COUNT, seed=3, drawn=False)


def steps(out: list[Observation]) -> list[int]:
    return [i for i, o in enumerate(out) if o.turned]


def test_turning_round_is_its_own_inverse_and_keeps_the_picture(truth: Truth) -> None:
    o = truth.observations[0]
    once = turned_round(o)
    back = turned_round(once)
    assert once.turned and not back.turned
    assert np.cos(once.yaw - (np.pi - o.yaw)) > 1 - 1e-6  # mirrored in depth, left called right
    np.testing.assert_array_equal(back.pose.points, o.pose.points)
    np.testing.assert_array_equal(back.pose.world, o.pose.world)
    assert back.hands == o.hands and once.hands == o.hands[::-1]
    left, right = POSE_INDEX["left_wrist"], POSE_INDEX["right_wrist"]
    np.testing.assert_array_equal(once.pose.points[left], o.pose.points[right])


def test_a_face_in_view_outweighs_the_body_and_a_far_head_does_not(truth: Truth) -> None:
    wrong = turned_round(truth.observations[2])
    wrong = replace(wrong, turned=False)
    looking, away = face_with(0.1), face_with(1.4)
    assert steps(settle_facing([replace(wrong, face=looking)], None)) == [0]
    assert steps(settle_facing([replace(wrong, face=away)], None)) == []  # over the shoulder
    assert steps(settle_facing([replace(wrong, face=replace(looking, score=0.5))], None)) == []
    right = replace(truth.observations[2], face=looking)
    assert settle_facing([right], None)[0] is right
    assert settle_facing([], None) == []


def test_one_frame_cannot_turn_round_between_its_neighbours(truth: Truth) -> None:
    """Without a face: a tenth of a second is too short for half a turn, a second and photos are not."""
    seen = list(truth.observations)
    seen[3] = replace(turned_round(seen[3]), turned=False)
    assert steps(settle_facing(seen, DENSE)) == [3]
    assert steps(settle_facing(seen, SPARSE)) == [] and steps(settle_facing(seen, None)) == []


def test_faces_pull_their_faceless_neighbours_along(truth: Truth) -> None:
    seen = [replace(turned_round(o), turned=False) for o in truth.observations]
    seen = [replace(o, face=face_with()) if i in (1, 5) else o for i, o in enumerate(seen)]
    out = settle_facing(seen, DENSE)
    assert {1, 5} <= set(steps(out))
    jumps = np.abs(np.diff([i in steps(out) for i in range(COUNT)])).sum()
    assert jumps == 0  # all of them: read as backs, the five would turn round and round


def test_a_person_who_does_turn_is_left_alone(body) -> None:
    turning = make_truth(body, list(np.linspace(0, 2 * np.pi, 13)), seed=3, drawn=False).observations
    assert steps(settle_facing(turning, 0.15 * np.arange(13))) == []
    assert not any(torn(o) for o in turning)


def test_half_front_half_back_is_noticed_and_not_chosen(truth: Truth) -> None:
    o = truth.observations[4]
    points, world = o.pose.points.copy(), o.pose.world.copy()
    points[HIPS], world[HIPS] = points[HIPS[::-1]], world[HIPS[::-1]]
    seen = list(truth.observations)
    seen[4] = replace(o, pose=replace(o.pose, points=points, world=world))
    assert torn(seen[4]) and not torn(o)
    flat = replace(o, pose=replace(o.pose, points=points))  # wrong in the picture alone
    assert torn(flat)
    hidden = o.pose.visibility.copy()
    hidden[HIPS] = 0.1  # a guess below the picture's edge proves nothing
    assert not torn(replace(flat, pose=replace(flat.pose, visibility=hidden)))
    choice = choose(seen, 6)
    assert 4 not in choice.taken and "opposite sides" in choice.reasons[4]
