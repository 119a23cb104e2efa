"""Laws of training: the loss falls, a resumed run is the unbroken one, held-out people stay out."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch

from lca.errors import DataLossError, InvalidInputError
from lca_core.model.checkpoint import read_info
from lca_core.model.config import PRESETS
from lca_core.model.dressed import dressed_shape
from lca_core.model.network import LCAModel
from lca_core.train import model_card
from lca_core.train.evaluate import evaluate, iou, psnr
from lca_core.train.examples import (
    Augmentation,
    SampleFolder,
    check_sample,
    draw_batch,
    make_batch,
    make_example,
    uv_targets,
)
from lca_core.train.loop import LoopConfig, Trainer
from lca_core.train.losses import StageAWeights, stage_a
from lca_core.train.run import export, validate
from lca_core.train.run import main as run_command

TINY = PRESETS["tiny"]


def trainer(scenes, out, steps: int, seed: int = 1, **options) -> tuple[Trainer, list]:
    torch.manual_seed(seed)
    template = scenes.template(TINY.uv_size)
    net = LCAModel(TINY, template)
    people = [scenes.person(i) for i in range(2)]

    def loss(module, step):
        return stage_a(module, draw_batch(people, step, seed, 2, TINY, template, Augmentation()), texels=64)

    config = LoopConfig(time_budget=0, max_steps=steps, warmup=2, seed=seed, **options)
    return Trainer(net, loss, config, out), people


def test_stage_a_learns_clothes_and_colour_of_two_people(scenes, tmp_path) -> None:
    run, people = trainer(scenes, tmp_path, 60)
    before = evaluate(run.model, people, (2,))
    rows = [run.train_step() for _ in range(60)]
    after = evaluate(run.model, people, (2,))
    assert np.mean([r["loss"] for r in rows[-8:]]) < 0.6 * np.mean([r["loss"] for r in rows[:8]])
    assert after["n2/offset_mm"] < 0.4 * before["n2/offset_mm"]
    assert after["n2/albedo"] > before["n2/albedo"] + 2
    # What it does not train must stay what it was: the baselines.
    for key in ("n2/psnr_mean", "n2/psnr_fill", "n2/offset_mm_zero"):
        assert after[key] == pytest.approx(before[key], abs=1e-6)


def test_resume_equals_an_unbroken_run(scenes, tmp_path) -> None:
    whole, _ = trainer(scenes, tmp_path / "whole", 6)
    whole.run()
    first, _ = trainer(scenes, tmp_path / "parts", 6)
    for _ in range(3):
        first.log(first.train_step())
    first.save()
    first.log(first.train_step())  # lost work: after the checkpoint, so it must leave no trace
    second, _ = trainer(scenes, tmp_path / "parts", 6, seed=1)
    with torch.no_grad():
        for p in second.model.parameters():
            p.zero_()
    assert second.resume() and second.step == 3
    second.run()
    for (name, a), b in zip(
        whole.model.state_dict().items(), second.model.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    for name, a in whole.ema.items():
        assert torch.equal(a, second.ema[name]), name
    with (tmp_path / "parts" / "log.csv").open() as file:
        assert [int(float(r["step"])) for r in csv.DictReader(file)] == [1, 2, 3, 4, 5, 6]


def test_broken_or_foreign_checkpoints_are_refused(scenes, tmp_path) -> None:
    run, _ = trainer(scenes, tmp_path, 2)
    run.train_step()
    run.save()
    with pytest.raises(InvalidInputError, match="seed 1"):
        trainer(scenes, tmp_path, 2, seed=2)[0].resume()
    (tmp_path / "state.pt").write_bytes(b"broken")
    with pytest.raises(DataLossError, match="cannot be read"):
        trainer(scenes, tmp_path, 2)[0].resume()
    with pytest.raises(InvalidInputError, match="never end"):
        LoopConfig(time_budget=0, max_steps=0)


def test_time_budget_ends_the_run_and_a_diverged_step_changes_nothing(scenes, tmp_path) -> None:
    run, _ = trainer(scenes, tmp_path, 1000)
    before = {k: v.clone() for k, v in run.model.state_dict().items()}
    healthy = run.loss
    run.loss = lambda m, s: (healthy(m, s)[0] * float("nan"), {})
    run.train_step()
    assert all(torch.equal(v, before[k]) for k, v in run.model.state_dict().items())
    budget = Trainer(run.model, healthy, LoopConfig(time_budget=0.5), tmp_path / "b")
    budget.run()
    assert budget.finished() and budget.elapsed >= 0.5 and budget.step < 1000


def test_batches_depend_on_seed_and_step_only(scenes) -> None:
    template = scenes.template(TINY.uv_size)
    people = [scenes.person(i) for i in range(3)]

    def draw(step: int, seed: int):
        return draw_batch(people, step, seed, 2, TINY, template, Augmentation())

    a, b = draw(5, 1), draw(5, 1)
    assert torch.equal(a.refs.images, b.refs.images) and torch.equal(a.views.color, b.views.color)
    assert not torch.equal(a.targets.color, draw(6, 1).targets.color)
    assert not torch.equal(a.targets.color, draw(5, 2).targets.color)
    assert {draw(s, 1).refs.images.shape[1] for s in range(12)} > {1, 2}


def test_padding_people_with_fewer_views_changes_nothing(scenes) -> None:
    template = scenes.template(TINY.uv_size)
    torch.manual_seed(0)
    net = LCAModel(TINY, template).eval()
    one, two = scenes.person(0), scenes.person(1)
    exact, rng = Augmentation.none(), np.random.default_rng(0)
    short = make_example(one, [0], 1, TINY, template, exact, rng)
    long = make_example(two, [0, 1, 2], 1, TINY, template, exact, rng)
    both = make_batch([short, long])
    with torch.no_grad():
        alone = net.encode(short.refs, short.views)
        together = net.encode(both.refs, both.views)
    torch.testing.assert_close(alone.identity_map, together.identity_map[:1], atol=2e-5, rtol=1e-4)


def test_light_augmentation_moves_images_and_target_alike(scenes) -> None:
    template = scenes.template(TINY.uv_size)
    sample = scenes.person(4)
    bright = Augmentation(0, 0, 0, light=0.3, view_gain=0, dressed_projection=0)
    plain = make_example(sample, [0, 1], 0, TINY, template, Augmentation.none(), np.random.default_rng(1))
    lit = make_example(sample, [0, 1], 0, TINY, template, bright, np.random.default_rng(1))
    assert float((plain.targets.color - lit.targets.color).abs().max()) > 0.02
    assert torch.equal(plain.targets.albedo, lit.targets.albedo)
    for example in (plain, lit):
        seen = (example.views.hit > 0.9).expand_as(example.views.color)
        assert float((example.views.color - example.targets.color)[seen].abs().mean()) < 0.02


def test_flat_clothes_have_no_shape_change_and_scaled_ones_have_the_log(scenes) -> None:
    """A shell that scales the body by k stretches every texel by k; the normal of a tilted plane turns."""
    template = scenes.template(32)
    rest = template.rest(torch.zeros(1, 50))
    surface = template.carries_map[0]
    frame, position = rest.frame[0], rest.position[0]
    zero = torch.zeros_like(position)
    log_scale, quat = dressed_shape(position, frame, zero, surface)
    assert float((log_scale * surface).abs().max()) < 1e-5
    assert (
        float((quat[1:] * surface).abs().max()) < 0.2
    )  # a coarse grid on a curved body: chords, not tangents
    grown = torch.einsum("hwji,jhw->ihw", frame, 0.2 * position)
    log_scale, _ = dressed_shape(position, frame, grown, surface)
    stretched = log_scale[:2][(log_scale[:2] != 0)]
    assert torch.allclose(stretched, torch.full_like(stretched, float(np.log(1.2))), atol=1e-3)


def test_reduction_stays_inside_one_validity_class(scenes) -> None:
    sample = scenes.person(0, size=64)
    bits = sample["uv_validity"].copy()
    bits[::2, ::2] = 0
    sample["uv_color"][bits == 0] = 0
    clean = uv_targets(scenes.person(0, size=64), scenes.template(32))
    holed = uv_targets({**sample, "uv_validity": bits}, scenes.template(32))
    both = (clean["surface"] * holed["surface"]).bool()[0]
    assert both.sum() > 500
    # Holes are black; averaging them in would darken the colour by a quarter.
    assert float((clean["color"] - holed["color"])[:, both].abs().max()) < 0.06


def test_held_out_people_are_told_by_their_number(scenes, tmp_path) -> None:
    for number in (0, 7, 900_003, 910_001):
        np.savez(tmp_path / f"person_{number:06d}.npz", **scenes.person(1))
    (tmp_path / "person_000009.part").write_bytes(b"half written")
    found = {split: SampleFolder(tmp_path, split) for split in ("train", "val", "test")}
    assert [len(found[s]) for s in ("train", "val", "test")] == [2, 1, 1]
    assert found["val"].files[0].name == "person_900003.npz"
    check_sample(found["train"][1])
    np.savez(tmp_path / "person_000011.npz", **scenes.person(2))
    assert found["train"].refresh() == 3
    with pytest.raises(InvalidInputError, match="No people"):
        SampleFolder(tmp_path / "empty", "train")
    with pytest.raises(InvalidInputError, match="lacks uv_color"):
        check_sample({k: v for k, v in scenes.person(0).items() if k != "uv_color"})


def test_weights_of_the_loss_are_what_is_summed(scenes) -> None:
    template = scenes.template(TINY.uv_size)
    torch.manual_seed(0)
    net = LCAModel(TINY, template)
    batch = draw_batch([scenes.person(0)], 0, 1, 1, TINY, template, Augmentation.none())
    weights = StageAWeights()
    total, terms = stage_a(net, batch, weights, texels=64)
    assert float(total.detach()) == pytest.approx(
        sum(getattr(weights, k) * v for k, v in terms.items()), rel=1e-4
    )


def test_scores() -> None:
    half = torch.full((1, 3, 4, 4), 0.5)
    mask = torch.ones(1, 1, 4, 4)
    assert psnr(half + 0.1, half, mask) == pytest.approx(20, abs=1e-4)
    assert np.isnan(psnr(half, half, mask * 0))
    a, b = torch.tensor([True, True, False]), torch.tensor([True, False, False])
    assert iou(a, b, torch.ones(3, dtype=torch.bool)) == 0.5


def test_model_card_tells_what_the_logs_say(scenes, tmp_path, monkeypatch) -> None:
    run, people = trainer(scenes, tmp_path / "run", 3)
    run.run(lambda t: (export(t, t.model, tmp_path / "tiny.safetensors"), validate(t, t.model, people, 2)))
    for number in (0, 900_000):
        np.savez(tmp_path / f"person_{number:06d}.npz", **scenes.person(0))
    monkeypatch.setattr("lca_core.model.template.Template.load", staticmethod(scenes.template))
    card = model_card.write_card(tmp_path / "run", tmp_path / "tiny.safetensors", tmp_path, "the command")
    text = card.read_text()
    info = read_info(tmp_path / "tiny.safetensors")
    scores = model_card.read_rows(tmp_path / "run" / "validation.csv")[-1]
    assert info.sha256 in text and "the command" in text and "3 steps" in text
    assert f"**{scores['n2/psnr']:.2f}**" in text and f"{scores['n2/psnr_mean']:.2f}" in text
    assert json.loads((tmp_path / "run" / "run.json").read_text())["seed"] == 1
    logged = model_card.read_rows(tmp_path / "tiny.log.csv")
    assert [r["loss"] for r in logged] == [
        r["loss"] for r in model_card.read_rows(tmp_path / "run" / "log.csv")
    ]


def test_model_card_of_a_chain_of_runs_shows_pictures_and_every_run(scenes, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("lca_core.model.template.Template.load", staticmethod(scenes.template))
    for number in (0, 900_000, 910_000):
        np.savez(tmp_path / f"person_{number:06d}.npz", **scenes.person(number % 5))
    common = ("--data", str(tmp_path), "--config", "tiny", "--batch", "1", "--time-budget", "0")
    small = ("--max-steps", "2", "--validation-people", "1", "--texture-size", "32")
    pre, post = tmp_path / "pre", tmp_path / "post"
    run_command(["pretrain", "--out", str(pre), *common, *small])
    run_command(["posttrain", "--out", str(post), "--init", str(pre / "state.pt"), *common, *small])
    weights = post / "weights.safetensors"
    scores = model_card.score_test(weights, tmp_path, views=(2,))
    card = model_card.write_card(post, weights, tmp_path, "c", "", scores, [pre], scores)
    text = card.read_text()
    drawn = model_card.read_rows(post / "validation.csv")[-1]["render/n2/psnr"]
    assert f"| {drawn:.2f} | {scores['render/n2/psnr']:.2f} |" in text
    assert "pretrain, stage A" in text and "posttrain, stage B" in text and "No LPIPS" in text
    rows = list(csv.DictReader((post / "weights.log.csv").open()))
    assert [r["run"] for r in rows] == ["0", "0", "1", "1"]
    assert rows[0]["pose_l1"] == "" and float(rows[3]["pose_l1"]) > 0
