"""Studio and wild sets: same seed same bytes whoever draws, disjoint splits and garments, truth that agrees
with the pictures, shards that come back equal."""

from __future__ import annotations

import json
import tarfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lca.errors import DataLossError, InvalidInputError, NotFoundError
from lca_core.data import datasets, shards, splits, studio, wild
from lca_core.data.datasets import Span, SyntheticSet, sample_of
from lca_core.data.people import HELD_OUT, SPLITS, sample_identity
from lca_core.data.studio import StudioConfig
from lca_core.data.tracking_noise import joints_of
from lca_core.data.wild import WildConfig

STUDIO = StudioConfig(size=96, uv_size=32, ring=2, faces=1, hands=1, poses=2, samples=1)
WILD = WildConfig(long_side=96, uv_size=32, frames=(20, 24), references=(2, 2), targets=1, samples=1)
CONFIGS: dict[str, Any] = {"studio": STUDIO, "wild": WILD}


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) and type(a[k]) is type(b[k]) for k in a)


@pytest.fixture(scope="module", params=["studio", "wild"])
def drawn(request: pytest.FixtureRequest) -> tuple[str, list[dict[str, Any]]]:
    data = SyntheticSet(
        request.param, "train", seed=3, span=Span(11, 2), per_person=2, config=CONFIGS[request.param]
    )
    return request.param, list(data)


def test_same_seed_same_bytes_and_random_access(drawn: tuple[str, list[dict[str, Any]]]) -> None:
    kind, samples = drawn
    again = sample_of(kind, "train", 12, 1, seed=3, config=CONFIGS[kind])
    assert same(again, samples[3]) and shards.pack(again) == shards.pack(samples[3])
    assert len({s["__key__"] for s in samples}) == 4
    other = sample_of(kind, "train", 12, 1, seed=4, config=CONFIGS[kind])
    assert not np.array_equal(other["image"], again["image"])
    assert np.array_equal(other["betas_true"], again["betas_true"])


def test_workers_share_the_same_samples(drawn: tuple[str, list[dict[str, Any]]], monkeypatch: Any) -> None:
    """Each of two workers makes exactly its half; no sample depends on who makes it."""
    kind, samples = drawn
    data = SyntheticSet(kind, "train", seed=3, span=Span(11, 2), per_person=1, config=CONFIGS[kind])
    info = type("Info", (), {"id": 1, "num_workers": 2})
    monkeypatch.setattr(datasets, "get_worker_info", lambda: info)
    (mine,) = list(data)
    assert same(mine, samples[2])


def test_every_field_is_finite_and_as_documented(drawn: tuple[str, list[dict[str, Any]]]) -> None:
    kind, samples = drawn
    for s in samples:
        views = len(s["image"])
        assert views == 4
        for name, value in s.items():
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                assert np.isfinite(value).all(), name
        assert s["image"].dtype == s["mask"].dtype == s["part"].dtype == np.uint8
        assert s["depth"].dtype == np.float16 and s["pose_noisy"].shape == (views, 55, 3)
        assert s["conf"].shape == (views, 55) and s["uv_offset"].shape == (32, 32, 3)
        facts = json.loads(s["meta"])
        assert facts["set"] == f"synthetic {kind}" and facts["synthetic"] and facts["assets"]
        exact = np.array_equal(s["pose_true"], s["pose_noisy"])
        assert exact == (kind == "studio")


def test_true_joints_lie_on_the_person(drawn: tuple[str, list[dict[str, Any]]]) -> None:
    kind, samples = drawn
    inside = total = 0
    for s in samples:
        masks = s["mask_amodal" if kind == "wild" else "mask"]
        height, width = masks.shape[1:]
        for v, mask in enumerate(masks):
            x, y = np.floor(s["joints2d"][v, :22]).astype(int).T
            seen = (x >= 1) & (y >= 1) & (x < width - 1) & (y < height - 1)
            grown = np.max([np.roll(mask, (a, b), (0, 1)) for a in (-1, 0, 1) for b in (-1, 0, 1)], 0)
            inside += int((grown[y[seen], x[seen]] > 60).sum())
            total += int(seen.sum())
    assert inside / total >= 0.98


def test_wild_frames_come_from_two_clips_with_their_own_camera(
    drawn: tuple[str, list[dict[str, Any]]],
) -> None:
    kind, samples = drawn
    if kind != "wild":
        pytest.skip("wild only")
    for s in samples:
        assert s["clip_of_view"].tolist() == [0] * 3 + [1] and s["references"] == 2
        assert len(set(s["frame_of_view"][:3].tolist())) == 3
        assert not np.array_equal(s["Ks"][0], s["Ks"][3]) and np.array_equal(s["Ks"][0], s["Ks"][1])
        focal = s["Ks"][:, 0, 0] / 96
        assert (focal >= 0.8).all() and (focal <= 1.6).all()
        assert s["betas_noisy"].shape == (2, 50)
        occluded = json.loads(s["meta"])["occluded"]
        assert (s["mask"].astype(int) <= s["mask_amodal"].astype(int)).all() or not any(occluded)


def test_studio_lights_begin_with_uniform_white(drawn: tuple[str, list[dict[str, Any]]]) -> None:
    kind, samples = drawn
    if kind != "studio":
        pytest.skip("studio only")
    for s in samples:
        assert s["light_sh"].shape == (5, 9, 3) and not s["light_rgb"][0].any()
        assert s["light_sh"][0, 0].ptp() == 0 and not s["light_sh"][0, 1:].any()
        assert s["light_of_view"].max() < 5


def test_all_actions_are_shown_singly() -> None:
    rng = np.random.default_rng(0)
    single = np.stack([studio.studio_expression(rng, turn) for turn in range(104)])
    assert ((single == 1.0).any(0)).all()
    directions = studio.light_directions()
    assert directions.shape == (64, 3) and np.allclose(np.linalg.norm(directions, axis=1), 1)
    assert np.abs(directions.mean(0)).max() < 0.02


def test_splits_do_not_overlap() -> None:
    spans = sorted(SPLITS.values())
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    for split in ("train", "val"):
        low, high = SPLITS[split]
        for number in range(low, min(low + 300, high)):
            identity = sample_identity(split, number)
            assert not splits.has_new_garment(identity), identity
            assert identity.hair not in HELD_OUT["hair"] and identity.skin not in HELD_OUT["skin"]
    bad: list[Any] = [("studio", "train", SPLITS["test"][0]), ("studio", "holiday", 0)]
    for kind, split, number in bad:
        with pytest.raises(InvalidInputError):
            sample_of(kind, split, number, config=STUDIO)
    with pytest.raises(InvalidInputError):
        SyntheticSet("studio", "val", span=Span(150, 100))


def test_four_cells_hold_what_they_say() -> None:
    seen_new = {}
    for name, cell in splits.CELLS.items():
        for k in range(40):
            identity = splits.cell_identity(name, k)
            low, high = SPLITS["test" if cell.new_identity else "train"]
            assert low <= identity.number < high
            assert splits.has_new_garment(identity) == cell.new_garment
            assert splits.cell_identity(name, k) == identity
            body = (identity.betas, identity.skin, identity.hair)
            assert seen_new.setdefault((cell.new_identity, k), body) == body  # other clothes, same person
    with pytest.raises(InvalidInputError):
        splits.cell_identity("old-old", 0)
    (sample,) = datasets.cell_samples("studio", "new-new", 1, config=STUDIO)
    assert sample["__key__"].startswith("new-new-studio-test")


def test_shards_come_back_equal_and_repeat(drawn: tuple[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    kind, samples = drawn
    data = SyntheticSet(kind, "train", seed=3, span=Span(11, 2), per_person=2, config=CONFIGS[kind])
    assert [s.first for _, s in shards.shard_spans(data, people=4)] == [11, 12]
    one, two = tmp_path / "one.tar", tmp_path / "two.tar"
    for path in (one, two):
        assert shards.write_shard(path, samples) == 4
    assert one.read_bytes() == two.read_bytes() and not list(tmp_path.glob("*.part"))
    back = list(shards.read_shards(one))
    for a, b in zip(samples, back, strict=True):
        assert json.loads(a["meta"]) == json.loads(b["meta"])
        assert same({**a, "meta": ""}, {**b, "meta": ""})
    with tarfile.open(one) as tar:  # the form that WebDataset readers expect
        names = tar.getnames()
    assert all(n.split(".")[1] in ("json", "npz") for n in names) and len(names) == 8
    one.write_bytes(one.read_bytes()[: one.stat().st_size // 2])
    with pytest.raises(DataLossError):
        list(shards.read_shards(one))
    with pytest.raises(NotFoundError):
        list(shards.read_shards(tmp_path / "none"))


def test_a_written_set_can_be_continued(tmp_path: Path) -> None:
    data = SyntheticSet("studio", "train", span=Span(0, 3), per_person=1, config=STUDIO)
    first = list(shards.write_shards(tmp_path, data, people=2, only=(0, 2)))
    rest = list(shards.write_shards(tmp_path, data, people=2))
    assert [p.name for p in first + rest] == ["studio-train-000-00000.tar", "studio-train-000-00001.tar"]
    keys = [s["__key__"] for s in shards.read_shards(tmp_path)]
    assert keys == [f"studio-train-000-{n:06d}-000" for n in range(3)]


def test_joints_agree_with_the_skinned_person() -> None:
    take = wild.make_take(datasets.Actor(sample_identity("train", 2), "train", 32), 0, 1, WILD)
    joints, _ = joints_of(take.true.betas, take.motion.poses, take.motion.translation)
    pixels = take.K @ (take.viewmats[0, :3, :3] @ joints[0, 0] + take.viewmats[0, :3, 3])
    assert 0 < pixels[0] / pixels[2] < WILD.size[0] and pixels[2] > 0.5
