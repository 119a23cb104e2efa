"""Protocol: which views are held out, who resembles whom, one person's failure, processes that die."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lca.errors import InvalidInputError
from lca_bridge.cli.main import build_parser
from lca_core.evaluate.identity import compare
from lca_core.evaluate.processes import run_apart
from lca_core.evaluate.real import RealOptions, evaluate_real
from lca_core.evaluate.subjects import find_subjects, split_views


def test_eight_views_hold_out_002_and_005() -> None:
    assert split_views(8) == ([0, 1, 3, 4, 6, 7], [2, 5])


@pytest.mark.parametrize("count", range(4, 17))
def test_views_are_in_or_held_out(count: int) -> None:
    inside, held = split_views(count)
    assert sorted(inside + held) == list(range(count))
    assert len(held) == (1 if count < 6 else 2) and 0 not in held


def test_three_views_are_too_few() -> None:
    with pytest.raises(InvalidInputError):
        split_views(3)


def _photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((64, 48, 3), 128, np.uint8)).save(path)


def test_any_picture_names_make_subjects(tmp_path: Path) -> None:
    for name in ("front view.JPG", "b.jpeg", "c.png", "10.jpg"):
        _photo(tmp_path / "ada" / name)
    (tmp_path / "ada" / "notes.txt").write_text("no picture")
    (tmp_path / "empty").mkdir()
    (subject,) = find_subjects(tmp_path)
    assert subject.name == "ada" and len(subject.inputs) == 3 and len(subject.held_out) == 1


def test_numbers_sort_as_numbers_and_one_folder_is_one_person(tmp_path: Path) -> None:
    for k in (10, 9, 2, 1):
        _photo(tmp_path / "ada" / f"{k}.png")
    (subject,) = find_subjects(tmp_path / "ada")
    assert subject.name == "ada" and [p.stem for p in subject.held_out] == ["9"]
    assert [p.stem for p in subject.inputs] == ["1", "2", "10"]
    assert find_subjects(tmp_path) == [subject]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError):
        find_subjects(tmp_path)


def test_people_who_fail_are_reported_and_the_run_ends_well(tmp_path: Path) -> None:
    for i in range(5):
        _photo(tmp_path / "nobody" / f"{i}.png")
    _photo(tmp_path / "short" / "0.png")
    said: list[str] = []
    report, outcomes = evaluate_real(tmp_path, RealOptions(workers=1), said.append)
    assert report["failed"] == ["nobody", "short"] and report["captured"] == 0 and len(said) == 2
    assert report["subjects"]["nobody"]["reason"] == "NO_PERSON_FOUND"
    assert report["subjects"]["short"]["reason"] == "TOO_FEW_VIEWS"
    assert report["refine_gain_psnr"] is None and [o.name for o in outcomes] == ["nobody", "short"]


def test_who_resembles_whom() -> None:
    def unit(*values: float) -> np.ndarray:
        v = np.asarray(values)
        return v / np.linalg.norm(v)

    photos = {"a": unit(1, 0, 0), "b": unit(0, 1, 0), "c": None}
    renders = {"a": unit(0.9, 0.3, 0), "b": unit(0.9, 0.8, 0), "c": unit(0, 0, 1)}
    got = compare(photos, renders)
    assert got["top1"] == 1 and got["compared"] == 2 and got["missed"] == ["c"]
    assert got["similarity"]["a"]["c"] is None and got["others"]["count"] == 2


def _work(number: int, folder: str) -> int:
    if number == 2:
        os._exit(9)  # as a process ends that the system kills
    Path(folder, str(number)).touch()
    return number * number


def _lost(number: int, folder: str) -> int:
    return -number


def test_a_process_that_dies_costs_only_its_own_job(tmp_path: Path) -> None:
    jobs = [(n, str(tmp_path)) for n in range(4)]
    assert sorted(run_apart(_work, jobs, 2, _lost)) == [-2, 0, 1, 9]
    with pytest.raises(RuntimeError):
        list(run_apart(_work, jobs[2:3], 2))


def test_the_command_line_knows_both_protocols() -> None:
    parse = build_parser().parse_args
    assert parse(["eval", "real", "--set", "dev", "--json"]).protocol == "real"
    assert parse(["eval", "real", "--dir", "people", "-o", "out.json"]).dir == "people"
    assert parse(["eval", "synthetic", "--json", "--people", "1"]).people == 1


def test_the_synthetic_report_says_what_each_person_scored() -> None:
    from lca_core.evaluate.synthetic import CELLS, METRICS, Person, markdown, summarise

    def row(task: str, four: float, single: float) -> dict:
        return {"task": task, "four": dict.fromkeys(METRICS, four), "single": dict.fromkeys(METRICS, single)}

    people = [
        Person(
            cell,
            i,
            [row("view", 20 + i, 18), row("pose", 22 + i, 18), row("face", 30, 1), row("hands", 25, 1)],
        )
        for cell in CELLS
        for i in (0, 1)
    ]
    report = summarise(people)
    for cell in CELLS:
        assert report[cell]["each"] == [{"four": 21.0, "single": 18.0}, {"four": 22.0, "single": 18.0}]
        assert report[cell]["psnr"] == 21.5 and report[cell]["novel_view"]["psnr"] == 20.5
    assert report["single_image_drop_psnr"] == 3.5
    assert report["face"]["psnr"] == 30 and report["hands"]["psnr"] == 25
    text = markdown(report)
    assert "3.50 dB less" in text and "| 21.0 / 18.0 | 22.0 / 18.0 |" in text
