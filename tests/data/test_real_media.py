"""Real evaluation sets: what is listed, what is held out, and that absence is no failure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lca.errors import InvalidInputError, MediaUnreadableError, NotFoundError
from lca_core.data import real_media
from lca_core.data.real_media import Subject, hold_out, leave_one_out, list_subjects, load_picture, media_set


def picture(path: Path, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (6, 8)).save(path)


def test_any_folder_of_subjects_is_read(tmp_path: Path) -> None:
    for k in (10, 9, 2):
        picture(tmp_path / "ada" / f"{k}.png")
    picture(tmp_path / "one" / "0.png")
    (tmp_path / "clip.mp4").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    found = list_subjects(tmp_path)
    assert [s.name for s in found] == ["ada", "clip"] and found[1].clip
    assert [v.stem for v in found[0].views] == ["2", "9", "10"]
    assert [s.name for s in list_subjects(tmp_path / "ada")] == ["ada"]
    with pytest.raises(NotFoundError):
        list_subjects(tmp_path / "none")


@pytest.mark.parametrize("count", [2, 3, 4, 8, 13])
@pytest.mark.parametrize("given", [1, 3, 6, 40])
def test_views_are_given_or_held_out_never_both(count: int, given: int) -> None:
    subject = Subject("s", tuple(Path(f"{k:03d}.png") for k in range(count)))
    split = hold_out(subject, given)
    assert set(split.given) | set(split.held_out) == set(subject.views)
    assert not set(split.given) & set(split.held_out) and split.given and split.held_out
    assert len(split.given) == min(given, count - 1)
    folds = list(leave_one_out(subject))
    assert [f.held_out[0] for f in folds] == list(subject.views)
    assert all(len(f.given) == count - 1 and f.held_out[0] not in f.given for f in folds)


def test_eight_views_hold_out_the_third_and_the_sixth() -> None:
    split = hold_out(Subject("s", tuple(Path(f"{k:03d}.png") for k in range(8))), given=6)
    assert [p.stem for p in split.held_out] == ["002", "005"]
    with pytest.raises(InvalidInputError):
        hold_out(Subject("c", (Path("c.mp4"),), clip=True))


def test_pictures_come_upright_with_their_matte(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 8), (10, 20, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    rgb, alpha = load_picture(tmp_path / "turned.jpg")
    assert rgb.shape == (4, 8, 3) and alpha is None
    Image.fromarray(np.dstack([np.full((4, 4, 3), 9), np.eye(4) * 255]).astype(np.uint8)).save(
        tmp_path / "a.png"
    )
    assert np.array_equal(load_picture(tmp_path / "a.png")[1], np.eye(4, dtype=np.float32))
    assert load_picture(tmp_path / "a.png", max_side=2)[0].shape == (2, 2, 3)
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(MediaUnreadableError, match=r"b\.png"):
        load_picture(tmp_path / "b.png")


def test_absent_media_means_no_subjects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LCA_MEDIA", str(tmp_path / "none"))
    assert real_media.media_folder() is None and media_set("turnaround") == []
    monkeypatch.setenv("LCA_MEDIA", str(tmp_path))
    assert media_set("stylised") == []
    with pytest.raises(InvalidInputError):
        media_set("studio")


def test_the_sample_media_are_complete() -> None:
    if real_media.media_folder() is None:
        pytest.skip("no sample media")
    people, drawings, clips = (media_set(k) for k in real_media.SETS)
    assert len(people) == 6 and all(len(s.views) == 8 for s in people)
    assert len(drawings) == 4 and all(len(s.views) == 4 for s in drawings)
    assert {"demo", "dance"} <= {s.name for s in clips} and all(s.clip for s in clips)
    assert [p.stem for p in hold_out(people[0]).held_out] == ["002", "005"]
    rgb, _ = load_picture(people[0].views[0])
    assert rgb.ndim == 3 and rgb.std() > 5
