"""Decoding: good clips come back upright and evenly sampled, bad files give one clear line within seconds."""

from __future__ import annotations

import struct
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from lca.errors import MediaUnreadableError
from lca_core.capture.decode import DecodeLimits, read_clip
from lca_core.capture.decode_worker import choose


def write_clip(
    path: Path, frames: int = 20, width: int = 96, height: int = 64, audio_only: bool = False
) -> Path:
    """A clip whose frame number is readable from its brightness; the left third is red."""
    with av.open(str(path), "w") as out:
        if audio_only:
            stream = out.add_stream("aac", rate=16000)
            for i in range(20):
                sound = av.AudioFrame.from_ndarray(
                    np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
                )
                sound.rate, sound.pts = 16000, 1024 * i
                out.mux(stream.encode(sound))
            out.mux(stream.encode(None))
            return path
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 2_000_000
        for i in range(frames):
            image = np.full((height, width, 3), 40 + 8 * i, np.uint8)
            image[:, : width // 3] = (255, 0, 0)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def set_rotation(path: Path, quarter_turns: int) -> None:
    """Write a display matrix into the first track header of an MP4 (what phones do)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4
    at += 4 + (32 if data[at] == 1 else 20) + 16  # version+flags, times and ids, reserved to volume
    c, s = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter_turns % 4]
    one, unit = 1 << 16, 1 << 30
    data[at : at + 36] = struct.pack(">9i", c * one, s * one, 0, -s * one, c * one, 0, 0, 0, unit)
    path.write_bytes(data)


def test_samples_are_even_and_timed(tmp_path: Path) -> None:
    clip = read_clip(write_clip(tmp_path / "a.mp4"), 5)
    assert clip.frames.shape == (5, 64, 96, 3) and clip.frames.dtype == np.uint8
    assert clip.frame_count == 20 and clip.size == (96, 64)
    assert clip.frame_index.tolist() == [2, 6, 10, 14, 18]
    np.testing.assert_allclose(clip.timestamps, clip.frame_index / 10, atol=1e-6)
    brightness = clip.frames[:, 32, 80].mean(1)
    np.testing.assert_allclose(brightness, 40 + 8 * clip.frame_index, atol=6)


def test_short_clip_gives_every_frame(tmp_path: Path) -> None:
    clip = read_clip(write_clip(tmp_path / "a.mp4", frames=3), 24)
    assert clip.frame_index.tolist() == [0, 1, 2]


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_rotation_metadata_turns_the_picture(tmp_path: Path, turns: int) -> None:
    path = write_clip(tmp_path / "a.mp4")
    plain = read_clip(path, 3).frames
    set_rotation(path, turns)
    # The matrix rotates clockwise by 90 degrees per turn; numpy's rot90 goes the other way.
    expected = np.rot90(plain, -turns, axes=(1, 2))
    np.testing.assert_allclose(read_clip(path, 3).frames.astype(int), expected.astype(int), atol=3)


def test_large_video_is_scaled_down(tmp_path: Path) -> None:
    clip = read_clip(write_clip(tmp_path / "a.mp4", width=320, height=160), 2, max_side=160)
    assert clip.size == (160, 80)


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Name -> (file, word the message must hold)."""
    good = write_clip(folder / "good.mp4", frames=40).read_bytes()
    files = {
        "empty": (b"", "empty"),
        "text": (b"just some words\n" * 50, "cannot be opened"),
        "random": (np.random.default_rng(0).bytes(50_000), "cannot be opened"),
        "half": (good[: len(good) // 2], "cannot be opened"),
        "playlist": (b"#EXTM3U\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n", "cannot be opened"),
    }
    out = {}
    for name, (data, word) in files.items():
        path = folder / f"{name}.mp4"
        path.write_bytes(data)
        out[name] = (path, word)
    out["sound"] = (write_clip(folder / "sound.mp4", audio_only=True), "no video track")
    out["missing"] = (folder / "nothing.mp4", "no file")
    return out


@pytest.mark.parametrize("name", ["empty", "text", "random", "half", "playlist", "sound", "missing"])
def test_bad_files_give_one_clear_line(tmp_path: Path, name: str) -> None:
    path, word = bad_files(tmp_path)[name]
    start = time.monotonic()
    with pytest.raises(MediaUnreadableError) as caught:
        read_clip(path)
    assert time.monotonic() - start < 10
    message = caught.value.message
    assert word in message and "\n" not in message and path.name in message
    assert str(tmp_path) not in message  # no internal paths


def test_video_cut_off_behind_its_index(tmp_path: Path) -> None:
    """With the index in front (web export), a cut file still opens; the missing frames must be noticed."""
    path = tmp_path / "web.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        rng = np.random.default_rng(0)
        for _ in range(40):
            image = rng.integers(0, 255, (64, 96, 3), np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaUnreadableError, match=r"cut off|frames of the clip can be decoded"):
        read_clip(path)


def test_video_track_without_frames(tmp_path: Path) -> None:
    path = tmp_path / "none.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        out.start_encoding()
    with pytest.raises(MediaUnreadableError):
        read_clip(path)


def test_limits_are_errors_not_crashes(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    with pytest.raises(MediaUnreadableError, match="limit"):
        read_clip(path, limits=DecodeLimits(duration_seconds=1.0))
    with pytest.raises(MediaUnreadableError, match="scale it down"):
        read_clip(path, limits=DecodeLimits(pixels=1000))
    with pytest.raises(MediaUnreadableError, match="Trim"):
        read_clip(path, limits=DecodeLimits(file_bytes=100))
    with pytest.raises(MediaUnreadableError, match="was stopped"):
        read_clip(path, limits=DecodeLimits(wall_seconds=0.01))
    with pytest.raises(MediaUnreadableError):
        read_clip(path, limits=DecodeLimits(memory_bytes=48 << 20))  # not even numpy fits


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    read_clip(write_clip(tmp_path / "a.mp4"), 2)
    with pytest.raises(MediaUnreadableError):
        read_clip(bad_files(tmp_path)["text"][0])
    assert list(scratch.iterdir()) == []


def test_photos_keep_their_size_and_focal(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, size in (("b.png", (60, 80)), ("a.jpg", (100, 50))):
        exif = Image.Exif()
        exif[0x8769] = {0xA405: 50}
        Image.new("RGB", size, (200, 10, 10)).save(folder / name, exif=exif)
    (folder / "notes.txt").write_text("ignored")
    clip = read_clip(folder)
    assert clip.kind == "images" and clip.sizes.tolist() == [[100, 50], [60, 80]]
    assert clip.frames.shape == (2, 80, 100, 3)
    assert clip.frames[0, 49, 99, 0] > 190 and clip.frames[0, 60, 10].max() == 0
    expected = np.median([50 / 43.27 * np.hypot(100, 50), 50 / 43.27 * np.hypot(60, 80)])
    assert clip.focal_px == pytest.approx(expected, rel=1e-5)


def test_variable_frame_rate_keeps_true_times(tmp_path: Path) -> None:
    path, moments = tmp_path / "vfr.mp4", [0, 40, 80, 200, 233, 400, 1000]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, ms in enumerate(moments):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = ms, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    clip = read_clip(path, 24)
    np.testing.assert_allclose(clip.timestamps, np.array(moments) / 1000, atol=2e-3)


@pytest.mark.parametrize(("curve", "white"), [(16, 0.58), (18, 0.75), (1, 1.0)])
def test_ten_bit_and_hdr_become_plain_srgb(tmp_path: Path, curve: int, white: float) -> None:
    """A grey ramp up to diffuse white: BT.2408 puts white at 58 percent of PQ, 75 percent of HLG."""
    ramp = np.linspace(0, white, 128)
    codes = np.repeat((ramp * 65535).astype(np.uint16)[None, :, None], 64, 0).repeat(3, 2)
    path = tmp_path / "deep.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx265", rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p10le"
        stream.codec_context.color_trc = curve
        stream.codec_context.color_primaries = stream.codec_context.colorspace = 9 if curve > 1 else 1
        stream.options = {"x265-params": "log-level=none:crf=8"}
        for _ in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(codes, format="rgb48le")))
        out.mux(stream.encode(None))
    frame = read_clip(path, 3).frames[1].astype(int)
    grey = frame[32, 4:124]
    assert np.abs(grey - grey.mean(1, keepdims=True)).max() < 8  # stays grey
    assert (np.diff(grey.mean(1)) > -4).all()
    assert grey[-1].mean() > 225  # diffuse white is white, not the dull grey of the raw code
    if curve > 1:
        assert white * 255 < grey[-1].mean() - 20


def test_4k_is_scaled_and_8k_refused(tmp_path: Path) -> None:
    clip = read_clip(write_clip(tmp_path / "4k.mp4", frames=2, width=3840, height=2160), 2)
    assert clip.size == (1920, 1080) and clip.source_size == (3840, 2160)
    with pytest.raises(MediaUnreadableError, match="4K"):
        read_clip(tmp_path / "4k.mp4", 2, limits=DecodeLimits(pixels=1920 * 1080))


def test_transparent_pictures_bring_their_matte(tmp_path: Path) -> None:
    for i in range(3):
        image = np.zeros((40, 60, 4), np.uint8)
        image[10:30, 20 + i : 40] = (200, 10, 10, 255)
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    clip = read_clip(tmp_path)
    assert clip.alpha is not None and clip.alpha.shape == (3, 40, 60)
    assert clip.alpha[1, 20, 30] == 255 and clip.alpha[1, 5, 5] == 0 and clip.alpha[2, 20, 21] == 0
    assert (clip.frames[0, 5, 5] == 128).all() and clip.frames[0, 20, 30, 0] == 200
    Image.new("RGBA", (20, 20), (1, 2, 3, 255)).save(tmp_path / "opaque.png")
    assert read_clip(tmp_path / "opaque.png").alpha is None


def test_heic_is_refused_with_the_way_out(tmp_path: Path) -> None:
    for name in ("photo.HEIC", "photo.heif"):
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic")
        with pytest.raises(MediaUnreadableError, match=r"export it as JPEG"):
            read_clip(tmp_path / name)
    with pytest.raises(MediaUnreadableError, match="HEIC"):
        read_clip(tmp_path)
    with pytest.raises(MediaUnreadableError, match="HEIC"):
        read_clip([tmp_path / "photo.HEIC"])


def test_photo_orientation_and_broken_photo(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read_clip(tmp_path / "a.jpg").size == (20, 40)
    (tmp_path / "b.png").write_bytes(b"not a picture")
    with pytest.raises(MediaUnreadableError, match=r"b\.png"):
        read_clip(tmp_path / "b.png")
    empty = tmp_path / "folder"
    empty.mkdir()
    with pytest.raises(MediaUnreadableError, match="no photos"):
        read_clip(empty)


@pytest.mark.parametrize("count", [1, 7, 24, 25, 301])
def test_choose_is_even_sorted_and_inside(count: int) -> None:
    picked = choose(count, 24)
    assert len(picked) == min(count, 24) and picked == sorted(set(picked))
    assert picked[0] >= 0 and picked[-1] < count
    steps = np.diff(picked)
    assert len(steps) == 0 or steps.max() - steps.min() <= 1
