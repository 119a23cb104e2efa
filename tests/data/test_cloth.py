"""Simulated skirts: cloth keeps its length where skinning tears it, stays outside the legs, is repeatable."""

from __future__ import annotations

import numpy as np
import pytest

from lca.errors import InvalidInputError
from lca_core.data import cloth, motion, skinning
from lca_core.data.people import Person, sample_identity
from lca_core.data.preview import nearest_weights, stride_pose
from lca_core.data.procedural import SKIRTS

from .conftest import plain


def skirted(count: int, start: int = 0) -> list[Person]:
    out: list[Person] = []
    number = start
    while len(out) < count:
        bottom = sample_identity("train", number).outfit.bottom
        if bottom is not None and bottom.kind in SKIRTS:
            out.append(Person(sample_identity("train", number)))
        number += 1
    return out


@pytest.fixture(scope="module")
def wearers() -> list[Person]:
    return skirted(3)


def test_a_stride_stretches_skinned_skirts_but_not_simulated_ones(wearers: list[Person]) -> None:
    pose = stride_pose()
    for person in wearers:
        skirt = person.skirt
        assert skirt is not None
        moved = skinning.joint_transforms(skinning.rotation_matrices(pose), person.joints)
        lbs = skinning.skin(skirt.rest.astype(np.float32), nearest_weights(person), moved)
        simulated = cloth.settle(person, pose)
        assert np.quantile(skirt.stretch(simulated), 0.99) <= 1.3
        assert np.quantile(skirt.stretch(lbs), 0.99) > 1.45, "the failure that simulation repairs"


def test_cloth_stays_outside_the_legs(wearers: list[Person]) -> None:
    for person in wearers:
        sim = cloth.Simulation(person, np.zeros(3), np.zeros(3))
        for k in range(1, 16):
            sim.step(stride_pose() * min(k / 8, 1), np.zeros(3), substeps=16, damping=0.985)
        assert sim.inside(0.001) <= 0.01


def test_posing_is_repeatable_and_pins_follow_the_body(wearers: list[Person]) -> None:
    person = wearers[0]
    q = motion.random_pose(np.random.default_rng(1), "walk")
    a = person.posed(q.joints, q.transl, q.expression, q.gaze)
    b = person.posed(q.joints, q.transl, q.expression, q.gaze)
    np.testing.assert_array_equal(a, b)
    skirt = person.skirt
    assert skirt is not None and 0.05 < skirt.pinned.mean() < 0.6
    skinned = person.skinned(q.joints, q.expression, q.gaze) + q.transl
    np.testing.assert_allclose(a[skirt.where][skirt.pinned], skinned[skirt.where][skirt.pinned], atol=2e-4)
    np.testing.assert_array_equal(a[: skirt.where.start], skinned[: skirt.where.start].astype(np.float32))
    assert skirt.weights.sum(1) == pytest.approx(1, abs=1e-4)


def test_gravity_follows_the_world_not_the_body(wearers: list[Person]) -> None:
    """A person lying on the side: the hem hangs down, not along the legs."""
    pose = np.zeros((55, 3))
    upright = cloth.settle(wearers[0], pose)
    pose[0, 2] = np.pi / 2
    lying = cloth.settle(wearers[0], pose)
    turn = skinning.rotation_matrices(pose[0])
    assert np.abs(lying - upright @ turn.T).max() > 0.03


def test_drape_swings_and_comes_to_rest(wearers: list[Person]) -> None:
    person = wearers[1]
    skirt = person.skirt
    assert skirt is not None
    poses = []
    for t in range(40):
        joints = np.zeros((55, 3))
        joints[0, 1] = 2.0 * min(t / 10, 1.0)
        poses.append(motion.Pose(joints, np.zeros(3), np.zeros(52, np.float32), np.zeros((2, 2))))
    v = cloth.drape(person, poses)
    assert v.shape == (40, len(person.rest), 3) and np.isfinite(v).all()
    hem = skirt.rest[:, 1] <= skirt.rest[:, 1].min() + 0.02
    late = np.linalg.norm(np.diff(v[:, skirt.where][:, hem], axis=0), axis=-1).mean(1)
    # The twist arrives late at the hem: it still moves when the body has stopped, then settles.
    assert late[10] > 0.005 and late[-1] < 0.4 * late[10]
    stretch = [np.quantile(skirt.stretch(f), 0.99) for f in v[:, skirt.where]]
    assert max(stretch) < 1.3


def test_people_without_a_skirt(wearers: list[Person]) -> None:
    person = Person(plain(3, suit="male_casualsuit01"))
    q = motion.random_pose(np.random.default_rng(0), "walk")
    v = cloth.drape(person, [q])
    np.testing.assert_allclose(v[0], person.posed(q.joints, q.transl, q.expression, q.gaze), atol=1e-6)
    with pytest.raises(InvalidInputError, match="wears no skirt"):
        cloth.settle(person, np.zeros((55, 3)))
    with pytest.raises(InvalidInputError, match="at least one pose"):
        cloth.drape(wearers[0], [])
