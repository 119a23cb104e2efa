"""The ablation table: verdicts follow the numbers, shared phases are trained once, a repeat costs nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lca_core.train import paper_table
from lca_core.train.paper_table import CELLS, Budget, difference, markdown, summarise, verdict


def rows(studio: float, wild: float, people: int = 12, seed: int = 0):
    rng = np.random.default_rng(seed)

    def one(level: float):
        person = np.random.default_rng(5).normal(0, 2, people)  # people differ more than methods do
        noise = rng.normal(0, 0.02, people)
        return [
            {"n2/psnr": level + p + e, "n2/face": level, "n2/iou": 0.9}
            for p, e in zip(person, noise, strict=True)
        ]

    return {"studio": one(studio), "wild": one(wild)}


def test_verdicts_need_an_interval_and_more_than_the_seeds() -> None:
    assert verdict("better", 0.5, 0.3, 0.7, 0.1) == "reproduced"
    assert verdict("better", 0.5, 0.3, 0.7, 0.6).startswith("not reproduced")
    assert verdict("better", 0.1, -0.1, 0.3, 0.05).startswith("not reproduced")
    assert verdict("better", -0.5, -0.7, -0.3, 0.1) == "contradicted"
    assert verdict("not worse", 0.0, -0.05, 0.05, 1.0) == "reproduced"
    assert verdict("not worse", -1.0, -1.2, -0.8, 0.1) == "not reproduced"
    assert verdict("not worse", 0.0, -0.5, 0.5, 0.1) == "undecided"


def test_paired_difference_sees_through_differences_between_people() -> None:
    a, b = rows(20.3, 20)["studio"], rows(20, 20, seed=1)["studio"]
    gap, low, high = difference(*(np.array([r["n2/psnr"] for r in x]) for x in (a, b)))
    assert low < 0.3 < high and gap == pytest.approx(0.3, abs=0.05) and low > 0.2


def test_table_says_what_the_scores_say() -> None:
    scores = {
        "pre_post": [rows(21, 20), rows(21.02, 20.02, seed=2)],
        "mixed": [rows(20, 20.01, seed=3), rows(20, 20.01, seed=4)],
    }
    report = summarise(
        scores,
        Budget(),
        {"command": "cmd", "seeds": [1, 2], "machine": "m", "minutes": 3.0, "people": {"studio": 60}},
    )
    told = {c["claim"]: c["verdict"] for c in report["claims"]}
    assert told["pre-training then post-training beats mixing on studio"] == "reproduced"
    assert told["... and is not worse on wild"] == "reproduced"
    text = markdown(report)
    assert "| pre post | " in text and "30.514 / 28.175" in text and "other data" in text
    json.dumps(report)


def test_seeds_count_by_what_they_differ_about_a_claim() -> None:
    facts = {"command": "cmd", "seeds": [1, 2], "machine": "m", "minutes": 3.0, "people": {"studio": 60}}
    mixed = [rows(20, 20, seed=3), rows(20.6, 20.6, seed=4)]

    def told(second: float) -> str:
        ours = [rows(20.2, 20, seed=3), rows(second, 20.6, seed=4)]
        claims = summarise({"pre_post": ours, "mixed": mixed}, Budget(), facts)["claims"]
        return str(claims[0]["verdict"])

    assert told(20.8) == "reproduced", "both cells moved by the seed, their difference is the same"
    assert told(21.3).startswith("not reproduced"), "the seeds disagree by more than the difference"


def test_cells_spend_the_same_budget() -> None:
    for cell in CELLS.values():
        assert sum(phase.share for phase in cell.phases) == 1


def test_two_cells_from_beginning_to_end(scenes, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("lca_core.model.template.Template.load", staticmethod(scenes.template))
    for name in ("studio", "wild"):
        (tmp_path / name).mkdir()
        for number in (0, 1, 900_000):
            np.savez(tmp_path / name / f"person_{number:06d}.npz", **scenes.person(number % 5))
    options = [
        "--studio", str(tmp_path / "studio"), "--wild", str(tmp_path / "wild"), "--seeds", "1",
        "--out", str(tmp_path / "out"), "--cells", "pre_post", "gamma_0", "--config", "tiny",
        "--steps", "4", "--batch", "1", "--held", "1", "--texture-size", "32",
    ]  # fmt: skip
    paper_table.main(options)
    report = json.loads((tmp_path / "out" / "paper.json").read_text())
    assert set(report["table"]) == {"pre_post", "gamma_0"} and len(report["claims"]) == 1
    # The second cell starts with the first one's pre-training instead of repeating it.
    assert (tmp_path / "out" / "pre_post-1" / "phase0").exists()
    assert not (tmp_path / "out" / "gamma_0-1" / "phase0").exists()
    monkeypatch.setattr(paper_table, "train", None)  # everything is there: nothing is trained again
    paper_table.main(options)
