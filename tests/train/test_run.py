"""Laws of the training command: phases chain, runs resume, processes add up, logs can be read."""

from __future__ import annotations

import csv
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lca.errors import InvalidInputError
from lca_core.model.checkpoint import read_info
from lca_core.model.config import PRESETS
from lca_core.model.network import LCAModel
from lca_core.train import run as command
from lca_core.train.events import EventWriter, crc32c, masked
from lca_core.train.examples import check_sample
from lca_core.train.groups import depth_factors, parameter_groups
from lca_core.train.loop import LoopConfig, Trainer
from lca_core.train.parallel import World
from lca_core.train.sets import SetPeople
from lca_core.train.sources import Degraded, First, Mixed, open_people

TINY = PRESETS["tiny"]


@pytest.fixture()
def folder(scenes, tmp_path, monkeypatch) -> Path:
    """A data set of three people for training and one held out, on the analytic body."""
    monkeypatch.setattr("lca_core.model.template.Template.load", staticmethod(scenes.template))
    data = tmp_path / "data"
    data.mkdir()
    for number in (0, 1, 2, 900_000):
        np.savez(data / f"person_{number:06d}.npz", **scenes.person(number % 7))
    return data


def run(*arguments: object) -> None:
    command.main([str(a) for a in arguments])


COMMON = ("--config", "tiny", "--batch", 1, "--time-budget", 0, "--validation-people", 1)


def test_pretraining_then_posttraining_with_pictures(folder, tmp_path) -> None:
    first, second = tmp_path / "pre", tmp_path / "post"
    run("pretrain", "--data", folder, "--out", first, *COMMON, "--max-steps", 2)
    run(
        "posttrain", "--data", folder, "--out", second, "--init", first / "state.pt", *COMMON,
        "--max-steps", 2, "--texture-size", 32, "--stage", "b",
    )  # fmt: skip
    info = read_info(second / "weights.safetensors")
    assert info.metadata["phase"] == "posttrain" and info.metadata["step"] == "2"
    rows = list(csv.DictReader((second / "log.csv").open()))
    assert len(rows) == 2 and float(rows[0]["pose_l1"]) > 0
    scored = list(csv.DictReader((second / "validation.csv").open()))[-1]
    assert float(scored["render/n2/psnr"]) > 5
    recipe = json.loads((second / "recipe.json").read_text())
    assert recipe["run"]["stage"] == "b" and recipe["run"]["people"] == 3
    # The second phase starts where the first ended.
    start = command.build("tiny", 1, str(first / "state.pt")).state_dict()
    ended = torch.load(first / "state.pt", weights_only=True)["ema"]
    assert all(torch.equal(start[k], ended[k]) for k in ended)


def test_a_stopped_run_of_stage_c_continues_to_the_same_weights(folder, tmp_path) -> None:
    options = (
        *COMMON,
        "--data",
        folder,
        "--stage",
        "c",
        "--crop",
        32,
        "--texture-size",
        32,
        "--max-steps",
        4,
    )
    run("pretrain", "--out", tmp_path / "whole", *options)
    with pytest.MonkeyPatch.context() as patch:
        # The power goes off after two steps.
        patch.setattr(Trainer, "finished", lambda self: self.step >= 2)
        run("pretrain", "--out", tmp_path / "parts", *options)
    run("pretrain", "--out", tmp_path / "parts", *options)
    whole, parts = (torch.load(tmp_path / x / "state.pt", weights_only=True) for x in ("whole", "parts"))
    assert whole["step"] == parts["step"] == whole["cursor"] == 4
    for k in whole["model"]:
        assert torch.equal(whole["model"][k], parts["model"][k]), k
        assert torch.equal(whole["ema"][k], parts["ema"][k]), k
    with pytest.raises(InvalidInputError, match="--accumulate"):
        run("pretrain", "--out", tmp_path / "parts", *options, "--accumulate", 2)


def test_two_processes_equal_one_on_the_same_global_batch(tmp_path) -> None:
    worker = Path(__file__).with_name("ddp_worker.py")
    both = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29617"]
    for name, start in (("one", [sys.executable]), ("two", both)):
        done = subprocess.run(
            [*start, str(worker), str(tmp_path / name)],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = (torch.load(tmp_path / n / "final.pt", weights_only=True) for n in ("one", "two"))
    for part in ("model", "ema"):
        for k, value in one[part].items():
            torch.testing.assert_close(two[part][k], value, atol=1e-5, rtol=1e-5, msg=f"{part} {k}")
    rows = [list(csv.DictReader((tmp_path / n / "log.csv").open())) for n in ("one", "two")]
    assert len(rows[0]) == len(rows[1]) == 3
    for a, b in zip(*rows, strict=True):
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-4)


def test_micro_batches_must_divide_among_processes() -> None:
    assert list(World(1, 2).share(4)) == [1, 3]
    with pytest.raises(InvalidInputError, match="multiple of 2"):
        World(0, 2).share(3)


def test_accumulated_gradient_is_the_mean_of_the_micro_batches(tmp_path) -> None:
    layer = torch.nn.Linear(3, 1)
    data = torch.randn(4, 3)

    def loss(module, cursor):
        return module(data[cursor]).square().sum(), {"x": float(cursor)}

    config = LoopConfig(time_budget=0, max_steps=1, accumulate=4, clip=1e9, rate=0.0, final_rate=0.0)
    row = Trainer(layer, loss, config, tmp_path).train_step()
    want = torch.autograd.grad(torch.stack([loss(layer, i)[0] for i in range(4)]).mean(), layer.weight)[0]
    torch.testing.assert_close(layer.weight.grad, want)
    assert row["x"] == 1.5


@pytest.mark.parametrize("gamma", [0.0, 0.65, 1.0])
def test_rates_fall_from_output_to_input(scenes, gamma) -> None:
    net = LCAModel(TINY, scenes.template(TINY.uv_size))
    factors = depth_factors(net, gamma)
    assert set(factors) == {name for name, _ in net.named_parameters()}
    assert factors["decoder.heads.weight"] == factors["correction.heads.weight"] == 1
    assert factors[_last(factors)] == 1
    assert factors[_first(factors)] == pytest.approx(gamma)
    assert factors["patches.weight"] == factors["places"] == pytest.approx(gamma**2)
    groups = parameter_groups(net, gamma, 0.01)
    assert sum(len(g["params"]) for g in groups) == len(factors)
    assert len(groups) == len(set(factors.values()))


def _first(factors: dict[str, float]) -> str:
    return next(n for n in factors if n.startswith("encoder.layers.0."))


def _last(factors: dict[str, float]) -> str:
    return next(n for n in factors if n.startswith("encoder.layers.1."))


def test_frozen_layers_stay_what_they_were(scenes, tmp_path) -> None:
    net = LCAModel(TINY, scenes.template(TINY.uv_size))
    before = {k: v.clone() for k, v in net.state_dict().items()}

    def loss(module, cursor):
        return sum(p.square().sum() for p in module.parameters()), {}

    Trainer(
        net, loss, LoopConfig(time_budget=0, max_steps=2, warmup=1, layer_decay=0.0), tmp_path
    ).train_step()
    now = net.state_dict()
    moved = {k for k in now if not torch.equal(now[k], before[k])}
    assert not any(k.startswith(("images.", "encoder.layers.0.", "patches.")) for k in moved)
    assert any(k.startswith("encoder.layers.1.") for k in moved) and "places" not in moved


def test_event_files_hold_what_was_logged(tmp_path) -> None:
    assert crc32c(b"123456789") == 0xE3069283  # check value of CRC-32C in RFC 3720
    writer = EventWriter(tmp_path)
    writer.scalars(7, {"train/loss": 0.5, "train/bad": float("nan")})
    writer.scalars(300, {"train/loss": 0.25})
    data, events = writer.path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        body = data[12 : 12 + length]
        assert masked(data[:8]) == data[8:12] and masked(body) == data[12 + length : 16 + length]
        events.append(body)
        data = data[16 + length :]
    assert len(events) == 3 and b"brain.Event:2" in events[0]
    assert b"train/loss" in events[1] and b"train/bad" not in events[1]
    assert struct.pack("<f", 0.5) in events[1] and struct.pack("<f", 0.25) in events[2]
    assert b"\x10\x07" in events[1] and b"\x10\xac\x02" in events[2]  # step as varint


def test_mixtures_give_every_source_the_same_share(scenes, tmp_path) -> None:
    mixed = Mixed([["a0", "a1", "a2"], ["b0"]])
    assert [mixed[i] for i in range(len(mixed))] == ["a0", "b0", "a1", "b0", "a2", "b0"]
    for number in range(3):
        np.savez(tmp_path / f"person_{number:06d}.npz", **scenes.person(number))
    few = open_people([str(tmp_path)], "train", 0, limit=2)
    assert isinstance(few, First) and len(few) == 2 and "images" in few[1]
    with pytest.raises(IndexError):
        few[2]
    with pytest.raises(InvalidInputError, match="No training data"):
        open_people([], "train", 0)


def test_degraded_people_are_the_same_ones_seen_worse(scenes) -> None:
    class Source(list):
        def refresh(self) -> int:
            return len(self)

    source = Source([scenes.person(0), scenes.person(1)])
    seen, again, true = Degraded(source)[1], Degraded(source)[1], source[1]
    for key in ("images", "pose", "betas", "transl"):
        assert np.array_equal(seen[key], again[key]), key
    assert 0.5 < np.abs(seen["images"].astype(float) - true["images"]).mean() < 25
    assert 0.02 < np.abs(seen["pose"] - true["pose"])[:, 1:22].mean() < 0.2
    assert seen["images"].dtype == np.uint8 and seen["masks"].shape == true["masks"].shape
    assert np.array_equal(seen["uv_offset"], true["uv_offset"])
    assert np.array_equal(source[1]["pose"], scenes.person(1)["pose"])  # the source is left alone


@pytest.mark.parametrize("kind", ["studio", "wild"])
def test_sets_become_training_people_under_one_light(kind) -> None:
    people = SetPeople(kind, "train", 0, limit=3, size=96, uv_size=32)
    sample = people[1]
    check_sample(sample)
    count = len(sample["images"])
    assert len(people) == 3 and people[1] is sample and count == (4 if kind == "studio" else count) >= 4
    shapes = {"pose": (55, 3), "transl": (3,), "expression": (52,), "gaze": (2, 2), "Ks": (3, 3)}
    assert all(sample[k].shape == (count, *shape) for k, shape in shapes.items())
    assert sample["betas"].shape == (50,) and sample["uv_correction"].shape == (count, 32, 32, 3)
    # What the pictures show is what the UV truth is coloured like: mean colour of the person in both.
    inside = sample["masks"] > 250
    seen = np.array([sample["images"][v][inside[v]].mean(0) for v in range(count)]).mean(0)
    truth = sample["uv_color"][(sample["uv_validity"] & 1) > 0].mean(0)
    assert np.abs(seen - truth).max() < 70
    if kind == "studio":
        assert np.array_equal(sample["pose"][0], sample["pose"][1])
        assert not np.array_equal(sample["pose"][0], sample["pose"][2])


def test_lca_train_prints_what_it_wrote(folder, tmp_path, capsys) -> None:
    from lca_bridge.cli.main import main

    out = tmp_path / "run"
    options = [str(x) for x in (*COMMON, "--data", folder, "--out", out, "--max-steps", 1, "--json")]
    assert main(["train", "pretrain", *options]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == 1 and Path(told["weights"]).exists()
    # Post-training has to start from something, and says so instead of starting at random.
    with pytest.raises(SystemExit):
        main(["train", "posttrain", *options])
    assert (
        main(["train", "pretrain", *options[:-3], "--max-steps", "1", "--init", str(tmp_path / "no.pt")]) != 0
    )
