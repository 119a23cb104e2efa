"""The estimate of the photographs' light: its examples, its two implementations, its resumed run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from lca_core.relight.estimate import Cells, LightEstimator, load_estimator, usual_light
from lca_core.train import relight
from lca_core.train.relight_examples import LitPerson, photographed

SMALL = relight.RelightOptions(people=2, lights=2, steps=4)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order: runs compare bit for bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def person() -> LitPerson:
    return photographed("val", 0, 2)


def test_examples_are_what_the_generator_photographs(person: LitPerson) -> None:
    """Copied colours in the harmonics of pose frames: open cells see all of an even light, no cell more; the
    lamp lights at most a cosine; the mirror image of the light falls on the other side."""
    white = np.zeros(9)
    white[0] = 1 / 0.28209479
    seen = person.transfer @ white / np.pi
    assert 0.97 < np.percentile(seen, 95) < 1.03 and seen.max() < 1.1
    assert person.lamp.min() >= 0 and person.lamp.max() <= 1.001 and (person.shading(0) >= 0).all()
    assert 0 < person.albedo.mean() < 1 and person.area.mean() == pytest.approx(1, abs=0.2)
    # From above: what faces up (the harmonic -y of pose frames) gets more light than what faces down.
    above = white.copy()
    above[1] = -0.5 * white[0]
    up = person.transfer[:, 1] < -1
    down = person.transfer[:, 1] > 1
    shown = person.transfer @ above / np.pi
    assert shown[up].mean() > 2 * max(shown[down].mean(), 0.05)


def test_numpy_and_torch_agree(person: LitPerson) -> None:
    cells = np.unique(person.cell).astype(np.int64)
    torch.manual_seed(1)
    net = relight.LightNet(torch.from_numpy(cells))
    torch.nn.init.normal_(net.out.weight, std=0.05)
    colors = (person.albedo * person.shading(1)).astype(np.float32)
    with torch.no_grad():
        want = net(
            torch.from_numpy(np.searchsorted(cells, person.cell))[None], torch.from_numpy(colors)[None],
            torch.from_numpy(person.transfer)[None],
        )[0].numpy()  # fmt: skip
    estimator = LightEstimator({k: v.numpy() for k, v in net.state_dict().items()})
    got = estimator(Cells(person.cell.astype(np.int64), colors, person.transfer))
    assert np.abs(got - want).max() < 1e-4 * np.abs(want).max()


def test_the_shipped_weights_beat_the_usual_light() -> None:
    """On people of the validation split; 60 of them gain 6 dB, single ones may lose."""
    people = [photographed("val", index, 2) for index in range(1, 6)]
    found = relight.judge(people, load_estimator())
    assert found["estimated"] > found["usual_light"] + 2 > found["no_relighting"] + 2
    assert relight.judge(people, lambda cells: usual_light())["estimated"] == found["usual_light"]


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relight, "SAVE_EVERY", 2)
    whole = tmp_path / "whole.safetensors"
    lines: list[str] = []
    facts = relight.train_relight(whole, SMALL, tmp_path / "a", lambda line: None)
    assert np.isfinite(facts["estimated"]) and "lca train relight" in whole.with_suffix(".md").read_text()

    class Stop(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("step 4"):
            raise Stop

    # Broken off after step 4 was computed and before it was saved: step 2 is what is left.
    people = relight.stored_people(tmp_path / "a", "train", SMALL.people, SMALL.lights, print, SMALL.seed)
    (tmp_path / "b").mkdir()
    with pytest.raises(Stop):
        relight.fit(people, SMALL, tmp_path / "b", stop)
    net = relight.fit(people, SMALL, tmp_path / "b", lines.append)
    assert lines[0] == "goes on at step 2"
    kept = load_file(whole)
    assert all(np.array_equal(kept[k], v.numpy()) for k, v in net.state_dict().items())
