"""Laws of guessed colours: people made of two garments in random plain colours, and the shipped body."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lca_core.model.fill import ColorPrior, Spread, fill
from lca_core.model.template import Template
from lca_core.train.colors import as_maps, learn, mirrored

T = 400
SHIRT = torch.arange(T) < 200
FRONT = torch.arange(T) % 2 == 0
HEAD = torch.zeros(T, dtype=torch.bool)


def people(count: int, seed: int) -> torch.Tensor:
    """[P,T,3]: a shirt and trousers, each of one random colour with a little grain."""
    rng = np.random.default_rng(seed)
    plain = rng.uniform(0.1, 0.9, (count, 2, 3))[:, (~SHIRT).long().numpy()]
    return torch.from_numpy(plain + rng.normal(0, 0.01, (count, T, 3))).float()


@pytest.fixture(scope="module")
def prior() -> ColorPrior:
    learned = learn(people(200, 0).numpy(), np.arange(T), ways=6)
    return ColorPrior(learned["mean"], learned["ways"], learned["noise"][:, 0], 20, HEAD)


def test_an_unseen_back_takes_its_own_garments_colour(prior: ColorPrior) -> None:
    truth = people(8, 1)
    guess = prior.guess(truth, FRONT.float()[None, :, None].expand(8, -1, 1))
    assert float((guess - truth)[:, ~FRONT].abs().mean()) < 0.03
    # With one garment seen the other stays near the mean person, whatever the seen colour is.
    shirt = prior.guess(truth, SHIRT.float()[None, :, None].expand(8, -1, 1))
    assert float((shirt - truth)[:, SHIRT].abs().mean()) < 0.03
    assert float((shirt - prior.mean)[:, ~SHIRT].abs().mean()) < 0.08


def test_nothing_seen_is_the_mean_person(prior: ColorPrior) -> None:
    guess = prior.guess(torch.zeros(1, T, 3), torch.zeros(1, T, 1))
    torch.testing.assert_close(guess[0], prior.mean)


def test_a_print_hardly_colours_the_back(prior: ColorPrior) -> None:
    truth = torch.full((1, T, 3), 0.15)
    printed = truth.clone()
    printed[:, :30] = 0.95  # 15 of the 100 seen texels of the shirt
    seen = FRONT.float()[None, :, None]
    back = prior.guess(printed, seen)[0, SHIRT & ~FRONT].mean()
    mean = printed[0, SHIRT & FRONT].mean()
    assert float(back) - 0.15 < 0.35 * (float(mean) - 0.15)


def test_the_head_says_little_about_clothes(prior: ColorPrior) -> None:
    truth, seen = people(1, 3), SHIRT.float()[None, :, None]
    half = SHIRT & FRONT
    apart = replace(prior, head=half)
    told = prior.guess(truth, seen * half[:, None])[0, SHIRT & ~FRONT]
    apart_told = apart.guess(truth, seen * half[:, None])[0, SHIRT & ~FRONT]
    mean = prior.mean[SHIRT & ~FRONT]
    # Still heard where nothing else is seen, and never mixed into what is seen of the rest.
    assert float((apart_told - mean).abs().mean()) <= float((told - mean).abs().mean())
    wrong = truth.clone()
    wrong[:, half] = 1 - wrong[:, half]
    kept = apart.guess(wrong, seen)[0, SHIRT & ~FRONT]
    assert float((kept - truth[0, SHIRT & ~FRONT]).abs().mean()) < 0.05


def test_people_of_a_batch_do_not_mix(prior: ColorPrior) -> None:
    truth = people(3, 2)
    seen = (torch.rand(3, T, 1, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    together = prior.guess(truth, seen)
    for k in range(3):
        torch.testing.assert_close(together[k], prior.guess(truth[k : k + 1], seen[k : k + 1])[0])


def test_misses_stay_near_and_cross_to_the_other_side() -> None:
    points = torch.tensor([[0.5, 0.0, 0.0], [0.51, 0.0, 0.0], [-0.5, 0.0, 0.0], [0.0, 1.0, 0.0]])
    spread = Spread.build(points, points)
    miss = torch.zeros(1, 4, 3)
    miss[:, 0] = 0.2
    trust = torch.tensor([1.0, 0, 0, 0])[None, :, None]
    out = spread(miss, trust)[0, :, 0]
    assert 0.15 < float(out[1]) <= 0.2
    assert 0.1 < float(out[2]) < float(out[1])
    assert float(out[3]) == 0.0


def test_without_a_prior_the_mean_of_what_is_seen() -> None:
    points = torch.tensor([[0.0, float(k), 0.0] for k in range(5)])
    color = torch.rand(1, 5, 3, generator=torch.Generator().manual_seed(1))
    trust = torch.tensor([1.0, 1, 0, 0, 0])[None, :, None]
    out = fill(color, trust, None, Spread.build(points, points))
    torch.testing.assert_close(out[0, 2:], color[0, :2].mean(0).expand(3, 3))
    assert torch.equal(fill(color, 0 * trust, None, Spread.build(points, points))[0], torch.full((5, 3), 0.5))


def test_the_shipped_guess_is_symmetric_and_plausible() -> None:
    """A dark top and light trousers seen from the front: the back is alike, left and right are equal."""
    template = Template.load(128)
    points, frame, _ = template._rest(torch.zeros(50))
    top = (points[:, 1] > 0.0) & (points[:, 1] < 0.25) & (points[:, 0].abs() < 0.2)
    legs = (points[:, 1] < -0.25) & (points[:, 1] > -0.75)
    color = torch.full((template.count, 3), 0.6)
    color[top], color[legs] = 0.15, 0.75
    seen = (frame[:, 2, 2] > 0.3).float()[:, None]
    out = template.gather(template.fill(template.scatter(color[None]), template.scatter(seen[None])))[0]
    behind = frame[:, 2, 2] < -0.3
    assert float(out[behind & top].mean()) < 0.3
    assert float(out[behind & legs].mean()) > 0.55
    swapped = out[torch.from_numpy(mirrored(template))]
    assert float((out - swapped).abs().mean()) < 0.02


def test_maps_continue_beyond_the_charts() -> None:
    """Interpolated to another grid, constant colours stay constant up to the rim."""
    template = Template.load(128)
    maps = as_maps({"mean": torch.full((template.count, 3), 0.25)}, template)
    assert torch.equal(maps["mean"], torch.full((3, 128, 128), 0.25, dtype=torch.float16))
