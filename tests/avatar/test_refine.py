"""Laws of refinement: it finds a known change again, takes nothing that makes a kept-back view worse, keeps
its time, and leaves file layout and correctives alone. The photographs are renders of the avatar itself,
changed in a known way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lca.errors import InvalidInputError
from lca_core.avatar import Avatar, PoseFrame
from lca_core.avatar.align import align
from lca_core.avatar.animate import Animator
from lca_core.avatar.create import CreateOptions
from lca_core.avatar.descent import SteadyAdam
from lca_core.avatar.fitting import Change, FittedAvatar, Photo
from lca_core.avatar.pictures import STANDING, body_view
from lca_core.avatar.refine import (
    CAUTION,
    RefineOptions,
    best_share,
    kept_back,
    masked_psnr,
    refine,
)
from lca_core.avatar.shape_fit import apply_change
from lca_core.body.cage import Cage, one_per_cell
from lca_core.body.points import farthest_points

HEIGHT = 200


@pytest.fixture(scope="module")
def avatar(sample_avatar_file: Path) -> Avatar:
    return Avatar.load(sample_avatar_file)


def photos_of(avatar: Avatar, yaws: tuple[float, ...]) -> list[Photo]:
    """Renders of an avatar as photographs."""
    animator, frame = Animator(avatar), PoseFrame.posed(STANDING)
    out = []
    for yaw in yaws:
        view = body_view(animator, frame, np.radians(yaw), HEIGHT)
        empty = Photo(
            np.zeros((view.height, view.width, 3), np.uint8),
            np.ones((view.height, view.width), np.float32),
            view.K.numpy().astype(np.float32),
            view.viewmat.numpy().astype(np.float32),
            frame,
        )
        fitted = FittedAvatar(avatar, [empty])
        with torch.no_grad():
            image, alpha = fitted.draw(0, fitted.none())
        mask = alpha.clamp(0, 1).numpy()
        rgb = (image.numpy() / np.maximum(mask, 1e-3)[..., None]).clip(0, 1)
        out.append(replace(empty, image=(rgb * 255 + 0.5).astype(np.uint8), mask=mask))
    return out


def changed(avatar: Avatar) -> Avatar:
    """The same person, thicker by a centimetre and in bluer light."""
    n = avatar.gaussian_count
    means = np.asarray(avatar.canonical.means)
    away = np.stack([np.sign(means[:, 0]) * 0.0, means[:, 1] * 0, np.sign(means[:, 2])], 1).astype(np.float32)
    tint = torch.tensor([-0.1, 0.0, 0.12]).expand(n, 3)
    zero = torch.zeros(n, 3)
    return apply_change(avatar, Change(torch.from_numpy(0.01 * away), zero, torch.zeros(n, 1), tint))


def test_renders_of_an_avatar_fit_it_perfectly(avatar: Avatar) -> None:
    (photo,) = photos_of(avatar, (20.0,))
    assert masked_psnr(avatar, photo) > 40


def test_the_differentiable_avatar_equals_the_played_one(avatar: Avatar) -> None:
    from lca_core.splat import render

    (photo,) = photos_of(avatar, (0.0,))
    frame = replace(
        photo.frame, arkit=np.linspace(0, 0.5, 52, dtype=np.float32), gaze=np.full((2, 2), 0.1, np.float32)
    )
    photo = replace(photo, frame=frame)
    g = Animator(avatar).evaluate(frame)
    h, w = photo.mask.shape
    k, viewmat = torch.from_numpy(photo.K)[None], torch.from_numpy(photo.viewmat)[None]
    played = render(g.means, g.quats, g.scales, g.opacities, g.colors(), viewmat, k, w, h)[0][0]
    fitted = FittedAvatar(avatar, [photo])
    with torch.no_grad():
        ours = fitted.draw(0, fitted.none())[0]
    assert float((ours - played).abs().mean()) < 2e-3


def test_refinement_finds_a_change_again_and_helps_a_view_it_never_saw(avatar: Avatar) -> None:
    truth = changed(avatar)
    seen, (unseen,) = photos_of(truth, (0.0, 90.0, 180.0, 270.0, 20.0)), photos_of(truth, (50.0,))
    options = RefineOptions(steps=90, height=HEIGHT, nodes=200, move=False)
    result = refine(avatar, seen, options)
    assert result.kept and result.steps == 90
    assert result.check is not None and result.check[1] > result.check[0]
    assert masked_psnr(result.avatar, unseen) > masked_psnr(avatar, unseen) + 1.0
    assert result.avatar.correctives is avatar.correctives
    assert result.avatar.gaussian_count == avatar.gaussian_count
    assert "kept_back_db" in result.avatar.provenance["refined"]


def test_a_fit_that_hurts_the_kept_back_view_is_thrown_away(avatar: Avatar) -> None:
    yaws = (0.0, 20.0, 180.0, 270.0)
    right, wrong = photos_of(avatar, yaws), photos_of(changed(avatar), yaws)
    (back,) = kept_back(right)
    mixed = [right[i] if i == back else wrong[i] for i in range(4)]
    result = refine(avatar, mixed, RefineOptions(steps=90, height=HEIGHT, nodes=200, move=False))
    assert not result.kept and "no better" in result.reason
    assert np.array_equal(result.avatar.canonical.means, avatar.canonical.means)
    assert np.array_equal(result.avatar.canonical.sh, avatar.canonical.sh)


def test_kept_back_photographs_judge_an_avatar_that_was_made_without_them(avatar: Avatar) -> None:
    truth = changed(avatar)
    seen, (unseen,) = photos_of(truth, (0.0, 90.0, 180.0, 270.0, 20.0)), photos_of(truth, (50.0,))
    options = RefineOptions(steps=90, height=HEIGHT, nodes=200, move=False)
    asked: list[list[int]] = []

    def without(frames: list[int]) -> Avatar:
        asked.append(frames)
        return avatar

    result = refine(avatar, seen, options, without=without)
    assert asked == [kept_back(seen)]
    assert result.kept and masked_psnr(result.avatar, unseen) > masked_psnr(avatar, unseen) + 0.7
    # Where that one has nothing to gain, the change is refused, whatever the avatar itself would gain.
    assert not refine(avatar, seen, options, without=lambda frames: truth).kept


def test_the_same_seed_gives_the_same_refinement(avatar: Avatar) -> None:
    seen = photos_of(changed(avatar), (0.0, 120.0, 240.0))
    options = RefineOptions(steps=4, height=120, nodes=100, keep_back=False)
    one, two = (refine(avatar, seen, options).avatar.canonical for _ in range(2))
    assert np.array_equal(one.means, two.means) and np.array_equal(one.sh, two.sh)


def test_alignment_finds_a_shift_again(avatar: Avatar) -> None:
    (photo,) = photos_of(avatar, (10.0,))
    shift = np.array([0.03, -0.02, 0], np.float32)
    off = replace(photo, frame=replace(photo.frame, translation=shift))
    found = align(avatar, off, steps=25, height=HEIGHT)
    assert masked_psnr(avatar, found) > masked_psnr(avatar, off) + 2.0


@pytest.mark.parametrize("seconds", [0.5, 5000.0])
def test_impossible_times_are_refused(seconds: float) -> None:
    with pytest.raises(InvalidInputError):
        RefineOptions(seconds=seconds)
    with pytest.raises(InvalidInputError):
        CreateOptions(refine_seconds=seconds)


def test_a_cage_carries_constants_exactly_and_its_gradient_is_its_transpose() -> None:
    points = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    for nodes in (farthest_points(points, 40), one_per_cell(points, 0.5)):
        cage = Cage(points, nodes)
        values = torch.ones(len(nodes), 2, requires_grad=True)
        out = cage(values)
        assert float((out - 1).abs().max().detach()) < 1e-5 and float(cage.roughness(values).detach()) < 1e-9
        weight = torch.rand(500, 2)
        (out * weight).sum().backward()
        assert values.grad is not None
        assert np.allclose(values.grad.numpy(), cage.matrix.T @ weight.numpy(), atol=1e-4)


def test_a_few_gaussians_cover_what_all_cover(avatar: Avatar) -> None:
    (photo,) = photos_of(avatar, (20.0,))
    full = FittedAvatar(avatar, [photo])
    few, index = full.thinned(20_000, [photo])
    assert abs(len(index) - 20_000) < 200 and (np.diff(index) > 0).all()
    with torch.no_grad():
        (image, alpha), (image_few, alpha_few) = full.draw(0, full.none()), few.draw(0, few.none())
    assert float((alpha - alpha_few).abs().sum() / alpha.sum()) < 0.05
    # Neither wider nor slimmer, or a fit would make up for it: 0.988 was measured.
    assert abs(float(alpha_few.sum() / alpha.sum()) - 1) < 0.015
    assert float((image - image_few).abs().sum() / image.sum()) < 0.10


def test_descent_leaves_what_is_hardly_seen_and_finds_what_is_seen() -> None:
    generator = torch.Generator().manual_seed(0)
    value = torch.zeros(20, 3, requires_grad=True)
    descent = SteadyAdam({"x": value})
    goal = torch.full((20, 3), 0.5)
    for _ in range(300):
        descent.clear()
        noise = 1e-3 * torch.randn(3, generator=generator)
        # Rows 0..9 are seen; row 19 is touched by noise alone, a thousandth as strong; the others by nothing.
        loss = (value[:10] - goal[:10]).abs().sum() + (value[19] * noise).sum()
        loss.backward()
        descent.step({"x": 0.01})
    found = value.detach()
    assert float((found[:10] - 0.5).abs().max()) < 0.02
    assert not found[10:19].any() and float(found[19].abs().max()) < 0.005


def test_the_best_share_is_the_foot_of_the_parabola() -> None:
    shares = np.array([0.0, 0.5, 1.0])
    for foot in (0.3, 0.6, 0.9):
        error = 0.02 * (0.4 + (shares - foot) ** 2)
        assert best_share(np.stack([error, 3 * error])) == pytest.approx(CAUTION * foot)
    assert best_share(np.array([[0.02, 0.03, 0.05]])) == 0.0
    assert best_share(np.array([[0.02, 0.015, 0.01]])) == pytest.approx(CAUTION)
    assert best_share(np.array([[0.02, 0.02, 0.02]])) == 0.0
