"""Teeth of a real avatar: in its file, in its proxy mesh, in step with each other, and behind closed lips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lca_bridge.wire.skin import pose_proxy
from lca_core.avatar import Avatar, PoseFrame
from lca_core.avatar.animate import Animator
from lca_core.avatar.live import NetworkCorrection
from lca_core.avatar.pictures import head_view, picture
from lca_core.body.names import ARKIT_INDEX, JOINT_INDEX
from lca_core.model.teeth import drawn_teeth, table

TALKING = PoseFrame.posed({"head": (0.1, 0.4, 0)}, {"jawOpen": 0.6, "jawLeft": 0.3, "mouthSmileLeft": 0.5})


@pytest.fixture(scope="module")
def avatar(sample_avatar_file: Path) -> Avatar:
    return Avatar.load(sample_avatar_file)


@pytest.fixture(scope="module")
def rows(avatar: Avatar) -> np.ndarray:
    return np.flatnonzero(drawn_teeth(avatar.canonical.texel, avatar.canonical.uv_size) >= 0)


def test_a_file_has_all_teeth_as_its_last_gaussians(avatar: Avatar, rows: np.ndarray) -> None:
    count = len(table().drawn)
    np.testing.assert_array_equal(rows, np.arange(avatar.gaussian_count - count, avatar.gaussian_count))
    drawn = drawn_teeth(avatar.canonical.texel, avatar.canonical.uv_size)[rows]
    np.testing.assert_array_equal(drawn, np.arange(count))
    assert set(avatar.skinning.joint_indices[rows, 0]) == {JOINT_INDEX["head"], JOINT_INDEX["jaw"]}
    assert (avatar.skinning.joint_weights[rows, 0] == 1).all()


def test_upper_teeth_follow_no_shape_and_lower_ones_the_jaw(avatar: Avatar, rows: np.ndarray) -> None:
    shapes, t = avatar.correctives, table()
    lower = t.lower[t.quads[t.drawn, 0]]
    for name, shape in ARKIT_INDEX.items():
        moved = np.intersect1d(
            rows, shapes.arkit_index[shapes.arkit_ptr[shape] : shapes.arkit_ptr[shape + 1]]
        )
        np.testing.assert_array_equal(moved, rows[lower] if name in JAW else rows[:0], err_msg=name)
    assert not shapes.pose_means[:, rows].any() and not shapes.pose_sh0[:, rows].any()


JAW = ("jawOpen", "jawLeft", "jawRight", "jawForward")


def test_live_baked_and_proxy_move_teeth_alike(avatar: Avatar, rows: np.ndarray) -> None:
    baked = Animator(avatar).evaluate(TALKING)
    live = Animator(avatar, NetworkCorrection.of(avatar)).evaluate(TALKING)
    means = baked.means.numpy()[rows]
    assert np.abs(live.means.numpy()[rows] - means).max() < 5e-5
    alike = np.abs((live.quats.numpy() * baked.quats.numpy()).sum(1))[rows]
    assert alike.min() > 1 - 1e-4
    proxy = avatar.proxy
    mesh = pose_proxy(avatar, TALKING.joint_rotations, TALKING.translation, TALKING.arkit)
    bound = np.einsum("nk,nkc->nc", proxy.bind_bary[rows], mesh[proxy.bind_tri[rows]])
    assert np.abs(bound - means).max() < 5e-5
    assert np.abs(means - avatar.canonical.means[rows]).max() > 0.01


@pytest.mark.parametrize(
    ("arkit", "seen"), [({}, False), ({"mouthPucker": 1.0}, False), ({"jawOpen": 0.5}, True)]
)
def test_teeth_show_between_open_lips_only(
    avatar: Avatar, rows: np.ndarray, arkit: dict[str, float], seen: bool
) -> None:
    gone = avatar.canonical.opacities.copy()
    gone[rows] = 0
    without = replace(avatar, canonical=replace(avatar.canonical, opacities=gone))
    frame = PoseFrame.posed({}, arkit)
    for yaw in (0.0, 0.7):
        ours, bare = (
            picture(Animator(a).evaluate(frame), head_view(Animator(a), frame, yaw, 360)).astype(int)
            for a in (avatar, without)
        )
        changed = np.abs(ours - bare).max(2)
        assert ((changed > 40).sum() > 60) if seen else changed.max() < 16
